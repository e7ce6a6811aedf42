//! Describes the outcome and the reviews of a run in words.

use documents::{ObservedEnd, Outcome, ReviewVerdict};

/// Describes the outcome of a run in words.
pub fn outcome_words(outcome: &Outcome) -> String {
    let mut words = outcome.status.word().replace('_', " ");
    if let Some(code) = outcome.exit_code {
        words += &format!(", exit code {code}");
    }
    if let Some(signal) = outcome.signal {
        words += &format!(", signal {signal}");
    }
    if let Some(limit) = &outcome.limit {
        words += &format!(", limit {limit}");
    }
    words
}

/// Returns the word for how a run ended, by a reviewer.
pub const fn observed_word(end: ObservedEnd) -> &'static str {
    match end {
        ObservedEnd::Succeeded => "succeeded",
        ObservedEnd::Failed => "failed",
        ObservedEnd::NotStarted => "not started",
        ObservedEnd::Partly => "partly",
    }
}

/// Returns the word for the verdict of a reviewer.
pub const fn verdict_word(verdict: ReviewVerdict) -> &'static str {
    match verdict {
        ReviewVerdict::Accepted => "accepted",
        ReviewVerdict::Rejected => "rejected",
    }
}
