//! Error type for runbooks.

use std::fmt;

use serde::Serialize;

use crate::{ScriptOrigin, StepPlace, TemplateFlaw, YamlFlaw, registry::step_place::in_other_file};

/// Error in a runbook, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

impl RegistryError {
    /// Returns the error for a flaw that a reader found in the runbook `file`, or in a file that the runbook names.
    pub fn of_flaw(file: &str, flaw: YamlFlaw) -> Self {
        let YamlFlaw {
            place,
            message,
            other_file,
        } = flaw;
        let (file, message) = match other_file {
            None => (file.to_owned(), message),
            Some(other) => {
                let (path, used_by) = in_other_file(file, &other);
                (path, format!("{message} (used by {used_by})"))
            }
        };
        Self {
            file,
            line: place.line,
            column: place.column,
            message,
        }
    }

    /// Returns an error about a whole step.
    pub(super) fn of_step(place: &StepPlace, message: String) -> Self {
        let StepPlace { file, place, .. } = place;
        Self {
            file: file.to_string(),
            line: place.line,
            column: place.column,
            message,
        }
    }

    /// Returns the error for a flaw of the template of a step.
    pub(super) fn of_template(place: &StepPlace, flaw: &TemplateFlaw) -> Self {
        let at = place.in_script(flaw.line, flaw.column);
        let message = match (&place.script, at.used_by) {
            (_, Some(used_by)) => format!("{} (used by {used_by})", flaw.message),
            // The columns of the first line depend on the quotes of the attribute.
            (ScriptOrigin::Attribute(_), None) => {
                let column = place.column_in_file(flaw.line, flaw.column);
                format!(
                    "line {}, column {column} of the script: {}",
                    flaw.line, flaw.message
                )
            }
            (_, None) => flaw.message.clone(),
        };
        Self {
            file: at.file,
            line: at.line,
            column: at.column,
            message,
        }
    }
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
    RegistryError {
        file: file.to_owned(),
        line: 0,
        column: 0,
        message,
    }
}
