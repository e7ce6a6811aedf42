//! Advice for the author of a step.

use std::collections::BTreeSet;

use crate::{ScriptAnswer, uses_network};
use documents::{DeclaredNetwork, Program, joined};
use reading::{AppliedRule, Decided, RegisteredStep, is_read};

/// Returns what the author of a step should add, so that a run with a list of programs finds what the script needs.
/// `secrets` is true if no configuration says which secrets the step gets.
pub fn advice(registered: &RegisteredStep, answer: &ScriptAnswer, secrets: bool) -> Vec<String> {
    let step = &registered.definition;
    let mut messages = Vec::new();
    let needed = step.needed_secrets();
    if secrets && !needed.is_empty() {
        let names = needed.join(", ");
        messages.push(format!(
            "the block needs {names}: configure them for the step in [secrets] of countersign.toml"
        ));
    }
    let builds_in_place = |all: &Vec<Program>| all.iter().any(|one| one.as_str().contains('*'));
    if step.interpreter == "go" && !step.programs.as_ref().is_some_and(builds_in_place) {
        messages.push(
            "go builds a program in the work directory and starts it: if policy has a list of programs, write \
             programs=\"{work}/**\" into the braces of the block"
                .to_owned(),
        );
    }
    let is_unknown = |one: &&Decided| {
        matches!(
            one.rule,
            AppliedRule::OnlyListed | AppliedRule::Unknown { .. }
        )
    };
    let unknown: BTreeSet<String> = answer
        .decision
        .decided
        .iter()
        .filter(is_unknown)
        .filter_map(|one| one.place)
        .map(|at| answer.words_of(at))
        .collect();
    if !unknown.is_empty() {
        messages.push(format!(
            "the programs at {} are known only when the script runs: name them with `programs=` in the block",
            joined(unknown, ", ")
        ));
    }
    if !is_read(&step.interpreter) && step.interpreter != "zsh" {
        messages.push(format!(
            "policy can't read a script of {}: name the programs that it starts with `programs=` in the block",
            step.interpreter
        ));
    }
    let declares = !matches!(step.sandbox.network, None | Some(DeclaredNetwork::None));
    let named = answer.decision.decided.iter().map(|one| one.what.as_str());
    let reaching: BTreeSet<&str> = named
        .filter(|name| !declares && uses_network(name))
        .collect();
    if !reaching.is_empty() {
        messages.push(format!(
            "{} can need the network, which the block does not declare: `--write-policy FILE` writes what to declare",
                        joined(reaching, ", ")
        ));
    }
    messages
        .into_iter()
        .map(|message| format!("{}: {message}", step.reference))
        .collect()
}
