//! Report of a verification: checks, their results and facts.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::{TrustedRoster, trust::chain_error::missing_words};
use documents::{
    Artifacts, BoundaryName, ContentDigest, Enforcement, Files, GrantId, GroupName, KeyId,
    LeafHash, Name, Nonce, Outcome, Output, PlanReference, PolicyDigest, ProgramFacts, ReceiptId,
    RenderedDigest, RosterDigest, SealDigest, SessionReference, StepDigest, StepRef, Timestamp,
    Usage,
};

// The boundary states times, exclusions, active layers and the outcome, so these checks depend on its signature.
words_with_basis! {
    /// Check of a bundle, in the order of the report. The names of the checks are stable.
    #[derive(PartialOrd, Ord, Serialize, JsonSchema)]
    enum CheckName: TrustBasis {
        /// The file is a bundle: strict JSON with known fields only.
        Bundle = "bundle", Form;
        /// The rosters of the bundle are connected with the trusted roster.
        RosterChain = "roster-chain", Roster;
        /// The receipt is a complete document.
        ReceiptDocument = "receipt-document", Boundary;
        /// The authorization is a complete document.
        AuthorizationDocument = "authorization-document", Approvers;
        /// The consumption is a complete document.
        ConsumptionDocument = "consumption-document", Boundary;
        /// The seal is a complete document.
        SealDocument = "seal-document", Boundary;
        /// The seal names the roster and the keys that the roster gives the boundary.
        RosterInSeal = "roster-in-seal", Boundary;
        /// The boundary signed the receipt.
        ReceiptSignature = "receipt-signature", Boundary;
        /// The boundary signed the consumption.
        ConsumptionSignature = "consumption-signature", Boundary;
        /// The boundary signed the seal.
        SealSignature = "seal-signature", Boundary;
        /// The bundle contains one signed checkpoint of this boundary's log.
        Checkpoint = "checkpoint", Boundary;
        /// The receipt is in the log.
        ReceiptIncluded = "receipt-included", Boundary;
        /// The authorization is in the log.
        AuthorizationIncluded = "authorization-included", Boundary;
        /// The consumption is in the log.
        ConsumptionIncluded = "consumption-included", Boundary;
        /// The seal is in the log.
        SealIncluded = "seal-included", Boundary;
        /// The seal, the authorization, the consumption and the receipt are in the log in this order.
        LogOrder = "log-order", Boundary;
        /// The documents were signed for this boundary and epoch.
        Boundary = "boundary", Approvers;
        /// Policy and built-in lists are the sealed ones, and all documents name this seal.
        Seal = "seal", Boundary;
        /// The consumption spends this authorization and its nonce.
        Consumption = "consumption", Boundary;
        /// All signatures of the authorization are valid, and each signature counts.
        AuthorizationSignatures = "authorization-signatures", Approvers;
        /// No excluded person signed.
        Excluded = "excluded", Boundary;
        /// Enough people of the right groups signed.
        Quorum = "quorum", Approvers;
        /// The nonce was spent within the signed window.
        Window = "window", Boundary;
        /// The step that ran is the step that was signed.
        Step = "step", Approvers;
        /// The step is in the sealed registry.
        StepInRegistry = "step-in-registry", Boundary;
        /// The parameters fit the step's schema.
        Parameters = "parameters", Approvers;
        /// The approvers signed all permissions that policy requires.
        Permissions = "permissions", Approvers;
        /// Every layer that the approvers required was active.
        Sandbox = "sandbox", Boundary;
        /// Status, exit code and times of the receipt do not contradict each other.
        Outcome = "outcome", Boundary;
        /// The receipt's subjects agree with the fields of the receipt.
        ReceiptSubjects = "receipt-subjects", Boundary;
        /// The plan that the run carried out is the signed plan, and its bundle is verified.
        Plan = "plan", Boundary;
        /// The bundle has a well-formed grant, if the run used one.
        GrantDocument = "grant-document", Approvers;
        /// The signatures of approvers in force over the grant are valid.
        GrantSignatures = "grant-signatures", Approvers;
        /// The grant is in the log before the consumption.
        GrantIncluded = "grant-included", Boundary;
        /// The grant permits the run.
        GrantCovers = "grant-covers", Approvers;
        /// The newest known roster still contains all keys that signed.
        KeysStillRostered = "keys-still-rostered", Roster;
        /// The seal was in force at the time of the run. Only the whole log can show this.
        SealInForce = "seal-in-force", Boundary;
        /// No earlier log entry revoked a key, the token or the epoch of the run. Only the whole log can show this.
        Revocations = "revocations", Boundary;
        /// Enough witnesses cosigned the checkpoint.
        Witnesses = "witnesses", Witnesses;
    }
}

documents::words! {
    /// Result of one check.
    #[derive(Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[schemars(rename = "Finding")]
    pub enum CheckFinding {
        /// The check holds.
        Established = "established",
        /// The check does not hold, so no conclusion from this document is safe.
        Failed = "failed",
        /// The check could not be made. The detail states the reason.
        NotChecked = "not checked",
    }
}

/// One check with its result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Check {
    /// Name of the check.
    pub name: CheckName,
    /// Result of the check.
    pub finding: CheckFinding,
    /// Result or reason, as text. The detail may contain text of the document, so escape the detail before you show it.
    pub detail: String,
    /// Evidence on which the check depends, if the check is established.
    pub rests_on: TrustBasis,
}

documents::words! {
    /// Weakest evidence on which an established check depends, in addition to computation.
    #[derive(Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[schemars(rename = "Basis")]
    pub enum TrustBasis {
        /// Only the form of the file.
        Form = "the file itself",
        /// The trusted roster.
        Roster = "the trusted roster",
        /// The approvers' signatures, verified with the keys of the trusted roster.
        Approvers = "the approvers' signatures",
        /// The boundary's signature, verified with a key of the trusted roster.
        Boundary = "the boundary's signature",
        /// The cosignatures of the log's witnesses.
        Witnesses = "the log's witnesses",
    }
}

/// Result of verifying one bundle.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BundleReport {
    /// True if no check failed and every check that a bundle can decide was established.
    pub verified: bool,
    /// All checks, in a stable order.
    pub checks: Vec<Check>,
    /// Rosters that the verifier trusted.
    pub trust: TrustFacts,
    /// Facts from the verified receipt. Absent if the receipt's signature was not established.
    pub facts: Option<Box<Facts>>,
    /// Descriptions of facts that rest only on the boundary's statement.
    pub boundary_says: Vec<String>,
    /// Warnings for the reader, for example about an unguarded roster.
    pub warnings: Vec<String>,
}

impl BundleReport {
    /// Returns the result of a check.
    pub fn finding(&self, name: CheckName) -> CheckFinding {
        self.checks
            .iter()
            .find(|check| check.name == name)
            .map_or(CheckFinding::NotChecked, |check| check.finding)
    }

    /// Returns all failed checks.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.finding == CheckFinding::Failed)
    }

    /// Returns the reason in words if the bundle is neither verified nor refused, because versions of the roster are
    /// missing.
    pub fn undecided(&self) -> Option<String> {
        let missing = self
            .trust
            .missing
            .filter(|_| self.failed().next().is_none())?;
        Some(missing_words(missing.first, missing.last))
    }
}

/// Rosters with which a bundle was verified.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TrustFacts {
    /// Digest of the roster payload that the verifier trusted beforehand.
    pub roster: RosterDigest,
    /// Newest known roster version: the trusted version, or a later version that the bundle connects with the trusted
    /// version. Absent if the bundle's rosters are not connected with the trusted roster.
    pub newest: Option<VersionFacts>,
    /// True if every roster version after the trusted version needed signatures of people in the version before.
    pub guarded: bool,
    /// Versions without which nobody can decide whether the trusted version is a later version of the bundle's roster.
    pub missing: Option<MissingVersions>,
}

/// Versions of a roster that a verifier lacks.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct MissingVersions {
    /// Number of the first missing version.
    pub first: u64,
    /// Number of the last missing version.
    pub last: u64,
}

/// One version of a roster.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct VersionFacts {
    /// Number of the version: 1, then one more in each version.
    pub version: u64,
    /// Digest of the roster's payload.
    pub digest: RosterDigest,
}

impl VersionFacts {
    /// Returns the facts of this version.
    pub fn of(roster: &TrustedRoster) -> Self {
        Self {
            version: roster.version(),
            digest: roster.digest(),
        }
    }
}

/// Facts from a receipt with a verified signature, and from the authorization as far as it was readable.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Facts {
    /// Boundary that signed the receipt.
    pub boundary: BoundaryFacts,
    /// Roster under which the boundary decided.
    pub roster: RosterFacts,
    /// The approvers that the boundary counted.
    pub approvers: Vec<ApproverFacts>,
    /// Groups that the counted approvers represent.
    pub groups: Vec<GroupName>,
    /// People whose signatures could not count, according to the boundary.
    pub excluded: Vec<Name>,
    /// Name of the token or person that submitted the envelope.
    pub handed_in_by: Name,
    /// Digest of the policy in force.
    pub policy: PolicyDigest,
    /// Digest of the seal in force when the nonce was spent.
    pub seal: SealDigest,
    /// Index of the log entry which states that the nonce was spent.
    pub consumption_index: u64,
    /// Leaf hash of the consumption's log entry.
    pub consumption_leaf: LeafHash,
    /// Time at which the nonce was spent. Absent if the consumption was not verified.
    pub consumed_at: Option<Timestamp>,
    /// Time at which the run started.
    pub started_at: Timestamp,
    /// Time at which the run ended.
    pub finished_at: Timestamp,
    /// Duration of the run.
    pub duration_ms: u64,
    /// How the run ended.
    pub outcome: Outcome,
    /// Digests of the output of the run.
    pub output: Output,
    /// The files that the run left.
    pub files: Files,
    /// The resources that the run used.
    pub usage: Usage,
    /// Parts of the sandbox that were active.
    pub sandbox: Enforcement,
    /// Which programs the run started, and which its list refused. Absent if the run had no list of programs.
    pub programs: Option<ProgramFacts>,
    /// Hosts to which the run got no connection, each with the reason and what to do. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_hosts: Vec<String>,
    /// Witnesses that cosigned the checkpoint, as far as this was established.
    pub witnesses: Vec<WitnessFacts>,
    /// Facts that the approvers signed. Absent if their signatures were not verified.
    pub approved: Option<ApprovedFacts>,
}

/// The boundary that signed a receipt.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BoundaryFacts {
    /// Name of the boundary. Several boundaries can have the same name.
    pub name: BoundaryName,
    /// Unique id of the boundary.
    pub id: SealDigest,
    /// Key that signed the receipt.
    pub keyid: KeyId,
    /// Version of the boundary's program.
    pub version: String,
}

/// Roster under which the boundary decided.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RosterFacts {
    /// Name of the roster.
    pub name: String,
    /// Version of the roster.
    pub version: u64,
    /// Digest of the roster's payload.
    pub digest: RosterDigest,
    /// True if the next version of the roster needs signatures.
    pub guarded: bool,
}

/// Approver whose signature counted.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApproverFacts {
    /// Name of the approver.
    pub name: Name,
    /// The approver's groups in the roster.
    pub groups: Vec<GroupName>,
    /// Key that signed. Absent if the signatures were not verified.
    pub keyid: Option<KeyId>,
    /// Host of the website for which the key is a passkey. Absent for another key.
    pub passkey: Option<String>,
}

/// A witness that cosigned the checkpoint.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WitnessFacts {
    /// Name of the witness in the roster.
    pub name: String,
    /// Time of the cosignature, by the clock of the witness.
    pub at: Timestamp,
}

/// Content of the authorization that the approvers signed.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovedFacts {
    /// The receipt's id.
    pub receipt: ReceiptId,
    /// Ref of the step.
    pub step: StepRef,
    /// Digest of the step's definition.
    pub digest: StepDigest,
    /// Digest of the script.
    pub rendered: RenderedDigest,
    /// The parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Token or proposer that made the proposal.
    pub proposer: Name,
    /// Reason for the run, as the proposer wrote it.
    pub reason: String,
    /// Nonce of the authorization.
    pub nonce: Nonce,
    /// Time at which the statement was made.
    pub issued_at: Timestamp,
    /// Start of the window.
    pub not_before: Timestamp,
    /// End of the window.
    pub expires_at: Timestamp,
    /// Maximum duration of the run, in milliseconds.
    pub wall_ms: u64,
    /// The session that the run used, at the signed state.
    pub session: Option<SessionReference>,
    /// The files that the run received.
    pub artifacts: Option<Artifacts>,
    /// The plan that the run applied.
    pub plan: Option<PlanReference>,
    /// The grant that the run used. Absent if approvers signed the run itself.
    pub grant: Option<UsedGrant>,
    /// True if the run was an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// The grant that a run used.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UsedGrant {
    /// Id of the grant.
    pub grant: GrantId,
    /// Digest of its payload.
    pub digest: ContentDigest,
    /// Number of this use, as the consumption states it. Only the whole log can confirm the number.
    #[serde(rename = "use")]
    pub use_number: Option<u64>,
    /// Maximum number of uses.
    pub max_uses: u64,
    /// End of the grant.
    pub expires_at: Timestamp,
    /// Number of signatures of the grant.
    pub signatures: u64,
    /// The token that used the grant, if the grant is to a token. The use is the word of the boundary.
    pub token: Option<Name>,
}

impl UsedGrant {
    /// Names the grant and the use.
    pub fn words(&self) -> String {
        let used = self.use_number.map_or_else(String::new, |number| {
            format!(", use {number} of {}", self.max_uses)
        });
        let by = self.token.as_ref().map_or(String::new(), |token| {
            format!(", by the token {token} as the boundary says")
        });
        format!("standing grant {}{used}{by}", self.grant)
    }
}
