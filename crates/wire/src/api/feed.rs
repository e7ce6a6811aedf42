//! Events of the whole boundary, as `GET /v1/events` transports them.

use documents::{
    Code, GrantId, KeyId, Name, ProposalId, RevokedSubject, Status, StepRef, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An event of the boundary. It never contains parameters, a reason or output.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct FeedEvent {
    /// Number of the event. The numbers increase in the order of the commits, and can have gaps.
    pub seq: u64,
    /// Time of the change.
    pub at: Timestamp,
    /// What happened.
    pub kind: FeedKind,
    /// The proposal of a `proposal.` event and of `emergency`.
    pub proposal: Option<ProposalId>,
    /// Ref of the proposal's step.
    pub step: Option<StepRef>,
    /// Token or proposer that made the proposal.
    pub proposer: Option<Name>,
    /// How the run ended, for `proposal.finished`.
    pub outcome: Option<Status>,
    /// Code of the refusal, for `proposal.refused`.
    pub code: Option<Code>,
    /// The grant of a `grant.` event.
    pub grant: Option<GrantId>,
    /// Index of the log entry, for `grant.active`, `revocation`, `frozen`, `thawed`, `seal` and `review`.
    pub entry: Option<u64>,
    /// What was revoked, for `revocation`.
    pub subject: Option<RevokedSubject>,
    /// What the operator should look at, for `attention`.
    pub words: Option<String>,
    /// The signature, for `proposal.signed`.
    pub signed: Option<SignedBy>,
}

impl FeedEvent {
    /// Returns an event that states nothing but its kind and time.
    pub fn new(seq: u64, at: Timestamp, kind: FeedKind) -> Self {
        Self {
            seq,
            at,
            kind,
            proposal: None,
            step: None,
            proposer: None,
            outcome: None,
            code: None,
            grant: None,
            entry: None,
            subject: None,
            words: None,
            signed: None,
        }
    }
}

/// The signature of a person.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SignedBy {
    /// Name of the approver in whose name the signature is.
    pub person: Name,
    /// Id of the key.
    pub keyid: KeyId,
    /// Host of the key, if the roster in force has the key as a passkey.
    pub passkey: Option<String>,
}

documents::words! {
    /// Kind of an event.
    #[derive(Serialize, Deserialize, JsonSchema)]
    pub enum FeedKind {
        /// A new proposal waits for signatures.
        #[serde(rename = "proposal.pending")]
        Pending = "proposal.pending",
        /// The quorum of a proposal is met.
        #[serde(rename = "proposal.approved")]
        Approved = "proposal.approved",
        /// The nonce of a proposal is spent, and its run begins.
        #[serde(rename = "proposal.running")]
        Running = "proposal.running",
        /// The receipt of a run is in the log.
        #[serde(rename = "proposal.finished")]
        Finished = "proposal.finished",
        /// An approver denied a proposal.
        #[serde(rename = "proposal.denied")]
        Denied = "proposal.denied",
        /// The window of a proposal ended before its run.
        #[serde(rename = "proposal.expired")]
        Expired = "proposal.expired",
        /// The proposer or an operator cancelled a proposal.
        #[serde(rename = "proposal.cancelled")]
        Cancelled = "proposal.cancelled",
        /// A proposal can no longer run.
        #[serde(rename = "proposal.refused")]
        Refused = "proposal.refused",
        /// A person signed a proposal.
        #[serde(rename = "proposal.signed")]
        Signed = "proposal.signed",
        /// A key or a token was revoked.
        #[serde(rename = "revocation")]
        Revocation = "revocation",
        /// The boundary was frozen.
        #[serde(rename = "frozen")]
        Frozen = "frozen",
        /// A freeze ended.
        #[serde(rename = "thawed")]
        Thawed = "thawed",
        /// A seal came into force.
        #[serde(rename = "seal")]
        Seal = "seal",
        /// A draft of a grant waits for signatures.
        #[serde(rename = "grant.pending")]
        GrantPending = "grant.pending",
        /// A grant is in the log.
        #[serde(rename = "grant.active")]
        GrantActive = "grant.active",
        /// A person reviewed a run.
        #[serde(rename = "review")]
        Review = "review",
        /// The run of an emergency begins, and people must review it.
        #[serde(rename = "emergency")]
        Emergency = "emergency",
        /// The operator should look at something.
        #[serde(rename = "attention")]
        Attention = "attention",
    }
}

impl FeedKind {
    /// Returns true if an event of this kind asks people for signatures.
    pub fn is_request(self) -> bool {
        matches!(self, Self::Pending | Self::GrantPending)
    }

    /// Returns true if the proposal of an event of this kind has ended.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Denied | Self::Expired | Self::Cancelled | Self::Refused
        )
    }
}
