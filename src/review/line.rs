//! The lines of a review, with their weights.

use serde_json::{Value, json};

use crate::review::comparison::RunComparison;
use crate::review::signed_field::SignedField;
use crate::terminal::screen::{LineTone, PrintableText};

/// How much a line weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineWeight {
    /// It is on every decision screen.
    Always,
    /// It deserves a look before signing.
    Remark(RemarkSeverity),
}

/// How heavy a remark is; the heaviest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemarkSeverity {
    /// A check fails, or could not be made.
    Fails,
    /// The sandbox is off.
    SandboxOff,
    /// The run is a user of the host.
    HostIdentity,
    /// The run writes to the host itself.
    LiveTree,
    /// The run reaches a network.
    Network,
    /// The run gets something else of the host.
    HostNeed,
    /// What would run is not known before it runs.
    Unknowable,
    /// A built-in list denies it.
    BuiltInDenied,
    /// A text could be taken for another one.
    HiddenText,
    /// A value is too long to be read at a glance.
    LongValue,
    /// No run of this step has succeeded yet.
    FirstRun,
    /// It is not what ran last with success.
    Changed,
}

impl RemarkSeverity {
    /// The word in `--json` and in the inbox.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::SandboxOff => "sandbox-off",
            Self::HostIdentity => "host-identity",
            Self::LiveTree => "live-tree",
            Self::Network => "network",
            Self::HostNeed => "host",
            Self::Unknowable => "unknown",
            Self::BuiltInDenied => "deny-list",
            Self::HiddenText => "hidden-text",
            Self::LongValue => "long-value",
            Self::FirstRun => "first-run",
            Self::Changed => "changed",
        }
    }

    /// Whether it is red.
    #[must_use]
    pub fn is_red(self) -> bool {
        self <= Self::HiddenText
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewLine {
    /// How much it weighs.
    pub weight: LineWeight,
    /// What it is about; empty below a line of the same name.
    pub name: &'static str,
    /// How it strikes the eye.
    pub tone: LineTone,
    /// What it says.
    pub text: PrintableText,
    /// The fields that its text shows: `signed.predicate.reason`, `definition.title`.
    pub shows: Vec<String>,
}

impl ReviewLine {
    /// A line that is always there.
    #[must_use]
    pub fn always(name: &'static str, text: PrintableText, shows: &[&str]) -> Self {
        let shows = shows.iter().map(|path| (*path).to_owned()).collect();
        Self { weight: LineWeight::Always, name, tone: LineTone::Plain, text, shows }
    }

    /// A remark.
    #[must_use]
    pub fn remark(heaviness: RemarkSeverity, text: PrintableText, shows: Vec<String>) -> Self {
        let tone = if heaviness.is_red() { LineTone::Bad } else { LineTone::Plain };
        Self { weight: LineWeight::Remark(heaviness), name: "remarks", tone, text, shows }
    }

    pub(super) fn to_json(&self) -> Value {
        let weight = match self.weight {
            LineWeight::Always => "always",
            LineWeight::Remark(heaviness) => heaviness.word(),
        };
        json!({"weight": weight, "name": self.name, "text": self.text.as_str(), "shows": self.shows})
    }
}

/// All that a face draws of a review, besides the two complete lists of fields.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// What runs where, and who asked.
    pub heading: PrintableText,
    /// What the heading shows.
    pub heading_shows: Vec<String>,
    /// Values that the lines below show in part: they are whole above the script.
    pub whole: Vec<PrintableText>,
    /// What is said below the script.
    pub foot: PrintableText,
    /// What differs from the last run that succeeded.
    pub comparison: RunComparison,
    /// The lines that are always there.
    pub always: Vec<ReviewLine>,
    /// Each parameter in a row.
    pub parameters: Vec<PrintableText>,
    /// The remarks, heaviest first.
    pub remarks: Vec<ReviewLine>,
    /// Every signed field, and where it is shown or why it need not be.
    pub fields: Vec<SignedField>,
}

/// At most this many remarks are above the question.
pub const MOST_REMARKS: usize = 5;

/// At most this many parameters are on the decision screen.
pub const MOST_PARAMETERS: usize = 12;

/// So many characters are in a row beside its name.
pub const ROW: usize = 64;
