//! Runbook files for the `registry` command: the registry.

use std::path::PathBuf;

use client::{CommandFailure, Exit};
use reading::{Locks, Registry, RunbookDirectories};
use workbench::problems;

/// Reads the runbooks of these directories.
pub fn read_files(dirs: &[PathBuf], locks: Locks) -> Result<Registry, CommandFailure> {
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
