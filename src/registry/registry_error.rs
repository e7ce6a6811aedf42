//! Error type for runbooks.

use std::fmt;

/// Error in a runbook, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryError {
    /// File, relative to its runbook directory. If there are several runbook directories, the name of the directory
    /// comes first.
    pub file: String,
    /// Line number, from 1. The number is 0 if the error has no place in the file.
    pub line: usize,
    /// Column number in characters, from 1. The number is 0 if the error has no place in the file.
    pub column: usize,
    /// Description of the error and its correction.
    pub message: String,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name may contain control characters, which are escaped for the terminal.
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
