//! Errors of a shell script that no run could avoid: text that the parser can't read, and variables that no parameter gives.
//!
//! A policy denies a script that the parser can't read. So a registry of files refuses the script, and its author learns it
//! before a proposer does. Steps from a store are not checked, because a step that was sealed stays in force.

use crate::{
    ReadLimit, ReadScript, Shell, TemplateFlaw, nearest, registry::placeholders::advice_about,
};
use documents::{StepDefinition, parameter_variable};

/// Returns the errors of a script. `sample` is the script that the parser reads: a template has a value in each place.
/// Returns no error for a script of another language.
pub fn script_flaws(step: &StepDefinition, sample: Option<&str>) -> Vec<TemplateFlaw> {
    // The reader of the file reports an empty script.
    let Some(shell) = Shell::of(&step.interpreter).filter(|_| !step.source.trim().is_empty())
    else {
        return Vec::new();
    };
    let mut flaws = unknown_variables(step);
    let found = sample.map(|text| {
        ReadScript::new(shell, text, ReadLimit::Step).and_then(|script| script.found())
    });
    if let Some(Err(not)) = found {
        let advice = sample
            .and_then(|text| advice_about(text, not.place.line))
            .map(|advice| format!(" ({advice})"));
        let advice = advice.unwrap_or_default();
        let message = format!(
            "the parser can't read the script, so every policy denies it: {}{advice}",
            not.message
        );
        flaws.push(TemplateFlaw {
            offset: 0,
            place: not.place,
            message,
        });
    }
    flaws
}

/// Returns an error for each `$PARAM_NAME` that is no parameter of the step. A name that the script also writes without
/// `$` may be set there, and `${PARAM_NAME-}` says that the variable may be missing.
fn unknown_variables(step: &StepDefinition) -> Vec<TemplateFlaw> {
    let source = step.source.as_str();
    let keys = step.params.keys();
    let known: Vec<String> = keys.map(|(name, _)| parameter_variable(name)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let (mut flaws, mut set) = (Vec::new(), Vec::new());
    for (at, _) in source.match_indices("PARAM_") {
        let before = &source[..at];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = source[at..]
            .find(|c| !is_name(c))
            .unwrap_or(source.len() - at);
        let (name, after) = source[at..].split_at(length);
        let is_comment = before
            .rsplit('\n')
            .next()
            .is_some_and(|line| line.trim_start().starts_with('#'));
        if before.ends_with(is_name) || is_comment || known.contains(&name) {
            continue;
        }
        let is_optional = ['-', '=', '+', '?']
            .iter()
            .any(|c| after.trim_start_matches(':').starts_with(*c));
        match (before.ends_with('$'), before.ends_with("${")) {
            (true, _) => {}
            (_, true) if !is_optional => {}
            _ => {
                set.push(name);
                continue;
            }
        }
        let hint = nearest(name, &known)
            .map(|near| format!(" (did you mean ${near}?)"))
            .unwrap_or_default();
        let message = format!(
            "no parameter gives ${name}{hint}: declare the parameter, or write ${{{name}-}} if it may be missing"
        );
        flaws.push((name, TemplateFlaw::new(source, at, message)));
    }
    flaws
        .into_iter()
        .filter(|(name, _)| !set.contains(name))
        .map(|(_, flaw)| flaw)
        .collect()
}
