//! The views of the registry, of steps, of proposals and of events.
//!
//! The HTTP API, the command line and OpenAPI use the same types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::digest::{
    AuthorizationDigest, BlobDigest, ParamsDigest, PolicyDigest, RegistryRoot, RosterDigest, SealDigest, StepDigest,
};
use crate::record::authorization::Permission;
use crate::record::code::Code;
use crate::record::ident::{BoundaryName, Epoch, GroupName, Name, Nonce, ProposalId, ReceiptId, StepRef};
use crate::record::profile::Profile;
use crate::record::receipt::Outcome;
use crate::record::step_definition::Approvals;
use crate::record::stream_name::StreamName;
use crate::record::validity::Timestamp;

/// `GET /v1/registry`: the seal in force and the steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// The boundary.
    pub boundary: BoundaryView,
    /// The seal in force.
    pub seal: SealView,
    /// The registered steps, sorted by ref.
    pub steps: Vec<StepSummary>,
}

/// Which boundary answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BoundaryView {
    /// Its name.
    pub name: BoundaryName,
    /// Digest of its genesis seal.
    pub id: SealDigest,
    /// Its epoch.
    pub epoch: Epoch,
}

/// A seal, as its log entry tells.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SealView {
    /// Its number.
    pub number: u64,
    /// Digest of its payload.
    pub digest: SealDigest,
    /// Its log entry.
    pub index: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Root of the registry.
    pub registry_root: RegistryRoot,
    /// Blob: the registry's leaves.
    pub registry: BlobDigest,
    /// Blob: the policy.
    pub policy: PolicyDigest,
    /// Blob: built-in policy lists.
    pub builtins: BlobDigest,
    /// Blob: the roster's payload.
    pub roster: RosterDigest,
    /// Blob: every version of the roster up to this one, as they were signed; absent when it is version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rosters: Option<BlobDigest>,
    /// Blob: the tokens.
    pub tokens: BlobDigest,
    /// Blob: limits and sandbox level in force.
    pub configuration: BlobDigest,
    /// What differs between the files and this seal, in words; empty when nothing does.
    pub drift: Vec<String>,
}

/// A step in a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StepSummary {
    /// Its ref.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Its digest.
    pub digest: StepDigest,
    /// Its title.
    pub title: String,
    /// Rules that must all be met: the step's and policy's.
    pub approvals: Vec<Approvals>,
    /// Why the boundary's host can't run it, so that its proposals are refused; absent where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// `GET /v1/steps/{ref}`: one step's whole definition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its ref.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Its digest.
    pub digest: StepDigest,
    /// The definition that the digest is over.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub definition: Value,
    /// Rules that must all be met: the step's and policy's.
    pub approvals: Vec<Approvals>,
    /// What policy asks of every run, for signatures to grant.
    pub permissions: Vec<Permission>,
    /// Why policy lets no run of it happen, whoever signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The effective sandbox.
    pub sandbox: Profile,
    /// The last run of this step that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<LastSuccess>,
}

/// The last run of a step that succeeded, for comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LastSuccess {
    /// Its receipt.
    pub receipt: ReceiptId,
    /// The definition that ran: a blob of the log.
    pub digest: StepDigest,
    /// Its parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How many of the newest 50 runs that ended succeeded, as far as the caller may see them.
    pub runs: u64,
}

/// `POST /v1/proposals`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    /// `path:step`, or `path:step@sha256:…` to insist on a definition.
    pub step: String,
    /// The parameters; defaults are filled in.
    #[serde(default = "no_params")]
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Why, for the approvers.
    #[serde(default)]
    pub reason: String,
    /// The caller's nonce: the same one with the same body is answered with what exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// How long it may be signed and run, in seconds: 1 to 86,400, by default 3,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<i64>,
}

fn no_params() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Where a proposal is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProposalStatus {
    /// Waiting for signatures.
    Pending,
    /// Signed; about to run, or waiting for room.
    Approved,
    /// Consumed; the process runs.
    Running,
    /// It ran; there is a receipt.
    Finished,
    /// An approver said no.
    Denied,
    /// Its time ran out.
    Expired,
    /// Somebody withdrew it.
    Cancelled,
    /// It was refused after the quorum; its nonce is not spent.
    Refused,
}

impl ProposalStatus {
    /// Returns the status as one word, as in documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }
}

/// A proposal, whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProposalView {
    /// Its id.
    pub id: ProposalId,
    /// Where it is on its way.
    pub status: ProposalStatus,
    /// What the caller may do: `wait`, `sign`, `deny`, `cancel`, `read-receipt`, `propose-again`.
    pub next: Vec<String>,
    /// Which step.
    pub step: StepRef,
    /// The definition that was sealed when it was proposed.
    pub step_digest: StepDigest,
    /// The complete parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Their digest.
    pub params_digest: ParamsDigest,
    /// Who proposed it.
    pub proposer: Name,
    /// Why, in the proposer's words.
    pub reason: String,
    /// Digest of the payload: what a signature names.
    pub digest: AuthorizationDigest,
    /// Base64 of the exact bytes to sign.
    pub payload: String,
    /// How far the quorum is.
    pub approvals: ApprovalsView,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if nothing runs before.
    pub expires_at: Timestamp,
    /// When it was over: it ran, was denied, cancelled or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The receipt, once there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// Why it was refused or denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalView>,
    /// Why it is approved and has not begun: the no of the last try. It is tried again until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<RefusalView>,
    /// `true` in the answer to a proposal that was there already, for this nonce or this wish; its reason and window are those
    /// of the first one. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
}

/// What came of a denial of a statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DenialView {
    /// The proposal's id, as the statement has it.
    pub proposal: ProposalId,
    /// Digest of the denied statement.
    pub digest: AuthorizationDigest,
    /// The denial's log entry.
    pub index: u64,
    /// Where the proposal is, if the boundary knew it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProposalStatus>,
    /// The end of the statement's window: until then it is refused as denied, after that as expired.
    pub kept_until: Timestamp,
}

/// The denials of a statement, also of one that the boundary has not seen.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DenialsView {
    /// Digest of the statement.
    pub digest: AuthorizationDigest,
    /// Its denials, in the order of the log; none where nobody denied it.
    pub denials: Vec<DeniedView>,
}

/// One of a statement's denials.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeniedView {
    /// Who denied.
    pub approver: Name,
    /// The denial's log entry.
    pub index: u64,
    /// When the boundary took it.
    pub at: Timestamp,
}

/// Why a proposal was refused, denied, or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalView {
    /// The stable code.
    pub code: Code,
    /// In words.
    pub detail: String,
}

impl RefusalView {
    /// Creates a refusal view, and cuts the text to the maximum length.
    pub fn new(code: Code, words: &str) -> Self {
        Self { code, detail: words.chars().take(MOST_WORDS).collect() }
    }
}

/// Maximum length of the detail of a refusal, in characters.
const MOST_WORDS: usize = 2000;

/// How far a quorum is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalsView {
    /// Rules that must all be met.
    pub rules: Vec<Approvals>,
    /// The fewest people that can meet them all.
    pub required: u64,
    /// People whose signatures count so far.
    pub have: u64,
    /// Who they are.
    pub approvers: Vec<Name>,
    /// Groups from which somebody is still needed.
    pub missing: Vec<GroupName>,
    /// Who can't count: the proposer and its owners.
    pub excluded: Vec<Name>,
}

/// `GET /v1/proposals`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProposalList {
    /// One page.
    pub proposals: Vec<ProposalView>,
    /// Give it as `?cursor=` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /v1/receipts/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// Its id.
    pub id: ReceiptId,
    /// Its log entry.
    pub index: u64,
    /// The signed envelope.
    pub envelope: crate::record::envelope::Envelope,
}

/// An event of a proposal: what SSE and NDJSON carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// Its status changed.
    Status {
        /// The new status.
        status: ProposalStatus,
        /// Why, where there is a reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// It is approved and can't begin. No record keeps it, so it has the number of the event before it, and who resumes
    /// hears it again.
    #[serde(rename = "held-up")]
    HeldUp {
        /// The stable code.
        code: Code,
        /// In words.
        detail: String,
    },
    /// Somebody signed.
    Signature {
        /// Who.
        approver: Name,
    },
    /// The run wrote something.
    Output {
        /// `stdout` or `stderr`.
        stream: StreamName,
        /// The stream's bytes before this piece.
        offset: u64,
        /// The piece, where it is UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The piece in base64, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// The run ended.
    Exit {
        /// How.
        outcome: Outcome,
    },
    /// The receipt is in the log.
    Receipt {
        /// Its id; a line's `id` is the event's number.
        #[serde(rename = "receipt")]
        id: ReceiptId,
    },
}

/// `GET /ready`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Whether proposals are taken and run.
    pub ready: bool,
    /// `strict`, `best-effort` or `off`: what this host holds.
    pub sandbox: String,
    /// The seal in force.
    pub seal: u64,
    /// The roster in force.
    pub roster: RosterView,
    /// What an operator should know, in words: also which signatures a next version of the roster lacks.
    pub notes: Vec<String>,
}

/// A version of the roster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RosterView {
    /// From 1, counting.
    pub version: u64,
    /// The digest of its payload.
    pub digest: RosterDigest,
    /// Whether a next version needs signatures; otherwise it is *unguarded*.
    pub guarded: bool,
}

/// A token as lists show it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// As the seal knows it.
    #[serde(flatten)]
    pub token: crate::record::token::SealedToken,
    /// When it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}
