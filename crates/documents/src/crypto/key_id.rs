//! The id of an OpenSSH public key: its fingerprint.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use crate::sha256;

/// Id of a key: `SHA256:` and 43 characters of base64 without padding, as `ssh-keygen -lf` prints it.
///
/// Key ids are sorted by this text, not by the hashed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 50]);

impl KeyId {
    /// Returns the text as it is written in documents.
    #[expect(clippy::expect_used, reason = "both constructors take ASCII only")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a key id is ASCII")
    }

    /// Returns the 32 bytes of the id: the SHA-256 digest of the key.
    #[expect(
        clippy::expect_used,
        reason = "each constructor takes 32 bytes in base64"
    )]
    pub fn to_bytes(&self) -> [u8; 32] {
        let bytes = STANDARD_NO_PAD.decode(&self.0[7..]).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .expect("a key id has 32 bytes")
    }

    pub(super) fn of_blob(blob: &[u8]) -> Self {
        Self::from_bytes(&sha256(blob))
    }

    /// Returns the id with these 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut id = *b"SHA256:-------------------------------------------";
        for (place, c) in id[7..]
            .iter_mut()
            .zip(STANDARD_NO_PAD.encode(bytes).bytes())
        {
            *place = c;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a text that is not a key id.
#[derive(Debug, thiserror::Error)]
#[error(
    "a key id must have the form SHA256:<43 characters of base64>, as `ssh-keygen -lf` prints the id"
)]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;
    fn from_str(id: &str) -> Result<Self, KeyIdError> {
        // The decoder also refuses stray bits at the end, so each hash has only one text.
        let hash = id
            .strip_prefix("SHA256:")
            .and_then(|hash| STANDARD_NO_PAD.decode(hash).ok());
        match (hash, id.as_bytes().try_into()) {
            (Some(hash), Ok(bytes)) if hash.len() == 32 => Ok(Self(bytes)),
            _ => Err(KeyIdError),
        }
    }
}

written_as_text!(KeyId, |this, serializer| serializer.serialize_str(this.as_str()), {"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$"});
