//! The `proposals` command lists proposals with their status and result.

use serde_json::json;

use crate::commands::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::remote::proposals::newest;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::outcome_words::outcome_words;
use crate::terminal::person_words::person_words;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;
use crate::terminal::table::fitted;
use documents::record::ident::StepRef;
use documents::record::refused_parts::refused_words;
use wire::api::view::{ProposalStatus, ProposalView};

/// List your proposals, the newest first: what was proposed, its status, and its result. With a token or a key that may
/// read everything, the list has the proposals of all proposers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign proposals                            the last 20 proposals
  countersign proposals --status open              those that wait or run
  countersign proposals --status denied --json     with all fields, for programs
  countersign output 4f2a9c                        the output of a run in the list")]
pub struct Args {
    /// Only proposals with this status: pending, approved, running, finished, denied, expired, cancelled, refused, or
    /// open for the first three
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<String>,
    /// Only proposals of this step
    #[arg(long, value_name = "STEP")]
    step: Option<StepRef>,
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
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.client(&args.key)?;
    let mut query = Vec::new();
    query.extend(args.status.as_deref().map(|status| ("status", status)));
    query.extend(args.step.as_ref().map(|step| ("step", step.as_str())));
    let found = newest(&client, &query, usize::from(args.limit))?;
    if terminal.json {
        terminal.object(&json!({ "proposals": found }))?;
    } else if found.is_empty() {
        terminal.say("there are no such proposals");
    } else {
        let header = ["ID", "PROPOSED", "BY", "STEP", "PARAMETERS", "RESULT"].map(PrintableText::words);
        let rows: Vec<_> = std::iter::once(header).chain(found.iter().map(row)).collect();
        terminal.put(fitted(&rows, terminal.table_width(), 5).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Number of last digits of an id that other commands accept.
const ENDING: usize = 6;
/// Maximum number of columns of the parameters in a row.
const MOST_PARAMS: usize = 32;

fn row(view: &ProposalView) -> [PrintableText; 6] {
    let id = view.id.as_str();
    let result: PrintableText = match (&view.outcome, view.refusal.as_ref().or(view.held_up.as_ref())) {
        (Some(outcome), _) => (outcome_words(outcome) + &refused_words(&view.refused)).into(),
        (None, Some(reason)) if view.status == ProposalStatus::Refused => format!("refused ({})", reason.code).into(),
        (None, Some(reason)) => {
            let said = view.denials.iter().map(|denial| (denial.approver.as_str(), denial.reason.as_str()));
            PrintableText::text(&format!("{}: {}", view.status.word(), reason.detail)).then(&person_words(said))
        }
        (None, None) if view.status == ProposalStatus::Pending => {
            format!("pending, {} of {} signatures", view.approvals.have, view.approvals.required).into()
        }
        (None, None) => PrintableText::words(view.status.word()),
    };
    [
        id.get(id.len().saturating_sub(ENDING)..).unwrap_or(id).to_owned().into(),
        view.created_at.to_string().into(),
        view.proposer.to_string().into(),
        view.step.to_string().into(),
        PrintableText::json(&view.params).cut(MOST_PARAMS),
        result,
    ]
}

fn parse_status(text: &str) -> Result<String, String> {
    let is_status = text == "open" || serde_json::from_value::<ProposalStatus>(text.into()).is_ok();
    is_status.then(|| text.to_owned()).ok_or_else(|| "this is no status of a proposal".to_owned())
}
