//! A pool of connections that several threads share.

use std::sync::{Condvar, Mutex, PoisonError};

use documents::locked;

/// Idle connections, and the number of all places.
pub struct IdlePool<C> {
    most: usize,
    idle: Mutex<(Vec<C>, usize)>,
    returned: Condvar,
}

impl<C> IdlePool<C> {
    /// Makes a pool with at most `most` places.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            idle: Mutex::new((Vec::new(), 0)),
            returned: Condvar::new(),
        }
    }

    /// Returns a place with an idle connection, or without a connection, which the caller may then make. The call waits
    /// while all places are taken.
    pub fn place(&self) -> PlaceInPool<'_, C> {
        let mut idle = locked(&self.idle);
        loop {
            let connection = idle.0.pop();
            if connection.is_none() && idle.1 == self.most {
                idle = self
                    .returned
                    .wait(idle)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            idle.1 += usize::from(connection.is_none());
            return PlaceInPool {
                pool: self,
                connection,
            };
        }
    }
}

/// The place of one caller, which returns its connection to the pool also after a panic.
pub struct PlaceInPool<'p, C> {
    pool: &'p IdlePool<C>,
    pub connection: Option<C>,
}

impl<C> Drop for PlaceInPool<'_, C> {
    fn drop(&mut self) {
        let mut idle = locked(&self.pool.idle);
        match self.connection.take() {
            Some(connection) => idle.0.push(connection),
            None => idle.1 -= 1,
        }
        self.pool.returned.notify_one();
    }
}
