//! Filters of the table of decisions, as a form sends them.

use std::collections::BTreeMap;

use crate::{
    AuditRow, REVIEWED, RowVerdict,
    commands::audit::{
        audit_row::{DENIED, GRANT, NO_RECEIPT, REVOKED},
        decisions::{parse_pattern, parse_since},
    },
};
use documents::{Status, Timestamp};
use reading::Pattern;

/// Names of the fields in the form.
pub const FIELDS: [&str; 8] = [
    "step", "person", "grant", "outcome", "open", "verdict", "since", "until",
];
/// Values of the field `open`: only rows that leave something open, or only the others.
pub const OPEN_CHOICES: [&str; 2] = ["yes", "no"];

/// A filter. Each field that is absent takes every row.
#[derive(Debug, Clone, Default)]
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
    Status::ALL
        .into_iter()
        .map(Status::word)
        .chain([NO_RECEIPT, DENIED, REVIEWED, REVOKED])
}

impl RowFilter {
    /// Reads the fields of a form. An empty field takes every row.
    ///
    /// # Errors
    /// Returns the name of the field that can't be read, with the reason.
    pub fn parse(fields: &BTreeMap<String, String>) -> Result<Self, String> {
        let field = |name: &str| {
            fields
                .get(name)
                .map(|text| text.trim())
                .filter(|text| !text.is_empty())
        };
        let named = |name: &'static str| {
            move |why: String| format!("the filter {name} can't be used: {why}")
        };
        let outcome = field("outcome").map(|text| {
            let why = || "choose an outcome of the list".to_owned();
            outcomes()
                .find(|word| *word == text)
                .ok_or_else(why)
                .map_err(named("outcome"))
        });
        let verdict = field("verdict").map(|text| {
            let why = || "choose a verdict of the list".to_owned();
            RowVerdict::ALL
                .into_iter()
                .find(|one| one.word() == text)
                .ok_or_else(why)
                .map_err(named("verdict"))
        });
        let open = field("open").map(|text| {
            let why = || "choose yes or no".to_owned();
            OPEN_CHOICES
                .iter()
                .position(|word| *word == text)
                .ok_or_else(why)
                .map_err(named("open"))
        });
        Ok(Self {
            step: field("step")
                .map(parse_pattern)
                .transpose()
                .map_err(named("step"))?,
            person: field("person").map(str::to_owned),
            grant: field("grant").map(str::to_owned),
            open: open.transpose()?.map(|at| at == 0),
            outcome: outcome.transpose()?,
            verdict: verdict.transpose()?,
            since: field("since")
                .map(parse_since)
                .transpose()
                .map_err(named("since"))?,
            until: field("until")
                .map(parse_since)
                .transpose()
                .map_err(named("until"))?,
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
