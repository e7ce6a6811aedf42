//! Runs: the request to spend a nonce, the request to store the receipt of a run, and the answers of the ledger.

use std::sync::Arc;

use crate::{AuthorizationCore, GrantClaim, StatusDetail, StoreFault, StoredStatus, WriteStop};
use documents::{
    Blake3Digest, BlobDigest, ContentDigest, KeyId, LeafHash, Name, ProposalId, SealDigest,
    SessionReference, StepRef, Timestamp, joined,
};

/// Request to spend a nonce for a verified authorization.
#[derive(Debug, Clone)]
pub struct Consume {
    /// State version under which the authorization was verified.
    pub version: u64,
    /// Seal under which the authorization was verified.
    pub seal: SealDigest,
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// The session and its state, if the run uses a session.
    pub session: Option<SessionReference>,
    /// Envelope with the signatures that count, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// Approval decision for the receipt. Recovery needs it after a crash.
    pub decision: Arc<[u8]>,
    /// Times within which the run can start.
    pub window: Window,
    /// Name of the exclusive lock. Only one run at a time can hold this lock.
    pub exclusive: Option<Arc<str>>,
    /// Time limit of the run in seconds.
    pub limit_s: i64,
    /// The use of a grant that allows the run, or `None` if approvers signed the run.
    pub claim: Option<GrantClaim>,
    /// For an emergency, the number of emergencies whose review may be open at most.
    pub emergency: Option<u64>,
    /// The people whose signatures arrive with this request, each with the id of the key.
    pub signers: Vec<(Name, KeyId)>,
}

/// Seconds after the time limit of a run, from which on another node can close the run.
pub const CLOSABLE_AFTER_S: i64 = 30;

/// Maximum difference in seconds between the clocks of the node and of the database server at a consumption.
pub const MOST_CLOCK_DIFFERENCE_S: i64 = 5;

/// The times of an authorization and of the people who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Time at which the authorization was issued.
    pub issued_at: Timestamp,
    /// Start of the window.
    pub not_before: Timestamp,
    /// End of the window. No run can start at or after this time.
    pub expires_at: Timestamp,
    /// Maximum number of seconds between issue and expiry, according to policy. It is never more than 24 hours.
    pub max_s: Option<i64>,
    /// The latest `valid_after` of the signers who count.
    pub valid_after: Option<Timestamp>,
    /// The earliest `valid_before` of the signers who count.
    pub valid_before: Option<Timestamp>,
}

/// Proof that a nonce is spent. A run can start only with this proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentNonce {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceUse {
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Proposal that spent the nonce.
    pub proposal: ProposalId,
}

/// Reason why a nonce is not spent. Nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    WrongState(StoredStatus),
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
    /// Returns the number of seconds until the same request can succeed, if the grant decides about this time.
    pub const fn wait_s(&self) -> Option<u64> {
        match self {
            Self::GrantRate { wait_s, .. } => Some(*wait_s),
            _ => None,
        }
    }
}

/// A run that ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Leaf index and item number of the consumption that started the run.
    pub consumption: (u64, u32),
    /// Hash of the consumption's leaf. A database server that went back to an earlier time can have another leaf there.
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

/// Maximum size of an output in the database: 64 KiB. Larger outputs are files.
pub const MAX_INLINE_BYTES: usize = 64 << 10;

/// A recorded output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// BLAKE3 digest of the output, which is also its name.
    pub name: Blake3Digest,
    /// Number of bytes.
    pub bytes: u64,
    /// Bytes of the output, or `None` if the output is a file.
    pub data: Option<Vec<u8>>,
}

/// Reason why a receipt is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishStop {
    /// The proposal does not exist or is not running.
    #[error(
        "{}",
        .0.map_or_else(
            || "the proposal does not exist".to_owned(),
            |status| format!("the proposal is {status}, so the proposal has no run to close")
        )
    )]
    NotRunning(Option<StoredStatus>),
    /// The proposal already has a receipt.
    #[error("the proposal already has a receipt, log entry {receipt}")]
    Finished {
        /// Leaf index of the existing receipt.
        receipt: u64,
    },
    /// Another consumption started the run of the proposal that the store knows.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRun {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// The proposer of the run.
    pub proposer: Name,
    /// The step of the run.
    pub step: StepRef,
}

/// A run that has a consumption and no receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Hash of the consumption's leaf.
    pub leaf: LeafHash,
    /// Time at which the writer checked the window.
    pub at: Timestamp,
    /// Seal in force at the consumption.
    pub seal: SealDigest,
    /// Envelope with the counted signatures.
    pub envelope: Vec<u8>,
    /// The approval decision for the receipt.
    pub decision: Vec<u8>,
    /// True if this node started the run.
    pub own: bool,
    /// True if the time limit of the run has passed, or if an operator said that its node is lost. Each node can then close
    /// the run.
    pub over: bool,
}
