//! The template of a sealed step.

use std::{borrow::Cow, collections::BTreeSet};

use crate::{
    RenderError, ScriptTemplate, TemplateFlaw,
    template::{
        script_template::{is_invalid, names},
        syntax::{OUTPUTS, parse},
    },
};
use documents::{StepDefinition, Template};
use serde_json::Value;

/// Returns the script that runs for these parameters by the checks of this version: the source, or the rendered
/// template.
///
/// # Errors
/// Returns the flaws of the template as one error without a parameter, or the error of the parameter whose value can't
/// be written in its place.
pub fn rendered<'d>(
    definition: &'d StepDefinition,
    params: &Value,
) -> Result<Cow<'d, str>, RenderError> {
    match of_step(definition).map_err(|flaws| is_invalid(&flaws))? {
        Some(template) => template.render(params).map(Cow::Owned),
        None => Ok(Cow::Borrowed(&definition.source)),
    }
}

/// Returns the parameters that a template uses for outputs of other blocks, or no parameters if the template is
/// invalid.
pub fn output_parameters(source: &str) -> BTreeSet<String> {
    let mut found = parse(source).map(|nodes| names(&nodes)).unwrap_or_default();
    found.retain(|name| name.starts_with(OUTPUTS));
    found
}

/// Reads and checks the template of a step by the checks of this version, or returns `None` if the step has no
/// template.
///
/// # Errors
/// Returns every flaw of the template.
pub fn of_step(definition: &StepDefinition) -> Result<Option<ScriptTemplate>, Vec<TemplateFlaw>> {
    if definition.template == Template::None {
        return Ok(None);
    }
    let template = ScriptTemplate::read(&definition.source, &definition.interpreter)?;
    template
        .check(&definition.source, &definition.params)
        .map(Some)
}

/// Reads the template of a sealed step by the rules of the format, or returns `None` if the step has no template.
///
/// # Errors
/// Returns the flaws because of which no program version can render the template.
pub fn of_sealed_step(
    definition: &StepDefinition,
) -> Result<Option<ScriptTemplate>, Vec<TemplateFlaw>> {
    if definition.template == Template::None {
        return Ok(None);
    }
    let (source, schema) = (&definition.source, &definition.params);
    let template = ScriptTemplate::read(source, &definition.interpreter)?;
    let flaws = template.name_flaws(source, schema);
    if flaws.is_empty() {
        Ok(Some(template.check_values(source, schema)))
    } else {
        Err(flaws)
    }
}
