//! Where a rule comes from.

use std::fmt;
use std::sync::Arc;

/// A value and the rule that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithOrigin<T> {
    /// The value.
    pub value: T,
    /// The rule that set it last.
    pub origin: RuleOrigin,
}

/// Where a value of a ruling comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOrigin {
    /// The policy says nothing; this is what the program does then.
    BuiltIn,
    /// `default`.
    Default,
    /// The override at this index, from 0, with its pattern.
    Override(usize, Arc<str>),
    /// The grant at this index, from 0.
    Grant(usize),
    /// An option of the command line.
    CommandLine,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Default => f.write_str("default"),
            Self::Override(index, pattern) => write!(f, "overrides[{index}] ({pattern})"),
            Self::Grant(index) => write!(f, "grants[{index}]"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
