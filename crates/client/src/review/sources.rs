//! Documents that a review reads from the boundary or from a file.

use std::collections::BTreeMap;

use serde_json::Value;

use documents::{
    ContentDigest, Envelope, EnvelopeSignature, KeyId, Permission, Profile, StepDigest,
};
use verdict::TrustedRoster;
use wire::{AdmittedJob, ApprovalsView, SameRun, UnknownEnd};

/// Documents that a review reads from the boundary or from a file, without verification.
#[derive(Clone, Default)]
pub struct ReviewSources {
    /// Bytes that the approver's signature would cover.
    pub payload: Vec<u8>,
    /// Definition of the step, read by the digest in the payload.
    pub definition: Option<Vec<u8>>,
    /// Contents of the step's files, read by the digests in the definition.
    pub contents: BTreeMap<ContentDigest, Vec<u8>>,
    /// Contents of the run's inputs, by their names.
    pub inputs: BTreeMap<String, Vec<u8>>,
    /// Steps of the earlier runs of the session, as the boundary reports them. `None` if the boundary reported none.
    pub session_runs: Option<Vec<String>>,
    /// Seal in force.
    pub seal: Option<Envelope>,
    /// Policy that the seal names.
    pub policy: Option<Vec<u8>>,
    /// Built-in lists that the seal names.
    pub builtins: Option<Vec<u8>>,
    /// Configuration that the seal names.
    pub configuration: Option<Vec<u8>>,
    /// Roster for the review.
    pub roster: RosterSource,
    /// Signatures in a file.
    pub signatures: Vec<EnvelopeSignature>,
    /// State of the proposal, as the boundary reports it.
    pub told: Option<ReportedState>,
    /// Reason why the boundary can't run the statement any more, as the boundary reports it.
    pub gone: Option<String>,
    /// Earlier run of the step with these parameters whose end nobody saw: its receipt and the time of the receipt, as
    /// the boundary reports them.
    pub unknown_end: Option<UnknownEnd>,
    /// Other proposals of the same run, as the boundary reports them.
    pub same_runs: Vec<SameRun>,
    /// CI job that made the proposal, as the boundary reports it.
    pub job: Option<AdmittedJob>,
    /// Last successful run of the step, as the boundary reports it.
    pub last: Option<LastRun>,
    /// True if the boundary told the last successful run, or that there is none.
    pub asked_last: bool,
    /// Key with which the approver would sign.
    pub mine: Option<KeyId>,
    /// Documents that could not be read, with the reasons.
    pub missing: Vec<String>,
}

/// Roster for the review.
#[derive(Clone, Default)]
pub enum RosterSource {
    /// No roster is known.
    #[default]
    None,
    /// Roster that the approver trusts, with its source.
    Trusted(Box<TrustedRoster>, String),
    /// Roster of the boundary, which the approver does not trust.
    BoundarysWord(Box<TrustedRoster>),
}

impl RosterSource {
    /// Returns the roster, trusted or not.
    pub fn roster(&self) -> Option<&TrustedRoster> {
        match self {
            Self::None => None,
            Self::Trusted(roster, _) | Self::BoundarysWord(roster) => Some(roster),
        }
    }

    /// Returns the roster only if the approver trusts it.
    pub fn trusted(&self) -> Option<&TrustedRoster> {
        match self {
            Self::Trusted(roster, _) => Some(roster),
            Self::None | Self::BoundarysWord(_) => None,
        }
    }
}

/// State of a proposal, as the boundary reports it.
#[derive(Clone)]
pub struct ReportedState {
    /// Status of the proposal.
    pub status: String,
    /// Reason why the approved run has not started.
    pub held_up: Option<String>,
    /// The approvers whose signatures count or can't count, and what is missing.
    pub approvals: ApprovalsView,
}

/// Last successful run of a step, as the boundary reports it.
#[derive(Clone)]
pub struct LastRun {
    /// End of the run.
    pub finished_at: String,
    /// Digest of the step definition that ran.
    pub digest: StepDigest,
    /// Definition that ran, if the boundary sent it.
    pub definition: Option<Vec<u8>>,
    /// Parameters of the run.
    pub params: Value,
    /// Number of successful runs of the step.
    pub runs: u64,
    /// Sandbox profile of the run, if the receipt could be read.
    pub profile: Option<Profile>,
    /// Permissions of the run, if the receipt could be read.
    pub permissions: Option<Vec<Permission>>,
    /// Number of denied file names that the run masked, if the receipt states the number.
    pub masked: Option<u64>,
    /// Number of file names that an earlier run with the same profile masked. Present only if the last run masked no
    /// names and its receipt contains this warning.
    pub masked_before: Option<u64>,
}
