//! How a run differs from the last one that succeeded.

use crate::terminal::screen::PrintableText;

/// How a run compares with the last one that succeeded.
#[derive(Debug, Clone, Default)]
pub enum RunComparison {
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
        script: Vec<LineDifference>,
        /// Other fields that differ.
        fields: Vec<LineDifference>,
    },
}

/// A line or field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineDifference {
    /// Whether it is how it was, and not how it is now.
    pub was: bool,
    /// The line's number; none for a field.
    pub number: Option<usize>,
    /// The line or field.
    pub text: PrintableText,
}

impl RunComparison {
    /// What the line below the script says.
    #[must_use]
    pub fn words(&self) -> Option<PrintableText> {
        match self {
            Self::Unknown => None,
            Self::First => Some(PrintableText::words("no success of this step is known")),
            Self::Since { last, compared, changed, .. } if changed.is_empty() => Some(
                PrintableText::words(compared)
                    .and(" unchanged since the last success ")
                    .then(&PrintableText::text(&format!("({last})"))),
            ),
            Self::Since { last, changed, .. } => Some(
                PrintableText::words("CHANGED since the last success ")
                    .then(&PrintableText::text(&format!("({last}): {}", changed.join(", ")))),
            ),
        }
    }
}
