//! `audit --check-report`: makes the table of a report again from the evidence, and compares it.

use std::path::Path;

use serde_json::json;

use crate::commands::audit::audit_row::COLUMNS;
use crate::commands::audit::audit_table::{AuditTable, NamedEvidence};
use crate::commands::audit::report_file::{MADE_AT, MADE_BY, OWN_NAME, ReportTable};
use crate::home::named_file::read_bounded;
use crate::home::trusted_rosters::ChosenTrust;
use crate::remote::log_source::LogSource;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Maximum size of a report in bytes: the maximum number of rows with long cells.
const MAX_REPORT_BYTES: usize = 512 << 20;
/// Number of differences that are printed. Further ones are counted.
const MOST_PRINTED: usize = 10;

/// Compares a report with the table of the evidence.
///
/// # Errors
/// Returns an error if the report or the evidence can't be read.
pub(super) fn check_report(
    report: &Path,
    named: &str,
    trust: &[ChosenTrust],
    open: impl FnOnce(&str) -> Result<LogSource, CommandFailure>,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let text = String::from_utf8(read_bounded(report, MAX_REPORT_BYTES)?)
        .map_err(|_| CommandFailure::new(Exit::CheckSaidNo, "the report is not UTF-8, so it was changed"))?;
    let report = ReportTable::parse(&text).map_err(|why| {
        let words = format!(
            "{why}: the report was changed, it is no report, or another version of the program made it (this is {OWN_NAME})"
        );
        CommandFailure::new(Exit::CheckSaidNo, words)
    })?;
    let table = AuditTable::of(&NamedEvidence::open(named, open)?, named, trust, |_, _| {})?;
    let found = differences(&report, &table);
    let equal = found.is_empty();
    if terminal.json {
        terminal.object(&json!({
            "type": "report", "equal": equal, "rows": report.rows.len(), "rows_of_evidence": table.rows.len(),
            "made_at": report.fact(MADE_AT), "differences": found,
        }))?;
    } else if equal {
        terminal.line(&format!(
            "equal: all {} rows and all facts of the report, made at {}, are those of the evidence",
            report.rows.len(),
            report.fact(MADE_AT).unwrap_or_default()
        ))?;
    } else {
        for words in found.iter().take(MOST_PRINTED) {
            terminal.line(words)?;
        }
        if found.len() > MOST_PRINTED {
            terminal.line(&format!("and {} more differences: --json prints all", found.len() - MOST_PRINTED))?;
        }
        terminal.line("DIFFERENT: the report does not show the table of this evidence")?;
    }
    Ok(if equal { Exit::Done } else { Exit::CheckSaidNo })
}

/// Returns the differences between a report and the table, in words of printable ASCII.
fn differences(report: &ReportTable, table: &AuditTable) -> Vec<String> {
    let mut found = Vec::new();
    let own: Vec<(&str, String)> = std::iter::once((MADE_BY, OWN_NAME.to_owned())).chain(table.facts()).collect();
    let stated: Vec<(&str, &str)> = report
        .facts
        .iter()
        .filter(|(name, _)| name != MADE_AT)
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if report.facts.first().is_none_or(|(name, _)| name != MADE_AT) {
        found.push("the report does not begin with the time at which it was made".to_owned());
    }
    for at in 0..own.len().max(stated.len()) {
        match (own.get(at), stated.get(at)) {
            (Some((name, value)), Some((other, said))) if name == other && value == said => {}
            (Some((name, value)), Some((other, said))) if name == other => {
                found.push(format!("{name}: the report states \"{said}\", the evidence shows \"{value}\""));
            }
            (Some((name, _)), _) => found.push(format!("the report does not state the fact \"{name}\" at its place")),
            (None, Some((other, _))) => found.push(format!("the report has a further fact \"{other}\"")),
            (None, None) => {}
        }
    }
    let mut cells = table.cells();
    for (at, row) in report.rows.iter().enumerate() {
        let Some(own) = cells.next() else {
            found.push(format!(
                "row {}: the evidence has no such row ({})",
                at + 1,
                row.last().map_or("", String::as_str)
            ));
            continue;
        };
        for (column, (said, value)) in row.iter().zip(own).enumerate().filter(|(_, (said, value))| **said != ***value) {
            let name = COLUMNS.get(column).copied().unwrap_or_default();
            let evidence = own.last().map_or("", |cell| cell);
            found.push(format!(
                "row {}, {name}: the report shows \"{said}\", the evidence shows \"{value}\" ({evidence})",
                at + 1
            ));
        }
    }
    for own in cells {
        found.push(format!("a row is missing in the report: {}", own.last().map_or("", |cell| cell)));
    }
    found
}
