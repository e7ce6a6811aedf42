//! Converts the answer of a browser in which a passkey signed (W3C WebAuthn) to the SSHSIG signature of a document.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{
    ASSERTION, ForeignKey, KeyId, NAMESPACE, PASSKEY, PAYLOAD_TYPE, SignatureError, StatementKey,
    crypto::{
        passkey::MAX_CLIENT_DATA,
        ssh_wire::put,
        sshsig::{HashName, MAGIC, signed_data, verify},
    },
    json, pae,
};

/// Beginning of a public key of P-256 with an uncompressed point (RFC 5480), before the point.
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Length of the hash, the flags and the counter at the beginning of the data of an authenticator.
const HASH: usize = 32;
const FLAGS_AND_COUNTER: usize = 5;

/// Returns the roster line and the fingerprint of a new passkey. `public_key` is what `getPublicKey()` returns in a
/// browser. Returns `None` for another type of key, or if the host or the comment cannot be part of a key line.
pub fn enrolled(public_key: &[u8], host: &str, comment: &str) -> Option<(String, KeyId)> {
    let point = public_key.strip_prefix(&P256_HEAD)?;
    let mut blob = Vec::new();
    for part in [PASSKEY.as_bytes(), b"nistp256", point, host.as_bytes()] {
        put(&mut blob, part);
    }
    let line = format!("{PASSKEY} {} {comment}", STANDARD.encode(blob));
    let key = ForeignKey::parse(&line).ok()?;
    key.passkey().map(|_| (line, key.keyid()))
}

/// What a browser returns after a passkey signed.
pub struct BrowserAnswer {
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    /// ECDSA signature in DER.
    signature: Vec<u8>,
}

impl BrowserAnswer {
    /// Reads the three values, which are base64url.
    pub fn parse(client_data: &str, authenticator_data: &str, signature: &str) -> Option<Self> {
        let bytes = |text: &str| {
            URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .filter(|bytes| !bytes.is_empty())
        };
        let (client_data, authenticator_data) = (bytes(client_data)?, bytes(authenticator_data)?);
        Some(Self {
            client_data,
            authenticator_data,
            signature: bytes(signature)?,
        })
    }
}

/// A message that a passkey signs.
pub struct PasskeyMessage(Vec<u8>);

impl PasskeyMessage {
    /// Returns the message for the payload of a statement.
    pub fn of_statement(payload: &[u8]) -> Self {
        Self::new(PAYLOAD_TYPE, payload)
    }

    /// Returns the message for a body of this payload type.
    pub fn new(payload_type: &str, body: &[u8]) -> Self {
        Self(pae(payload_type, body))
    }

    /// Returns the challenge for the browser, as base64url.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(signed_data(HashName::Sha256, &self.0))
    }

    /// Packs the answer of a browser as the signature of this key, and verifies the signature.
    ///
    /// # Errors
    /// Returns an error if the key is no passkey, or if its signature is not valid for this message.
    pub fn signature(
        &self,
        key: &ForeignKey,
        answer: &BrowserAnswer,
    ) -> Result<Vec<u8>, SignatureError> {
        let form = SignatureError::Form;
        let passkey = key.passkey().ok_or(form("the key is no passkey"))?;
        let data = json::parse(&answer.client_data, MAX_CLIENT_DATA).ok();
        let origin = data.as_ref().and_then(|data| data["origin"].as_str());
        let origin = origin.ok_or(form("the client data has no origin"))?;
        let cut = || form("the data of the authenticator ends too early");
        let (counted, extensions) = answer
            .authenticator_data
            .split_at_checked(HASH + FLAGS_AND_COUNTER)
            .ok_or_else(cut)?;
        let (r, s) =
            numbers(&answer.signature).ok_or(form("the signature of the browser is not DER"))?;
        let mut pair = Vec::new();
        put(&mut pair, r);
        put(&mut pair, s);
        let mut inner = Vec::new();
        put(&mut inner, ASSERTION.as_bytes());
        put(&mut inner, &pair);
        inner.extend_from_slice(&counted[HASH..]);
        for part in [origin.as_bytes(), &answer.client_data, extensions] {
            put(&mut inner, part);
        }
        let mut blob = MAGIC.to_vec();
        blob.extend_from_slice(&1_u32.to_be_bytes());
        for part in [passkey.blob(), NAMESPACE.as_bytes(), b"", b"sha256", &inner] {
            put(&mut blob, part);
        }
        let _proof = verify(StatementKey::Passkey(passkey), &self.0, &blob)?;
        Ok(blob)
    }
}

/// Returns r and s of an ECDSA signature in DER (RFC 3279, section 2.2.3). Each length is below 128, so it has one byte. The
/// numbers have the form that SSH uses.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        (head[0] == tag && head[1] < 0x80).then(|| rest.split_at_checked(head[1].into()))?
    }
    let (pair, end) = element(der, 0x30)?;
    let (r, rest) = element(pair, 2)?;
    let (s, more) = element(rest, 2)?;
    (end.is_empty() && more.is_empty()).then_some((r, s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_der_is_a_pair_of_numbers() {
        let der = [0x30, 7, 2, 2, 0, 0x80, 2, 1, 5];
        assert_eq!(numbers(&der), Some((&[0, 0x80][..], &[5][..])));
        for end in 0..der.len() {
            assert_eq!(numbers(&der[..end]), None, "{end}");
        }
        for (at, byte) in [
            (0, 0x31),
            (1, 6),
            (1, 0x81),
            (2, 3),
            (3, 0x85),
            (7, 0),
            (7, 2),
        ] {
            let mut other = der;
            other[at] = byte;
            assert_eq!(numbers(&other), None, "{at} {byte}");
        }
        assert_eq!(numbers(&[&der[..], &[0]].concat()), None);
    }

    #[test]
    fn a_new_passkey_gets_a_line_only_with_a_point_a_host_and_a_comment_of_one_line() {
        let key = [&P256_HEAD[..], &[4], &[7; 64]].concat();
        let (line, keyid) = enrolled(&key, "desk.example", "alice").expect("a line");
        assert!(
            line.starts_with("sk-ecdsa-sha2-nistp256@openssh.com ") && line.ends_with(" alice"),
            "{line}"
        );
        assert_eq!(ForeignKey::parse(&line).expect("a key").keyid(), keyid);
        for (key, host, comment) in [
            (&key[..90], "desk.example", "a"),
            (&key[1..], "desk.example", "a"),
            (&key, "Desk", "a"),
            (&key, "desk.example", "a\nb"),
        ] {
            assert_eq!(enrolled(key, host, comment), None);
        }
    }
}
