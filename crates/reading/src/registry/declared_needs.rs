//! Needs of a block: limits, access to the host, programs, files, secrets, and links to other runs.
//!
//! Gruntwork blocks declare needs as attributes of the tag, `network="api.example.com:443"`. Blocks of Rundown and of
//! Countersign Markdown declare needs in braces after the language, `bash {network=api.example.com:443}`. Gruntwork and
//! Rundown ignore these needs.
//!
//! Secrets are declared as `secrets="db=env:DB_PASSWORD, tls-key=file:TLS_KEY, ca"`.

use std::sync::Arc;

use crate::{
    LIMITS, LINKS, RunbookFiles, SandboxPermission, check_written_program, named_files, put_files,
    registry::{
        attributes::{limit, listed_names},
        front_matter::declare,
        step_contents::FileContent,
    },
    written::declared_sandbox::word,
    yaml::unknown,
};
use documents::{
    DeclaredSandbox, IdentError, Limit, OUTPUT_TYPES, OWN_VARIABLES, Parameter, Program, SecretAs,
    SecretName, SessionUse, StepDefinition, StepOutput, StepPlan, StepRef, StepSecret, Variable,
    canonical_of,
};

/// Age that a plan may have if the step declares none, in seconds.
const PLAN_AGE_S: u64 = 3600;

/// Needs that a block declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeclaredNeeds {
    /// Limits and access to the host.
    pub sandbox: DeclaredSandbox,
    /// Programs that the block starts.
    pub programs: Option<Vec<Program>>,
    /// Secrets that the block needs.
    pub secrets: Vec<StepSecret>,
    /// Files of the runbook's directory, as the block names them.
    pub files: Option<String>,
    pub session: Option<SessionUse>,
    pub outputs: Vec<StepOutput>,
    pub plan: Option<String>,
    pub plan_age_s: Option<u64>,
    pub check: bool,
}

/// Returns the names of all needs. A block can't switch off the sandbox.
pub fn names() -> impl Iterator<Item = &'static str> {
    let permissions = SandboxPermission::ALL
        .into_iter()
        .filter(|permission| *permission != SandboxPermission::Off);
    let limits = LIMITS.into_iter().map(|(name, _)| name);
    limits
        .chain(permissions.map(SandboxPermission::attribute))
        .chain(["programs", "secrets", "files"])
        .chain(LINKS)
}

impl DeclaredNeeds {
    /// Adds the need with this name, which is one of [`names`].
    ///
    /// # Errors
    /// Returns a message that names the error in the text.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "programs" => self.programs = Some(program_names(text)?),
            "files" => self.files = Some(text.to_owned()),
            "secrets" => self.secrets = declared_secrets(text)?,
            "session" => self.session = Some(word("session", text, &["read", "write"])?),
            "check" if text == "true" => self.check = true,
            "check" => return Err(unknown("value of check", text, &["true"])),
            "outputs" => self.outputs = outputs(text)?,
            "plan" => self.plan = Some(text.to_owned()),
            "plan-max-age" => {
                let millis = limit(Limit::Wall, text)?;
                if millis % 1000 > 0 {
                    return Err(format!(
                        "{text:?} is not a whole number of seconds: write for example 30m"
                    ));
                }
                self.plan_age_s = Some(millis / 1000);
            }
            name => return declare(&mut self.sandbox, name, text),
        }
        Ok(())
    }

    /// Reads the files that the block names.
    ///
    /// # Errors
    /// Returns a message about a name that is no file of the directory.
    pub fn contents(&self, directory: &RunbookFiles) -> Result<Vec<FileContent>, String> {
        let text = self.files.as_deref();
        text.map_or_else(|| Ok(Vec::new()), |text| named_files(text, directory))
    }

    /// Writes the needs and the files into the definition of their step, and returns the contents of the files. A plan
    /// without a path is a step of the same runbook.
    ///
    /// # Errors
    /// Returns a message if the attributes do not fit together.
    pub fn put(
        self,
        step: &mut StepDefinition,
        files: &[FileContent],
    ) -> Result<Vec<Arc<[u8]>>, String> {
        step.sandbox = self.sandbox;
        step.programs = self.programs;
        step.secrets = self.secrets;
        step.session = self.session.unwrap_or(SessionUse::None);
        step.outputs = self.outputs;
        step.check = self.check;
        step.plan = match (self.plan, self.plan_age_s) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err("`plan-max-age` has no effect without `plan`: add plan=STEP".to_owned());
            }
            (Some(text), age) => {
                let text = if text.contains(':') {
                    text
                } else {
                    format!("{}:{text}", step.reference.path())
                };
                let planned: StepRef = text
                    .parse()
                    .map_err(|_| format!("{text:?} is no step: write plan=ID or plan=path:ID"))?;
                if planned == step.reference {
                    return Err("a step can't be its own plan: name another step".to_owned());
                }
                Some(StepPlan {
                    step: planned,
                    max_age_s: age.unwrap_or(PLAN_AGE_S),
                })
            }
        };
        Ok(put_files(step, files))
    }
}

/// Reads the programs of a step. The names are sorted like every array of a definition.
fn program_names(text: &str) -> Result<Vec<Program>, String> {
    let mut names: Vec<Program> = Vec::new();
    for name in listed_names(text, "program")? {
        check_written_program(name)?;
        names.push(
            name.parse()
                .map_err(|error: IdentError| error.to_string())?,
        );
    }
    // A definition sorts its arrays by the canonical JSON of the elements.
    names.sort_by_cached_key(|name| canonical_of(name).unwrap_or_default());
    Ok(names)
}

/// Reads a list of outputs, `url, count:integer`. The type of an output is `string` if the list states none.
fn outputs(text: &str) -> Result<Vec<StepOutput>, String> {
    let mut found: Vec<StepOutput> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (name, kind) = part.split_once(':').unwrap_or((part, "string"));
        let kind = OUTPUT_TYPES
            .into_iter()
            .find(|one| one.word() == kind)
            .ok_or_else(|| {
                unknown(
                    "type of an output",
                    kind,
                    &OUTPUT_TYPES.map(|one| one.word()),
                )
            })?;
        let name = name.parse().map_err(|_| {
            format!(
                "{name:?} can't be the name of an output: use letters, digits, _ and -, and begin with a letter or _"
            )
        })?;
        if found.iter().any(|other| other.name == name) {
            return Err(format!(
                "the output {:?} is listed twice: name the output once",
                name.as_str()
            ));
        }
        found.push(StepOutput {
            name,
            schema: Parameter::new(kind),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Maximum number of secrets of a step.
const MAX_SECRETS: usize = 32;

/// Reads a list of secrets. `NAME=env:VARIABLE` is a secret in a variable. `NAME=file:VARIABLE` is a secret in a file,
/// and the variable contains the path of the file. `NAME` is a secret in a file without a variable. The result is
/// sorted by name, like every array of a definition.
fn declared_secrets(text: &str) -> Result<Vec<StepSecret>, String> {
    let mut found: Vec<StepSecret> = Vec::new();
    for one in text.split(',').map(str::trim) {
        let (name, rest) = one
            .split_once('=')
            .map_or((one, None), |(name, rest)| (name.trim(), Some(rest.trim())));
        let name: SecretName = name
            .parse()
            .map_err(|error: IdentError| error.to_string())?;
        let (given, variable) = match rest.map(|rest| rest.split_once(':')) {
            None => (SecretAs::File, None),
            Some(Some(("file", variable))) => (SecretAs::File, Some(variable)),
            Some(Some(("env", variable))) => (SecretAs::Env, Some(variable)),
            Some(_) => {
                let name = name.as_str();
                return Err(format!(
                    "{one:?} is not valid: write {name}=env:VARIABLE, {name}=file:VARIABLE or {name}"
                ));
            }
        };
        if let Some(own) = variable.filter(|variable| OWN_VARIABLES.contains(variable)) {
            return Err(format!(
                "the variable {own} belongs to the sandbox: choose another variable"
            ));
        }
        let variable: Option<Variable> = variable
            .map(str::parse)
            .transpose()
            .map_err(|error: IdentError| error.to_string())?;
        if found.iter().any(|other| other.name == name) {
            return Err(format!(
                "the secret {} is listed twice: list each secret once",
                name.as_str()
            ));
        }
        if let Some(twice) = variable.as_ref().filter(|one| {
            found
                .iter()
                .any(|other| other.variable.as_ref() == Some(*one))
        }) {
            return Err(format!(
                "the variable {} is used twice: choose another variable",
                twice.as_str()
            ));
        }
        found.push(StepSecret {
            name,
            given,
            variable,
        });
    }
    if found.len() > MAX_SECRETS {
        return Err(format!(
            "a step has at most {MAX_SECRETS} secrets: remove some of them"
        ));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_sorted_and_have_a_type() {
        let found = outputs("url, count:integer,Done:boolean").expect("outputs");
        let facts: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.schema.kind.word()))
            .collect();
        assert_eq!(
            facts,
            [("Done", "boolean"), ("count", "integer"), ("url", "string")]
        );
        for (text, words) in [
            ("", "\"\" can't be the name"),
            ("a,a", "listed twice"),
            ("a:number", "unknown type of an output: \"number\""),
            ("1a", "begin with a letter"),
            ("a b", "can't be the name"),
        ] {
            assert!(
                outputs(text).is_err_and(|message| message.contains(words)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn values_of_the_attributes_are_checked() {
        for (name, text, words) in [
            ("session", "on", "unknown value of session: \"on\""),
            ("session", "none", "unknown value of session: \"none\""),
            ("plan-max-age", "soon", "\"soon\" is not valid"),
            ("plan-max-age", "1500ms", "whole number of seconds"),
            ("plan-max-age", "0s", "is zero"),
        ] {
            assert!(
                DeclaredNeeds::default()
                    .add(name, text)
                    .is_err_and(|message| message.contains(words)),
                "{name}={text}"
            );
        }
    }
}

#[cfg(test)]
mod declared_secrets_tests {
    use super::*;

    #[test]
    fn a_secret_is_declared_in_a_variable_or_in_a_file() {
        let found = declared_secrets("tls=file:TLS_KEY, db = env:DB_PASSWORD,ca").expect("secrets");
        let facts: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.given,
                    one.variable.as_ref().map(|variable| variable.as_str()),
                )
            })
            .collect();
        let expected = [
            ("ca", SecretAs::File, None),
            ("db", SecretAs::Env, Some("DB_PASSWORD")),
            ("tls", SecretAs::File, Some("TLS_KEY")),
        ];
        assert_eq!(facts, expected);
        for (bad, words) in [
            ("", "a secret's name"),
            ("a b", "a secret's name"),
            ("db=DB", "write db=env:VARIABLE"),
            ("db=argv:DB", "write db=env:VARIABLE"),
            ("db=env:", "a variable"),
            ("db=env:PARAM_DB", "a variable"),
            ("db=env:PATH", "belongs to the sandbox"),
            ("db=env:A,db", "listed twice"),
            ("db=env:A,b=file:A", "used twice"),
        ] {
            let error = declared_secrets(bad).expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
