//! The `registry lock` command writes the lock of runbook directories.

use std::path::PathBuf;

use serde_json::json;

use crate::read_files;
use client::{CommandFailure, CommandResult, Exit, PrintableText, Terminal, value_words::counted};
use reading::{LOCK_FILE, LockFile, Locks};

pub fn run(dirs: &[PathBuf], terminal: &Terminal) -> CommandResult {
    if dirs.len() > 1 {
        // A step that is in two directories is an error only if both are read together.
        read_files(dirs, Locks::Ignored)?;
    }
    let mut locks = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let registry = read_files(std::slice::from_ref(dir), Locks::Ignored)?;
        let steps = registry
            .steps()
            .map(|step| (step.definition.reference.clone(), step.digest));
        locks.push((dir, registry.steps().len(), LockFile::of(steps)));
    }
    // Every directory is sound, so the first lock is written only if the others can be made too.
    let mut written = Vec::with_capacity(locks.len());
    for (dir, count, lock) in locks {
        let path = dir.join(LOCK_FILE);
        lock.write(dir).map_err(|error| {
            CommandFailure::usage(format!(
                "the lock {} can't be written ({error}): make the directory writable",
                path.display()
            ))
        })?;
        written.push(json!({"file": path, "steps": count}));
        if !terminal.json {
            let steps = counted(count, "step");
            terminal.line(format!("wrote {}: {steps}", PrintableText::file(&path)))?;
        }
    }
    if terminal.json {
        terminal.object(json!({ "locks": written }))?;
    }
    Ok(Exit::Done)
}
