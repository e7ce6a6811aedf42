//! Formats the table of decisions: approvers, parameters, and how each run ended.
//!
//! The module also filters decisions: by the options of a command, or by the fields of a form.

use std::collections::BTreeMap;

use crate::{
    AuditRow, PrintableText, RowVerdict, aligned, approval_words,
    commands::audit::audit_row::{GRANT, NO_RECEIPT},
    now, review_words, revocation_words,
};
use documents::{Name, Status, Timestamp, joined};
use reading::{Pattern, duration, time};
use verdict::{AuditEvent, DecisionLine, EntryVerdict};

#[derive(Clone, Default, clap::Args)]
pub struct DecisionFilter {
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
    #[arg(long = "step", value_name = "PATTERN", value_parser = Pattern::parse)]
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
    pub fn table(&self) -> bool {
        self.decisions
            || self.since.is_some()
            || self.until.is_some()
            || !(self.steps.is_empty() && self.outcomes.is_empty() && self.by.is_empty())
    }

    /// Returns true if the filter takes this event. In the log, only a run has a step, a proposer and an outcome.
    pub fn takes(&self, event: &AuditEvent) -> bool {
        let (at, run, names): (_, _, Vec<&Name>) = match event {
            AuditEvent::Finding(_) => return true,
            AuditEvent::Decision(line) => {
                let names = line.approvers.iter().chain([&line.proposer]);
                (line.at, Some(line), names.collect())
            }
            AuditEvent::Denial(line) => (line.after, None, vec![&line.approver]),
            AuditEvent::Revocation(line) => (line.after, None, Vec::new()),
            AuditEvent::Review(line) => (line.after, None, line.reviewer.iter().collect()),
        };
        let step = || run.map(|run| run.step.as_str());
        let has_step = |pattern: &Pattern| step().is_some_and(|step| pattern.matches(step));
        self.since.is_none_or(|since| since <= at)
            && self.until.is_none_or(|until| at < until)
            && (self.steps.is_empty() || self.steps.iter().any(has_step))
            && (self.outcomes.is_empty()
                || run.is_some_and(|run| self.outcomes.contains(&run.outcome.status)))
            && (self.by.is_empty() || names.into_iter().any(|name| self.by.contains(name)))
    }
}

/// Formats the rows as a table with a header, or as one line of text if there are no rows.
pub fn table(rows: &[Row]) -> String {
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

pub struct Row([PrintableText; 8]);

impl Row {
    /// Returns the row of an event. A finding has no row.
    pub fn of(event: &AuditEvent) -> Option<Self> {
        let entry = |entry: u64| format!("log entry {entry}");
        Some(match event {
            AuditEvent::Finding(_) => return None,
            AuditEvent::Decision(line) => Self::of_decision(line),
            // The log does not contain what was denied.
            AuditEvent::Denial(line) => Self::without_run(
                line.after,
                (format!("{}'s words", line.approver), &line.reason),
                [format!("denied by {}", line.approver), entry(line.entry)],
            ),
            AuditEvent::Revocation(line) => Self::without_run(
                line.after,
                (format!("the words of {}", line.signer), &line.reason),
                [revocation_words(line), entry(line.entry)],
            ),
            AuditEvent::Review(line) => {
                let name = line.reviewer.as_ref();
                let reviewer = name.map_or("the reviewer", |name| name.as_str());
                Self::without_run(
                    line.after,
                    (format!("{reviewer}'s words"), &line.reason),
                    [
                        review_words(line),
                        format!("{}, {}", line.receipt, entry(line.entry)),
                    ],
                )
            }
        })
    }

    fn of_decision(line: &DecisionLine) -> Self {
        let verdict = match line.verdict {
            EntryVerdict::Stands => "",
            EntryVerdict::Differs => " (differs)",
            EntryVerdict::Fails => " (DOES NOT STAND)",
            EntryVerdict::Undecided => " (undecided)",
        };
        let outcome = format!("{}{verdict}", line.outcome.status);
        let approved = approval_words(&joined(&line.approvers, "+"), line.emergency)
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

    fn without_run(
        after: Timestamp,
        (whose, words): (String, &str),
        [what, evidence]: [String; 2],
    ) -> Self {
        let mut cells: [PrintableText; 8] = Default::default();
        cells[0] = after.to_string().into();
        if !words.is_empty() {
            let words = PrintableText::prose(words).cut(MOST);
            cells[3] = PrintableText::text(&whose).and(": ").then(words);
        }
        cells[6] = what.into();
        cells[7] = evidence.into();
        Self(cells)
    }
}

/// Number of columns to which a long cell is cut. With `--json`, the value is not cut.
const MOST: usize = 48;

pub fn parse_outcome(text: &str) -> Result<Status, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        "this is no outcome: write succeeded, warned, failed, timed_out, cancelled, killed, not_started or unknown"
            .to_owned()
    })
}

pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = duration(text) {
        return Ok(now().plus(-age));
    }
    let day = time(&format!("{text}T00:00:00Z"));
    day.or_else(|_| time(text))
        .map_err(|why| format!("{why}, a date such as 2026-11-14, or an age such as 1h30m or 7d"))
}

/// Names of the fields in the form.
pub const FIELDS: [&str; 8] = [
    "step", "person", "grant", "outcome", "open", "verdict", "since", "until",
];
/// Values of the field `open`: only rows that leave something open, or only the others.
pub const OPEN_CHOICES: [&str; 2] = ["yes", "no"];

/// A filter. Each field that is absent takes every row.
#[derive(Default)]
pub struct RowFilter {
    step: Option<Pattern>,
    person: Option<String>,
    grant: Option<String>,
    open: Option<bool>,
    outcome: Option<&'static str>,
    verdict: Option<RowVerdict>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Returns each outcome for which a filter can ask.
pub fn outcomes() -> impl Iterator<Item = &'static str> {
    Status::ALL.into_iter().map(Status::word).chain([
        NO_RECEIPT,
        RowVerdict::Denied.word(),
        RowVerdict::Reviewed.word(),
        RowVerdict::Revoked.word(),
    ])
}

impl RowFilter {
    /// Reads the fields of a form. An empty field takes every row.
    ///
    /// # Errors
    /// Returns the name of the field that can't be read, with the reason.
    pub fn parse(fields: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |text: &str| Ok::<_, String>(text.to_owned());
        let open = |text: &str| {
            choice(
                OPEN_CHOICES.iter().position(|word| *word == text),
                "yes or no",
            )
        };
        let outcome = |text: &str| {
            choice(
                outcomes().find(|word| *word == text),
                "an outcome of the list",
            )
        };
        let verdict = |text: &str| {
            let mut all = RowVerdict::ALL.into_iter();
            choice(all.find(|one| one.word() == text), "a verdict of the list")
        };
        Ok(Self {
            step: field(fields, "step", Pattern::parse)?,
            person: field(fields, "person", text)?,
            grant: field(fields, "grant", text)?,
            open: field(fields, "open", open)?.map(|at| at == 0),
            outcome: field(fields, "outcome", outcome)?,
            verdict: field(fields, "verdict", verdict)?,
            since: field(fields, "since", parse_since)?,
            until: field(fields, "until", parse_since)?,
        })
    }

    /// Returns true if the filter takes the row.
    pub fn takes(&self, row: &AuditRow) -> bool {
        let [step, _, proposer, approvers, ..] = &row.cells;
        let names = |person: &String| {
            [proposer, approvers]
                .iter()
                .any(|cell| cell.contains(person.as_str()))
        };
        self.step
            .as_ref()
            .is_none_or(|pattern| pattern.matches(step))
            && self.person.as_ref().is_none_or(names)
            && self
                .grant
                .as_ref()
                .is_none_or(|grant| row.cells[GRANT].contains(grant.as_str()))
            && self.open.is_none_or(|open| open == row.is_open)
            && self.outcome.is_none_or(|outcome| outcome == row.outcome)
            && self.verdict.is_none_or(|verdict| verdict == row.verdict)
            && self
                .since
                .is_none_or(|since| row.at.is_some_and(|at| since <= at))
            && self
                .until
                .is_none_or(|until| row.at.is_some_and(|at| at < until))
    }
}

fn field<T, E: std::fmt::Display>(
    fields: &BTreeMap<String, String>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    let text = fields.get(name).map(|text| text.trim());
    text.filter(|text| !text.is_empty())
        .map(parse)
        .transpose()
        .map_err(|why| format!("the filter {name} can't be used: {why}"))
}

fn choice<T>(found: Option<T>, which: &str) -> Result<T, String> {
    found.ok_or_else(|| format!("choose {which}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuditRow, RowVerdict};
    use documents::{ObservedEnd, ReviewVerdict};
    use verdict::{DenialLine, ReviewedLine};

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
        let denial = AuditEvent::Denial(Box::new(line));
        let takes = |change: &dyn Fn(&mut DecisionFilter)| {
            let mut filter = DecisionFilter::default();
            change(&mut filter);
            filter.takes(&denial)
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
        let review = AuditEvent::Review(Box::new(line.clone()));
        let text = table(&[Row::of(&review).expect("a row")]);
        for part in [
            "bob's words: the disk was full",
            "run accepted by bob, observed: not started",
            "rcp_019aa0b0-5c00-7000-8000-000000000001, log entry 7",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let row = AuditRow::of_review(line);
        assert_eq!(&*row.cells[6], "run accepted by bob, observed: not started");
        assert_eq!(
            (row.outcome, row.verdict, &*row.receipt),
            ("reviewed", RowVerdict::Reviewed, "")
        );
        let takes = |change: &dyn Fn(&mut DecisionFilter)| {
            let mut filter = DecisionFilter::default();
            change(&mut filter);
            filter.takes(&review)
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
        let words = |count: usize| {
            let row = Row::without_run(
                now(),
                ("a".to_owned(), &"x".repeat(count)),
                Default::default(),
            );
            row.0[3].as_str().to_owned()
        };
        assert_eq!(words(48), format!("a: {}", "x".repeat(48)));
        assert_eq!(words(49), format!("a: {}...", "x".repeat(45)));
    }
}
