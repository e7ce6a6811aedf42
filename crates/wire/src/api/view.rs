//! Views of the registry, of steps, of proposals and of events.
//!
//! The HTTP API, the command line and OpenAPI use the same types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AdmittedJob, ApprovalsView, OidcBinding, UnknownEnd};
use documents::{
    AuthorizationDigest, Code, ContentDigest, ManifestEntry, Name, Outcome, ParamsDigest,
    ProposalId, ReceiptId, RefusedPart, RevokedSubject, RosterDigest, SessionId, StepDigest,
    StepRef, StreamName, Timestamp,
};

/// `GET /v1/receipts/{id}/files`: what a run left besides its output.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptFiles {
    /// Step that ran.
    pub step: StepRef,
    /// Manifest that the receipt names: the files of the run, sorted by path. Their content is at
    /// `/v1/outputs/{blake3}`. The file `.outputs.json` contains `outputs`.
    pub files: Vec<ManifestEntry>,
    /// Values of the outputs that the step declares.
    pub outputs: serde_json::Map<String, Value>,
}

/// A session of a runbook. The values of its variables are never shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Id of the session.
    pub id: SessionId,
    /// Digest of the state, which the next authorization binds.
    pub state: ContentDigest,
    /// Runbook whose steps may use the session.
    pub runbook: String,
    /// Token or proposer that created the session.
    pub creator: Name,
    /// When it was created.
    pub created_at: Timestamp,
    /// Seconds until the session ends if no proposal and no run uses it.
    pub idle_left_s: u64,
    /// Names of the variables that the runs set.
    pub variables: Vec<String>,
    /// Names of the variables that the runs removed.
    pub unset: Vec<String>,
    /// Directory in which the next run starts. Absent for the work directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Run in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<ProposalId>,
    /// Last 50 runs, oldest first.
    pub runs: Vec<SessionRunView>,
    /// Number of all runs.
    pub run_count: u64,
}

/// A run of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionRunView {
    /// Proposal of the run.
    pub proposal: ProposalId,
    /// Step that ran.
    pub step: StepRef,
    /// When the run ended.
    pub at: Timestamp,
}

/// `GET /v1/sessions`: the sessions that the caller may use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// Sessions in the order of their creation.
    pub sessions: Vec<SessionView>,
}

documents::words! {
    /// Status of a proposal.
    #[derive(
        Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
    )]
    #[serde(rename_all = "lowercase")]
    pub enum ProposalStatus {
        /// Waiting for signatures.
        Pending = "pending",
        /// The quorum is met, and the run waits for its start.
        Approved = "approved",
        /// The nonce is spent and the process runs.
        Running = "running",
        /// The run is over and has a receipt.
        Finished = "finished",
        /// An approver denied the proposal.
        Denied = "denied",
        /// The window ended before a run began.
        Expired = "expired",
        /// The proposer or an operator cancelled the proposal.
        Cancelled = "cancelled",
        /// The run is not possible any more, for example because the step changed. The nonce is not spent.
        Refused = "refused",
    }
}

impl ProposalStatus {
    /// Returns true if the status can't change any more.
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::Running => false,
            Self::Finished | Self::Denied | Self::Expired | Self::Cancelled | Self::Refused => true,
        }
    }
}

/// All facts about one proposal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProposalView {
    /// Id of the proposal.
    pub id: ProposalId,
    /// Status of the proposal.
    pub status: ProposalStatus,
    /// Actions that make sense now: `wait`, `sign`, `deny`, `cancel`, `events`, `receipt`, `bundle`, `read-denials`,
    /// `propose-again`, and `propose-new` (propose with `new`, if the run is still wanted).
    pub next: Vec<String>,
    /// Ref of the step.
    pub step: StepRef,
    /// Digest of the definition that was in force when the proposal was created.
    pub step_digest: StepDigest,
    /// The complete parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Digest of the parameters.
    pub params_digest: ParamsDigest,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// Reason for the run, as the proposer wrote it.
    pub reason: String,
    /// Digest of the payload. A denial names this digest.
    pub digest: AuthorizationDigest,
    /// Base64 of the exact bytes to sign.
    pub payload: String,
    /// True if the run is an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// Approvals that the proposal has and still needs.
    pub approvals: ApprovalsView,
    /// Time at which the proposal was made.
    pub created_at: Timestamp,
    /// Time at which the proposal expires if no run has begun.
    pub expires_at: Timestamp,
    /// Time at which the proposal ended by a run, a denial, a cancellation or a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the lists of the run refused although the exit code is 0, from the receipt. Absent if they refused nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedPart>,
    /// Id of the receipt, after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// Reason why the proposal was refused or denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalView>,
    /// Reason for the outcome `unknown`, as the boundary states it. The receipt has no field for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_unknown_because: Option<String>,
    /// Last run of this step with these parameters, if nobody saw its end and no later one succeeded. Only for a proposal
    /// that has not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_end: Option<UnknownEnd>,
    /// Other proposals of the same run: those that are open, and the last one that succeeded within an hour. Only for a
    /// caller who did not make this proposal, and only while it waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_runs: Vec<SameRun>,
    /// Job that made the proposal, for a proposal of a token that ID tokens open. This is the boundary's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<AdmittedJob>,
    /// Denials of the proposal, in the order of the log. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<DeniedView>,
    /// Reason why the approved run has not begun: the refusal of the last attempt. The boundary repeats the attempt
    /// until the proposal expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_up: Option<RefusalView>,
    /// `true` if this call repeated an earlier proposal, which this is. It keeps its reason and its window. Absent
    /// otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// `true` if the call had another reason than the existing proposal. The reason of the call was not taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reason_not_taken: bool,
}

/// Another proposal of the same run: the same step, parameters, session, files and plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SameRun {
    /// Id of the other proposal.
    pub proposal: ProposalId,
    /// Its status.
    pub status: ProposalStatus,
    /// Time at which its run succeeded or people denied it. Absent for an open proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// Result of denying a statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DenialView {
    /// Id of the proposal in the statement.
    pub proposal: ProposalId,
    /// Digest of the denied statement.
    pub digest: AuthorizationDigest,
    /// Index of the denial's log entry.
    pub index: u64,
    /// Status of the proposal, if the boundary knew the proposal before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ProposalStatus>,
    /// End of the statement's window. Until this time the statement is refused as denied, after this time as expired.
    pub kept_until: Timestamp,
}

/// Result of a revocation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RevocationView {
    /// What is revoked.
    pub subject: RevokedSubject,
    /// Index of the revocation's log entry.
    pub index: u64,
    /// True if the log already had a revocation of this subject.
    pub existing: bool,
    /// Number of proposals that this call ended, because they can no longer run.
    pub ended: u64,
    /// Number of runs that this call asked to stop.
    pub stopped: u64,
}

/// Denials of a statement, even if the boundary has not received the statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DenialsView {
    /// Digest of the statement.
    pub digest: AuthorizationDigest,
    /// Denials in the order of the log. The list is empty if no approver denied the statement.
    pub denials: Vec<DeniedView>,
}

/// One denial of a statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeniedView {
    /// Name of the approver who denied the statement.
    pub approver: Name,
    /// Index of the denial's log entry.
    pub index: u64,
    /// Time at which the boundary accepted the denial.
    pub at: Timestamp,
    /// Why, in the words of the approver, who signed them. Empty if the approver gave no reason.
    #[serde(default)]
    pub reason: String,
}

/// Reason why a proposal was refused, was denied, or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalView {
    /// Stable code of the reason.
    pub code: Code,
    /// Description of the reason.
    pub detail: String,
}

impl RefusalView {
    /// Creates a refusal view, and cuts the text to the maximum length.
    pub fn new(code: Code, words: &str) -> Self {
        Self {
            code,
            detail: words.chars().take(MOST_WORDS).collect(),
        }
    }
}

/// Maximum length of the detail of a refusal, in characters.
const MOST_WORDS: usize = 2000;

/// `GET /v1/proposals`: a page of proposals, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProposalList {
    /// Proposals of this page.
    pub proposals: Vec<ProposalView>,
    /// Cursor for the next page, as the query `?cursor=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /v1/receipts/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// Id of the receipt.
    pub id: ReceiptId,
    /// Index of the receipt's log entry.
    pub index: u64,
    /// The signed envelope.
    pub envelope: documents::Envelope,
    /// Reason for the outcome `unknown`, as the boundary states it. The receipt has no field for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_unknown_because: Option<String>,
}

/// Event of a proposal, as SSE and NDJSON transport it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The status of the proposal changed.
    Status {
        /// The new status.
        status: ProposalStatus,
        /// Code of the refusal, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// The approved run can't begin yet. This event is not stored, so it has the number of the event before it. A
    /// reader that resumes receives it again.
    #[serde(rename = "held-up")]
    HeldUp {
        /// Stable code of the reason.
        code: Code,
        /// Description of the reason.
        detail: String,
    },
    /// An approver signed.
    Signature {
        /// Name of the approver.
        approver: Name,
    },
    /// The run wrote output.
    Output {
        /// `stdout` or `stderr`.
        stream: StreamName,
        /// Number of bytes of the stream before this piece.
        offset: u64,
        /// Milliseconds from the start of the run to the first byte of this piece.
        #[serde(skip_serializing_if = "Option::is_none")]
        elapsed_ms: Option<u64>,
        /// Text of the piece, if the piece is UTF-8 without the character NUL.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Base64 of the piece, if there is no text.
        #[serde(skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// The run wrote more output than the boundary records. The event follows the last piece of the output.
    Truncated {
        /// `stdout` or `stderr`.
        stream: StreamName,
        /// Number of bytes that the run wrote to the stream.
        bytes: u64,
        /// Number of recorded bytes, from the beginning of the stream.
        recorded: u64,
    },
    /// The run ended.
    Exit {
        /// Outcome of the run.
        outcome: Outcome,
    },
    /// The receipt is in the log.
    Receipt {
        /// Id of the receipt. The field is written as `receipt`, because the `id` of a line is the number of the event.
        #[serde(rename = "receipt")]
        id: ReceiptId,
    },
}

impl Event {
    /// Returns the event of a piece of output.
    pub fn output(
        stream: StreamName,
        offset: u64,
        elapsed_ms: Option<u64>,
        bytes: Vec<u8>,
    ) -> Self {
        // In JSON, a NUL needs six bytes as text, so that a piece of a binary file would be far larger than as base64.
        let (text, binary) = match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => (Some(text), None),
            Ok(text) => (None, Some(text.into_bytes())),
            Err(error) => (None, Some(error.into_bytes())),
        };
        let base64 = binary.map(|bytes| STANDARD.encode(bytes));
        Self::Output {
            stream,
            offset,
            elapsed_ms,
            text,
            base64,
        }
    }
}

/// `GET /ready`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// True if the boundary accepts and runs proposals.
    pub ready: bool,
    /// Level that this host provides: `strict`, `best-effort` or `off`.
    pub sandbox: String,
    /// The seal in force.
    pub seal: u64,
    /// Roster in force.
    pub roster: RosterView,
    /// Notes for the operator, also about missing signatures on a new version of the roster.
    pub notes: Vec<String>,
    /// The nodes of the boundary. Absent with a SQLite database, which has only one service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesView>,
}

/// The nodes of a boundary whose log is in a PostgreSQL database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodesView {
    /// Name of the node that answers.
    pub node: Name,
    /// What keeps a run after the loss of the database server: `none`, `synchronous` (a replica) or `storage`.
    pub replicas: String,
    /// All nodes by name.
    pub nodes: Vec<NodeView>,
}

/// A node of a boundary.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Name of the node.
    pub name: Name,
    /// `active`, `standby`, `silent` (no sign for 15 s) or `lost` (an operator says that the node will never come back).
    pub state: String,
    /// Seconds since the last sign of the node, by the clock of the database. A working node gives one every 5 seconds.
    pub beat_age_s: i64,
    /// Number of the node's runs that have no receipt yet.
    pub open_runs: u64,
}

/// A version of the roster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RosterView {
    /// Number of the version: 1, then one more in each version.
    pub version: u64,
    /// Digest of the roster's payload.
    pub digest: RosterDigest,
    /// True if the next version needs signatures. Otherwise the version is *unguarded*.
    pub guarded: bool,
}

/// Token, as the list of tokens shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Token, as the seal contains it.
    #[serde(flatten)]
    pub token: documents::SealedToken,
    /// Time at which the token was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Jobs whose ID tokens open the token. Such a token has no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcBinding>,
}
