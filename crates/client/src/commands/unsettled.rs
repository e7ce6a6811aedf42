//! The `unsettled` command lists the runs that people must review.

use std::collections::BTreeMap;

use crate::{
    CommandResult, GlobalOptions, KeyArgs, PrintableText, Terminal, aligned, outcome_words,
    short_id, show_chosen, with_header,
};
use documents::joined;
use wire::{ReviewNeed, RunReviewView, UnsettledList, UnsettledRun};

/// List the runs that people must review: emergencies without their reviews, and then runs whose end nobody has settled.
/// Runs of one step with the same cause are together.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign unsettled
  countersign unsettled --json          the answer of the boundary, for programs
  countersign unsettled --boundary all  of each boundary in your list

`countersign review-run` signs a review.")]
pub struct Args {
    #[command(flatten)]
    key: KeyArgs,
}

/// Lists the runs.
///
/// # Errors
/// Returns an error if the boundary cannot be reached, or if the caller is unknown.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let read = |one: &GlobalOptions| {
        one.reviewer(&args.key, terminal)?
            .get::<UnsettledList>("/v1/unsettled")
    };
    show_chosen(global, terminal, read, |one, list| {
        if list.runs.is_empty() {
            terminal.say("no run needs a review");
        } else {
            let at = one
                .listed()
                .map(|listed| format!(" --boundary {}", listed.name));
            terminal.put(table(&list.runs, &at.unwrap_or_default()))?;
            if list.more > 0 {
                terminal.say(more_words(list.more));
            }
        }
        Ok(())
    })
}

/// Says how many runs need a review besides the listed runs.
pub fn more_words(more: u64) -> String {
    format!("{more} more runs need a review: review these first")
}

/// Groups the runs by step and cause, emergencies first.
pub fn groups(runs: &[UnsettledRun]) -> Vec<Vec<&UnsettledRun>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for run in runs {
        // Separate runs that need different reviews, or that have no receipt yet, because a person needs different
        // commands for them.
        let needs = (
            run.review.is_none(),
            run.settle.is_some(),
            run.receipt.is_some(),
        );
        groups
            .entry((needs, &run.step, &run.end_unknown_because))
            .or_default()
            .push(run);
    }
    groups.into_values().collect()
}

/// Formats one row for each run, and lines below each group of runs. `at` is the option of the boundary.
fn table(runs: &[UnsettledRun], at: &str) -> String {
    let groups = groups(runs);
    let header = ["RECEIPT", "STEP", "BY", "ENDED", "OUTCOME", "NEEDS"];
    let runs = groups.iter().flatten().map(|run| row(run));
    let rows = aligned(&with_header(header, runs));
    let mut rows = rows.lines();
    let mut lines = format!("{}\n", rows.next().unwrap_or_default());
    for group in groups {
        for row in rows.by_ref().take(group.len()) {
            lines += &format!("{row}\n");
        }
        for below in details(&group, at) {
            lines += &format!("  {below}\n");
        }
    }
    lines
}

fn row(run: &UnsettledRun) -> [String; 6] {
    let (receipt, ended) = match &run.receipt {
        Some(receipt) => (short_id(receipt.as_str()), run.at.to_string()),
        None => (
            short_id(run.proposal.as_str()),
            format!("runs since {}", run.at),
        ),
    };
    [
        receipt.to_string(),
        run.step.to_string(),
        run.proposer.to_string(),
        ended,
        run.outcome.as_ref().map_or_else(String::new, outcome_words),
        needs(run),
    ]
}

/// Says which people the run still needs.
pub fn needs(run: &UnsettledRun) -> String {
    let of = |what: &str, need: &ReviewNeed| {
        format!(
            "{what}: {} of {} of {}",
            need.have,
            need.required,
            joined(&need.from, " or ")
        )
    };
    let review = run
        .review
        .as_ref()
        .map(|need| of("review of the EMERGENCY", need));
    let settle = run.settle.as_ref().map(|need| {
        let disputed = if run.disputed { ", DISPUTED" } else { "" };
        format!("{}{disputed}", of("settlement", need))
    });
    joined(review.into_iter().chain(settle), "; ")
}

/// Returns the lines below a group: why the end is unknown, the reviews, and what a person can do. `at` is the option of the
/// boundary for the command, or empty.
pub fn details(group: &[&UnsettledRun], at: &str) -> Vec<PrintableText> {
    let Some(first) = group.first() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let Some(why) = &first.end_unknown_because {
        lines.push(PrintableText::words("the boundary says: ").then(why));
    }
    for run in group.iter().filter(|run| !run.reviews.is_empty()) {
        let said = joined(run.reviews.iter().map(review_words), ", ");
        let id = run.receipt.as_ref().filter(|_| group.len() > 1);
        let about = id.map_or_else(PrintableText::default, |id| short_id(id.as_str()).and(": "));
        lines.push(about.then(&said));
    }
    let mut grants: Vec<_> = group.iter().filter_map(|run| run.grant.as_ref()).collect();
    grants.sort();
    grants.dedup();
    for grant in grants {
        lines.push(PrintableText::text(&format!(
            "the standing grant {grant} can't be used until the runs are settled"
        )));
    }
    if first.settle.is_some() && !first.steps.is_empty() {
        let words = format!(
            "checks of what the run left: {}",
            joined(&first.steps, ", ")
        );
        lines.push(PrintableText::text(&words));
    }
    let receipts: Vec<_> = group
        .iter()
        .filter_map(|run| run.receipt.as_ref())
        .collect();
    if !receipts.is_empty() {
        let (aim, options) = match (&first.review, &first.settle) {
            (Some(_), None) => ("accept (--reject rejects)", "--accept"),
            (Some(_), Some(_)) => (
                "accept (--reject rejects)",
                "--accept --observed END --evidence RECEIPT",
            ),
            (None, _) => ("settle", "--observed END --evidence RECEIPT"),
        };
        let runs = if receipts.len() == 1 { "run" } else { "runs" };
        let words = format!(
            "to {aim} the {runs}: countersign review-run {} {options} --reason TEXT{at}",
            joined(receipts, " ")
        );
        lines.push(PrintableText::text(&words));
    }
    lines
}

fn review_words(review: &RunReviewView) -> String {
    let observed = review
        .observed
        .map_or_else(String::new, |end| format!(" (observed: {end})"));
    format!("{} {} the run{observed}", review.reviewer, review.verdict)
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
prp_...000002  a:b              carol       runs since 2026-11-20T09:30:00Z           review of the EMERGENCY: 0 of 1 of security
rcp_...000001  service:restart  deploy-bot  2026-11-20T09:00:00Z             unknown  settlement: 1 of 2 of ops or security, DISPUTED
  the boundary says: the boundary was killed\x1b
  alice accepted the run (observed: not started), bob rejected the run
  the standing grant grt_019aa0b0-5c00-7000-8000-00000000000a can't be used until the runs are settled
  checks of what the run left: service:status
  to settle the run: countersign review-run rcp_019aa0b0-5c00-7000-8000-000000000001 --observed END --evidence RECEIPT --reason TEXT
";
        assert_eq!(table(&list(), ""), expected);
        assert!(table(&list(), " --boundary prod").ends_with(" --reason TEXT --boundary prod\n"));
    }

    #[test]
    fn runs_of_one_step_with_one_cause_have_one_command() {
        let mut runs = list();
        runs.truncate(1);
        let second = UnsettledRun {
            receipt: Some(
                "rcp_019aa0b0-5c00-7000-8000-000000000003"
                    .parse()
                    .expect("an id"),
            ),
            reviews: Vec::new(),
            ..runs[0].clone()
        };
        let other = UnsettledRun {
            end_unknown_because: None,
            ..second.clone()
        };
        runs.extend([second, other]);
        let text = table(&runs, "");
        assert_eq!(
            (
                groups(&runs).len(),
                text.matches("countersign review-run").count()
            ),
            (2, 2),
            "{text}"
        );
        let both = "review-run rcp_019aa0b0-5c00-7000-8000-000000000001 rcp_019aa0b0-5c00-7000-8000-000000000003 --observed";
        assert!(
            text.contains(both) && text.contains("  rcp_...000001: alice accepted the run"),
            "{text}"
        );
    }
}
