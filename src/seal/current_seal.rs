//! The sealed state that is in force.

use std::sync::{Arc, PoisonError, RwLock};

use crate::seal::sealed::Sealed;

/// Sealed state in force, for all readers. A new state replaces the whole old state, so that a reader never sees parts
/// of two seals.
#[derive(Debug)]
pub struct CurrentSeal(RwLock<Arc<Sealed>>);

impl CurrentSeal {
    /// Creates the value with `sealed` in force.
    #[must_use]
    pub fn new(sealed: Sealed) -> Self {
        Self(RwLock::new(Arc::new(sealed)))
    }

    /// Returns the sealed state in force.
    #[must_use]
    pub fn get(&self) -> Arc<Sealed> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new state in force. The seal of the new state must already be in the log.
    pub fn put(&self, sealed: Sealed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sealed);
    }
}
