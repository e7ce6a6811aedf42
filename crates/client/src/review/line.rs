//! Lines of a review screen, each with its weight.

use serde_json::{Value, json};

use crate::{LineTone, PrintableText, RunComparison, SignedField};

/// Weight of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineWeight {
    /// The line is on every decision screen.
    Always,
    /// The line is a remark for the approver.
    Remark(RemarkSeverity),
}

documents::words! {
    /// Kind of a remark, from the most important to the least important.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

    pub(super) fn to_json(&self) -> Value {
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

/// Number of lines of all texts above which a text is long: a remark says so, and a terminal shows it in a pager.
pub const MOST_LINES: usize = 60;

/// Maximum number of parameters on the decision screen.
pub const MOST_PARAMETERS: usize = 12;

/// Width of a parameter's value in a row, in characters, without the name.
pub const ROW: usize = 64;
