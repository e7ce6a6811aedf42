//! The seal in force now.

use std::sync::{Arc, PoisonError, RwLock};

use crate::crossing::sealed::Sealed;

/// Holds what is in force. Replaced as a whole, so that a reader never sees parts of two seals.
#[derive(Debug)]
pub struct CurrentSeal(RwLock<Arc<Sealed>>);

impl CurrentSeal {
    /// Begins with this state.
    #[must_use]
    pub fn new(sealed: Sealed) -> Self {
        Self(RwLock::new(Arc::new(sealed)))
    }

    /// What is in force now.
    #[must_use]
    pub fn get(&self) -> Arc<Sealed> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new state in force. Its seal must be in the log by then.
    pub fn put(&self, sealed: Sealed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sealed);
    }
}
