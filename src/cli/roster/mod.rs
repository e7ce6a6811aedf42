//! The `roster` command shows the roster and changes it: a draft is signed, merged, and sealed at the next start.

pub mod draft;
pub mod in_force;

use crate::ConfigArgs;
use client::{CommandFailure, Exit, GlobalOptions, ShowArgs, SigningCommand, Terminal, show};

/// Show the roster, or draft, sign and merge its next version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign roster show
  countersign roster show --json > roster.json       # the file for --roster of verifiers
  countersign roster show --allowed-signers          # for ssh-keygen -Y verify -n countersign
  countersign roster add approver dave --key dave.pub --group ops
  countersign roster remove approver bob
  countersign roster add boundary prod --key boundary/key-2.pub
  countersign roster draft                           # after an edit of roster.toml or the policy
  countersign roster sign 2.json                     # each approver, on a separate machine
  countersign roster merge boundary/roster.d/2.json from-alice.json from-bob.json

A later version needs as many signatures as the thresholds of the version before and of the later version require. \
The file of the later version is in roster.d next to roster.toml. `countersign seal`, or with SQLite the next start, seals the version \
if its signatures are complete; until then the sealed roster stays in force. A new policy needs the same steps, \
because each version of the roster names its policy. An approver who changes keys signs with both keys: the old key \
counts for the version before, and the new key counts for the later version.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a roster and its digest; with --json, print the statement that verifiers take
    Show(ShowArgs),
    #[command(flatten)]
    Draft(draft::DraftCommand),
    #[command(flatten)]
    Signing(SigningCommand),
}

/// Shows or changes a roster.
///
/// # Errors
/// Returns all errors in the roster, or the reason why the roster was not signed.
pub fn run(
    args: &Args,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::Show(ShowArgs {
            file: Some(file),
            allowed_signers,
        }) => show::print(show::of_file(file)?, *allowed_signers, terminal),
        Command::Show(ShowArgs {
            file: None,
            allowed_signers,
        }) => show::print(
            in_force::of_configuration(&args.config, terminal)?,
            *allowed_signers,
            terminal,
        ),
        Command::Draft(command) => draft::run(&args.config, command, terminal),
        Command::Signing(command) => command.run(global, terminal),
    }
}
