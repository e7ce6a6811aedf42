//! What is asked of the ledger, and what it answers.

use std::fmt;
use std::sync::Arc;

use crate::crypto::digest::{
    AuthorizationDigest, Blake3Digest, BlobDigest, LeafHash, ParamsDigest, SealDigest, StepDigest,
};
use crate::crypto::merkle::Hash;
use crate::crypto::sshsig::{KeyId, Presence};
use crate::record::ident::{Name, Nonce, ProposalId, ProposalIdEnding, StepRef};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;

/// Where a proposal stands. The numbers are those of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StoredStatus {
    /// Its nonce is spent, its receipt is not there yet.
    Running = 0,
    /// Its receipt is there.
    Finished = 1,
    /// It waits for signatures.
    Pending = 2,
    /// The quorum is met, it waits to run.
    Approved = 3,
    /// An approver said no.
    Denied = 4,
    /// Its window closed.
    Expired = 5,
    /// It was taken back.
    Cancelled = 6,
    /// The boundary refused it after the quorum.
    Refused = 7,
}

impl StoredStatus {
    /// All of them.
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

    /// The word of the HTTP interface.
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

    /// The store's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status of a number of the store.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether it may still run.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Only forward: pending → approved | denied | expired | cancelled | refused; approved → running or the same four;
    /// running → finished. (What is handed in whole with its quorum goes from pending to running at once.)
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

/// What a leaf of the log is. The numbers are those of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LeafKind {
    /// Registry, policy and roster in force.
    Seal = 1,
    /// Nonces spent.
    Consumption = 2,
    /// What ran.
    Receipt = 3,
    /// A signed no.
    Denial = 4,
    /// Something handed in and refused.
    Refusal = 5,
}

impl LeafKind {
    /// The word, as in predicate types.
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

    /// The kind of a number of the store.
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

/// Bytes that say more than a status: a refusal's code, an outcome in short. Small; the store never reads them.
pub type StatusDetail = Vec<u8>;

/// What an authorization says that the store keys rows by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationCore {
    /// Its proposal.
    pub id: ProposalId,
    /// Digest of its payload: what names it.
    pub digest: AuthorizationDigest,
    /// What its run spends.
    pub nonce: Nonce,
    /// Which step.
    pub step: StepRef,
    /// The step's digest.
    pub step_digest: StepDigest,
    /// The parameters' digest.
    pub params_digest: ParamsDigest,
    /// Who proposed it.
    pub proposer: Name,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A proposal to keep.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// What is proposed.
    pub core: AuthorizationCore,
    /// The bytes to sign.
    pub payload: Arc<[u8]>,
    /// Digest of the body that asked for it: a repeated request is known by it.
    pub request: [u8; 32],
    /// Whether the caller chose the nonce. Then it is the key of idempotence; else step, parameters and proposer are.
    pub chosen_nonce: bool,
    /// Now.
    pub created_at: Timestamp,
}

/// What came of proposing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposeResult {
    /// It is kept.
    New,
    /// The same was proposed before; this is how it stands.
    Same(Box<Proposal>),
    /// Something else was proposed with this nonce or id.
    Conflict(Box<Proposal>),
    /// Too many of this proposer were cancelled or expired, were never signed and are kept still.
    TooManyKept {
        /// So many are allowed.
        most: u64,
        /// When the first of them may be deleted.
        until: Timestamp,
    },
    /// Too many wait already.
    TooMany {
        /// So many are allowed.
        most: u64,
        /// Of this proposer, rather than in all.
        of_proposer: bool,
    },
}

/// A proposal as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What is proposed.
    pub core: AuthorizationCore,
    /// Digest of the body that asked for it; none when an envelope was handed in whole.
    pub request: Option<[u8; 32]>,
    /// Where it stands.
    pub status: StoredStatus,
    /// When it was proposed or handed in.
    pub created_at: Timestamp,
    /// When the quorum was met.
    pub approved_at: Option<Timestamp>,
    /// When its nonce was consumed.
    pub started_at: Option<Timestamp>,
    /// When it reached its last state.
    pub ended_at: Option<Timestamp>,
    /// Leaf and item of its consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf of its receipt.
    pub receipt: Option<u64>,
    /// What its status says beyond itself.
    pub detail: Option<StatusDetail>,
}

/// A verified signature over a proposal's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key.
    pub keyid: KeyId,
    /// Whose key it is.
    pub person: Name,
    /// What the key says of a person being there.
    pub presence: Presence,
    /// Raw or SSHSIG bytes.
    pub sig: Vec<u8>,
    /// When it arrived.
    pub at: Timestamp,
}

/// A request to spend a nonce, judged by the crossing under this state.
#[derive(Debug, Clone)]
pub struct Consume {
    /// The state version of the verdict.
    pub version: u64,
    /// The seal of the verdict.
    pub seal: SealDigest,
    /// What the authorization says.
    pub core: AuthorizationCore,
    /// The envelope with the signatures that counted, canonical.
    pub envelope: Arc<[u8]>,
    /// What the receipt will say of who decided; recovery hands it back.
    pub decision: Arc<[u8]>,
    /// When it may run.
    pub window: Window,
    /// A lock that no two runs hold at a time.
    pub exclusive: Option<Arc<str>>,
}

/// A spent nonce. The run may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentNonce {
    /// The consumption's leaf.
    pub index: u64,
    /// The item in it.
    pub item: u32,
    /// The leaf's hash.
    pub leaf: LeafHash,
    /// The leaf itself, shared by all whose nonces it spends.
    pub data: Arc<[u8]>,
    /// The time that was judged by.
    pub at: Timestamp,
    /// The seal in force.
    pub seal: SealDigest,
}

/// Where a nonce was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceUse {
    /// The consumption's leaf.
    pub index: u64,
    /// The item in it.
    pub item: u32,
    /// By which proposal.
    pub proposal: ProposalId,
}

/// Why a nonce was not consumed. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeStop {
    /// What the verdict was made under is no longer in force: verify again.
    Moved,
    /// There is no seal yet.
    NoSeal,
    /// Not `issued_at` ≤ `not_before` < `expires_at`.
    BadWindow,
    /// Longer than is allowed.
    WindowTooLong {
        /// So many seconds are.
        most_s: i64,
    },
    /// Too early.
    NotYetValid {
        /// The time that was judged by.
        at: Timestamp,
        /// From when on it may run.
        from: Timestamp,
    },
    /// Too late.
    Expired {
        /// The time that was judged by.
        at: Timestamp,
        /// When it expired.
        expires_at: Timestamp,
    },
    /// A counted signer is not, or no longer, valid at this time: count again.
    SignerOutside {
        /// The time that was judged by.
        at: Timestamp,
    },
    /// Its authorization is denied.
    Denied,
    /// The proposal does not wait.
    WrongState(StoredStatus),
    /// The proposal's id belongs to another authorization.
    OtherAuthorization,
    /// The clock leapt ahead: what it says would stand in the log for good.
    ClockAhead {
        /// By so many seconds.
        seconds: i64,
    },
    /// Another run holds the lock.
    ExclusiveBusy {
        /// Which run.
        holder: ProposalId,
    },
    /// The nonce was spent before.
    Replayed(NonceUse),
    /// Something broke.
    Fault(StoreFault),
}

/// A run that ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which proposal.
    pub proposal: ProposalId,
    /// The receipt's envelope, canonical.
    pub receipt: Arc<[u8]>,
    /// When it ended.
    pub at: Timestamp,
    /// The outcome in short.
    pub detail: StatusDetail,
    /// Recorded bytes that are not empty. Those of at most [`MAX_INLINE_BYTES`] carry their data; larger ones must be
    /// durable files by now.
    pub outputs: Vec<OutputRow>,
    /// In which order the run wrote to its streams.
    pub order: Option<Vec<u8>>,
    /// Blobs that the receipt names.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
}

/// Output up to this size stands in the database, larger in a file: 64 KiB.
pub const MAX_INLINE_BYTES: usize = 64 << 10;

/// Recorded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Their name.
    pub name: Blake3Digest,
    /// How many.
    pub bytes: u64,
    /// Themselves, unless they are a file.
    pub data: Option<Vec<u8>>,
}

/// Why a run was not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishStop {
    /// There is no such proposal, or it never ran.
    NotRunning(Option<StoredStatus>),
    /// It has a receipt.
    Finished {
        /// That receipt's leaf.
        receipt: u64,
    },
    /// The receipt is too large for the log.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Something broke.
    Fault(StoreFault),
}

/// A leaf of the log by place and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafRef {
    /// Its index.
    pub index: u64,
    /// Its RFC 6962 hash.
    pub hash: LeafHash,
}

/// A seal to put in force.
#[derive(Debug, Clone)]
pub struct SealWrite {
    /// The seal's envelope, canonical.
    pub envelope: Vec<u8>,
    /// Digest of its payload. Of the first seal: the boundary's id from now on.
    pub digest: SealDigest,
    /// The seal that it follows, none for the first.
    pub previous: Option<SealDigest>,
    /// The time that it states.
    pub at: Timestamp,
    /// What it names by digest.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// Changes that make the tokens those of the seal.
    pub tokens: Vec<TokenChange>,
}

/// A seal in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealStored {
    /// Its leaf.
    pub leaf: LeafRef,
    /// The state version that begins with it.
    pub version: u64,
}

/// Why something was not put into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteStop {
    /// Another seal is in force than the one it follows: make it anew.
    Moved,
    /// There is no seal yet.
    NoSeal,
    /// The time it states lies before that of the last leaf: make it anew, at this time or later.
    BackDated {
        /// The last leaf's time.
        last: Timestamp,
    },
    /// The clock leapt ahead: what it says would stand in the log for good.
    ClockAhead {
        /// By so many seconds.
        seconds: i64,
    },
    /// A token's name is taken (names are never used twice) or, for a revocation, not there.
    Token(Name),
    /// It is too large for the log.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Too many denials came before the boundary knew what they deny.
    TooManyAhead {
        /// So many are taken in a day.
        most: u64,
        /// Of this approver, rather than of all.
        of_approver: bool,
        /// Seconds until another one is taken.
        wait_s: u64,
    },
    /// Something broke.
    Fault(StoreFault),
}

/// A verified denial.
#[derive(Debug, Clone)]
pub struct DenialWrite {
    /// The authorization that it is about, known or not.
    pub authorization: AuthorizationDigest,
    /// Who denies.
    pub approver: Name,
    /// The denial's envelope, canonical.
    pub envelope: Vec<u8>,
    /// Now.
    pub at: Timestamp,
    /// Whether the boundary did not know the authorization when this was verified: such denials are limited.
    pub ahead: bool,
}

/// A denial as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDenial {
    /// Who denied.
    pub approver: Name,
    /// The denial's leaf.
    pub leaf: u64,
    /// When it came.
    pub at: Timestamp,
}

/// What came of a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialResult {
    /// Its leaf; of the first one, when this approver had denied before.
    pub leaf: u64,
    /// The proposal that was waiting and is denied by it.
    pub denied: Option<ProposalId>,
    /// The proposal that is running: kill it.
    pub running: Option<ProposalId>,
}

/// A step of a proposal that is neither a run nor its end.
#[derive(Debug, Clone)]
pub struct ProposalStep {
    /// Which proposal.
    pub proposal: ProposalId,
    /// From where alone; empty means from wherever `to` may be reached.
    pub from: Vec<StoredStatus>,
    /// To where: approved, denied, expired, cancelled or refused.
    pub to: StoredStatus,
    /// Now.
    pub at: Timestamp,
    /// What the status says beyond itself.
    pub detail: StatusDetail,
}

/// Why a proposal stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdvanceStop {
    /// There is none of this id.
    Unknown,
    /// It stands where this can't be done.
    WrongState(StoredStatus),
    /// Something broke.
    Fault(StoreFault),
}

/// A change of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new one, of a name never used before.
    Add(Token),
    /// The end of one.
    Revoke {
        /// Its name.
        name: Name,
        /// Now.
        at: Timestamp,
    },
}

/// A token: never its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: Name,
    /// SHA-256 of its secret.
    pub secret: [u8; 32],
    /// Who controls it.
    pub owners: Vec<Name>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Steps that it is limited to.
    pub patterns: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
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

/// What a round of pruning did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneResult {
    /// The low-water mark now.
    pub mark: Timestamp,
    /// How many nonces were deleted.
    pub deleted: usize,
    /// Seconds by which the clock is ahead of what the mark may be: large after the clock jumped or the service stood still.
    pub ahead_s: i64,
    /// Whether this round reached the end of the nonces.
    pub done: bool,
}

/// How long a proposal is kept after its window when it was cancelled or expired and nobody signed it: an hour, in seconds.
/// It bounds what a token that proposes and cancels without end can make the store hold.
pub const UNSIGNED_KEPT_S: i64 = 3600;

/// How long what is not evidence is kept, in seconds. Receipts, seals and the log are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Recorded outputs, from when their last run ended.
    pub outputs_s: i64,
    /// Proposals that are over, and signatures beside those in receipts.
    pub proposals_s: i64,
}

impl Retention {
    /// 90 days.
    pub const DEFAULT: Self = Self { outputs_s: 90 * 86_400, proposals_s: 90 * 86_400 };
}

/// What was consumed and has no receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The proposal.
    pub proposal: ProposalId,
    /// The consumption's leaf.
    pub index: u64,
    /// The item in it.
    pub item: u32,
    /// The leaf's hash.
    pub leaf: LeafHash,
    /// The time that was judged by.
    pub at: Timestamp,
    /// The seal in force then.
    pub seal: SealDigest,
    /// The envelope with the counted signatures.
    pub envelope: Vec<u8>,
    /// What the receipt says of who decided.
    pub decision: Vec<u8>,
}

/// A leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// What it is.
    pub kind: LeafKind,
    /// The latest time signed up to it.
    pub at: Timestamp,
    /// Its RFC 6962 hash.
    pub hash: Hash,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A seal of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealEntry {
    /// Its leaf.
    pub index: u64,
    /// Digest of its payload.
    pub digest: SealDigest,
}

/// Which proposals to list.
#[derive(Debug, Clone, Default)]
pub struct ProposalQuery {
    /// Only of these statuses; empty means any.
    pub statuses: Vec<StoredStatus>,
    /// Only those whose id ends so.
    pub ending: Option<ProposalIdEnding>,
    /// Only of this step.
    pub step: Option<StepRef>,
    /// Only of this proposer.
    pub proposer: Option<Name>,
    /// Only older than this one.
    pub before: Option<ProposalId>,
    /// At most so many.
    pub limit: usize,
}

/// Proposals, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalPage {
    /// Those found; perhaps fewer than the limit although there are more.
    pub proposals: Vec<Proposal>,
    /// Where to go on; none when all were seen.
    pub next: Option<ProposalId>,
}

/// Where the bytes that are signed stand, as a proposal goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// Themselves: nobody ran them.
    Payload(Vec<u8>),
    /// In the envelope of what runs.
    Envelope(Vec<u8>),
    /// In the receipt's leaf.
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
            Self::Moved => f.write_str("what the verdict was made under changed meanwhile; verify again"),
            Self::NoSeal => f.write_str("nothing is sealed yet; seal a registry first"),
            Self::BadWindow => f.write_str("issued_at, not_before and expires_at are not in this order"),
            Self::WindowTooLong { most_s } => write!(f, "valid for too long, at most {most_s} seconds are allowed"),
            Self::NotYetValid { at, from } => write!(f, "not yet valid at {at}, valid from {from} on"),
            Self::Expired { at, expires_at } => write!(f, "expired at {expires_at}, now is {at}; propose it again"),
            Self::SignerOutside { at } => write!(f, "a signer is not valid at {at}; count the signatures again"),
            Self::Denied => f.write_str("an approver denied this authorization; propose it again"),
            Self::WrongState(status) => write!(f, "the proposal is {status}, it can't run"),
            Self::OtherAuthorization => f.write_str("another authorization has this proposal's id; make a new one"),
            Self::ClockAhead { seconds } => clock_ahead(f, *seconds),
            Self::ExclusiveBusy { holder } => write!(f, "{holder} runs and excludes this; wait for its end"),
            Self::Replayed(spent) => write!(f, "the nonce was spent by {}; see its receipt", spent.proposal),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for FinishStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(Some(status)) => write!(f, "the proposal is {status}, there is no run to close"),
            Self::NotRunning(None) => f.write_str("there is no such proposal"),
            Self::Finished { receipt } => write!(f, "it has its receipt, log entry {receipt}"),
            Self::TooLarge { bytes } => write!(f, "the receipt of {bytes} bytes does not fit into a log entry"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

fn clock_ahead(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    write!(
        f,
        "the clock leapt {seconds} s ahead while the service ran: nothing is dated by it; set it right, or start the \
         service again if it is right now"
    )
}

impl fmt::Display for WriteStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("another seal came in between; make it again on top of that"),
            Self::NoSeal => f.write_str("nothing is sealed yet; seal a registry first"),
            Self::ClockAhead { seconds } => clock_ahead(f, *seconds),
            Self::BackDated { last } => write!(f, "the log is at {last} already; state that time or a later one"),
            Self::Token(name) => write!(f, "no token {name} can be added or revoked: names are never used twice"),
            Self::TooLarge { bytes } => write!(f, "{bytes} bytes do not fit into a log entry"),
            Self::TooManyAhead { most, of_approver, wait_s } => {
                let whose = if *of_approver { "of yours " } else { "" };
                write!(
                    f,
                    "{most} denials {whose}came within a day before the boundary knew what they deny: try again in {wait_s} s; \
                     until then an operator can end the proposer's token"
                )
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for AdvanceStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such proposal"),
            Self::WrongState(status) => write!(f, "the proposal is {status}, states only go forward"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// The times of an authorization and of those who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When the statement was made.
    pub issued_at: Timestamp,
    /// From when on it may run.
    pub not_before: Timestamp,
    /// From when on it may no longer run.
    pub expires_at: Timestamp,
    /// The longest from issue to expiry that policy allows, in seconds; never more than 24 hours.
    pub max_s: Option<i64>,
    /// The latest `valid_after` of the counted signers.
    pub valid_after: Option<Timestamp>,
    /// The earliest `valid_before` of the counted signers.
    pub valid_before: Option<Timestamp>,
}
