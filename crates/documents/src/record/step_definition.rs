//! The definition of a step: everything that decides how the step runs.
//!
//! The file also defines the files of a step (their entries in the definition, and the limits of their contents), and
//! the configuration: the limits and the sandbox level that a seal puts in force.

use std::{collections::BTreeSet, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_with::skip_serializing_none;

use crate::{
    ContentDigest, DeclaredSandbox, GroupName, Layer, Level, Limits, MAX_NAMED_PROGRAMS,
    MAX_NAMED_PROGRAMS_BYTES, MAX_PLAN_AGE_S, MAX_SIGNATURES, Malformed, OutputName, Parameter,
    ParameterType, Program, RelativePath, STRICT, SecretName, StepDigest, StepRef, Variable,
    check_by, check_bytes, check_count, check_range, check_sorted,
};

/// The definition of a step. The SHA-256 digest of its canonical JSON is the step digest. The definition contains no
/// text of the runbook outside of the step, and nothing of policy, roster or host.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDefinition {
    /// Ref of the step: path of the runbook without its ending, `:`, and id of the step. Example:
    /// `ops/service:restart`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Title of the step for lists.
    pub title: String,
    /// Format of the runbook. The format does not change how the step runs.
    pub format: Format,
    /// Program that executes the script, for example `bash`.
    pub interpreter: String,
    /// The whole script. With `template: gruntwork`, the template of the script.
    pub source: String,
    /// Files that each run of the step receives, sorted by path, each path once.
    #[schemars(length(max = MAX_FILES))]
    pub files: Vec<StepFile>,
    /// Declaration of the parameters: an object with a key for each parameter.
    // Shared, because many steps of a registry have the same parameters.
    pub params: Arc<Parameter>,
    /// Whether the script is a template that contains parameters.
    pub template: Template,
    /// The part of the sandbox that the step declares.
    pub sandbox: DeclaredSandbox,
    /// The approvals that the step requires, in addition to those of policy.
    pub approvals: Approvals,
    /// Secrets that the step may use, sorted by name, each name once.
    #[schemars(length(max = MAX_SECRETS))]
    pub secrets: Vec<StepSecret>,
    /// Values that a run leaves for later steps, sorted by name, each name once.
    #[schemars(length(max = MAX_OUTPUTS))]
    pub outputs: Vec<StepOutput>,
    /// Whether variables and the working directory persist from run to run.
    pub session: SessionUse,
    /// Name of a lock. Runs with the same name never overlap.
    pub exclusive: Option<String>,
    /// The step that makes the plan which this step applies. If absent, the step applies no plan.
    pub plan: Option<StepPlan>,
    /// True if the step only shows a state, so that people can run it to find out what another run left. Absent if it is not
    /// true.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "only_true"
    )]
    #[schemars(extend("const" = true))]
    pub check: bool,
    /// Programs that the step starts and that its script does not name, sorted.
    #[schemars(length(min = 1, max = MAX_NAMED_PROGRAMS), extend("uniqueItems" = true))]
    pub programs: Option<Vec<Program>>,
}

/// Reads a field that is present only if it is true.
fn only_true<'d, D: Deserializer<'d>>(from: D) -> Result<bool, D::Error> {
    match bool::deserialize(from)? {
        true => Ok(true),
        false => Err(D::Error::custom("expected true, or no field `check`")),
    }
}

/// Maximum number of secrets that a step may request.
const MAX_SECRETS: usize = 32;
/// Maximum number of outputs of a step.
const MAX_OUTPUTS: usize = 64;

impl StepDefinition {
    /// Returns the secrets and the secret parameters of the step, in words for a message.
    pub fn needed_secrets(&self) -> Vec<String> {
        let mut needed: Vec<String> = self
            .secrets
            .iter()
            .map(|secret| format!("the secret {}", secret.name))
            .collect();
        needed.extend(
            self.params
                .secrets()
                .iter()
                .map(|name| format!("the secret parameter {name}")),
        );
        needed
    }

    /// Checks the rules that the types of the fields cannot express.
    ///
    /// # Errors
    /// Returns the first part that is invalid.
    pub fn check(&self) -> Result<(), Malformed> {
        check_files(&self.files)?;
        check_count("/step/secrets", self.secrets.len(), 0, MAX_SECRETS)?;
        check_by("/step/secrets", &self.secrets, |secret| {
            secret.name.as_str()
        })?;
        for (at, secret) in self.secrets.iter().enumerate() {
            let pointer = format!("/step/secrets/{at}/variable");
            if secret.given == SecretAs::Env && secret.variable.is_none() {
                return Err(Malformed::at(
                    pointer,
                    "the secret is given in the environment, but has no `variable`",
                ));
            }
            if secret.variable.is_some()
                && self.secrets[..at]
                    .iter()
                    .any(|one| one.variable == secret.variable)
            {
                return Err(Malformed::at(pointer, "this variable is listed twice"));
            }
        }
        check_count("/step/outputs", self.outputs.len(), 0, MAX_OUTPUTS)?;
        check_by("/step/outputs", &self.outputs, |output| {
            output.name.as_str()
        })?;
        for (at, output) in self.outputs.iter().enumerate() {
            if !OUTPUT_TYPES.contains(&output.schema.kind) {
                let types = OUTPUT_TYPES.map(ParameterType::word).join(", ");
                let message = format!("expected one of the types {types}");
                return Err(Malformed::at(format!("/step/outputs/{at}/schema"), message));
            }
        }
        if let Some(plan) = &self.plan {
            check_range("/step/plan/max_age_s", plan.max_age_s, 1, MAX_PLAN_AGE_S)?;
            if plan.step == self.reference {
                return Err(Malformed::at(
                    "/step/plan/step",
                    "a step cannot be its own plan",
                ));
            }
        }
        if let Some(programs) = &self.programs {
            check_count("/step/programs", programs.len(), 1, MAX_NAMED_PROGRAMS)?;
            check_sorted("/step/programs", programs)?;
            check_bytes("/step/programs", programs, MAX_NAMED_PROGRAMS_BYTES)?;
            if self.sandbox.off_reason.is_some() {
                return Err(Malformed::at(
                    "/step/programs",
                    "`programs` has no effect with sandbox=off: remove one of the two",
                ));
            }
        }
        Ok(())
    }
}

/// Types of an output. The value of an output is one line of text, so an output is no array and no object.
pub const OUTPUT_TYPES: [ParameterType; 3] = [
    ParameterType::String,
    ParameterType::Integer,
    ParameterType::Boolean,
];

/// Variables that no step can set, because the boundary decides about their values. The last variable names the ssh
/// agent of the service, and no run gets this variable.
pub const OWN_VARIABLES: [&str; 7] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "COUNTERSIGN_PARAMS",
    "SSH_AUTH_SOCK",
];

/// A secret that a step may use.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSecret {
    /// Name of the secret in the configuration of the boundary.
    pub name: SecretName,
    /// Whether the run gets the value in a file or in a variable.
    #[serde(rename = "as")]
    pub given: SecretAs,
    /// Environment variable of the run. With `env`, the variable has the value of the secret. With `file`, the variable
    /// has the path of the file.
    pub variable: Option<Variable>,
}

/// How a run gets the value of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretAs {
    /// In the file `/run/step/secrets/NAME`, which only the run can read.
    File,
    /// In an environment variable. This needs `variable`.
    Env,
}

/// A value that a run leaves for later steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepOutput {
    /// Name of the value.
    pub name: OutputName,
    /// Declaration of the value. The type is `string`, `integer` or `boolean`.
    pub schema: Parameter,
}

/// The step whose output is the plan of this step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepPlan {
    /// Ref of the step that makes the plan. Never the ref of this step.
    pub step: StepRef,
    /// Maximum age of the plan in seconds.
    #[schemars(range(min = 1, max = MAX_PLAN_AGE_S))]
    pub max_age_s: u64,
}

/// Format of a runbook.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Countersign's Markdown: `*.md`.
    Markdown,
    /// Gruntwork's MDX: `*.mdx`.
    Gruntwork,
    /// Rundown: `*.runbook.md`.
    Rundown,
    /// Runnable fences: code blocks of any other `*.md` file.
    Runnable,
}

/// Whether the script of a step is a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// The script is no template. A run gets its parameters in environment variables and in a file.
    None,
    /// The script is a template with the syntax of Gruntwork. The boundary replaces placeholders by parameters.
    Gruntwork,
}

/// Whether variables and the working directory persist from run to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionUse {
    /// Each run starts without a session.
    #[default]
    None,
    /// The run gets the variables and the directory of a session. The next run does not get the changes of this run.
    Read,
    /// The run gets the variables and the directory of a session. The next run gets the changes of this run.
    Write,
}

/// An approval rule: how many people must sign, and from which groups.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// Number of different people who must sign. With `each`, this number of people of each group.
    pub required: u64,
    /// Groups whose members may sign. In the rule of a step, an empty list means the groups of policy's rule. In
    /// policy, the list is not empty.
    pub from: Vec<GroupName>,
    /// True if every group needs `required` people of its own. One person then counts for one group only.
    pub each: Option<bool>,
}

impl Approvals {
    /// Returns the rule of a step that declares no rule: one person of the groups that policy names.
    pub fn unspecified() -> Self {
        Self {
            required: 1,
            from: Vec::new(),
            each: None,
        }
    }

    /// Returns the error of a rule that no people can meet, or that requires no approver.
    pub fn fault(&self, groups: GroupSource) -> Option<String> {
        let named = self.from.len() as u64;
        let places = if self.each == Some(true) {
            self.required.saturating_mul(named)
        } else {
            self.required
        };
        if self.required == 0 {
            Some(
                "`required: 0` would let a step run without a signature: write 1 or more"
                    .to_owned(),
            )
        } else if named == 0 && (groups == GroupSource::Named || self.each == Some(true)) {
            Some(
                "`from` names no group: name at least one group whose members may approve"
                    .to_owned(),
            )
        } else if self.each == Some(true) && named > MAX_EACH_GROUPS {
            Some(format!(
                "`each` asks for {named} groups: name at most {MAX_EACH_GROUPS}"
            ))
        } else if places > MAX_SIGNATURES as u64 {
            Some(format!(
                "the rule requires {places} signatures, but an authorization can have at most {MAX_SIGNATURES}: \
                 require fewer"
            ))
        } else {
            None
        }
    }
}

/// Meaning of a quorum rule without groups.
#[derive(PartialEq)]
pub enum GroupSource {
    /// In a policy, an empty list is an error.
    Named,
    /// In a step, an empty list means the groups that policy names.
    OrWhomPolicyNames,
}

/// A leaf of the registry: one sealed step. The canonical JSON of the leaf is hashed into the registry root.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryLeaf {
    /// Digest of the step's definition.
    pub digest: StepDigest,
    /// Ref of the step.
    #[serde(rename = "ref")]
    pub reference: StepRef,
}

/// Maximum size of a step's script in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Maximum size of a step's definition, in bytes of canonical JSON. Such a definition fits into a bundle.
pub const MAX_DEFINITION_BYTES: usize = 1 << 20;
/// Maximum number of groups that `each` may name. The limit bounds the time of the check, because the check examines
/// every subset of the groups.
pub const MAX_EACH_GROUPS: u64 = 8;

/// Maximum number of files in a step.
pub const MAX_FILES: usize = 256;
/// Maximum size of a file of a step, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum size of all files of a step together, in bytes. The first process of a run holds all files in memory.
pub const MAX_FILES_BYTES: u64 = 4 << 20;
/// Names under which a run has its script beside the files of the step. The second name is for `go run`.
pub const SCRIPT_NAMES: [&str; 2] = ["countersign-script", "countersign-script.go"];

/// A file that each run of a step receives. The definition contains the digest. A blob of the log contains the content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    /// Path, relative to the directory in which the step starts: 1 to 1,024 bytes, without `.` and `..` as segments.
    pub path: String,
    /// Size in bytes.
    #[schemars(range(max = MAX_FILE_BYTES))]
    pub bytes: u64,
    /// SHA-256 digest of the content.
    pub digest: ContentDigest,
    /// True if the run may execute the file.
    pub executable: bool,
}

/// Checks the files of a definition: number, sizes, paths and order.
///
/// # Errors
/// Returns the first file that breaks a rule.
pub fn check_files(files: &[StepFile]) -> Result<(), Malformed> {
    check_count("/step/files", files.len(), 0, MAX_FILES)?;
    for (at, file) in files.iter().enumerate() {
        if let Err(error) = file.path.parse::<RelativePath>() {
            return Err(Malformed::at(format!("/step/files/{at}/path"), error));
        }
        check_range(
            &format!("/step/files/{at}/bytes"),
            file.bytes,
            0,
            MAX_FILE_BYTES,
        )?;
    }
    check_by("/step/files", files, |file| file.path.as_str())?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    if bytes > MAX_FILES_BYTES {
        let message =
            format!("all files together have {bytes} bytes, at most {MAX_FILES_BYTES} are allowed");
        return Err(Malformed::at("/step/files", message));
    }
    match inside_a_file(files.iter().map(|file| file.path.as_str())) {
        None => Ok(()),
        Some((at, above)) => {
            let message = format!("the file {above:?} of this step is no directory");
            Err(Malformed::at(format!("/step/files/{at}/path"), message))
        }
    }
}

/// Returns the index of the first path that lies below another path, and this other path. A file is no directory, so a
/// step can't have both.
pub fn inside_a_file<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Option<(usize, &'a str)> {
    let all: BTreeSet<&str> = paths.clone().collect();
    let directories = |path: &'a str| path.match_indices('/').map(move |(end, _)| &path[..end]);
    paths
        .enumerate()
        .find_map(|(at, path)| Some((at, directories(path).find(|above| all.contains(above))?)))
}

/// The blob `configuration` of a seal: what the boundary gives every run, and what a step may ask for.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Limits of runs.
    pub limits: ConfiguredLimits,
    /// The sandbox of every run.
    pub sandbox: ConfiguredSandbox,
}

/// Limits of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredLimits {
    /// Limits of a step that declares none.
    pub default: Limits,
    /// The largest limits that a step may declare.
    pub maximum: Limits,
}

impl Default for ConfiguredLimits {
    /// Returns the limits of a boundary whose configuration names none.
    fn default() -> Self {
        Self {
            default: Limits::default(),
            maximum: Limits {
                wall_ms: 3_600_000,
                cpu_milli: 4000,
                memory_bytes: 4 << 30,
                processes: 1000,
                file_bytes: 1 << 30,
                disk_bytes: 10 << 30,
                output_bytes: 100 << 20,
            },
        }
    }
}

/// The sandbox of every run.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredSandbox {
    /// Level that the operator chose.
    pub level: Level,
    /// Layers that the level requires on this host. Approvers sign these layers.
    #[serde(deserialize_with = "layers_of_a_level")]
    #[schemars(schema_with = "schema_of_layers")]
    pub require: Vec<Layer>,
}

/// Reads layers of a level. The layer `programs` belongs to a list of programs and to no level.
fn layers_of_a_level<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Layer>, D::Error> {
    let layers = Vec::<Layer>::deserialize(input)?;
    if layers.contains(&Layer::Programs) {
        return Err(D::Error::custom("the layer `programs` belongs to no level"));
    }
    Ok(layers)
}

fn schema_of_layers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "enum": STRICT.map(Layer::word)}})
}

#[cfg(test)]
mod step_file_tests {
    use super::*;

    fn file(path: &str, bytes: u64) -> StepFile {
        StepFile {
            path: path.to_owned(),
            bytes,
            digest: ContentDigest::of(b"x"),
            executable: false,
        }
    }

    #[test]
    fn files_outside_of_the_limits_are_malformed() {
        assert_eq!(check_files(&[]).err(), None);
        let at_the_limits: Vec<StepFile> = (0..4)
            .map(|at| file(&format!("f{at}"), MAX_FILE_BYTES))
            .collect();
        assert_eq!(check_files(&at_the_limits).err(), None);
        assert_eq!(
            check_files(&[
                file(".env", 0),
                file("a", 1),
                file("a-b/c", 1),
                file("b/a", 1)
            ])
            .err(),
            None
        );
        let many: Vec<StepFile> = (0..=MAX_FILES)
            .map(|at| file(&format!("f{at:03}"), 0))
            .collect();
        let together: Vec<StepFile> = (0..5)
            .map(|at| file(&format!("f{at}"), MAX_FILE_BYTES - at))
            .collect();
        for (files, pointer) in [
            (many, "/step/files"),
            (together, "/step/files"),
            (vec![file("a", MAX_FILE_BYTES + 1)], "/step/files/0/bytes"),
            (vec![file("../a", 0)], "/step/files/0/path"),
            (vec![file("/a", 0)], "/step/files/0/path"),
            (vec![file("a\nb", 0)], "/step/files/0/path"),
            (vec![file("", 0)], "/step/files/0/path"),
            (vec![file("a", 0), file("a", 0)], "/step/files/1"),
            (vec![file("b", 0), file("a", 0)], "/step/files/1"),
            (
                vec![file("a", 0), file("a-b", 0), file("a/b/c", 0)],
                "/step/files/2/path",
            ),
            (
                vec![file("a/b", 0), file("a/b-c", 0), file("a/b/c", 0)],
                "/step/files/2/path",
            ),
        ] {
            let error = check_files(&files).expect_err(pointer);
            assert_eq!(error.pointer, pointer, "{error}");
        }
    }
}

#[cfg(test)]
mod configuration_tests {
    use super::*;

    #[test]
    fn the_layer_of_a_list_of_programs_belongs_to_no_level() {
        let read = |layers: &str| {
            serde_json::from_str::<ConfiguredSandbox>(&format!(
                r#"{{"level":"strict","require":[{layers}]}}"#
            ))
        };
        assert!(read(r#""landlock","seccomp""#).is_ok());
        assert!(read(r#""landlock","programs""#).is_err());
    }
}
