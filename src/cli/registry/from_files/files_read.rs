//! Runbook files for the `registry` command: the registry, its remarks and its missing programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use client::{CommandFailure, Exit};
use reading::{Locks, Registry, RunbookDirectories};
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

pub(super) fn missing_json(registry: &Registry) -> Vec<Value> {
    let missing = missing_programs(registry).into_iter();
    missing
        .map(|(program, steps)| json!({"program": program, "steps": steps}))
        .collect()
}
