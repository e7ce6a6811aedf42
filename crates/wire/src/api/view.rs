//! Views of the boundary, the same types for the HTTP API, the command line and OpenAPI:
//!
//! - the registry, the seal and the steps
//! - proposals, their approvals and their events
//! - standing grants
//! - runs that people must review, and the reviews so far
//! - jobs whose ID tokens open a token that has no secret, and what the boundary states about such a job
//! - advice for each kind of reader: the boundary names HTTP requests in its refusals, and the client and the MCP
//!   server replace these requests by commands and tools

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use documents::{
    Approvals, Artifact, AuthorizationDigest, BlobDigest, BoundaryName, Code, ContentDigest,
    Envelope, Epoch, Grant, GrantId, GrantRate, GrantedSession, GroupName, KeyId, ListedProgram,
    ManifestEntry, Name, ObservedEnd, Outcome, Parameter, ParamsDigest, Permission, PolicyDigest,
    Profile, ProposalId, ReceiptId, RefusedPart, RegistryRoot, ReviewVerdict, RevokedSubject,
    RosterDigest, RosteredApprover, SealDigest, SessionId, StepDigest, StepRef, StreamName,
    Timestamp, joined,
};

/// `GET /v1/receipts/{id}/files`: what a run left besides its output.
#[derive(Serialize, Deserialize, JsonSchema)]
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
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
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
    pub directory: Option<String>,
    /// Run in progress.
    pub running: Option<ProposalId>,
    /// Last 50 runs, oldest first.
    pub runs: Vec<SessionRunView>,
    /// Number of all runs.
    pub run_count: u64,
}

/// A run of a session.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SessionRunView {
    /// Proposal of the run.
    pub proposal: ProposalId,
    /// Step that ran.
    pub step: StepRef,
    /// When the run ended.
    pub at: Timestamp,
}

/// `GET /v1/sessions`: the sessions that the caller may use.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// Sessions in the order of their creation.
    pub sessions: Vec<SessionView>,
}

documents::words! {
    /// Status of a proposal.
    #[derive(Serialize, Deserialize, JsonSchema)]
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
    /// Returns true if the proposal can still run.
    pub fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Returns true if the status can't change any more.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::Running => false,
            Self::Finished | Self::Denied | Self::Expired | Self::Cancelled | Self::Refused => true,
        }
    }
}

/// All facts about one proposal.
#[skip_serializing_none]
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
    /// The list of programs that the bytes to sign name by its digest. Only in the view of one proposal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ListedProgram>,
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
    pub ended_at: Option<Timestamp>,
    /// How the run ended.
    pub outcome: Option<Outcome>,
    /// What the lists of the run refused although the exit code is 0, from the receipt. Absent if they refused nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedPart>,
    /// Id of the receipt, after the run.
    pub receipt: Option<ReceiptId>,
    /// Reason why the proposal was refused or denied.
    pub refusal: Option<RefusalView>,
    /// Reason for the outcome `unknown`, as the boundary states it. The receipt has no field for it.
    pub end_unknown_because: Option<String>,
    /// Last run of this step with these parameters, if nobody saw its end and no later one succeeded. Only for a proposal
    /// that has not run.
    pub unknown_end: Option<UnknownEnd>,
    /// Other proposals of the same run: those that are open, and the last one that succeeded within an hour. Only for a
    /// caller who did not make this proposal, and only while it waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_runs: Vec<SameRun>,
    /// Job that made the proposal, for a proposal of a token that ID tokens open. This is the boundary's word.
    pub admitted: Option<AdmittedJob>,
    /// Denials of the proposal, in the order of the log. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<DeniedView>,
    /// Reason why the approved run has not begun: the refusal of the last attempt. The boundary repeats the attempt
    /// until the proposal expires.
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
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SameRun {
    /// Id of the other proposal.
    pub proposal: ProposalId,
    /// Its status.
    pub status: ProposalStatus,
    /// Time at which its run succeeded or people denied it. Absent for an open proposal.
    pub ended_at: Option<Timestamp>,
}

/// Result of denying a statement.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct DenialView {
    /// Id of the proposal in the statement.
    pub proposal: ProposalId,
    /// Digest of the denied statement.
    pub digest: AuthorizationDigest,
    /// Index of the denial's log entry.
    pub index: u64,
    /// Status of the proposal, if the boundary knew the proposal before.
    pub status: Option<ProposalStatus>,
    /// End of the statement's window. Until this time the statement is refused as denied, after this time as expired.
    pub kept_until: Timestamp,
}

/// Result of a revocation.
#[derive(Serialize, Deserialize, JsonSchema)]
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
#[derive(Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ProposalList {
    /// Proposals of this page.
    pub proposals: Vec<ProposalView>,
    /// Cursor for the next page, as the query `?cursor=`.
    pub cursor: Option<String>,
}

/// `GET /v1/receipts/{id}`.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// Id of the receipt.
    pub id: ReceiptId,
    /// Index of the receipt's log entry.
    pub index: u64,
    /// The envelope of the receipt.
    pub envelope: Envelope,
    /// The envelope of the authorization, with the signatures that counted. The receipt names it by its digest.
    pub authorization: Envelope,
    /// Reason for the outcome `unknown`, as the boundary states it. The receipt has no field for it.
    pub end_unknown_because: Option<String>,
}

/// Event of a proposal, as SSE and NDJSON transport it.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The status of the proposal changed.
    Status {
        /// The new status.
        status: ProposalStatus,
        /// Code of the refusal, if there is one.
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
        elapsed_ms: Option<u64>,
        /// Text of the piece, if the piece is UTF-8 without the character NUL.
        text: Option<String>,
        /// Base64 of the piece, if there is no text.
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
#[skip_serializing_none]
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
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
    pub nodes: Option<NodesView>,
}

/// The nodes of a boundary whose log is in a PostgreSQL database.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodesView {
    /// Name of the node that answers.
    pub node: Name,
    /// What keeps a run after the loss of the database server: `none`, `synchronous` (a replica) or `storage`.
    pub replicas: String,
    /// All nodes by name.
    pub nodes: Vec<NodeView>,
}

/// A node of a boundary.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct RosterView {
    /// Number of the version: 1, then one more in each version.
    pub version: u64,
    /// Digest of the roster's payload.
    pub digest: RosterDigest,
    /// True if the next version needs signatures. Otherwise the version is *unguarded*.
    pub guarded: bool,
}

/// Token, as the list of tokens shows it.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Token, as the seal contains it.
    #[serde(flatten)]
    pub token: documents::SealedToken,
    /// Time at which the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Approvals that a proposal has and still needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalsView {
    /// Approval rules. All rules must be met.
    pub rules: Vec<Approvals>,
    /// Minimum number of people that can meet all rules together.
    pub required: u64,
    /// Number of people whose signatures count so far.
    pub have: u64,
    /// People whose signatures count so far.
    pub approvers: Vec<Name>,
    /// Groups from which a signature is still needed.
    pub missing: Vec<GroupName>,
    /// People among them who signed with a passkey.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_passkey: Vec<Name>,
    /// True if a further person must sign with another key than a passkey, because passkeys alone meet no rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_program: bool,
    /// People whose signatures can't count: the proposer and the owners of the proposer's token.
    pub excluded: Vec<Name>,
}

impl ApprovalsView {
    /// Returns true if the signature of this person would count towards the quorum.
    pub fn need(&self, person: &RosteredApprover) -> bool {
        let counts =
            !self.excluded.contains(&person.name) && !self.approvers.contains(&person.name);
        counts
            && self
                .missing
                .iter()
                .any(|group| person.groups.contains(group))
    }

    /// Returns who has signed, and which groups still must sign.
    pub fn words(&self) -> String {
        let mut words = format!("{} of {} signatures", self.have, self.required);
        if !self.approvers.is_empty() {
            words.push_str(&format!(", by {}", joined(&self.approvers, ", ")));
        }
        if !self.by_passkey.is_empty() {
            words.push_str(&format!(
                ", with a passkey: {}",
                joined(&self.by_passkey, ", ")
            ));
        }
        if !self.missing.is_empty() {
            words.push_str(&format!(
                "; still needed: somebody of {}",
                joined(&self.missing, ", somebody of ")
            ));
        }
        if self.own_program {
            words.push_str(", with another key than a passkey");
        }
        words
    }
}

/// `POST /v1/grants`: a draft, or a grant that was made elsewhere. Exactly one of the two fields is present.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// The terms of a grant that the boundary shall draft.
    pub draft: Option<DraftTerms>,
    /// A grant with its signatures.
    pub envelope: Option<Envelope>,
}

/// The terms of a draft. The boundary adds the definitions, the permissions and the sandbox of the steps, and the times.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftTerms {
    /// The party that may use the grant.
    pub grantee: DraftGrantee,
    /// The steps, in any order.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<DraftStep>,
    /// Maximum number of runs.
    pub max_uses: u64,
    /// Maximum number of runs in a period of time.
    pub rate: Option<GrantRate>,
    /// Which sessions the runs may use. By default none.
    pub session: Option<GrantedSession>,
    /// The uploaded files that the runs may receive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// Reason for the grant.
    #[serde(default)]
    pub reason: String,
    /// Seconds from now to the end of the grant, at most 90 days.
    pub expires_in_s: i64,
}

/// The party that may use the drafted grant: `name` and `key` of a proposer, or `token`.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftGrantee {
    /// A proposer of the roster.
    pub name: Option<Name>,
    /// The only key with which the proposer may use the grant.
    pub key: Option<KeyId>,
    /// A token. The boundary adds its credential.
    pub token: Option<Name>,
}

/// A step of a draft.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftStep {
    /// Ref of the step: `PATH:ID`.
    pub step: StepRef,
    /// Declaration that the parameters of each run must satisfy. It names each parameter of the step.
    pub params: Parameter,
}

documents::words! {
    /// Status of a grant.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum GrantStatus {
        /// The draft waits for signatures.
        Pending = "pending",
        /// The grant is in the log, and can be used.
        Active = "active",
        /// No run can use the grant now. `why` has the reason.
        Unusable = "unusable",
    }
}

/// All facts about one grant.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Id of the grant.
    pub id: GrantId,
    /// Status of the grant.
    pub status: GrantStatus,
    /// Digest of the payload. A run and a revocation name this digest.
    pub digest: ContentDigest,
    /// Base64 of the exact bytes to sign.
    pub payload: String,
    /// The terms in the payload.
    pub grant: Grant,
    /// Approvals that the grant has and still needs: the rules of all its steps together.
    pub approvals: ApprovalsView,
    /// Time at which the boundary got the grant.
    pub created_at: Timestamp,
    /// Index of the grant's log entry.
    pub index: Option<u64>,
    /// Number of uses so far.
    pub uses: u64,
    /// Time of the last use.
    pub last_use_at: Option<Timestamp>,
    /// Why no run can use the grant now.
    pub why: Option<RefusalView>,
}

impl GrantView {
    /// Returns true if no run can ever use the grant again.
    pub fn is_over(&self) -> bool {
        let over = [Code::GrantExhausted, Code::Revoked, Code::Expired];
        self.why
            .as_ref()
            .is_some_and(|why| over.contains(&why.code))
    }
}

/// `GET /v1/grants`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct GrantList {
    /// The drafts and the grants whose end has not come, in the order of their ends. The boundary reads only
    /// the first 1,000 of them.
    pub grants: Vec<GrantView>,
}

/// `GET /v1/registry`: the seal in force and the steps.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// The boundary that answers.
    pub boundary: BoundaryView,
    /// The seal in force.
    pub seal: SealView,
    /// The freeze, if the boundary is frozen.
    pub frozen: Option<FreezeView>,
    /// The registered steps, sorted by ref. On a page: the steps that fit the query best come first.
    pub steps: Vec<StepSummary>,
    /// Absent if the answer has all steps.
    pub page: Option<RegistryPage>,
}

/// One page of the steps.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct RegistryPage {
    /// Number of steps on all pages.
    pub found_steps: u64,
    /// Number of steps that the caller may see.
    pub visible_steps: u64,
    /// The `cursor` of the next page. Absent on the last page.
    pub cursor: Option<String>,
}

/// A freeze. Nothing is proposed or run until an operator of the host thaws the boundary.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct FreezeView {
    /// Index of the log entry.
    pub index: u64,
    /// Time at which the boundary received the freeze. After 30 days, the latest time that an earlier log entry states.
    pub at: Timestamp,
    /// The holder of the key that signed the freeze, for example `approver frank`.
    pub by: String,
    /// Reason in the words of this person.
    pub reason: String,
}

/// Identity of a boundary.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct BoundaryView {
    /// Name of the boundary. Several boundaries can have the same name.
    pub name: BoundaryName,
    /// Digest of the first seal of the boundary's log.
    pub id: SealDigest,
    /// Epoch of the seal in force.
    pub epoch: Epoch,
}

/// A seal, as its log entry states it.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SealView {
    /// Number of the seal.
    pub number: u64,
    /// Digest of the seal's payload.
    pub digest: SealDigest,
    /// Index of the seal's log entry.
    pub index: u64,
    /// Time of the seal.
    pub at: Timestamp,
    /// Root of the registry.
    pub registry_root: RegistryRoot,
    /// Blob with the leaves of the registry.
    pub registry: BlobDigest,
    /// Blob with the policy.
    pub policy: PolicyDigest,
    /// Blob with the built-in policy lists.
    pub builtins: BlobDigest,
    /// Digest of the blob with the roster's payload.
    pub roster: RosterDigest,
    /// Blob with every signed version of the roster up to the version in force. Absent if version 1 is in force.
    pub rosters: Option<BlobDigest>,
    /// Blob with the tokens.
    pub tokens: BlobDigest,
    /// Blob with the limits and the sandbox level in force.
    pub configuration: BlobDigest,
    /// Descriptions of the differences between the files and this seal.
    pub drift: Vec<String>,
}

/// A step in a list.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct StepSummary {
    /// Ref of the step: `PATH:ID`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Digest of the step's definition.
    pub digest: StepDigest,
    /// Title of the step.
    pub title: String,
    /// Names of the parameters, sorted. A name with `?` at its end is optional.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Approval rules of the step and the policy. All rules must be met.
    pub approvals: Vec<Approvals>,
    /// Reason why the host of the boundary can't run the step, so that the boundary refuses proposals for the step.
    /// Absent if the host can run the step.
    pub unavailable: Option<String>,
}

impl StepSummary {
    /// Returns the names of the parameters, as in [`Self::parameters`].
    pub fn parameter_names(all: &Parameter) -> Vec<String> {
        let shown = |name: &String| match all.requires(name) {
            true => name.clone(),
            false => format!("{name}?"),
        };
        let mut names: Vec<String> = all.keys().map(|(name, _)| shown(name)).collect();
        names.sort();
        names
    }
}

/// `GET /v1/steps/{ref}`: the whole definition of one step.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Ref of the step: `PATH:ID`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Digest of the step's definition.
    pub digest: StepDigest,
    /// Definition from which the digest is computed.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub definition: Value,
    /// Approval rules of the step and the policy. All rules must be met.
    pub approvals: Vec<Approvals>,
    /// Permissions that policy requires for every run. The approvers' signatures grant these permissions.
    pub permissions: Vec<Permission>,
    /// Reason why policy denies every run of the step, with any signatures.
    pub denied: Option<String>,
    /// The sandbox of each run.
    pub sandbox: Profile,
    /// The list of programs that the sandbox names by its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ListedProgram>,
    /// Variables that a session of the runbook carries: names in the scripts, and patterns of policy. Absent for a step
    /// without a session.
    pub session_variables: Option<Vec<String>>,
    /// Last run of this step that succeeded.
    pub last_success: Option<LastSuccess>,
    /// With `?params_digest=`: last run of this step with these parameters, if nobody saw its end and no later one succeeded.
    pub unknown_end: Option<UnknownEnd>,
}

/// Last run of a step that succeeded, for comparison.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct LastSuccess {
    /// Receipt of the run.
    pub receipt: ReceiptId,
    /// Digest of the definition that ran. The log contains this definition as a blob.
    pub digest: StepDigest,
    /// The parameters of the run.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Time at which the run ended.
    pub finished_at: Timestamp,
    /// Number of successful runs of the step that the caller may see. The boundary counts at most 50.
    pub runs: u64,
}

/// Run whose end nobody saw.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnknownEnd {
    /// Receipt of the run, with the outcome `unknown`.
    pub receipt: ReceiptId,
    /// When the boundary wrote the receipt.
    pub finished_at: Timestamp,
}

/// `GET /v1/unsettled`: the emergencies without their reviews, and the runs whose end nobody has settled.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct UnsettledList {
    /// The runs that the caller may see, at most 100: first the emergencies, then the others, each newest first.
    pub runs: Vec<UnsettledRun>,
    /// Number of further runs among the 1,000 that the boundary reads.
    #[serde(default)]
    pub more: u64,
}

/// A run that people must review.
#[skip_serializing_none]
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnsettledRun {
    /// Proposal of the run.
    pub proposal: ProposalId,
    /// Receipt of the run. Absent while an emergency runs.
    pub receipt: Option<ReceiptId>,
    /// The step that ran.
    pub step: StepRef,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// End of the run, or its start while it runs.
    pub at: Timestamp,
    /// Outcome in the receipt.
    pub outcome: Option<Outcome>,
    /// Why the end is unknown, in the words of the boundary.
    pub end_unknown_because: Option<String>,
    /// The grant that pauses until the run is settled.
    pub grant: Option<GrantId>,
    /// The people who must review the emergency. Absent if the run needs no review as an emergency.
    pub review: Option<ReviewNeed>,
    /// The people who must say how the run ended. Absent if the end is known.
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
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReviewNeed {
    /// Number of people.
    pub required: u64,
    /// Number of people whose review counts. For the settlement, those who agree.
    pub have: u64,
    /// Groups of these people.
    pub from: Vec<GroupName>,
}

/// A review of a run.
#[skip_serializing_none]
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunReviewView {
    /// The person who signed.
    pub reviewer: Name,
    /// Whether the run was right, by the reviewer.
    pub verdict: ReviewVerdict,
    /// How the run ended, by the reviewer.
    pub observed: Option<ObservedEnd>,
    /// Index of the log entry.
    pub index: u64,
}

/// `POST /v1/receipts/{id}/reviews`: a review is in the log.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
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
    pub settled: Option<ObservedEnd>,
}

/// Words for HTTP, for the command line, and for the tools.
const WORDS: [[&str; 3]; 6] = [
    [
        "`GET /v1/registry`",
        "`countersign registry list`",
        "`list_steps`",
    ],
    [
        "with `POST /v1/sessions`",
        "with `countersign session create`",
        "(no tool makes a session, so ask the user)",
    ],
    [
        "`POST /v1/sessions/{id}/reset`",
        "`countersign session reset`",
        "ask the user",
    ],
    [
        "`POST /v1/sessions/{id}/end`",
        "`countersign session end`",
        "ask the user",
    ],
    ["as `session`", "(--session ID)", "as `session`"],
    ["as `plan`", "(--plan RECEIPT)", "as `plan`"],
];

/// Returns a text of the boundary with the words of the command line.
pub fn for_command_line(text: &str) -> String {
    WORDS
        .iter()
        .fold(text.to_owned(), |text, [http, command, _]| {
            text.replace(http, command)
        })
}

/// Returns a text of the boundary with the words of the tools.
pub fn for_tools(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, [http, _, tool]| {
        text.replace(http, tool)
    })
}

/// `POST /v1/admissions`: an ID token of a job.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdTokenBody {
    /// ID token in the compact form of JWS, at most 16 KiB.
    pub id_token: String,
}

/// Job that made a proposal, as the boundary read it from an ID token. No signature covers this.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdmittedJob {
    /// Issuer of the ID token.
    pub issuer: String,
    /// Claims by which the token of the proposer chose the job, and claims that state a parameter.
    pub claims: BTreeMap<String, String>,
    /// Parameters that had to be equal to a claim, each with the claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bind: BTreeMap<String, String>,
    /// Page of the job.
    pub job: Option<String>,
}

/// Returns names with values in one line.
pub fn pairs(map: &BTreeMap<String, String>) -> String {
    joined(
        map.iter().map(|(name, value)| format!("{name}={value}")),
        ", ",
    )
}
