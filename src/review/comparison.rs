//! How a run differs from the last one that succeeded.

use crate::terminal::screen::Shown;

/// How a run compares with the last one that succeeded.
#[derive(Debug, Clone, Default)]
pub enum Comparison {
    /// The boundary could not be asked.
    #[default]
    Unknown,
    /// The boundary tells of no run of this step that succeeded.
    First,
    /// There was one.
    Since {
        /// When, and how many succeeded.
        last: String,
        /// What was compared.
        compared: &'static str,
        /// What is not the same, each in a few words.
        changed: Vec<String>,
        /// The lines of the script that differ.
        script: Vec<Difference>,
        /// Other fields that differ.
        fields: Vec<Difference>,
    },
}

/// A line or field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whether it is how it was, and not how it is now.
    pub was: bool,
    /// The line's number; none for a field.
    pub number: Option<usize>,
    /// The line or field.
    pub text: Shown,
}

impl Comparison {
    /// What the line below the script says.
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
