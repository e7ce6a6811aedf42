//! What the tables of an audit say about approvals, reviews and revocations, in words.

use crate::{observed_word, verdict_word};
use documents::RevokedSubject;
use verdict::{ReviewedLine, RevocationLine, RunReviewState};

/// Text of an empty list.
pub const NOTHING: &str = "nothing";

/// Joins names and other words.
pub fn joined<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() {
        NOTHING.to_owned()
    } else {
        names.join(", ")
    }
}

/// Returns the approvers of a run, with the mark of an emergency.
pub fn approval_words(names: &str, is_emergency: bool) -> String {
    if is_emergency {
        format!("{names} (EMERGENCY)")
    } else {
        names.to_owned()
    }
}

/// Describes what a review says.
pub fn review_words(line: &ReviewedLine) -> String {
    let reviewer = line
        .reviewer
        .as_ref()
        .map_or("an unknown person", |name| name.as_str());
    let observed = line.observed.map_or_else(String::new, |end| {
        format!(", observed: {}", observed_word(end))
    });
    format!("run {} by {reviewer}{observed}", verdict_word(line.verdict))
}

/// Says what the reviews of a run say, and what they leave open.
pub fn review_state_words(run: &RunReviewState) -> String {
    let emergency = match (run.emergency, run.reviewed_by.is_empty()) {
        (true, _) => Some("EMERGENCY: unreviewed".to_owned()),
        (false, false) => Some(format!(
            "EMERGENCY: reviewed by {}",
            joined(&run.reviewed_by)
        )),
        (false, true) => None,
    };
    let end = match (run.disputed, run.unsettled, run.settled) {
        (true, ..) => Some("DISPUTED, so not settled".to_owned()),
        (false, true, _) => Some("not settled".to_owned()),
        (false, false, Some(end)) => Some(format!(
            "settled as {} by {}",
            observed_word(end),
            joined(&run.settled_by)
        )),
        (false, false, None) => None,
    };
    emergency
        .into_iter()
        .chain(end)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Describes what a revocation ended, and who signed it.
pub fn revocation_words(line: &RevocationLine) -> String {
    let what = match (&line.token, &line.grant, line.subject) {
        (Some(name), ..) => format!("token {name} revoked"),
        (_, Some(grant), _) => format!("grant {grant} revoked"),
        (.., RevokedSubject::Epoch(_)) => "frozen".to_owned(),
        (.., subject) => format!("{subject} revoked"),
    };
    format!("{what} by {}", line.signer)
}
