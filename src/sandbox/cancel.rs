//! A flag that ends a run, and wakes who waits.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::EventfdFlags;

/// Asks a run to end. Clones are the same flag; once raised it stays raised.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Held while the descriptor is made or written to: whoever comes second sees what the first did.
    raised: Mutex<bool>,
    /// Made when somebody first waits.
    wakes: OnceLock<OwnedFd>,
}

impl CancelFlag {
    /// A flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        let mut raised = self.raised();
        *raised = true;
        self.0.wakes.get().iter().for_each(|wakes| wake(wakes));
    }

    /// What is readable while the flag is raised.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        let raised = self.raised();
        if let Some(wakes) = self.0.wakes.get() {
            return Ok(wakes.as_fd());
        }
        let made = rustix::event::eventfd(u32::from(*raised), EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(self.0.wakes.get_or_init(|| made).as_fd())
    }

    fn raised(&self) -> MutexGuard<'_, bool> {
        self.0.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(wakes: &OwnedFd) {
    // Fails only when the counter is full, and then it is readable.
    let _ = rustix::io::write(wakes, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_raised(flag: &CancelFlag) -> bool {
        let descriptor = flag.descriptor().expect("a descriptor");
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec::default())).expect("poll") == 1
    }

    #[test]
    fn a_flag_is_seen_whether_it_was_raised_before_or_after_somebody_waits() {
        let (before, after) = (CancelFlag::new(), CancelFlag::new());
        before.clone().cancel();
        assert!(is_raised(&before) && !is_raised(&after));
        after.clone().cancel();
        after.cancel();
        assert!(is_raised(&after) && is_raised(&after), "it stays raised");
    }

    #[test]
    fn a_flag_that_is_raised_while_somebody_begins_to_wait_is_seen() {
        for _ in 0..2_000 {
            let (flag, together) = (CancelFlag::new(), Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    flag.cancel();
                });
                together.wait();
                let _ = flag.descriptor().expect("a descriptor");
            });
            // Not by `descriptor`, which looks again.
            let woken = flag.0.wakes.get().expect("made");
            let readable = poll(&mut [PollFd::new(woken, PollFlags::IN)], Some(&Timespec::default())).expect("poll");
            assert_eq!(readable, 1);
        }
    }
}
