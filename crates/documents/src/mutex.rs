//! Locks that a panic of another thread does not break.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also after the panic of another thread. Each value in a mutex is consistent even after a panic.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
