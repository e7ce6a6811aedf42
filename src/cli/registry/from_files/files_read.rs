//! Runbook files for the `registry` command: the registry, its remarks and its missing programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use client::{CommandFailure, Exit};
use reading::{Locks, Registry, RegistryError, RunbookDirectories};
use workbench::{missing_programs, problems};

/// Reads the runbooks of these directories.
pub(crate) fn read_files(dirs: &[PathBuf], locks: Locks) -> Result<Registry, CommandFailure> {
    RunbookDirectories {
        locks,
        ..RunbookDirectories::strict(dirs.to_vec(), None)
    }
    .load()
    .map_err(|errors| CommandFailure {
        exit: Exit::CheckSaidNo,
        ..problems(errors)
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
