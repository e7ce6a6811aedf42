//! What is wrong with a runbook, and where.

use std::fmt;

/// What is wrong in a runbook, with its place and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryError {
    /// The file, relative to its runbook directory (with the directory before it when there are several).
    pub file: String,
    /// The line, from 1; 0 when no place in the file is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 when no place in the file is meant.
    pub column: usize,
    /// What happened, and what to do.
    pub message: String,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of files come from elsewhere: nothing in them may steer a terminal.
        let file = self.file.escape_debug();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.column, self.message),
        }
    }
}

impl std::error::Error for RegistryError {}

pub(super) fn whole(file: &str, message: String) -> RegistryError {
    RegistryError { file: file.to_owned(), line: 0, column: 0, message }
}
