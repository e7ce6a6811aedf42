//! The `registry check` command reports everything about runbook files: errors, remarks, and what policy says.
//!
//! The file also reads the registry of runbook files for all commands of `registry`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    Config, ConfigArgs,
    cli::registry::from_files::policy_draft::{self, LISTED},
    node::{file_refusals, rosters},
};
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, fail_usage, now, read_version,
    write_new,
};
use documents::StepRef;
use reading::{FileProblem, LOCK_FILE, LockFile, Locks, Policy, Registry, RunbookDirectories};
use workbench::{Project, RunbookCheck, missing_programs, of_sound_files, to_json};

/// Check runbooks; the exit code is 1 for an error, a lock that differs, or a step that the given policy refuses
///
/// Reports every error, every remark, the declared programs that this host does not have, and the lock of each directory. A
/// directory without a lock is sound. With --policy, reports for each step what policy asks or refuses at a boundary,
/// what a list of programs needs, and for which access to the host `serve` and `seal` would refuse the step. With --config,
/// the policy, the roster, the limits and the secrets of this boundary are read. A line says what was not checked.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign registry check runbooks
  countersign registry check runbooks --policy boundary/policy.yaml
  countersign registry check runbooks --config countersign.toml    # and the roster, the limits and the secrets
  countersign registry check runbooks/service.md --policy boundary/policy.yaml --json
  countersign registry check ../handbook --write-policy draft.yaml    # a policy for runbooks of other systems")]
pub struct Args {
    /// Directories of runbooks, or one runbook, whose directory then counts as the directory of runbooks
    #[arg(value_name = "FILE|DIR", required_unless_present = "dirs")]
    paths: Vec<PathBuf>,
    /// Also report what this policy asks or refuses, and why a boundary would not seal a step. A refused step makes the exit
    /// code 1
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Write a policy with one override for each runbook to this new file. Each line is a comment until a person decides
    #[arg(long, value_name = "FILE")]
    write_policy: Option<PathBuf>,
    /// The boundary's countersign.toml, or its directory: compare its policy (or that of --policy), limits, secrets and
    /// roster: the draft of the next version, or else the newest signed version
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The boundary's roster (`countersign roster show --json`) or a draft, in place of the roster of --config
    #[arg(long, value_name = "FILE", requires = "policy")]
    roster: Option<PathBuf>,
    /// The directory of the runbooks, as under `runbooks` of a boundary: overrides are compared with the path of a runbook
    /// below this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let file = args.paths.iter().find(|path| path.is_file());
    if let Some(file) = file {
        check_name(file, args.paths.len())?;
    }
    let config = ConfigArgs {
        config: args.config.clone(),
    };
    let config = config.config.is_some().then(|| config.load()).transpose()?;
    let root = args.root.as_deref();
    if let Some(root) = root.filter(|root| !root.is_dir()) {
        return fail_usage(format!(
            "--root {}: name a directory that exists",
            root.display()
        ));
    }
    let has_locks = file.is_none() && root.is_none();
    let locks = if has_locks {
        Locks::Checked
    } else {
        Locks::Ignored
    };
    let mut checked = RunbookCheck::read(&args.paths, root, locks);
    let of_boundary = args
        .policy
        .as_deref()
        .or(config.as_ref().map(|config| &*config.policy));
    let policy = policy_of(args, of_boundary)?;
    if let Some(policy) = &policy {
        checked.judge(policy, config.is_none());
    }
    let compared = policy.as_ref().filter(|_| of_boundary.is_some());
    let lacking = compare(args, &mut checked, compared, config.as_ref())?;
    // The policy of `--write-policy` only leads to advice, so its decisions about scripts are not reported.
    if of_boundary.is_none() {
        checked.scripts.clear();
    }
    let RunbookCheck {
        errors,
        sound_files,
        ..
    } = &checked;
    let steps = || sound_files.iter().flat_map(Registry::steps);
    let checked_dirs = args.paths.iter().filter(|_| has_locks);
    let locks: Vec<(&Path, &str)> = checked_dirs
        .map(|dir| (dir.as_path(), lock_state(dir)))
        .collect();
    if let (Some(path), Some(files)) = (&args.write_policy, sound_files) {
        write_new(path, policy_draft::text(files)?.as_bytes(), terminal)?;
    }
    let is_sound = errors.is_empty() && lacking.is_empty();
    let exit = if is_sound && !checked.is_refused() {
        Exit::Done
    } else {
        Exit::CheckSaidNo
    };
    if terminal.json {
        let locks: Vec<Value> = locks
            .iter()
            .map(|(dir, state)| json!({"dir": dir, "lock": state}))
            .collect();
        let (remarks, missing) = sound_files.as_ref().map_or_else(Default::default, |files| {
            let missing = missing_programs(files).into_iter();
            let missing =
                missing.map(|(program, steps)| json!({"program": program, "steps": steps}));
            (files.remarks(), missing.collect::<Vec<_>>())
        });
        let scripts: Vec<Value> = checked.scripts.iter().map(to_json).collect();
        terminal.object(json!({
            "sound": is_sound, "steps": steps().count(),
            "errors": errors, "remarks": remarks, "missing_programs": missing, "locks": locks,
            "missing_secrets": lacking.iter().map(|(step, why)| json!({"step": step, "message": why})).collect::<Vec<_>>(),
            "scripts": scripts, "advice": checked.advice, "not_checked": checked.not_checked,
        }))?;
        return Ok(exit);
    }
    let mut lines = checked.lines();
    lines.extend(
        lacking
            .iter()
            .map(|(step, why)| format!("error: {step}: {why}")),
    );
    lines.extend(
        checked
            .advice
            .iter()
            .map(|advice| format!("advice: {advice}")),
    );
    lines.extend(locks.iter().map(|(dir, state)| lock_line(dir, state)));
    for line in lines {
        terminal.line(PrintableText::message(&line))?;
    }
    terminal.put(checked.policy_tables())?;
    if let Some(line) = checked.not_checked_line() {
        terminal.line(&line)?;
    }
    terminal.line(checked.verdict(lacking.len()))?;
    Ok(exit)
}

/// Compares the files with policy, roster and configuration. Adds to the errors everything for which `doctor`, `serve`
/// and `seal` refuse these files. Returns the steps whose secret the configuration does not give, each with the reason.
fn compare(
    args: &Args,
    checked: &mut RunbookCheck,
    policy: Option<&Policy>,
    config: Option<&Config>,
) -> CommandResult<Vec<(StepRef, String)>> {
    let Some(policy) = policy else {
        let lacking = |config| {
            checked
                .sound_files
                .as_ref()
                .map(|files| file_refusals::lacking_secrets(files, config))
        };
        return Ok(config.and_then(lacking).unwrap_or_default());
    };
    let roster = match (&args.roster, config) {
        (Some(path), _) => Some((path.clone(), read_version(path)?.1)),
        (None, Some(config)) => {
            let newest = rosters::newest_drafted(config, policy)?;
            Some((config.rosters.clone(), newest))
        }
        (None, None) => None,
    };
    let Some(files) = &checked.sound_files else {
        return Ok(Vec::new());
    };
    let now = now();
    let tables = roster.as_ref().map(|(_, roster)| roster);
    let found = file_refusals::find(files, policy, tables, config, now);
    let file = roster.as_ref();
    let file = file.map_or_else(String::new, |(path, _)| path.display().to_string());
    let whole = |message| FileProblem::whole(&file, message);
    checked.errors.extend(found.steps);
    checked
        .errors
        .extend(found.roster.into_iter().chain(found.quorums).map(whole));
    checked.note_not_checked(roster.is_some(), config.is_some());
    Ok(found.secrets)
}

/// Refuses a file that is no runbook, and a file that is given together with other paths.
fn check_name(file: &Path, paths: usize) -> CommandResult<()> {
    let shown = file.display();
    if !file
        .extension()
        .is_some_and(|ending| ending == "md" || ending == "mdx")
    {
        return fail_usage(format!(
            "{shown} is no runbook: `countersign policy explain {shown}` shows what a script would run"
        ));
    }
    if paths > 1 {
        return fail_usage(format!("{shown} is a file: name one file, or directories"));
    }
    Ok(())
}

/// Returns the policy that judges the steps, if an option asks for one.
fn policy_of(args: &Args, of_boundary: Option<&Path>) -> CommandResult<Option<Policy>> {
    match (of_boundary, &args.write_policy) {
        (Some(file), _) => Ok(Some(Project::here()?.policy(Some(file))?.policy)),
        (None, Some(_)) => Policy::load(LISTED)
            .map(Some)
            .map_err(|errors| policy_draft::broken(&errors)),
        (None, None) => Ok(None),
    }
}

/// Returns the state of the lock of a directory: `none`, `agrees`, `differs` or `unreadable`. If a lock or a path of
/// the directory can't be read, an error of the check says why.
fn lock_state(dir: &Path) -> &'static str {
    let lock = match LockFile::read(dir, None) {
        // Without a lock, a boundary seals every sound step.
        Ok(None) => return "none",
        Err(_) => return "unreadable",
        Ok(Some(lock)) => lock,
    };
    let Some(files) = of_sound_files(&[dir.to_owned()], None) else {
        return "unreadable";
    };
    let steps = files
        .steps()
        .map(|step| (step.definition.reference.clone(), step.digest));
    if lock
        .objections(&steps.collect::<BTreeMap<_, _>>())
        .is_empty()
    {
        "agrees"
    } else {
        "differs"
    }
}

fn lock_line(dir: &Path, state: &str) -> String {
    let lock = dir.join(LOCK_FILE);
    match state {
        "none" => format!(
            "no lock: {} has no {LOCK_FILE}, so a boundary seals every sound step; `countersign registry lock` writes a lock",
            dir.display()
        ),
        "unreadable" => format!("lock: {} can't be compared", lock.display()),
        state => format!("lock: {} {state}", lock.display()),
    }
}

/// Reads the runbooks of these directories.
pub fn read_files(dirs: &[PathBuf], locks: Locks) -> CommandResult<Registry> {
    RunbookDirectories {
        locks,
        ..RunbookDirectories::strict(dirs.to_vec(), None)
    }
    .load()
    .map_err(|errors| CommandFailure {
        exit: Exit::CheckSaidNo,
        ..errors.into()
    })
}
