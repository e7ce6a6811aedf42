//! What is wrong with a document, and where.

use std::fmt;


use crate::crypto::json::{JsonError, ReadError, Reason};
use crate::record::code::Code;

/// A document that is not what it claims to be: where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// RFC 6901 pointer into the document, empty for the whole.
    pub pointer: String,
    /// What is wrong and what is expected.
    pub message: String,
    /// It was refused for its size alone.
    pub too_large: bool,
    /// Nothing is wrong with it: it uses what comes with a later version, at the pointer.
    pub later: bool,
}

impl Malformed {
    /// A refusal at `pointer`.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), too_large: false, later: false }
    }

    /// A refusal for size.
    #[must_use]
    pub fn too_large(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), too_large: true, later: false }
    }

    /// A refusal of what is well formed and comes with a later version.
    #[must_use]
    pub fn later(pointer: impl Into<String>) -> Self {
        let message = "this belongs to a feature that this version does not have: use a newer one".to_owned();
        Self { pointer: pointer.into(), message, too_large: false, later: true }
    }
}

impl Malformed {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match (self.later, self.too_large) {
            (true, _) => Code::LaterFeature,
            (false, true) => Code::TooLarge,
            (false, false) => Code::Malformed,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.later {
            write!(f, "later-feature {}: {}", self.pointer, self.message)
        } else if self.pointer.is_empty() {
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
            later: false,
        }
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
