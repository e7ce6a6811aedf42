//! What people signed beside the runs: denials, revocations, reviews and grants, as an audit lists them.

use schemars::JsonSchema;
use serde::Serialize;

use documents::{
    AuthorizationDigest, ContentDigest, GrantId, Name, ObservedEnd, ReceiptId, ReviewVerdict,
    RevokedSubject, StepRef, Timestamp,
};

/// One denial in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DenialLine {
    /// Latest time that the log states before the denial. A denial states no time.
    pub after: Timestamp,
    /// Name of the approver who denied.
    pub approver: Name,
    /// Digest of the denied authorization. The log contains the authorization only if it ran.
    pub authorization: AuthorizationDigest,
    /// Reason in the words of the approver, who signed them. No check confirms the reason.
    pub reason: String,
    /// Index of the log entry.
    pub entry: u64,
}

/// One valid revocation in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RevocationLine {
    /// Latest time that the log states before the revocation. A revocation states no time.
    pub after: Timestamp,
    /// The holder of the key that signed, for example `operator oscar`.
    pub signer: String,
    /// What is revoked.
    pub subject: RevokedSubject,
    /// Name of the revoked token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Name>,
    /// Id of the revoked grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Reason in the words of the signer. No check confirms the reason.
    pub reason: String,
    /// Index of the log entry.
    pub entry: u64,
}

/// One valid review in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReviewedLine {
    /// Latest time that the log states before the review. A review states no time.
    pub after: Timestamp,
    /// The person who signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<Name>,
    /// Id of the reviewed receipt.
    pub receipt: ReceiptId,
    /// Whether the run was right, by the reviewer.
    pub verdict: ReviewVerdict,
    /// How the run ended, by the reviewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedEnd>,
    /// Reason in the words of the reviewer. No check confirms the reason.
    pub reason: String,
    /// Index of the log entry.
    pub entry: u64,
}

/// What the reviews of a run say at the end of the log: of an emergency, or of a run whose end nobody saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunReviewState {
    /// Id of the receipt.
    pub receipt: ReceiptId,
    /// The step that ran.
    pub step: StepRef,
    /// Time at which the nonce was spent.
    pub at: Timestamp,
    /// True if the run is an emergency without its reviews.
    pub emergency: bool,
    /// True if nobody has settled how the run ended.
    pub unsettled: bool,
    /// True if people disagree about how the run ended.
    pub disputed: bool,
    /// The people whose reviews count for the emergency, if these reviews are enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviewed_by: Vec<Name>,
    /// How the run ended, if people have settled this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<ObservedEnd>,
    /// The people whose reviews settled this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settled_by: Vec<Name>,
    /// Index of the log entry of the receipt.
    pub entry: u64,
}

/// One grant in the log, with its uses at the end of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrantLine {
    /// Id of the grant.
    pub grant: GrantId,
    /// Digest of its payload, which an authorization names.
    pub digest: ContentDigest,
    /// The proposer that may use the grant.
    pub grantee: Name,
    /// Token or proposer that asked for the grant.
    pub proposer: Name,
    /// Approvers who signed the grant.
    pub signers: Vec<Name>,
    /// End of the grant.
    pub until: Timestamp,
    /// Number of uses in the log.
    pub uses: u64,
    /// Maximum number of uses.
    pub max_uses: u64,
    /// Time of the last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Log entry that revoked the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
    /// The holder of the key that revoked the grant, for example `operator oscar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// Log entry of the receipt with an unknown end, since which the grant pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<u64>,
    /// Why no run can use the grant under the last seal of the log, for example because its epoch was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Index of the log entry.
    pub entry: u64,
}
