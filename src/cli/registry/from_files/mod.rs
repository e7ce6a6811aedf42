//! The part of the `registry` command that reads runbook files. Only the whole program has this part.
pub mod check;
mod diff;
mod lock;
mod policy_draft;

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::{Value, json};

use crate::read_files;
use client::{
    CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, Terminal, fail_usage, print_list,
    print_step, rules,
};
use documents::{SessionUse, StepRef};
use reading::{Locks, Pattern, nearest};
use sandbox::is_carried;

/// Commands that read runbook files.
#[derive(clap::Subcommand)]
pub enum FilesCommand {
    /// Write the lock of each directory, so that a boundary seals only these steps
    ///
    /// The file DIR/countersign.lock contains the digest of each step. An earlier lock is replaced. A boundary refuses
    /// to seal a directory whose steps differ from its lock.
    Lock,
    Check(check::Args),
    /// Compare the files with the seal of the running boundary; the exit code is 0 only if they are the same
    ///
    /// Needs a token that may see every step. For each changed step, names the changed fields of its definition. Locks
    /// are not checked.
    Diff {
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Locks, checks or compares the steps of files.
///
/// # Errors
/// Returns all errors in the files, or the reason why the boundary did not answer.
pub fn run(
    command: &FilesCommand,
    dirs: &[PathBuf],
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    match command {
        FilesCommand::Check(_) if !dirs.is_empty() => {
            fail_usage("write the directory without --dir: `countersign registry check DIR`")
        }
        FilesCommand::Check(args) => check::run(args, terminal),
        _ if dirs.is_empty() => {
            fail_usage("name the directory with the runbooks, for example --dir runbooks")
        }
        FilesCommand::Lock => lock::run(dirs, terminal),
        FilesCommand::Diff { key } => {
            let files = read_files(dirs, Locks::Ignored)?;
            diff::run(&files, &global.client(key)?, terminal)
        }
    }
}

/// Lists the steps in the files.
///
/// # Errors
/// Returns all errors in the files.
pub fn list(dirs: &[PathBuf], pattern: Option<&Pattern>, terminal: &Terminal) -> CommandResult {
    let registry = &read_files(dirs, Locks::Checked)?;
    let is_wanted =
        |reference: &StepRef| pattern.is_none_or(|pattern| pattern.matches(reference.as_str()));
    let steps = registry
        .steps()
        .filter(|step| is_wanted(&step.definition.reference));
    if terminal.json {
        let steps: Vec<Value> = steps
            .map(
                |step| json!({"ref": step.definition.reference, "digest": step.digest, "title": step.definition.title}),
            )
            .collect();
        terminal.object(json!({"registry_root": registry.root(), "steps": steps}))?;
        return Ok(Exit::Done);
    }
    terminal.say(format!("registry root {}", registry.root()));
    let rows = steps.map(|step| {
        let of_step = std::slice::from_ref(&step.definition.approvals);
        [
            step.definition.reference.to_string(),
            rules(of_step),
            step.definition.title.clone(),
            step.digest.to_string(),
            // Only a running boundary knows whether this host can run the steps, so the column is left out for files.
            String::new(),
        ]
    });
    print_list(rows.collect(), terminal)
}

/// Prints the whole definition of a step in the files.
///
/// # Errors
/// Returns all errors in the files, or an error if no file contains the step.
pub fn show(dirs: &[PathBuf], step: &StepRef, terminal: &Terminal) -> CommandResult {
    let registry = read_files(dirs, Locks::Checked)?;
    let Some(found) = registry.get(step) else {
        return Err(CommandFailure::new(
            Exit::UnknownStep,
            unknown_step(
                step,
                registry
                    .steps()
                    .map(|step| step.definition.reference.as_str()),
            ),
        ));
    };
    let definition = serde_json::to_value(&found.definition).map_err(CommandFailure::usage)?;
    // Policy may name further variables.
    let names = registry
        .session_names()
        .remove(step.path())
        .filter(|_| found.definition.session != SessionUse::None);
    let carried = |names: &BTreeSet<String>| -> Vec<_> {
        names
            .iter()
            .filter(|name| is_carried(name.as_bytes()))
            .cloned()
            .collect()
    };
    let rest = names.map_or_else(
        || json!({}),
        |names| json!({"session_variables": carried(&names)}),
    );
    print_step(&found.digest.to_string(), &definition, &rest, terminal)
}

fn unknown_step<'a>(step: &StepRef, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(step.as_str(), &known.collect::<Vec<_>>()) {
        Some(near) => format!("no step {step} is in these runbooks; did you mean {near}?"),
        None => format!("no step {step} is in these runbooks; see `countersign registry list`"),
    }
}
