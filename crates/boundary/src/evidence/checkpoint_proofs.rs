//! The proofs of the newest checkpoint, which many bundles share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use documents::locked;

/// Proofs that bundles with the same checkpoint share: the proof of the seal, and the proof of a consumption that spent
/// several nonces. Each proof is stored as JSON under the index of its log entry.
#[derive(Default)]
pub struct CheckpointProofs(Mutex<(String, HashMap<u64, Arc<str>>)>);

/// Maximum number of proofs in memory. A new checkpoint clears the map, but a closed log gets no new checkpoint, so
/// without this limit the map would keep all its proofs.
pub const MOST_PROOFS: usize = 256;

impl CheckpointProofs {
    pub fn find(&self, index: u64, checkpoint: &str) -> Option<Arc<str>> {
        let kept = locked(&self.0);
        if kept.0 == checkpoint {
            kept.1.get(&index).cloned()
        } else {
            None
        }
    }

    pub fn keep(&self, index: u64, checkpoint: &str, proof: &Arc<str>) {
        let mut kept = locked(&self.0);
        if kept.0 != checkpoint || kept.1.len() == MOST_PROOFS {
            *kept = (checkpoint.to_owned(), HashMap::new());
        }
        kept.1.insert(index, proof.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_proof_is_used_only_for_its_entry_and_its_checkpoint() {
        let (proofs, proof) = (CheckpointProofs::default(), Arc::from("proof"));
        assert_eq!(proofs.find(3, "one"), None);
        proofs.keep(3, "one", &proof);
        assert_eq!(proofs.find(3, "one").as_deref(), Some("proof"));
        assert_eq!((proofs.find(4, "one"), proofs.find(3, "two")), (None, None));
        proofs.keep(4, "two", &proof);
        assert_eq!(
            proofs.find(3, "one"),
            None,
            "what led to an earlier head is forgotten"
        );
        (0..MOST_PROOFS as u64 * 2).for_each(|index| proofs.keep(index, "two", &proof));
        assert!(proofs.0.lock().expect("a lock").1.len() <= MOST_PROOFS);
    }
}
