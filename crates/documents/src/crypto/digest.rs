//! Digests: SHA-256 for documents, and BLAKE3 for large outputs.
//!
//! Each kind of document has its own digest type, without conversions. So no code can compare, for example, the digest
//! of a step with the digest of parameters by mistake.

use std::{fmt, str::FromStr};

use sha2::Digest as _;

/// The error for a text that does not have the form `<algorithm>:<64 lower-case hex digits>`.
#[derive(Debug, thiserror::Error)]
#[error("a digest must have the form {expected}:<64 lower-case hex digits>")]
pub struct DigestFormatError {
    expected: &'static str,
}

/// Returns the SHA-256 digest of `bytes` (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-256 of a stream, for output that is hashed while it arrives.
#[derive(Debug, Default, Clone)]
pub struct Sha256Stream(sha2::Sha256);

impl Sha256Stream {
    /// Adds `bytes` to the hashed stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes of the stream.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Returns `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads 64 lower-case hex digits as 32 bytes. Returns `None` for any other text.
pub fn unhex32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    unhex(text, &mut bytes)?;
    Some(bytes)
}

/// Decodes lower-case hex digits into `bytes`. Returns `None` if the text does not have exactly two such digits for
/// each byte.
pub fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let text = text.as_bytes();
    if text.len() != bytes.len() * 2 {
        return None;
    }
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(())
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Returns the digest with these 32 bytes, which come from the store or an in-toto subject.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 bytes of the digest.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 lower-case hex digits, without the name of the algorithm.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, concat!($prefix, ":{}"), hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = DigestFormatError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, ":"))
                    .and_then(unhex32)
                    .map(Self)
                    .ok_or(DigestFormatError { expected: $prefix })
            }
        }

        written_as_text!($name, |this, serializer| serializer.collect_str(this), {"type": "string", "pattern": concat!("^", $prefix, ":[0-9a-f]{64}$")});
    };
}

macro_rules! sha256_type {
    ($(#[$doc:meta])* $name:ident) => {
        digest_type!($(#[$doc])* $name, "sha256");

        impl $name {
            /// Returns the digest of exactly these bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(sha256(bytes))
            }
        }
    };
}

sha256_type!(
    /// Digest of a step: SHA-256 of the canonical JSON of the step's definition.
    StepDigest
);
sha256_type!(
    /// Digest of parameters: SHA-256 of the canonical JSON of the complete parameter object.
    ParamsDigest
);
sha256_type!(
    /// Digest of an authorization: SHA-256 of the bytes of its payload.
    AuthorizationDigest
);
sha256_type!(
    /// Digest of a seal: SHA-256 of the bytes of its payload. The digest of the first seal is the id of the boundary.
    SealDigest
);
sha256_type!(
    /// Digest of a roster: SHA-256 of the bytes of its payload.
    RosterDigest
);
sha256_type!(
    /// Digest of a policy: SHA-256 of the canonical JSON of the file, without added defaults.
    PolicyDigest
);
sha256_type!(
    /// Digest of a blob, which is also the key of the blob in the store.
    BlobDigest
);
sha256_type!(
    /// Digest of recorded bytes of a run: an output, a captured file, or a manifest.
    ContentDigest
);
sha256_type!(
    /// Digest of a script after the program has filled in its templates.
    RenderedDigest
);
sha256_type!(
    /// Digest of any input to the boundary, which is the subject of a refusal.
    InputDigest
);
digest_type!(
    /// RFC 6962 leaf hash, SHA-256(0x00 ‖ leaf data), written with the prefix of a digest.
    LeafHash,
    "sha256"
);
digest_type!(
    /// RFC 6962 root hash of the registry's leaves.
    RegistryRoot,
    "sha256"
);
digest_type!(
    /// BLAKE3 digest of large bytes in the store and over HTTP.
    Blake3Digest,
    "blake3"
);

impl Blake3Digest {
    /// Returns the digest of exactly these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

/// BLAKE3 of a stream, for output that is hashed while it arrives.
#[derive(Debug, Default)]
pub struct Blake3Stream(blake3::Hasher);

impl Blake3Stream {
    /// Adds `bytes` to the hashed stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes of the stream.
    pub fn finish(&self) -> Blake3Digest {
        Blake3Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_empty_input_has_its_known_value() {
        assert_eq!(
            BlobDigest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            Blake3Digest::of(b"").to_string(),
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn the_digest_of_a_stream_equals_the_digest_of_all_its_bytes() {
        let mut sha = Sha256Stream::default();
        let mut blake = Blake3Stream::default();
        for chunk in [&b"ab"[..], b"", b"c"] {
            sha.update(chunk);
            blake.update(chunk);
        }
        assert_eq!(sha.finish(), sha256(b"abc"));
        assert_eq!(blake.finish(), Blake3Digest::of(b"abc"));
    }
}
