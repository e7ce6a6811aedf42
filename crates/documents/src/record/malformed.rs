//! An error in a document, with its place.

use std::fmt;

use crate::{Code, JsonError, ReadError, Reason, canonical::CanonicalError};

/// The error of a document: the place and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
            too_large: false,
        }
    }

    /// Makes an error about the size of a document.
    pub fn too_large(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
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
    pub const fn code(&self) -> Code {
        if self.too_large {
            Code::TooLarge
        } else {
            Code::Malformed
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "at {}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for Malformed {}

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
