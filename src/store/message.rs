//! Requests to the ledger, and the answers of the ledger.

use std::fmt;
use std::sync::Arc;

use crate::crypto::digest::{
    AuthorizationDigest, Blake3Digest, BlobDigest, LeafHash, ParamsDigest, SealDigest, StepDigest,
};
use crate::crypto::key_id::KeyId;
use crate::crypto::merkle::Hash;
use crate::crypto::sshsig::Presence;
use crate::record::ident::{Name, Nonce, ProposalId, ProposalIdEnding, StepRef};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;

/// The status of a proposal. The database stores the number of each variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StoredStatus {
    /// The nonce is spent, and the receipt is not yet stored.
    Running = 0,
    /// The receipt is stored.
    Finished = 1,
    /// The proposal waits for signatures.
    Pending = 2,
    /// The quorum is met, and the proposal waits to run.
    Approved = 3,
    /// An approver denied the proposal.
    Denied = 4,
    /// The window of the authorization ended before the run.
    Expired = 5,
    /// The proposer or an operator cancelled the proposal.
    Cancelled = 6,
    /// The boundary refused the proposal after the quorum was met.
    Refused = 7,
}

impl StoredStatus {
    /// All statuses in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Finished,
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Refused,
    ];

    /// Returns the name of the status in the HTTP API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// Returns the number of the status in the database.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the status with this number in the database.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Returns true if the proposal can still run.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Returns true if a proposal with this status can get the status `to`. Statuses only move forward:
    /// - pending → approved, denied, expired, cancelled or refused
    /// - approved → running, denied, expired, cancelled or refused
    /// - running → finished
    /// - pending → running, if an envelope arrives with all signatures of its quorum
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Pending => !matches!(to, Self::Pending | Self::Finished),
            Self::Approved => !matches!(to, Self::Pending | Self::Approved | Self::Finished),
            Self::Running => matches!(to, Self::Finished),
            Self::Finished | Self::Denied | Self::Expired | Self::Cancelled | Self::Refused => false,
        }
    }
}

impl fmt::Display for StoredStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The kind of a log leaf. The database stores the number of each variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LeafKind {
    /// Seal: the registry, the policy and the roster in force.
    Seal = 1,
    /// Consumption: the spent nonces.
    Consumption = 2,
    /// Receipt of a run.
    Receipt = 3,
    /// Denial of an approver.
    Denial = 4,
    /// Refusal of the boundary.
    Refusal = 5,
}

impl LeafKind {
    /// Returns the name that the predicate type of a statement contains for this kind.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Consumption => "consumption",
            Self::Receipt => "receipt",
            Self::Denial => "denial",
            Self::Refusal => "refusal",
        }
    }

    /// Returns the kind of leaf with this number in the database.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Seal,
            2 => Self::Consumption,
            3 => Self::Receipt,
            4 => Self::Denial,
            5 => Self::Refusal,
            _ => return None,
        })
    }
}

/// Details of a status, such as the code of a refusal or a summary of the outcome. The store stores these bytes and
/// never reads them.
pub type StatusDetail = Vec<u8>;

/// The fields of an authorization that are columns in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A proposal to store.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Payload that the approvers sign.
    pub payload: Arc<[u8]>,
    /// Digest of the HTTP request body. The store recognizes a repeated request by this digest.
    pub request: [u8; 32],
    /// True if the caller chose the nonce. A chosen nonce identifies a repeated request. Without a chosen nonce, the
    /// step, the parameters and the proposer identify a repeated request.
    pub chosen_nonce: bool,
    /// Time of the proposal.
    pub created_at: Timestamp,
}

/// The result of the attempt to store a new proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposeResult {
    /// The proposal is stored.
    New,
    /// The same proposal was already stored, and the function returns the stored proposal.
    Same(Box<Proposal>),
    /// A different proposal already has this nonce or id.
    Conflict(Box<Proposal>),
    /// This proposer has too many stored proposals that have no signature and were cancelled or have expired.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Digest of the HTTP request body. The digest is `None` if the caller sent a complete envelope.
    pub request: Option<[u8; 32]>,
    /// Status of the proposal.
    pub status: StoredStatus,
    /// Time at which the proposal arrived.
    pub created_at: Timestamp,
    /// Time at which the quorum was met.
    pub approved_at: Option<Timestamp>,
    /// Time of the consumption.
    pub started_at: Option<Timestamp>,
    /// Time at which the proposal reached its final status.
    pub ended_at: Option<Timestamp>,
    /// Leaf index and item number of the consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf index of the receipt.
    pub receipt: Option<u64>,
    /// Details of the status.
    pub detail: Option<StatusDetail>,
}

/// A verified signature over the payload of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Id of the key.
    pub keyid: KeyId,
    /// Name of the person who has the key.
    pub person: Name,
    /// Statement of a security key about the presence of a person (touch, PIN).
    pub presence: Presence,
    /// Signature bytes, raw or in the SSHSIG format.
    pub sig: Vec<u8>,
    /// Time at which the signature arrived at the boundary.
    pub at: Timestamp,
}

/// A request to spend a nonce. The boundary has already verified the authorization.
#[derive(Debug, Clone)]
pub struct Consume {
    /// State version under which the authorization was verified.
    pub version: u64,
    /// Seal under which the authorization was verified.
    pub seal: SealDigest,
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Envelope with the signatures that count, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// The approval decision for the receipt. After a crash, recovery needs the bytes of this decision.
    pub decision: Arc<[u8]>,
    /// Times of the authorization and of its signers. The run can start only within these times.
    pub window: Window,
    /// Name of the exclusive lock. Only one run at a time can hold this lock.
    pub exclusive: Option<Arc<str>>,
}

/// The proof that a nonce is spent. A run can start only with this proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentNonce {
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Hash of the consumption's leaf.
    pub leaf: LeafHash,
    /// Bytes of the leaf. All runs in the same consumption share the bytes of the leaf.
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

/// The reasons why a nonce is not consumed. In each of these cases, the ledger stores nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeStop {
    /// The seal or the state version changed after the verification of the authorization. The caller must verify the
    /// authorization again.
    Moved,
    /// The log has no seal yet.
    NoSeal,
    /// The times of the authorization are not in the order `issued_at` ≤ `not_before` < `expires_at`.
    BadWindow,
    /// The window is longer than the policy allows.
    WindowTooLong {
        /// Maximum length in seconds.
        most_s: i64,
    },
    /// The window of the authorization has not begun.
    NotYetValid {
        /// Time at which the writer checked the window.
        at: Timestamp,
        /// Start of the window.
        from: Timestamp,
    },
    /// The window has ended.
    Expired {
        /// Time at which the writer checked the window.
        at: Timestamp,
        /// End of the window.
        expires_at: Timestamp,
    },
    /// The time of the consumption is outside the validity period of a counted signer. The caller must count the
    /// signatures again.
    SignerOutside {
        /// Time at which the writer checked the window.
        at: Timestamp,
    },
    /// The authorization is denied.
    Denied,
    /// The proposal has a status from which no run can start.
    WrongState(StoredStatus),
    /// The id of the proposal belongs to another authorization.
    OtherAuthorization,
    /// The clock leapt ahead. The ledger refuses all entries now, because a wrong date stays in the log for ever.
    ClockAhead {
        /// Number of seconds by which the clock leapt ahead.
        seconds: i64,
    },
    /// Another run holds the exclusive lock.
    ExclusiveBusy {
        /// Proposal of the other run.
        holder: ProposalId,
    },
    /// The nonce is already spent by an earlier run.
    Replayed(NonceUse),
    /// The store failed.
    Fault(StoreFault),
}

/// A run that ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Envelope of the receipt, as canonical JSON.
    pub receipt: Arc<[u8]>,
    /// Time at which the run ended.
    pub at: Timestamp,
    /// Summary of the outcome.
    pub detail: StatusDetail,
    /// Recorded outputs that are not empty. If an output has at most [`MAX_INLINE_BYTES`], its row contains the data. A
    /// larger output must already be a durable file.
    pub outputs: Vec<OutputRow>,
    /// The order in which the run wrote to stdout and stderr.
    pub order: Option<Vec<u8>>,
    /// Blobs that the receipt names.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
}

/// Maximum size of an output in the database: 64 KiB. Larger outputs are files.
pub const MAX_INLINE_BYTES: usize = 64 << 10;

/// A recorded output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// BLAKE3 digest of the output. This digest is the name of the output.
    pub name: Blake3Digest,
    /// Number of bytes.
    pub bytes: u64,
    /// Bytes of the output, or `None` if the output is a file.
    pub data: Option<Vec<u8>>,
}

/// The reasons why a receipt is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishStop {
    /// The proposal does not exist or does not run.
    NotRunning(Option<StoredStatus>),
    /// The proposal already has a receipt.
    Finished {
        /// Leaf index of the existing receipt.
        receipt: u64,
    },
    /// The receipt is too large for the log.
    TooLarge {
        /// Size of the receipt in bytes.
        bytes: usize,
    },
    /// The store failed.
    Fault(StoreFault),
}

/// The index and the hash of a log leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafRef {
    /// Index of the leaf.
    pub index: u64,
    /// RFC 6962 hash of the leaf.
    pub hash: LeafHash,
}

/// A seal to append to the log.
#[derive(Debug, Clone)]
pub struct SealWrite {
    /// Envelope of the seal, as canonical JSON.
    pub envelope: Vec<u8>,
    /// Digest of the payload of the seal. The digest of the first seal becomes the id of the boundary.
    pub digest: SealDigest,
    /// Digest of the previous seal, or `None` for the first seal.
    pub previous: Option<SealDigest>,
    /// Time that the seal states.
    pub at: Timestamp,
    /// Blobs that the seal names by digest.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// Changes of the tokens. After these changes, the stored tokens match the seal.
    pub tokens: Vec<TokenChange>,
}

/// A seal that is now in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealStored {
    /// Leaf of the seal.
    pub leaf: LeafRef,
    /// State version that begins with this seal.
    pub version: u64,
}

/// The reasons why a document is not appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteStop {
    /// The `previous` digest of the new seal is not the digest of the seal in force. The caller must make the new seal
    /// again with the digest of the seal in force.
    Moved,
    /// The log has no seal yet.
    NoSeal,
    /// The date of the document is earlier than the date of the last leaf. The caller must make the document again,
    /// with a date that is not earlier than the last leaf's date.
    BackDated {
        /// Time of the last leaf.
        last: Timestamp,
    },
    /// The clock leapt ahead. The ledger refuses all entries now, because a wrong date stays in the log for ever.
    ClockAhead {
        /// Number of seconds by which the clock leapt ahead.
        seconds: i64,
    },
    /// The name of a new token is taken, or the token to revoke does not exist. A token name is never used twice.
    Token(Name),
    /// The document is too large for the log.
    TooLarge {
        /// Size of the document in bytes.
        bytes: usize,
    },
    /// Too many denials arrived for authorizations that the boundary does not know.
    TooManyAhead {
        /// Maximum number of denials of unknown authorizations in one day.
        most: u64,
        /// True if the limit is for one approver, false if the limit is for all approvers.
        of_approver: bool,
        /// Seconds until the boundary accepts another denial of an unknown authorization.
        wait_s: u64,
    },
    /// The store failed.
    Fault(StoreFault),
}

/// A verified denial.
#[derive(Debug, Clone)]
pub struct DenialWrite {
    /// Digest of the denied authorization. The boundary may not know the denied authorization.
    pub authorization: AuthorizationDigest,
    /// Name of the approver.
    pub approver: Name,
    /// Envelope of the denial, as canonical JSON.
    pub envelope: Vec<u8>,
    /// Time at which the denial arrived at the boundary.
    pub at: Timestamp,
    /// True if the boundary did not know the authorization when it verified the denial. The number of denials of
    /// unknown authorizations is limited.
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
    /// Leaf index of the denial. If the approver denied the authorization before, this field has the index of the
    /// earlier denial.
    pub leaf: u64,
    /// The waiting proposal that the denial ended.
    pub denied: Option<ProposalId>,
    /// The running proposal of the denied authorization. The caller must kill the process of this run.
    pub running: Option<ProposalId>,
}

/// A change of a proposal's status, other than the start and the end of a run.
#[derive(Debug, Clone)]
pub struct ProposalStep {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Statuses from which the store allows the change. An empty list allows every status from which `to` is reachable.
    pub from: Vec<StoredStatus>,
    /// New status: approved, denied, expired, cancelled or refused.
    pub to: StoredStatus,
    /// Time of the change.
    pub at: Timestamp,
    /// Details of the proposal's new status.
    pub detail: StatusDetail,
}

/// The reasons why a proposal keeps its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdvanceStop {
    /// The proposal does not exist.
    Unknown,
    /// The current status of the proposal does not allow the change.
    WrongState(StoredStatus),
    /// The store failed.
    Fault(StoreFault),
}

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new token, whose name was never used before.
    Add(Token),
    /// The revocation of a token.
    Revoke {
        /// Name of the token.
        name: Name,
        /// Time of the revocation.
        at: Timestamp,
    },
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the token.
    pub name: Name,
    /// SHA-256 digest of the secret.
    pub secret: [u8; 32],
    /// Names of the owners.
    pub owners: Vec<Name>,
    /// Actions that the token allows.
    pub scopes: Vec<Scope>,
    /// Patterns of the steps to which the token is limited.
    pub patterns: Vec<String>,
    /// Time at which the token was created.
    pub created_at: Timestamp,
    /// Time at which the token expires.
    pub expires_at: Option<Timestamp>,
    /// Time at which the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("secret", &"[redacted]")
            .field("owners", &self.owners)
            .field("scopes", &self.scopes)
            .field("patterns", &self.patterns)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("revoked_at", &self.revoked_at)
            .finish()
    }
}

/// The result of one pruning call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneResult {
    /// The low-water mark after the call.
    pub mark: Timestamp,
    /// Number of deleted nonces.
    pub deleted: usize,
    /// Number of seconds by which the clock is ahead of the highest possible value of the low-water mark. The number is
    /// large after a leap of the clock or after a pause of the service.
    pub ahead_s: i64,
    /// True if this call examined the last nonce of the table.
    pub done: bool,
}

/// Retention time of an unsigned proposal that was cancelled or expired: one hour after its window, in seconds.
///
/// The short retention limits the number of rows that one token can leave in the store.
pub const UNSIGNED_KEPT_S: i64 = 3600;

/// Retention times in seconds. Receipts, seals and the log are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Retention time of recorded outputs in seconds, counted from the end of the last run that wrote the output.
    pub outputs_s: i64,
    /// Retention time of ended proposals and of signature rows, in seconds. Receipts contain their own copy of the
    /// signatures.
    pub proposals_s: i64,
}

impl Retention {
    /// Retention of 90 days for outputs and for proposals.
    pub const DEFAULT: Self = Self { outputs_s: 90 * 86_400, proposals_s: 90 * 86_400 };
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
}

/// A leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Kind of the leaf.
    pub kind: LeafKind,
    /// The latest time that this leaf or an earlier leaf states.
    pub at: Timestamp,
    /// RFC 6962 hash of the leaf.
    pub hash: Hash,
    /// Bytes of the leaf.
    pub data: Vec<u8>,
}

/// A seal of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealEntry {
    /// Leaf index of the seal.
    pub index: u64,
    /// Digest of the seal's payload.
    pub digest: SealDigest,
}

/// Conditions for a list of proposals.
#[derive(Debug, Clone, Default)]
pub struct ProposalQuery {
    /// Statuses of the proposals. An empty list of statuses means all statuses.
    pub statuses: Vec<StoredStatus>,
    /// Last characters of the id of the proposal.
    pub ending: Option<ProposalIdEnding>,
    /// Reference of the step.
    pub step: Option<StepRef>,
    /// Name of the proposer.
    pub proposer: Option<Name>,
    /// If this field has a value, the list contains only proposals that are older than this proposal.
    pub before: Option<ProposalId>,
    /// Maximum number of proposals.
    pub limit: usize,
}

/// A page of proposals, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalPage {
    /// Matching proposals. The page can have fewer proposals than the limit although more proposals exist.
    pub proposals: Vec<Proposal>,
    /// Position at which the next page begins, or `None` after the last page.
    pub next: Option<ProposalId>,
}

/// The document that contains the payload of a proposal. The proposal's status decides which document contains the
/// payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// The payload alone, for a proposal that did not run.
    Payload(Vec<u8>),
    /// The envelope of a running proposal.
    Envelope(Vec<u8>),
    /// The receipt of a finished proposal.
    Receipt(Vec<u8>),
}

macro_rules! stops {
    ($($stop:ident),*) => {$(
        impl From<StoreFault> for $stop {
            fn from(fault: StoreFault) -> Self {
                Self::Fault(fault)
            }
        }

        impl std::error::Error for $stop {}
    )*};
}
stops!(ConsumeStop, FinishStop, WriteStop, AdvanceStop);

impl fmt::Display for ConsumeStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("the seal or the state changed after the verification; verify again"),
            Self::NoSeal => f.write_str("the log has no seal; seal a registry first"),
            Self::BadWindow => f.write_str("issued_at, not_before and expires_at are not in this order"),
            Self::WindowTooLong { most_s } => write!(f, "the window is too long; at most {most_s} seconds are allowed"),
            Self::NotYetValid { at, from } => {
                write!(f, "the window has not begun at {at}; the window begins at {from}")
            }
            Self::Expired { at, expires_at } => {
                write!(f, "the authorization expired at {expires_at}, and the time is {at}; propose it again")
            }
            Self::SignerOutside { at } => write!(f, "a signer is not valid at {at}; count the signatures again"),
            Self::Denied => f.write_str("an approver denied this authorization; make a new proposal"),
            Self::WrongState(status) => write!(f, "the proposal is {status}, so the proposal cannot run"),
            Self::OtherAuthorization => {
                f.write_str("another authorization has the id of this proposal; make a proposal with a new id")
            }
            Self::ClockAhead { seconds } => clock_ahead(f, *seconds),
            Self::ExclusiveBusy { holder } => write!(f, "{holder} has the exclusive lock; wait until that run ends"),
            Self::Replayed(spent) => write!(f, "the nonce was spent by {}; see its receipt", spent.proposal),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for FinishStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(Some(status)) => {
                write!(f, "the proposal is {status}, so the proposal has no run to close")
            }
            Self::NotRunning(None) => f.write_str("the proposal does not exist"),
            Self::Finished { receipt } => write!(f, "the proposal already has a receipt, log entry {receipt}"),
            Self::TooLarge { bytes } => write!(f, "the receipt of {bytes} bytes does not fit into a log entry"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

fn clock_ahead(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    write!(
        f,
        "the clock leapt {seconds} s ahead while the service ran, so the service dates no entry; correct the clock, \
         or restart the service if the clock is right now"
    )
}

impl fmt::Display for WriteStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("another seal is now in force; make this seal again after that seal"),
            Self::NoSeal => f.write_str("the log has no seal; seal a registry first"),
            Self::ClockAhead { seconds } => clock_ahead(f, *seconds),
            Self::BackDated { last } => write!(f, "the last log entry is dated {last}; use that time or a later time"),
            Self::Token(name) => write!(
                f,
                "the token {name} cannot be added because the name is taken, or cannot be revoked because the token \
                 does not exist"
            ),
            Self::TooLarge { bytes } => write!(f, "{bytes} bytes do not fit into a log entry"),
            Self::TooManyAhead { most, of_approver, wait_s } => {
                let whose = if *of_approver { "from you " } else { "" };
                write!(
                    f,
                    "{most} denials of unknown authorizations arrived {whose}within a day, which is the limit; try \
                     again in {wait_s} s; until then an operator can revoke the proposer's token"
                )
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for AdvanceStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the proposal does not exist"),
            Self::WrongState(status) => write!(f, "the proposal is {status}, and a status only moves forward"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// The times of an authorization and of the people who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Time at which the authorization was issued.
    pub issued_at: Timestamp,
    /// Start of the window.
    pub not_before: Timestamp,
    /// End of the window. No run can start at or after this time.
    pub expires_at: Timestamp,
    /// Maximum number of seconds between issue and expiry, according to the policy. The limit is never longer than 24
    /// hours.
    pub max_s: Option<i64>,
    /// The latest `valid_after` of the signers who count.
    pub valid_after: Option<Timestamp>,
    /// The earliest `valid_before` of the signers who count.
    pub valid_before: Option<Timestamp>,
}
