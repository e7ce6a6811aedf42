//! Runs a workflow at a terminal: runs the scripts, asks the person about the other units, and follows the transitions.

use serde_json::{Map, Value, json};

use crate::{
    ChosenStep, LocalRules, LoopLists, NextUnit, RunbookWalk, WorkflowWalk,
    local::{runbook::WorkflowSteps, workflow_walk::CurrentUnit},
};
use client::{
    AnswerButton, CommandFailure, CommandResult, Exit, PrintableText, Terminal, fail_refused,
};
use documents::{ParameterType, joined};
use reading::{Params, UnitScript, WorkflowStep};

/// Maximum number of attempts to read a valid answer. After the last attempt the unit failed.
const TRIES: usize = 3;

/// One run of a workflow.
pub struct WorkflowRun<'a> {
    file: &'a WorkflowSteps,
    lists: &'a LoopLists,
    terminal: &'a Terminal,
}

impl WorkflowRun<'_> {
    /// Checks the parameters of every iteration, then walks through the workflow to its end. The exit code is 0 if the
    /// workflow completes, and otherwise that of the last step, or 1 if that step passed.
    ///
    /// # Errors
    /// Returns an error if a value of a loop does not fit the step, if a step is denied or refused, if nobody can
    /// answer a question, or if the file of a loop has changed.
    pub fn run(
        file: &WorkflowSteps,
        lists: &LoopLists,
        walk: &mut RunbookWalk<'_>,
    ) -> CommandResult {
        let run = WorkflowRun {
            file,
            lists,
            terminal: walk.terminal,
        };
        let values = lists.values(&file.workflow);
        for (step, values) in file.workflow.steps.iter().zip(&values) {
            for script in step.substeps.iter().filter_map(|unit| unit.script.as_ref()) {
                for value in values {
                    run.chosen(step, script, Some(value))?;
                }
            }
        }
        let mut last = Exit::Done;
        let (mut position, mut next) = WorkflowWalk::begin(&file.workflow, values);
        loop {
            let passed = match &next {
                NextUnit::Run(unit) => {
                    run.enter(unit)?;
                    last = run.script(unit, walk)?;
                    // Ctrl-C ends the whole workflow. A step that never ran has no result.
                    if walk.signals.caught().is_some() || last == Exit::Unreachable {
                        return Ok(last);
                    }
                    last.code() == 0
                }
                NextUnit::Ask(unit) => {
                    run.enter(unit)?;
                    let passed = run.ask(unit, walk.rules)?;
                    last = if passed { Exit::Done } else { Exit::Step(1) };
                    passed
                }
                NextUnit::Completed(message) => {
                    run.end("complete", message.as_deref())?;
                    return Ok(Exit::Done);
                }
                NextUnit::Stopped(message) => {
                    run.end("stop", message.as_deref())?;
                    return Ok(if last.code() == 0 {
                        Exit::Step(1)
                    } else {
                        last
                    });
                }
            };
            next = position.next(passed);
        }
    }

    /// Checks the file of the loop, and shows where the workflow is.
    fn enter(&self, current: &CurrentUnit<'_>) -> CommandResult<()> {
        if let (Some(clause), Some(iteration)) = (&current.step.repeat, &current.iteration)
            && iteration.begins
        {
            self.lists.check_unchanged(&clause.source)?;
        }
        let iteration = current.iteration.as_ref();
        if self.terminal.json {
            return self.terminal.object(json!({
                "type": "unit", "unit": current.label, "title": shown(current, &current.unit.title),
                "prompt": shown(current, &current.unit.prompt), "shown": current.unit.shown,
                "runbooks": current.unit.runbooks.iter().map(|(_, path)| path).collect::<Vec<_>>(),
                "iteration": iteration.map(|one| one.number), "value": iteration.map(|one| &one.value),
            }));
        }
        if current.begins_step && !current.step.substeps.is_empty() {
            self.tell(&format!(
                "== {} {}",
                current.step.unit.label, current.step.unit.title
            ));
            self.tell_lines(&current.step.unit.prompt);
        }
        let value = iteration
            .map(|one| format!(" ({} of {}: {})", one.number, one.count, one.value))
            .unwrap_or_default();
        self.tell(&format!(
            "== {} {}{value}",
            current.label,
            shown(current, &current.unit.title)
        ));
        self.tell_lines(&shown(current, &current.unit.prompt));
        for text in &current.unit.shown {
            self.terminal.say("   to read, not run by this program:");
            self.tell_lines(&shown(current, text));
        }
        for (_, runbook) in &current.unit.runbooks {
            self.terminal
                .say(format!("   another runbook, to run by itself: {runbook}"));
        }
        Ok(())
    }

    fn tell(&self, prose: &str) {
        self.terminal.tell(&PrintableText::prose(prose));
    }

    fn tell_lines(&self, text: &str) {
        for line in text.lines() {
            self.tell(&format!("   | {line}"));
        }
    }

    fn script(&self, current: &CurrentUnit<'_>, walk: &mut RunbookWalk<'_>) -> CommandResult {
        let Some(script) = &current.unit.script else {
            return Ok(Exit::Done);
        };
        let value = current
            .iteration
            .as_ref()
            .map(|iteration| iteration.value.as_str());
        walk.step(&self.chosen(current.step, script, value)?)
    }

    /// Returns the step of a script with its parameters.
    fn chosen(
        &self,
        step: &WorkflowStep,
        script: &UnitScript,
        value: Option<&str>,
    ) -> CommandResult<ChosenStep> {
        let Some(found) = self.file.steps.get(&script.id) else {
            return Err(CommandFailure::new(
                Exit::UnknownStep,
                format!("the runbook has no step {}", script.id),
            ));
        };
        let mut params = Map::new();
        let variable = step
            .repeat
            .as_ref()
            .and_then(|repeat| repeat.variable.as_ref());
        if let (Some(variable), Some(value)) = (variable, value) {
            let declared = found.definition.params.key(variable);
            let integer = declared.is_some_and(|one| one.kind == ParameterType::Integer);
            let number = value.parse::<u64>().ok().filter(|_| integer);
            params.insert(
                variable.clone(),
                number.map_or_else(|| Value::from(value), Value::from),
            );
        }
        let complete = found.schema.complete(Value::Object(params));
        let params: Params = complete.map_err(|errors| {
            CommandFailure::usage(format!(
                "{}: the value {} of the loop does not fit: {}",
                found.definition.reference,
                PrintableText::quoted(value.unwrap_or_default()),
                PrintableText::text(&joined(&errors, "; "))
            ))
        })?;
        Ok(ChosenStep {
            step: found.clone(),
            params,
        })
    }

    fn ask(&self, current: &CurrentUnit<'_>, rules: &LocalRules) -> CommandResult<bool> {
        let label = &current.label;
        if let Some(why) = rules.answers().nobody {
            return fail_refused(format!(
                "{label} is a question to a person, but {why}: run the workflow at a terminal"
            ));
        }
        let mut passed = false;
        for _ in 0..TRIES {
            let button = |letter, words: &str| AnswerButton {
                letter,
                words: words.to_owned(),
            };
            let buttons = [button("y", "yes, it passed"), button("n", "no, it failed")];
            let question = format!("did {label} pass? [y/n]");
            let typed =
                self.terminal
                    .choose(&question, &buttons, "run the workflow at a terminal")?;
            match typed.to_ascii_lowercase().as_str() {
                "y" | "yes" => passed = true,
                "n" | "no" => {}
                _ => {
                    self.terminal.say("the typed text is not one of the answers; without an answer the step failed");
                    continue;
                }
            }
            break;
        }
        if self.terminal.json {
            self.terminal
                .object(json!({"type": "answer", "question": label, "answer": if passed { "yes" } else { "no" }}))?;
        }
        Ok(passed)
    }

    fn end(&self, word: &str, message: Option<&str>) -> CommandResult<()> {
        let value = json!({"type": "workflow", "end": word, "message": message});
        let message = message.map(|text| format!(": {text}")).unwrap_or_default();
        self.terminal
            .report(value, format!("== {}{message}", end_words(word)))
    }
}

/// Describes the end of a workflow.
pub fn end_words(word: &str) -> &'static str {
    if word == "complete" {
        "the workflow is complete"
    } else {
        "the workflow has stopped"
    }
}

/// Returns a text for the person, with the value of the loop instead of `{{ variable }}`.
fn shown(current: &CurrentUnit<'_>, text: &str) -> String {
    let variable = current
        .step
        .repeat
        .as_ref()
        .and_then(|clause| clause.variable.as_ref());
    let (Some(variable), Some(iteration)) = (variable, &current.iteration) else {
        return text.to_owned();
    };
    text.replace(&format!("{{{{{variable}}}}}"), &iteration.value)
        .replace(&format!("{{{{ {variable} }}}}"), &iteration.value)
}
