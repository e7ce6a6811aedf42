//! The `registry check` command reports everything about the files of runbook directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::configured::ConfigArgs;
use crate::cli::registry::from_files::files_read::{missing_json, missing_lines, places_json};
use crate::node::secret_sources;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use client::terminal::streams::Terminal;
use documents::record::ident::StepRef;
use judgement::registry::Registry;
use judgement::registry::lock_file::{LOCK_FILE, LockFile};
use judgement::registry::runbook_directories::{InvalidFiles, Locks, RunbookDirectories};

pub(super) fn run(dirs: &[PathBuf], config: Option<&Path>, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let config = ConfigArgs { config: config.map(Path::to_owned) };
    let permits = config.config.is_some().then(|| config.load()).transpose()?;
    let permits = permits.map(|config| secret_sources::permits(&config.secrets));
    let (checked, errors) = match RunbookDirectories::strict(dirs.to_vec(), None).load() {
        Ok(registry) => (Some(registry), Vec::new()),
        Err(errors) => (None, errors),
    };
    // If a file has an error, the remarks and the programs of the other files are still reported.
    let sound_files = checked.or_else(|| of_sound_files(dirs));
    let lacking: Vec<(&StepRef, String)> = match (&permits, &sound_files) {
        (Some(permits), Some(files)) => {
            let steps = files.steps().map(|step| &step.definition);
            steps.filter_map(|step| Some((&step.reference, permits.objection(step)?))).collect()
        }
        _ => Vec::new(),
    };
    let locks: Vec<(&Path, LockState)> = dirs.iter().map(|dir| (dir.as_path(), lock_state(dir))).collect();
    let exit = if errors.is_empty() { Exit::Done } else { Exit::CheckSaidNo };
    if terminal.json {
        let locks: Vec<Value> = locks.iter().map(|(dir, state)| json!({"dir": dir, "lock": state.word()})).collect();
        let (remarks, missing) = sound_files
            .as_ref()
            .map_or_else(Default::default, |files| (places_json(files.remarks()), missing_json(files)));
        terminal.object(&json!({
            "sound": errors.is_empty(), "steps": sound_files.as_ref().map_or(0, |files| files.steps().len()),
            "errors": places_json(&errors), "remarks": remarks, "missing_programs": missing, "locks": locks,
            "missing_secrets": lacking.iter().map(|(step, why)| json!({"step": step, "message": why})).collect::<Vec<_>>(),
        }))?;
        return Ok(exit);
    }
    let mut lines: Vec<String> = errors.iter().map(|error| format!("error: {error}")).collect();
    if let Some(files) = &sound_files {
        lines.extend(files.remarks().iter().map(|remark| format!("remark: {remark}")));
        lines.extend(missing_lines(files));
    }
    lines.extend(lacking.iter().map(|(step, why)| format!("warning: {step}: {why}")));
    lines.extend(locks.iter().map(|(dir, state)| state.line(dir)));
    lines.push(match (errors.len(), &sound_files) {
        (0, Some(files)) if files.steps().len() == 1 => "sound: 1 step".to_owned(),
        (0, files) => format!("sound: {} steps", files.as_ref().map_or(0, |files| files.steps().len())),
        (1, _) => "1 error".to_owned(),
        (count, _) => format!("{count} errors"),
    });
    for line in lines {
        terminal.line(PrintableText::text(&line).as_str())?;
    }
    Ok(exit)
}

/// Reads the files without errors. Returns `None` if a path can't be read at all.
fn of_sound_files(dirs: &[PathBuf]) -> Option<Registry> {
    let (invalid, locks) = (InvalidFiles::Skipped, Locks::Ignored);
    RunbookDirectories { invalid, locks, ..RunbookDirectories::strict(dirs.to_vec(), None) }.load().ok()
}

/// The lock of one directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockState {
    /// The directory has no lock, so a boundary seals every sound step.
    None,
    Agrees,
    Differs,
    /// The lock or a path of the directory can't be read. An error says why.
    Unreadable,
}

impl LockState {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Agrees => "agrees",
            Self::Differs => "differs",
            Self::Unreadable => "unreadable",
        }
    }

    fn line(self, dir: &Path) -> String {
        let lock = dir.join(LOCK_FILE);
        let lock = lock.display();
        match self {
            Self::None => format!(
                "no lock: {} has no {LOCK_FILE}, so a boundary seals every sound step; `countersign registry lock` \
                 writes a lock",
                dir.display()
            ),
            Self::Agrees => format!("lock: {lock} agrees"),
            Self::Differs => format!("lock: {lock} differs"),
            Self::Unreadable => format!("lock: {lock} can't be compared"),
        }
    }
}

fn lock_state(dir: &Path) -> LockState {
    match LockFile::read(dir, None) {
        Ok(None) => LockState::None,
        Err(_) => LockState::Unreadable,
        Ok(Some(lock)) => match of_sound_files(&[dir.to_owned()]) {
            None => LockState::Unreadable,
            Some(files) => {
                let steps = files.steps().map(|step| (step.definition.reference.clone(), step.digest));
                let agrees = lock.objections(&steps.collect::<BTreeMap<_, _>>()).is_empty();
                if agrees { LockState::Agrees } else { LockState::Differs }
            }
        },
    }
}
