//! Describes the outcome of a run in words.

use documents::record::receipt::Outcome;

/// Describes the outcome of a run in words.
#[must_use]
pub fn outcome_words(outcome: &Outcome) -> String {
    let mut words = outcome.status.word().replace('_', " ");
    if let Some(code) = outcome.exit_code {
        words.push_str(&format!(", exit code {code}"));
    }
    if let Some(signal) = outcome.signal {
        words.push_str(&format!(", signal {signal}"));
    }
    if let Some(limit) = &outcome.limit {
        words.push_str(&format!(", limit {limit}"));
    }
    words
}
