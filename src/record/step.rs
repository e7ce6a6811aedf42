//! A step's definition: all that decides what runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::digest::{ContentDigest, StepDigest};
use crate::record::ident::{GroupName, StepRef};

/// The canonical object whose SHA-256 is the step digest. Prose is not part of it, nor policy, roster or
/// anything of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDefinition {
    /// `path/of/runbook:step-id`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// What people read in lists.
    pub title: String,
    /// The document format that the step was written in.
    pub format: Format,
    /// The program that runs the source, `bash` for one.
    pub interpreter: String,
    /// The whole script.
    pub source: String,
    /// Files that the step brings with it, sorted by path.
    pub files: Vec<StepFile>,
    /// The closed parameter schema (a subset of JSON Schema 2020-12).
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// How parameters reach the script's text.
    pub template: Template,
    /// Only what the step declared of its sandbox.
    pub sandbox: DeclaredSandbox,
    /// Who must approve, at the least.
    pub approvals: Approvals,
    /// Names of secrets that the step may ask for, sorted.
    pub secrets: Vec<String>,
    /// Names of outputs that later steps may take, sorted.
    pub outputs: Vec<String>,
    /// Whether environment and directory persist from run to run.
    pub session: SessionUse,
    /// Runs with one such name go one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<String>,
    /// The step whose output plans this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<StepRef>,
}

/// The document format that a step was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Countersign Markdown, `*.md`.
    Markdown,
    /// Gruntwork MDX, `*.mdx`.
    Gruntwork,
    /// Rundown, `*.runbook.md`.
    Rundown,
    /// Runnable fences in any other `*.md`.
    Runnable,
}

/// How parameters reach the script's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// Not at all: by environment and file only.
    None,
    /// Gruntwork's template syntax.
    Gruntwork,
}

/// Whether environment and directory persist from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionUse {
    /// Each run begins anew.
    None,
    /// The run sees the session's state.
    Read,
    /// The run may change it.
    Write,
}

/// A file that a step brings with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    /// Path relative to the work directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: ContentDigest,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What a step declared of its sandbox. Every field is optional: policy and configuration fill in the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSandbox {
    /// Limits that differ from the boundary's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// How much of `/proc` it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<crate::record::profile::Proc>,
}

/// Limits that a step declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLimits {
    /// Milliseconds from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Thousandths of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The largest file that may be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The room of the work directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Recorded output of both streams together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

/// A quorum rule: how many approvers, from which groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// How many distinct people; from *each* group when `each` is set. Never 0.
    pub required: u64,
    /// Groups that they must belong to. In a step, an empty list means whom policy names.
    pub from: Vec<GroupName>,
    /// `required` people from each group, nobody filling two places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<bool>,
}

impl Approvals {
    /// The rule of a step that says nothing: one, of whom policy names.
    #[must_use]
    pub const fn unspecified() -> Self {
        Self { required: 1, from: Vec::new(), each: None }
    }
}

/// One leaf of the registry, as it is hashed into the registry root and listed in the manifest blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryLeaf {
    /// The step digest.
    pub digest: StepDigest,
    /// The step's ref.
    #[serde(rename = "ref")]
    pub reference: StepRef,
}

/// The largest script of a step.
pub const MAX_SOURCE_BYTES: usize = 64 << 10;
/// The largest definition of a step, in bytes of canonical JSON: as much as a bundle has room for.
pub const MAX_DEFINITION_BYTES: usize = 1 << 20;
