//! Checks the numbers of the steps and the targets of `GOTO`.

use crate::{
    FinalAction, TextPlace, UnitLabel, UnitTarget, Workflow, WorkflowStep, WorkflowUnit, YamlFlaw,
    noted, refuse, registry::rundown::transition::newer,
};
use documents::joined;

/// Adds the flaws of the whole workflow.
pub fn check(workflow: &Workflow, flaws: &mut Vec<YamlFlaw>) {
    if workflow.steps.is_empty() && flaws.is_empty() {
        let start = TextPlace::START;
        refuse(
            flaws,
            start,
            "the runbook has no step: write an H2 heading, for example ## 1. Build",
        );
    }
    check_numbers(workflow, flaws);
    for step in &workflow.steps {
        check_loop(step, flaws);
        let units = std::iter::once(&step.unit).chain(&step.substeps);
        for (index, unit) in units.enumerate() {
            let Some(transitions) = &unit.transitions else {
                continue;
            };
            for action in [&transitions.pass, &transitions.fail] {
                let substep = (index > 0).then_some(unit);
                let checked = check_action(workflow, step, substep, &action.then);
                noted(checked, action.place, flaws);
            }
        }
    }
}

fn check_numbers(workflow: &Workflow, flaws: &mut Vec<YamlFlaw>) {
    let units: Vec<&WorkflowUnit> = workflow.steps.iter().map(|step| &step.unit).collect();
    let mut refuse = |unit: &WorkflowUnit, message: String| refuse(flaws, unit.place, message);
    let dynamic: Vec<_> = units
        .iter()
        .filter(|unit| unit.label == UnitLabel::Dynamic)
        .collect();
    if let Some(second) = dynamic.get(1) {
        refuse(
            second,
            "a runbook can have only one step {N}: give the step a name".to_owned(),
        );
    }
    let numbered = units
        .iter()
        .find(|unit| matches!(unit.label, UnitLabel::Number(_)));
    if let (Some(first), Some(_)) = (dynamic.first(), numbered) {
        refuse(
            first,
            "a runbook can't have numbered steps and a step {N}: write numbers, or only {N} and named steps".to_owned(),
        );
    }
    sequence(units.iter().copied(), "step", &mut refuse);
    for step in &workflow.steps {
        sequence(&step.substeps, "substep", &mut refuse);
    }
    for (index, unit) in units.iter().enumerate() {
        if matches!(unit.label, UnitLabel::Name(_))
            && let Some(first) = units[..index]
                .iter()
                .find(|other| other.label == unit.label)
        {
            let message = format!(
                "the step {} is already in line {}: write another name",
                unit.label, first.place.line
            );
            refuse(unit, message);
        }
    }
}

/// Checks that the numbers are 1, 2, 3 and so on. Only the first wrong number is reported.
fn sequence<'a>(
    units: impl IntoIterator<Item = &'a WorkflowUnit>,
    what: &str,
    refuse: &mut impl FnMut(&WorkflowUnit, String),
) {
    let mut expected = 1;
    for unit in units {
        let UnitLabel::Number(number) = unit.label else {
            continue;
        };
        if number != expected {
            return refuse(
                unit,
                format!(
                    "the {what} has the number {number}, but {expected} follows here: write {expected}"
                ),
            );
        }
        expected += 1;
    }
}

fn check_loop(step: &WorkflowStep, flaws: &mut Vec<YamlFlaw>) {
    let Some(repeat) = &step.repeat else { return };
    let message = if step.unit.label == UnitLabel::Dynamic {
        "a step {N} can't have FOR too: give the step a number or a name"
    } else if step
        .substeps
        .iter()
        .any(|substep| substep.label == UnitLabel::Dynamic)
    {
        "a step with FOR can't have a substep {n}: write numbers"
    } else if step.substeps.is_empty() {
        "FOR repeats the substeps of a step, but the step has none: move its content to a substep, ### 1.1 Title"
    } else {
        return;
    };
    refuse(flaws, repeat.place, message);
}

/// Checks the target of an action. `substep` is the substep with the action, or `None` for an action of the step.
fn check_action(
    workflow: &Workflow,
    step: &WorkflowStep,
    substep: Option<&WorkflowUnit>,
    action: &FinalAction,
) -> Result<(), String> {
    let is_dynamic = step.unit.label == UnitLabel::Dynamic
        || substep.is_some_and(|substep| substep.label == UnitLabel::Dynamic);
    match action {
        FinalAction::Continue | FinalAction::Complete(_) | FinalAction::Stop(_) => Ok(()),
        FinalAction::NextInstance(None) if is_dynamic => Ok(()),
        FinalAction::NextInstance(None) => {
            Err("GOTO NEXT needs a step {N} or a substep {n} around it: write CONTINUE, or GOTO and the name of a step"
                .to_owned())
        }
        FinalAction::NextInstance(Some(target)) => {
            if target.substep.as_ref().unwrap_or(&target.step) != &UnitLabel::Dynamic {
                return Err(format!(
                    "GOTO NEXT {target} names no dynamic step: write GOTO NEXT {{N}}, or a substep {{n}}"
                ));
            }
            exists(workflow, target, "GOTO NEXT")
        }
        FinalAction::Goto(target) => {
            exists(workflow, target, "GOTO")?;
            let own = substep.map(|substep| &substep.label);
            let is_named = matches!(target.step, UnitLabel::Name(_) | UnitLabel::Dynamic);
            if !is_named && target.step == step.unit.label && target.substep.as_ref() == own {
                return Err(format!("GOTO {target} repeats the same step without end: write RETRY and a number"));
            }
            Ok(())
        }
    }
}

fn exists(workflow: &Workflow, target: &UnitTarget, word: &str) -> Result<(), String> {
    let Some(step) = workflow
        .steps
        .iter()
        .find(|step| step.unit.label == target.step)
    else {
        return Err(format!(
            "{word} {target}: there is no step {}; write one of {}",
            target.step,
            joined(workflow.steps.iter().map(|step| &step.unit.label), ", ")
        ));
    };
    let Some(substep) = &target.substep else {
        return Ok(());
    };
    if step.substeps.iter().any(|other| other.label == *substep) {
        return Ok(());
    }
    let labels = step
        .substeps
        .iter()
        .map(|other| format!("{}.{}", target.step, other.label.substep_text()));
    let known = if step.substeps.is_empty() {
        "it has no substeps".to_owned()
    } else {
        format!("write one of {}", joined(labels, ", "))
    };
    Err(format!(
        "{word} {target}: the step {} has no such substep; {known}",
        target.step
    ))
}

/// Returns a message if the key of a front matter belongs to a newer version of Rundown.
pub fn newer_key(name: &str) -> Option<String> {
    ["inputs", "required", "outputs"]
        .iter()
        .any(|key| name.eq_ignore_ascii_case(key))
        .then(|| {
            newer(
                &format!("`{name}` in the front matter"),
                "remove the key, and give lists with --var",
            )
        })
}
