//! The `registry` command lists the steps of a boundary or of files, and checks files.
pub mod from_files;

use std::path::PathBuf;

use client::{CommandResult, GlobalOptions, SealedStepsCommand, Terminal};

/// List and show steps, as sealed by the boundary or as written in files, and check the files.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry list 'deploy/**'         # only these steps
  countersign registry list --dir runbooks      # what is in these files
  countersign registry show service:restart
  countersign registry check runbooks           # errors, remarks, missing programs and the lock
  countersign registry check runbooks --policy boundary/policy.yaml    # and what policy asks or refuses
  countersign registry lock --dir runbooks      # write runbooks/countersign.lock
  countersign registry diff --dir runbooks      # what a new seal would change")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Read these runbooks instead of asking the boundary; may be repeated
    #[arg(long = "dir", global = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Steps(SealedStepsCommand),
    #[command(flatten)]
    Files(from_files::FilesCommand),
}

/// Lists, shows, locks, checks or compares steps.
///
/// # Errors
/// Returns all errors in the files, or the reason why the boundary did not answer.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Steps(command) if args.dirs.is_empty() => command.run(global, terminal),
        Command::Steps(SealedStepsCommand::List { pattern, .. }) => {
            from_files::list(&args.dirs, pattern.as_ref(), terminal)
        }
        Command::Steps(SealedStepsCommand::Show { step, .. }) => {
            from_files::show(&args.dirs, step, terminal)
        }
        Command::Files(command) => from_files::run(command, &args.dirs, global, terminal),
    }
}
