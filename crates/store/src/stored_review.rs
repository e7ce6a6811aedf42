//! Reviews: the runs that need a review, the reviews in the log, and the request to store a review.

use std::sync::Arc;

use crate::CheckedState;
use documents::{ContentDigest, Name, ObservedEnd, ProposalId, ReviewVerdict, Timestamp};

/// A run that needs a review: an emergency, or a run whose end nobody saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedReview {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Leaf index of the receipt, or `None` while an emergency runs.
    pub receipt: Option<u64>,
    /// True if the run is an emergency.
    pub emergency: bool,
    /// True if nobody saw the end of the run.
    pub unknown: bool,
    /// Grant that pauses until the run is settled.
    pub grant: Option<ContentDigest>,
    /// Leaf index of the review that closed the emergency.
    pub reviewed: Option<u64>,
    /// Leaf index of the review that settled the end of the run. A later review can dispute the end.
    pub settled: Option<u64>,
}

impl OwedReview {
    /// Returns true if the run is an emergency whose review is open.
    pub const fn is_open(&self) -> bool {
        self.emergency && self.reviewed.is_none()
    }

    /// Returns true if nobody saw the end of the run, and no review has settled the end.
    pub const fn is_unsettled(&self) -> bool {
        self.unknown && self.settled.is_none()
    }
}

/// A review in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReview {
    /// Leaf index of the review.
    pub leaf: u64,
    /// Leaf index of the receipt.
    pub receipt: u64,
    /// The person who signed the review.
    pub reviewer: Name,
    /// Whether the run was right.
    pub verdict: ReviewVerdict,
    /// How the run ended, as people found out later.
    pub observed: Option<ObservedEnd>,
    /// True if the review counts for the end of an emergency.
    pub counts_for_review: bool,
    /// True if the review counts for the end of a run that nobody saw.
    pub counts_for_settle: bool,
    /// The proposal of the run.
    pub proposal: ProposalId,
}

/// A verified review to log.
#[derive(Debug, Clone)]
pub struct ReviewWrite {
    /// Envelope of the review, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// The review. Its leaf index is ignored.
    pub review: StoredReview,
    /// True if the review closes the emergency.
    pub closes: bool,
    /// `Some(true)` if the review settles the end of the run, `Some(false)` if the settled end is open again, `None` if nothing
    /// changes.
    pub settles: Option<bool>,
    /// State with which the review was checked.
    pub checked: CheckedState,
    /// State version with which the earlier reviews of the run were counted.
    pub version: u64,
    /// Time at which the review arrived at the boundary.
    pub at: Timestamp,
}
