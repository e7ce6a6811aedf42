//! The `roster` command shows the roster and changes it: a draft is signed, merged, and sealed at the next start.

pub mod draft;

use crate::ConfigArgs;
use client::{CommandResult, GlobalOptions, ShowArgs, SigningCommand, Terminal, show};

/// Show the roster, or draft, sign and merge its next version.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign roster show
  countersign roster show --json > roster.json       # the file for --roster of verifiers
  countersign roster show --allowed-signers          # for ssh-keygen -Y verify -n countersign
  countersign roster show --bundle run.bundle.json --version 3 --json    # one version of a bundle
  countersign roster add approver dave --key dave.pub --group ops
  countersign roster remove approver bob
  countersign roster add boundary prod --key boundary/key-2.pub
  countersign roster set threshold 3
  countersign roster set                             # after a change of the policy or an edit of the draft
  countersign roster sign next.json                  # the first approver, on a separate machine; writes 2.json
  countersign roster sign 2.json                     # each other approver
  countersign roster merge boundary/roster.d/next.json from-alice.json from-bob.json

A later version needs as many signatures as the thresholds of the version before and of the later version require. \
`add`, `remove` and `set` write the draft roster.d/next.json, which people may edit too. `sign` shows its differences to the version \
in force, and writes the signed version beside it. `countersign seal`, or with SQLite the next start, seals the version \
if its signatures are complete; until then the sealed roster stays in force. A new policy needs the same steps, \
because each version of the roster names its policy. An approver who changes keys signs with both keys: the old key \
counts for the version before, and the new key counts for the later version.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
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
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let Args { config, command } = args;
    match command {
        Command::Show(args) => {
            let (envelope, roster) = match args.read()? {
                Some(named) => named,
                None => draft::of_configuration(config, terminal)?,
            };
            show::print(&roster, &envelope, args.allowed_signers, terminal)
        }
        Command::Draft(command) => draft::run(config, command, terminal),
        Command::Signing(command) => command.run(global, terminal),
    }
}
