//! The registry, the seal and the steps, as the API shows them.

use documents::{
    Approvals, BlobDigest, BoundaryName, Epoch, Parameter, Permission, PolicyDigest, Profile,
    ReceiptId, RegistryRoot, RosterDigest, SealDigest, StepDigest, StepRef, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/registry`: the seal in force and the steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// The boundary that answers.
    pub boundary: BoundaryView,
    /// The seal in force.
    pub seal: SealView,
    /// The freeze, if the boundary is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FreezeView>,
    /// The registered steps, sorted by ref. On a page: the steps that fit the query best come first.
    pub steps: Vec<StepSummary>,
    /// Absent if the answer has all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<RegistryPage>,
}

/// One page of the steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegistryPage {
    /// Number of steps on all pages.
    pub found_steps: u64,
    /// Number of steps that the caller may see.
    pub visible_steps: u64,
    /// The `cursor` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A freeze. Nothing is proposed or run until an operator of the host thaws the boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BoundaryView {
    /// Name of the boundary. Several boundaries can have the same name.
    pub name: BoundaryName,
    /// Digest of the first seal of the boundary's log.
    pub id: SealDigest,
    /// Epoch of the seal in force.
    pub epoch: Epoch,
}

/// A seal, as its log entry states it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rosters: Option<BlobDigest>,
    /// Blob with the tokens.
    pub tokens: BlobDigest,
    /// Blob with the limits and the sandbox level in force.
    pub configuration: BlobDigest,
    /// Descriptions of the differences between the files and this seal.
    pub drift: Vec<String>,
}

/// A step in a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The sandbox of each run.
    pub sandbox: Profile,
    /// Variables that a session of the runbook carries: names in the scripts, and patterns of policy. Absent for a step
    /// without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_variables: Option<Vec<String>>,
    /// Last run of this step that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<LastSuccess>,
    /// With `?params_digest=`: last run of this step with these parameters, if nobody saw its end and no later one succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_end: Option<UnknownEnd>,
}

/// Last run of a step that succeeded, for comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownEnd {
    /// Receipt of the run, with the outcome `unknown`.
    pub receipt: ReceiptId,
    /// When the boundary wrote the receipt.
    pub finished_at: Timestamp,
}
