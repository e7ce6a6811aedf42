//! The `proposals` command lists proposals with their status and result.

use crate::{
    CommandResult, GlobalOptions, KeyArgs, PrintableText, ProposalFilterArgs, Terminal,
    commands::inbox_table::ending, denial_words, fitted, newest, outcome_words, show_chosen,
    with_header,
};
use documents::{StepRef, refused_words};
use reading::Pattern;
use wire::{ProposalList, ProposalStatus, ProposalView};

/// List your proposals, the newest first: what was proposed, its status, and its result. With a token or a key that may
/// read everything, the list has the proposals of all proposers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign proposals                            the last 20 proposals
  countersign proposals --status open              those that wait or run
  countersign proposals --status denied --json     with all fields, for programs
  countersign proposals --step 'db/**' --by ci     of these steps, and of this proposer
  countersign proposals --boundary all             of each boundary in your list
  countersign output 4f2a9c                        the output of a run in the list")]
pub struct Args {
    /// Only proposals with this status: pending, approved, running, finished, denied, expired, cancelled, refused, or
    /// open for the first three
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<String>,
    #[command(flatten)]
    filter: ProposalFilterArgs,
    /// The maximum number of proposals
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    #[command(flatten)]
    key: KeyArgs,
}

/// Lists the proposals.
///
/// # Errors
/// Returns an error if the boundary cannot be reached, or if the caller is unknown.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let ProposalFilterArgs { step, by } = &args.filter;
    // The boundary can't filter by a pattern, so the request names a step only if the pattern matches no other step.
    let only = step
        .as_ref()
        .and_then(Pattern::only)
        .filter(|step| step.parse::<StepRef>().is_ok());
    let mut query = Vec::new();
    query.extend(only.map(|step| ("step", step)));
    query.extend(by.as_ref().map(|by| ("proposer", by.as_str())));
    query.extend(args.status.as_deref().map(|status| ("status", status)));
    let takes = |view: &ProposalView| args.filter.takes(view.step.as_str(), &view.proposer);
    let read = |one: &GlobalOptions| {
        let keep = step
            .as_ref()
            .map(|_| &takes as &dyn Fn(&ProposalView) -> bool);
        let proposals = newest(
            &one.client(&args.key)?,
            &query,
            usize::from(args.limit),
            keep,
        )?;
        Ok(ProposalList {
            proposals,
            cursor: None,
        })
    };
    show_chosen(global, terminal, read, |_, found| {
        if found.proposals.is_empty() {
            terminal.say("there are no such proposals");
            return Ok(());
        }
        let header = ["ID", "PROPOSED", "BY", "STEP", "PARAMETERS", "RESULT"];
        let rows = with_header(header, found.proposals.iter().map(row));
        terminal.put(fitted(&rows, terminal.table_width(), 5))
    })
}

/// Maximum number of columns of the parameters in a row.
const MOST_PARAMS: usize = 32;

fn row(view: &ProposalView) -> [PrintableText; 6] {
    let result: PrintableText = match (
        &view.outcome,
        view.refusal.as_ref().or(view.held_up.as_ref()),
    ) {
        (Some(outcome), _) => (outcome_words(outcome) + &refused_words(&view.refused)).into(),
        (None, Some(reason)) if view.status == ProposalStatus::Refused => {
            format!("refused ({})", reason.code).into()
        }
        (None, Some(reason)) => PrintableText::text(&format!("{}: {}", view.status, reason.detail))
            .then(denial_words(&view.denials)),
        (None, None) if view.status == ProposalStatus::Pending => format!(
            "pending, {} of {} signatures",
            view.approvals.have, view.approvals.required
        )
        .into(),
        (None, None) => PrintableText::words(view.status.word()),
    };
    [
        PrintableText::text(&ending(view)),
        view.created_at.to_string().into(),
        view.proposer.to_string().into(),
        view.step.to_string().into(),
        PrintableText::json(&view.params).cut(MOST_PARAMS),
        result,
    ]
}

fn parse_status(text: &str) -> Result<String, String> {
    let is_status = text == "open" || serde_json::from_value::<ProposalStatus>(text.into()).is_ok();
    is_status
        .then(|| text.to_owned())
        .ok_or_else(|| "this is no status of a proposal".to_owned())
}
