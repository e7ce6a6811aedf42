//! Standing grants: drafts with their signatures, the grants of the log, and their uses.

use std::sync::Arc;

use crate::{CheckedState, StoreFault, WriteStop};
use documents::{ContentDigest, GrantId, Name, Timestamp};

/// A stored grant: a draft, or a grant of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// Id of the grant.
    pub id: GrantId,
    /// Digest of the payload.
    pub digest: ContentDigest,
    /// Envelope with the signatures so far, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// The proposer in the grant.
    pub proposer: Name,
    /// Time at which the grant arrived.
    pub created_at: Timestamp,
    /// End of the grant, or the time at which its draft was taken back.
    pub expires_at: Timestamp,
    /// Leaf index, or `None` for a draft.
    pub leaf: Option<u64>,
}

/// A draft to store, or a grant to log.
#[derive(Debug, Clone)]
pub struct GrantWrite {
    /// The grant. A stored grant with the same id gets this envelope.
    pub grant: StoredGrant,
    /// State with which the signatures were counted, if the grant must be logged now.
    pub checked: Option<CheckedState>,
    /// Time of the request.
    pub at: Timestamp,
}

/// Reason why a grant is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantStop {
    /// The limit on drafts is reached.
    TooMany {
        /// Maximum number of drafts.
        most: u64,
    },
    /// Another grant has the same id.
    Taken,
    /// The log does not accept the entry.
    Write(WriteStop),
}

impl From<WriteStop> for GrantStop {
    fn from(stop: WriteStop) -> Self {
        Self::Write(stop)
    }
}

impl From<StoreFault> for GrantStop {
    fn from(fault: StoreFault) -> Self {
        Self::Write(fault.into())
    }
}

/// A use of a grant that a run claims when its nonce is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantClaim {
    /// Digest of the grant's payload.
    pub grant: ContentDigest,
    /// Maximum number of uses.
    pub max_uses: u64,
    /// Maximum number of uses in a number of seconds.
    pub rate: Option<(u64, u64)>,
}

impl GrantClaim {
    /// Returns the number of newest uses that decide about the next one.
    pub fn needed(&self) -> u64 {
        self.rate.map_or(1, |(uses, _)| uses.max(1))
    }
}

/// A use of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpentUse {
    /// Number of the use, from 1.
    pub number: u64,
    /// Time of the consumption.
    pub at: Timestamp,
    /// True if the grant pauses.
    pub paused: bool,
}

/// Maximum number of drafts that wait for signatures.
pub const MOST_DRAFTS: u64 = 100;

/// Maximum number of drafts of one proposer that wait for signatures.
pub const MOST_DRAFTS_OF_PROPOSER: u64 = 20;
