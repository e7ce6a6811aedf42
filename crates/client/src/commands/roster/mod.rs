//! The `roster` command of the client shows a roster and signs its next version.

pub mod change;
pub mod proposed;
pub mod show;
pub mod sign;

use std::path::PathBuf;

use crate::commands::client_build::needs_boundary;
use crate::commands::roster::sign::{MergeArgs, SignArgs};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Show the roster, or draft, sign and merge its next version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign roster show roster.json
  countersign roster show roster.json --allowed-signers   # for ssh-keygen -Y verify -n countersign
  countersign roster sign 2.json                          # each approver, on a separate machine
  countersign roster merge 2.json from-alice.json from-bob.json

A later version needs as many signatures as the thresholds of the version before and of the later version require. \
The file of the later version is in roster.d next to roster.toml. The next start of the boundary seals the version \
if its signatures are complete; until then the sealed roster stays in force. A new policy needs the same steps, \
because each version of the roster names its policy. An approver who changes keys signs with both keys: the old key \
counts for the version before, and the new key counts for the later version.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a roster and its digest; with --json, print the statement that verifiers take
    Show {
        /// A roster statement (JSON). The default is the roster in force, if the files of the configuration contain it
        file: Option<PathBuf>,
        /// Print the approvers in the allowed_signers format of OpenSSH
        #[arg(long)]
        allowed_signers: bool,
    },
    /// Show the changes of a next version, ask, and add your signature to its file
    Sign(SignArgs),
    /// Collect the signatures of one version from several files into the first file
    Merge(MergeArgs),
}

/// Shows or signs a roster.
///
/// # Errors
/// Returns all errors in the roster, or the reason why the roster was not signed.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::Show { file: Some(file), allowed_signers } => {
            show::print(show::of_file(file)?, *allowed_signers, terminal)
        }
        Command::Show { file: None, .. } => Err(needs_boundary("`roster show` without a file")),
        Command::Sign(sign) => sign::run(sign, terminal),
        Command::Merge(merge) => sign::merge(merge, terminal),
    }
}
