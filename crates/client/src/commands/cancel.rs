//! The `cancel` command withdraws a proposal or a draft, or ends a run.

use crate::{
    CommandResult, GlobalOptions, KeyArgs, LookupRange, Terminal, find_grant, find_proposal,
    is_grant,
};
use wire::{GrantView, ProposalStatus, ProposalView};

/// Withdraw a proposal or a draft of a grant, or end a run. Only the proposer and operators can cancel; approvers use `deny`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign cancel            the only pending proposal
  countersign cancel 4f2a9c     by the last digits of its id
  countersign cancel grt_4f2a9c a draft of a standing grant")]
pub struct Args {
    /// The id of the proposal or of the draft, or the last digits of the id (at least 6). The default is the only pending
    /// proposal
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Cancels the proposal.
///
/// # Errors
/// Returns an error if the proposal does not exist, or if the caller is not permitted to cancel it.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client(&args.key)?;
    if let Some(name) = args.proposal.as_deref().filter(|name| is_grant(name)) {
        let draft = find_grant(name, &client)?;
        let view: GrantView =
            client.post_nothing(&format!("/v1/grants/{}/cancellation", draft.id))?;
        return terminal.answer(&view, format!("the draft {} is taken back", view.id));
    }
    let id = find_proposal(
        &client,
        args.proposal.as_deref(),
        LookupRange::Visible(ProposalStatus::Pending),
    )?;
    let view: ProposalView = client.post_nothing(&format!("/v1/proposals/{id}/cancellation"))?;
    if !terminal.json && view.status == ProposalStatus::Running {
        terminal.say("the boundary is ending the run; `countersign wait` shows the outcome");
    }
    terminal.answer(&view, format!("{} is {}", view.id, view.status))
}
