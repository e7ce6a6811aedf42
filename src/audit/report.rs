//! Report of a verification: checks, their results and facts.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::crypto::digest::{LeafHash, PolicyDigest, RenderedDigest, RosterDigest, SealDigest, StepDigest};
use crate::crypto::key_id::KeyId;
use crate::record::enforcement::Enforcement;
use crate::record::ident::{BoundaryName, GroupName, Name, Nonce, ReceiptId, StepRef};
use crate::record::receipt::{Files, Outcome, Output, Usage};
use crate::record::validity::Timestamp;

macro_rules! check_names {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What is checked, in the order of the report. The words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum CheckName {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl CheckName {
            /// All checks, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name of the check in reports and test vectors.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

check_names! {
    /// The file is a bundle: strict JSON, known fields.
    Bundle = "bundle";
    /// Its rosters are connected with the trusted one.
    RosterChain = "roster-chain";
    /// The receipt is a complete document.
    ReceiptDocument = "receipt-document";
    /// The embedded authorization is a complete document.
    AuthorizationDocument = "authorization-document";
    /// The consumption is a complete document.
    ConsumptionDocument = "consumption-document";
    /// The seal is a complete document.
    SealDocument = "seal-document";
    /// The seal names the roster, and all keys that it gives the boundary.
    RosterInSeal = "roster-in-seal";
    /// The boundary signed the receipt.
    ReceiptSignature = "receipt-signature";
    /// The boundary signed the consumption.
    ConsumptionSignature = "consumption-signature";
    /// The boundary signed the seal.
    SealSignature = "seal-signature";
    /// One signed checkpoint of this boundary's log.
    Checkpoint = "checkpoint";
    /// The receipt is in the log.
    ReceiptIncluded = "receipt-included";
    /// The consumption is in the log.
    ConsumptionIncluded = "consumption-included";
    /// The seal is in the log.
    SealIncluded = "seal-included";
    /// Seal, consumption and receipt stand in this order.
    LogOrder = "log-order";
    /// Signed for this boundary and epoch.
    Boundary = "boundary";
    /// Policy and built-ins are the sealed ones, and all name this seal.
    Seal = "seal";
    /// The consumption spends this authorization and its nonce.
    Consumption = "consumption";
    /// The signatures of the authorization verify and each counts.
    AuthorizationSignatures = "authorization-signatures";
    /// Nobody signed who may not.
    Excluded = "excluded";
    /// Enough people of the right groups signed.
    Quorum = "quorum";
    /// The nonce was spent within the signed window.
    Window = "window";
    /// The step is the one that was signed.
    Step = "step";
    /// The step is in the sealed registry.
    StepInRegistry = "step-in-registry";
    /// The parameters fit the step's schema.
    Parameters = "parameters";
    /// What policy asks was signed.
    Permissions = "permissions";
    /// Every layer that was signed as required was held.
    Sandbox = "sandbox";
    /// Status, code and times tell one story.
    Outcome = "outcome";
    /// The receipt's subjects are what it says ran and came out.
    ReceiptSubjects = "receipt-subjects";
    /// The keys are still in the newest roster that is known.
    KeysStillRostered = "keys-still-rostered";
    /// The seal was in force: only the whole log can tell.
    SealInForce = "seal-in-force";
    /// Witnesses saw the checkpoint.
    Witnesses = "witnesses";
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Finding")]
pub enum CheckFinding {
    /// It holds.
    Established,
    /// It does not hold: nothing may be built on this document.
    Failed,
    /// It could not be looked at; the detail says why.
    NotChecked,
}

impl CheckFinding {
    /// Returns the result in words, for a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        }
    }
}

/// One check with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was checked.
    pub name: CheckName,
    /// How it ended.
    pub finding: CheckFinding,
    /// What was found, or why not. It may hold text of the document: escape it before showing it.
    pub detail: String,
    /// Whose word it is, once established.
    pub rests_on: TrustBasis,
}

/// Whose word an established check rests on, besides arithmetic: the weakest of those that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Basis")]
pub enum TrustBasis {
    /// Nobody's: the form of the file.
    Form,
    /// The roster that is trusted.
    Roster,
    /// The approvers' signatures, by the keys of that roster.
    Approvers,
    /// The boundary's signature, by the keys of that roster.
    Boundary,
    /// The cosignatures of the log's witnesses.
    Witnesses,
}

impl TrustBasis {
    /// All variants, in order.
    pub const ALL: [Self; 5] = [Self::Form, Self::Roster, Self::Approvers, Self::Boundary, Self::Witnesses];

    /// Returns the name of the evidence in words, for a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Form => "the file itself",
            Self::Roster => "the trusted roster",
            Self::Approvers => "the approvers' signatures",
            Self::Boundary => "the boundary's signature",
            Self::Witnesses => "the log's witnesses",
        }
    }
}

impl CheckName {
    /// Returns the evidence on which an established check depends. The approvers' signatures establish what the
    /// approvers signed. Times, exclusions, active layers and the outcome depend on the boundary's signature.
    #[must_use]
    pub const fn rests_on(self) -> TrustBasis {
        match self {
            Self::Bundle => TrustBasis::Form,
            Self::RosterChain | Self::KeysStillRostered => TrustBasis::Roster,
            Self::AuthorizationDocument
            | Self::AuthorizationSignatures
            | Self::Boundary
            | Self::Quorum
            | Self::Step
            | Self::Parameters
            | Self::Permissions => TrustBasis::Approvers,
            Self::ReceiptDocument
            | Self::ConsumptionDocument
            | Self::SealDocument
            | Self::RosterInSeal
            | Self::ReceiptSignature
            | Self::ConsumptionSignature
            | Self::SealSignature
            | Self::Checkpoint
            | Self::ReceiptIncluded
            | Self::ConsumptionIncluded
            | Self::SealIncluded
            | Self::LogOrder
            | Self::Seal
            | Self::Consumption
            | Self::Excluded
            | Self::Window
            | Self::StepInRegistry
            | Self::Sandbox
            | Self::Outcome
            | Self::ReceiptSubjects
            | Self::SealInForce => TrustBasis::Boundary,
            Self::Witnesses => TrustBasis::Witnesses,
        }
    }
}

/// Everything that a verifier found out about one bundle.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BundleReport {
    /// No check failed, and every check that a bundle can settle was established.
    pub verified: bool,
    /// Every check, always all of them, in a stable order.
    pub checks: Vec<Check>,
    /// What it was verified with.
    pub trust: TrustFacts,
    /// What the verified receipt states; absent when its signature was not established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<Facts>>,
    /// What rests on the boundary's word alone, in words.
    pub boundary_says: Vec<String>,
    /// What a reader should know besides, in words: an unguarded roster, for one.
    pub warnings: Vec<String>,
}

impl BundleReport {
    /// Returns the result of a check.
    #[must_use]
    pub fn finding(&self, name: CheckName) -> CheckFinding {
        self.checks.iter().find(|check| check.name == name).map_or(CheckFinding::NotChecked, |check| check.finding)
    }

    /// Returns all failed checks.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.finding == CheckFinding::Failed)
    }
}

/// What a bundle was verified with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TrustFacts {
    /// The digest of the roster's payload that was trusted beforehand.
    pub roster: RosterDigest,
    /// The newest version that is known: the trusted one, or a later one that the bundle connects with it. Absent when
    /// the bundle's rosters are not connected with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<VersionFacts>,
    /// Whether every version after the trusted one needed signatures of the one before.
    pub guarded: bool,
}

/// One version of a roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VersionFacts {
    /// From 1, counting.
    pub version: u64,
    /// The digest of its payload.
    pub digest: RosterDigest,
}

/// What a receipt states whose signature was verified, with the authorization as far as it was readable.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Facts {
    /// The boundary that signed it.
    pub boundary: BoundaryFacts,
    /// The roster that decided.
    pub roster: RosterFacts,
    /// The approvers that the boundary counted.
    pub approvers: Vec<ApproverFacts>,
    /// Groups that were counted for.
    pub groups: Vec<GroupName>,
    /// Who could not count, by the boundary's word.
    pub excluded: Vec<Name>,
    /// Who handed the envelope in.
    pub handed_in_by: Name,
    /// The policy in force.
    pub policy: PolicyDigest,
    /// The seal in force.
    pub seal: SealDigest,
    /// Where the log says that the nonce was spent.
    pub consumption_index: u64,
    /// The hash of that leaf.
    pub consumption_leaf: LeafHash,
    /// When it was spent; absent when the consumption was not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_at: Option<Timestamp>,
    /// When the run started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote.
    pub output: Output,
    /// What files it left.
    pub files: Files,
    /// What it used up.
    pub usage: Usage,
    /// What of the sandbox was held.
    pub sandbox: Enforcement,
    /// Who cosigned the checkpoint, as far as that was established.
    pub witnesses: Vec<WitnessFacts>,
    /// What was approved; absent when the signatures on it were not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<ApprovedFacts>,
}

/// The boundary that signed a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BoundaryFacts {
    /// Its name, which others may share.
    pub name: BoundaryName,
    /// Its id, which nobody shares.
    pub id: SealDigest,
    /// The key that signed.
    pub keyid: KeyId,
    /// The program's version.
    pub version: String,
}

/// The roster that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RosterFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The digest of its payload.
    pub digest: RosterDigest,
    /// Whether a next version needs signatures.
    pub guarded: bool,
}

/// An approver that counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApproverFacts {
    /// Who.
    pub name: Name,
    /// The approver's groups in the roster.
    pub groups: Vec<GroupName>,
    /// The key that signed; absent when the signatures were not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<KeyId>,
}

/// A witness that cosigned the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WitnessFacts {
    /// Its name in the roster.
    pub name: String,
    /// When it had seen the checkpoint, by its own clock.
    pub at: Timestamp,
}

/// What approvers signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApprovedFacts {
    /// The receipt's id.
    pub receipt: ReceiptId,
    /// Which step.
    pub step: StepRef,
    /// The digest of its definition.
    pub digest: StepDigest,
    /// Digest of the script.
    pub rendered: RenderedDigest,
    /// The parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Who proposed it.
    pub proposer: Name,
    /// Why, in the proposer's words.
    pub reason: String,
    /// What the run spent.
    pub nonce: Nonce,
    /// When the statement was made.
    pub issued_at: Timestamp,
    /// From when on it might run.
    pub not_before: Timestamp,
    /// Until when it might run.
    pub expires_at: Timestamp,
    /// The longest that it might last, in milliseconds.
    pub wall_ms: u64,
}
