//! The `try` command plays the whole story with a runbook of the user: a boundary, an agent, two approvals, one run and its
//! receipt. The keys, the boundary and its log exist only while the command runs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use crate::{
    DemoReport, DemoSetup,
    cli::demo::{
        story::{self, BUNDLE, DoctorFindings},
        world::OrBroken as _,
    },
    node::rosters,
    steps_of,
};
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, fail_refused, fail_usage,
    outcome_words, value_words::counted,
};
use documents::{Group, GroupName, Outcome, Roster, joined, json as strict};
use reading::RegisteredStep;
use verdict::directory_of;
use workbench::WalkStep;

/// Play the whole story with a step of your own runbook: propose, review, two approvals, run, and verify the receipt
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign try deploy.md                          the first step of the file
  countersign try deploy.md --step restart -p host=web-3
  countersign try deploy.md --keep tried             keep the bundle and the roster in the new directory tried

The command makes a boundary in a temporary directory, keys for an agent and for people that do not exist, and deletes all of \
this at the end. The policy is the policy that `countersign init` writes. The step runs once, as at a boundary: what it can \
reach is what its block declares, without network and secrets. Other runbooks of the directory are left out; scripts and files beside the runbook are copied.

The exit code is that of the run: the code of the step, 126 if the boundary refuses the step, 1 if the receipt can't be \
verified.")]
pub struct Args {
    /// A runbook: a file that ends in .md, .runbook.md or .mdx, or one of its steps as FILE:STEP
    file: PathBuf,
    /// The step to play. The default is the first step of the file
    #[arg(long, value_name = "ID")]
    step: Option<String>,
    /// A parameter. The schema gives its type: text, integer, boolean, or JSON for arrays and objects
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Write the bundle of the run and the roster to this new directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Plays the story.
///
/// # Errors
/// Returns all errors of the runbook, an error about a parameter, or the reason why the boundary refuses the step.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let (file, wanted) = target(args);
    let (step, params, all) = chosen(&file, wanted.as_deref(), &args.param)?;
    if let Some(keep) = &args.keep {
        fs::create_dir(keep).map_err(|error| {
            CommandFailure::usage(format!(
                "can't make {}: {error}; choose an unused name",
                keep.display()
            ))
        })?;
    }
    let mut world = DemoSetup::make(None)?;
    let mut tale = DemoReport::new(terminal);
    let played = play(&file, &mut world, &mut tale, &step, &params);
    let kept = match (&args.keep, &played) {
        (Some(keep), Ok(_)) => keep_bundle(&world, keep).map(|()| Some(keep)),
        _ => Ok(None),
    };
    let log = world.log_tail();
    world.end();
    let outcome = match played {
        Ok(outcome) => outcome,
        Err(mut failure) => {
            if failure.exit == Exit::Refused {
                failure.message += "; `try` has only the policy of `init`, and no network and no secrets: use `countersign run`";
            }
            // The messages of the boundary explain a refusal, for example with the line of the runbook.
            if failure.exit == Exit::Unreachable && !terminal.json {
                terminal.say(format!("the boundary's own log:\n{log}"));
            }
            if let Some(keep) = &args.keep {
                let _ = fs::remove_dir(keep);
            }
            return Err(failure);
        }
    };
    let verified = tale.none_failed();
    tale.part("Result")?;
    tale.note(&format!(
        "{} ended: {}.",
        step.definition.reference,
        outcome_words(&outcome)
    ))?;
    if all > 1 && wanted.is_none() {
        tale.note(&format!(
            "The file has {all} steps. To play another one, add --step ID."
        ))?;
    }
    if let Some(keep) = kept? {
        let (bundle, roster) = (keep.join(BUNDLE), keep.join(ROSTER));
        tale.note(&format!(
            "countersign verify {} --roster {}",
            bundle.display(),
            roster.display()
        ))?;
    }
    if terminal.json {
        let (reference, digest) = (&step.definition.reference, step.digest);
        let told = json!({"step": reference, "digest": digest, "outcome": outcome, "verified": verified, "lines": tale.lines()});
        terminal.object(&told)?;
    }
    Ok(if verified {
        Exit::of_outcome(&outcome)
    } else {
        Exit::CheckSaidNo
    })
}

/// Returns the file, and the step that `--step` or the argument `FILE:STEP` names.
fn target(args: &Args) -> (PathBuf, Option<String>) {
    match args.file.to_str().and_then(|given| given.rsplit_once(':')) {
        Some((file, step)) if args.step.is_none() && !args.file.is_file() => {
            (file.into(), Some(step.to_owned()))
        }
        _ => (args.file.clone(), args.step.clone()),
    }
}

/// Returns the chosen step, its parameters, and the number of all steps.
fn chosen(
    file: &Path,
    wanted: Option<&str>,
    given: &[String],
) -> CommandResult<(Arc<RegisteredStep>, Value, usize)> {
    let printable = PrintableText::file(file);
    let is_runbook = file
        .extension()
        .is_some_and(|end| end == "md" || end == "mdx");
    if !is_runbook || !file.is_file() {
        return fail_usage(format!(
            "{printable} is no runbook: name a file that ends in .md, .runbook.md or .mdx"
        ));
    }
    let all = steps_of(file)?;
    let Some(step) = all
        .iter()
        .find(|step| wanted.is_none_or(|id| step.definition.reference.step() == id))
    else {
        let known = all.iter().map(|step| step.definition.reference.step());
        let message = format!(
            "{printable} has no step {}; it has {}",
            PrintableText::quoted(wanted.unwrap_or_default()),
            joined(known, ", ")
        );
        return Err(CommandFailure::new(Exit::UnknownStep, message));
    };
    let known = |given: &&String| {
        let name = given
            .split_once('=')
            .map_or(given.as_str(), |(name, _)| name);
        step.definition.params.key(name).is_some()
    };
    if let Some(unknown) = given.iter().find(|given| !known(given)) {
        return fail_usage(format!(
            "-p {}: the step has no such parameter",
            PrintableText::text(unknown)
        ));
    }
    let own = WalkStep::new(step, given, &Map::new())?;
    let params = own.choose(None)?.params.value().clone();
    Ok((step.clone(), params, all.len()))
}

fn play(
    file: &Path,
    world: &mut DemoSetup,
    tale: &mut DemoReport<'_>,
    step: &RegisteredStep,
    params: &Value,
) -> CommandResult<Outcome> {
    tale.part("Set up")?;
    story::init(world, tale)?;
    let copied = copy_runbook(file, &world.home().join("runbooks"))?;
    tale.check(true, "the runbook is in the boundary's directory", &copied)?;
    name_groups(world, step)?;
    story::choose_sandbox(world, tale, DoctorFindings::Layers)?;
    // A boundary does not start if its policy does not allow a step, so a failed start counts as a refusal.
    story::serve(world, tale).map_err(|failure| CommandFailure {
        exit: Exit::Refused,
        ..failure
    })?;
    let reason = "the author tries the step with `countersign try`";
    let wish = json!({"step": step.definition.reference, "params": params, "reason": reason});
    let view = story::propose(world, tale, &wish)?;
    story::approve(world, tale, &view)?;
    let (ended, _) = story::watch(world, tale, &view)?;
    let Some(outcome) = ended.outcome.clone() else {
        let why = ended.refusal.as_ref().or(ended.held_up.as_ref());
        let why = why.map_or_else(
            || "more approvers must sign".to_owned(),
            |why| format!("{}: {}", why.code, why.detail),
        );
        return fail_refused(format!("the step did not run: {why}"));
    };
    let receipt = ended
        .receipt
        .as_ref()
        .map(|receipt| receipt.as_str().to_owned())
        .unwrap_or_default();
    tale.check(
        !receipt.is_empty(),
        "the step ran once, its receipt is in the log",
        &receipt,
    )?;
    story::audit(world, tale, &ended)?;
    Ok(outcome)
}

/// Copies the runbook and the files beside it, without other runbooks, into the empty directory of the boundary. Returns the
/// number of files in words.
fn copy_runbook(file: &Path, directory: &Path) -> CommandResult<String> {
    const WHAT: &str = "the runbook can't be copied";
    for sample in fs::read_dir(directory).or_broken(WHAT)? {
        fs::remove_file(sample.or_broken(WHAT)?.path()).or_broken(WHAT)?;
    }
    let above = directory_of(file).to_owned();
    let (mut open, mut files, mut bytes) = (vec![(above, directory.to_owned(), 0)], 0, 0);
    while let Some((from, to, depth)) = open.pop() {
        for entry in fs::read_dir(&from).or_broken(WHAT)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let text = name.to_string_lossy();
            let kind = entry.file_type().or_broken(WHAT)?;
            let is_runbook = text.ends_with(".md") || text.ends_with(".mdx");
            let is_own = path.file_name() == file.file_name() && depth == 0;
            if text.starts_with('.') || SKIPPED.contains(&&*text) || (is_runbook && !is_own) {
                continue;
            }
            if kind.is_dir() && depth < MAX_DEPTH {
                fs::create_dir(to.join(&name)).or_broken(WHAT)?;
                open.push((path, to.join(&name), depth + 1));
            } else if is_own || kind.is_file() {
                bytes += entry.metadata().or_broken(WHAT)?.len();
                files += 1;
                if files > MAX_FILES || bytes > MAX_BYTES {
                    let message = format!(
                        "the directory of the runbook has more than {MAX_FILES} files or {} MiB: move the runbook and its \
                         scripts into a directory of their own",
                        MAX_BYTES >> 20
                    );
                    return fail_usage(message);
                }
                fs::copy(&path, to.join(&name)).or_broken(WHAT)?;
                // A boundary seals no file that other users can write.
                let mode = fs::metadata(to.join(&name))
                    .or_broken(WHAT)?
                    .permissions()
                    .mode();
                fs::set_permissions(
                    to.join(&name),
                    fs::Permissions::from_mode(mode & 0o755 | 0o600),
                )
                .or_broken(WHAT)?;
            }
        }
    }
    Ok(counted(files, "file"))
}

/// Puts the approvers into the groups that the step names.
fn name_groups(world: &DemoSetup, step: &RegisteredStep) -> CommandResult<()> {
    let file = "boundary/roster.d/next.json";
    let bytes = fs::read(world.home().join(file)).or_broken(file)?;
    let mut draft: Roster = strict::parse_as(&bytes, bytes.len()).or_broken(file)?;
    let ops = draft.groups.keys().cloned();
    let groups: BTreeSet<GroupName> = ops.chain(step.definition.approvals.from.clone()).collect();
    for approver in draft.approvers.values_mut() {
        approver.groups = groups.iter().cloned().collect();
    }
    draft.groups = groups
        .into_iter()
        .map(|name| (name, Group { presence: None }))
        .collect();
    story::write(world, file, &rosters::pretty(&draft))
}

fn keep_bundle(world: &DemoSetup, keep: &Path) -> CommandResult<()> {
    let failed = |error: std::io::Error| {
        CommandFailure::usage(format!("{} can't be written: {error}", keep.display()))
    };
    fs::copy(world.root.join(BUNDLE), keep.join(BUNDLE)).map_err(failed)?;
    fs::copy(world.roster(), keep.join(ROSTER)).map_err(failed)?;
    Ok(())
}

/// Name of the file with the roster.
const ROSTER: &str = "roster.json";
/// Names of directories that are not copied, because build tools fill them with many files.
const SKIPPED: [&str; 2] = ["node_modules", "target"];
/// Maximum depth of the copied directories.
const MAX_DEPTH: usize = 4;
/// Maximum number of copied files.
const MAX_FILES: usize = 1_000;
/// Maximum size of the copied files, in bytes.
const MAX_BYTES: u64 = 64 << 20;
