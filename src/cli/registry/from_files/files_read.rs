//! Runbook files for the `registry` command: the registry, its remarks and its missing programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use client::{CommandFailure, Exit};
use reading::{FileProblem, Locks, Problems, Registry, RegistryError, RunbookDirectories};
use workbench::{missing_programs, problems};

/// Reads the runbooks of these directories.
pub(crate) fn read_files(dirs: &[PathBuf], locks: Locks) -> Result<Registry, CommandFailure> {
    RunbookDirectories {
        locks,
        ..RunbookDirectories::strict(dirs.to_vec(), None)
    }
    .load()
    .map_err(|errors| {
        let list = errors.into_iter().map(FileProblem::from).collect();
        CommandFailure {
            exit: Exit::CheckSaidNo,
            ..problems(Problems::new(list))
        }
    })
}

/// Returns errors or remarks with their places for `--json`.
pub(super) fn places_json(found: &[RegistryError]) -> Vec<Value> {
    let place = |one: &RegistryError| json!({"file": one.file, "line": one.line, "column": one.column, "message": one.message});
    found.iter().map(place).collect()
}

pub(super) fn missing_json(registry: &Registry) -> Vec<Value> {
    let missing = missing_programs(registry).into_iter();
    missing
        .map(|(program, steps)| json!({"program": program, "steps": steps}))
        .collect()
}
