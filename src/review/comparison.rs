//! Result of comparing a run with the last successful run of the step.

use crate::terminal::screen::Shown;

/// Result of comparing a run with the last successful run of the step.
#[derive(Debug, Clone, Default)]
pub enum Comparison {
    /// The boundary could not be asked.
    #[default]
    Unknown,
    /// The boundary reports no successful run of this step.
    First,
    /// The boundary reports a successful run.
    Since {
        /// Time of the last successful run, and number of successful runs.
        last: String,
        /// Parts of the run that were compared.
        compared: &'static str,
        /// Names of the parts that changed.
        changed: Vec<String>,
        /// Changed lines of the script.
        script: Vec<Difference>,
        /// Other changed fields.
        fields: Vec<Difference>,
    },
}

/// Changed line or field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// True for the old text, false for the new text.
    pub was: bool,
    /// Line number, or `None` for a field.
    pub number: Option<usize>,
    /// Text of the line or field.
    pub text: Shown,
}

impl Comparison {
    /// Returns the text about the comparison for the line below the script.
    #[must_use]
    pub fn words(&self) -> Option<Shown> {
        match self {
            Self::Unknown => None,
            Self::First => Some(Shown::words("no success of this step is known")),
            Self::Since { last, compared, changed, .. } if changed.is_empty() => Some(
                Shown::words(compared)
                    .and(" unchanged since the last success ")
                    .then(&Shown::text(&format!("({last})"))),
            ),
            Self::Since { last, changed, .. } => Some(
                Shown::words("CHANGED since the last success ")
                    .then(&Shown::text(&format!("({last}): {}", changed.join(", ")))),
            ),
        }
    }
}
