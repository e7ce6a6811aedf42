//! An error in a document, with its place.

use std::fmt::Display;

use crate::{Code, JsonError, ReadError, Reason, canonical::CanonicalError};

/// The error of a document: the place and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if .pointer.is_empty() { String::new() } else { format!("at {}: ", .pointer) })]
pub struct Malformed {
    /// RFC 6901 pointer into the document. It is empty for an error of the whole document.
    pub pointer: String,
    /// The error and the expected form.
    pub message: String,
    /// True if the document is too large, so that nothing else was checked.
    pub too_large: bool,
}

impl Malformed {
    /// Returns an error at `pointer`.
    pub fn at(pointer: impl Into<String>, message: impl Display) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.to_string(),
            too_large: false,
        }
    }

    /// Makes an error about the size of a document.
    pub fn too_large(pointer: impl Into<String>, message: impl Display) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.to_string(),
            too_large: true,
        }
    }

    /// Returns the same error with a place below `pointer`.
    #[must_use]
    pub fn below(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        if self.too_large {
            Code::TooLarge
        } else {
            Code::Malformed
        }
    }
}

impl From<JsonError> for Malformed {
    fn from(error: JsonError) -> Self {
        Self {
            pointer: String::new(),
            too_large: error.reason == Reason::TooLarge,
            message: error.to_string(),
        }
    }
}

impl From<CanonicalError> for Malformed {
    fn from(error: CanonicalError) -> Self {
        Self::at("", error.to_string())
    }
}

impl From<ReadError> for Malformed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Json(error) => error.into(),
            ReadError::Type { pointer, message } => Self::at(pointer, message),
        }
    }
}
