//! Denials: the request to store a denial, and the denials in the store.

use crate::CheckedState;
use documents::{AuthorizationDigest, Name, ProposalId, Timestamp};

/// A verified denial.
#[derive(Debug, Clone)]
pub struct DenialWrite {
    /// Digest of the denied authorization, which the boundary may not know.
    pub authorization: AuthorizationDigest,
    /// State with which the denial was checked.
    pub checked: CheckedState,
    /// Name of the approver.
    pub approver: Name,
    /// Envelope of the denial, as canonical JSON.
    pub envelope: Vec<u8>,
    /// Time at which the denial arrived at the boundary.
    pub at: Timestamp,
    /// True if the boundary did not know the authorization when it verified the denial. The number of such denials is
    /// limited.
    pub ahead: bool,
}

/// A stored denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDenial {
    /// Name of the approver.
    pub approver: Name,
    /// Leaf index of the denial.
    pub leaf: u64,
    /// Time at which the denial arrived at the boundary.
    pub at: Timestamp,
}

/// The result of the attempt to store a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialResult {
    /// Leaf index of the denial, or of an earlier denial of the authorization by the same approver.
    pub leaf: u64,
    /// The waiting proposal that the denial ended.
    pub denied: Option<ProposalId>,
    /// Running proposal of the denied authorization. The caller must end this run.
    pub running: Option<ProposalId>,
}
