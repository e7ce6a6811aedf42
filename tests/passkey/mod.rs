//! Passkeys with keys from fixed numbers, and signatures as a browser makes them, each part of which a test can change.
//!
//! This module does not call the code under test.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses a part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256, Sha512};

pub const LINE: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
pub const ASSERTION: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
/// The host of the desk of the tests.
pub const HOST: &str = "desk.example";

/// A person was present, and the authenticator verified the person.
pub const VERIFIED: u8 = 0x05;
/// A service may copy the passkey, and has copied it.
pub const SYNCED: u8 = 0x18;

/// The points of the private keys 1, 2 and 3.
const POINTS: [&str; 3] = [
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    "047cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc4766997807775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1",
    "045ecbe4d1a6330a44c8f7ef951d4bf165e6c6b721efada985fb41661bc6e7fd6c8734640c4998ff7e374b06ce1a64a2ecd82ab036384fb83d9a79b127a27d5032",
];
/// The order of the group.
pub const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// A passkey with its private key.
pub struct PasskeyPair {
    pair: EcdsaKeyPair,
    pub point: Vec<u8>,
    host: String,
}

/// A change of a signature's parts.
pub type Edit = fn(&mut Assertion);

/// The parts of a signature. The private key signs what a browser would let it sign; a test changes parts before and after.
pub struct Assertion {
    pub namespace: Vec<u8>,
    pub hash: &'static str,
    /// The type of the inner signature.
    pub kind: Vec<u8>,
    /// The host whose hash the authenticator signs.
    pub application: String,
    pub flags: u8,
    pub origin: String,
    /// The client data. The text `{challenge}` stands for the challenge.
    pub client_data: String,
    pub extensions: Vec<u8>,
    /// Writes the numbers r and s, each of 32 bytes, as two mpints.
    pub numbers: fn([&[u8]; 2]) -> [Vec<u8>; 2],
    /// Bytes after r and s, after the inner signature, and after the whole.
    pub tails: [&'static [u8]; 3],
    /// The key in the SSHSIG, if it is another one.
    pub key: Option<Vec<u8>>,
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Returns the shortest positive mpint.
pub fn mpint(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    if digits.first().is_some_and(|first| *first >= 0x80) {
        [&[0][..], &digits].concat()
    } else {
        digits
    }
}

/// Returns `n - s`: the other valid form of a signature.
pub fn other_s(s: &[u8]) -> Vec<u8> {
    let (mut borrow, mut found) = (0_i16, vec![0; 32]);
    for (at, digit) in hex(ORDER).iter().enumerate().rev() {
        let difference = i16::from(*digit) - i16::from(s[at]) - borrow;
        borrow = i16::from(difference < 0);
        found[at] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    found
}

/// Returns the challenge of a message with this digest.
pub fn challenge(namespace: &[u8], hash: &str, digest: &[u8]) -> String {
    let mut signed = b"SSHSIG".to_vec();
    for part in [namespace, b"", hash.as_bytes(), digest] {
        put(&mut signed, part);
    }
    URL_SAFE_NO_PAD.encode(signed)
}

/// Returns the blob of a key line.
pub fn blob(kind: &str, curve: &str, point: &[u8], host: &str) -> Vec<u8> {
    let mut blob = Vec::new();
    for part in [kind.as_bytes(), curve.as_bytes(), point, host.as_bytes()] {
        put(&mut blob, part);
    }
    blob
}

pub fn line_of(blob: &[u8]) -> String {
    format!("{LINE} {}", STANDARD.encode(blob))
}

pub fn keyid_of(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

impl PasskeyPair {
    /// Returns the passkey with this private key (1 to 3) for [`HOST`].
    pub fn of(number: u8) -> Self {
        Self::at(number, HOST)
    }

    pub fn at(number: u8, host: &str) -> Self {
        let (mut private, point) = ([0; 32], hex(POINTS[usize::from(number) - 1]));
        private[31] = number;
        let (signing, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(signing, &private, &point, &random)
                .expect("a key");
        assert_eq!(pair.public_key().as_ref(), point);
        Self {
            pair,
            point,
            host: host.to_owned(),
        }
    }

    pub fn blob(&self) -> Vec<u8> {
        blob(LINE, "nistp256", &self.point, &self.host)
    }

    pub fn line(&self) -> String {
        line_of(&self.blob())
    }

    pub fn keyid(&self) -> String {
        keyid_of(&self.blob())
    }

    /// Returns what a browser gives to a page: client data, data of the authenticator, and the signature in DER.
    pub fn browser_answer(&self, client_data: &str) -> [Vec<u8>; 3] {
        let mut data = Sha256::digest(self.host.as_bytes()).to_vec();
        data.extend([VERIFIED, 0, 0, 0, 7]);
        let asserted = [&data[..], &Sha256::digest(client_data)].concat();
        let fixed = self
            .pair
            .sign(&SystemRandom::new(), &asserted)
            .expect("a signature");
        let element =
            |tag, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).expect("short")], bytes].concat();
        let (r, s) = fixed.as_ref().split_at(32);
        let numbers = [r, s].map(|number| element(2, &mpint(number))).concat();
        [client_data.into(), data, element(0x30, &numbers)]
    }

    /// Returns the SSHSIG over the DSSE message, as a desk makes it.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_but(message, |_| {})
    }

    pub fn sign_but(&self, message: &[u8], edit: impl FnOnce(&mut Assertion)) -> Vec<u8> {
        let origin = format!("https://{}", self.host);
        let client_data = format!(
            r#"{{"type":"webauthn.get","challenge":"{{challenge}}","origin":"{origin}","crossOrigin":false}}"#
        );
        let mut parts = Assertion {
            namespace: b"countersign".to_vec(),
            hash: "sha256",
            kind: ASSERTION.into(),
            application: self.host.clone(),
            flags: VERIFIED,
            origin,
            client_data,
            extensions: Vec::new(),
            numbers: |numbers| numbers.map(mpint),
            tails: [b"", b"", b""],
            key: None,
        };
        edit(&mut parts);
        let digest = if parts.hash == "sha512" {
            Sha512::digest(message).to_vec()
        } else {
            Sha256::digest(message).to_vec()
        };
        let challenge = challenge(&parts.namespace, parts.hash, &digest);
        let client_data = parts.client_data.replace("{challenge}", &challenge);
        let mut asserted = Sha256::digest(parts.application.as_bytes()).to_vec();
        asserted.push(parts.flags);
        asserted.extend_from_slice(&7_u32.to_be_bytes());
        asserted.extend_from_slice(&parts.extensions);
        asserted.extend_from_slice(&Sha256::digest(client_data.as_bytes()));
        let fixed = self
            .pair
            .sign(&SystemRandom::new(), &asserted)
            .expect("a signature");
        let (r, s) = fixed.as_ref().split_at(32);
        let mut pair = Vec::new();
        (parts.numbers)([r, s])
            .iter()
            .for_each(|number| put(&mut pair, number));
        pair.extend_from_slice(parts.tails[0]);
        let mut inner = Vec::new();
        put(&mut inner, &parts.kind);
        put(&mut inner, &pair);
        inner.push(parts.flags);
        inner.extend_from_slice(&7_u32.to_be_bytes());
        for part in [
            parts.origin.as_bytes(),
            client_data.as_bytes(),
            &parts.extensions,
        ] {
            put(&mut inner, part);
        }
        inner.extend_from_slice(parts.tails[1]);
        let mut whole = b"SSHSIG\0\0\0\x01".to_vec();
        let key = parts.key.unwrap_or_else(|| self.blob());
        for part in [
            &key[..],
            &parts.namespace,
            b"",
            parts.hash.as_bytes(),
            &inner,
        ] {
            put(&mut whole, part);
        }
        whole.extend_from_slice(parts.tails[2]);
        whole
    }
}
