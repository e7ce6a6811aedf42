//! Errors in an operator's files.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::{
    ScriptOrigin, StepPlace, TemplateFlaw, TextPlace, YamlFlaw, registry::found_step::in_other_file,
};
use documents::{StepRef, first_of};

/// One error in a file, or in the access to a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileProblem {
    /// Path of the file, or the name of another object. A runbook is relative to its directory. If there are several
    /// directories, the name of the directory comes first.
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
    /// Creates a problem at a place of a file.
    fn placed(file: impl Into<String>, place: TextPlace, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: place.line,
            column: place.column,
            message: message.into(),
            can_pass: false,
        }
    }

    /// Creates a problem of a whole file.
    pub fn whole(file: impl AsRef<Path>, message: impl Into<String>) -> Self {
        let file = file.as_ref().display().to_string();
        Self::placed(file, TextPlace::default(), message)
    }

    /// Creates a problem of a store. `database` names the store.
    pub fn of_store(database: &impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::placed(database.to_string(), TextPlace::default(), what.to_string())
    }

    /// Creates the problems for flaws that a reader found in the file, or in files that this file names.
    pub fn of_flaws(file: impl AsRef<Path>, flaws: Vec<YamlFlaw>) -> Vec<Self> {
        let file = file.as_ref().display().to_string();
        let problem = |flaw| Self::of_flaw(&file, flaw);
        flaws.into_iter().map(problem).collect()
    }

    /// Creates the problem for a flaw that a reader found in the file, or in a file that this file names.
    pub fn of_flaw(file: &str, flaw: YamlFlaw) -> Self {
        let YamlFlaw {
            place,
            message,
            other_file,
        } = flaw;
        match other_file {
            None => Self::placed(file, place, message),
            Some(other) => {
                let (path, used_by) = in_other_file(file, &other);
                Self::placed(path, place, format!("{message} (used by {used_by})"))
            }
        }
    }

    /// Creates a problem of a whole step.
    pub(super) fn of_step(place: &StepPlace, message: String) -> Self {
        Self::placed(&*place.file, place.place, message)
    }

    /// Creates the problem for a flaw of the template of a step.
    pub(super) fn of_template(place: &StepPlace, flaw: &TemplateFlaw) -> Self {
        let at = place.in_script(flaw.place);
        let message = match (&place.script, at.used_by) {
            (_, Some(used_by)) => format!("{} (used by {used_by})", flaw.message),
            // The columns of the first line depend on the quotes of the attribute.
            (ScriptOrigin::Attribute(_), None) => TemplateFlaw {
                place: place.without_added(flaw.place),
                ..flaw.clone()
            }
            .in_words(),
            (_, None) => flaw.message.clone(),
        };
        Self::placed(at.file, at.place, message)
    }

    /// Returns the message without the step at its beginning.
    fn cause(&self) -> &str {
        match self.message.split_once(' ') {
            Some((step, cause)) if step.trim_end_matches(':').parse::<StepRef>().is_ok() => cause,
            _ => &self.message,
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // A file name is untrusted text, so its control characters are escaped for the terminal.
        let file = self.file.escape_debug();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.column, self.message),
        }
    }
}

/// Returns a line for each problem. More than three problems with one message are one line with the first three places
/// and the number of the others.
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
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", lines_of(.0).join("\n"))]
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

impl From<Vec<FileProblem>> for Problems {
    fn from(problems: Vec<FileProblem>) -> Self {
        Self::new(problems)
    }
}

impl From<FileProblem> for Problems {
    fn from(problem: FileProblem) -> Self {
        Self(vec![problem])
    }
}
