//! Random secrets, and the authentication codes of forms.

use std::io;

/// Key of the authentication codes of forms. Each server of pages has its own key, and at a desk each login.
#[derive(Clone)]
pub struct FormKey([u8; 32]);

impl FormKey {
    /// Makes a key.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes.
    pub fn random() -> io::Result<Self> {
        random().map(Self)
    }

    /// Returns the authentication code of a form, a keyed hash. It is valid only for this path, these contents and this key.
    pub fn seal(&self, path: &str, contents: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(&(path.len() as u64).to_le_bytes())
            .update(path.as_bytes())
            .update(contents.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Returns true if this key made the seal for this path and these contents.
    pub fn is_sealed(&self, path: &str, contents: &str, seal: &str) -> bool {
        equal(&self.seal(path, contents), seal)
    }
}

/// Returns random bytes.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// Compares two secrets. The time does not depend on their contents, because only their hashes are compared.
pub fn equal(own: &str, given: &str) -> bool {
    blake3::hash(own.as_bytes()) == blake3::hash(given.as_bytes())
}
