//! Compares the steps of a file with the sealed steps of a running boundary.

use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde_json::Value;

use client::{Client, CommandResult, DefinitionDifferences, definitions_diff};
use documents::{Code, StepDigest, locked};
use reading::RegisteredStep;
use wire::{RegistryView, StepView};

/// The steps that a boundary has sealed.
pub struct SealedSteps {
    /// One request at a time, because a client keeps what it learned about its token.
    client: Mutex<Client>,
}

/// A step of a file beside the sealed step of the same name.
pub enum ComparedStep {
    /// The boundary has no step of this name, or the token may not see it.
    New,
    /// Both have the same digest.
    Same(StepDigest),
    /// The definitions differ.
    Changed(StepDigest, DefinitionDifferences),
    /// The boundary did not answer.
    Unknown(String),
}

impl SealedSteps {
    /// Returns the steps that the boundary of this client has sealed, as far as its token may see them.
    pub fn new(client: Client) -> Self {
        Self {
            client: Mutex::new(client),
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> CommandResult<T> {
        locked(&self.client).get(path)
    }

    /// Returns the file name, with its directories, under which the boundary has the runbook of these steps. `name` is the
    /// name without directories.
    pub(super) fn file_of(&self, steps: &[Arc<RegisteredStep>], name: &str) -> Option<String> {
        let view: RegistryView = self.get("/v1/registry").ok()?;
        let own = steps.first()?.definition.reference.path();
        let ending = name.strip_prefix(own).unwrap_or(".md");
        let mut paths: Vec<&str> = view
            .steps
            .iter()
            .map(|step| step.reference.path())
            .collect();
        paths.dedup();
        let below = format!("/{own}");
        let mut found = paths
            .iter()
            .filter(|path| **path == own || path.ends_with(&below));
        let first = found.next()?;
        // With two runbooks of this name, the boundary does not say which of them the file is.
        found.next().is_none().then(|| format!("{first}{ending}"))
    }

    /// Compares a step with the sealed step of the same name.
    pub(super) fn compare(&self, step: &RegisteredStep) -> ComparedStep {
        let sealed: CommandResult<StepView> =
            self.get(&format!("/v1/steps/{}", step.definition.reference));
        let sealed = match sealed {
            Ok(sealed) if sealed.digest == step.digest => return ComparedStep::Same(sealed.digest),
            Ok(sealed) => sealed,
            Err(failure) if failure.has_code(Code::UnknownStep) => return ComparedStep::New,
            Err(failure) => return ComparedStep::Unknown(failure.message),
        };
        ComparedStep::Changed(sealed.digest, differences_from(&sealed.definition, step))
    }
}

/// Returns what differs between a sealed definition and a step of a file.
pub fn differences_from(sealed: &Value, step: &RegisteredStep) -> DefinitionDifferences {
    let own = serde_json::to_value(&*step.definition).unwrap_or_default();
    let source = |definition: &Value| definition["source"].as_str().unwrap_or_default().to_owned();
    let (before, after) = (source(sealed), source(&own));
    definitions_diff((&before, sealed), (&after, &own))
}
