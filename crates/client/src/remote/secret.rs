//! A secret that no message shows.

use std::fmt;

/// Secret that must not be printed.
#[derive(Clone)]
pub struct Secret(pub(super) zeroize::Zeroizing<String>);

impl Secret {
    /// Creates a secret from a text. Whitespace at both ends is removed.
    pub fn new(text: &str) -> Self {
        Self(zeroize::Zeroizing::new(text.trim().to_owned()))
    }

    /// Returns true if the secret has only letters, digits, `_` and `-`, so that it can be sent in a header.
    pub fn is_plain(&self) -> bool {
        !self.0.is_empty()
            && self
                .0
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
