//! The `registry` command of the client lists and shows the steps of a boundary.
pub mod printed;

use std::path::PathBuf;

use documents::StepRef;
use reading::Pattern;
use serde_json::json;
use wire::{RegistryView, StepView};

use crate::{
    Client, CommandResult, Exit, GlobalOptions, KeyArgs, Terminal, needs_boundary, print_list,
    print_step, rules,
};

/// List and show steps, as sealed by the boundary or as written in files, and check the files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry show service:restart")]
pub struct Args {
    #[command(subcommand)]
    command: SealedStepsCommand,
    /// Read these runbooks instead of asking the boundary; may be repeated
    #[arg(long = "dir", global = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// The commands that every program has.
#[derive(Debug, clap::Subcommand)]
pub enum SealedStepsCommand {
    /// List the steps with their digests and their approval rules
    List {
        /// Only the steps that this pattern matches, such as `deploy/**` or `service:*`
        #[arg(value_name = "PATTERN", value_parser = Pattern::parse)]
        pattern: Option<Pattern>,
        /// The key of the user.
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Print the whole definition of one step
    Show {
        /// The step, as path:step
        step: StepRef,
        /// The key of the user.
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Lists or shows steps.
///
/// # Errors
/// Returns the reason why the boundary did not answer.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    if !args.dirs.is_empty() {
        return Err(needs_boundary("`registry --dir`"));
    }
    args.command.run(global, terminal)
}

impl SealedStepsCommand {
    /// Lists or shows the steps that the boundary has sealed.
    ///
    /// # Errors
    /// Returns the reason why the boundary did not answer.
    pub fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::List { pattern, key } => {
                list_sealed(pattern.as_ref(), &global.client(key)?, terminal)
            }
            Self::Show { step, key } => show_sealed(step, &global.client(key)?, terminal),
        }
    }
}

fn show_sealed(step: &StepRef, client: &Client, terminal: &Terminal) -> CommandResult {
    let view: StepView = client.get(&format!("/v1/steps/{step}"))?;
    let mut rest = json!({"approvals": view.approvals, "sandbox": view.sandbox});
    if let Some(variables) = view.session_variables {
        rest["session_variables"] = json!(variables);
    }
    print_step(&view.digest.to_string(), &view.definition, &rest, terminal)
}

fn list_sealed(pattern: Option<&Pattern>, client: &Client, terminal: &Terminal) -> CommandResult {
    let mut view: RegistryView = client.get("/v1/registry")?;
    view.steps
        .retain(|step| pattern.is_none_or(|pattern| pattern.matches(step.reference.as_str())));
    if terminal.json {
        terminal.object(&view)?;
        return Ok(Exit::Done);
    }
    for drift in &view.seal.drift {
        terminal.say(format!("note: {drift}"));
    }
    terminal.say(format!(
        "seal {} of {}, registry root {}",
        view.seal.number, view.boundary.name, view.seal.registry_root
    ));
    let rows = view.steps.iter().map(|step| {
        let here = if step.unavailable.is_some() {
            "can't run it"
        } else {
            ""
        };
        let reference = step.reference.to_string();
        [
            reference,
            rules(&step.approvals),
            step.title.clone(),
            step.digest.to_string(),
            here.to_owned(),
        ]
    });
    print_list(rows.collect(), terminal)
}
