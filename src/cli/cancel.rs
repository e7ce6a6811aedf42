//! `cancel`: withdraws a proposal or ends its run.

use crate::boundary::view::{ProposalStatus, ProposalView};
use crate::cli::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Withdraw a proposal, or end its run. For its proposer and for operators; an approver says `deny`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign cancel            the only pending proposal
  countersign cancel 4f2a9c     by the ending of its id")]
pub struct Args {
    /// The proposal's id, or at least 6 of its last digits; nothing means the only pending one
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Cancels.
///
/// # Errors
/// When there is no such proposal, or the caller may not.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.client(&args.key)?;
    let id = find_proposal(&client, args.proposal.as_deref(), LookupRange::Visible(ProposalStatus::Pending))?;
    let view: ProposalView = client.post_nothing(&format!("/v1/proposals/{id}/cancellation"))?;
    if terminal.json {
        terminal.object(&view)?;
    } else {
        terminal.line(&format!("{} is {}", view.id, view.status.word()))?;
        if view.status == ProposalStatus::Running {
            terminal.say("its run is being ended; countersign wait tells when");
        }
    }
    Ok(Exit::Done)
}
