//! Which step may get which secret, and the secrets of one run.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::Refusal;
use documents::{
    Code, Format, OWN_VARIABLES, Parameter, SecretAs, SecretName, SecretValue, StepDefinition,
    StepRef, StepSecret, secret_name,
};
use reading::Pattern;
use sandbox::{PlannedSecret, planned_secret, secret_path};

/// A function that reads the value of a configured secret. The error names the reason, and never contains the value.
pub type ReadSecret = dyn Fn(&SecretName) -> Result<SecretValue, String> + Send + Sync;

/// The configured secrets: the steps that may get each of them, and access to the values.
pub struct SecretPermits {
    steps: BTreeMap<SecretName, Vec<Pattern>>,
    read: Arc<ReadSecret>,
}

/// A secret that a run needs, without its value.
pub struct SecretUse {
    /// The name of the secret.
    pub name: SecretName,
    /// True if the run gets a file.
    pub as_file: bool,
    /// Variable with the value or with the path of the file.
    pub variable: Option<String>,
    /// JSON pointer of the part of the proposal that names the secret.
    pub pointer: String,
}

impl SecretPermits {
    /// Collects the configured secrets. `steps` has the patterns of the steps of each secret, and `read` returns the
    /// values.
    pub fn new(steps: BTreeMap<SecretName, Vec<Pattern>>, read: Arc<ReadSecret>) -> Self {
        Self { steps, read }
    }

    /// Returns true if the secret is configured and allowed for the step.
    pub fn allows(&self, secret: &SecretName, step: &StepRef) -> bool {
        self.steps
            .get(secret)
            .is_some_and(|steps| steps.iter().any(|pattern| pattern.matches(step.as_str())))
    }

    /// Returns true if a run can start without this secret. The sign-in block `aws` of a Gruntwork page sets several
    /// variables, and some of them only for some accounts. So a secret such as `aws.AWS_SESSION_TOKEN` may be missing
    /// in the configuration, if another secret of the same block is there.
    fn is_left_out(&self, secret: &StepSecret, step: &StepDefinition) -> bool {
        let Some(block) = sign_in_block(secret) else {
            return false;
        };
        let has_other = |other: &StepSecret| {
            sign_in_block(other) == Some(block) && self.allows(&other.name, &step.reference)
        };
        step.format == Format::Gruntwork
            && !self.steps.contains_key(&secret.name)
            && step.secrets.iter().any(has_other)
    }

    /// Returns the reason why no run of the step can get a secret that its definition names.
    pub fn objection(&self, step: &StepDefinition) -> Option<String> {
        let lacking: Vec<&str> = step
            .secrets
            .iter()
            .filter(|secret| {
                !self.allows(&secret.name, &step.reference) && !self.is_left_out(secret, step)
            })
            .map(|secret| secret.name.as_str())
            .collect();
        let name = lacking.first()?;
        Some(format!(
            "countersign.toml does not give the step the secret {}: add the step to `steps` of [secrets.{name}], and restart \
             the service",
            lacking.join(", ")
        ))
    }

    /// Checks that each secret of a run is configured and allowed for its step. No value is read.
    ///
    /// # Errors
    /// Returns `sandbox-unavailable` with the name of the first secret that the run can't get. A secret that is not
    /// configured and a secret of other steps give the same refusal, so that a proposer can't find out the names.
    pub fn check(&self, step: &StepDefinition, params: &Value) -> Result<Vec<SecretUse>, Refusal> {
        let of_step = step
            .secrets
            .iter()
            .filter(|secret| !self.is_left_out(secret, step));
        let uses = uses_of(of_step, &step.params, params);
        for one in &uses {
            let name = one.name.as_str();
            let refuse = |detail: String, short: &str| {
                Err(Refusal::new(Code::SandboxUnavailable, detail).at(one.pointer.clone(), short))
            };
            if !self.allows(&one.name, &step.reference) {
                return refuse(
                    format!(
                        "{} needs the secret {name}, which this boundary does not have for this step: the operator adds \
                         [secrets.{name}] with this step to countersign.toml and starts the service again",
                        step.reference
                    ),
                    "no such secret for this step",
                );
            }
            if let Some(variable) = one
                .variable
                .as_deref()
                .filter(|variable| OWN_VARIABLES.contains(variable))
            {
                return refuse(
                    format!(
                        "{} wants the secret {name} in the variable {variable}, which belongs to the sandbox: choose \
                         another variable in the runbook",
                        step.reference
                    ),
                    "reserved variable",
                );
            }
        }
        Ok(uses)
    }

    /// Reads the values of the secrets of a run.
    ///
    /// # Errors
    /// Returns `sandbox-unavailable` with the name of the first secret that can't be read, or that this run can't get.
    pub fn read(
        &self,
        uses: &[SecretUse],
        has_own_root: bool,
    ) -> Result<Vec<PlannedSecret>, Refusal> {
        check_own_root(uses, has_own_root)?;
        let mut planned: Vec<PlannedSecret> = Vec::new();
        for one in uses {
            let value = match planned.iter().find(|known| known.name == one.name) {
                Some(known) => known.value.clone(),
                None => (self.read)(&one.name).map_err(|why| {
                    let detail = format!("the secret {} can't be read: {why}", one.name.as_str());
                    Refusal::new(Code::SandboxUnavailable, detail)
                })?,
            };
            planned.push(PlannedSecret {
                name: one.name.clone(),
                value,
                as_file: one.as_file,
                variable: one.variable.clone(),
            });
        }
        match planned_secret::invalid(&planned, has_own_root) {
            Some(why) => Err(Refusal::new(Code::SandboxUnavailable, why)),
            None => Ok(planned),
        }
    }
}

/// Checks that a run with these secrets has its own root file system, if a secret is a file.
///
/// # Errors
/// Returns `sandbox-unavailable` with the name of the secret.
pub fn check_own_root(uses: &[SecretUse], has_own_root: bool) -> Result<(), Refusal> {
    let Some(one) = uses.iter().find(|one| one.as_file && !has_own_root) else {
        return Ok(());
    };
    let detail = planned_secret::needs_own_root(&one.name);
    Err(Refusal::new(Code::SandboxUnavailable, detail)
        .at(one.pointer.clone(), "needs a root file system of the run"))
}

/// Returns the id of the sign-in block to which a secret belongs: `aws` for `aws.AWS_REGION` in the variable `AWS_REGION`.
pub fn sign_in_block(secret: &StepSecret) -> Option<&str> {
    let variable = secret.variable.as_ref()?.as_str();
    secret
        .name
        .as_str()
        .strip_suffix(variable)?
        .strip_suffix('.')
}

/// Returns the secrets that a run of the step needs with these parameters. Each file is listed once.
pub fn uses_of<'a>(
    secrets: impl Iterator<Item = &'a StepSecret>,
    declared: &Parameter,
    params: &Value,
) -> Vec<SecretUse> {
    let of_step = secrets.map(|secret| SecretUse {
        name: secret.name.clone(),
        as_file: secret.given == SecretAs::File,
        variable: secret
            .variable
            .as_ref()
            .map(|variable| variable.as_str().to_owned()),
        pointer: "/step".to_owned(),
    });
    let mut uses: Vec<SecretUse> = of_step.collect();
    for name in declared.named_secrets(params) {
        // The variable of the parameter contains the path of the file, so the same file is enough.
        if !uses.iter().any(|other| other.as_file && other.name == name) {
            uses.push(SecretUse {
                name,
                as_file: true,
                variable: None,
                pointer: "/params".to_owned(),
            });
        }
    }
    uses
}

/// Returns the parameters as a run gets them: the value of a secret parameter is the path of its file.
pub fn with_paths(declared: &Parameter, params: &Value) -> Value {
    let mut given = params.clone();
    declared.for_each_secret(&mut given, &mut |value| {
        if let Some(name) = secret_name(value) {
            *value = Value::String(secret_path(&name));
        }
    });
    given
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_value_of_a_secret_parameter_is_the_path_of_its_file_at_every_depth() {
        let secret = json!({"type": "string", "x-secret": true});
        let schema: Parameter = serde_json::from_value(json!({"type": "object", "properties": {
            "pw": secret, "host": {"type": "string"},
            "more": {"type": "array", "items": {"type": "object", "properties": {"key": secret}}},
        }}))
        .expect("declared");
        let params = json!({"pw": {"secret": "db"}, "host": "a", "more": [{"key": {"secret": "b"}}, {}, {"key": {"secret": "db"}}]});
        let expected = json!({"pw": "/run/step/secrets/db", "host": "a",
            "more": [{"key": "/run/step/secrets/b"}, {}, {"key": "/run/step/secrets/db"}]});
        assert_eq!(with_paths(&schema, &params), expected);
        let names = schema.named_secrets(&params);
        let mut names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        names.sort();
        assert_eq!(names, ["b", "db", "db"]);
    }
}
