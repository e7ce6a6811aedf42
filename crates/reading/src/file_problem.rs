//! Errors in an operator's files.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::{PolicyError, RegistryError, YamlFlaw};
use documents::{StepRef, first_of};

/// One error in a file, or in the access to a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileProblem {
    /// Path of the file, or the name of another object.
    pub file: String,
    /// Line in the file, starting at 1. The line is 0 if the problem concerns the whole file.
    pub line: usize,
    /// Column in characters, starting at 1. The column is 0 if the problem concerns the whole file.
    pub column: usize,
    /// Description of the error, then the correction.
    pub message: String,
    /// True if the reason is a database server that cannot be used now, so that a node waits.
    #[serde(skip)]
    pub can_pass: bool,
}

impl FileProblem {
    /// Creates a problem of a whole file.
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.display().to_string(),
            line: 0,
            column: 0,
            message: message.into(),
            can_pass: false,
        }
    }

    /// Creates a problem of a store. `database` names it.
    pub fn of_store(database: &impl fmt::Display, what: impl fmt::Display) -> Self {
        Self {
            file: database.to_string(),
            line: 0,
            column: 0,
            message: what.to_string(),
            can_pass: false,
        }
    }

    /// Creates a problem at the line and column that a parser reported.
    pub fn at(file: &Path, flaw: &YamlFlaw) -> Self {
        let YamlFlaw { place, message, .. } = flaw;
        Self {
            line: place.line,
            column: place.column,
            ..Self::whole(file, message.clone())
        }
    }

    /// Creates the problems of a policy file.
    pub fn of_policy(file: &Path, errors: Vec<PolicyError>) -> Vec<Self> {
        let problem = |error: PolicyError| Self {
            line: error.line,
            column: error.column,
            ..Self::whole(file, error.message)
        };
        errors.into_iter().map(problem).collect()
    }

    /// Returns the message without the step at its beginning.
    fn cause(&self) -> &str {
        match self.message.split_once(' ') {
            Some((step, cause)) if step.trim_end_matches(':').parse::<StepRef>().is_ok() => cause,
            _ => &self.message,
        }
    }
}

impl From<RegistryError> for FileProblem {
    fn from(error: RegistryError) -> Self {
        let RegistryError {
            file,
            line,
            column,
            message,
        } = error;
        Self {
            file,
            line,
            column,
            message,
            can_pass: false,
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name is untrusted text, so its control characters are escaped for the terminal.
        let file = self.file.escape_debug();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.column, self.message),
        }
    }
}

/// Returns a line for each problem. More than three problems with one message are one line with the first three places and
/// the number of the others.
pub fn lines_of(problems: &[FileProblem]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for problem in problems {
        let (cause, line) = (problem.cause(), problem.to_string());
        match groups.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((cause, vec![line])),
        }
    }
    let lines = groups.into_iter().flat_map(|(cause, lines)| {
        if lines.len() <= 3 {
            return lines;
        }
        let places: Vec<_> = lines
            .iter()
            .map(|line| line.trim_end_matches(cause).trim_end_matches([':', ' ']))
            .collect();
        vec![format!(
            "{} places ({}): {cause}",
            lines.len(),
            first_of(&places, 3)
        )]
    });
    lines.collect()
}

/// Reasons why the boundary does not start, sorted by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<FileProblem>);

impl Problems {
    /// Sorts the problems and removes duplicates.
    pub fn new(mut problems: Vec<FileProblem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// Returns true if a node waits until the database server can be used again.
    pub fn can_pass(&self) -> bool {
        self.0.iter().all(|problem| problem.can_pass)
    }

    /// Returns all problems.
    pub fn list(&self) -> &[FileProblem] {
        &self.0
    }
}

impl<E: Into<FileProblem>> From<Vec<E>> for Problems {
    fn from(problems: Vec<E>) -> Self {
        Self::new(problems.into_iter().map(Into::into).collect())
    }
}

impl From<FileProblem> for Problems {
    fn from(problem: FileProblem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines_of(&self.0).join("\n"))
    }
}

impl std::error::Error for Problems {}
