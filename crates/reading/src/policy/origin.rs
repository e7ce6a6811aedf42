//! Origins of policy rules.

use std::{fmt, sync::Arc};

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithOrigin<T> {
    /// The value.
    pub value: T,
    /// Rule that set the value.
    pub origin: RuleOrigin,
}

/// Origin of a value in a ruling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOrigin {
    /// A built-in value or list that the policy file has not replaced.
    BuiltIn,
    /// The `default` rule.
    Default,
    /// An override, with its index from 0 and its pattern.
    Override(usize, Arc<str>),
    /// A grant, with its index from 0.
    Grant(usize),
    /// A command-line option.
    CommandLine,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Default => f.write_str("default"),
            Self::Override(index, pattern) => write!(f, "overrides[{index}] ({pattern})"),
            Self::Grant(index) => write!(f, "grants[{index}]"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
