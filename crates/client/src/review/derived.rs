//! Results of the checks of an authorization.

use std::fmt;

use serde_json::Value;

use crate::{Lines, ReviewedContent, review::script_places::ScriptPlaces};
use documents::{
    Approvals, Authorization, AuthorizationDigest, KeyId, Name, Profile, Statement, StepDefinition,
};
use reading::{EmergencyRule, PasskeysRule};

/// Check with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewCheck {
    /// Statement that is checked.
    pub what: &'static str,
    /// Result of the check.
    pub finding: ReviewFinding,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewFinding {
    /// The statement is true.
    Holds,
    /// The statement is false, for this reason.
    Fails(String),
    /// The check could not be made, for this reason.
    NotChecked(String),
}

impl ReviewFinding {
    /// Returns the finding of a check that failed.
    pub(super) fn fails(why: impl fmt::Display) -> Self {
        Self::Fails(why.to_string())
    }

    /// Returns the finding of a check that could not be made.
    pub(super) fn unknown(why: impl fmt::Display) -> Self {
        Self::NotChecked(why.to_string())
    }
}

/// Result of all checks, which decides whether the approver may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementVerdict {
    /// All checks passed.
    Sound,
    /// No check failed, but the approver has no trusted roster for the boundary.
    NoTrust,
    /// A check failed or could not be made.
    Unsound,
}

/// The rule of policy for an emergency, beside the rules that it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyApproval {
    /// The rule.
    pub rule: EmergencyRule,
    /// Approval rules for a run of this step that is no emergency.
    pub normally: Vec<(&'static str, Approvals)>,
}

/// Results of the checks, with the checked documents.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Digest of the payload that the approvers sign.
    pub digest: AuthorizationDigest,
    /// Statement in the payload, parsed strictly.
    pub statement: Option<Statement<Authorization>>,
    /// Payload as JSON, for the list of all fields.
    pub payload: Option<Value>,
    /// Definition of the step, if the definition has the signed digest.
    pub definition: Option<(StepDefinition, Value)>,
    /// Files of the definition, with the contents that have the signed digests.
    pub files: Vec<ReviewedContent>,
    /// Inputs of the run, with the contents that have the signed digests.
    pub inputs: Vec<ReviewedContent>,
    /// Lines of the script at which policy asks for a permission.
    pub places: ScriptPlaces,
    /// Approval rules of policy and of the step. All rules must be met.
    pub rules: Vec<(&'static str, Approvals)>,
    /// The passkeys that count by policy, or `None` if none counts.
    pub passkeys: Option<PasskeysRule>,
    /// What policy says about the emergency. `None` if the run is no emergency, or if policy permits none.
    pub emergency: Option<EmergencyApproval>,
    /// Sandbox profile that this program derived from the sealed documents.
    pub profile: Option<Profile>,
    /// Approvers whose signatures over this payload were verified.
    pub signers: Vec<(Name, KeyId)>,
    /// Signatures that are not valid or do not belong to an approver, with the reasons.
    pub strangers: Vec<String>,
    /// All checks, in order.
    pub checks: Vec<ReviewCheck>,
    /// Result of all checks.
    pub standing: StatementVerdict,
    /// Lines for the screen.
    pub lines: Lines,
}

impl Derived {
    /// Returns true if the statement says that the run is an emergency.
    pub fn is_emergency(&self) -> bool {
        self.statement
            .as_ref()
            .is_some_and(|statement| statement.predicate.emergency.is_some())
    }

    /// Returns the checks that failed or could not be made, with the reasons.
    pub fn flaws(&self) -> Vec<String> {
        let flaw = |check: &ReviewCheck| match &check.finding {
            ReviewFinding::Holds => None,
            ReviewFinding::Fails(why) | ReviewFinding::NotChecked(why) => {
                Some(format!("{}: {why}", check.what))
            }
        };
        self.checks.iter().filter_map(flaw).collect()
    }

    /// Returns the files of the step, then the inputs of the run.
    pub fn contents(&self) -> impl Iterator<Item = &ReviewedContent> {
        self.files.iter().chain(&self.inputs)
    }

    /// Returns the texts among the contents, each with its place for a remark.
    pub fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.contents().filter_map(|one| {
            Some((
                format!("the {} {}", one.kind, one.name),
                one.text()?.to_owned(),
            ))
        })
    }

    /// Returns true if the step has executable files.
    pub fn has_programs(&self) -> bool {
        self.files.iter().any(|one| one.executable)
    }
}

/// Name of the check that the sandbox follows from the sealed documents.
pub const SANDBOX: &str = "the sandbox is the one that this program derives";

/// Name of the check that the authorization and the seal name the same boundary and the same epoch.
pub const SEALED: &str = "boundary and epoch are those of the seal";

/// Name of the check that the script has the signed digest.
pub const SCRIPT_DIGEST: &str = "the script to run has the signed digest";

/// Name of the check that the screen leaves out no signed field.
pub const COVERED: &str =
    "every signed field is shown, or equals a shown value or a built-in default";

/// Name of the check that the approver trusts the roster in force.
pub const TRUSTED: &str = "the roster in force is the roster that you trust";
