//! Time and randomness, which the boundary receives as arguments.

use std::sync::Arc;

use documents::Timestamp;

/// A function that fills a buffer with random bytes.
pub type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// The sources of time and randomness of a boundary.
#[derive(Clone)]
pub struct Surroundings {
    /// Returns the time of the wall clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Returns the milliseconds since 1970 by the wall clock.
    pub millis: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Fills a buffer with random bytes of the operating system.
    pub random: Arc<Fill>,
}

impl Surroundings {
    /// Returns the milliseconds since 1970 at `now`, which is the boundary's own time. Within its second, the wall clock
    /// gives the order.
    pub fn millis_of(&self, now: Timestamp) -> u64 {
        let second_ms = now.unix().unsigned_abs() * 1000;
        (self.millis)().clamp(second_ms, second_ms + 999)
    }

    /// Returns `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}
