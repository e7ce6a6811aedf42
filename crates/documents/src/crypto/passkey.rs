//! Passkeys: P-256 keys in an authenticator, which sign for a website (W3C WebAuthn).
//!
//! `ssh-keygen` verifies the same signatures (OpenSSH's PROTOCOL.u2f), but accepts other origins, embedded pages and a
//! signature without a person. This module refuses them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    WireReader,
    crypto::{
        note::plain_number,
        signature::{BadSignature, SignatureProof, verify_p256},
        ssh_wire::text,
    },
    json, sha256,
};

/// The type of a passkey's line in a roster.
pub const PASSKEY: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

/// The type of a signature that a browser made. A signature of `ssh-keygen` with the same type of key has another type.
pub const ASSERTION: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";

/// Maximum size of the client data, in bytes. Chromium writes 200 to 350 bytes.
pub const MAX_CLIENT_DATA: usize = 1024;

/// Maximum length of a host name, in bytes.
const MAX_HOST_BYTES: usize = 253;

// Flags of the authenticator (WebAuthn, section 6.1).
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const CAN_BE_COPIED: u8 = 0x08;
const IS_COPIED: u8 = 0x10;
const NEW_KEY: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// The order of the group of P-256 (SEC 2, section 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The public key of a passkey.
#[derive(Debug, Clone)]
pub struct Passkey {
    point: [u8; 65],
    host: String,
    blob: Vec<u8>,
}

impl Passkey {
    /// Reads the blob of a key line. Returns `None` for another type of key, another curve, or an application that is no
    /// host name, such as `ssh:`.
    pub(super) fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut wire = WireReader(blob);
        if wire.string()? != PASSKEY.as_bytes() || wire.string()? != b"nistp256" {
            return None;
        }
        let point: [u8; 65] = wire.string()?.try_into().ok()?;
        let host = text(wire.string()?)?;
        let whole = wire.0.is_empty() && point[0] == 4 && is_host(host);
        whole.then(|| Self {
            point,
            host: host.to_owned(),
            blob: blob.to_vec(),
        })
    }

    /// Returns the host of the website, which is the application of the key.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }
}

fn is_host(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.len() <= MAX_HOST_BYTES
        && text
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(plain))
}

/// What an authenticator and a browser signed: the part of an SSHSIG after the type of the signature.
pub struct Assertion<'a> {
    /// The numbers r and s, each of 32 bytes.
    numbers: [u8; 64],
    flags: u8,
    counter: u32,
    origin: &'a [u8],
    client_data: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Assertion<'a> {
    // Format: string(mpint r | mpint s) | byte flags | uint32 counter | string origin | string clientData
    // | string extensions
    pub fn read(inner: &mut WireReader<'a>) -> Result<Self, AssertionError> {
        let cut = || AssertionError("it ends too early");
        let mut pair = WireReader(inner.string().ok_or_else(cut)?);
        let mut numbers = [0; 64];
        for half in numbers.chunks_exact_mut(32) {
            half.copy_from_slice(&number(pair.string().ok_or_else(cut)?)?);
        }
        if !pair.0.is_empty() {
            return Err(AssertionError("bytes follow r and s"));
        }
        let (flags, counter) = (inner.u8().ok_or_else(cut)?, inner.u32().ok_or_else(cut)?);
        let mut string = || inner.string().ok_or_else(cut);
        Ok(Self {
            numbers,
            flags,
            counter,
            origin: string()?,
            client_data: string()?,
            extensions: string()?,
        })
    }

    /// Verifies the signature of `key` over the SSHSIG data `signed`. `(r, s)` and `(r, n - s)` are both valid, so a
    /// signature is not unique.
    pub fn verify(&self, key: &Passkey, signed: &[u8]) -> Result<SignatureProof, AssertionError> {
        self.check_flags()?;
        self.check_client_data(key, signed)?;
        let mut asserted = sha256(key.host.as_bytes()).to_vec();
        asserted.push(self.flags);
        asserted.extend_from_slice(&self.counter.to_be_bytes());
        asserted.extend_from_slice(&sha256(self.client_data));
        verify_p256(&key.point, &asserted, &self.numbers).map_err(|BadSignature| {
            AssertionError("the signature is not valid for this key and message")
        })
    }

    fn check_flags(&self) -> Result<(), AssertionError> {
        if self.flags & PRESENT == 0 {
            return Err(AssertionError("no person was present"));
        }
        if self.flags & (NEW_KEY | EXTENSIONS) != 0 || !self.extensions.is_empty() {
            return Err(AssertionError("it has extensions or the data of a new key"));
        }
        if self.flags & (CAN_BE_COPIED | IS_COPIED) == IS_COPIED {
            return Err(AssertionError(
                "the flags state a copy of a key that can't be copied",
            ));
        }
        Ok(())
    }

    fn check_client_data(&self, key: &Passkey, signed: &[u8]) -> Result<(), AssertionError> {
        if self.client_data.len() > MAX_CLIENT_DATA {
            return Err(AssertionError("the client data has more than 1,024 bytes"));
        }
        let data = json::parse(self.client_data, MAX_CLIENT_DATA).ok();
        let data = data
            .filter(Value::is_object)
            .ok_or(AssertionError("the client data is no strict JSON object"))?;
        if data["type"] != "webauthn.get" {
            return Err(AssertionError(
                "the type in the client data is not webauthn.get",
            ));
        }
        if data["challenge"] != URL_SAFE_NO_PAD.encode(signed) {
            return Err(AssertionError(
                "the challenge in the client data is not that of this message",
            ));
        }
        let origin = data["origin"]
            .as_str()
            .ok_or(AssertionError("the client data has no origin"))?;
        if origin.as_bytes() != self.origin {
            return Err(AssertionError(
                "the origin beside the client data is another one",
            ));
        }
        let port = origin
            .strip_prefix("https://")
            .and_then(|rest| rest.strip_prefix(key.host()));
        if !port.is_some_and(is_port) {
            return Err(AssertionError(
                "the origin is not https and the host of the passkey",
            ));
        }
        if !matches!(data.get("crossOrigin"), None | Some(Value::Bool(false)))
            || data.get("topOrigin").is_some()
        {
            return Err(AssertionError(
                "the page was part of a page of another origin",
            ));
        }
        Ok(())
    }

    /// Returns true if the authenticator verified the person, by a PIN or by biometrics.
    pub fn is_verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    /// Returns true if a service may copy the passkey to other devices.
    pub fn is_synced(&self) -> bool {
        self.flags & CAN_BE_COPIED != 0
    }
}

/// Returns true for an empty text, and for `:PORT` as browsers write a port. Browsers never write port 443, which is
/// the default of https.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    matches!(plain_number(digits), Some(1..=442 | 444..=65_535))
}

/// Reads a positive number below the group order (`mpint` of RFC 4251, section 5).
fn number(bytes: &[u8]) -> Result<[u8; 32], AssertionError> {
    let shortest = match bytes {
        [0, next, ..] => *next >= 0x80,
        [first, ..] => (1..0x80).contains(first),
        [] => false,
    };
    if !shortest {
        return Err(AssertionError(
            "r or s is not a positive number in its shortest form",
        ));
    }
    let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut number = [0; 32];
    let at = number
        .len()
        .checked_sub(digits.len())
        .ok_or(AssertionError("r or s is too large"))?;
    number[at..].copy_from_slice(digits);
    if number < ORDER {
        Ok(number)
    } else {
        Err(AssertionError("r or s is too large"))
    }
}

/// Reason why a signature of a passkey is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the signature of the passkey is refused: {0}")]
pub struct AssertionError(pub(super) &'static str);
