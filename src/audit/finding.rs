//! Types of an audit's result: findings, decisions and the summary.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::report::WitnessFacts;
use crate::crypto::digest::{AuthorizationDigest, ParamsDigest, RosterDigest, SealDigest, StepDigest};
use crate::record::ident::{BoundaryName, GroupName, Name, ReceiptId, StepRef};
use crate::record::receipt::Outcome;
use crate::record::seal::FollowedLog;
use crate::record::validity::Timestamp;

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $rests_on:ident;)*) => {
        /// What does not hold. The words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum FindingKind {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl FindingKind {
            /// All kinds of findings.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name of the finding in reports.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns the evidence that the finding rests on.
            #[must_use]
            pub const fn rests_on(self) -> RestsOn {
                match self { $(Self::$name => RestsOn::$rests_on),* }
            }
        }
    };
}

whats! {
    /// An entry is not a signed document in its canonical form.
    Entry = "entry", Hashes;
    /// An entry is of a kind that this version does not know.
    UnknownKind = "unknown-kind", Hashes;
    /// An entry is well formed, and uses what comes with a later version: it is named, and nothing was decided of it.
    LaterFeature = "later-feature", Hashes;
    /// An entry is not signed by a key of the boundary's entry in the roster in force.
    Signature = "signature", Roster;
    /// A time lies before that of an earlier entry.
    Time = "time", Boundary;
    /// A seal does not follow the one before.
    SealChain = "seal-chain", Boundary;
    /// A seal names a roster that the trusted one does not lead to, or an older one.
    RosterChain = "roster-chain", Roster;
    /// What a seal names is missing, is something else, or contradicts itself.
    SealedState = "sealed-state", Hashes;
    /// A token came back, was changed, or has a person's name.
    Tokens = "tokens", Boundary;
    /// An epoch that was replaced is in force again.
    Epoch = "epoch", Boundary;
    /// A document is of another boundary.
    Boundary = "boundary", Boundary;
    /// A document names another seal than the one in force.
    SealInForce = "seal-in-force", Boundary;
    /// A nonce, an authorization or a proposal was used twice.
    DoubleUse = "double-use", Boundary;
    /// A nonce was spent outside the window that was signed.
    Window = "window", Approvers;
    /// A run was started that an approver had denied.
    Denied = "denied", Approvers;
    /// A receipt names no consumption that waits for it.
    NoConsumption = "no-consumption", Boundary;
    /// A consumption has two receipts.
    SecondReceipt = "second-receipt", Boundary;
    /// A consumption has no receipt, although the log goes on longer than any run may last.
    NoReceipt = "no-receipt", Boundary;
    /// A receipt and its consumption contradict each other.
    Consumption = "consumption", Boundary;
    /// The authorization in a receipt is malformed, or a signature on it does not hold or count.
    Approvals = "approval-signatures", Approvers;
    /// Somebody signed who may not approve this.
    Excluded = "excluded", Approvers;
    /// Who proposed it or handed it in could not.
    Proposer = "proposer", Boundary;
    /// Too few people signed.
    Quorum = "quorum", Approvers;
    /// The receipt's decision is not the one that follows from the state before.
    Decision = "decision", Boundary;
    /// Another step than the sealed one was signed.
    Step = "step", Approvers;
    /// The parameters do not fit the sealed schema.
    Parameters = "parameters", Approvers;
    /// Policy denies the step, or asks for what nobody signed.
    Permissions = "permissions", Boundary;
    /// Another sandbox was signed than the sealed state gives, or a required layer was not held.
    Sandbox = "sandbox", Boundary;
    /// Status, code and times of a receipt contradict each other.
    Outcome = "outcome", Boundary;
    /// A receipt's subjects are not what it states.
    ReceiptSubjects = "receipt-subjects", Boundary;
    /// Two runs that exclude each other overlapped.
    Exclusive = "exclusive", Boundary;
    /// A denial is not one of an approver of this boundary.
    Denial = "denial", Roster;
    /// The signed head is not of this log, or not signed by the boundary.
    Checkpoint = "checkpoint", Roster;
    /// Fewer witnesses than were demanded cosigned the head, or a cosignature does not hold.
    Witnesses = "witnesses", Roster;
    /// The entries do not hash to the signed head.
    Root = "root", Hashes;
    /// The log is shorter than one that was seen before.
    Cut = "cut", Kept;
    /// Two signed heads of one log contradict each other.
    Fork = "fork", Kept;
    /// A stored tile is not that of the entries.
    Tile = "tile", Hashes;
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whose word it takes to believe a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestsOn {
    /// Nobody's: the bytes show it.
    Hashes,
    /// The boundary's: it signed what shows it.
    Boundary,
    /// The approvers': their signatures, or the lack of them, show it.
    Approvers,
    /// The roster that the auditor trusts.
    Roster,
    /// A checkpoint that was kept, and the boundary's signature on both.
    Kept,
}

impl RestsOn {
    /// Returns the text for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Hashes => "the bytes themselves",
            Self::Boundary => "what the boundary signed",
            Self::Approvers => "the approvers' signatures",
            Self::Roster => "the roster that you trust",
            Self::Kept => "two heads that the boundary signed",
        }
    }
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What it is.
    pub what: FindingKind,
    /// The log entry, from 0; absent when it is about the log as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The receipt, authorization or other document that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What was found. It may hold text of the log: escape it before showing it.
    pub detail: String,
    /// Whose word it takes to believe this.
    pub rests_on: RestsOn,
    /// It is no failure: by the boundary's word another version of the program decided, and this one reads that
    /// differently.
    pub differs: bool,
}

impl Finding {
    /// Creates a finding at a log entry.
    #[must_use]
    pub fn at(what: FindingKind, entry: u64, detail: impl Into<String>) -> Self {
        Self { entry: Some(entry), ..Self::whole(what, detail) }
    }

    /// Creates a finding about the whole log.
    #[must_use]
    pub fn whole(what: FindingKind, detail: impl Into<String>) -> Self {
        Self { what, entry: None, id: None, detail: detail.into(), rests_on: what.rests_on(), differs: false }
    }

    /// Sets the id of the document that the finding is about.
    #[must_use]
    pub fn about(mut self, id: impl fmt::Display) -> Self {
        self.id = Some(id.to_string());
        self
    }
}

/// What became of a decision that was decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Verdict")]
pub enum EntryVerdict {
    /// It follows from the state before it.
    Stands,
    /// Another version of the program decided it, and this one would have decided otherwise.
    Differs,
    /// It does not follow.
    Fails,
    /// The state before it could not be read, so nobody knows.
    Undecided,
}

/// One decision to run something: who, what, when, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DecisionLine {
    /// When its nonce was spent.
    pub at: Timestamp,
    /// Who proposed it.
    pub proposer: Name,
    /// Who handed it in.
    pub handed_in_by: Name,
    /// Which step.
    pub step: StepRef,
    /// The digest of its definition.
    pub step_digest: StepDigest,
    /// The complete parameters that were signed.
    pub params: Value,
    /// The digest of the parameters.
    pub params_digest: ParamsDigest,
    /// The proposer's reason, which nobody checked.
    pub reason: String,
    /// Whose signatures the receipt says counted.
    pub approvers: Vec<Name>,
    /// The groups that they counted for.
    pub groups: Vec<GroupName>,
    /// How it ended.
    pub outcome: Outcome,
    /// The receipt.
    pub receipt: ReceiptId,
    /// What was signed.
    pub authorization: AuthorizationDigest,
    /// The number of the seal in force.
    pub seal: u64,
    /// The entry of its consumption.
    pub consumption: u64,
    /// The item of it.
    pub item: u64,
    /// The entry of its receipt.
    pub entry: u64,
    /// What became of it when it was decided again.
    pub verdict: EntryVerdict,
    /// What does not hold, where something does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingKind>,
    /// What the sealed state does not let this version decide: the verdict is on all else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<FindingKind>,
}

/// One thing that an audit says, in the order of the log.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(rename = "Said")]
pub enum AuditEvent {
    /// A decision.
    Decision(Box<DecisionLine>),
    /// Something that does not hold.
    Finding(Box<Finding>),
}

/// How much there was, and how it fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Counts")]
pub struct AuditCounts {
    /// Seals.
    pub seals: u64,
    /// Entries that spend nonces.
    pub consumptions: u64,
    /// Nonces that they spend.
    pub spent: u64,
    /// Receipts whose signature holds and that have a consumption.
    pub receipts: u64,
    /// Denials.
    pub denials: u64,
    /// Refusals, and hourly summaries of them.
    pub refusals: u64,
    /// Decisions that stand.
    pub stand: u64,
    /// Decisions that this version would make otherwise than the version that made them.
    pub differ: u64,
    /// Decisions that do not stand.
    pub fail: u64,
    /// Decisions under a state that could not be read.
    pub undecided: u64,
    /// Signatures that were checked.
    pub signatures: u64,
}

/// A question that the sealed state leaves open, and of how many decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Unchecked")]
pub struct UncheckedQuestion {
    /// What is not checked.
    pub what: FindingKind,
    /// How many decisions.
    pub decisions: u64,
    /// Why, of the first of them.
    pub why: String,
}

/// A consumption without a receipt at the log's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OpenRun {
    /// The entry of its consumption.
    pub consumption: u64,
    /// The item of it.
    pub item: u64,
    /// What was signed.
    pub authorization: AuthorizationDigest,
    /// When its nonce was spent.
    pub at: Timestamp,
}

/// What an audit comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Nothing was found that does not hold.
    pub clean: bool,
    /// The boundary's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<BoundaryName>,
    /// The boundary's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary: Option<SealDigest>,
    /// Entries in the log.
    pub entries: u64,
    /// The first entry that was read in this audit: those before it were read in the one that kept its state.
    pub from: u64,
    /// The time of the latest entry that states one.
    pub until: Timestamp,
    /// The version of the roster in force at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roster: Option<u64>,
    /// The roster that is trusted.
    pub trusted: RosterDigest,
    /// Who cosigned the head, of the witnesses in the newest roster known.
    pub witnesses: Vec<WitnessFacts>,
    /// How much there was.
    pub counts: AuditCounts,
    /// What ran, or ran when the log was read: receipts may follow.
    pub open: Vec<OpenRun>,
    /// How many findings are failures.
    pub failures: u64,
    /// How many are decisions or documents that this version sees differently.
    pub differences: u64,
    /// What could not be decided, of how many decisions: neither established nor a failure.
    pub not_checked: Vec<UncheckedQuestion>,
    /// The programs that are said to have made what differs, by the boundary's word.
    pub engines: Vec<String>,
    /// The log that this one follows, with its last known head: it is not audited with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<FollowedLog>,
    /// What rests on whose word, in words.
    pub rests_on: Vec<String>,
    /// What this audit can't show.
    pub not_shown: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
}
