//! Flag that cancels a run and wakes the thread that polls for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// Cancels a run. All clones share one flag. The flag can be raised but never lowered.
#[derive(Debug, Clone)]
pub struct CancelFlag(Arc<OwnedFd>);

impl CancelFlag {
    /// Creates a flag that is not raised.
    ///
    /// # Errors
    /// Fails if the process has no free file descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)))
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        // The write fails only if the counter is full. The flag is then already raised.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for CancelFlag {
    /// Returns a descriptor that is readable while the flag is raised.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
