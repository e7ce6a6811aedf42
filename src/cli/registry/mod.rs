//! The `registry` command lists the steps of a boundary or of files, and checks files.
mod from_files;

use std::path::PathBuf;

use client::commands::global::GlobalOptions;
use client::commands::registry::{list_sealed, show_sealed};
use client::home::keys::KeyArgs;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;
use documents::record::ident::StepRef;

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
        Command::Show { step, key } if args.dirs.is_empty() => show_sealed(step, &global.client(key)?, terminal),
        Command::List { .. } => from_files::list(&args.dirs, terminal),
        Command::Show { step, .. } => from_files::show(&args.dirs, step, terminal),
        Command::Files(command) => from_files::run(command, &args.dirs, global, terminal),
    }
}
