//! Locks a mutex of this crate.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex. Each value is consistent even after a panic, so a poisoned lock is used like any other lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
