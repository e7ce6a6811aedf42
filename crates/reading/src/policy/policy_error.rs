//! Error type for policies.

use std::fmt;

use crate::YamlFlaw;

/// A problem in a policy, with a proposed correction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// Line of the problem in the file, from 1. The line is 0 if the policy is not from a file.
    pub line: usize,
    /// Column in characters, from 1. The column is 0 if the policy is not from a file.
    pub column: usize,
    /// The problem, and how to correct the policy.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

impl From<YamlFlaw> for PolicyError {
    fn from(flaw: YamlFlaw) -> Self {
        Self {
            line: flaw.place.line,
            column: flaw.place.column,
            message: flaw.message,
        }
    }
}
