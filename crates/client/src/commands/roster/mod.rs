//! The `roster` command of the client shows a roster and signs its next version.

pub mod change;
pub mod show;
pub mod sign;

use crate::{CommandResult, GlobalOptions, ShowArgs, SigningCommand, Terminal, needs_boundary};

/// Show the roster, or draft, sign and merge its next version.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign roster show roster.json
  countersign roster show roster.json --allowed-signers   # for ssh-keygen -Y verify -n countersign
  countersign roster show --bundle run.bundle.json --version 3 --json   # one version of a bundle
  countersign roster sign next.json                       # the first approver, on a separate machine; writes 2.json
  countersign roster sign 2.json                          # each other approver
  countersign roster merge next.json from-alice.json from-bob.json

A later version needs as many signatures as the thresholds of the version before and of the later version require. \
The draft next.json and the files of the versions are in roster.d at the boundary. The next start of the boundary seals the version \
if its signatures are complete; until then the sealed roster stays in force. A new policy needs the same steps, \
because each version of the roster names its policy. An approver who changes keys signs with both keys: the old key \
counts for the version before, and the new key counts for the later version.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print a roster and its digest; with --json, print the statement that verifiers take
    Show(ShowArgs),
    #[command(flatten)]
    Signing(Box<SigningCommand>),
}

/// Shows or signs a roster.
///
/// # Errors
/// Returns all errors in the roster, or the reason why the roster was not signed.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Show(args) => {
            let (envelope, roster) = args
                .read()?
                .ok_or_else(|| needs_boundary("`roster show` without a file"))?;
            show::print(&roster, &envelope, args.allowed_signers, terminal)
        }
        Command::Signing(command) => command.run(global, terminal),
    }
}
