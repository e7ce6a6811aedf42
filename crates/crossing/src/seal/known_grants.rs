//! Grants that a run used under the seal in force. Their signatures are verified once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use documents::{ContentDigest, locked};
use verdict::PreparedGrant;

/// Maximum number of grants in memory. A grant has at most 36 KiB.
const MOST_KNOWN: usize = 256;

/// Grants of the log with the digests of their payloads. A new seal begins without grants, because it can have other
/// approvers.
#[derive(Default)]
pub struct KnownGrants(Mutex<BTreeMap<ContentDigest, Arc<PreparedGrant>>>);

impl KnownGrants {
    /// Returns a grant that was kept before.
    pub fn get(&self, digest: &ContentDigest) -> Option<Arc<PreparedGrant>> {
        locked(&self.0).get(digest).cloned()
    }

    /// Keeps a grant of the log.
    pub fn keep(&self, digest: ContentDigest, grant: &Arc<PreparedGrant>) {
        let mut known = locked(&self.0);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(digest, grant.clone());
    }
}
