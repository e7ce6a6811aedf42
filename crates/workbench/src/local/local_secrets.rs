//! Secrets of a step at a terminal, from the options `--secret NAME=env:VARIABLE` and `--secret NAME=file:PATH`. A
//! sign-in block of Gruntwork also takes the variables of the environment that Gruntwork documents for it, after a
//! question.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde_json::Value;

use crate::{ChosenStep, LocalRules, Question};
use boundary::{SecretSource, json_note, secret_sources::read};
use client::{CommandFailure, CommandResult, PrintableText, fail_refused, fail_usage};
use crossing::{SecretPermits, SecretUse, sign_in_block, uses_of};
use documents::{
    Format, Permission, PermissionKind, PermissionReason, SecretAs, SecretName, StepDefinition,
    StepSecret, joined,
};
use reading::{AppliedRule, PolicyVerdict, RuleOrigin, Ruling};
use sandbox::{MIN_MASKED, PlannedSecret, SecretMasks};

/// Sources of the secrets of one command. By default, no step gets a secret.
#[derive(Default)]
pub struct LocalSecrets {
    given: BTreeMap<SecretName, SecretSource>,
    /// True if sign-in blocks take variables of the environment.
    of_environment: bool,
}

/// Secrets that a step needs, before their values are read.
#[derive(Default)]
pub struct NeededSecrets {
    uses: Vec<SecretUse>,
    sources: BTreeMap<SecretName, SecretSource>,
    /// Questions about variables of the environment.
    pub questions: Vec<Question>,
}

impl LocalSecrets {
    /// Reads the options of a command.
    ///
    /// # Errors
    /// Returns an error about the first text that is not valid.
    pub fn of_options(given: &[String]) -> CommandResult<Self> {
        let mut secrets = Self {
            given: BTreeMap::new(),
            of_environment: true,
        };
        for text in given {
            let name = text.split('=').next().unwrap_or_default();
            let source = match text
                .split_once('=')
                .and_then(|(_, source)| source.split_once(':'))
            {
                Some(("env", variable)) if !variable.is_empty() => {
                    SecretSource::Env(variable.to_owned())
                }
                Some(("file", path)) if !path.is_empty() => SecretSource::File(PathBuf::from(path)),
                _ => {
                    // The rest of the text may be a value, so the message does not repeat it.
                    let shown = PrintableText::text(name);
                    return fail_usage(format!(
                        "--secret {shown}: write {shown}=env:VARIABLE or {shown}=file:PATH; a value is never part of the command"
                    ));
                }
            };
            let parsed = name.parse::<SecretName>();
            let name =
                parsed.map_err(|error| CommandFailure::usage(format!("--secret: {error}")))?;
            if secrets.given.insert(name.clone(), source).is_some() {
                return fail_usage(format!(
                    "--secret {name} is given twice: keep one of the two"
                ));
            }
        }
        Ok(secrets)
    }

    /// Reads each secret of the options, and returns a note for each value that is a JSON object.
    ///
    /// # Errors
    /// Returns an error about the first value that can't be read or masked.
    pub fn notes(&self) -> CommandResult<Vec<String>> {
        let mut notes = Vec::new();
        for (name, source) in &self.given {
            let refused = |why| CommandFailure::refused(format!("--secret {name}: {why}"));
            notes.extend(json_note(name, &read(source).map_err(refused)?));
        }
        Ok(notes)
    }

    /// Returns the names of the secrets that the options give.
    pub fn names(&self) -> impl Iterator<Item = &SecretName> {
        self.given.keys()
    }

    /// Returns the source of a secret: an option, or for a sign-in block its variable of the environment, if it has a
    /// value.
    fn source(&self, secret: &StepSecret, step: &StepDefinition) -> Option<SecretSource> {
        if let Some(given) = self.given.get(&secret.name) {
            return Some(given.clone());
        }
        let variable = secret.variable.as_ref()?.as_str();
        let takes = self.of_environment
            && step.format == Format::Gruntwork
            && sign_in_block(secret).is_some();
        let value = std::env::var_os(variable).filter(|value| takes && !value.is_empty())?;
        match secret.given {
            // Google's variables contain the path of the file with the credentials.
            SecretAs::File => Some(SecretSource::File(PathBuf::from(value))),
            // Output can't be masked for a shorter value. Such a value is no secret, but for example the name of a
            // person or a region.
            SecretAs::Env => {
                (value.len() >= MIN_MASKED).then(|| SecretSource::Env(variable.to_owned()))
            }
        }
    }

    /// Checks that every secret of a step has a source. One secret of a sign-in block is enough. No value is read.
    ///
    /// # Errors
    /// Returns an error that names the missing secrets, with the options that give them.
    pub fn check(&self, step: &StepDefinition, params: &Value) -> CommandResult<()> {
        let block = |at: usize| {
            sign_in_block(&step.secrets[at]).filter(|_| step.format == Format::Gruntwork)
        };
        let has: Vec<bool> = step
            .secrets
            .iter()
            .map(|secret| self.source(secret, step).is_some())
            .collect();
        let signed_in = |at: usize| {
            block(at).is_some()
                && (0..has.len()).any(|other| has[other] && block(other) == block(at))
        };
        let of_step = step
            .secrets
            .iter()
            .enumerate()
            .filter(|(at, _)| !has[*at] && !signed_in(*at));
        let mut lacking: Vec<SecretName> = of_step.map(|(_, secret)| secret.name.clone()).collect();
        let named = step.params.named_secrets(params).into_iter();
        lacking.extend(named.filter(|name| !self.given.contains_key(name)));
        let Some(first) = lacking.first() else {
            return Ok(());
        };
        let of_block = step
            .secrets
            .iter()
            .position(|secret| secret.name == *first)
            .filter(|at| block(*at).is_some());
        let or = of_block.and_then(|at| step.secrets[at].variable.as_ref());
        let or = or.map(|variable| {
            format!(
                ", or set the variable {variable} (at least {MIN_MASKED} bytes); at a terminal, the program asks for it"
            )
        });
        let or = or.unwrap_or_default();
        let message = format!(
            "{} needs the secret {}: add --secret {first}=env:VARIABLE or --secret {first}=file:PATH{or}",
            step.reference,
            joined(&lacking, ", ")
        );
        fail_usage(message)
    }

    /// Returns the secrets of a step, with a question about each sign-in block whose variables no list of the policy
    /// allows.
    ///
    /// # Errors
    /// Returns an error if a secret has no source, or if policy denies a variable.
    pub fn of_step(
        &self,
        chosen: &ChosenStep,
        rules: &LocalRules,
        ruling: &Ruling,
    ) -> CommandResult<NeededSecrets> {
        let (step, params) = (&*chosen.step.definition, chosen.params.value());
        self.check(step, params)?;
        let mut needed = NeededSecrets {
            sources: self.given.clone(),
            ..NeededSecrets::default()
        };
        let mut asked: BTreeMap<&str, (PermissionReason, Vec<&str>)> = BTreeMap::new();
        for secret in &step.secrets {
            let Some(source) = self.source(secret, step) else {
                continue;
            };
            let is_new = needed.sources.insert(secret.name.clone(), source).is_none();
            let (true, Some(variable), Some(block)) =
                (is_new, &secret.variable, sign_in_block(secret))
            else {
                continue;
            };
            let decided = rules.variable(ruling, variable.as_str());
            let why = match (decided.verdict, decided.rule) {
                (PolicyVerdict::Allow, _) => continue,
                (PolicyVerdict::Ask(why), _) => why,
                // The built-in list denies the variable, so that not every step inherits it. For a sign-in block that
                // the page names, a person may allow the variable.
                (
                    PolicyVerdict::Deny,
                    AppliedRule::Listed {
                        origin: RuleOrigin::BuiltIn,
                        ..
                    },
                ) => PermissionReason::BuiltInDeny,
                (PolicyVerdict::Deny, rule) => {
                    let message = format!(
                        "no part of {} was run: variable {variable} is denied ({rule})",
                        step.reference
                    );
                    return fail_refused(message);
                }
            };
            let (all, variables) = asked.entry(block).or_insert((why, Vec::new()));
            variables.push(variable.as_str());
            if why != PermissionReason::Unlisted {
                *all = why;
            }
        }
        needed
            .questions
            .extend(asked.into_values().map(|(why, variables)| {
                let asked = Permission {
                    kind: PermissionKind::Env,
                    what: variables.join(","),
                    why,
                };
                Question::of_secrets(asked, chosen.place())
            }));
        let has_source = step
            .secrets
            .iter()
            .filter(|secret| needed.sources.contains_key(&secret.name));
        needed.uses = uses_of(has_source, &step.params, params);
        Ok(needed)
    }
}

impl NeededSecrets {
    /// Reads the values, after the person has answered the questions.
    ///
    /// # Errors
    /// Returns an error if a value can't be read, or if the run can't get it. No error contains a value.
    pub fn read(
        self,
        has_own_root: bool,
    ) -> CommandResult<(Vec<PlannedSecret>, Option<Arc<SecretMasks>>)> {
        let Self { uses, sources, .. } = self;
        let value = move |name: &SecretName| {
            sources
                .get(name)
                .map_or_else(|| Err("no source".to_owned()), read)
        };
        let planned =
            SecretPermits::new(BTreeMap::new(), Arc::new(value)).read(&uses, has_own_root);
        let planned = planned
            .map_err(|refusal| CommandFailure::refused(PrintableText::text(&refusal.detail)))?;
        let masks = SecretMasks::new(planned.iter().map(|secret| (&secret.name, &secret.value)));
        Ok((planned, masks.map(Arc::new)))
    }
}
