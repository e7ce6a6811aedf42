//! The `registry` command lists the steps of a boundary or of files, and checks files.
mod check;
mod diff;
mod files_read;
mod import;
mod import_policy;
mod lock;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::boundary::view::{RegistryView, StepView};
use crate::cli::global::GlobalOptions;
use crate::cli::registry::files_read::{missing_json, missing_lines, places_json, read_files};
use crate::home::keys::KeyArgs;
use crate::record::ident::StepRef;
use crate::record::step_definition::Approvals;
use crate::registry::Registry;
use crate::registry::runbook_directories::Locks;
use crate::remote::client::Client;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::screen::Screen;
use crate::terminal::streams::Terminal;
use crate::terminal::table::aligned;
use crate::yaml::nearest;

/// List and show steps, as sealed by the boundary or as written in files, and check the files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry list --dir runbooks      # what is in these files, with every error
  countersign registry show service:restart
  countersign registry check --dir runbooks     # errors, remarks, missing programs and the lock
  countersign registry lock --dir runbooks      # write runbooks/countersign.lock
  countersign registry diff --dir runbooks      # what a new seal would change
  countersign registry import ../handbook       # which runbooks of other systems run, and their policy")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Read these runbooks instead of asking the boundary; may be repeated
    #[arg(long = "dir", global = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the steps with their digests and their approval rules
    List {
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Print the whole definition of one step
    Show {
        /// The step, as path:step
        step: StepRef,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Write the lock of each directory, so that a boundary seals only these steps
    ///
    /// The file DIR/countersign.lock contains the digest of each step. An earlier lock is replaced. A boundary refuses
    /// to seal a directory whose steps differ from its lock.
    Lock,
    /// Check the files of each directory; the exit code is 0 only if a boundary could seal them and the locks agree
    ///
    /// Reports every error, every remark, the declared programs that this host does not have, and the lock. A directory
    /// without a lock is sound. With --config, names each step whose secret the configuration does not give it.
    Check {
        /// The boundary's countersign.toml, or its directory, for the check of the secrets
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Compare the files with the seal of the running boundary; the exit code is 0 only if they are the same
    ///
    /// Needs a token that may see every step. For each changed step, names the changed fields of its definition. Locks
    /// are not checked.
    Diff {
        #[command(flatten)]
        key: KeyArgs,
    },
    Import(import::Args),
}

/// Lists, shows, locks, checks or compares steps.
///
/// # Errors
/// Returns all errors in the files, or the reason why the boundary did not answer.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::Import(_) if !args.dirs.is_empty() => {
            Err(CommandFailure::usage("`import` reads its own directory: leave out --dir"))
        }
        Command::Import(args) => import::run(args, terminal),
        Command::List { key } if args.dirs.is_empty() => list_sealed(&global.client(key)?, terminal),
        Command::Show { step, key } if args.dirs.is_empty() => {
            let view: StepView = global.client(key)?.get(&format!("/v1/steps/{step}"))?;
            let rest = json!({"approvals": view.approvals, "sandbox": view.sandbox});
            print_step(&view.digest.to_string(), &view.definition, &rest, terminal)
        }
        _ if args.dirs.is_empty() => {
            Err(CommandFailure::usage("name the directory with the runbooks, for example --dir runbooks"))
        }
        Command::List { .. } => list_files(&read_files(&args.dirs, Locks::Checked)?, terminal),
        Command::Show { step, .. } => {
            let registry = read_files(&args.dirs, Locks::Checked)?;
            let Some(found) = registry.get(step) else {
                return Err(CommandFailure::new(
                    Exit::UnknownStep,
                    unknown_step(step, registry.steps().map(|step| step.definition.reference.as_str())),
                ));
            };
            let definition =
                serde_json::to_value(&found.definition).map_err(|error| CommandFailure::usage(error.to_string()))?;
            print_step(&found.digest.to_string(), &definition, &json!({}), terminal)
        }
        Command::Lock => lock::run(&args.dirs, terminal),
        Command::Check { config } => check::run(&args.dirs, config.as_deref(), terminal),
        Command::Diff { key } => {
            let files = read_files(&args.dirs, Locks::Ignored)?;
            diff::run(&files, &global.client(key)?, terminal)
        }
    }
}

fn list_sealed(client: &Client, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let view: RegistryView = client.get("/v1/registry")?;
    if terminal.json {
        terminal.object(&view)?;
        return Ok(Exit::Done);
    }
    for drift in &view.seal.drift {
        terminal.say(&format!("note: {drift}"));
    }
    terminal.say(&format!(
        "seal {} of {}, registry root {}",
        view.seal.number, view.boundary.name, view.seal.registry_root
    ));
    let rows = view.steps.iter().map(|step| {
        let here = if step.unavailable.is_some() { "can't run it" } else { "" };
        let reference = step.reference.to_string();
        [reference, rules(&step.approvals), step.title.clone(), step.digest.to_string(), here.to_owned()]
    });
    print_list(rows.collect(), terminal)
}

fn list_files(registry: &Registry, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    if terminal.json {
        let steps: Vec<Value> = registry
            .steps()
            .map(
                |step| json!({"ref": step.definition.reference, "digest": step.digest, "title": step.definition.title}),
            )
            .collect();
        terminal.object(&json!({
            "registry_root": registry.root(), "steps": steps, "missing_programs": missing_json(registry),
            "remarks": places_json(registry.remarks()),
        }))?;
        return Ok(Exit::Done);
    }
    terminal.say(&format!("registry root {}", registry.root()));
    missing_lines(registry).iter().for_each(|line| terminal.say(line));
    for remark in registry.remarks() {
        terminal.say(&format!("remark: {remark}"));
    }
    let rows = registry.steps().map(|step| {
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

fn unknown_step<'a>(step: &StepRef, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(step.as_str(), &known.collect::<Vec<_>>()) {
        Some(near) => format!("no step {step} is in these runbooks; did you mean {near}?"),
        None => format!("no step {step} is in these runbooks; see `countersign registry list`"),
    }
}

/// Formats approval rules, for example `2 of ops + 1 of security`. A rule without groups is omitted, because policy
/// then decides.
fn rules(rules: &[Approvals]) -> String {
    let words: Vec<String> = rules
        .iter()
        .filter(|rule| !rule.from.is_empty())
        .map(|rule| {
            let groups: Vec<&str> = rule.from.iter().map(|group| group.as_str()).collect();
            let how = if rule.each == Some(true) { "each of" } else { "of" };
            format!("{} {how} {}", rule.required, groups.join(","))
        })
        .collect();
    if words.is_empty() { "as policy says".to_owned() } else { words.join(" + ") }
}

/// Prints the steps as a table. The last column is left out if it is empty for every step.
fn print_list(steps: Vec<[String; 5]>, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let here = if steps.iter().any(|step| !step[4].is_empty()) { "THIS HOST" } else { "" };
    let mut rows = vec![["STEP", "APPROVALS", "TITLE", "DIGEST", here].map(str::to_owned)];
    rows.extend(steps);
    terminal.put(aligned(&rows).as_bytes())?;
    Ok(Exit::Done)
}

fn print_step(digest: &str, definition: &Value, rest: &Value, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    if terminal.json {
        terminal.object(&json!({"digest": digest, "definition": definition, "in_force": rest}))?;
        return Ok(Exit::Done);
    }
    let mut screen = Screen::default();
    screen.heading("Step");
    screen.field("digest", &PrintableText::text(digest));
    screen.exact(definition, &[(".source", "Script")]);
    if rest.as_object().is_some_and(|fields| !fields.is_empty()) {
        screen.heading("In force");
        screen.exact(rest, &[]);
    }
    screen.heading("Script");
    screen.numbered(definition["source"].as_str().unwrap_or_default());
    terminal.show(&screen)?;
    Ok(Exit::Done)
}
