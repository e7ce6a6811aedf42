//! The nonces that were spent and the authorizations that were denied while their windows are open, in memory.
//!
//! The rows of the store decide first. Rows that a person deletes or changes while the service runs would let an
//! authorization run again, or let a denied authorization run, so the writer also asks this set. At its start, the writer
//! fills the set from the newest log entries.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use documents::{AuthorizationDigest, MAX_WINDOW_S, Nonce, SKEW_S, Timestamp};

/// The set, with 16 bytes for each nonce and each authorization: a keyed hash and the end of the window.
#[derive(Debug, Default)]
pub struct ClosedWindows {
    /// A caller can choose nonces, but cannot find two nonces with the same hash, because the key is random.
    hasher: RandomState,
    ends: HashMap<u64, i64>,
    /// What the current batch adds.
    batch: Vec<(u64, i64)>,
}

impl ClosedWindows {
    /// Returns true if a committed batch has spent the nonce.
    pub fn is_spent(&self, nonce: &Nonce) -> bool {
        self.ends
            .contains_key(&self.hasher.hash_one(nonce.to_bytes()))
    }

    /// Returns true if a committed batch has denied the authorization.
    pub fn is_denied(&self, authorization: &AuthorizationDigest) -> bool {
        self.ends
            .contains_key(&self.hasher.hash_one(authorization.as_bytes()))
    }

    /// Adds a nonce of the current batch.
    pub fn spend(&mut self, nonce: &Nonce, end: Timestamp) {
        self.batch
            .push((self.hasher.hash_one(nonce.to_bytes()), end.unix()));
    }

    /// Adds an authorization that the current batch denies. Its window ends at most one day after the denial.
    pub fn deny(&mut self, authorization: &AuthorizationDigest, at: Timestamp) {
        self.batch.push((
            self.hasher.hash_one(authorization.as_bytes()),
            at.plus(MAX_WINDOW_S + SKEW_S).unix(),
        ));
    }

    /// Removes what the current batch added, because the batch was undone.
    pub fn undo(&mut self) {
        self.batch.clear();
    }

    /// Keeps what the current batch added, because the batch is durable.
    pub fn keep(&mut self) {
        self.ends.extend(self.batch.drain(..));
    }

    /// Removes everything whose window ended at or before the low-water mark.
    pub fn forget(&mut self, mark: Timestamp) {
        self.ends.retain(|_, end| *end > mark.unix());
    }
}
