//! The table of decisions: approvers, parameters, and how each run ended.

use crate::{PrintableText, aligned, approval_words, now, review_words, revocation_words};
use documents::{Name, Status, Timestamp};
use reading::{Pattern, duration, time};
use verdict::{DecisionLine, DenialLine, EntryVerdict, ReviewedLine, RevocationLine};

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DecisionFilter {
    /// Print a table with one row for each decision: time, step, parameters, reason, proposer, approvers, outcome,
    /// receipt
    #[arg(long)]
    decisions: bool,
    /// Print only decisions from this time on: 2026-11-14, 2026-11-14T09:00:00Z, or an age like 7d or 24h
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Print only decisions before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    until: Option<Timestamp>,
    /// Print only decisions about steps that match this pattern; may be repeated
    #[arg(long = "step", value_name = "PATTERN", value_parser = parse_pattern)]
    steps: Vec<Pattern>,
    /// Print only runs with this outcome, for example failed or unknown; may be repeated
    #[arg(long = "outcome", value_name = "OUTCOME", value_parser = parse_outcome)]
    outcomes: Vec<Status>,
    /// Print only decisions that this proposer proposed, or that this approver signed; may be repeated
    #[arg(long = "by", value_name = "NAME")]
    by: Vec<Name>,
}

impl DecisionFilter {
    /// Returns true if an option requires the table of decisions.
    pub(super) const fn table(&self) -> bool {
        self.decisions
            || self.since.is_some()
            || self.until.is_some()
            || !(self.steps.is_empty() && self.outcomes.is_empty() && self.by.is_empty())
    }

    pub(super) fn takes(&self, line: &DecisionLine) -> bool {
        let names = |name: &Name| *name == line.proposer || line.approvers.contains(name);
        self.since.is_none_or(|since| since <= line.at)
            && self.until.is_none_or(|until| line.at < until)
            && (self.steps.is_empty()
                || self
                    .steps
                    .iter()
                    .any(|pattern| pattern.matches(line.step.as_str())))
            && (self.outcomes.is_empty() || self.outcomes.contains(&line.outcome.status))
            && (self.by.is_empty() || self.by.iter().any(names))
    }

    /// Returns true if the filter takes a revocation, which has no step and no outcome.
    pub(super) fn takes_revocation(&self, line: &RevocationLine) -> bool {
        self.since.is_none_or(|since| since <= line.after)
            && self.until.is_none_or(|until| line.after < until)
            && self.steps.is_empty()
            && self.outcomes.is_empty()
            && self.by.is_empty()
    }

    /// Returns true if the filter takes a review. The log names the step of the run in another entry.
    pub(super) fn takes_review(&self, line: &ReviewedLine) -> bool {
        self.since.is_none_or(|since| since <= line.after)
            && self.until.is_none_or(|until| line.after < until)
            && self.steps.is_empty()
            && self.outcomes.is_empty()
            && (self.by.is_empty()
                || line
                    .reviewer
                    .as_ref()
                    .is_some_and(|name| self.by.contains(name)))
    }

    /// Returns true if the filter takes a denial. The log does not contain the step and the proposer of a denied
    /// statement, and a statement that never ran has no outcome.
    pub(super) fn takes_denial(&self, line: &DenialLine) -> bool {
        self.since.is_none_or(|since| since <= line.after)
            && self.until.is_none_or(|until| line.after < until)
            && self.steps.is_empty()
            && self.outcomes.is_empty()
            && (self.by.is_empty() || self.by.contains(&line.approver))
    }
}

/// Formats the rows as a table with a header, or as one line of text if there are no rows.
pub(super) fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no decision matches the options\n".to_owned();
    }
    let header = [
        "WHEN",
        "STEP",
        "PARAMETERS",
        "REASON",
        "BY",
        "APPROVED BY",
        "OUTCOME",
        "RECEIPT",
    ]
    .map(PrintableText::words);
    let cells: Vec<_> = std::iter::once(header)
        .chain(rows.iter().map(|Row(cells)| cells.clone()))
        .collect();
    aligned(&cells)
}

#[derive(Debug)]
pub(super) struct Row([PrintableText; 8]);

impl Row {
    pub(super) fn of(line: &DecisionLine) -> Self {
        let approvers: Vec<_> = line.approvers.iter().map(ToString::to_string).collect();
        let outcome = match line.verdict {
            EntryVerdict::Stands => line.outcome.status.to_string(),
            EntryVerdict::Differs => format!("{} (differs)", line.outcome.status),
            EntryVerdict::Fails => format!("{} (DOES NOT STAND)", line.outcome.status),
            EntryVerdict::Undecided => format!("{} (undecided)", line.outcome.status),
        };
        let approved = approval_words(&approvers.join("+"), line.emergency)
            + &line
                .used_grant
                .as_ref()
                .map_or_else(String::new, |used| format!(" (under {})", used.words()));
        Self([
            line.at.to_string().into(),
            line.step.to_string().into(),
            PrintableText::json(&line.params).cut(MOST),
            PrintableText::prose(&line.reason).cut(MOST),
            line.proposer.to_string().into(),
            approved.into(),
            outcome.into(),
            line.receipt.to_string().into(),
        ])
    }

    /// Returns the row of a denial. The log does not contain what was denied.
    pub(super) fn of_denial(line: &DenialLine) -> Self {
        let mut cells: [PrintableText; 8] = Default::default();
        cells[0] = line.after.to_string().into();
        if !line.reason.is_empty() {
            cells[3] = words_of(&format!("{}'s words", line.approver), &line.reason);
        }
        cells[6] = format!("denied by {}", line.approver).into();
        cells[7] = format!("log entry {}", line.entry).into();
        Self(cells)
    }

    /// Returns the row of a revocation.
    pub(super) fn of_revocation(line: &RevocationLine) -> Self {
        let mut cells: [PrintableText; 8] = Default::default();
        cells[0] = line.after.to_string().into();
        if !line.reason.is_empty() {
            cells[3] = words_of(&format!("the words of {}", line.signer), &line.reason);
        }
        cells[6] = revocation_words(line).into();
        cells[7] = format!("log entry {}", line.entry).into();
        Self(cells)
    }

    /// Returns the row of a review.
    pub(super) fn of_review(line: &ReviewedLine) -> Self {
        let mut cells: [PrintableText; 8] = Default::default();
        cells[0] = line.after.to_string().into();
        if !line.reason.is_empty() {
            let reviewer = line
                .reviewer
                .as_ref()
                .map_or("the reviewer", |name| name.as_str());
            cells[3] = words_of(&format!("{reviewer}'s words"), &line.reason);
        }
        cells[6] = review_words(line).into();
        cells[7] = format!("{}, log entry {}", line.receipt, line.entry).into();
        Self(cells)
    }
}

/// Formats the words of a person, with the name before them.
fn words_of(whose: &str, words: &str) -> PrintableText {
    PrintableText::text(whose)
        .and(": ")
        .then(&PrintableText::prose(words).cut(MOST))
}

/// Number of columns to which a long cell is cut. With `--json`, the value is not cut.
const MOST: usize = 48;

pub(super) fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

pub(super) fn parse_outcome(text: &str) -> Result<Status, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        "this is no outcome: write succeeded, warned, failed, timed_out, cancelled, killed, not_started or unknown"
            .to_owned()
    })
}

pub(super) fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = duration(text) {
        return Ok(now().plus(-age));
    }
    let day = time(&format!("{text}T00:00:00Z"));
    day.or_else(|_| time(text))
        .map_err(|why| format!("{why}, a date such as 2026-11-14, or an age such as 1h30m or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuditRow, REVIEWED, RowVerdict};
    use documents::{ObservedEnd, ReviewVerdict};

    #[test]
    fn the_since_option_accepts_a_date_or_a_timestamp_or_an_age() {
        assert_eq!(
            parse_since("2026-11-14")
                .map(|at| at.to_string())
                .as_deref(),
            Ok("2026-11-14T00:00:00Z")
        );
        assert_eq!(
            parse_since("2026-11-14T09:00:01Z")
                .map(|at| at.to_string())
                .as_deref(),
            Ok("2026-11-14T09:00:01Z")
        );
        assert!(parse_since("7d").is_ok_and(|at| at.plus(7 * 86_400 - 60) < now() && at < now()));
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "7",
            "-7d",
            "07d",
            "2026-11-14T09:00",
        ] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_filter_of_decisions_also_selects_denials() {
        let zeros = format!("sha256:{}", "0".repeat(64));
        let line = DenialLine {
            after: parse_since("2026-11-14").expect("a time"),
            approver: "alice".parse().expect("a name"),
            authorization: zeros.parse().expect("a digest"),
            reason: String::new(),
            entry: 7,
        };
        let takes = |change: &dyn Fn(&mut DecisionFilter)| {
            let mut filter = DecisionFilter::default();
            change(&mut filter);
            filter.takes_denial(&line)
        };
        let day = |text: &str| Some(parse_since(text).expect("a time"));
        assert!(takes(&|_| {}));
        assert!(takes(&|filter| filter.since = day("2026-11-14")));
        assert!(takes(&|filter| filter.until = day("2026-11-15")));
        assert!(takes(&|filter| filter.by = ["bob", "alice"]
            .map(|name| name.parse().expect("a name"))
            .to_vec()));
        assert!(!takes(&|filter| filter.since = day("2026-11-15")));
        assert!(!takes(&|filter| filter.until = day("2026-11-14")));
        assert!(!takes(
            &|filter| filter.by = vec!["bob".parse().expect("a name")]
        ));
        assert!(!takes(&|filter| filter.outcomes = vec![Status::Unknown]));
        assert!(!takes(
            &|filter| filter.steps = vec![Pattern::parse("**").expect("a pattern")]
        ));
    }

    #[test]
    fn a_review_has_a_row_of_its_own_in_both_tables() {
        let line = ReviewedLine {
            after: parse_since("2026-11-14").expect("a time"),
            reviewer: Some("bob".parse().expect("a name")),
            receipt: "rcp_019aa0b0-5c00-7000-8000-000000000001"
                .parse()
                .expect("an id"),
            verdict: ReviewVerdict::Accepted,
            observed: Some(ObservedEnd::NotStarted),
            reason: "the disk was full".to_owned(),
            entry: 7,
        };
        let text = table(&[Row::of_review(&line)]);
        for part in [
            "bob's words: the disk was full",
            "run accepted by bob, observed: not started",
            "rcp_019aa0b0-5c00-7000-8000-000000000001, log entry 7",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let row = AuditRow::of_review(line.clone());
        assert_eq!(&*row.cells[6], "run accepted by bob, observed: not started");
        assert_eq!(
            (row.outcome, row.verdict, &*row.receipt),
            (REVIEWED, RowVerdict::Reviewed, "")
        );
        let takes = |change: &dyn Fn(&mut DecisionFilter)| {
            let mut filter = DecisionFilter::default();
            change(&mut filter);
            filter.takes_review(&line)
        };
        assert!(
            takes(&|_| {}) && takes(&|filter| filter.by = vec!["bob".parse().expect("a name")])
        );
        assert!(!takes(
            &|filter| filter.by = vec!["alice".parse().expect("a name")]
        ));
        assert!(!takes(
            &|filter| filter.steps = vec![Pattern::parse("**").expect("a pattern")]
        ));
        assert!(!takes(
            &|filter| filter.since = Some(parse_since("2026-11-15").expect("a time"))
        ));
    }

    #[test]
    fn the_approvers_of_an_emergency_are_marked() {
        assert_eq!(approval_words("alice+bob", false), "alice+bob");
        assert_eq!(approval_words("alice", true), "alice (EMERGENCY)");
    }

    #[test]
    fn a_long_table_cell_is_cut_and_ends_with_dots() {
        assert_eq!(
            words_of("a", &"x".repeat(48)).as_str(),
            format!("a: {}", "x".repeat(48))
        );
        assert_eq!(
            words_of("a", &"x".repeat(49)).as_str(),
            format!("a: {}...", "x".repeat(45))
        );
    }
}
