//! Error type for parameters.

use std::fmt;

/// Error in the given parameters, with its place.
#[derive(Debug, PartialEq)]
pub struct ParameterError {
    /// JSON pointer (RFC 6901) into the parameters. The pointer is empty if the error concerns all parameters
    /// together.
    pub pointer: String,
    /// Description of the error and its correction. Long values are cut.
    pub message: String,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for ParameterError {}

/// Returns a name as a token of a JSON pointer (RFC 6901).
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Cuts a text to 300 characters, because a hostile value could make a message very long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
