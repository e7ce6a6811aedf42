//! The `wait` command waits for the end of a proposal.

use std::path::PathBuf;

use crate::{
    CommandResult, GlobalOptions, JobArgs, KeyArgs, LookupRange, OutputForm, RunPrinter, Terminal,
    WantedBundle, find_proposal, wait_for,
};
use wire::ProposalStatus;

/// Wait for the end of a proposal: print its output live, and exit with the exit code of the step. Ctrl-C ends the
/// wait, not the run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign wait 4f2a9c                          by the last digits of its id
  countersign wait 4f2a9c --bundle run.bundle.json
  countersign wait 4f2a9c --json | jq .            events, then a result")]
pub struct Args {
    /// The id of the proposal, or the last digits of the id (at least 6). The default is the only pending proposal
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    /// Write the bundle of the receipt to this file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// With --bundle: wait up to a minute until K witnesses of the log have cosigned. The default is 1 if the roster
    /// has witnesses
    #[arg(long, value_name = "K", requires = "bundle")]
    witness: Option<u64>,
    /// With --bundle: leave out the versions of the roster before version N. Those who trust version N or a later one need no
    /// earlier one
    #[arg(long, value_name = "N", requires = "bundle")]
    from_roster: Option<u64>,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

/// Waits until the proposal has ended.
///
/// # Errors
/// Returns an error if the boundary cannot be reached or refuses the request.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client_of_job(&args.job, &args.key)?;
    let id = find_proposal(
        &client,
        args.proposal.as_deref(),
        LookupRange::Visible(ProposalStatus::Pending),
    )?;
    let wanted = WantedBundle {
        bundle: args.bundle.as_deref(),
        witnesses: args.witness,
        from_roster: args.from_roster,
    };
    wait_for(&client, &id, wanted, RunPrinter::new(terminal, args.form))
}
