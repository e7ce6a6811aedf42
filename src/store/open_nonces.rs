//! The spent nonces whose windows are open, in memory.
//!
//! The rows of the store decide first. Rows that a person deletes or changes while the service runs would let an
//! authorization run again, so the writer also asks this set. At its start, the writer fills the set from the log.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use documents::record::ident::Nonce;
use documents::record::validity::Timestamp;

/// The set, with 16 bytes for each nonce: a keyed hash and the end of the window.
#[derive(Debug, Default)]
pub(crate) struct OpenNonces {
    /// A caller can choose nonces, but cannot find two nonces with the same hash, because the key is random.
    hasher: RandomState,
    ends: HashMap<u64, i64>,
    /// Nonces that the current batch spends.
    batch: Vec<(u64, i64)>,
}

impl OpenNonces {
    /// Returns true if a committed batch has spent the nonce.
    pub(crate) fn contains(&self, nonce: &Nonce) -> bool {
        self.ends.contains_key(&self.hash(nonce))
    }

    /// Adds a nonce of the current batch.
    pub(crate) fn spend(&mut self, nonce: &Nonce, end: Timestamp) {
        self.batch.push((self.hash(nonce), end.unix()));
    }

    /// Removes the nonces of the current batch, because the batch was undone.
    pub(crate) fn undo(&mut self) {
        self.batch.clear();
    }

    /// Adds the nonces of the current batch, because the batch is durable.
    pub(crate) fn keep(&mut self) {
        self.ends.extend(self.batch.drain(..));
    }

    /// Removes the nonces whose windows ended at or before the low-water mark.
    pub(crate) fn close(&mut self, mark: Timestamp) {
        self.ends.retain(|_, end| *end > mark.unix());
    }

    fn hash(&self, nonce: &Nonce) -> u64 {
        self.hasher.hash_one(nonce.to_bytes())
    }
}
