//! Errors of templates.

use std::fmt;

use crate::{ScriptPlace, shell::commands::place};

/// Flaw in a template, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TemplateFlaw {
    /// Byte offset in the source.
    pub offset: usize,
    /// The line, from 1.
    pub line: usize,
    /// Number of the character in the line, from 1.
    pub column: usize,
    /// The problem, and what to write instead.
    pub message: String,
}

impl TemplateFlaw {
    /// Returns the flaw at this byte of the source.
    pub fn new(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let ScriptPlace { line, column } = place(source, offset);
        Self {
            offset: offset.min(source.len()),
            line,
            column,
            message: message.into(),
        }
    }
}

/// Reason why a template can't be rendered with the given parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// Name of the parameter, empty if the error concerns several parameters together.
    pub parameter: String,
    /// The problem, and how to correct it.
    pub message: String,
}

impl RenderError {
    pub(super) fn new(parameter: &str, message: impl Into<String>) -> Self {
        Self {
            parameter: parameter.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parameter.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "/{}: {}", self.parameter, self.message)
        }
    }
}

impl std::error::Error for RenderError {}
