//! The `thaw` command ends a freeze.

use crate::{ConfigArgs, ControlRequest, cli::seal};
use client::{CommandResult, Exit, Terminal, eprintln_quietly, fail_refused, freeze_words};
use wire::FreezeView;

/// End a freeze with a new epoch. Everything that was signed before stays void.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign thaw
  countersign thaw --config /etc/countersign

Run the command on the host of the boundary. It shows who froze the boundary, when and why. `countersign freeze` has ended all proposals and runs: propose them again.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Sends the request to the running boundary, or thaws in the store if no boundary runs.
///
/// # Errors
/// Returns an error if the boundary is not frozen, or if another node is active.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = args.config.load()?;
    // A boundary that is not frozen refuses the thaw itself.
    if let Ok(freeze) =
        serde_json::from_value::<FreezeView>(seal::ask(&config, ControlRequest::Frozen)?)
    {
        eprintln_quietly(freeze_words(&freeze).as_str());
    }
    if !args.yes
        && terminal.ask(
            "The boundary runs approved steps again. Type yes to thaw:",
            "say --yes",
        )? != "yes"
    {
        return fail_refused("the boundary stays as it is");
    }
    let value = seal::ask(&config, ControlRequest::Thaw)?;
    if terminal.json {
        terminal.object(&value)?;
    } else {
        terminal.line(format!(
            "thawed: seal {} with a new epoch is in force",
            value["seal"]
        ))?;
        for grant in seal::texts(&value["void_grants"]) {
            terminal.line(format!("the standing grant {grant} is void"))?;
        }
    }
    Ok(Exit::Done)
}
