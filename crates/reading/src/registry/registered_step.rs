//! A step of a registry, and the checks before a step is registered.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::{
    FileProblem, FoundStep, ParameterSchema, RenderError, ScriptTemplate, SharedSchemas, StepPlace,
    TemplateFlaw, output_schema, registry::script_flaws::script_flaws, step_template,
};
use documents::{
    GroupSource, MAX_DEFINITION_BYTES, MAX_SOURCE_BYTES, StepDefinition, StepDigest, StepFile,
    StepRef, canonical_of,
};

/// Sealed step.
#[derive(Debug, Clone)]
pub struct RegisteredStep {
    /// Definition of the step. The definition decides everything that runs.
    pub definition: Arc<StepDefinition>,
    /// Number of bytes of [`Self::canonical`].
    pub size: usize,
    /// Step digest.
    pub digest: StepDigest,
    /// Parameter schema, ready to validate values.
    pub schema: ParameterSchema,
    /// Contents of the definition's files, in the same order. Empty if the step has no files, or if the registry was
    /// built without contents.
    pub contents: Vec<Arc<[u8]>>,
    /// Template of the script, ready to fill in, or `None` if the script has no placeholders for parameters.
    pub template: Option<Arc<ScriptTemplate>>,
    /// Place of the step, or `None` if the step was read from a store.
    pub place: Option<StepPlace>,
}

impl RegisteredStep {
    /// Returns the step without its place in a file, like a step from a store.
    pub fn stored(&self) -> Self {
        Self {
            place: None,
            ..self.clone()
        }
    }

    /// Returns the canonical JSON of the definition. The step digest is the digest of these bytes. The bytes are not kept,
    /// because they would take as much memory as the definition.
    #[expect(clippy::expect_used, reason = "`register` made these bytes once")]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = canonical_of(&self.definition).expect("a canonical form");
        // A seal collects the bytes of all steps, and the writer reserves some KB for each.
        bytes.shrink_to_fit();
        debug_assert_eq!(
            StepDigest::of(&bytes),
            self.digest,
            "not the definition of a step that `filled` returned"
        );
        bytes
    }

    /// Returns the step with the script that runs for these parameters. The step digest stays the digest of the
    /// definition with the template.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written in its place of the script.
    pub fn filled(&self, params: &Value) -> Result<Self, RenderError> {
        let Some(template) = &self.template else {
            return Ok(self.clone());
        };
        let definition = StepDefinition {
            source: template.render(params)?,
            ..(*self.definition).clone()
        };
        Ok(Self {
            definition: definition.into(),
            template: None,
            ..self.clone()
        })
    }

    /// Returns the definition that policy reads before the parameters are known. A template has a harmless value in each
    /// place.
    pub fn sample(&self) -> Cow<'_, StepDefinition> {
        match &self.template {
            None => Cow::Borrowed(&self.definition),
            Some(template) => Cow::Owned(template.sampled(&self.definition)),
        }
    }

    /// Returns an error about the step, with the ref and the place.
    pub fn flaw(&self, what: &impl fmt::Display) -> FileProblem {
        let reference = &self.definition.reference;
        match &self.place {
            Some(place) => FileProblem::of_step(place, format!("{reference}: {what}")),
            None => FileProblem::whole(reference.as_str(), what.to_string()),
        }
    }
}

/// Step for a registry that is built from stored steps.
#[derive(Debug)]
pub enum StoredStep {
    /// Step that another registry already contains. Both registries share it in memory.
    Known(RegisteredStep),
    /// Step that was read from the store, with the contents of its files.
    Read(Box<StepDefinition>, Vec<Arc<[u8]>>),
    /// Step of a runbook file. It must also obey the rules of this version about templates.
    Found(Box<StepDefinition>, Vec<Arc<[u8]>>),
}

impl StoredStep {
    /// Returns the step of a runbook file.
    pub(super) fn found(step: FoundStep) -> Self {
        Self::Found(step.definition, step.contents)
    }

    pub(super) fn reference(&self) -> &StepRef {
        match self {
            Self::Known(step) => &step.definition.reference,
            Self::Read(definition, _) | Self::Found(definition, _) => &definition.reference,
        }
    }
}

/// Reason why this version can't seal a step.
#[derive(Debug)]
pub enum RegisterError {
    /// Reason that concerns the whole step.
    Step(String),
    /// Flaws of the template, with places in the script.
    Template(Vec<TemplateFlaw>),
}

impl From<String> for RegisterError {
    fn from(message: String) -> Self {
        Self::Step(message)
    }
}

impl RegisterError {
    /// Returns the errors with their places. A store has no place of a step.
    pub fn at(self, place: &StepPlace) -> Vec<FileProblem> {
        match self {
            Self::Template(flaws) if place.place.line > 0 => flaws
                .iter()
                .map(|flaw| FileProblem::of_template(place, flaw))
                .collect(),
            other => vec![FileProblem::of_step(place, other.to_string())],
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(message) => f.write_str(message),
            Self::Template(flaws) => f.write_str(&template_flaws(flaws)),
        }
    }
}

/// How the script of a step is checked before the step is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptCheck {
    /// The step comes from a store and stays in force: only a template that no version renders is refused.
    Sealed,
    /// A person runs the step at a terminal without policy: the template has only places that this version renders.
    Template,
    /// As `Template`. The parser must also be able to read a shell script, and each `$PARAM_NAME` is a parameter.
    Shell,
}

/// Seals one step, or returns the reason why this version can't seal the step.
pub fn register(
    definition: StepDefinition,
    contents: Vec<Arc<[u8]>>,
    place: Option<StepPlace>,
    schemas: &SharedSchemas,
    check: ScriptCheck,
) -> Result<RegisteredStep, RegisterError> {
    let (definition, schema, canonical) = checked(definition, schemas)?;
    let differs = |(file, bytes): (&StepFile, &Arc<[u8]>)| file.bytes != bytes.len() as u64;
    if !contents.is_empty()
        && (contents.len() != definition.files.len()
            || definition.files.iter().zip(&contents).any(differs))
    {
        return Err(
            "the contents of the step's files differ from its definition"
                .to_owned()
                .into(),
        );
    }
    let mut flaws = Vec::new();
    let template = match check {
        ScriptCheck::Sealed => step_template::of_sealed_step(&definition),
        _ => step_template::of_step(&definition),
    };
    let template = template.unwrap_or_else(|found| {
        flaws = found;
        None
    });
    if check == ScriptCheck::Shell {
        let sample = template.as_ref().map_or(Cow::Borrowed(&definition), |one| {
            Cow::Owned(one.sampled(&definition))
        });
        // The reader of templates has already reported the errors of a template that it can't read.
        let sample = Some(sample.source.as_str()).filter(|_| flaws.is_empty());
        let more = script_flaws(&definition, sample);
        flaws.extend(more);
    }
    if !flaws.is_empty() {
        return Err(RegisterError::Template(flaws));
    }
    let template = template.map(Arc::new);
    let digest = StepDigest::of(&canonical);
    let (size, definition) = (canonical.len(), definition.into());
    Ok(RegisteredStep {
        digest,
        size,
        schema,
        definition,
        contents,
        template,
        place,
    })
}

/// Checks everything but the template of a step. Returns the definition with its parameter schema and its canonical
/// JSON.
fn checked(
    mut definition: StepDefinition,
    schemas: &SharedSchemas,
) -> Result<(StepDefinition, ParameterSchema, Vec<u8>), String> {
    definition.check().map_err(|error| error.to_string())?;
    if definition.source.len() > MAX_SOURCE_BYTES {
        return Err(format!(
            "the script is larger than {MAX_SOURCE_BYTES} bytes: move a part of it to another step"
        ));
    }
    if let Some(fault) = definition.approvals.fault(GroupSource::OrWhomPolicyNames) {
        return Err(fault);
    }
    let schema = schemas.get(&definition.params).map_err(|flaws| {
        flaws
            .first()
            .map_or_else(String::new, |flaw| format!("params: {flaw}"))
    })?;
    definition.params = Arc::clone(schema.declared());
    let _outputs = output_schema(&definition.outputs).map_err(|error| error.to_string())?;
    let canonical = canonical_of(&definition).map_err(|error| error.to_string())?;
    if canonical.len() > MAX_DEFINITION_BYTES {
        return Err(format!(
            "the step's definition is larger than {MAX_DEFINITION_BYTES} bytes: make it smaller"
        ));
    }
    Ok((definition, schema, canonical))
}

/// Describes the flaws of a template. Their places are lines of the script.
fn template_flaws(flaws: &[TemplateFlaw]) -> String {
    let flaws: Vec<String> = flaws
        .iter()
        .map(|flaw| {
            format!(
                "line {}, column {} of the script: {}",
                flaw.line, flaw.column, flaw.message
            )
        })
        .collect();
    flaws.join("; ")
}
