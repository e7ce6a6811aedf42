//! The `unsettled` command lists the runs that people must review.

use crate::commands::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::review::value_words::short_id;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::outcome_words::{observed_word, outcome_words, verdict_word};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;
use crate::terminal::table::aligned;
use wire::api::review_view::{ReviewNeed, RunReviewView, UnsettledList, UnsettledRun};

/// List the runs that people must review: emergencies without their reviews, and runs whose end nobody has settled. The
/// oldest run is first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign unsettled
  countersign unsettled --json          the answer of the boundary, for programs

`countersign review-run` signs a review.")]
pub struct Args {
    #[command(flatten)]
    key: KeyArgs,
}

/// Lists the runs.
///
/// # Errors
/// Returns an error if the boundary cannot be reached, or if the caller is unknown.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.reviewer(&args.key, terminal)?;
    let list: UnsettledList = client.get("/v1/unsettled")?;
    if terminal.json {
        terminal.object(&list)?;
    } else if list.runs.is_empty() {
        terminal.say("no run needs a review");
    } else {
        terminal.put(table(&list.runs).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Formats one row for each run, with lines of its own below it.
fn table(runs: &[UnsettledRun]) -> String {
    let header = ["RECEIPT", "STEP", "BY", "ENDED", "OUTCOME", "NEEDS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(runs.iter().map(row)).collect();
    let mut lines = aligned(&rows);
    let rows: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.clear();
    for (at, row) in rows.iter().enumerate() {
        lines.push_str(&format!("{row}\n"));
        for below in at.checked_sub(1).and_then(|at| runs.get(at)).iter().flat_map(|run| details(run)) {
            lines.push_str(&format!("  {}\n", below.as_str()));
        }
    }
    lines
}

fn row(run: &UnsettledRun) -> [String; 6] {
    let (receipt, ended) = match &run.receipt {
        Some(receipt) => (short_id(receipt.as_str()), run.at.to_string()),
        None => (short_id(run.proposal.as_str()), format!("runs since {}", run.at)),
    };
    [
        receipt.as_str().to_owned(),
        run.step.to_string(),
        run.proposer.to_string(),
        ended,
        run.outcome.as_ref().map_or_else(String::new, outcome_words),
        needs(run),
    ]
}

/// Says which people the run still needs.
#[must_use]
pub fn needs(run: &UnsettledRun) -> String {
    let of = |what: &str, need: &ReviewNeed| {
        let groups: Vec<&str> = need.from.iter().map(|group| group.as_str()).collect();
        format!("{what}: {} of {} of {}", need.have, need.required, groups.join(" or "))
    };
    let review = run.review.as_ref().map(|need| of("review of the EMERGENCY", need));
    let settle = run.settle.as_ref().map(|need| {
        let disputed = if run.disputed { ", DISPUTED" } else { "" };
        format!("{}{disputed}", of("settlement", need))
    });
    review.into_iter().chain(settle).collect::<Vec<_>>().join("; ")
}

/// Returns the lines below a row: why the end is unknown, the reviews, and what a person can do.
#[must_use]
pub fn details(run: &UnsettledRun) -> Vec<PrintableText> {
    let mut lines = Vec::new();
    if let Some(why) = &run.end_unknown_because {
        lines.push(PrintableText::words("the boundary says: ").then(&PrintableText::text(why)));
    }
    if !run.reviews.is_empty() {
        lines.push(PrintableText::text(&run.reviews.iter().map(review_words).collect::<Vec<_>>().join(", ")));
    }
    if let Some(grant) = &run.grant {
        lines.push(PrintableText::text(&format!("the standing grant {grant} pauses until the run is settled")));
    }
    if run.settle.is_some() && !run.steps.is_empty() {
        let steps: Vec<&str> = run.steps.iter().map(|step| step.as_str()).collect();
        let words = format!("steps that can show what the run left: {}", steps.join(", "));
        lines.push(PrintableText::text(&words));
    }
    if let Some(receipt) = &run.receipt {
        let observed = if run.settle.is_some() { " --observed END --evidence RECEIPT" } else { "" };
        let words = format!(
            "to accept the run (--reject rejects it): countersign review-run {receipt} --accept{observed} --reason TEXT"
        );
        lines.push(PrintableText::text(&words));
    }
    lines
}

fn review_words(review: &RunReviewView) -> String {
    let observed = review.observed.map_or_else(String::new, |end| format!(" (observed: {})", observed_word(end)));
    format!("{} {} the run{observed}", review.reviewer, verdict_word(review.verdict))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Vec<UnsettledRun> {
        let list: UnsettledList = serde_json::from_value(json!({"runs": [
            {"proposal": "prp_019aa0b0-5c00-7000-8000-000000000001", "receipt": "rcp_019aa0b0-5c00-7000-8000-000000000001",
             "step": "service:restart", "proposer": "deploy-bot", "at": "2026-11-20T09:00:00Z", "outcome": {"status": "unknown"},
             "end_unknown_because": "the boundary was killed\u{1b}", "grant": "grt_019aa0b0-5c00-7000-8000-00000000000a",
             "settle": {"required": 2, "have": 1, "from": ["ops", "security"]}, "disputed": true,
             "reviews": [{"reviewer": "alice", "verdict": "accepted", "observed": "not_started", "index": 7},
                         {"reviewer": "bob", "verdict": "rejected", "index": 8}],
             "steps": ["service:status"]},
            {"proposal": "prp_019aa0b0-5c00-7000-8000-000000000002", "step": "a:b", "proposer": "carol",
             "at": "2026-11-20T09:30:00Z", "review": {"required": 1, "have": 0, "from": ["security"]},
             "reviews": [], "steps": ["a:c"]},
        ]}))
        .expect("a list");
        list.runs
    }

    #[test]
    fn each_run_has_a_row_with_what_it_needs_and_the_command_to_type() {
        let expected = r"RECEIPT        STEP             BY          ENDED                            OUTCOME  NEEDS
rcp_...000001  service:restart  deploy-bot  2026-11-20T09:00:00Z             unknown  settlement: 1 of 2 of ops or security, DISPUTED
  the boundary says: the boundary was killed\x1b
  alice accepted the run (observed: not started), bob rejected the run
  the standing grant grt_019aa0b0-5c00-7000-8000-00000000000a pauses until the run is settled
  steps that can show what the run left: service:status
  to accept the run (--reject rejects it): countersign review-run rcp_019aa0b0-5c00-7000-8000-000000000001 --accept --observed END --evidence RECEIPT --reason TEXT
prp_...000002  a:b              carol       runs since 2026-11-20T09:30:00Z           review of the EMERGENCY: 0 of 1 of security
";
        assert_eq!(table(&list()), expected);
    }
}
