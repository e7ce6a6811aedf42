//! Runbook files for the `registry` command: the registry, its remarks and its missing programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::local::problems::problems;
use crate::node::file_problem::{FileProblem, Problems};
use client::terminal::exit::{CommandFailure, Exit};
use documents::record::extension_names::{OWN_PROGRAMS, Program};
use documents::record::ident::StepRef;
use judgement::registry::Registry;
use judgement::registry::registry_error::RegistryError;
use judgement::registry::runbook_directories::{Locks, RunbookDirectories};
use sandbox::programs::program_lookup::program_path;

/// Reads the runbooks of these directories.
pub(super) fn read_files(dirs: &[PathBuf], locks: Locks) -> Result<Registry, CommandFailure> {
    RunbookDirectories { locks, ..RunbookDirectories::strict(dirs.to_vec(), None) }.load().map_err(|errors| {
        let list = errors.into_iter().map(FileProblem::from).collect();
        CommandFailure { exit: Exit::CheckSaidNo, ..problems(Problems::new(list)) }
    })
}

/// Returns errors or remarks with their places for `--json`.
pub(super) fn places_json(found: &[RegistryError]) -> Vec<Value> {
    let place =
        |one: &RegistryError| json!({"file": one.file, "line": one.line, "column": one.column, "message": one.message});
    found.iter().map(place).collect()
}

pub(super) fn missing_json(registry: &Registry) -> Vec<Value> {
    let missing = missing_programs(registry).into_iter();
    missing.map(|(program, steps)| json!({"program": program, "steps": steps})).collect()
}

pub(super) fn missing_lines(registry: &Registry) -> Vec<String> {
    let line = |(program, steps): (&Program, Vec<&StepRef>)| {
        let steps: Vec<&str> = steps.into_iter().map(StepRef::as_str).collect();
        format!(
            "warning: this host has no program {program}, so a boundary on this host refuses {}: install the program, \
             or remove it from programs=",
            steps.join(", ")
        )
    };
    missing_programs(registry).into_iter().map(line).collect()
}

/// Returns the programs that steps declare and that this host does not have, each with its steps.
fn missing_programs(registry: &Registry) -> BTreeMap<&Program, Vec<&StepRef>> {
    let mut missing: BTreeMap<&Program, Vec<&StepRef>> = BTreeMap::new();
    for step in registry.steps().map(|step| &step.definition) {
        for name in step.programs.iter().flatten() {
            if name.as_str() != OWN_PROGRAMS && program_path(name.as_str()).is_none() {
                missing.entry(name).or_default().push(&step.reference);
            }
        }
    }
    missing
}
