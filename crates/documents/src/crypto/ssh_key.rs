//! OpenSSH public keys.
//!
//! A key is a line of the form `ssh-ed25519 BASE64 [comment]` or `sk-ssh-ed25519@openssh.com BASE64 [comment]` (FIDO).

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    KeyId, Passkey, PublicKey, WireReader,
    crypto::{
        signature::KeyError,
        ssh_wire::{put, text},
    },
    sha256,
};

/// Maximum length of a public key line, in bytes, because the size of a roster is limited.
pub const MAX_LINE_BYTES: usize = 1024;

pub const PLAIN: &str = "ssh-ed25519";
pub const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com";

/// Public key as a line in OpenSSH's format. Clones are cheap. Two keys are equal if their lines are equal.
#[derive(Clone)]
pub struct SshKey(Arc<Inner>);

struct Inner {
    public: PublicKey,
    /// Application (relying party) of a security key, usually `ssh:`, which each signature of the key covers.
    application: Option<String>,
    /// Encoded key, which SSHSIG signatures contain. The key id is its hash.
    blob: Vec<u8>,
    keyid: KeyId,
    line: String,
    comment_at: usize,
}

impl SshKey {
    /// Reads one line of an `authorized_keys` or `.pub` file, without options and without a line end.
    ///
    /// # Errors
    /// Returns an error if the line is not exactly `TYPE BASE64 [COMMENT]` with a strong Ed25519 key.
    pub fn parse(line: &str) -> Result<Self, SshKeyError> {
        let (kind, encoded) = type_and_data(line)?;
        if kind != PLAIN && kind != SECURITY_KEY {
            return Err(SshKeyError::OtherType(kind.chars().take(60).collect()));
        }
        let blob = STANDARD.decode(encoded).map_err(|_| SshKeyError::Base64)?;
        let (public, application) = parse_blob(kind, &blob)?;
        let comment_at = line.len().min(kind.len() + 1 + encoded.len() + 1);
        let keyid = KeyId::of_blob(&blob);
        Ok(Self(Arc::new(Inner {
            public,
            application,
            blob,
            keyid,
            line: line.to_owned(),
            comment_at,
        })))
    }

    /// Makes the line of an `ssh-ed25519` key.
    ///
    /// # Errors
    /// Returns an error if the comment contains control characters or is too long.
    pub fn from_public(public: PublicKey, comment: &str) -> Result<Self, SshKeyError> {
        let mut blob = Vec::with_capacity(51);
        put(&mut blob, PLAIN.as_bytes());
        put(&mut blob, public.as_bytes());
        Self::from_blob(&blob, comment)
    }

    /// Reads the key from a blob, as in private key files and in agents.
    ///
    /// # Errors
    /// Returns the errors of [`Self::parse`].
    pub fn from_blob(blob: &[u8], comment: &str) -> Result<Self, SshKeyError> {
        let kind = WireReader(blob)
            .string()
            .and_then(text)
            .ok_or(SshKeyError::Blob)?;
        let space = if comment.is_empty() { "" } else { " " };
        Self::parse(&format!("{kind} {}{space}{comment}", STANDARD.encode(blob)))
    }

    /// Returns the OpenSSH fingerprint, as `ssh-keygen -lf` prints it.
    pub fn keyid(&self) -> KeyId {
        self.0.keyid
    }

    /// Returns the 32 bytes of the public key. A plain key and a security key can have the same bytes.
    pub fn material(&self) -> &[u8; 32] {
        self.0.public.as_bytes()
    }

    /// Returns the Ed25519 key.
    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    /// Returns the application of a security key, or `None` for a plain key.
    pub(super) fn application(&self) -> Option<&str> {
        self.0.application.as_deref()
    }

    /// Returns the encoded key.
    pub(super) fn blob(&self) -> &[u8] {
        &self.0.blob
    }

    /// Returns true if the key is in a FIDO authenticator.
    pub fn is_security_key(&self) -> bool {
        self.0.application.is_some()
    }

    /// Returns the comment of the line, often a person's address, or an empty text.
    pub fn comment(&self) -> &str {
        &self.0.line[self.0.comment_at..]
    }

    /// Returns the line as it was read.
    pub fn line(&self) -> &str {
        &self.0.line
    }
}

impl PartialEq for SshKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.line == other.0.line
    }
}

impl Eq for SshKey {}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SshKey({:?})", self.0.line)
    }
}

/// Returns the type and the base64 of a key line.
fn type_and_data(line: &str) -> Result<(&str, &str), SshKeyError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(SshKeyError::TooLong);
    }
    if line.chars().any(char::is_control) {
        return Err(SshKeyError::Control);
    }
    let mut words = line.split(' ').chain([""]);
    Ok((
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    ))
}

/// A public key of a type that never signs a roster, a grant or a review. A roster may contain such a key. Only the
/// signatures of a passkey can count, and only on the documents that section 5 of `docs/formats.md` lists.
#[derive(Debug, Clone)]
pub struct ForeignKey {
    kind: String,
    blob: Vec<u8>,
    keyid: KeyId,
    passkey: Option<Passkey>,
}

impl ForeignKey {
    /// Reads a line `TYPE BASE64 [COMMENT]` of a type that [`SshKey::parse`] does not accept.
    ///
    /// # Errors
    /// Returns an error if the line has another form, or if its blob does not begin with its type.
    pub fn parse(line: &str) -> Result<Self, SshKeyError> {
        let (kind, encoded) = type_and_data(line)?;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_type = kind.len() <= MAX_TYPE_BYTES
            && kind.bytes().next().is_some_and(plain)
            && kind.bytes().all(|c| plain(c) || b"@.-".contains(&c));
        if !is_type || kind == PLAIN || kind == SECURITY_KEY {
            return Err(SshKeyError::OtherType(kind.chars().take(60).collect()));
        }
        let blob = STANDARD.decode(encoded).map_err(|_| SshKeyError::Base64)?;
        let mut wire = WireReader(&blob);
        if wire.string() != Some(kind.as_bytes()) || wire.0.is_empty() {
            return Err(SshKeyError::Blob);
        }
        let keyid = KeyId::of_blob(&blob);
        let passkey = Passkey::of_blob(&blob);
        Ok(Self {
            kind: kind.to_owned(),
            blob,
            keyid,
            passkey,
        })
    }

    /// Returns the type, which is the first word of the line.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the OpenSSH fingerprint, as `ssh-keygen -lf` prints it.
    pub fn keyid(&self) -> KeyId {
        self.keyid
    }

    /// Returns the key if it is a passkey.
    pub fn passkey(&self) -> Option<&Passkey> {
        self.passkey.as_ref()
    }

    /// Returns the warning about this key of a roster.
    pub fn warning(&self, holder: &dyn fmt::Display) -> String {
        if let Some(passkey) = &self.passkey {
            return format!(
                "the key {} of {holder} is a passkey of {}: its signatures count only if policy has `passkeys`, and \
                 never for a roster, a grant or a review",
                self.keyid,
                passkey.host()
            );
        }
        let application = self
            .application()
            .map_or_else(String::new, |text| format!(" for the application {text:?}"));
        format!(
            "the key {} of {holder} has the type {}{application}, which this version can't verify, so its signatures do not \
             count",
            self.keyid, self.kind
        )
    }

    /// Returns the application of a security key, which is the last string of its blob.
    fn application(&self) -> Option<&str> {
        let mut wire = WireReader(&self.blob);
        let last = std::iter::from_fn(|| wire.string()).last().and_then(text);
        last.filter(|text| {
            self.kind.contains("sk-") && !text.is_empty() && !text.chars().any(char::is_control)
        })
    }

    /// Returns SHA-256 of the whole blob, which represents the key in comparisons.
    pub fn material(&self) -> [u8; 32] {
        sha256(&self.blob)
    }
}

/// Maximum length of a key type's name, in bytes.
const MAX_TYPE_BYTES: usize = 64;

/// Reason why a line is not accepted as a public key.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SshKeyError {
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("the public key line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The line contains a control character, such as a line feed or an escape.
    #[error(
        "the public key line contains a control character; give one line without its line feed"
    )]
    Control,
    /// The type, given here, is not accepted.
    #[error(
        "the key type {0:?} is not accepted; use {PLAIN} or {SECURITY_KEY} (`ssh-keygen -t ed25519`)"
    )]
    OtherType(String),
    /// The second word of the line is not standard base64 with padding.
    #[error("the public key is not standard base64; copy the whole line of the .pub file")]
    Base64,
    /// The blob does not match the type at the start of the line.
    #[error("the public key's data does not fit its type; copy the whole line of the .pub file")]
    Blob,
    /// The 32 bytes are not an acceptable public key.
    #[error(transparent)]
    Key(KeyError),
}

fn parse_blob(kind: &str, blob: &[u8]) -> Result<(PublicKey, Option<String>), SshKeyError> {
    let mut wire = WireReader(blob);
    let kind_inside = wire.string().ok_or(SshKeyError::Blob)?;
    let key = wire
        .string()
        .and_then(|key| <&[u8; 32]>::try_from(key).ok())
        .ok_or(SshKeyError::Blob)?;
    let application = if kind == SECURITY_KEY {
        let application = wire.string().and_then(text).ok_or(SshKeyError::Blob)?;
        if application.is_empty() || application.chars().any(char::is_control) {
            return Err(SshKeyError::Blob);
        }
        Some(application.to_owned())
    } else {
        None
    };
    if kind_inside != kind.as_bytes() || !wire.0.is_empty() {
        return Err(SshKeyError::Blob);
    }
    Ok((
        PublicKey::from_bytes(key).map_err(SshKeyError::Key)?,
        application,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: &str = include_str!("../../../../tests/conformance/golden/valid/keys/bob.pub");

    #[test]
    fn a_line_that_does_not_contain_exactly_one_key_is_refused() {
        let line = BOB.trim_end();
        let (kind, rest) = line.split_once(' ').expect("line");
        let (encoded, _) = rest.split_once(' ').expect("line");
        let refused = |line: &str| SshKey::parse(line).expect_err(line);
        assert_eq!(refused(&format!("{line}\n")), SshKeyError::Control);
        assert_eq!(refused(&format!("{line}\u{1b}[1m")), SshKeyError::Control);
        assert_eq!(refused(&format!("{line}\u{9b}1m")), SshKeyError::Control);
        assert_eq!(
            refused("ssh-rsa AAAA x"),
            SshKeyError::OtherType("ssh-rsa".into())
        );
        assert_eq!(
            refused("ecdsa-sha2-nistp256 AAAA"),
            SshKeyError::OtherType("ecdsa-sha2-nistp256".into())
        );
        assert_eq!(
            refused(&format!("restrict {line}")),
            SshKeyError::OtherType("restrict".into())
        );
        assert_eq!(
            refused(&format!(" {line}")),
            SshKeyError::OtherType(String::new())
        );
        assert_eq!(
            refused(&format!("{kind}  {encoded}")),
            SshKeyError::Blob,
            "empty"
        );
        assert_eq!(refused(&format!("{kind} {encoded}=")), SshKeyError::Base64);
        assert_eq!(
            refused(&format!("{kind} {}", &encoded[..encoded.len() - 4])),
            SshKeyError::Blob
        );
        assert_eq!(
            refused(&format!("{kind} {encoded}AAAA")),
            SshKeyError::Blob,
            "trailing bytes"
        );
        assert_eq!(
            refused(&format!("{SECURITY_KEY} {encoded}")),
            SshKeyError::Blob,
            "another type inside"
        );
        assert_eq!(
            refused(&format!("{line} {}", "x".repeat(1024))),
            SshKeyError::TooLong
        );
        let mut weak = Vec::new();
        put(&mut weak, PLAIN.as_bytes());
        put(&mut weak, &[0; 32]);
        assert_eq!(
            SshKey::from_blob(&weak, "").expect_err("weak"),
            SshKeyError::Key(KeyError::Weak)
        );
        assert_eq!(
            SshKey::parse(&format!("{kind} {encoded}"))
                .expect("no comment")
                .comment(),
            ""
        );
        assert_eq!(
            SshKey::parse(&format!("{kind} {encoded} a b "))
                .expect("words")
                .comment(),
            "a b "
        );
    }
}
