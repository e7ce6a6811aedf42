//! The value of a secret in memory.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes of a secret. The memory is overwritten when the value is dropped. The type has no text form, and its `Debug`
/// form does not contain the bytes.
#[derive(Clone, PartialEq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes of a secret.
    pub const fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes. Pass these bytes only to a run, or to code that searches output for the secret.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_of_a_secret_does_not_contain_its_bytes() {
        let value = SecretValue::new(Zeroizing::new(b"hunter2".to_vec()));
        assert_eq!(
            format!("{value:?} {:#?}", [&value])
                .replace("[redacted]", "")
                .trim_matches(['[', ']', ' ', '\n', ',']),
            ""
        );
    }
}
