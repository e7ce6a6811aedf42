//! DSSE envelopes: the untrusted type `Signed<T>` and the trusted type `Verified<T>`.
//!
//! A caller can read only the payload's digest and the key ids of the signatures of a [`Signed`] document.
//! [`Signed::verify`] checks every signature over the received bytes. Only this function and its variants, whose names begin
//! with `verify`, return a [`Verified`] document.
//!
//! ```compile_fail,E0616
//! # use documents::{Authorization, Signed};
//! fn peek(signed: Signed<Authorization>) {
//!     let _ = signed.payload; // private: unreadable until the signatures are verified
//! }
//! ```
//! ```compile_fail,E0451
//! # use documents::{Authorization, Statement, Verified};
//! fn forge(statement: Statement<Authorization>) -> Verified<Authorization> {
//!     Verified { statement, payload: [].into(), signatures: Vec::new() } // no public constructor
//! }
//! ```

use std::{
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    KeyId, MAX_SIGNATURE_BYTES, Malformed, PAYLOAD_TYPE, Predicate, Presence, SIGNATURE_BYTES,
    SshKey, Statement, StatementKey, canonical, pae, record::schema::BASE64, sha256, sshsig,
};

/// Maximum number of signatures over one payload. [`MAX_SIGNATURE_BYTES`] limits the total size of all these
/// signatures.
pub const MAX_SIGNATURES: usize = 16;

/// A DSSE v1 envelope: the exact signed bytes, and the signatures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The signed bytes in base64 (standard alphabet, with padding).
    #[schemars(regex(pattern = BASE64))]
    pub payload: String,
    /// Always `application/vnd.in-toto+json`.
    #[serde(rename = "payloadType")]
    #[schemars(extend("const" = PAYLOAD_TYPE))]
    pub payload_type: String,
    /// Signatures over the DSSE message (PAE) of the payload.
    #[schemars(length(max = MAX_SIGNATURES))]
    pub signatures: Vec<EnvelopeSignature>,
}

/// A signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// Id of the key, as `ssh-keygen -lf` prints it. A verifier tries only this key of its roster.
    pub keyid: KeyId,
    /// Base64 of the signature: 64 raw bytes, or an SSHSIG blob.
    #[schemars(regex(pattern = BASE64), length(max = MAX_SIGNATURE_BYTES.div_ceil(3) * 4))]
    pub sig: String,
}

impl EnvelopeSignature {
    /// Makes a signature in the form that documents use.
    pub fn new(keyid: KeyId, sig: &[u8]) -> Self {
        Self {
            keyid,
            sig: STANDARD.encode(sig),
        }
    }
}

/// Accepted forms of base64.
#[derive(Clone, Copy, PartialEq)]
pub enum Base64 {
    /// Standard alphabet with padding and without stray bits at the end, for bundles, receipts and the log.
    Strict,
    /// Both alphabets, with or without padding, for input over HTTP and from files. Such input is written again in the
    /// strict form before it is hashed.
    Lenient,
}

impl Base64 {
    /// Decodes `text`.
    ///
    /// # Errors
    /// Returns an error if `text` is not base64 of this form.
    pub fn decode(self, pointer: &str, text: &str) -> Result<Vec<u8>, Malformed> {
        let lenient = |text: &str| {
            STANDARD
                .decode(text)
                .or_else(|_| STANDARD_NO_PAD.decode(text))
                .or_else(|_| URL_SAFE.decode(text))
                .or_else(|_| URL_SAFE_NO_PAD.decode(text))
                .ok()
        };
        let decoded = match self {
            Self::Strict => STANDARD.decode(text).ok(),
            Self::Lenient => lenient(text),
        };
        decoded.ok_or_else(|| {
            let why = if text.contains(['\r', '\n']) {
                "the base64 has line breaks: write it in one line, for example with `base64 -w0`"
            } else {
                "the text is not valid base64 (standard alphabet, with padding, unused bits 0)"
            };
            Malformed::at(pointer, why)
        })
    }
}

impl Envelope {
    /// Makes an envelope from a payload and its signatures.
    pub fn new(payload: &[u8], signatures: Vec<EnvelopeSignature>) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures,
        }
    }

    /// Returns the envelope as canonical JSON, in the form that the log stores.
    ///
    /// # Errors
    /// Never returns an error in practice, because an envelope consists of texts.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Malformed> {
        Ok(canonical::canonical_of(self)?)
    }
}

/// Received document. The signatures of the document are not verified, so the payload is unreadable.
#[derive(Clone)]
#[must_use]
pub struct Signed<P> {
    payload: Arc<[u8]>,
    signatures: Vec<(KeyId, Vec<u8>)>,
    kind: PhantomData<fn() -> P>,
}

impl<P: Predicate> Signed<P> {
    /// Parses an envelope without reading its payload.
    ///
    /// # Errors
    /// Returns an error if the envelope has another payload type, is too large, or is not base64.
    pub fn from_envelope(envelope: &Envelope, base64: Base64) -> Result<Self, Malformed> {
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(Malformed::at(
                "/payloadType",
                format!("expected {PAYLOAD_TYPE:?}"),
            ));
        }
        if envelope.payload.len() / 4 * 3 > P::MAX_BYTES + 3 {
            return Err(Malformed::too_large(
                "/payload",
                format!("at most {} bytes are allowed", P::MAX_BYTES),
            ));
        }
        let payload = base64.decode("/payload", &envelope.payload)?;
        Self::from_parts(&payload, &envelope.signatures, base64)
    }

    /// Combines a payload that this program stores with signatures that the program received.
    ///
    /// # Errors
    /// Returns an error if a signature is too large or not base64, or if there are too many signatures.
    pub fn from_parts(
        payload: &[u8],
        signatures: &[EnvelopeSignature],
        base64: Base64,
    ) -> Result<Self, Malformed> {
        let signatures = decode_signatures(signatures, base64)?;
        Ok(Self {
            payload: payload.into(),
            signatures,
            kind: PhantomData,
        })
    }

    /// Returns the SHA-256 digest of the payload. The digest identifies this document.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.payload)
    }

    /// Checks whether the payload is a complete document of this kind. Reveals nothing of its content.
    ///
    /// # Errors
    /// Returns the error and its place in the payload.
    pub fn check_document(&self) -> Result<WellFormed, Malformed> {
        self.read().map(|_| WellFormed(()))
    }

    fn read(&self) -> Result<Statement<P>, Malformed> {
        let statement = Statement::<P>::from_payload(&self.payload)?;
        statement
            .predicate
            .check_signatures(&self.claimed().collect::<Vec<_>>())?;
        Ok(statement)
    }

    /// Returns the number of signatures. The signatures are not verified yet.
    pub fn signature_count(&self) -> usize {
        self.signatures.len()
    }

    /// Returns the key ids that the signatures name. The signatures are not verified yet.
    pub fn claimed(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.iter().map(|(keyid, _)| keyid)
    }

    /// Verifies every signature over the received bytes, then reads the payload. `key` returns the key for a key id.
    ///
    /// Unknown key ids are refused before any cryptographic check. Whether enough people signed is not checked here.
    ///
    /// # Errors
    /// Returns an error for the first signature that is not valid, whose key is unknown, or whose key is listed twice.
    /// If all signatures are valid, returns the error of the payload.
    pub fn verify<'k, K: Into<StatementKey<'k>>>(
        self,
        key: impl Fn(&KeyId) -> Option<K>,
    ) -> Result<Verified<P>, VerifyError> {
        let signatures = self.verify_signatures(key)?;
        let statement = self.read().map_err(VerifyError::Malformed)?;
        Ok(Verified {
            statement,
            payload: self.payload,
            digest: OnceLock::new(),
            signatures,
        })
    }

    fn verify_signatures<'k, K: Into<StatementKey<'k>>>(
        &self,
        key: impl Fn(&KeyId) -> Option<K>,
    ) -> Result<Vec<VerifiedSignature>, VerifyError> {
        let mut found = Vec::with_capacity(self.signatures.len());
        for (at, (keyid, _)) in self.signatures.iter().enumerate() {
            if self.signatures[..at]
                .iter()
                .any(|(before, _)| before == keyid)
            {
                return Err(VerifyError::SignedTwice { keyid: *keyid });
            }
            found.push(key(keyid).ok_or(VerifyError::UnknownSigner { keyid: *keyid })?);
        }
        let message = pae(PAYLOAD_TYPE, &self.payload);
        let mut signatures = Vec::with_capacity(self.signatures.len());
        for ((keyid, sig), key) in self.signatures.iter().zip(found) {
            let key: StatementKey<'k> = key.into();
            let proof = sshsig::verify(key, &message, sig).map_err(|error| {
                let is_over_payload = sshsig::verify(key, &self.payload, sig).is_ok();
                let reason = if is_over_payload {
                    OVER_PAYLOAD.to_owned()
                } else {
                    error.to_string()
                };
                VerifyError::BadSignature {
                    keyid: *keyid,
                    reason,
                }
            })?;
            signatures.push(VerifiedSignature {
                keyid: *keyid,
                presence: proof.presence(),
                sig: sig.clone(),
            });
        }
        Ok(signatures)
    }
}

impl<P: Predicate> Signed<P> {
    /// Does the same as [`Signed::verify`], but leaves out the signatures of unknown keys.
    ///
    /// # Errors
    /// Returns the errors of [`Signed::verify`] for the other signatures.
    pub fn verify_known<'k>(
        mut self,
        key: impl Fn(&KeyId) -> Option<&'k SshKey>,
    ) -> Result<Verified<P>, VerifyError> {
        // The rules about number and order apply to all signatures of a document, so check them before signatures are
        // left out.
        let statement = self.read().map_err(VerifyError::Malformed)?;
        self.signatures.retain(|(keyid, _)| key(keyid).is_some());
        let signatures = self.verify_signatures(key)?;
        Ok(Verified {
            statement,
            payload: self.payload,
            digest: OnceLock::new(),
            signatures,
        })
    }

    /// Does the same as [`Signed::verify`] for a draft, but without the rules about the number and the order of the
    /// signatures. These rules apply only to a complete document.
    ///
    /// # Errors
    /// Returns the other errors of [`Signed::verify`].
    pub fn verify_draft<'k>(
        self,
        key: impl Fn(&KeyId) -> Option<&'k SshKey>,
    ) -> Result<Verified<P>, VerifyError> {
        let signatures = self.verify_signatures(key)?;
        let statement =
            Statement::<P>::from_payload(&self.payload).map_err(VerifyError::Malformed)?;
        Ok(Verified {
            statement,
            payload: self.payload,
            digest: OnceLock::new(),
            signatures,
        })
    }

    /// Does the same as [`Signed::verify`] for a document that a boundary signs. Each signature of a boundary must have
    /// 64 raw bytes, because a longer signature would not fit into a log entry together with the largest document.
    ///
    /// # Errors
    /// Returns the errors of [`Signed::verify`], or an error for a signature of another length.
    pub fn verify_raw<'k>(
        self,
        key: impl Fn(&KeyId) -> Option<&'k SshKey>,
    ) -> Result<Verified<P>, VerifyError> {
        if let Some((keyid, sig)) = self
            .signatures
            .iter()
            .find(|(_, sig)| sig.len() != SIGNATURE_BYTES)
        {
            let reason = format!(
                "the signature of a boundary must have {SIGNATURE_BYTES} raw bytes, found {}",
                sig.len()
            );
            return Err(VerifyError::BadSignature {
                keyid: *keyid,
                reason,
            });
        }
        self.verify(key)
    }
}

/// The message for a signature that covers the payload and not the DSSE message.
const OVER_PAYLOAD: &str = "it is over the payload alone: sign the DSSE message, which is `DSSEv1`, the type, the payload and \
    their lengths";

/// Proof that a payload is a complete document of its kind. The proof says nothing about signatures.
#[must_use]
pub struct WellFormed(());

fn decode_signatures(
    signatures: &[EnvelopeSignature],
    base64: Base64,
) -> Result<Vec<(KeyId, Vec<u8>)>, Malformed> {
    if signatures.len() > MAX_SIGNATURES {
        return Err(Malformed::too_large(
            "/signatures",
            format!("at most {MAX_SIGNATURES} signatures are allowed"),
        ));
    }
    let too_large = || {
        let message =
            format!("at most {MAX_SIGNATURE_BYTES} bytes are allowed for all signatures together");
        Malformed::too_large("/signatures", message)
    };
    // Check the length before decoding. Base64 is less than twice as long as the decoded bytes.
    if signatures
        .iter()
        .map(|signature| signature.sig.len())
        .sum::<usize>()
        > MAX_SIGNATURE_BYTES * 2
    {
        return Err(too_large());
    }
    let mut decoded = Vec::with_capacity(signatures.len());
    let mut bytes = 0;
    for (at, signature) in signatures.iter().enumerate() {
        let sig = base64.decode(&format!("/signatures/{at}/sig"), &signature.sig)?;
        bytes += sig.len();
        decoded.push((signature.keyid, sig));
    }
    if bytes > MAX_SIGNATURE_BYTES {
        Err(too_large())
    } else {
        Ok(decoded)
    }
}

/// Reason why the signatures of a document, or its payload, were refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A signature names a key that is not in the roster.
    #[error("no key of the roster has the id {keyid}")]
    UnknownSigner {
        /// The key id.
        keyid: KeyId,
    },
    /// Two signatures name the same key.
    #[error("key {keyid} signed twice; send one signature for each key")]
    SignedTwice {
        /// The key.
        keyid: KeyId,
    },
    /// A signature is not valid under the key that it names.
    #[error("the signature of key {keyid} does not verify: {reason}")]
    BadSignature {
        /// The key id.
        keyid: KeyId,
        /// The reason.
        reason: String,
    },
    /// The signatures are valid, but the document is not valid.
    #[error(transparent)]
    Malformed(Malformed),
}

/// A verified signature.
#[derive(Debug, Clone)]
pub struct VerifiedSignature {
    /// The key under which the signature is valid.
    pub keyid: KeyId,
    /// Presence of a person, as the signature states it.
    pub presence: Presence,
    /// Bytes of the signature, raw or as an SSHSIG blob.
    pub sig: Vec<u8>,
}

/// Statement whose signatures are all valid.
#[derive(Debug)]
#[must_use]
pub struct Verified<P> {
    statement: Statement<P>,
    payload: Arc<[u8]>,
    /// Computed at the first use, because most readers of a receipt never need the digest.
    digest: OnceLock<[u8; 32]>,
    signatures: Vec<VerifiedSignature>,
}

impl<P: Predicate> Verified<P> {
    /// Returns the predicate.
    pub fn predicate(&self) -> &P {
        &self.statement.predicate
    }

    pub(crate) fn predicate_mut(&mut self) -> &mut P {
        &mut self.statement.predicate
    }

    /// Returns the statement with its subjects.
    pub fn statement(&self) -> &Statement<P> {
        &self.statement
    }

    /// Returns the signed bytes.
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// Returns the SHA-256 digest of the payload.
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| sha256(&self.payload))
    }

    /// Returns the signatures, all verified.
    pub fn signatures(&self) -> &[VerifiedSignature] {
        &self.signatures
    }

    /// Ids of the keys that signed.
    pub fn keyids(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.iter().map(|signature| &signature.keyid)
    }

    /// Returns the envelope with only the signatures that `keep` selects, sorted by key id, as in the log and in
    /// bundles.
    pub fn envelope(&self, keep: impl Fn(&KeyId) -> bool) -> Envelope {
        let mut signatures: Vec<_> = self
            .signatures
            .iter()
            .filter(|signature| keep(&signature.keyid))
            .map(|signature| EnvelopeSignature::new(signature.keyid, &signature.sig))
            .collect();
        signatures.sort();
        Envelope::new(&self.payload, signatures)
    }
}
