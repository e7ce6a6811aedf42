//! `wait`: takes up the wait for a proposal again.

use std::path::PathBuf;

use crate::boundary::view::ProposalStatus;
use crate::cli::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::remote::follow::{WantedBundle, conclude, follow, stop_waiting_on_interrupt};
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::remote::run_printer::{OutputForm, RunPrinter};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Wait for a proposal's end: its output as it comes, its exit code as this command's. Ctrl-C stops waiting, not the run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign wait 4f2a9c                          by the ending of its id
  countersign wait 4f2a9c --bundle run.bundle.json
  countersign wait 4f2a9c --json | jq .            events, then a result")]
pub struct Args {
    /// The proposal's id, or at least 6 of its last digits; nothing means the only pending one
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    /// Write the receipt's bundle here
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// With --bundle: wait up to a minute until so many witnesses of the log have cosigned; by default for one if the roster
    /// has any
    #[arg(long, value_name = "K", requires = "bundle")]
    witness: Option<u64>,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

/// Waits.
///
/// # Errors
/// When the boundary can't be reached or refuses to tell.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.client(&args.key)?;
    let id = find_proposal(&client, args.proposal.as_deref(), LookupRange::Visible(ProposalStatus::Pending))?;
    stop_waiting_on_interrupt(&id);
    let view = follow(&client, &id, &mut RunPrinter::new(terminal, args.form))?;
    conclude(&client, &view, WantedBundle { bundle: args.bundle.as_deref(), witnesses: args.witness }, terminal)
}
