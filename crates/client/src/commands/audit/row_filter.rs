//! Filters of the table of decisions, as a form sends them.

use std::collections::BTreeMap;

use crate::{
    AuditRow, RowVerdict,
    commands::audit::{
        audit_row::{GRANT, NO_RECEIPT},
        decisions::parse_since,
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
