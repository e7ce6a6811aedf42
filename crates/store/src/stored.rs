//! The requests to the ledger and its answers:
//!
//! - proposals and their signatures: requests, queries and results, and the status with its details
//! - runs: the request to spend a nonce, and the request to store the receipt
//! - standing grants: drafts with their signatures, the grants of the log, and their uses
//! - denials: the request to store a denial, and the denials in the store
//! - reviews: the runs that need a review, the reviews in the log, and the request to store a review
//! - seals: the request to append a seal, and the seals of the log
//! - tokens without their secrets, and the changes of tokens in a seal

use std::sync::Arc;

use crate::{CheckedState, StoreFault, StoreResult, WriteStop};
use documents::{
    Authorization, AuthorizationDigest, AuthorizationRef, Blake3Digest, BlobDigest, ContentDigest,
    GrantId, KeyId, LeafHash, Malformed, Name, Nonce, ObservedEnd, ParamsDigest, Presence,
    ProposalId, ProposalIdEnding, ReviewVerdict, SealDigest, SealedToken, SessionReference,
    StepDigest, StepRef, Timestamp, joined,
};
use wire::ProposalStatus;

/// Time in seconds after the end of a run, a denial or a cancellation. Within this time, the same call counts as a
/// repetition.
const REPEATS_FOR_S: i64 = 600;
/// Number of the newest proposals of a proposer with which a call is compared. Proposals of the same step with the same
/// parameters can differ, for example in their sessions.
pub const MOST_COMPARED: usize = 4;

/// The fields of an authorization that are columns in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationCore {
    /// Id of the proposal.
    pub id: ProposalId,
    /// Digest of the payload.
    pub digest: AuthorizationDigest,
    /// Nonce that the run spends.
    pub nonce: Nonce,
    /// Reference of the step.
    pub step: StepRef,
    /// Digest of the step.
    pub step_digest: StepDigest,
    /// Digest of the parameters.
    pub params_digest: ParamsDigest,
    /// Name of the proposer.
    pub proposer: Name,
    /// End of the window.
    pub expires_at: Timestamp,
}

impl AuthorizationCore {
    /// Returns the fields of an authorization. `payload` has its bytes.
    ///
    /// # Errors
    /// Returns an error if the parameters have no canonical form.
    pub fn of(authorization: &Authorization, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            id: authorization.proposal.clone(),
            digest: AuthorizationDigest::of(payload),
            nonce: authorization.nonce.clone(),
            step: authorization.step.reference.clone(),
            step_digest: authorization.step.digest,
            params_digest: authorization.params_digest()?,
            proposer: authorization.proposer.clone(),
            expires_at: authorization.expires_at,
        })
    }
}

/// A proposal to store.
#[derive(Clone)]
pub struct NewProposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Payload that the approvers sign.
    pub payload: Arc<[u8]>,
    /// The list of programs that the payload names.
    pub programs: Option<Arc<[u8]>>,
    /// Digest of the run that the call asks for, by which a repeated call is recognized.
    pub request: [u8; 32],
    /// True if the caller chose the nonce, which then identifies a repeated request.
    pub chosen_nonce: bool,
    /// True if an earlier proposal that asks for the same run may be the answer to the call.
    pub may_repeat: bool,
    /// Time of the proposal, in milliseconds since 1970.
    pub created_ms: u64,
    /// What the boundary says about the job that made the proposal, as JSON.
    pub admitted: Option<Arc<str>>,
}

impl NewProposal {
    /// Returns the proposal that this call repeats. `newest` are the newest proposals of the same proposer, newest first.
    pub fn repeated(&self, newest: impl IntoIterator<Item = Proposal>) -> Option<Proposal> {
        let is_same_step = |earlier: &Proposal| {
            let core = &earlier.core;
            core.step_digest == self.core.step_digest
                && core.params_digest == self.core.params_digest
        };
        // If the proposer proposed another step or other parameters in between, the call is a new request.
        let mut since = newest
            .into_iter()
            .take_while(is_same_step)
            .filter(|_| self.may_repeat);
        let earlier = since.find(|earlier| earlier.request == Some(self.request))?;
        let is_repeated = match earlier.status {
            ProposalStatus::Pending | ProposalStatus::Approved => {
                self.created_at() < earlier.core.expires_at
            }
            ProposalStatus::Running => true,
            ProposalStatus::Finished | ProposalStatus::Denied | ProposalStatus::Cancelled => {
                earlier
                    .ended_at
                    .is_some_and(|ended| self.created_at() < ended.plus(REPEATS_FOR_S))
            }
            // Nothing ran, and nobody denied the run, so the call is a new request.
            ProposalStatus::Expired | ProposalStatus::Refused => false,
        };
        is_repeated.then_some(earlier)
    }

    /// Returns the time of the proposal.
    pub fn created_at(&self) -> Timestamp {
        seconds(self.created_ms)
    }

    /// Returns the proposal as the store will return it.
    pub fn as_pending(&self) -> Proposal {
        Proposal {
            core: self.core.clone(),
            request: Some(self.request),
            status: ProposalStatus::Pending,
            created_ms: self.created_ms,
            approved_at: None,
            started_at: None,
            ended_at: None,
            authorization: None,
            consumption: None,
            receipt: None,
            detail: None,
        }
    }
}

/// The result of the attempt to store a new proposal.
#[derive(Debug, PartialEq)]
pub enum ProposeResult {
    /// The proposal is stored.
    New,
    /// The same proposal, returned here, was already stored.
    Same(Box<Proposal>),
    /// A different proposal already has this nonce or id.
    Conflict(Box<Proposal>),
    /// This proposer has too many stored proposals that ended and have no signature.
    TooManyKept {
        /// Maximum number of unsigned proposals of one proposer.
        most: u64,
        /// Time at which the first of the unsigned proposals can be deleted.
        until: Timestamp,
    },
    /// Too many proposals are pending.
    TooMany {
        /// Maximum number of pending proposals.
        most: u64,
        /// True if the limit is for one proposer, false if the limit is for all proposers.
        of_proposer: bool,
    },
}

/// A stored proposal.
#[derive(Debug, PartialEq)]
pub struct Proposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Digest of the run that the call asked for, or `None` for a submitted envelope.
    pub request: Option<[u8; 32]>,
    /// Status of the proposal.
    pub status: ProposalStatus,
    /// Time at which the proposal arrived, in milliseconds since 1970.
    pub created_ms: u64,
    /// Time at which the quorum was met.
    pub approved_at: Option<Timestamp>,
    /// Time of the consumption.
    pub started_at: Option<Timestamp>,
    /// Time at which the proposal reached its final status.
    pub ended_at: Option<Timestamp>,
    /// Leaf index of the authorization.
    pub authorization: Option<u64>,
    /// Leaf index and item number of the consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf index of the receipt.
    pub receipt: Option<u64>,
    /// Details of the status.
    pub detail: Option<StatusDetail>,
}

impl Proposal {
    /// Returns the time at which the proposal arrived.
    pub fn created_at(&self) -> Timestamp {
        seconds(self.created_ms)
    }
}

fn seconds(millis: u64) -> Timestamp {
    Timestamp::from_unix((millis / 1000).cast_signed())
}

/// A verified signature over the payload of a proposal.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// Id of the key.
    pub keyid: KeyId,
    /// Name of the person who has the key.
    pub person: Name,
    /// Presence of a person (touch, PIN), as a security key states it.
    pub presence: Presence,
    /// Signature bytes, raw or in the SSHSIG format.
    pub sig: Vec<u8>,
    /// Time at which the signature arrived at the boundary.
    pub at: Timestamp,
}

/// A change of a proposal's status, other than the start and the end of a run.
pub struct ProposalStep {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Statuses that permit the change. An empty list permits every status from which `to` is reachable.
    pub from: Vec<ProposalStatus>,
    /// New status: approved, denied, expired, cancelled or refused.
    pub to: ProposalStatus,
    /// Time of the change.
    pub at: Timestamp,
    /// Details of the proposal's new status.
    pub detail: StatusDetail,
}

/// The reasons why a proposal keeps its status.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AdvanceStop {
    /// The proposal does not exist.
    #[error("the proposal does not exist")]
    Unknown,
    /// The current status of the proposal does not allow the change.
    #[error("the proposal is already {0}")]
    WrongState(ProposalStatus),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// Place of a proposal in the lists, which have the newest proposal first: the milliseconds of its creation, and its id.
pub type ProposalPlace = (u64, ProposalId);

/// Conditions for a list of proposals.
#[derive(Debug, Default)]
pub struct ProposalQuery {
    /// Statuses of the proposals. An empty list of statuses means all statuses.
    pub statuses: Vec<ProposalStatus>,
    /// Last characters of the id of the proposal.
    pub ending: Option<ProposalIdEnding>,
    /// Reference of the step.
    pub step: Option<StepRef>,
    /// Name of the proposer.
    pub proposer: Option<Name>,
    /// Only proposals that are older than the proposal at this place.
    pub before: Option<ProposalPlace>,
    /// Maximum number of proposals.
    pub limit: usize,
}

/// The rows that a list of proposals reads, newest first. Each variant has an index. All other conditions are
/// checked for each row.
pub enum ProposalSource {
    All,
    OfStep,
    OfProposer,
    /// Proposals that wait for signatures or for their run.
    Open,
    Running,
    OpenOrRunning,
    /// Proposals that ended without a run.
    Stopped,
}

impl ProposalQuery {
    /// Returns the rows to read, and the name of their step or of their proposer.
    pub fn source(&self) -> (ProposalSource, Option<&str>) {
        use ProposalStatus::{Approved, Cancelled, Denied, Expired, Pending, Refused, Running};
        let only = |some: &[ProposalStatus]| {
            !self.statuses.is_empty() && self.statuses.iter().all(|status| some.contains(status))
        };
        if only(&[Pending, Approved]) {
            (ProposalSource::Open, None)
        } else if only(&[Running]) {
            (ProposalSource::Running, None)
        } else if only(&[Pending, Approved, Running]) {
            (ProposalSource::OpenOrRunning, None)
        } else if only(&[Denied, Expired, Cancelled, Refused]) {
            (ProposalSource::Stopped, None)
        } else if let Some(step) = &self.step {
            (ProposalSource::OfStep, Some(step.as_str()))
        } else if let Some(proposer) = &self.proposer {
            (ProposalSource::OfProposer, Some(proposer.as_str()))
        } else {
            (ProposalSource::All, None)
        }
    }

    /// Returns true if the proposal meets all conditions except those on its id.
    pub fn wants(&self, found: &Proposal) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&found.status))
            && self
                .step
                .as_ref()
                .is_none_or(|step| *step == found.core.step)
            && self
                .proposer
                .as_ref()
                .is_none_or(|proposer| *proposer == found.core.proposer)
    }
}

/// Conditions for finished runs of one step with one outcome.
#[derive(Clone)]
pub struct RunQuery {
    /// Reference of the step.
    pub step: StepRef,
    /// Outcome of the runs.
    pub outcome: RunOutcome,
    /// Digest of the parameters.
    pub params: Option<ParamsDigest>,
    /// Name of the proposer.
    pub proposer: Option<Name>,
    /// Only runs that ended at or after this time, and at or before the second time.
    pub ended: (Timestamp, Timestamp),
    /// Number of runs to leave out, from the newest on.
    pub skip: usize,
    /// Maximum number of runs.
    pub limit: usize,
}

/// The outcomes that the store has an index for.
#[derive(Clone, Copy)]
pub enum RunOutcome {
    /// The step exited with the code 0.
    Succeeded,
    /// The boundary did not see the end of the run.
    Unknown,
}

/// A page of proposals, the newest first.
pub struct ProposalPage {
    /// Matching proposals. A page before the last page can have fewer proposals than the limit.
    pub proposals: Vec<Proposal>,
    /// Position at which the next page begins, or `None` after the last page.
    pub next: Option<ProposalPlace>,
}

/// Returns true if a proposal with the status `from` can get the status `to`. Statuses only move forward:
/// - pending → approved, denied, expired, cancelled or refused
/// - approved → running, denied, expired, cancelled or refused
/// - running → finished
/// - pending → running, if an envelope arrives with all signatures of its quorum
pub fn may_become(from: ProposalStatus, to: ProposalStatus) -> bool {
    use ProposalStatus::{
        Approved, Cancelled, Denied, Expired, Finished, Pending, Refused, Running,
    };
    match from {
        Pending => !matches!(to, Pending | Finished),
        Approved => !matches!(to, Pending | Approved | Finished),
        Running => matches!(to, Finished),
        Finished | Denied | Expired | Cancelled | Refused => false,
    }
}

/// Details of a status, such as the code of a refusal or a summary of the outcome. The store only compares these bytes
/// with the outcomes of [`RunOutcome`](crate::stored::RunOutcome).
pub type StatusDetail = Vec<u8>;

/// Request to spend a nonce for a verified authorization.
#[derive(Clone)]
pub struct Consume {
    /// State version under which the authorization was verified.
    pub version: u64,
    /// Seal under which the authorization was verified.
    pub seal: SealDigest,
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// The session and its state, if the run uses a session.
    pub session: Option<SessionReference>,
    /// Envelope with the signatures that count, as canonical JSON: the log entry of the authorization.
    pub envelope: Arc<[u8]>,
    /// Name of the token or person that submitted the envelope.
    pub handed_in_by: Name,
    /// The window in which the run can start.
    pub window: Window,
    /// Name of the exclusive lock. Only one run at a time can hold this lock.
    pub exclusive: Option<Arc<str>>,
    /// Time limit of the run in seconds.
    pub limit_s: i64,
    /// The use of a grant that allows the run, or `None` if approvers signed the run.
    pub claim: Option<GrantClaim>,
    /// For an emergency, the maximum number of emergencies whose review may be open.
    pub emergency: Option<u64>,
    /// The people whose signatures arrive with this request, each with the id of the key.
    pub signers: Vec<(Name, KeyId)>,
    /// The list of programs that the authorization names, which becomes a blob.
    pub programs: Option<(BlobDigest, Vec<u8>)>,
}

/// Seconds after the time limit of a run. From then on, another node can close the run.
pub const CLOSABLE_AFTER_S: i64 = 30;

/// Maximum difference in seconds between the clocks of the node and of the database server at a consumption.
pub const MOST_CLOCK_DIFFERENCE_S: i64 = 5;

/// The times of an authorization and of the people who signed it.
#[derive(Clone)]
pub struct Window {
    /// Time at which the authorization was issued.
    pub issued_at: Timestamp,
    /// Start of the window.
    pub not_before: Timestamp,
    /// End of the window. No run can start at or after this time.
    pub expires_at: Timestamp,
    /// Maximum number of seconds between issue and expiry, according to policy. The maximum is never more than 24
    /// hours.
    pub max_s: Option<i64>,
    /// The latest `valid_after` of the signers who count.
    pub valid_after: Option<Timestamp>,
    /// The earliest `valid_before` of the signers who count.
    pub valid_before: Option<Timestamp>,
}

/// Proof that a nonce is spent. A run can start only with this proof.
#[derive(Debug, Clone, PartialEq)]
pub struct SpentNonce {
    /// The authorization in the log.
    pub authorization: AuthorizationRef,
    /// Bytes of this entry.
    pub signed: Arc<[u8]>,
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Hash of the consumption's leaf.
    pub leaf: LeafHash,
    /// Bytes of the leaf, which all runs of the same consumption share.
    pub data: Arc<[u8]>,
    /// Time at which the writer checked the window.
    pub at: Timestamp,
    /// The seal in force.
    pub seal: SealDigest,
}

/// The place in the log at which a nonce was spent.
#[derive(Debug, Clone, PartialEq)]
pub struct NonceUse {
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Proposal that spent the nonce.
    pub proposal: ProposalId,
}

/// Reason why a nonce is not spent. Nothing is stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConsumeStop {
    /// The seal or the state version changed after the verification of the authorization. The caller must verify the
    /// authorization again.
    #[error(
        "the seal or the state of the boundary changed after the verification; send the request again"
    )]
    Moved,
    /// The log has no seal yet.
    #[error("the log has no seal; seal a registry first")]
    NoSeal,
    /// The times of the authorization are not in the order `issued_at` ≤ `not_before` < `expires_at`.
    #[error("issued_at, not_before and expires_at are not in this order")]
    BadWindow,
    /// The window is longer than the policy allows.
    #[error("the window of the authorization is too long; at most {most_s} seconds are allowed")]
    WindowTooLong {
        /// Maximum length in seconds.
        most_s: i64,
    },
    /// The window of the authorization has not begun.
    #[error("the window has not begun at {at}; the window begins at {from}")]
    NotYetValid {
        /// Time at which the writer checked the window.
        at: Timestamp,
        /// Start of the window.
        from: Timestamp,
    },
    /// The window has ended.
    #[error(
        "the authorization expired at {expires_at}, and the time now is {at}; propose the run again"
    )]
    Expired {
        /// Time at which the writer checked the window.
        at: Timestamp,
        /// End of the window.
        expires_at: Timestamp,
    },
    /// The time of the consumption is outside the validity period of a counted signer. The caller must count the
    /// signatures again.
    #[error("a signer is no longer an approver at {at}; send the request again")]
    SignerOutside {
        /// Time at which the writer checked the window.
        at: Timestamp,
    },
    /// The authorization is denied.
    #[error("an approver denied this authorization; make a new proposal")]
    Denied,
    /// The proposal has a status from which no run can start.
    #[error("the proposal is {0}, so the proposal cannot run")]
    WrongState(ProposalStatus),
    /// The id of the proposal belongs to another authorization.
    #[error("another authorization has the id of this proposal; make a proposal with a new id")]
    OtherAuthorization,
    /// The clock jumped ahead. No entry is accepted now, because a wrong date stays in the log for ever.
    #[error("{}", WriteStop::ClockAhead { seconds: *.seconds })]
    ClockAhead {
        /// Number of seconds by which the clock jumped ahead.
        seconds: i64,
    },
    /// The clock of this node differs too much from the clock of the database server.
    #[error(
        "the clocks of this node and of the database server differ by {} s, and at most {MOST_CLOCK_DIFFERENCE_S} s \
         are allowed; synchronize both clocks",
        .seconds.abs()
    )]
    ClocksDiffer {
        /// Seconds by which the clock of this node is ahead.
        seconds: i64,
    },
    /// Another run holds the exclusive lock.
    #[error("the run {holder} has the same exclusive name; wait until that run ends")]
    ExclusiveBusy {
        /// Proposal of the other run.
        holder: ProposalId,
    },
    /// Each use of the grant is spent.
    #[error("all {most} uses of the grant are spent; ask for a new grant, or propose the run")]
    GrantExhausted {
        /// Maximum number of uses.
        most: u64,
    },
    /// Nobody saw the end of an earlier run of the grant, and no review has settled this end.
    #[error(
        "nobody saw the end of an earlier run of the grant, so nobody can use the grant now: find out what that run \
         did, and settle that run with a review, or propose the run"
    )]
    GrantPaused,
    /// The reviews of too many emergencies are open.
    #[error(
        "the policy allows {most} emergencies with an open review, and these are open: {}; review a run first: \
         countersign review-run ID",
        joined(.open.iter().map(ProposalId::receipt), ", ")
    )]
    Unreviewed {
        /// Maximum number of emergencies whose review is open.
        most: u64,
        /// These emergencies, sorted.
        open: Vec<ProposalId>,
    },
    /// The grant allows no further use now.
    #[error(
        "the grant allows {most} runs in {seconds} s; send the request again after {wait_s} s, or propose the run"
    )]
    GrantRate {
        /// Maximum number of uses in the period.
        most: u64,
        /// Length of the period in seconds.
        seconds: u64,
        /// Seconds until the next use is possible.
        wait_s: u64,
    },
    /// The nonce is already spent by an earlier run.
    #[error("{} has already spent the nonce; see the receipt of that run", .0.proposal)]
    Replayed(NonceUse),
    /// The log has spent the nonce, but the store has no row of the nonce any more.
    #[error(
        "the log has spent the nonce, but the store has no row of it: somebody changed the store by hand; the \
         operator must stop the service and run `countersign store check`"
    )]
    RowLost,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

impl ConsumeStop {
    /// Returns the number of seconds until the same request can succeed, if the rate limit of a grant is the reason.
    pub fn wait_s(&self) -> Option<u64> {
        match self {
            Self::GrantRate { wait_s, .. } => Some(*wait_s),
            _ => None,
        }
    }
}

/// A run that ended.
#[derive(Clone)]
pub struct Finish {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Leaf index and item number of the consumption that started the run.
    pub consumption: (u64, u32),
    /// Hash of the consumption's leaf. A database server that went back to an earlier time can have another leaf at
    /// this index.
    pub leaf: LeafHash,
    /// Envelope of the receipt, as canonical JSON.
    pub receipt: Arc<[u8]>,
    /// Time at which the run ended.
    pub at: Timestamp,
    /// Summary of the outcome.
    pub detail: StatusDetail,
    /// Recorded outputs that are not empty. The row of an output contains its data up to [`MAX_INLINE_BYTES`]. A larger
    /// output must already be a durable file.
    pub outputs: Vec<OutputRow>,
    /// The order in which the run wrote to stdout and stderr.
    pub order: Option<Vec<u8>>,
    /// Blobs that the receipt names.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// True if nobody saw the end of the run.
    pub unknown: bool,
    /// The grant of the run. The grant pauses if nobody saw the end.
    pub grant: Option<ContentDigest>,
}

impl Finish {
    /// Returns the grant that pauses.
    pub(crate) fn paused(&self) -> Option<&ContentDigest> {
        self.grant.as_ref().filter(|_| self.unknown)
    }
}

/// Maximum size of an output in the database: 64 KiB. Larger outputs are files.
pub const MAX_INLINE_BYTES: usize = 64 << 10;

/// A recorded output.
#[derive(Clone)]
pub struct OutputRow {
    /// BLAKE3 digest of the output, which is also its name.
    pub name: Blake3Digest,
    /// Number of bytes.
    pub bytes: u64,
    /// Bytes of the output, or `None` if the output is a file.
    pub data: Option<Vec<u8>>,
}

/// Reason why a receipt is not stored.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum FinishStop {
    /// The proposal does not exist or is not running.
    #[error(
        "{}",
        .0.map_or_else(
            || "the proposal does not exist".to_owned(),
            |status| format!("the proposal is {status}, so the proposal has no run to close")
        )
    )]
    NotRunning(Option<ProposalStatus>),
    /// The proposal already has a receipt.
    #[error("the proposal already has a receipt, log entry {receipt}")]
    Finished {
        /// Leaf index of the existing receipt.
        receipt: u64,
    },
    /// The store knows another run of the proposal, which another consumption started.
    #[error("the store has another run of the proposal")]
    OtherRun,
    /// The receipt is too large for the log.
    #[error("the receipt of {bytes} bytes does not fit into a log entry")]
    TooLarge {
        /// Size of the receipt in bytes.
        bytes: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// A run that recorded an output.
pub struct OutputRun {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// The proposer of the run.
    pub proposer: Name,
    /// The step of the run.
    pub step: StepRef,
}

/// A run that has a consumption and no receipt.
pub struct Unfinished {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// True if this node started the run.
    pub own: bool,
    /// True if the time limit of the run has passed, or if an operator said that the node of the run is lost. Each node
    /// can then close the run.
    pub over: bool,
}

/// A stored grant: a draft, or a grant of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredGrant {
    /// Id of the grant.
    pub id: GrantId,
    /// Digest of the payload.
    pub digest: ContentDigest,
    /// Envelope with the signatures so far, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// The proposer that the grant names.
    pub proposer: Name,
    /// Time at which the grant arrived.
    pub created_at: Timestamp,
    /// End of the grant, or the time at which its draft was taken back.
    pub expires_at: Timestamp,
    /// Leaf index, or `None` for a draft.
    pub leaf: Option<u64>,
}

/// A draft to store, or a grant to log.
pub struct GrantWrite {
    /// The grant. A stored grant with the same id gets this envelope.
    pub grant: StoredGrant,
    /// State with which the signatures were counted, if the grant must be logged now.
    pub checked: Option<CheckedState>,
    /// Time of the request.
    pub at: Timestamp,
}

/// A use of a grant that a run claims when its nonce is spent.
#[derive(Clone)]
pub struct GrantClaim {
    /// Digest of the grant's payload.
    pub grant: ContentDigest,
    /// Maximum number of uses.
    pub max_uses: u64,
    /// Maximum number of uses in a number of seconds.
    pub rate: Option<(u64, u64)>,
}

impl GrantClaim {
    /// Returns the number of uses from the use that decides about the rate to the newest stored use, if `earlier` other
    /// requests of the batch come first.
    pub fn back(&self, earlier: u64) -> u64 {
        self.rate
            .map_or(0, |(uses, _)| uses.saturating_sub(earlier + 1))
    }
}

/// A use of a grant.
#[derive(Debug, Clone, Copy)]
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

/// A verified denial.
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
pub struct StoredDenial {
    /// Name of the approver.
    pub approver: Name,
    /// Leaf index of the denial.
    pub leaf: u64,
    /// Time at which the denial arrived at the boundary.
    pub at: Timestamp,
}

/// The result of the attempt to store a denial.
#[derive(Debug, PartialEq)]
pub struct DenialResult {
    /// Leaf index of the denial, or of an earlier denial of the authorization by the same approver.
    pub leaf: u64,
    /// The waiting proposal that the denial ended.
    pub denied: Option<ProposalId>,
    /// Running proposal of the denied authorization. The caller must end this run.
    pub running: Option<ProposalId>,
}

/// A run that needs a review: an emergency, or a run whose end nobody saw.
#[derive(Debug, Clone, PartialEq)]
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
    pub fn is_open(&self) -> bool {
        self.emergency && self.reviewed.is_none()
    }

    /// Returns true if nobody saw the end of the run, and no review has settled the end.
    pub fn is_unsettled(&self) -> bool {
        self.unknown && self.settled.is_none()
    }
}

/// A review in the log.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Clone)]
pub struct ReviewWrite {
    /// Envelope of the review, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// The review. The leaf index in the review is ignored.
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

/// A seal to append to the log.
pub struct SealWrite {
    /// Envelope of the seal, as canonical JSON.
    pub envelope: Vec<u8>,
    /// True if the seal ends a freeze.
    pub thaws: bool,
    /// True if the seal ends the epoch of the seal before it, so that all earlier approvals end.
    pub new_epoch: bool,
    /// Digest of the payload of the seal. The digest of the first seal becomes the id of the boundary.
    pub digest: SealDigest,
    /// State with which the seal was made. This state names the previous seal, or `None` for the first seal.
    pub checked: CheckedState,
    /// Time that the seal states.
    pub at: Timestamp,
    /// Blobs that the seal names by digest.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// Changes of tokens, after which the stored tokens match the seal.
    pub tokens: Vec<TokenChange>,
}

/// A seal of the log.
#[derive(Debug, Clone, Copy)]
pub struct SealEntry {
    /// Leaf index of the seal.
    pub index: u64,
    /// Digest of the seal's payload.
    pub digest: SealDigest,
}

/// A change of the tokens.
#[derive(Clone)]
pub enum TokenChange {
    /// A new token, whose name was never used before.
    Add(Box<Token>),
    /// The revocation of a token.
    Revoke {
        /// Name of the token.
        name: Name,
        /// Time of the revocation.
        at: Timestamp,
    },
}

/// A token. Only its entry in the seal decides what it permits.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The token as the seal names it.
    pub token: SealedToken,
    /// Keys of the issuer, if an ID token opens the token.
    pub jwks: Option<String>,
    /// Certificate authorities of the issuer, if an ID token opens the token.
    pub ca: Option<String>,
    /// Time at which the token was created.
    pub created_at: Timestamp,
    /// Time at which the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Returns the digests of the files of the issuer: its keys, and its certificate authorities.
    pub fn files(&self) -> [Option<ContentDigest>; 2] {
        [&self.jwks, &self.ca].map(|file| {
            let file = file.as_ref()?;
            Some(ContentDigest::of(file.as_bytes()))
        })
    }
}

/// An ID token that was used.
pub struct IdTokenUse {
    /// Digest of the issuer and of the claim `jti`.
    pub digest: [u8; 32],
    /// The ID token is not valid from this time on.
    pub expires_at: Timestamp,
}

/// Returns the text of a column with JSON.
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreFault::database("writing a token", error))
}
