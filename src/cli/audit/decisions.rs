//! The table of decisions: who approved what, on which parameters, and how the run ended.

use crate::audit::finding::{DecisionLine, Verdict};
use crate::cli::clock::now;
use crate::cli::gate::parse_seconds;
use crate::crypto::canonical;
use crate::policy::patterns::Pattern;
use crate::record::validity::Timestamp;
use crate::terminal::table::aligned;

/// Which decisions are printed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Print a table with a row for each decision: when, which step, parameters, reason, who asked, who approved, outcome
    #[arg(long)]
    decisions: bool,
    /// Only decisions from this time on: 2026-11-14, 2026-11-14T09:00:00Z, or an age like 7d or 24h
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only decisions about steps that match this pattern; may be repeated
    #[arg(long = "step", value_name = "PATTERN", value_parser = parse_pattern)]
    steps: Vec<Pattern>,
}

impl Filter {
    /// Whether a person asked for the table.
    pub(super) const fn table(&self) -> bool {
        self.decisions || self.since.is_some() || !self.steps.is_empty()
    }

    /// Whether this decision is printed.
    pub(super) fn takes(&self, line: &DecisionLine) -> bool {
        self.since.is_none_or(|since| since <= line.at)
            && (self.steps.is_empty() || self.steps.iter().any(|pattern| pattern.matches(line.step.as_str())))
    }
}

/// The rows as a table with a header; one line where there are none.
pub(super) fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no decision is of that time and step\n".to_owned();
    }
    let header = ["WHEN", "STEP", "PARAMETERS", "REASON", "BY", "APPROVED BY", "OUTCOME", "RECEIPT"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(header).chain(rows.iter().map(|Row(cells)| cells.clone())).collect();
    aligned(&cells)
}

/// One decision in the table.
#[derive(Debug)]
pub(super) struct Row([String; 8]);

impl Row {
    pub(super) fn of(line: &DecisionLine) -> Self {
        let params = String::from_utf8_lossy(&canonical::to_canonical(&line.params)).into_owned();
        let approvers: Vec<_> = line.approvers.iter().map(ToString::to_string).collect();
        let outcome = match line.verdict {
            Verdict::Stands => line.outcome.status.to_string(),
            Verdict::Differs => format!("{} (differs)", line.outcome.status),
            Verdict::Fails => format!("{} (DOES NOT STAND)", line.outcome.status),
            Verdict::Undecided => format!("{} (undecided)", line.outcome.status),
        };
        Self([
            line.at.to_string(),
            line.step.to_string(),
            cut(params),
            cut(line.reason.clone()),
            line.proposer.to_string(),
            approvers.join("+"),
            outcome,
            line.receipt.to_string(),
        ])
    }
}

/// A table is for reading: a longer cell is cut and says so. `--json` has it whole.
fn cut(text: String) -> String {
    const MOST: usize = 48;
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 3).chain("...".chars()).collect()
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Some(age) = parse_seconds(text) {
        return Ok(now().plus(-age));
    }
    text.parse()
        .or_else(|_| format!("{text}T00:00:00Z").parse())
        .map_err(|_| "a time is written 2026-11-14, 2026-11-14T09:00:00Z, or as an age: 90s, 30m, 24h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_a_day_a_second_or_an_age() {
        assert_eq!(parse_since("2026-11-14").map(|at| at.to_string()).as_deref(), Ok("2026-11-14T00:00:00Z"));
        assert_eq!(parse_since("2026-11-14T09:00:01Z").map(|at| at.to_string()).as_deref(), Ok("2026-11-14T09:00:01Z"));
        assert!(parse_since("7d").is_ok_and(|at| at.plus(7 * 86_400 - 60) < now() && at < now()));
        for bad in ["", "yesterday", "2026-13-01", "7", "-7d", "07d", "2026-11-14T09:00"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_table_cell_is_cut_with_a_visible_mark() {
        assert_eq!(cut("x".repeat(48)), "x".repeat(48));
        assert_eq!(cut("\u{e4}".repeat(49)), format!("{}...", "\u{e4}".repeat(45)));
    }
}
