//! Runbook that the person named. The file is read only once, so that the policy decides about the same bytes that run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::crossing::host_profile::check_secrets;
use crate::home::parameter_values::typed;
use crate::local::problems::problems;
use crate::local::project::Project;
use crate::node::file_problem::{FileProblem, Problems};
use crate::registry::FileSteps;
use crate::registry::Registry;
use crate::registry::parameter_schema::Params;
use crate::registry::registered_step::RegisteredStep;
use crate::registry::rundown::workflow::Workflow;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::yaml::TextPlace;

/// Chosen steps of a runbook, in the order of the file.
#[derive(Debug)]
pub struct Runbook {
    /// Path of the file as the person typed it.
    pub shown: String,
    /// Path of the runbook in the form that the `overrides` and grants of a policy use.
    pub name: String,
    /// Chosen steps with complete parameters. Empty for a workflow.
    pub steps: Vec<ChosenStep>,
    /// Workflow of a Rundown runbook, if the person named no single step.
    pub workflow: Option<WorkflowSteps>,
}

/// Workflow with the steps that it runs.
#[derive(Debug)]
pub struct WorkflowSteps {
    /// Order of the steps.
    pub workflow: Workflow,
    /// Steps by their id, each with the place of its fence.
    pub steps: BTreeMap<String, (TextPlace, Arc<RegisteredStep>)>,
}

/// One chosen step.
#[derive(Debug)]
pub struct ChosenStep {
    /// Definition of the step.
    pub step: Arc<RegisteredStep>,
    /// Number of the line before the script's first line.
    pub fence_line: usize,
    /// Parameters, with defaults.
    pub params: Params,
}

/// Splits `FILE` or `FILE:STEP`. The file name must end in `.md` or `.mdx`, because this ending separates the file from
/// the step.
fn target(text: &str) -> Result<(&Path, Option<&str>), CommandFailure> {
    let is_file = |text: &str| text.ends_with(".md") || text.ends_with(".mdx");
    if is_file(text) {
        return Ok((Path::new(text), None));
    }
    match text.rsplit_once(':') {
        Some((file, step)) if is_file(file) && !step.is_empty() => Ok((Path::new(file), Some(step))),
        _ => Err(CommandFailure::usage(format!(
            "{} is no runbook: name a file that ends in .md, or one of its steps as FILE.md:STEP; a step of a boundary \
             is run with `countersign propose`",
            PrintableText::text(text).as_str()
        ))),
    }
}

impl Runbook {
    /// Reads and validates the file, chooses the steps, and adds missing parameters.
    ///
    /// # Errors
    /// Returns all errors in the file, an error about an unknown step, or errors in the parameters.
    pub fn read(
        text: &str,
        given: &[String],
        params: Map<String, Value>,
        project: &Project,
    ) -> Result<Self, CommandFailure> {
        let (file, wanted) = target(text)?;
        let shown = file.to_string_lossy().into_owned();
        // All later rules use this real path, so a path with `./`, `..` or a symbolic link cannot avoid a rule about
        // paths.
        let real = project.cwd.join(file).canonicalize().map_err(|error| {
            CommandFailure::usage(format!("can't read {}: {error}", PrintableText::text(&shown).as_str()))
        })?;
        if !real.is_file() {
            return Err(CommandFailure::usage(format!("{} is no file", PrintableText::text(&shown).as_str())));
        }
        let name = project.runbook(&real);
        let FileSteps { steps, workflow } =
            Registry::of_file(&real, name.trim_start_matches('/'), &shown).map_err(|errors| {
                let list = errors.into_iter().map(|e| FileProblem {
                    file: e.file,
                    line: e.line,
                    column: e.column,
                    message: e.message,
                });
                problems(Problems::new(list.collect()))
            })?;
        if let (Some(workflow), None) = (workflow, wanted) {
            if let Some(name) = given.first().or(params.keys().next()) {
                return Err(CommandFailure::usage(format!(
                    "{}: a workflow takes no parameters; give the lists of its loops with --var, or name one step as \
                     FILE:STEP",
                    PrintableText::text(name).as_str()
                )));
            }
            let steps =
                steps.into_iter().map(|(place, step)| (step.definition.reference.step().to_owned(), (place, step)));
            let workflow = WorkflowSteps { workflow, steps: steps.collect() };
            return Ok(Self { shown, name, steps: Vec::new(), workflow: Some(workflow) });
        }
        if steps.is_empty() {
            return Err(CommandFailure::usage(format!(
                "{} contains no step: add the front matter `countersign: 1`, and give a fenced block an id, bash \
                 {{#name}}",
                PrintableText::text(&shown).as_str()
            )));
        }
        let all: Vec<&str> = steps.iter().map(|(_, step)| step.definition.reference.step()).collect();
        if let Some(wanted) = wanted.filter(|wanted| !all.contains(wanted)) {
            return Err(CommandFailure::new(
                Exit::UnknownStep,
                format!(
                    "{} has no step {}; it has {}",
                    PrintableText::text(&shown).as_str(),
                    PrintableText::quoted(wanted).as_str(),
                    all.join(", ")
                ),
            ));
        }
        let steps: Vec<_> = steps
            .iter()
            .filter(|(_, step)| wanted.is_none_or(|wanted| step.definition.reference.step() == wanted))
            .collect();
        unknown_parameters(&steps, given, &params)?;
        let steps =
            steps.into_iter().map(|(place, step)| choose(*place, step, given, &params)).collect::<Result<_, _>>()?;
        Ok(Self { shown, name, steps, workflow: None })
    }
}

/// Rejects a parameter that no chosen step declares. Each chosen step gets only the parameters that it declares.
fn unknown_parameters(
    steps: &[&(TextPlace, Arc<RegisteredStep>)],
    given: &[String],
    params: &Map<String, Value>,
) -> Result<(), CommandFailure> {
    let names = given.iter().filter_map(|given| given.split_once('=').map(|(name, _)| name));
    for name in names.chain(params.keys().map(String::as_str)) {
        if !steps.iter().any(|(_, step)| knows(step, name)) {
            let known: Vec<String> = steps
                .iter()
                .flat_map(|(_, step)| step.definition.params["properties"].as_object())
                .flat_map(|properties| properties.keys().cloned())
                .collect();
            let known =
                if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) };
            return Err(CommandFailure::usage(format!(
                "{}: the step has no such parameter; {}",
                PrintableText::text(name).as_str(),
                PrintableText::text(&known).as_str()
            )));
        }
    }
    Ok(())
}

fn knows(step: &RegisteredStep, name: &str) -> bool {
    step.definition.params["properties"].get(name).is_some()
}

fn choose(
    place: TextPlace,
    step: &Arc<RegisteredStep>,
    given: &[String],
    params: &Map<String, Value>,
) -> Result<ChosenStep, CommandFailure> {
    let mut own: Map<String, Value> = params.clone();
    own.retain(|name, _| knows(step, name));
    for given in given {
        if given.split_once('=').is_some_and(|(name, _)| !knows(step, name)) {
            continue;
        }
        let (name, value) = typed(given, &step.definition.params)?;
        own.insert(name, value);
    }
    check_secrets(&step.definition).map_err(|refusal| CommandFailure::new(Exit::Refused, refusal.detail))?;
    let params = step.schema.complete(Value::Object(own)).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        CommandFailure::usage(format!(
            "{}: {}",
            step.definition.reference,
            PrintableText::text(&errors.join("; ")).as_str()
        ))
    })?;
    let filled = step.filled(params.value()).map_err(|error| {
        CommandFailure::usage(format!("{}: the template can't be filled in: {error}", step.definition.reference))
    })?;
    Ok(ChosenStep { step: Arc::new(filled), fence_line: place.line, params })
}

/// Converts a place in a script to a place in the runbook, `file:line:column`. The column does not change.
pub fn at(shown: &str, fence_line: usize, line: usize, column: usize) -> String {
    format!("{shown}:{}:{column}", fence_line + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_of_run_names_a_runbook_and_optionally_a_step() {
        let read = |text| target(text).map(|(file, step)| (file.to_string_lossy().into_owned(), step));
        assert_eq!(read("a.md").expect("a file"), ("a.md".to_owned(), None));
        assert_eq!(read("a/b.md:x").expect("a step"), ("a/b.md".to_owned(), Some("x")));
        assert_eq!(read("a:b.md").expect("a file"), ("a:b.md".to_owned(), None));
        assert_eq!(read("a:b.md:x").expect("a step"), ("a:b.md".to_owned(), Some("x")));
        for bad in ["", "a", "a:b", "a.md:", ":x", "a.txt", "a.md:x:y"] {
            assert_eq!(read(bad).expect_err(bad).exit, Exit::Usage, "{bad}");
        }
    }
}
