//! The grants of a log, apart from its runs: who signed each grant, how often runs used it, and how it ended.

use crate::{PrintableText, joined};
use documents::Timestamp;
use verdict::GrantLine;

/// Names of the columns of the table of grants.
pub const GRANT_COLUMNS: [&str; 8] = [
    "Grant",
    "Grantee",
    "Signed by",
    "Until",
    "Uses",
    "Last use",
    "Ended",
    "Evidence",
];

/// Returns the cells of a grant at the end of the log, in printable ASCII.
pub fn grant_cells(line: &GrantLine, at: Timestamp) -> [String; GRANT_COLUMNS.len()] {
    [
        line.grant.to_string(),
        line.grantee.to_string(),
        joined(&line.signers),
        line.until.to_string(),
        format!("{} of {}", line.uses, line.max_uses),
        line.last
            .map_or_else(|| "not used".to_owned(), |last| last.to_string()),
        end_words(line, at),
        format!("log entry {}, proposed by {}", line.entry, line.proposer),
    ]
    .map(|cell| PrintableText::text(&cell).to_string())
}

/// Describes a grant in one line, with the words of the table.
pub fn grant_words(line: &GrantLine, at: Timestamp) -> String {
    let [grant, grantee, signers, until, uses, last, end, evidence] = grant_cells(line, at);
    let last = if line.last.is_some() {
        format!("last use at {last}")
    } else {
        last
    };
    format!(
        "{grant} for {grantee}, signed by {signers} ({evidence}): {uses} uses, {last}, until {until}: {end}"
    )
}

/// Says whether and how a grant ended.
fn end_words(line: &GrantLine, at: Timestamp) -> String {
    if let Some(entry) = line.revoked {
        let by = line
            .revoked_by
            .as_ref()
            .map_or_else(String::new, |by| format!(" by {by}"));
        return format!("revoked{by} at entry {entry}");
    }
    if line.uses >= line.max_uses {
        return "exhausted".to_owned();
    }
    if at >= line.until {
        return "expired".to_owned();
    }
    if let Some(why) = &line.unusable {
        return format!("can't be used: {why}");
    }
    line.paused.map_or_else(
        || "active".to_owned(),
        |entry| format!("can't be used: nobody saw the end of the run at entry {entry}"),
    )
}

/// Returns true if a run can still use the grant at this time.
pub fn is_active(grant: &GrantLine, at: Timestamp) -> bool {
    grant.revoked.is_none()
        && grant.uses < grant.max_uses
        && at < grant.until
        && grant.unusable.is_none()
}
