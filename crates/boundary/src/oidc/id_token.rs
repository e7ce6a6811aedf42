//! The strict parser of ID tokens (a JWT of RFC 7519 in the compact form of JWS), and the checks of their claims.
//!
//! The header only chooses the key. The type of the key decides the algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::IssuerKeys;
use crossing::Refusal;
use documents::{Code, SKEW_S, Timestamp, json, sha256};
use store::IdTokenUse;

/// Maximum size of an ID token in bytes. The tokens of GitHub and GitLab have about 2 KiB.
pub const MAX_ID_TOKEN_BYTES: usize = 16 << 10;
/// Maximum age of an ID token in seconds.
const MAX_AGE_S: i64 = 600;
/// Maximum length of the claim `jti` and of the header `kid` in bytes.
const MAX_NAME_BYTES: usize = 512;

/// The last second of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;

/// A parsed ID token, whose signature is not verified.
#[derive(Debug)]
pub struct IdToken {
    /// The bytes that the signature covers.
    signed: String,
    signature: Vec<u8>,
    alg: String,
    kid: String,
    issuer: String,
    claims: Map<String, Value>,
}

/// The claims of an ID token that its issuer signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedClaims<'t>(pub(super) &'t Map<String, Value>);

/// Returns the refusal of an ID token because of a claim.
pub fn refused(claim: &str, why: &str) -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        format!("the ID token is refused: the claim `{claim}` {why}"),
    )
}

fn malformed(why: &str) -> Refusal {
    let detail = format!("this is no usable ID token: {why}");
    Refusal::malformed("/id_token", detail)
}

impl IdToken {
    /// Parses an ID token: three parts in base64url without padding, of which the first two are strict JSON objects.
    ///
    /// # Errors
    /// Returns `too-large`, or `malformed` with the part, the header or the claim that can't be used.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_ID_TOKEN_BYTES {
            let detail = format!("an ID token may have at most {MAX_ID_TOKEN_BYTES} bytes");
            return Err(Refusal::new(Code::TooLarge, detail.clone()).at("/id_token", detail));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(malformed(
                "an ID token has three parts with dots between them",
            ));
        };
        let object = |what: &str, part: &str| {
            let bytes = URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| malformed(&format!("the {what} is not base64url")))?;
            match json::parse_foreign(&bytes, MAX_ID_TOKEN_BYTES) {
                Ok(Value::Object(object)) => Ok(object),
                Ok(_) => Err(malformed(&format!("the {what} is no JSON object"))),
                Err(error) => Err(malformed(&format!(
                    "the {what} is not strict JSON: {error}"
                ))),
            }
        };
        let text_of = |object: &Map<String, Value>, what: &str, name: &str| match object.get(name) {
            Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_NAME_BYTES => {
                Ok(text.clone())
            }
            _ => Err(malformed(&format!(
                "the {what} `{name}` is missing or is no text of at most {MAX_NAME_BYTES} bytes"
            ))),
        };
        let headers = object("header", header)?;
        if headers.contains_key("crit") {
            return Err(malformed(
                "the header `crit` demands an extension, and this boundary knows none",
            ));
        }
        if headers.get("typ").is_some_and(|typ| {
            !typ.as_str()
                .is_some_and(|typ| typ.eq_ignore_ascii_case("JWT"))
        }) {
            return Err(malformed("the header `typ` is not JWT"));
        }
        let claims_read = object("second part", claims)?;
        Ok(Self {
            signature: URL_SAFE_NO_PAD
                .decode(signature)
                .map_err(|_| malformed("the signature is not base64url"))?,
            alg: text_of(&headers, "header", "alg")?,
            kid: text_of(&headers, "header", "kid")?,
            issuer: text_of(&claims_read, "claim", "iss")?,
            claims: claims_read,
            signed: format!("{header}.{claims}"),
        })
    }

    /// Returns the claim `iss`, which nobody verified.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the id of the key that the ID token names.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Verifies the signature with the key of the issuer that the ID token names.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the issuer has no such key or if the header `alg` is not that of the key, and
    /// `bad-signature` if the signature does not verify.
    pub(super) fn verify(&self, keys: &IssuerKeys) -> Result<SignedClaims<'_>, Refusal> {
        let key = keys.key(&self.kid)?;
        if self.alg != key.alg() {
            let why = format!(
                "the header `alg` is {:?}, but the key {:?} of the issuer is for {}",
                self.alg,
                self.kid,
                key.alg()
            );
            return Err(Refusal::new(
                Code::Unauthenticated,
                format!("the ID token is refused: {why}"),
            ));
        }
        match key.verify(self.signed.as_bytes(), &self.signature) {
            Ok(()) => Ok(SignedClaims(&self.claims)),
            Err(_) => {
                let detail = format!(
                    "the signature of the ID token does not verify with the key {:?} of the issuer",
                    self.kid
                );
                Err(Refusal::new(Code::BadSignature, detail))
            }
        }
    }
}

impl<'t> SignedClaims<'t> {
    /// Returns the JSON value of a claim.
    pub(super) fn value(self, name: &str) -> Option<&'t Value> {
        self.0.get(name)
    }

    /// Returns the text of a claim that is a string.
    pub(super) fn string(self, name: &str) -> Option<&'t str> {
        self.0.get(name)?.as_str()
    }

    /// Checks the audience and the times. Returns what the store notes about an ID token that was used.
    ///
    /// # Errors
    /// Returns `unauthenticated` with the claim.
    pub(super) fn check(self, audience: &str, now: Timestamp) -> Result<IdTokenUse, Refusal> {
        let is_named = match self.0.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(|one| one == audience),
            one => one.is_some_and(|one| one == audience),
        };
        if !is_named {
            return Err(refused(
                "aud",
                &format!("must be or contain {audience:?}, this boundary"),
            ));
        }
        let time = |name: &str| match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value
                .as_i64()
                .filter(|seconds| (0..=MAX_SECONDS).contains(seconds))
            {
                Some(seconds) => Ok(Some(Timestamp::from_unix(seconds))),
                None => Err(refused(name, "is no time in whole seconds")),
            },
        };
        let needed = |name: &str| time(name)?.ok_or_else(|| refused(name, "is missing"));
        let (exp, iat) = (needed("exp")?, needed("iat")?);
        let ends = exp.plus(SKEW_S);
        if now >= ends {
            return Err(refused(
                "exp",
                &format!("says that the ID token ended at {exp}, and here it is {now}"),
            ));
        }
        let too_old = iat.plus(MAX_AGE_S + SKEW_S);
        if now >= too_old {
            let why = format!(
                "says that the ID token was made at {iat}, more than 10 minutes ago (here it is {now})"
            );
            return Err(refused("iat", &why));
        }
        for (name, begin) in [("iat", Some(iat)), ("nbf", time("nbf")?)] {
            if let Some(begin) = begin.filter(|begin| now < begin.plus(-SKEW_S)) {
                return Err(refused(
                    name,
                    &format!("is {begin}, but here it is {now}: compare the clocks"),
                ));
            }
        }
        let jti = self
            .string("jti")
            .filter(|jti| !jti.is_empty() && jti.len() <= MAX_NAME_BYTES);
        let jti = jti.ok_or_else(|| refused("jti", "is missing or is no text"))?;
        let issuer = self.string("iss").unwrap_or_default();
        // The lengths keep two different pairs apart.
        let digest = sha256(format!("{} {issuer}{jti}", issuer.len()).as_bytes());
        Ok(IdTokenUse {
            digest,
            expires_at: ends.min(too_old),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const AUDIENCE: &str = "countersign:sha256:00";
    const NOW: i64 = 1_800_000_000;

    fn token(header: &str, claims: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    fn claims(change: Value) -> Map<String, Value> {
        let mut claims = json!({"iss": "https://i.example", "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW, "nbf": NOW, "jti": "a"});
        for (name, value) in change.as_object().expect("an object") {
            match value {
                Value::Null => claims.as_object_mut().expect("an object").remove(name),
                value => claims
                    .as_object_mut()
                    .expect("an object")
                    .insert(name.clone(), value.clone()),
            };
        }
        claims.as_object().expect("an object").clone()
    }

    #[test]
    fn the_parser_names_the_part_of_an_id_token_that_is_wrong() {
        let (header, body) = (
            r#"{"alg":"RS256","kid":"k","typ":"JWT","x5t":"a"}"#,
            r#"{"iss":"https://i.example"}"#,
        );
        let good = IdToken::parse(&token(header, body)).expect("an ID token");
        assert_eq!((good.issuer(), good.kid()), ("https://i.example", "k"));
        assert!(
            IdToken::parse(token(header, body).trim_end_matches("c2ln")).is_ok(),
            "the algorithm none has no signature"
        );
        for (text, why) in [
            (String::new(), "three parts"),
            ("a.b".to_owned(), "three parts"),
            (token(header, body) + ".x", "three parts"),
            (token(header, body) + "=", "signature is not base64url"),
            (
                token(header, body).replace("c2ln", "c2l+"),
                "signature is not base64url",
            ),
            (
                token(header, body).replace("c2ln", "c2m"),
                "signature is not base64url",
            ),
            (
                format!("{}=.e30.", URL_SAFE_NO_PAD.encode(header)),
                "header is not base64url",
            ),
            (token("[]", body), "header is no JSON object"),
            (
                token(r#"{"alg":"RS256","kid":"a","kid":"k"}"#, body),
                "duplicate-key",
            ),
            (
                token(r#"{"alg":"RS256","kid":"k","crit":["b64"]}"#, body),
                "`crit`",
            ),
            (
                token(r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#, body),
                "`typ`",
            ),
            (token(r#"{"alg":"RS256","kid":["k"]}"#, body), "`kid`"),
            (token(r#"{"kid":"k"}"#, body), "`alg`"),
            (
                token(header, r#"{"iss":"a","iss":"https://i.example"}"#),
                "duplicate-key",
            ),
            (token(header, r#"{"sub":"a"}"#), "`iss`"),
            (token(header, r#"{"iss":""}"#), "`iss`"),
            (token(header, "{"), "strict JSON"),
        ] {
            let refusal = IdToken::parse(&text).expect_err(why);
            assert_eq!(refusal.code, Code::Malformed, "{text}");
            assert!(refusal.detail.contains(why), "{why}: {}", refusal.detail);
        }
        let large = token(
            header,
            &format!(r#"{{"iss":"{}"}}"#, "a".repeat(MAX_ID_TOKEN_BYTES)),
        );
        assert_eq!(
            IdToken::parse(&large).expect_err("too large").code,
            Code::TooLarge
        );
    }

    #[test]
    fn the_audience_and_the_times_are_checked_with_a_minute_of_skew() {
        let at = Timestamp::from_unix;
        let check = |change: Value| {
            SignedClaims(&claims(change))
                .check(AUDIENCE, at(NOW))
                .map(|usable| usable.expires_at)
        };
        assert_eq!(check(json!({})), Ok(at(NOW + 360)));
        for several in [
            json!([AUDIENCE]),
            json!([AUDIENCE, "other"]),
            json!(["other", AUDIENCE]),
        ] {
            assert_eq!(check(json!({"aud": several})), Ok(at(NOW + 360)));
        }
        assert_eq!(
            check(json!({"exp": NOW + 7200})),
            Ok(at(NOW + 660)),
            "the age ends it earlier"
        );
        assert_eq!(check(json!({"nbf": null})), Ok(at(NOW + 360)));
        for good in [
            json!({"exp": NOW - 59}),
            json!({"iat": NOW - 659}),
            json!({"iat": NOW + 60}),
            json!({"nbf": NOW + 60}),
        ] {
            assert!(check(good.clone()).is_ok(), "{good}");
        }
        for (claim, value) in [
            ("exp", json!(NOW - 60)),
            ("exp", json!(null)),
            ("exp", json!("1800000300")),
            ("exp", json!(-1)),
            ("exp", json!(MAX_SECONDS + 1)),
            ("iat", json!(NOW - 660)),
            ("iat", json!(NOW + 61)),
            ("iat", json!(null)),
            ("nbf", json!(NOW + 61)),
            ("nbf", json!(true)),
            ("jti", json!(null)),
            ("jti", json!(7)),
            ("jti", json!("")),
            ("aud", json!(null)),
            ("aud", json!("countersign:sha256:01")),
            ("aud", json!(["other", "countersign:sha256:01"])),
            ("aud", json!({AUDIENCE: AUDIENCE})),
            ("aud", json!([[AUDIENCE]])),
            ("aud", json!([])),
        ] {
            let refusal = check(json!({claim: value})).expect_err(claim);
            assert!(
                refusal.code == Code::Unauthenticated
                    && refusal.detail.contains(&format!("`{claim}`")),
                "{value}: {refusal}"
            );
        }
        let digest = |iss: &str, jti: &str| {
            let claims = claims(json!({"iss": iss, "jti": jti}));
            SignedClaims(&claims)
                .check(AUDIENCE, at(NOW))
                .expect("usable")
                .digest
        };
        assert_ne!(
            digest("https://i.example", "ab"),
            digest("https://i.examplea", "b")
        );
        assert_eq!(
            digest("https://i.example", "ab"),
            digest("https://i.example", "ab")
        );
    }

    proptest! {
        #[test]
        fn a_changed_byte_never_changes_what_the_signature_covers_unnoticed(at in 0_usize..100, byte in any::<u8>()) {
            let text = token(r#"{"alg":"RS256","kid":"k"}"#, r#"{"iss":"https://i.example","sub":"a"}"#);
            let mut changed = text.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = byte;
            if let Ok(changed) = String::from_utf8(changed)
                && let Ok(parsed) = IdToken::parse(&changed)
            {
                prop_assert_eq!(parsed.signed, changed.rsplit_once('.').expect("three parts").0);
            }
        }
    }
}
