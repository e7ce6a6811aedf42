//! The runbook that a person named, read once.
//!
//! What is decided and what runs are the bytes read here: a file that changes afterwards changes nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::home::parameters::typed;
use crate::local::problems::problems;
use crate::local::project::Project;
use crate::node::problem::{Problem, Problems};
use crate::registry::parameters::Params;
use crate::registry::{RegisteredStep, Registry};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;
use crate::yaml::Place;

/// The steps that are to run, in their order.
#[derive(Debug)]
pub struct Runbook {
    /// The file as the person named it.
    pub shown: String,
    /// What overrides of policy know it by.
    pub name: String,
    /// Each with its parameters, complete.
    pub steps: Vec<Chosen>,
}

/// One step that is to run.
#[derive(Debug)]
pub struct Chosen {
    /// The step.
    pub step: Arc<RegisteredStep>,
    /// The line of the file before the first of its script.
    pub fence_line: usize,
    /// Its parameters, defaults filled in.
    pub params: Params,
}

/// `FILE` or `FILE:STEP`. A file's name ends as those of runbooks do, so that there is one way to read it.
fn target(text: &str) -> Result<(&Path, Option<&str>), Failure> {
    let is_file = |text: &str| text.ends_with(".md") || text.ends_with(".mdx");
    if is_file(text) {
        return Ok((Path::new(text), None));
    }
    match text.rsplit_once(':') {
        Some((file, step)) if is_file(file) && !step.is_empty() => Ok((Path::new(file), Some(step))),
        _ => Err(Failure::usage(format!(
            "{} is no runbook: name a file that ends in .md, or one of its steps as FILE.md:STEP; a step of a boundary \
             is run with `countersign propose`",
            Shown::text(text).as_str()
        ))),
    }
}

impl Runbook {
    /// Reads and validates the file, chooses the steps, completes and validates their parameters.
    ///
    /// # Errors
    /// Every error of the file; an unknown step; parameters that don't fit.
    pub fn read(text: &str, given: &[String], params: Map<String, Value>, project: &Project) -> Result<Self, Failure> {
        let (file, wanted) = target(text)?;
        let shown = file.to_string_lossy().into_owned();
        // Links are followed once, here: neither `./`, `..` nor a link escapes a rule for a path.
        let real = project
            .cwd
            .join(file)
            .canonicalize()
            .map_err(|error| Failure::usage(format!("can't read {}: {error}", Shown::text(&shown).as_str())))?;
        if !real.is_file() {
            return Err(Failure::usage(format!("{} is no file", Shown::text(&shown).as_str())));
        }
        let name = project.runbook(&real);
        let steps = Registry::of_file(&real, name.trim_start_matches('/'), &shown).map_err(|errors| {
            let list = errors.into_iter().map(|e| Problem {
                file: e.file,
                line: e.line,
                column: e.column,
                message: e.message,
            });
            problems(Problems::new(list.collect()))
        })?;
        if steps.is_empty() {
            return Err(Failure::usage(format!(
                "{} holds no step: give it the front matter `countersign: 1` and a fenced block an id, bash {{#name}}",
                Shown::text(&shown).as_str()
            )));
        }
        let all: Vec<&str> = steps.iter().map(|(_, step)| step.definition.reference.step()).collect();
        if let Some(wanted) = wanted.filter(|wanted| !all.contains(wanted)) {
            return Err(Failure::new(
                Exit::UnknownStep,
                format!(
                    "{} has no step {}; it has {}",
                    Shown::text(&shown).as_str(),
                    Shown::quoted(wanted).as_str(),
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
        Ok(Self { shown, name, steps })
    }
}

/// A name that no chosen step knows is wrong usage; one that only some know goes to those.
fn unknown_parameters(
    steps: &[&(Place, Arc<RegisteredStep>)],
    given: &[String],
    params: &Map<String, Value>,
) -> Result<(), Failure> {
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
            return Err(Failure::usage(format!(
                "{}: the step has no such parameter; {}",
                Shown::text(name).as_str(),
                Shown::text(&known).as_str()
            )));
        }
    }
    Ok(())
}

fn knows(step: &RegisteredStep, name: &str) -> bool {
    step.definition.params["properties"].get(name).is_some()
}

fn choose(
    place: Place,
    step: &Arc<RegisteredStep>,
    given: &[String],
    params: &Map<String, Value>,
) -> Result<Chosen, Failure> {
    let mut own: Map<String, Value> = params.clone();
    own.retain(|name, _| knows(step, name));
    for given in given {
        if given.split_once('=').is_some_and(|(name, _)| !knows(step, name)) {
            continue;
        }
        let (name, value) = typed(given, &step.definition.params)?;
        own.insert(name, value);
    }
    let params = step.schema.complete(Value::Object(own)).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(format!("{}: {}", step.definition.reference, Shown::text(&errors.join("; ")).as_str()))
    })?;
    Ok(Chosen { step: step.clone(), fence_line: place.line, params })
}

/// Where a place in a script stands in the file, as `file:line:column`; the column is that of the script's line.
pub fn at(shown: &str, fence_line: usize, line: usize, column: usize) -> String {
    format!("{shown}:{}:{column}", fence_line + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_runbook_with_an_optional_step() {
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
