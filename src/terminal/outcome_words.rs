//! Describes the outcome of a run in words.

use crate::record::receipt::Outcome;

/// Describes the outcome of a run in words.
#[must_use]
pub fn outcome_words(outcome: &Outcome) -> String {
    let mut words = outcome.status.word().replace('_', " ");
    if let Some(code) = outcome.exit_code {
        words.push_str(&format!(", exit code {code}"));
        if code == XFSZ_IN_A_SHELL {
            words.push_str(" (a shell's code for a program that reached the limit file_bytes)");
        }
    }
    if let Some(signal) = outcome.signal {
        words.push_str(&format!(", signal {signal}"));
    }
    if let Some(limit) = &outcome.limit {
        words.push_str(&format!(", limit {limit}"));
    }
    words
}

/// Exit code of a shell whose last command was ended by SIGXFSZ (128 + 25). SIGXFSZ means that a file reached its
/// size limit.
pub const XFSZ_IN_A_SHELL: u8 = 153;
