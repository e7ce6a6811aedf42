//! The `registry` command lists the steps of a boundary or of files, and checks files.
#[cfg(feature = "boundary")]
mod from_files;
mod printed;

use std::path::PathBuf;

use serde_json::json;

use crate::api::view::{RegistryView, StepView};
#[cfg(not(feature = "boundary"))]
use crate::cli::client_build::needs_boundary;
use crate::cli::global::GlobalOptions;
use crate::cli::registry::printed::{print_list, print_step, rules};
use crate::home::keys::KeyArgs;
use crate::record::ident::StepRef;
use crate::remote::client::Client;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Examples of the help.
const EXAMPLES: &str = if cfg!(feature = "boundary") {
    "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry list --dir runbooks      # what is in these files, with every error
  countersign registry show service:restart
  countersign registry check --dir runbooks     # errors, remarks, missing programs and the lock
  countersign registry lock --dir runbooks      # write runbooks/countersign.lock
  countersign registry diff --dir runbooks      # what a new seal would change
  countersign registry import ../handbook       # which runbooks of other systems run, and their policy"
} else {
    "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry show service:restart"
};

/// List and show steps, as sealed by the boundary or as written in files, and check the files.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    #[cfg(feature = "boundary")]
    #[command(flatten)]
    Files(from_files::FilesCommand),
}

/// Lists, shows, locks, checks or compares steps.
///
/// # Errors
/// Returns all errors in the files, or the reason why the boundary did not answer.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::List { key } if args.dirs.is_empty() => list_sealed(&global.client(key)?, terminal),
        Command::Show { step, key } if args.dirs.is_empty() => {
            let view: StepView = global.client(key)?.get(&format!("/v1/steps/{step}"))?;
            let mut rest = json!({"approvals": view.approvals, "sandbox": view.sandbox});
            if let Some(variables) = view.session_variables {
                rest["session_variables"] = json!(variables);
            }
            print_step(&view.digest.to_string(), &view.definition, &rest, terminal)
        }
        #[cfg(feature = "boundary")]
        Command::List { .. } => from_files::list(&args.dirs, terminal),
        #[cfg(feature = "boundary")]
        Command::Show { step, .. } => from_files::show(&args.dirs, step, terminal),
        #[cfg(feature = "boundary")]
        Command::Files(command) => from_files::run(command, &args.dirs, global, terminal),
        #[cfg(not(feature = "boundary"))]
        _ => Err(needs_boundary("`registry --dir`")),
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
