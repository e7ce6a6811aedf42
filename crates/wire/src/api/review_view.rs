//! Runs that people must review, and the reviews so far.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use documents::{
    GrantId, GroupName, Name, ObservedEnd, Outcome, ProposalId, ReceiptId, ReviewVerdict, StepRef,
    Timestamp,
};

/// `GET /v1/unsettled`: the emergencies without their reviews, and the runs whose end nobody has settled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnsettledList {
    /// The runs that the caller may see, at most 100: first the emergencies, then the others, each newest first.
    pub runs: Vec<UnsettledRun>,
    /// Number of further runs among the 1,000 that the boundary reads.
    #[serde(default)]
    pub more: u64,
}

/// A run that people must review.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnsettledRun {
    /// Proposal of the run.
    pub proposal: ProposalId,
    /// Receipt of the run. Absent while an emergency runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// The step that ran.
    pub step: StepRef,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// End of the run, or its start while it runs.
    pub at: Timestamp,
    /// Outcome in the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why the end is unknown, in the words of the boundary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_unknown_because: Option<String>,
    /// The grant that pauses until the run is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The people who must review the emergency. Absent if the run needs no review as an emergency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewNeed>,
    /// The people who must say how the run ended. Absent if the end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<ReviewNeed>,
    /// True if people disagree about how the run ended.
    #[serde(default)]
    pub disputed: bool,
    /// The newest review of each person.
    pub reviews: Vec<RunReviewView>,
    /// Other steps of the runbook with `check=true`, which can show what the run left.
    pub steps: Vec<StepRef>,
}

/// Number of people of some groups who must review a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewNeed {
    /// Number of people.
    pub required: u64,
    /// Number of people whose review counts. For the settlement, those who agree.
    pub have: u64,
    /// Groups of these people.
    pub from: Vec<GroupName>,
}

/// A review of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunReviewView {
    /// The person who signed.
    pub reviewer: Name,
    /// Whether the run was right, by the reviewer.
    pub verdict: ReviewVerdict,
    /// How the run ended, by the reviewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedEnd>,
    /// Index of the log entry.
    pub index: u64,
}

/// `POST /v1/receipts/{id}/reviews`: a review is in the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReviewedView {
    /// The reviewed receipt.
    pub receipt: ReceiptId,
    /// Index of the log entry.
    pub index: u64,
    /// True if the log already had this review.
    pub existing: bool,
    /// True if the run is an emergency that still needs reviews.
    pub open: bool,
    /// True if the end of the run is not settled.
    pub unsettled: bool,
    /// How the run ended, if this is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<ObservedEnd>,
}
