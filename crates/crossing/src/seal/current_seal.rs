//! The sealed state that is in force, and what is revoked.

use std::sync::{Arc, Mutex};

use crate::Sealed;
use documents::locked;
use store::StoredRevocation;
use verdict::Revocations;

/// Sealed state in force, for all readers. A new state replaces the whole old state, so that a reader never sees parts
/// of two seals.
pub struct CurrentSeal {
    sealed: Mutex<Arc<Sealed>>,
    /// The revocations of the log, as its list of them and as each verdict needs them.
    revoked: Mutex<(Arc<Vec<StoredRevocation>>, Arc<Revocations>)>,
    /// Keys that closed logs revoked. A restore begins a new log, in which these keys count as little as before.
    earlier: Vec<StoredRevocation>,
}

impl CurrentSeal {
    /// Creates the value with `sealed` in force, and with the revocations of keys of the closed logs.
    pub fn new(sealed: Sealed, earlier: Vec<StoredRevocation>) -> Self {
        let known = Mutex::new((Arc::default(), Arc::new(revocations(&earlier, &[]))));
        Self {
            sealed: Mutex::new(Arc::new(sealed)),
            revoked: known,
            earlier,
        }
    }

    /// Returns the sealed state in force.
    pub fn get(&self) -> Arc<Sealed> {
        locked(&self.sealed).clone()
    }

    /// Puts a new state in force. The seal of the new state must already be in the log.
    pub fn put(&self, sealed: Sealed) {
        *locked(&self.sealed) = Arc::new(sealed);
    }

    /// Returns the revocations of these log entries, which are built again only after a new revocation.
    pub fn revoked(&self, stored: &Arc<Vec<StoredRevocation>>) -> Arc<Revocations> {
        let mut known = locked(&self.revoked);
        if !Arc::ptr_eq(&known.0, stored) {
            *known = (stored.clone(), Arc::new(revocations(&self.earlier, stored)));
        }
        known.1.clone()
    }
}

/// Returns the revocations of the log together with the earlier revocations of keys.
pub fn revocations(earlier: &[StoredRevocation], stored: &[StoredRevocation]) -> Revocations {
    earlier
        .iter()
        .chain(stored)
        .map(|one| (one.subject, one.leaf))
        .collect()
}
