//! Runbook that the person named. The file is read only once, so that the policy decides about the same bytes that run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::{
    Project,
    local::walk_session::{StepOutputs, add_outputs, may_come_from},
};
use client::{CommandFailure, CommandResult, Exit, PrintableText, fail_usage, typed};
use documents::{Format, Parameter, first_of, joined};
use reading::{
    FileProblem, FileSteps, Params, RegisteredStep, Registry, TextPlace, Workflow, script_remarks,
};

/// Chosen steps of a runbook, in the order of the file.
pub struct Runbook {
    /// Path of the file as the person typed it.
    pub shown: String,
    /// Path of the file without links.
    pub real: PathBuf,
    /// Path of the runbook in the form that the `overrides` and grants of a policy use.
    pub name: String,
    /// Chosen steps. Empty for a workflow.
    pub steps: Vec<WalkStep>,
    /// Workflow of a Rundown runbook, if the person named no single step.
    pub workflow: Option<WorkflowSteps>,
    /// Remarks about the file.
    pub remarks: Vec<FileProblem>,
}

/// Workflow with the steps that it runs.
pub struct WorkflowSteps {
    /// Order of the steps.
    pub workflow: Workflow,
    /// Steps by their id.
    pub steps: BTreeMap<String, Arc<RegisteredStep>>,
}

/// A step of a walk, before its turn.
pub struct WalkStep {
    /// Definition of the step.
    pub step: Arc<RegisteredStep>,
    /// Parameters that the person gave for this step.
    own: Map<String, Value>,
}

/// One chosen step.
pub struct ChosenStep {
    /// Definition of the step.
    pub step: Arc<RegisteredStep>,
    /// Parameters, with defaults.
    pub params: Params,
}

/// Splits `FILE` or `FILE:STEP`. The file name must end in `.md` or `.mdx`, because this ending separates the file from
/// the step.
fn target(text: &str) -> CommandResult<(&Path, Option<&str>)> {
    let is_file = |text: &str| text.ends_with(".md") || text.ends_with(".mdx");
    if is_file(text) {
        return Ok((Path::new(text), None));
    }
    match text.rsplit_once(':') {
        Some((file, step)) if is_file(file) && !step.is_empty() => {
            Ok((Path::new(file), Some(step)))
        }
        _ if Path::new(text).is_dir() => fail_usage(in_directory(text)),
        _ => fail_usage(format!(
            "{} is no runbook: name a file that ends in .md, .runbook.md or .mdx, or one of its steps as FILE.md:STEP; a \
             step of a boundary is run with `countersign propose`",
            PrintableText::text(text)
        )),
    }
}

/// Returns the message about a directory, with the files in it that can be runbooks.
fn in_directory(text: &str) -> String {
    let shown = PrintableText::text(text);
    let entries = std::fs::read_dir(text)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<String> = entries
        .filter(|path| is_runbook_name(path))
        .map(|path| path.display().to_string())
        .collect();
    files.sort();
    if files.is_empty() {
        return format!(
            "{shown} is a directory without a file that ends in .md, .runbook.md or .mdx: name a runbook, or one of its \
             steps as FILE.md:STEP"
        );
    }
    let files = PrintableText::text(&first_of(&files, MAX_NAMED));
    format!("{shown} is a directory: name one of its files: {files}")
}

fn is_runbook_name(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    !name.starts_with('.') && (name.ends_with(".md") || name.ends_with(".mdx")) && path.is_file()
}

/// Maximum number of files in a message about a directory.
const MAX_NAMED: usize = 5;

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
    ) -> CommandResult<Self> {
        let (file, wanted) = target(text)?;
        let shown = file.to_string_lossy().into_owned();
        // All later rules use this real path, so a path with `./`, `..` or a symbolic link cannot avoid a rule about
        // paths.
        let real = project.cwd.join(file).canonicalize();
        let real = real.map_err(CommandFailure::unable("read", file))?;
        if !real.is_file() {
            return fail_usage(format!("{} is no file", PrintableText::text(&shown)));
        }
        let name = project.runbook(&real)?;
        let FileSteps {
            steps,
            workflow,
            remarks,
        } = Registry::of_file(&real, name.trim_start_matches('/'), &shown)?;
        if let (Some(workflow), None) = (workflow, wanted) {
            if let Some(name) = given.first().or(params.keys().next()) {
                return fail_usage(format!(
                    "{}: a workflow takes no parameters; give the lists of its loops with --var, or name one step as \
                     FILE:STEP",
                    PrintableText::text(name)
                ));
            }
            let steps = steps
                .into_iter()
                .map(|step| (step.definition.reference.step().to_owned(), step));
            let workflow = WorkflowSteps {
                workflow,
                steps: steps.collect(),
            };
            let steps = Vec::new();
            return Ok(Self {
                shown,
                real,
                name,
                steps,
                workflow: Some(workflow),
                remarks,
            });
        }
        if steps.is_empty() {
            return fail_usage(format!(
                "{} contains no step: {}",
                PrintableText::text(&shown),
                how_to_write_a_step(&shown)
            ));
        }
        let all: Vec<&str> = steps
            .iter()
            .map(|step| step.definition.reference.step())
            .collect();
        if let Some(wanted) = wanted.filter(|wanted| !all.contains(wanted)) {
            return Err(no_step(&shown, wanted, &all));
        }
        let steps: Vec<_> = steps
            .iter()
            .filter(|step| wanted.is_none_or(|wanted| step.definition.reference.step() == wanted))
            .collect();
        unknown_parameters(&steps, given, &params)?;
        let steps = steps
            .into_iter()
            .map(|step| WalkStep::new(step, given, &params))
            .collect::<Result<Vec<_>, _>>()?;

        let of_step = || steps.iter().flat_map(|one| script_remarks(&one.step));
        let remarks = match wanted {
            Some(_) => short_remark(&shown, &remarks)
                .into_iter()
                .chain(of_step())
                .collect(),
            None => remarks,
        };
        Ok(Self {
            shown,
            real,
            name,
            steps,
            workflow: None,
            remarks,
        })
    }
}

/// Returns one remark instead of the remarks about all blocks, for a person who runs one of the blocks.
fn short_remark(file: &str, remarks: &[FileProblem]) -> Vec<FileProblem> {
    let message = format!(
        "{} about this file: `countersign registry check FILE` shows them",
        remarks.len()
    );
    let short = FileProblem::whole(file, message);
    remarks.first().map(|_| short).into_iter().collect()
}

fn no_step(shown: &str, wanted: &str, all: &[&str]) -> CommandFailure {
    let (shown, wanted) = (PrintableText::text(shown), PrintableText::quoted(wanted));
    let message = format!("{shown} has no step {wanted}; it has {}", all.join(", "));
    CommandFailure::new(Exit::UnknownStep, message)
}

impl Runbook {
    /// Leaves out the steps before a step.
    ///
    /// # Errors
    /// Returns an error about an unknown step, or about a workflow.
    pub fn begin_at(&mut self, id: &str) -> CommandResult<()> {
        if self.workflow.is_some() {
            let message =
                "a workflow begins at its first step: name one step as FILE:STEP instead of --from";
            return fail_usage(message);
        }
        let all: Vec<&str> = self
            .steps
            .iter()
            .map(|one| one.step.definition.reference.step())
            .collect();
        let at = all
            .iter()
            .position(|step| *step == id)
            .ok_or_else(|| no_step(&self.shown, id, &all))?;
        self.steps.drain(..at);
        Ok(())
    }

    /// Checks the parameters of all steps before the first step runs.
    ///
    /// # Errors
    /// Returns an error about the first missing or wrong parameter.
    pub fn check_beforehand(&self) -> CommandResult<()> {
        self.steps
            .iter()
            .enumerate()
            .try_for_each(|(at, step)| step.check_beforehand(&self.steps[..at]))
    }

    /// Returns true if a step begins with the variables and in the directory of the step before, as in the program for
    /// which the runbook was written. In Rundown and in runnable fences, only files remain.
    pub fn carries_state(&self) -> bool {
        self.workflow.is_none()
            && self
                .steps
                .iter()
                .all(|one| one.step.definition.format != Format::Runnable)
    }
}

/// Returns what a person must write in a file of this name, so that the file contains a step.
pub fn how_to_write_a_step(file: &str) -> &'static str {
    if file.ends_with(".mdx") {
        "add a <Command id=\"...\" command=\"...\" />"
    } else if file.ends_with(".runbook.md") {
        "write a ```bash block below a heading ## 1. Title"
    } else {
        "add the front matter `countersign: 1`, and give a fenced block an id, bash {#name}; or begin a block with \
         ```runnable bash"
    }
}

/// Rejects a parameter that no chosen step declares. Each chosen step gets only the parameters that it declares.
fn unknown_parameters(
    steps: &[&Arc<RegisteredStep>],
    given: &[String],
    params: &Map<String, Value>,
) -> CommandResult<()> {
    let names = given
        .iter()
        .filter_map(|given| given.split_once('=').map(|(name, _)| name));
    for name in names.chain(params.keys().map(String::as_str)) {
        if !steps.iter().any(|step| knows(step, name)) {
            let known = steps.iter().flat_map(|step| step.definition.params.keys());
            let mut known = joined(known.map(|(name, _)| name), ", ");
            if known.is_empty() {
                known = "none".to_owned();
            }
            return fail_usage(format!(
                "{}: the step has no such parameter; it takes {}",
                PrintableText::text(name),
                PrintableText::text(&known)
            ));
        }
    }
    Ok(())
}

fn knows(step: &RegisteredStep, name: &str) -> bool {
    step.definition.params.key(name).is_some()
}

impl WalkStep {
    /// Takes the parameters of a step from those that the person gave for the whole walk.
    ///
    /// # Errors
    /// Returns an error if a given value does not have the type of its parameter.
    pub fn new(
        step: &Arc<RegisteredStep>,
        given: &[String],
        params: &Map<String, Value>,
    ) -> CommandResult<Self> {
        let mut own: Map<String, Value> = params.clone();
        own.retain(|name, _| knows(step, name));
        for given in given {
            if given
                .split_once('=')
                .is_some_and(|(name, _)| !knows(step, name))
            {
                continue;
            }
            let (name, value) = typed(given, &step.definition.params)?;
            own.insert(name, value);
        }
        Ok(Self {
            step: step.clone(),
            own,
        })
    }

    /// Returns the parameters that the person gave for this step.
    pub fn given(&self) -> Value {
        Value::Object(self.own.clone())
    }

    /// Checks the parameters before the first step runs, unless an earlier step may write a missing parameter as an
    /// output.
    fn check_beforehand(&self, earlier: &[Self]) -> CommandResult<()> {
        let may_follow = |name: &str| {
            earlier
                .iter()
                .any(|earlier| may_come_from(&earlier.step, name))
        };
        if self.missing(&self.own).any(may_follow) {
            return Ok(());
        }
        self.choose(None).map(drop)
    }

    /// Returns the required parameters that have no value after the steps with these outputs.
    ///
    /// # Errors
    /// Returns an error if an output does not have the type of its parameter.
    pub fn missing_after(&self, outputs: &StepOutputs) -> CommandResult<Vec<String>> {
        let mut own = self.own.clone();
        add_outputs(&self.step, outputs, &mut own)?;
        Ok(self.missing(&own).map(str::to_owned).collect())
    }

    /// Returns the required parameters that have no value.
    fn missing<'a>(&'a self, own: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let all = &self.step.definition.params;
        let lacks_value = move |(name, one): &(&String, &Parameter)| {
            all.requires(name) && one.default.is_none() && !own.contains_key(*name)
        };
        all.keys()
            .filter(lacks_value)
            .map(|(name, _)| name.as_str())
    }

    /// Returns the step with its parameters and its filled template. In a walk, the outputs of earlier steps are
    /// parameters too.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing or does not fit.
    pub fn choose(&self, outputs: Option<&StepOutputs>) -> CommandResult<ChosenStep> {
        let (step, mut own) = (&self.step, self.own.clone());
        let reference = &step.definition.reference;
        if let Some(outputs) = outputs {
            add_outputs(step, outputs, &mut own)?;
        }
        let missing: Vec<&str> = self.missing(&own).collect();
        let params = step.schema.complete(Value::Object(own.clone())).map_err(|errors| {
                        let given = missing.iter().map(|name| format!("-p {name}=..."));
            let advice = match (outputs, joined(given, " ")) {
                (_, given) if given.is_empty() => String::new(),
                (Some(_), given) => {
                    format!("; no earlier step wrote it as an output to $RUNBOOK_OUTPUT: give the value with {given}")
                }
                (None, given) => format!("; write {given}"),
            };
            CommandFailure::usage(format!(
                "{reference}: {}{advice}",
                PrintableText::text(&joined(&errors, "; "))
            ))
        })?;
        let filled = step.filled(params.value()).map_err(|error| {
            CommandFailure::usage(format!(
                "{reference}: the template can't be filled in: {error}"
            ))
        })?;
        Ok(ChosenStep {
            step: Arc::new(filled),
            params,
        })
    }
}

impl ChosenStep {
    /// Returns the place of the step as `file:line`.
    pub fn place(&self) -> String {
        let place = self.step.place.as_ref();
        place.map_or_else(String::new, |at| format!("{}:{}", at.file, at.place.line))
    }

    /// Returns a place in the script as `file:line:column`.
    pub fn place_in_script(&self, at: TextPlace) -> String {
        let Some(place) = &self.step.place else {
            return at.to_string();
        };
        let at = place.in_script(at);
        let used_by = at
            .used_by
            .map(|used_by| format!(" (used by {used_by})"))
            .unwrap_or_default();
        format!("{}:{}{used_by}", at.file, at.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_of_run_names_a_runbook_and_optionally_a_step() {
        let read =
            |text| target(text).map(|(file, step)| (file.to_string_lossy().into_owned(), step));
        assert_eq!(read("a.md").expect("a file"), ("a.md".to_owned(), None));
        assert_eq!(
            read("a/b.md:x").expect("a step"),
            ("a/b.md".to_owned(), Some("x"))
        );
        assert_eq!(read("a:b.md").expect("a file"), ("a:b.md".to_owned(), None));
        assert_eq!(
            read("a:b.md:x").expect("a step"),
            ("a:b.md".to_owned(), Some("x"))
        );
        for bad in ["", "a", "a:b", "a.md:", ":x", "a.txt", "a.md:x:y"] {
            assert_eq!(read(bad).expect_err(bad).exit, Exit::Usage, "{bad}");
        }
    }
}
