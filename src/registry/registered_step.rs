//! A step of a registry, and the checks before a step is registered.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::crypto::canonical::canonical_of;
use crate::crypto::digest::StepDigest;
use crate::record::ident::StepRef;
use crate::record::step_definition::{GroupSource, MAX_DEFINITION_BYTES, MAX_SOURCE_BYTES, StepDefinition};
use crate::registry::parameter_schema::ParameterSchema;
use crate::registry::registry_error::{RegistryError, whole};
use crate::registry::shared_schemas::SharedSchemas;
use crate::template::flaw::{RenderError, TemplateFlaw};
use crate::template::script_template::{self, ScriptTemplate};
use crate::yaml::TextPlace;

/// Sealed step.
#[derive(Debug, Clone)]
pub struct RegisteredStep {
    /// Definition of the step. The definition decides everything that runs.
    pub definition: Arc<StepDefinition>,
    /// Canonical JSON of the definition. The step digest is the digest of these bytes.
    pub canonical: Arc<[u8]>,
    /// Step digest.
    pub digest: StepDigest,
    /// Parameter schema, ready to validate values.
    pub schema: ParameterSchema,
    /// Template of the script, ready to fill in, or `None` if the script has no placeholders for parameters.
    pub template: Option<Arc<ScriptTemplate>>,
    /// File and place of the step, or `None` if the step was read from a store.
    pub place: Option<(Arc<str>, TextPlace)>,
}

impl RegisteredStep {
    /// Returns the step without its place in a file, like a step from a store.
    #[must_use]
    pub fn stored(&self) -> Self {
        Self { place: None, ..self.clone() }
    }

    /// Returns the step with the script that runs for these parameters. The step digest stays the digest of the
    /// definition with the template.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written in its place of the script.
    pub fn filled(&self, params: &Value) -> Result<Self, RenderError> {
        let Some(template) = &self.template else { return Ok(self.clone()) };
        let definition = template.fill(&self.definition, params)?;
        Ok(Self { definition: definition.into(), template: None, ..self.clone() })
    }

    /// Returns an error about the step, with the ref and the place.
    #[must_use]
    pub fn flaw(&self, what: &impl fmt::Display) -> RegistryError {
        let reference = &self.definition.reference;
        match &self.place {
            Some((file, at)) => {
                let message = format!("{reference}: {what}");
                RegistryError { file: file.to_string(), line: at.line, column: at.column, message }
            }
            None => whole(reference.as_str(), what.to_string()),
        }
    }
}

/// Step for a registry that is built from stored steps.
#[derive(Debug)]
pub enum StoredStep {
    /// Step that another registry already contains. Both registries share it in memory.
    Known(RegisteredStep),
    /// Step that was read from the store.
    Read(Box<StepDefinition>),
}

impl StoredStep {
    pub(super) fn reference(&self) -> &StepRef {
        match self {
            Self::Known(step) => &step.definition.reference,
            Self::Read(definition) => &definition.reference,
        }
    }
}

/// Seals one step, or returns the reason why this version can't seal the step.
pub(super) fn register(
    mut definition: StepDefinition,
    place: Option<(Arc<str>, TextPlace)>,
    schemas: &SharedSchemas,
) -> Result<RegisteredStep, String> {
    definition.check_reserved().map_err(|error| error.to_string())?;
    if definition.source.len() > MAX_SOURCE_BYTES {
        return Err(format!("the script is larger than {MAX_SOURCE_BYTES} bytes: move a part of it to another step"));
    }
    if let Some(fault) = definition.approvals.fault(GroupSource::OrWhomPolicyNames) {
        return Err(fault);
    }
    let schema = schemas
        .get(&definition.params)
        .map_err(|flaws| flaws.first().map_or_else(String::new, |flaw| format!("params: {flaw}")))?;
    definition.params = Arc::clone(schema.schema());
    let canonical = canonical_of(&definition).map_err(|error| error.to_string())?;
    if canonical.len() > MAX_DEFINITION_BYTES {
        return Err(format!("the step's definition is larger than {MAX_DEFINITION_BYTES} bytes: make it smaller"));
    }
    let template = script_template::of_step(&definition).map_err(|flaws| template_flaws(&flaws))?.map(Arc::new);
    let digest = StepDigest::of(&canonical);
    Ok(RegisteredStep { digest, canonical: canonical.into(), schema, definition: definition.into(), template, place })
}

/// Describes the flaws of a template. Their places are lines of the script, which may be in another file than the step.
fn template_flaws(flaws: &[TemplateFlaw]) -> String {
    let flaws: Vec<String> = flaws
        .iter()
        .map(|flaw| format!("line {}, column {} of the script: {}", flaw.line, flaw.column, flaw.message))
        .collect();
    flaws.join("; ")
}
