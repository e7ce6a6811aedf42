//! What is wrong with a parameter, and where.

use std::fmt;

/// What is wrong with parameters that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    /// Where, as a JSON pointer (RFC 6901) into the parameters; empty for the whole.
    pub pointer: String,
    /// What happened, and what to do. Long values are cut.
    pub message: String,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for ParameterError {}

/// Bounds what a hostile value can make of a message.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
