//! The end of the process after a panic of the writer.

use std::sync::Arc;

use crate::StoreFault;

/// Ends the process if the writer panics, because no other thread can write.
pub struct Panicked(pub Arc<dyn Fn(&StoreFault) + Send + Sync>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(&StoreFault::broken("writing", "the writer panicked"));
        }
    }
}
