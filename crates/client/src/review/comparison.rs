//! Result of comparing a proposed run with the last successful run of the step.

use crate::PrintableText;

/// Result of comparing a proposed run with the last successful run of the step.
#[derive(Clone, Default)]
pub enum RunComparison {
    /// The boundary was not asked, or did not answer.
    #[default]
    Unknown,
    /// The boundary reports no successful run of this step.
    First,
    /// The boundary reports a successful run.
    Since {
        /// Text with the time of the last successful run and the number of successful runs.
        last: String,
        /// Parts of the run that were compared.
        compared: &'static str,
        /// Names of the parts that changed.
        changed: Vec<String>,
        /// Changed lines of the script.
        script: Vec<LineDifference>,
        /// Other changed fields.
        fields: Vec<LineDifference>,
    },
}

/// Changed line or field.
#[derive(Clone)]
pub struct LineDifference {
    /// True for the old text, false for the new text.
    pub was: bool,
    /// Line number, or `None` for a field.
    pub number: Option<usize>,
    /// Text of the line or field.
    pub text: PrintableText,
}

/// Differences between two definitions of a step.
#[derive(Default)]
pub struct DefinitionDifferences {
    /// Changed lines of the script.
    pub script: Vec<LineDifference>,
    /// Other changed fields.
    pub fields: Vec<LineDifference>,
}

impl RunComparison {
    /// Returns one sentence about the comparison. The screen shows this sentence below the script.
    pub fn words(&self) -> Option<PrintableText> {
        match self {
            // A remark says that no success is known.
            Self::Unknown | Self::First => None,
            Self::Since {
                last,
                compared,
                changed,
                ..
            } if changed.is_empty() => Some(
                PrintableText::words(compared)
                    .and(" unchanged since the last successful run ")
                    .then(format!("({last})")),
            ),
            Self::Since { last, changed, .. } => Some(
                PrintableText::words("CHANGED since the last successful run ")
                    .then(format!("({last}): {}", changed.join(", "))),
            ),
        }
    }
}
