//! Result of an audit: findings, decisions and the summary.
//!
//! The file also defines the lines that an audit prints about denials, revocations, reviews and grants.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::{UsedGrant, WitnessFacts};
use documents::{
    AuthorizationDigest, BoundaryName, ContentDigest, FollowedLog, GrantId, GroupName, Name,
    ObservedEnd, Outcome, ParamsDigest, ProgramFacts, ReceiptId, ReviewVerdict, RevokedSubject,
    RosterDigest, SealDigest, StepDigest, StepRef, Timestamp,
};

words_with_basis! {
    /// Kind of defect in a log. The names of the kinds are stable.
    #[derive(PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
    enum FindingKind: RestsOn {
        /// An entry is not a signed document in its canonical form.
        Entry = "entry", Hashes;
        /// An entry has a kind that this version does not know.
        UnknownKind = "unknown-kind", Hashes;
        /// No key of the boundary in the roster in force signed the entry.
        Signature = "signature", Roster;
        /// The time of an entry is earlier than the time of an earlier entry.
        Time = "time", Boundary;
        /// A seal does not contain the correct digest of the previous seal.
        SealChain = "seal-chain", Boundary;
        /// A seal names a roster that is not connected with the trusted roster, or an older roster than the previous seal
        /// names.
        RosterChain = "roster-chain", Roster;
        /// A document that a seal names is missing, has another digest, or contradicts itself.
        SealedState = "sealed-state", Hashes;
        /// A token has a removed token's name or a person's name, or a token was changed.
        Tokens = "tokens", Boundary;
        /// An old epoch is in force again.
        Epoch = "epoch", Boundary;
        /// A document belongs to another boundary.
        Boundary = "boundary", Boundary;
        /// A document names a seal that is not in force.
        SealInForce = "seal-in-force", Boundary;
        /// A nonce, an authorization or a proposal was used twice.
        DoubleUse = "double-use", Boundary;
        /// A nonce was spent outside the signed window.
        Window = "window", Approvers;
        /// A run was started although an approver had denied it.
        Denied = "denied", Approvers;
        /// The log contains no open consumption for a receipt.
        NoConsumption = "no-consumption", Boundary;
        /// A consumption has two receipts.
        SecondReceipt = "second-receipt", Boundary;
        /// A consumption has no receipt, although the log continues longer than the longest permitted run.
        NoReceipt = "no-receipt", Boundary;
        /// An entry of an authorization is not directly before the consumption that names it, or no consumption names it.
        Authorization = "authorization", Boundary;
        /// A receipt and its consumption contradict each other, or a consumption and its authorization.
        Consumption = "consumption", Boundary;
        /// The authorization of a run is malformed, or a signature over the authorization is invalid or does not count.
        ApprovalSignatures = "approval-signatures", Approvers;
        /// A person signed although the rules exclude this person.
        Excluded = "excluded", Approvers;
        /// The proposer or the submitter had no right to propose or submit the run.
        Proposer = "proposer", Boundary;
        /// A grant has a wrong form, a wrong signer or a wrong place, or it does not cover the run that names it.
        Grant = "grant", Approvers;
        /// The uses of a grant have wrong numbers, are too many or too frequent, or come while the grant pauses.
        GrantUse = "grant-use", Boundary;
        /// An emergency began while too many emergencies had no review.
        Emergency = "emergency", Boundary;
        /// A review has a wrong form or a wrong signer, or its run needs no review.
        Review = "review", Roster;
        /// Too few people signed.
        Quorum = "quorum", Approvers;
        /// The decision in a receipt differs from the decision that the audit makes from the log before the receipt.
        Decision = "decision", Boundary;
        /// The signed step differs from the sealed step.
        Step = "step", Approvers;
        /// The parameters do not fit the sealed schema.
        Parameters = "parameters", Approvers;
        /// Policy denies the step, or policy requires permissions that the approvers did not sign.
        Permissions = "permissions", Boundary;
        /// The signed sandbox differs from the sealed sandbox, or the run did not have a required layer.
        Sandbox = "sandbox", Boundary;
        /// Status, code and times of a receipt contradict each other.
        Outcome = "outcome", Boundary;
        /// The subjects of a receipt differ from the fields of the receipt.
        ReceiptSubjects = "receipt-subjects", Boundary;
        /// Two runs with the same exclusive name overlapped.
        Exclusive = "exclusive", Boundary;
        /// Two runs used one session at the same time, or a run used another state than the run before left.
        Session = "session", Boundary;
        /// The log contains no plan before a run that carries out a plan, or the run could not carry out this plan.
        Plan = "plan", Boundary;
        /// A denial does not come from an approver of this boundary.
        Denial = "denial", Roster;
        /// A revocation has a wrong form, a wrong signer or an unknown subject, or its subject is already revoked.
        Revocation = "revocation", Roster;
        /// A grant, a key, a token or an epoch was used after the log entry that revoked it.
        Revoked = "revoked", Boundary;
        /// The signed head belongs to another log, or the boundary did not sign the head.
        Checkpoint = "checkpoint", Roster;
        /// Too few witnesses cosigned the head, or a cosignature is invalid.
        Witnesses = "witnesses", Roster;
        /// The Merkle root of the entries differs from the root in the signed head.
        Root = "root", Hashes;
        /// The log is shorter than a checkpoint of this log that the auditor received before.
        Cut = "cut", Kept;
        /// Two signed heads of one log contradict each other.
        Fork = "fork", Kept;
        /// A stored tile differs from the tile that is computed from the entries.
        Tile = "tile", Hashes;
    }
}

documents::words! {
    /// Evidence on which a finding depends.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum RestsOn {
        /// The stored bytes prove the finding, without a signature.
        Hashes = "the bytes themselves",
        /// The boundary signed the documents that prove the finding.
        Boundary = "what the boundary signed",
        /// The signatures of the approvers, or missing signatures, prove the finding.
        Approvers = "the approvers' signatures",
        /// The roster that the auditor trusts proves the finding.
        Roster = "the roster that you trust",
        /// A stored checkpoint proves the finding, because the boundary signed both heads.
        Kept = "two heads that the boundary signed",
    }
}

/// Defect that an audit found.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// Kind of the defect.
    pub what: FindingKind,
    /// Index of the log entry, from 0. The field is absent if the finding is about the whole log.
    pub entry: Option<u64>,
    /// Receipt, authorization or other document that the finding is about.
    pub id: Option<String>,
    /// Description of the defect. The text may contain text of the log, so escape the text before you show it.
    pub detail: String,
    /// Evidence on which this finding depends.
    pub rests_on: RestsOn,
    /// True if another program version may accept what this version refuses, so that the finding is not a failure. Only
    /// the boundary states that another version decided.
    pub differs: bool,
}

impl Finding {
    /// Creates a finding at a log entry.
    pub fn at(what: FindingKind, entry: u64, detail: impl fmt::Display) -> Self {
        Self {
            entry: Some(entry),
            ..Self::whole(what, detail)
        }
    }

    /// Creates a finding about the whole log.
    pub fn whole(what: FindingKind, detail: impl fmt::Display) -> Self {
        Self {
            what,
            entry: None,
            id: None,
            detail: detail.to_string(),
            rests_on: what.rests_on(),
            differs: false,
        }
    }

    /// Sets the id of the document that the finding is about.
    pub fn about(mut self, id: impl fmt::Display) -> Self {
        self.id = Some(id.to_string());
        self
    }
}

/// Result of repeating a decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Verdict")]
pub enum EntryVerdict {
    /// The decision follows from the state before the decision.
    Stands,
    /// Another program version made the decision, and this version would decide differently.
    Differs,
    /// The decision does not follow from the state before the decision.
    Fails,
    /// The state before the decision could not be read, so the result is unknown.
    Undecided,
}

/// One decision of the boundary to run a step, with its result.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DecisionLine {
    /// Time at which the nonce was spent.
    pub at: Timestamp,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// Name of the submitter.
    pub handed_in_by: Name,
    /// Digest of the grant that the run used. Absent if approvers signed the run itself.
    pub grant: Option<ContentDigest>,
    /// The grant with this digest, and the number of the use.
    pub used_grant: Option<UsedGrant>,
    /// True if the run was an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// The step that ran.
    pub step: StepRef,
    /// Digest of the step definition.
    pub step_digest: StepDigest,
    /// Complete signed parameters.
    pub params: Value,
    /// The digest of the parameters.
    pub params_digest: ParamsDigest,
    /// Reason that the proposer gave. No check confirms the reason.
    pub reason: String,
    /// Approvers whose signatures count, according to the receipt.
    pub approvers: Vec<Name>,
    /// Groups that the counted approvers represent.
    pub groups: Vec<GroupName>,
    /// How the run ended.
    pub outcome: Outcome,
    /// Which programs the run started, and which its list refused, according to the receipt. Absent if the run had no
    /// list of programs.
    pub programs: Option<ProgramFacts>,
    /// Hosts to which the run got no connection, each with the reason, according to the receipt. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_hosts: Vec<String>,
    /// Id of the receipt.
    pub receipt: ReceiptId,
    /// Digest of the authorization that the approvers signed.
    pub authorization: AuthorizationDigest,
    /// Number of the seal in force.
    pub seal: u64,
    /// Index of the log entry with the consumption.
    pub consumption: u64,
    /// Position of this nonce in the consumption, from 0.
    pub item: u64,
    /// Index of the log entry with the receipt.
    pub entry: u64,
    /// Result of repeating the decision.
    pub verdict: EntryVerdict,
    /// Kinds of the findings about this decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingKind>,
    /// Questions that this program version can't answer from the sealed state. The verdict ignores these questions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<FindingKind>,
}

/// One output item of an audit, in the order of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(rename = "Said")]
pub enum AuditEvent {
    /// A decision.
    Decision(Box<DecisionLine>),
    /// A denial.
    Denial(Box<DenialLine>),
    /// A valid revocation.
    Revocation(Box<RevocationLine>),
    /// A valid review.
    Review(Box<ReviewedLine>),
    /// A finding about an entry or the whole log.
    Finding(Box<Finding>),
}

/// Numbers of the audited entries and of the results.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Counts")]
pub struct AuditCounts {
    /// Number of seals.
    pub seals: u64,
    /// Number of consumptions (log entries that spend nonces).
    pub consumptions: u64,
    /// Number of nonces in these consumptions.
    pub spent: u64,
    /// Number of receipts with a valid signature and a consumption.
    pub receipts: u64,
    /// Number of denials.
    pub denials: u64,
    /// Number of log entries with a refusal or an hourly summary of refusals.
    pub refusals: u64,
    /// Number of valid grants.
    #[serde(default)]
    pub grants: u64,
    /// Number of valid revocations.
    #[serde(default)]
    pub revocations: u64,
    /// Number of valid reviews.
    #[serde(default)]
    pub reviews: u64,
    /// Number of decisions that follow from the state before them.
    pub stand: u64,
    /// Number of decisions that another program version made and this version would make differently.
    pub differ: u64,
    /// Number of decisions that do not follow from the state before them.
    pub fail: u64,
    /// Number of decisions under a state that could not be read.
    pub undecided: u64,
    /// Number of checked signatures.
    pub signatures: u64,
}

impl AuditCounts {
    /// Counts a decision.
    pub(crate) fn add(&mut self, verdict: EntryVerdict) {
        match verdict {
            EntryVerdict::Stands => self.stand += 1,
            EntryVerdict::Differs => self.differ += 1,
            EntryVerdict::Fails => self.fail += 1,
            EntryVerdict::Undecided => self.undecided += 1,
        }
    }
}

/// Question that the audit can't answer from the sealed state, with the number of affected decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Unchecked")]
pub struct UncheckedQuestion {
    /// Kind of finding that the audit would report.
    pub what: FindingKind,
    /// Number of affected decisions.
    pub decisions: u64,
    /// Reason for the missing answer, from the first affected decision.
    pub why: String,
}

/// Consumption that has no receipt at the end of the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OpenRun {
    /// Index of the log entry with the consumption.
    pub consumption: u64,
    /// Position of this nonce in the consumption, from 0.
    pub item: u64,
    /// Digest of the authorization that the approvers signed.
    pub authorization: AuthorizationDigest,
    /// Time at which the nonce was spent.
    pub at: Timestamp,
}

/// Summary of an audit.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// True if the audit found no failure.
    pub clean: bool,
    /// Name of the boundary.
    pub name: Option<BoundaryName>,
    /// Id of the boundary.
    pub boundary: Option<SealDigest>,
    /// Number of entries in the log.
    pub entries: u64,
    /// Index of the first entry that this audit read. An earlier audit read the entries before this index.
    pub from: u64,
    /// Latest time that an entry states.
    pub until: Timestamp,
    /// Version of the roster that is in force at the end of the log.
    pub roster: Option<u64>,
    /// Digest of the trusted roster.
    pub trusted: RosterDigest,
    /// Witnesses that cosigned the head. The newest known roster names the witnesses.
    pub witnesses: Vec<WitnessFacts>,
    /// Numbers of the audited entries and of the results.
    pub counts: AuditCounts,
    /// Runs without a receipt. The receipts may follow later.
    pub open: Vec<OpenRun>,
    /// The grants of the log, in log order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantLine>,
    /// The runs that still need a review, in log order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<RunReviewState>,
    /// The other emergencies and runs with an unknown end, which people have reviewed and settled, in log order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviewed: Vec<RunReviewState>,
    /// Number of findings that are failures.
    pub failures: u64,
    /// Number of decisions and documents that another program version accepted and this version would not accept.
    pub differences: u64,
    /// Questions that the audit could not answer, each with the number of affected decisions.
    pub not_checked: Vec<UncheckedQuestion>,
    /// Program versions that made the differing decisions, as the boundary states them.
    pub engines: Vec<String>,
    /// Previous log of this boundary, with its last known head, if this log continues a previous log. This audit does
    /// not cover the previous log.
    pub follows: Option<FollowedLog>,
    /// Descriptions of the evidence on which the results depend.
    pub rests_on: Vec<String>,
    /// Descriptions of facts that this audit can't show.
    pub not_shown: Vec<String>,
    /// Warnings for the reader.
    pub warnings: Vec<String>,
}

/// One denial in the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RevocationLine {
    /// Latest time that the log states before the revocation. A revocation states no time.
    pub after: Timestamp,
    /// The holder of the key that signed, for example `operator oscar`.
    pub signer: String,
    /// What is revoked.
    pub subject: RevokedSubject,
    /// Name of the revoked token.
    pub token: Option<Name>,
    /// Id of the revoked grant.
    pub grant: Option<GrantId>,
    /// Reason in the words of the signer. No check confirms the reason.
    pub reason: String,
    /// Index of the log entry.
    pub entry: u64,
}

/// One valid review in the log.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReviewedLine {
    /// Latest time that the log states before the review. A review states no time.
    pub after: Timestamp,
    /// The person who signed.
    pub reviewer: Option<Name>,
    /// Id of the reviewed receipt.
    pub receipt: ReceiptId,
    /// Whether the run was right, by the reviewer.
    pub verdict: ReviewVerdict,
    /// How the run ended, by the reviewer.
    pub observed: Option<ObservedEnd>,
    /// Reason in the words of the reviewer. No check confirms the reason.
    pub reason: String,
    /// Index of the log entry.
    pub entry: u64,
}

/// What the reviews of a run say at the end of the log: of an emergency, or of a run whose end nobody saw.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
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
    pub settled: Option<ObservedEnd>,
    /// The people whose reviews settled this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settled_by: Vec<Name>,
    /// Index of the log entry of the receipt.
    pub entry: u64,
}

/// One grant in the log, with its uses at the end of the log.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub struct GrantLine {
    /// Id of the grant.
    pub grant: GrantId,
    /// Digest of its payload, which an authorization names.
    pub digest: ContentDigest,
    /// The proposer that may use the grant, or `the token NAME`.
    pub grantee: String,
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
    pub last: Option<Timestamp>,
    /// Log entry that revoked the grant.
    pub revoked: Option<u64>,
    /// The holder of the key that revoked the grant, for example `operator oscar`.
    pub revoked_by: Option<String>,
    /// Log entry of the receipt with an unknown end, since which the grant pauses.
    pub paused: Option<u64>,
    /// Why no run can use the grant under the last seal of the log, for example because its epoch was revoked.
    pub unusable: Option<String>,
    /// Index of the log entry.
    pub entry: u64,
}
