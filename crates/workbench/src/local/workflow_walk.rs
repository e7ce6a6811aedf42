//! Walks through a workflow: which unit follows after each result. This file runs nothing and asks nobody.
//!
//! The file also reads the lists for the loops of a workflow, which a person gives with `--var`.
//!
//! A list is text (`items=a,b`) or a file (`items=file:data.txt`). The file must be inside of the project. Its digest
//! is checked before every iteration, so a loop never continues with changed data.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::Project;
use client::{
    CommandFailure, CommandResult, PrintableText, fail_refused, fail_usage, read_bounded,
};
use documents::{ContentDigest, json as strict};
use reading::{
    Aggregation, FinalAction, LoopClause, LoopSource, MAX_ITERATIONS, UnitLabel, UnitTarget,
    Workflow, WorkflowStep, WorkflowUnit,
};

/// Maximum number of units that one walk visits. Only a workflow whose `GOTO` lines repeat without end reaches the
/// limit.
pub const MAX_VISITS: u32 = 100_000;

/// Position in a workflow, with the counters of its retries, loops and instances.
pub struct WorkflowWalk<'a> {
    workflow: &'a Workflow,
    /// Values of the iterations, for each step.
    values: Vec<Vec<String>>,
    step: usize,
    substep: Option<usize>,
    /// Index of the iteration of the current step, from 0.
    iteration: usize,
    /// Retries of the current unit.
    retries: u32,
    /// Retries of the current step as a whole.
    step_retries: u32,
    /// Number of the instance of the step `{N}`.
    instance: u32,
    /// Number of the instance of the substep `{n}`, for each step.
    substep_instances: Vec<u32>,
    /// Results of the substeps since the step began.
    passed: Vec<bool>,
    visits: u32,
    /// True until the first unit after the step began.
    begins_step: bool,
    begins_iteration: bool,
}

/// What the workflow requires next.
#[derive(Debug, PartialEq)]
pub enum NextUnit<'a> {
    /// Run the script of this unit.
    Run(CurrentUnit<'a>),
    /// Ask the person if this unit passed.
    Ask(CurrentUnit<'a>),
    /// The workflow ended with success, with an optional message.
    Completed(Option<String>),
    /// The workflow ended with failure, with an optional message.
    Stopped(Option<String>),
}

/// Unit to run or to ask about.
#[derive(Debug, PartialEq)]
pub struct CurrentUnit<'a> {
    /// The step of the unit.
    pub step: &'a WorkflowStep,
    /// The unit.
    pub unit: &'a WorkflowUnit,
    /// Label, with the numbers of the instances instead of placeholders.
    pub label: String,
    /// True if the step begins with this unit.
    pub begins_step: bool,
    /// Iteration of the loop around the unit.
    pub iteration: Option<LoopIteration>,
}

/// Iteration of a loop.
#[derive(Debug, PartialEq)]
pub struct LoopIteration {
    /// Number of the iteration, from 1.
    pub number: usize,
    /// Number of all iterations.
    pub count: usize,
    /// Value of the iteration.
    pub value: String,
    /// True if the iteration begins with this unit.
    pub begins: bool,
}

/// Next move in the workflow.
enum Move {
    /// Visit the unit at the current position.
    Visit,
    /// Begin a step, at its first substep or at the given substep.
    Step(usize, Option<usize>),
    /// Go on after the last substep of the current step.
    EndStep,
    Complete(Option<String>),
    Stop(Option<String>),
}

impl<'a> WorkflowWalk<'a> {
    /// Begins a walk at the first step of the file. `values` contains the values of the loop of each step, in the order
    /// of the steps, and nothing for a step without a loop.
    pub fn begin(workflow: &'a Workflow, mut values: Vec<Vec<String>>) -> (Self, NextUnit<'a>) {
        values.resize(workflow.steps.len(), Vec::new());
        let mut walk = Self {
            workflow,
            values,
            step: 0,
            substep: None,
            iteration: 0,
            retries: 0,
            step_retries: 0,
            instance: 1,
            substep_instances: vec![1; workflow.steps.len()],
            passed: Vec::new(),
            visits: 0,
            begins_step: true,
            begins_iteration: true,
        };
        let first = if workflow.steps.is_empty() {
            Move::Complete(None)
        } else {
            Move::Step(0, None)
        };
        let next = walk.settle(first);
        (walk, next)
    }

    /// Returns what follows after the result of the current unit.
    pub fn next(&mut self, passed: bool) -> NextUnit<'a> {
        let unit = self.unit();
        let default = Default::default();
        let transitions = unit.transitions.as_ref().unwrap_or(&default);
        let action = if passed {
            &transitions.pass
        } else {
            &transitions.fail
        };
        if self.retries < action.retries {
            self.retries += 1;
            return self.settle(Move::Visit);
        }
        if self.substep.is_some() {
            self.passed.push(passed);
        }
        let next = self.act(&action.then, self.substep);
        self.settle(next)
    }

    fn current_step(&self) -> &'a WorkflowStep {
        &self.workflow.steps[self.step]
    }

    fn unit(&self) -> &'a WorkflowUnit {
        let step = self.current_step();
        self.substep
            .map_or(&step.unit, |index| &step.substeps[index])
    }

    fn settle(&mut self, mut next: Move) -> NextUnit<'a> {
        loop {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                next = Move::Stop(Some(format!(
                    "the workflow has visited {MAX_VISITS} steps: its GOTO lines have no end"
                )));
            }
            next = match next {
                Move::Visit => return self.visit(),
                Move::Step(step, substep) => self.begin_step(step, substep),
                Move::EndStep => self.end_step(),
                Move::Complete(message) => return NextUnit::Completed(message),
                Move::Stop(message) => return NextUnit::Stopped(message),
            };
        }
    }

    fn begin_step(&mut self, step: usize, substep: Option<usize>) -> Move {
        if step != self.step {
            self.step_retries = 0;
        }
        if step != self.step || substep.is_none() {
            self.passed.clear();
            self.iteration = 0;
            self.begins_step = true;
            self.begins_iteration = true;
        }
        self.step = step;
        self.retries = 0;
        let found = self.current_step();
        self.substep =
            (!found.substeps.is_empty()).then(|| substep.unwrap_or_else(|| first_substep(found)));
        if found.repeat.is_some() && self.values[step].is_empty() {
            Move::EndStep
        } else {
            Move::Visit
        }
    }

    fn visit(&mut self) -> NextUnit<'a> {
        let (step, unit) = (self.current_step(), self.unit());
        let number = |label: &UnitLabel, instance: u32| match label {
            UnitLabel::Dynamic => instance.to_string(),
            label => label.to_string(),
        };
        let mut label = number(&step.unit.label, self.instance);
        if self.substep.is_some() {
            label = format!(
                "{label}.{}",
                number(&unit.label, self.substep_instances[self.step])
            );
        }
        let iteration = step.repeat.as_ref().map(|_| LoopIteration {
            number: self.iteration + 1,
            count: self.values[self.step].len(),
            value: self.values[self.step][self.iteration].clone(),
            begins: self.begins_iteration,
        });
        let current = CurrentUnit {
            step,
            unit,
            label,
            begins_step: self.begins_step,
            iteration,
        };
        self.begins_step = false;
        self.begins_iteration = false;
        if unit.script.is_some() {
            NextUnit::Run(current)
        } else {
            NextUnit::Ask(current)
        }
    }

    /// Goes on after the last substep. A step without transitions passes, because a failed substep stops the workflow
    /// unless the substep says otherwise.
    fn end_step(&mut self) -> Move {
        let Some(transitions) = &self.current_step().unit.transitions else {
            return self.after_step();
        };
        let passed = self.passed.is_empty()
            || match transitions.aggregation {
                Aggregation::AllPass => self.passed.iter().all(|passed| *passed),
                Aggregation::AnyPasses => self.passed.contains(&true),
            };
        let action = if passed {
            &transitions.pass
        } else {
            &transitions.fail
        };
        if self.step_retries < action.retries {
            self.step_retries += 1;
            return Move::Step(self.step, None);
        }
        self.act(&action.then, None)
    }

    /// Goes to the next step with a number. A step with a name is reached only by `GOTO`.
    fn after_step(&self) -> Move {
        let rest = self.workflow.steps.iter().enumerate().skip(self.step + 1);
        let next = rest
            .filter(|(_, step)| !matches!(step.unit.label, UnitLabel::Name(_)))
            .map(|(index, _)| index)
            .next();
        next.map_or_else(|| Move::Complete(None), |step| Move::Step(step, None))
    }

    /// Performs an action of a substep, or of a step if `substep` is `None`.
    fn act(&mut self, action: &FinalAction, substep: Option<usize>) -> Move {
        match action {
            FinalAction::Complete(message) => Move::Complete(message.clone()),
            FinalAction::Stop(message) => Move::Stop(message.clone()),
            FinalAction::Goto(target) => self.goto(target),
            FinalAction::NextInstance(target) => self.next_instance(target.as_ref(), substep),
            FinalAction::Continue => match substep {
                None => self.after_step(),
                Some(index) => match substep_after(self.current_step(), index) {
                    Some(next) => self.substep_at(next),
                    None if self.iteration + 1 < self.values[self.step].len() => {
                        self.iteration += 1;
                        self.begins_iteration = true;
                        self.substep_at(first_substep(self.current_step()))
                    }
                    None => Move::EndStep,
                },
            },
        }
    }

    fn substep_at(&mut self, index: usize) -> Move {
        self.substep = Some(index);
        self.retries = 0;
        Move::Visit
    }

    fn goto(&self, target: &UnitTarget) -> Move {
        let steps = &self.workflow.steps;
        let Some(step) = steps.iter().position(|step| step.unit.label == target.step) else {
            return lost(target);
        };
        let Some(label) = &target.substep else {
            return Move::Step(step, None);
        };
        let substep = steps[step]
            .substeps
            .iter()
            .position(|substep| substep.label == *label);
        substep.map_or_else(|| lost(target), |substep| Move::Step(step, Some(substep)))
    }

    fn next_instance(&mut self, target: Option<&UnitTarget>, substep: Option<usize>) -> Move {
        let own = substep.map(|index| &self.current_step().substeps[index].label);
        let named = match target {
            Some(target) => target.clone(),
            None if own == Some(&UnitLabel::Dynamic) => UnitTarget {
                step: self.current_step().unit.label.clone(),
                substep: Some(UnitLabel::Dynamic),
            },
            None => UnitTarget {
                step: UnitLabel::Dynamic,
                substep: None,
            },
        };
        let next = self.goto(&named);
        if let Move::Step(step, substep) = &next {
            if substep.is_some() {
                self.substep_instances[*step] = self.substep_instances[*step].saturating_add(1);
            } else {
                self.instance = self.instance.saturating_add(1);
                self.substep_instances[*step] = 1;
            }
        }
        next
    }
}

/// Returns true if `CONTINUE` reaches the substep: the substep has no name, or each substep of the step has a name.
/// Only `GOTO` reaches another substep with a name.
fn is_in_sequence(step: &WorkflowStep, at: usize) -> bool {
    let is_named = |one: usize| matches!(step.substeps[one].label, UnitLabel::Name(_));
    !is_named(at) || (0..step.substeps.len()).all(is_named)
}

/// Returns the index of the substep to which `CONTINUE` leads from `index`.
fn substep_after(step: &WorkflowStep, index: usize) -> Option<usize> {
    (index + 1..step.substeps.len()).find(|at| is_in_sequence(step, *at))
}

/// Returns the index of the substep with which a step begins.
fn first_substep(step: &WorkflowStep) -> usize {
    (0..step.substeps.len())
        .find(|at| is_in_sequence(step, *at))
        .unwrap_or(0)
}

/// The reader of the file checks each target, so this is a fault of the program.
fn lost(target: &UnitTarget) -> Move {
    Move::Stop(Some(format!(
        "there is no step {target}: this is a fault of the program"
    )))
}

/// Returns the values of a loop. `items` are the items of the list, which a loop over a range does not need.
pub fn loop_values(clause: &LoopClause, items: &[String]) -> Vec<String> {
    let numbers = |first: u32, last: u32| -> Vec<u32> {
        if first <= last {
            (first..=last).collect()
        } else {
            (last..=first).rev().collect()
        }
    };
    match &clause.source {
        LoopSource::Range { first, last } => {
            numbers(*first, *last).iter().map(u32::to_string).collect()
        }
        LoopSource::List { window: None, .. } => items.to_vec(),
        LoopSource::List {
            window: Some((first, last)),
            ..
        } => {
            let item = |number: u32| {
                items
                    .get(usize::try_from(number).ok()?.checked_sub(1)?)
                    .cloned()
            };
            numbers(*first, *last)
                .into_iter()
                .filter_map(item)
                .collect()
        }
    }
}

/// Maximum size of a file with a list, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;

/// Lists of all loops of one workflow.
pub struct LoopLists {
    lists: BTreeMap<String, LoopList>,
}

struct LoopList {
    items: Vec<String>,
    file: Option<ListFile>,
}

/// File of a list as it was when the workflow began.
struct ListFile {
    /// Path as the person typed it.
    typed: PathBuf,
    /// Path without links.
    real: PathBuf,
    digest: ContentDigest,
}

impl LoopLists {
    /// Reads the lists that the workflow needs. Each text in `given` has the form `NAME=VALUE`.
    ///
    /// # Errors
    /// Returns an error if a list is missing, not needed or given twice, if its file is not inside of the project, or
    /// if a list has more than 10,000 items.
    pub fn read(given: &[String], workflow: &Workflow, project: &Project) -> CommandResult<Self> {
        let needed: Vec<&str> = workflow
            .steps
            .iter()
            .filter_map(|step| match &step.repeat.as_ref()?.source {
                LoopSource::List { name, .. } => Some(name.as_str()),
                LoopSource::Range { .. } => None,
            })
            .collect();
        let mut lists = BTreeMap::new();
        for given in given {
            let wrong = |what: String| {
                CommandFailure::usage(format!("--var {}: {what}", PrintableText::text(given)))
            };
            let (name, value) = given
                .split_once('=')
                .ok_or_else(|| wrong("expected NAME=a,b or NAME=file:PATH".to_owned()))?;
            if !needed.contains(&name) {
                let known = match needed.join(", ") {
                    known if known.is_empty() => "none".to_owned(),
                    known => known,
                };
                return Err(wrong(format!(
                    "the runbook needs no such list; it needs {known}"
                )));
            }
            let list = match value.strip_prefix("file:") {
                Some(path) => {
                    from_file(Path::new(path), project).map_err(|failure| wrong(failure.message))?
                }
                None => LoopList {
                    items: from_text(value).map_err(wrong)?,
                    file: None,
                },
            };
            if list.items.len() > MAX_ITERATIONS as usize {
                return Err(wrong(format!(
                    "the list has more than {MAX_ITERATIONS} items: divide the list"
                )));
            }
            if lists.insert(name.to_owned(), list).is_some() {
                return Err(wrong(
                    "the list is given twice: keep one of the two".to_owned(),
                ));
            }
        }
        match needed.iter().find(|name| !lists.contains_key(**name)) {
            Some(name) => fail_usage(format!(
                "the runbook needs the list {name}: add --var {name}=a,b or --var {name}=file:PATH"
            )),
            None => Ok(Self { lists }),
        }
    }

    /// Returns the values of the loop of each step, and no values for a step without a loop.
    pub fn values(&self, workflow: &Workflow) -> Vec<Vec<String>> {
        let values = workflow.steps.iter().map(|step| {
            step.repeat.as_ref().map_or_else(Vec::new, |clause| {
                let items = match &clause.source {
                    LoopSource::List { name, .. } => {
                        self.lists.get(name).map_or(&[][..], |list| &list.items)
                    }
                    LoopSource::Range { .. } => &[],
                };
                loop_values(clause, items)
            })
        });
        values.collect()
    }

    /// Checks that the file of a list has not changed since the workflow began.
    ///
    /// # Errors
    /// Returns an error if the path leads to another file, or if the content differs.
    pub fn check_unchanged(&self, source: &LoopSource) -> CommandResult<()> {
        let LoopSource::List { name, .. } = source else {
            return Ok(());
        };
        let Some(file) = self.lists.get(name).and_then(|list| list.file.as_ref()) else {
            return Ok(());
        };
        let same_file = file
            .typed
            .canonicalize()
            .is_ok_and(|real| real == file.real);
        let bytes = if same_file {
            read_bounded(&file.real, MAX_LIST_BYTES).ok()
        } else {
            None
        };
        if bytes.is_some_and(|bytes| ContentDigest::of(&bytes) == file.digest) {
            return Ok(());
        }
        fail_refused(format!(
            "the file {} has changed since the workflow began, so the loop over {name} stops: check the file, and run \
                 the rest of the items again",
            PrintableText::file(&file.typed)
        ))
    }
}

fn from_text(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text
        .split(',')
        .filter(|_| !text.is_empty())
        .map(|item| item.trim().to_owned())
        .collect();
    if items.iter().any(String::is_empty) {
        return Err("an item is empty: remove the extra comma".to_owned());
    }
    Ok(items)
}

fn from_file(path: &Path, project: &Project) -> CommandResult<LoopList> {
    let typed = project.cwd.join(path);
    let real = typed
        .canonicalize()
        .map_err(|error| CommandFailure::usage(format!("can't read the file: {error}")))?;
    if !real.starts_with(&project.repo) {
        return fail_usage(format!(
            "the file is outside of the project {}: copy the file into the project",
            project.repo.display()
        ));
    }
    if !real.is_file() {
        return fail_usage("this is not a regular file: name a file");
    }
    let bytes = read_bounded(&real, MAX_LIST_BYTES)?;
    let digest = ContentDigest::of(&bytes);
    let text = String::from_utf8(bytes)
        .map_err(|_| CommandFailure::usage("the file is not UTF-8: save it as UTF-8"))?;
    let items = match real.extension().and_then(|ending| ending.to_str()) {
        Some("json") => match json_value(&text, 1)? {
            Value::Array(values) => values.into_iter().map(item).collect::<Result<_, _>>(),
            _ => Err("the file contains no JSON array: write a list like [\"a\",\"b\"]".to_owned()),
        }
        .map_err(CommandFailure::usage)?,
        Some("jsonl") => {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty());
            let items = lines.map(|(index, line)| {
                item(json_value(line, index + 1)?).map_err(CommandFailure::usage)
            });
            items.collect::<Result<_, _>>()?
        }
        _ => text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    Ok(LoopList {
        items,
        file: Some(ListFile {
            typed,
            real,
            digest,
        }),
    })
}

fn json_value(text: &str, line: usize) -> CommandResult<Value> {
    strict::parse(text.as_bytes(), MAX_LIST_BYTES).map_err(|error| {
        CommandFailure::usage(format!(
            "line {line} of the file is not valid JSON: {error}"
        ))
    })
}

fn item(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(
            "an item of the list is neither text nor a number: write texts and numbers only"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reading::read_workflow;

    /// Walks with these results (`p` and `f`), and returns the labels of the units and the end.
    fn path(text: &str, lists: &[&[&str]], results: &str) -> String {
        let workflow = read_workflow(text).expect("a valid runbook");
        let mut lists = lists.iter();
        let values = workflow.steps.iter().map(|step| {
            let Some(clause) = &step.repeat else {
                return Vec::new();
            };
            let list = if matches!(clause.source, LoopSource::List { .. }) {
                lists.next()
            } else {
                None
            };
            let items: Vec<String> = list
                .into_iter()
                .flat_map(|list| list.iter())
                .map(|item| (*item).to_owned())
                .collect();
            loop_values(clause, &items)
        });
        let (mut walk, mut next) = WorkflowWalk::begin(&workflow, values.collect());
        let mut found = Vec::new();
        let mut results = results.chars();
        loop {
            match next {
                NextUnit::Run(unit) | NextUnit::Ask(unit) => {
                    let value = unit
                        .iteration
                        .map(|one| format!("={}", one.value))
                        .unwrap_or_default();
                    found.push(format!("{}{value}", unit.label));
                    let Some(result) = results.next() else { break };
                    next = walk.next(result == 'p');
                }
                NextUnit::Completed(message) => {
                    found.push(format!(
                        "COMPLETE{}",
                        message.map(|text| format!(" {text}")).unwrap_or_default()
                    ));
                    break;
                }
                NextUnit::Stopped(message) => {
                    found.push(format!(
                        "STOP{}",
                        message.map(|text| format!(" {text}")).unwrap_or_default()
                    ));
                    break;
                }
            }
        }
        found.join(" ")
    }

    #[test]
    fn a_step_continues_after_a_pass_and_stops_after_a_failure() {
        let text = "## 1. A\n## 2. B\n## X\n## 3. C\n";
        assert_eq!(
            path(text, &[], "ppp"),
            "1 2 3 COMPLETE",
            "a named step is not in the sequence"
        );
        assert_eq!(path(text, &[], "pf"), "1 2 STOP");
        assert_eq!(
            path("## X\n- PASS: GOTO 1\n## 1. A\n", &[], "pp"),
            "X 1 COMPLETE",
            "the first step of the file is first"
        );
    }

    #[test]
    fn only_goto_reaches_a_substep_with_a_name() {
        let text = "## 1. A\n\n### 1.1 Look\n- FAIL: GOTO 1.Fix\n\n### 1.Fix\n- PASS: GOTO 1.1\n\n### 1.2 End\n\n## 2. B\n";
        assert_eq!(path(text, &[], "ppp"), "1.1 1.2 2 COMPLETE");
        assert_eq!(path(text, &[], "fpppp"), "1.1 1.Fix 1.1 1.2 2 COMPLETE");
        let last = "## 1. A\n\n### 1.1 Look\n\n### 1.Fix\n\n## 2. B\n- FAIL: GOTO 1.Fix\n\n## X\n\n### X.a\n\n### X.b\n";
        assert_eq!(
            path(last, &[], "pfpp"),
            "1.1 2 1.Fix 2 COMPLETE",
            "no substep follows, so the step ends"
        );
        let only = "## 1. A\n- FAIL: GOTO X\n\n## X\n\n### X.a\n- PASS: GOTO X.b\n\n### X.b\n- PASS: STOP\n";
        assert_eq!(
            path(only, &[], "fpp"),
            "1 X.a X.b STOP",
            "a step in which each substep has a name begins with the first"
        );
        let in_order = "## 1. A\n\n### 1.Look\n\n### 1.Do\n\n## 2. B\n";
        assert_eq!(
            path(in_order, &[], "ppp"),
            "1.Look 1.Do 2 COMPLETE",
            "each substep of the step has a name"
        );
    }

    #[test]
    fn a_unit_is_repeated_as_often_as_its_retry_says() {
        let text = "## 1. A\n- PASS: RETRY 2 CONTINUE\n- FAIL: RETRY 1 GOTO X\n## 2. B\n- FAIL: RETRY\n## X\n- PASS: GOTO 2\n";
        assert_eq!(path(text, &[], "ppp"), "1 1 1 2");
        assert_eq!(path(text, &[], "ffp"), "1 1 X 2");
        assert_eq!(
            path(text, &[], "pf"),
            "1 1 X",
            "passes and failures of one unit count together"
        );
        assert_eq!(
            path(text, &[], "pppff"),
            "1 1 1 2 2 STOP",
            "a new unit begins with no retry"
        );
    }

    #[test]
    fn goto_reaches_steps_substeps_and_names() {
        let text = "## 1. A\n- PASS: GOTO 2.2\n- FAIL: GOTO X\n## 2. B\n### 2.1 C\n### 2.2 D\n- PASS: GOTO 2.Y\n### 2.Y E\n- PASS: GOTO 2\n## X\n- PASS: STOP bad\n";
        assert_eq!(path(text, &[], "pppp"), "1 2.2 2.Y 2.1 2.2");
        assert_eq!(path(text, &[], "fp"), "1 X STOP bad");
    }

    #[test]
    fn a_failed_substep_stops_unless_it_says_otherwise() {
        let text = |own: &str, first: &str| {
            format!("## 1. A\n{own}\n### 1.1 B\n{first}\n### 1.2 C\n{first}\n## 2. D\n")
        };
        assert_eq!(
            path(&text("- FAIL: CONTINUE", ""), &[], "f"),
            "1.1 STOP",
            "the step's transitions are its own"
        );
        let goes_on = "- FAIL: CONTINUE\n";
        assert_eq!(path(&text("", goes_on), &[], "ff"), "1.1 1.2 2");
        for (own, results, expected) in [
            ("- FAIL: COMPLETE", "pf", "1.1 1.2 COMPLETE"),
            ("- FAIL: COMPLETE", "fp", "1.1 1.2 COMPLETE"),
            ("- FAIL: COMPLETE", "pp", "1.1 1.2 2"),
            ("- PASS: COMPLETE", "pf", "1.1 1.2 STOP"),
            (
                "- PASS ANY: COMPLETE\n- FAIL ALL: STOP no",
                "pf",
                "1.1 1.2 COMPLETE",
            ),
            (
                "- PASS ANY: COMPLETE\n- FAIL ALL: STOP no",
                "ff",
                "1.1 1.2 STOP no",
            ),
            ("- FAIL ANY: RETRY 1 COMPLETE", "fppp", "1.1 1.2 1.1 1.2 2"),
            (
                "- FAIL ANY: RETRY 1 COMPLETE",
                "fppf",
                "1.1 1.2 1.1 1.2 COMPLETE",
            ),
        ] {
            assert_eq!(path(&text(own, goes_on), &[], results), expected, "{own}");
        }
    }

    #[test]
    fn dynamic_steps_and_substeps_count_their_instances() {
        let text = "## {N}. A\n### {N}.1 B\n### {N}.2 C\n- PASS: GOTO NEXT\n- FAIL: GOTO X\n## X\n- PASS: GOTO {N}.2\n- FAIL: GOTO NEXT {N}\n";
        assert_eq!(path(text, &[], "ppppfpp"), "1.1 1.2 2.1 2.2 3.1 STOP");
        assert_eq!(path(text, &[], "pppfpp"), "1.1 1.2 2.1 2.2 X 2.2 3.1");
        assert_eq!(path(text, &[], "pff"), "1.1 1.2 X 2.1");
        let text = "## 1. A\n### 1.{n} B\n- PASS: GOTO NEXT\n- FAIL: GOTO X\n## 2. C\n## X\n- PASS: GOTO 1.{n}\n- FAIL: GOTO NEXT 1.{n}\n";
        assert_eq!(path(text, &[], "ppfpfff"), "1.1 1.2 1.3 X 1.3 X 1.4 X");
        let text = "## {N}. A\n### {N}.{n} B\n- PASS: GOTO NEXT\n- FAIL: GOTO NEXT {N}\n";
        assert_eq!(path(text, &[], "ppfp"), "1.1 1.2 1.3 2.1 2.2");
        assert_eq!(
            path("## {N}. A\n- FAIL: GOTO {N}\n", &[], "ffp"),
            "1 1 1 COMPLETE"
        );
    }

    #[test]
    fn a_loop_repeats_the_substeps_for_each_value() {
        let text =
            "## 1. A\n- FOR x IN {{ l }}\n\n### 1.1 B\n### 1.2 C\n- FAIL: CONTINUE\n## 2. D\n";
        assert_eq!(
            path(text, &[&["a", "b"]], "ppppp"),
            "1.1=a 1.2=a 1.1=b 1.2=b 2 COMPLETE"
        );
        assert_eq!(path(text, &[&["a", "b"]], "ppf"), "1.1=a 1.2=a 1.1=b STOP");
        assert_eq!(
            path(text, &[&["a", "b"]], "pfpp"),
            "1.1=a 1.2=a 1.1=b 1.2=b 2"
        );
        assert_eq!(
            path(text, &[&[]], "p"),
            "2 COMPLETE",
            "a loop over an empty list runs nothing"
        );
        let text = "## 1. A\n- FOR 3 TO 2\n- FAIL: GOTO 2\n\n### 1.1 B\n- FAIL: CONTINUE\n## 2. D\n- PASS: GOTO 1\n";
        assert_eq!(
            path(text, &[], "fppp"),
            "1.1=3 1.1=2 2 1.1=3 1.1=2",
            "a GOTO begins the loop at its start"
        );
        let text = "## 1. A\n- FOR x IN 3 TO 2 OF {{ l }}\n### 1.1 B\n";
        assert_eq!(
            path(text, &[&["a", "b", "c"]], "pp"),
            "1.1=c 1.1=b COMPLETE"
        );
        assert_eq!(
            path(text, &[&["a", "b"]], "p"),
            "1.1=b COMPLETE",
            "the list ends before the range"
        );
    }

    #[test]
    fn a_workflow_without_an_end_is_stopped() {
        let results = "p".repeat(MAX_VISITS as usize + 1);
        for text in [
            "## X\n- PASS: GOTO X\n",
            "## 1. A\n- PASS: GOTO 2\n## 2. B\n- PASS: GOTO 1\n",
        ] {
            let end = path(text, &[], &results);
            assert!(
                end.ends_with("its GOTO lines have no end"),
                "{}",
                &end[end.len() - 100..]
            );
        }
        let empty = "## 1. A\n- FOR x IN {{ l }}\n- PASS: GOTO 2\n### 1.1 B\n## 2. C\n- FOR y IN {{ m }}\n- PASS: GOTO 1\n### 2.1 D\n";
        assert!(
            path(empty, &[&[], &[]], "").contains("no end"),
            "two empty loops"
        );
    }

    #[test]
    fn only_the_first_unit_begins_its_step_and_its_iteration() {
        let workflow = read_workflow("## 1. A\n- FOR 2\n### 1.1 B\n- FAIL: RETRY\n### 1.2 C\n")
            .expect("a runbook");
        let values = workflow
            .steps
            .iter()
            .map(|step| loop_values(step.repeat.as_ref().expect("a loop"), &[]))
            .collect();
        let (mut walk, mut next) = WorkflowWalk::begin(&workflow, values);
        let mut found = Vec::new();
        for passed in [false, true, true, true, true] {
            if let NextUnit::Ask(unit) = &next {
                let iteration = unit.iteration.as_ref().expect("an iteration");
                found.push((
                    unit.begins_step,
                    iteration.begins,
                    iteration.number,
                    iteration.count,
                ));
            }
            next = walk.next(passed);
        }
        let expected = [
            (true, true, 1, 2),
            (false, false, 1, 2),
            (false, false, 1, 2),
            (false, true, 2, 2),
            (false, false, 2, 2),
        ];
        assert_eq!(found, expected);
        assert_eq!(next, NextUnit::Completed(None));
    }
}
