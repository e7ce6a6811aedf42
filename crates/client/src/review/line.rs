//! Defines the parts of a review screen: the lines with their weights, the signed fields with the lines that show them,
//! and the comparison with the last successful run of the step.

use serde_json::{Value, json};

use crate::{LineTone, PrintableText};

/// Weight of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineWeight {
    /// The line is on every decision screen.
    Always,
    /// The line is a remark for the approver.
    Remark(RemarkSeverity),
}

documents::words! {
    /// Kind of a remark, from the most important to the least important.
    #[derive(PartialOrd, Ord)]
    pub enum RemarkSeverity {
        /// The run is an emergency, which other people approve than normally.
        Emergency = "emergency",
        /// A check failed or could not be made.
        Fails = "fails",
        /// Nobody saw the end of an earlier run of this step with these parameters.
        UnknownEnd = "unknown-end",
        /// Another proposal of the same run is open, or ran a short time ago.
        SameRun = "same-run",
        /// The sandbox is off.
        SandboxOff = "sandbox-off",
        /// The run uses a user account of the host.
        HostIdentity = "host-identity",
        /// The run writes to the host itself.
        LiveTree = "live-tree",
        /// The run reaches a network.
        Network = "network",
        /// The run gets another resource of the host.
        HostNeed = "host",
        /// A file is no text, so its content can't be shown.
        Opaque = "opaque",
        /// A program or file is not known before the run starts.
        Unknowable = "unknown",
        /// A built-in list denies a program, a file or a variable.
        BuiltInDenied = "deny-list",
        /// A text contains hidden characters, so it looks like another text.
        HiddenText = "hidden-text",
        /// A value or a script is too long to read quickly.
        LongValue = "long-value",
        /// No run of this step has succeeded yet.
        FirstRun = "first-run",
        /// The run differs from the last successful run.
        Changed = "changed",
    }
}

impl RemarkSeverity {
    /// Returns true if the remark is shown in red.
    pub fn is_red(self) -> bool {
        self <= Self::HiddenText
    }
}

/// Line of a review.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewLine {
    /// Weight of the line.
    pub weight: LineWeight,
    /// Topic of the line, or an empty text if the previous line has the same topic.
    pub name: &'static str,
    /// Color of the line.
    pub tone: LineTone,
    /// Text of the line.
    pub text: PrintableText,
    /// Paths of the fields that the line shows, for example `signed.predicate.reason` or `definition.title`.
    pub shows: Vec<String>,
}

impl ReviewLine {
    /// Creates a line that is on every decision screen.
    pub fn always(name: &'static str, text: impl Into<PrintableText>) -> Self {
        Self {
            weight: LineWeight::Always,
            name,
            tone: LineTone::Plain,
            text: text.into(),
            shows: Vec::new(),
        }
    }

    /// Creates a remark.
    pub fn remark(severity: RemarkSeverity, text: impl Into<PrintableText>) -> Self {
        Self {
            weight: LineWeight::Remark(severity),
            tone: if severity.is_red() {
                LineTone::Bad
            } else {
                LineTone::Plain
            },
            ..Self::always("remarks", text)
        }
    }

    /// Adds paths of fields that the line shows.
    pub fn showing(mut self, paths: impl IntoIterator<Item = String>) -> Self {
        self.shows.extend(paths);
        self
    }

    /// Changes the color of the line.
    pub fn toned(mut self, tone: LineTone) -> Self {
        self.tone = tone;
        self
    }

    pub fn to_json(&self) -> Value {
        let weight = match self.weight {
            LineWeight::Always => "always",
            LineWeight::Remark(severity) => severity.word(),
        };
        json!({"weight": weight, "name": self.name, "text": self.text.as_str(), "shows": self.shows})
    }
}

/// Content of a review screen, without the two complete lists of fields.
#[derive(Clone, Default)]
pub struct Lines {
    /// First line of the screen and of the decision: the step, the boundary, the proposer and the end of the id.
    pub heading: PrintableText,
    /// Paths of the fields that the heading shows.
    pub heading_shows: Vec<String>,
    /// Lines above the script: identifiers and times that no person compares at each decision.
    pub above: Vec<ReviewLine>,
    /// Long values that the lines show only in part. The screen shows them in full above the script.
    pub whole: Vec<PrintableText>,
    /// Line below the script.
    pub foot: PrintableText,
    /// Differences from the last successful run.
    pub comparison: RunComparison,
    /// Lines directly above the question.
    pub always: Vec<ReviewLine>,
    /// Parameters, one row each.
    pub parameters: Vec<PrintableText>,
    /// Remarks, most important first.
    pub remarks: Vec<ReviewLine>,
    /// Signed fields, each with the line that shows it, or the reason why no line shows it.
    pub fields: Vec<SignedField>,
}

/// Maximum number of remarks directly above the question.
pub const MOST_REMARKS: usize = 5;

/// Maximum number of lines of all texts together. If there are more, a remark says so, and a terminal shows the texts
/// in a pager.
pub const MOST_LINES: usize = 60;

/// Maximum number of parameters on the decision screen.
pub const MOST_PARAMETERS: usize = 12;

/// Width of a parameter's value in a row, in characters, without the name.
pub const ROW: usize = 64;

/// Signed field and its coverage by the decision screen.
#[derive(Clone)]
pub struct SignedField {
    /// Path of the field, for example `signed.predicate.reason`, or `definition.title` for a field of the definition.
    pub path: String,
    /// Value of the field.
    pub value: Value,
    /// Reason why the field counts as shown, or not.
    pub why: FieldReason,
}

/// Coverage of a field by the decision screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldReason {
    /// A line with this name shows the field.
    Shown(&'static str),
    /// The field equals this value, which the screen shows.
    Equals(&'static str),
    /// The field has its built-in default.
    Default,
    /// The field only restricts the parameters, which the screen shows and which fit the schema.
    Schema,
    /// The field should equal this value, but the check failed, so signing is impossible.
    Open(&'static str),
    /// The screen does not cover the field.
    Nowhere,
}

impl FieldReason {
    /// Returns the description in words, for the list of fields.
    pub fn words(self) -> String {
        match self {
            Self::Shown(name) => format!("shown: {name}"),
            Self::Equals(what) => format!("equals {what}"),
            Self::Default => "a built-in default".to_owned(),
            Self::Schema => "only restricts the parameters".to_owned(),
            Self::Open(what) => format!("NOT PROVED to equal {what}"),
            Self::Nowhere => "NOT SHOWN".to_owned(),
        }
    }
}

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
