//! Everything that is wrong with what an operator wrote.

use std::fmt;
use std::path::Path;

use crate::registry::registry_error::RegistryError;
use crate::yaml::YamlFlaw;

/// Something wrong in a file or with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// The file, or what it is about.
    pub file: String,
    /// The line, from 1; 0 when no place in the file is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 when no place in the file is meant.
    pub column: usize,
    /// What happened, then what to do.
    pub message: String,
}

impl FileProblem {
    /// About a whole file.
    #[must_use]
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.display().to_string(), line: 0, column: 0, message: message.into() }
    }

    /// At a flaw's place.
    #[must_use]
    pub fn at(file: &Path, flaw: &YamlFlaw) -> Self {
        let YamlFlaw { place, message } = flaw;
        Self { file: file.display().to_string(), line: place.line, column: place.column, message: message.clone() }
    }
}

impl From<RegistryError> for FileProblem {
    fn from(error: RegistryError) -> Self {
        let RegistryError { file, line, column, message } = error;
        Self { file, line, column, message }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of files come from elsewhere: nothing in them may steer a terminal.
        let file = self.file.escape_debug();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.column, self.message),
        }
    }
}

/// Why the boundary does not start: all reasons together, in the order of files and places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<FileProblem>);

impl Problems {
    /// Ordered, each once.
    #[must_use]
    pub fn new(mut problems: Vec<FileProblem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// Each of them.
    #[must_use]
    pub fn list(&self) -> &[FileProblem] {
        &self.0
    }
}

impl From<FileProblem> for Problems {
    fn from(problem: FileProblem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
