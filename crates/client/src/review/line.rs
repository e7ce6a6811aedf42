//! Lines of a review screen, each with its weight.

use serde_json::{Value, json};

use crate::{
    review::{comparison::RunComparison, signed_field::SignedField},
    terminal::{printable_text::PrintableText, screen::LineTone},
};

/// Weight of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineWeight {
    /// The line is on every decision screen.
    Always,
    /// The line is a remark for the approver.
    Remark(RemarkSeverity),
}

/// Kind of a remark, from the most important to the least important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemarkSeverity {
    /// The run is an emergency, which other people approve than normally.
    Emergency,
    /// A check failed or could not be made.
    Fails,
    /// Nobody saw the end of an earlier run of this step with these parameters.
    UnknownEnd,
    /// Another proposal of the same run is open, or ran a short time ago.
    SameRun,
    /// The sandbox is off.
    SandboxOff,
    /// The run uses a user account of the host.
    HostIdentity,
    /// The run writes to the host itself.
    LiveTree,
    /// The run reaches a network.
    Network,
    /// The run gets another resource of the host.
    HostNeed,
    /// A file is no text, so its content can't be shown.
    Opaque,
    /// A program or file is not known before the run starts.
    Unknowable,
    /// A built-in list denies a program, a file or a variable.
    BuiltInDenied,
    /// A text contains hidden characters, so it looks like another text.
    HiddenText,
    /// A value or a script is too long to read quickly.
    LongValue,
    /// No run of this step has succeeded yet.
    FirstRun,
    /// The run differs from the last successful run.
    Changed,
}

impl RemarkSeverity {
    /// Returns the name of the kind in `--json` and in the inbox.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Fails => "fails",
            Self::UnknownEnd => "unknown-end",
            Self::SameRun => "same-run",
            Self::SandboxOff => "sandbox-off",
            Self::HostIdentity => "host-identity",
            Self::LiveTree => "live-tree",
            Self::Network => "network",
            Self::HostNeed => "host",
            Self::Opaque => "opaque",
            Self::Unknowable => "unknown",
            Self::BuiltInDenied => "deny-list",
            Self::HiddenText => "hidden-text",
            Self::LongValue => "long-value",
            Self::FirstRun => "first-run",
            Self::Changed => "changed",
        }
    }

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
    pub fn always(name: &'static str, text: PrintableText, shows: &[&str]) -> Self {
        let shows = shows.iter().map(|path| (*path).to_owned()).collect();
        Self {
            weight: LineWeight::Always,
            name,
            tone: LineTone::Plain,
            text,
            shows,
        }
    }

    /// Creates a remark.
    pub fn remark(severity: RemarkSeverity, text: PrintableText, shows: Vec<String>) -> Self {
        let tone = if severity.is_red() {
            LineTone::Bad
        } else {
            LineTone::Plain
        };
        Self {
            weight: LineWeight::Remark(severity),
            name: "remarks",
            tone,
            text,
            shows,
        }
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
#[derive(Debug, Clone, Default)]
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
