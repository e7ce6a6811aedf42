//! A flag that ends a run, and wakes who waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// Asks a run to end. Clones are the same flag; once raised it stays raised.
#[derive(Debug, Clone)]
pub struct CancelFlag(Arc<OwnedFd>);

impl CancelFlag {
    /// A flag that is not raised.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        // Fails only when the counter is full, and then the flag is raised.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for CancelFlag {
    /// Readable while the flag is raised.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
