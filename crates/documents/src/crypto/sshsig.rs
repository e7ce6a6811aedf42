//! Signatures that standard tools make with OpenSSH keys.
//!
//! A signature is either raw Ed25519 (64 bytes) or an SSHSIG blob (OpenSSH's PROTOCOL.sshsig). This module starts no
//! program: the client starts `ssh-keygen`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::Digest as _;

use crate::{
    ASSERTION, Passkey, SshKey, WireReader,
    crypto::{
        passkey::{Assertion, AssertionError},
        signature::SignatureProof,
        ssh_key::{PLAIN, SECURITY_KEY},
        ssh_wire::{put, text},
    },
    sha256,
};

/// The SSHSIG namespace of all signatures of this program, as in `ssh-keygen -Y sign -n countersign`. A signature for
/// git or for a file has another namespace, so it never counts as an approval.
pub const NAMESPACE: &str = "countersign";

/// Maximum total size of the signatures of one envelope, in bytes, because a verifier decodes all of them. A
/// post-quantum signature or a WebAuthn signature fits into this size.
pub const MAX_SIGNATURE_BYTES: usize = 8 << 10;

pub(super) const MAGIC: &[u8] = b"SSHSIG";

/// Verifies one signature of `key` over `message`.
///
/// For an `ssh-ed25519` key, 64 bytes are a raw Ed25519 signature, and a blob that begins with `SSHSIG` is an SSHSIG
/// signature. For an `sk-…` key and a passkey, only SSHSIG is accepted. The blob must contain `key` and the namespace
/// [`NAMESPACE`].
///
/// # Errors
/// Returns an error that names the rule that the signature breaks.
pub fn verify<'k>(
    key: impl Into<StatementKey<'k>>,
    message: &[u8],
    signature: &[u8],
) -> Result<KeyProof, SignatureError> {
    let bad = |_| SignatureError::Bad;
    let key = key.into();
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::TooLong {
            bytes: signature.len(),
        });
    }
    if let (StatementKey::Ssh(plain), Ok(raw)) = (key, signature.try_into())
        && !plain.is_security_key()
    {
        let proof = plain.public().verify(message, raw).map_err(bad)?;
        return Ok(KeyProof {
            presence: Presence::Unknown,
            _proof: proof,
        });
    }
    if !signature.starts_with(MAGIC) {
        return Err(SignatureError::Form(
            "the bytes are neither a raw signature nor SSHSIG",
        ));
    }
    let blob = Blob::parse(signature)?;
    if blob.key != key.blob() {
        return Err(SignatureError::OtherKey);
    }
    if blob.namespace != NAMESPACE.as_bytes() {
        return Err(SignatureError::OtherNamespace(
            text(blob.namespace)
                .unwrap_or_default()
                .chars()
                .take(40)
                .collect(),
        ));
    }
    let signed = signed_data(blob.hash, message);
    let application = match key {
        StatementKey::Ssh(key) => key.application(),
        StatementKey::Passkey(_) => None,
    };
    let (presence, proof) = match (key, application, blob.inner) {
        (StatementKey::Ssh(key), None, InnerSignature::Plain(signature)) => {
            let proof = key.public().verify(&signed, signature).map_err(bad)?;
            (Presence::Unknown, proof)
        }
        (StatementKey::Passkey(key), _, InnerSignature::Passkey(assertion)) => {
            let proof = assertion
                .verify(key, &signed)
                .map_err(SignatureError::Passkey)?;
            let presence = if assertion.is_verified() {
                Presence::Verified
            } else {
                Presence::Touched
            };
            (presence, proof)
        }
        // OpenSSH's PROTOCOL.u2f: the authenticator signs SHA256(application) || flags || counter || SHA256(message).
        (
            StatementKey::Ssh(key),
            Some(application),
            InnerSignature::SecurityKey(signature, flags, counter),
        ) => {
            let mut asserted = Vec::with_capacity(69);
            asserted.extend_from_slice(&sha256(application.as_bytes()));
            asserted.push(flags);
            asserted.extend_from_slice(&counter.to_be_bytes());
            asserted.extend_from_slice(&sha256(&signed));
            let proof = key.public().verify(&asserted, signature).map_err(bad)?;
            let presence = match flags & 5 {
                5 => Presence::Verified,
                1 => Presence::Touched,
                // A PIN without a touch proves nothing about the moment of signing.
                _ => Presence::NotTouched,
            };
            (presence, proof)
        }
        _ => {
            return Err(SignatureError::Form(
                "the type of the signature differs from the type of the key",
            ));
        }
    };
    Ok(KeyProof {
        presence,
        _proof: proof,
    })
}

/// Returns true if the signature is one of a passkey that a service may copy to other devices, false for another passkey,
/// and `None` for another type of signature. The signature must be verified.
pub fn is_of_synced_passkey(signature: &[u8]) -> Option<bool> {
    match Blob::parse(signature).ok()?.inner {
        InnerSignature::Passkey(assertion) => Some(assertion.is_synced()),
        InnerSignature::Plain(_) | InnerSignature::SecurityKey(..) => None,
    }
}

/// A key that can sign a statement. A passkey signs only the documents that section 5 of `docs/formats.md` lists.
#[derive(Clone, Copy)]
pub enum StatementKey<'k> {
    /// An Ed25519 key.
    Ssh(&'k SshKey),
    /// A passkey.
    Passkey(&'k Passkey),
}

impl<'k> From<&'k SshKey> for StatementKey<'k> {
    fn from(key: &'k SshKey) -> Self {
        Self::Ssh(key)
    }
}

impl StatementKey<'_> {
    fn blob(&self) -> &[u8] {
        match self {
            Self::Ssh(key) => key.blob(),
            Self::Passkey(key) => key.blob(),
        }
    }
}

/// Proof that a key signed a message. Only [`verify`] constructs this proof.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct KeyProof {
    presence: Presence,
    _proof: SignatureProof,
}

impl KeyProof {
    /// Returns what the signature states about the presence of a person.
    pub fn presence(&self) -> Presence {
        self.presence
    }
}

/// Presence of a person, as a signature states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presence {
    /// A person touched the security key, and the key verified the person by PIN or fingerprint.
    Verified,
    /// A person touched the security key.
    Touched,
    /// The security key signed without a touch.
    NotTouched,
    /// The key is not a security key, so nothing is known about a person.
    Unknown,
}

/// Reason why a signature is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// The signature is longer than [`MAX_SIGNATURE_BYTES`].
    #[error("the signature has {bytes} bytes, at most {MAX_SIGNATURE_BYTES} are allowed")]
    TooLong {
        /// The length in bytes.
        bytes: usize,
    },
    /// The signature is neither raw nor an acceptable SSHSIG signature.
    #[error("the signature is malformed: {0}")]
    Form(&'static str),
    /// The SSHSIG signature names another key, or the same key with another application.
    #[error("the key that made the signature is not the key of its key id")]
    OtherKey,
    /// The SSHSIG signature was made for another namespace.
    #[error("the signature is for namespace {0:?}; sign with `ssh-keygen -Y sign -n {NAMESPACE}`")]
    OtherNamespace(String),
    /// The signature is well-formed, but not valid for this key and this message.
    #[error("the signature is not valid for this key and message")]
    Bad,
    /// The signature of a passkey breaks a rule.
    #[error(transparent)]
    Passkey(AssertionError),
}

/// Returns the armoured text of an SSHSIG blob, as `ssh-keygen -Y sign` writes it.
pub fn armour(blob: &[u8]) -> String {
    let mut file = format!("{ARMOUR_BEGIN}\n");
    for line in STANDARD.encode(blob).as_bytes().chunks(70) {
        file.extend(line.iter().map(|&c| char::from(c)));
        file.push('\n');
    }
    file + ARMOUR_END + "\n"
}

/// Reads the blob from an armoured text.
///
/// # Errors
/// Returns an error if the text is not exactly one armoured block of at most [`MAX_SIGNATURE_BYTES`] bytes.
pub fn dearmour(file: &str) -> Result<Vec<u8>, SignatureError> {
    let body = file
        .trim()
        .strip_prefix(ARMOUR_BEGIN)
        .and_then(|rest| rest.strip_suffix(ARMOUR_END));
    let body = body.ok_or(SignatureError::Form(
        "the text is not exactly one block `-----BEGIN SSH SIGNATURE-----`",
    ))?;
    let encoded: String = body.lines().collect();
    if encoded.len() > MAX_SIGNATURE_BYTES.div_ceil(3) * 4 {
        return Err(SignatureError::TooLong {
            bytes: encoded.len() / 4 * 3,
        });
    }
    let blob = STANDARD
        .decode(encoded)
        .map_err(|_| SignatureError::Form("the armoured text is not standard base64"))?;
    if blob.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::TooLong { bytes: blob.len() });
    }
    Ok(blob)
}

const ARMOUR_BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const ARMOUR_END: &str = "-----END SSH SIGNATURE-----";

pub(super) enum HashName {
    Sha256,
    Sha512,
}

struct Blob<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    hash: HashName,
    inner: InnerSignature<'a>,
}

enum InnerSignature<'a> {
    Plain(&'a [u8; 64]),
    /// Signature, flags and counter.
    SecurityKey(&'a [u8; 64], u8, u32),
    Passkey(Assertion<'a>),
}

impl<'a> Blob<'a> {
    // Format: byte[6] "SSHSIG" | uint32 version | string publickey | string namespace | string reserved
    // | string hash_algorithm | string signature
    fn parse(bytes: &'a [u8]) -> Result<Self, SignatureError> {
        let form = SignatureError::Form;
        let cut = || form("the SSHSIG ends too early");
        let mut wire = WireReader(bytes.strip_prefix(MAGIC).ok_or(form("it is not SSHSIG"))?);
        if wire.u32().ok_or_else(cut)? != 1 {
            return Err(form("the SSHSIG version is not 1"));
        }
        let key = wire.string().ok_or_else(cut)?;
        let namespace = wire.string().ok_or_else(cut)?;
        if !wire.string().ok_or_else(cut)?.is_empty() {
            return Err(form("the reserved field is not empty"));
        }
        let hash = match wire.string().ok_or_else(cut)? {
            b"sha256" => HashName::Sha256,
            b"sha512" => HashName::Sha512,
            _ => return Err(form("the hash is neither sha512 nor sha256")),
        };
        let mut inner = WireReader(wire.string().ok_or_else(cut)?);
        let kind = inner.string().ok_or_else(cut)?;
        let signature = if kind == ASSERTION.as_bytes() {
            InnerSignature::Passkey(Assertion::read(&mut inner).map_err(SignatureError::Passkey)?)
        } else {
            let signature = inner.string().ok_or_else(cut)?;
            let signature = signature
                .try_into()
                .map_err(|_| form("the inner signature does not have 64 bytes"))?;
            match kind {
                kind if kind == PLAIN.as_bytes() => InnerSignature::Plain(signature),
                kind if kind == SECURITY_KEY.as_bytes() => InnerSignature::SecurityKey(
                    signature,
                    inner.u8().ok_or_else(cut)?,
                    inner.u32().ok_or_else(cut)?,
                ),
                _ => return Err(form("the signature type is not supported")),
            }
        };
        if !wire.0.is_empty() || !inner.0.is_empty() {
            return Err(form("bytes follow the end of the SSHSIG"));
        }
        Ok(Self {
            key,
            namespace,
            hash,
            inner: signature,
        })
    }
}

// Format: byte[6] "SSHSIG" | string namespace | string reserved | string hash_algorithm | string H(message)
pub(super) fn signed_data(hash: HashName, message: &[u8]) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put(&mut data, NAMESPACE.as_bytes());
    put(&mut data, b"");
    match hash {
        HashName::Sha256 => {
            put(&mut data, b"sha256");
            put(&mut data, &sha256(message));
        }
        HashName::Sha512 => {
            put(&mut data, b"sha512");
            put(&mut data, &sha2::Sha512::digest(message));
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use serde_json::Value;

    const MESSAGE: &[u8] =
        include_bytes!("../../../../tests/conformance/golden/valid/pae/authorization.bin");
    const BOB: &str = include_str!("../../../../tests/conformance/golden/valid/keys/bob.pub");
    const BOB_FILE: &str =
        include_str!("../../../../tests/conformance/golden/valid/sshsig/authorization.bob.sig");

    fn bob() -> SshKey {
        SshKey::parse(BOB.trim_end()).expect("bob's key")
    }

    /// SSHSIG blob of the test, in which each field can be changed.
    struct Made<'a> {
        magic: &'a [u8],
        version: u32,
        key: Vec<u8>,
        namespace: &'a [u8],
        reserved: &'a [u8],
        hash: &'a [u8],
        kind: &'a [u8],
        flags: Option<u8>,
        tail: &'a [u8],
        inner_tail: &'a [u8],
    }

    fn plain() -> Made<'static> {
        Made {
            magic: MAGIC,
            version: 1,
            key: bob().blob().to_vec(),
            namespace: b"countersign",
            reserved: b"",
            hash: b"sha512",
            kind: b"ssh-ed25519",
            flags: None,
            tail: b"",
            inner_tail: b"",
        }
    }

    fn sk_key(application: &str) -> SshKey {
        let mut blob = Vec::new();
        put(&mut blob, SECURITY_KEY.as_bytes());
        put(&mut blob, bob().material());
        put(&mut blob, application.as_bytes());
        SshKey::from_blob(&blob, "bob").expect("key")
    }

    fn touched() -> Made<'static> {
        Made {
            key: sk_key("ssh:").blob().to_vec(),
            kind: SECURITY_KEY.as_bytes(),
            flags: Some(1),
            ..plain()
        }
    }

    impl Made<'_> {
        fn blob(&self) -> Vec<u8> {
            let mut data = MAGIC.to_vec();
            put(&mut data, self.namespace);
            put(&mut data, self.reserved);
            put(&mut data, self.hash);
            if self.hash == b"sha256" {
                put(&mut data, &sha256(MESSAGE));
            } else {
                put(&mut data, &sha2::Sha512::digest(MESSAGE));
            }
            if let Some(flags) = self.flags {
                let hash = sha256(&data);
                data = sha256(b"ssh:").to_vec();
                data.push(flags);
                data.extend_from_slice(&7_u32.to_be_bytes());
                data.extend_from_slice(&hash);
            }
            let mut inner = Vec::new();
            put(&mut inner, self.kind);
            put(&mut inner, &SecretKey::from_seed([2; 32]).sign(&data));
            if let Some(flags) = self.flags {
                inner.push(flags);
                inner.extend_from_slice(&7_u32.to_be_bytes());
            }
            inner.extend_from_slice(self.inner_tail);
            let mut blob = self.magic.to_vec();
            blob.extend_from_slice(&self.version.to_be_bytes());
            for field in [
                &self.key[..],
                self.namespace,
                self.reserved,
                self.hash,
                &inner,
            ] {
                put(&mut blob, field);
            }
            blob.extend_from_slice(self.tail);
            blob
        }
    }

    fn presence(key: &SshKey, blob: &[u8]) -> Result<Presence, SignatureError> {
        verify(key, MESSAGE, blob).map(|proof| proof.presence())
    }

    #[test]
    fn the_golden_security_key_signature_verifies_and_reports_a_touch() {
        let bundle: Value = serde_json::from_str(include_str!(
            "../../../../tests/conformance/golden/valid/bundle-sk.json"
        ))
        .expect("bundle");
        let decode = |value: &Value| {
            STANDARD
                .decode(value.as_str().expect("text"))
                .expect("base64")
        };
        let envelope = &bundle["authorization"];
        let message = crate::crypto::signature::pae(
            crate::crypto::signature::PAYLOAD_TYPE,
            &decode(&envelope["payload"]),
        );
        let key = sk_key("ssh:");
        assert_eq!(envelope["signatures"][1]["keyid"], key.keyid().as_str());
        let signature = decode(&envelope["signatures"][1]["sig"]);
        assert_eq!(
            verify(&key, &message, &signature).map(|p| p.presence()),
            Ok(Presence::Touched)
        );
        assert_eq!(
            verify(&sk_key("ssh:other"), &message, &signature),
            Err(SignatureError::OtherKey)
        );
    }

    #[test]
    fn the_report_of_a_touch_equals_the_signed_flag() {
        let key = sk_key("ssh:");
        assert!(key.is_security_key());
        assert_eq!(presence(&key, &touched().blob()), Ok(Presence::Touched));
        assert_eq!(
            presence(
                &key,
                &Made {
                    flags: Some(5),
                    ..touched()
                }
                .blob()
            ),
            Ok(Presence::Verified)
        );
        assert_eq!(
            presence(
                &key,
                &Made {
                    flags: Some(4),
                    ..touched()
                }
                .blob()
            ),
            Ok(Presence::NotTouched)
        );
        let untouched = Made {
            flags: Some(0),
            ..touched()
        }
        .blob();
        assert_eq!(presence(&key, &untouched), Ok(Presence::NotTouched));
        let mut claimed = untouched.clone();
        let flags_at = untouched.len() - 5;
        claimed[flags_at] = 1;
        assert_eq!(
            presence(&key, &claimed),
            Err(SignatureError::Bad),
            "the flag is signed"
        );
        // The application in the blob differs from the application of the key.
        let elsewhere = Made {
            key: sk_key("ssh:b").blob().to_vec(),
            ..touched()
        }
        .blob();
        assert_eq!(
            presence(&sk_key("ssh:b"), &elsewhere),
            Err(SignatureError::Bad)
        );
    }

    #[test]
    fn a_security_key_signs_only_in_the_sshsig_format() {
        let raw = SecretKey::from_seed([2; 32]).sign(MESSAGE);
        assert!(matches!(
            presence(&sk_key("ssh:"), &raw),
            Err(SignatureError::Form(_))
        ));
        let as_plain = Made {
            key: sk_key("ssh:").blob().to_vec(),
            ..plain()
        }
        .blob();
        assert!(matches!(
            presence(&sk_key("ssh:"), &as_plain),
            Err(SignatureError::Form(_))
        ));
        let as_sk = Made {
            key: bob().blob().to_vec(),
            ..touched()
        }
        .blob();
        assert!(matches!(
            presence(&bob(), &as_sk),
            Err(SignatureError::Form(_))
        ));
    }

    #[test]
    fn an_sshsig_that_differs_in_one_field_is_refused() {
        let refused = |made: Made<'_>| presence(&bob(), &made.blob()).expect_err("refused");
        assert_eq!(
            presence(
                &bob(),
                &Made {
                    hash: b"sha256",
                    ..plain()
                }
                .blob()
            ),
            Ok(Presence::Unknown)
        );
        assert_eq!(
            refused(Made {
                namespace: b"git",
                ..plain()
            }),
            SignatureError::OtherNamespace("git".into())
        );
        let alice = SshKey::from_public(SecretKey::from_seed([1; 32]).public(), "").expect("key");
        assert_eq!(
            refused(Made {
                key: alice.blob().to_vec(),
                ..plain()
            }),
            SignatureError::OtherKey
        );
        assert_eq!(
            presence(&alice, &plain().blob()),
            Err(SignatureError::OtherKey)
        );
        for made in [
            Made {
                magic: b"SSHSIh",
                ..plain()
            },
            Made {
                version: 2,
                ..plain()
            },
            Made {
                reserved: b"x",
                ..plain()
            },
            Made {
                hash: b"sha384",
                ..plain()
            },
            Made {
                hash: b"SHA512",
                ..plain()
            },
            Made {
                kind: b"ssh-rsa",
                ..plain()
            },
            Made {
                tail: b"\0",
                ..plain()
            },
            Made {
                inner_tail: b"\0",
                ..plain()
            },
        ] {
            assert!(matches!(refused(made), SignatureError::Form(_)));
        }
        assert_eq!(
            refused(Made {
                tail: &[0; MAX_SIGNATURE_BYTES],
                ..plain()
            }),
            SignatureError::TooLong {
                bytes: plain().blob().len() + MAX_SIGNATURE_BYTES
            }
        );
    }

    #[test]
    fn a_shortened_signature_or_a_signature_with_a_flipped_bit_is_refused() {
        for (key, blob) in [(bob(), plain().blob()), (sk_key("ssh:"), touched().blob())] {
            for length in 0..blob.len() {
                assert!(presence(&key, &blob[..length]).is_err(), "{length} bytes");
            }
            for bit in 0..blob.len() * 8 {
                let mut flipped = blob.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(presence(&key, &flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn an_sshsig_armor_around_other_data_is_refused() {
        for bad in [
            "",
            ARMOUR_BEGIN,
            &BOB_FILE.replace("SIGNATURE-", "MESSAGE-"),
            &format!("x{BOB_FILE}"),
            &BOB_FILE.replacen("U1NI", "U1N-", 1),
        ] {
            assert!(dearmour(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            dearmour(&armour(&[0; MAX_SIGNATURE_BYTES + 1])),
            Err(SignatureError::TooLong { .. })
        ));
        assert_eq!(
            dearmour(&armour(&[7; MAX_SIGNATURE_BYTES])),
            Ok(vec![7; MAX_SIGNATURE_BYTES])
        );
        assert!(dearmour(&BOB_FILE.replace('\n', "\r\n")).is_ok());
    }
}
