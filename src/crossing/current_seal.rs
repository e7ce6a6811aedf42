//! The seal in force now.

use std::sync::{Arc, PoisonError, RwLock};

use crate::crossing::sealed::Sealed;

/// Holds the state in force. The state is replaced as a whole, so that a reader never sees parts of two seals.
#[derive(Debug)]
pub struct CurrentSeal(RwLock<Arc<Sealed>>);

impl CurrentSeal {
    /// Makes a holder that begins with this state.
    #[must_use]
    pub fn new(sealed: Sealed) -> Self {
        Self(RwLock::new(Arc::new(sealed)))
    }

    /// Returns the state in force.
    #[must_use]
    pub fn get(&self) -> Arc<Sealed> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new state in force. Its seal must already be in the log.
    pub fn put(&self, sealed: Sealed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sealed);
    }
}
