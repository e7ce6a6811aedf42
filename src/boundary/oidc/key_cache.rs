//! The keys of issuers, as their servers publish them (OpenID Connect Discovery 1.0), in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::boundary::oidc::issuer_keys::{IssuerKeys, MAX_DOCUMENT_BYTES};
use crate::seal::refusal::{Refusal, Stopped, fault};
use documents::crypto::json;
use documents::record::code::Code;
use documents::record::validity::Timestamp;

/// Seconds for which keys are used without another look.
const FRESH_S: i64 = 3600;
/// Seconds for which keys stay usable while their issuer does not answer.
const USABLE_S: i64 = 86_400;
/// Minimum time in seconds between two requests because of an unknown key, or because of old keys.
const ASK_AGAIN_S: i64 = 300;
/// Minimum time in seconds between two requests while no keys are known.
const RETRY_S: i64 = 10;

/// Reads a document of at most 1 MiB from an address, over TLS and without redirects. The second argument is the PEM text of
/// the trusted authorities, or `None` for those of the system.
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
    /// Held while the issuer is asked.
    asking: tokio::sync::Mutex<()>,
}

/// What is known about the keys of an issuer.
#[derive(Default)]
struct KnownKeys {
    keys: Option<(Arc<IssuerKeys>, Timestamp)>,
    /// Time of the last request.
    asked: Option<Timestamp>,
    /// Time of the last request because of an unknown key.
    asked_for_unknown: Option<Timestamp>,
    trouble: Option<String>,
}

impl KnownKeys {
    /// Returns true if the issuer must be asked before the key `kid` is used or refused at the time `now`.
    fn must_ask(&self, kid: &str, now: Timestamp) -> bool {
        let waited = |at: Option<Timestamp>, least: i64| at.is_none_or(|at| age(at, now) >= least);
        match self.usable(now) {
            None => waited(self.asked, RETRY_S),
            Some(keys) if !keys.has(kid) => waited(self.asked_for_unknown, ASK_AGAIN_S),
            Some(_) => {
                let read = self.keys.as_ref().map(|(_, read)| *read);
                waited(read, FRESH_S) && waited(self.asked, ASK_AGAIN_S)
            }
        }
    }

    fn usable(&self, now: Timestamp) -> Option<&Arc<IssuerKeys>> {
        self.keys.as_ref().filter(|(_, read)| age(*read, now) < USABLE_S).map(|(keys, _)| keys)
    }

    /// Returns the keys, or the refusal if no keys are known.
    fn answer(&self, issuer: &str, now: Timestamp) -> Result<Arc<IssuerKeys>, Refusal> {
        self.usable(now).cloned().ok_or_else(|| {
            let why = self.trouble.as_deref().unwrap_or("its server did not answer");
            let detail = format!("the keys of the issuer {issuer} can't be read: {why}; try again later");
            Refusal::new(Code::Busy, detail).retry_after(RETRY_S.unsigned_abs())
        })
    }

    /// Notes the beginning of a request.
    fn begin(&mut self, kid: &str, now: Timestamp) {
        if self.keys.as_ref().is_some_and(|(keys, _)| !keys.has(kid)) {
            self.asked_for_unknown = Some(now);
        }
        self.asked = Some(now);
    }

    fn end(&mut self, answer: Result<IssuerKeys, String>, now: Timestamp) {
        match answer {
            Ok(keys) => (self.keys, self.trouble) = (Some((Arc::new(keys), now)), None),
            Err(why) => self.trouble = Some(why),
        }
    }
}

impl KeyCache {
    /// Creates the cache. `fetch` blocks its thread.
    #[must_use]
    pub fn new(fetch: Arc<FetchDocument>) -> Self {
        Self { fetch, issuers: Mutex::default() }
    }

    /// Returns the keys of an issuer, and asks the issuer if the keys are old or don't contain `kid`. Callers must limit the
    /// issuers to those that an operator named.
    ///
    /// # Errors
    /// Returns `busy` if no keys of the issuer are known.
    pub async fn keys(
        &self,
        issuer: &str,
        authorities: Option<&str>,
        kid: &str,
        now: Timestamp,
    ) -> Result<Arc<IssuerKeys>, Stopped> {
        let cached = {
            let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
            issuers.entry((issuer.to_owned(), authorities.map(str::to_owned))).or_default().clone()
        };
        let known = || cached.known.lock().unwrap_or_else(PoisonError::into_inner);
        let look = || {
            let known = known();
            (!known.must_ask(kid, now)).then(|| known.answer(issuer, now))
        };
        if let Some(Ok(keys)) = look()
            && keys.has(kid)
        {
            return Ok(keys);
        }
        // A request for an unknown key waits for a request that runs already.
        let _asking = cached.asking.lock().await;
        if let Some(answer) = look() {
            return Ok(answer?);
        }
        known().begin(kid, now);
        let (fetch, address) = (self.fetch.clone(), (issuer.to_owned(), authorities.map(str::to_owned)));
        let read = move || read_keys(&*fetch, &address.0, address.1.as_deref());
        let answer = tokio::task::spawn_blocking(read).await.map_err(|error| fault(&error))?;
        if let Err(why) = &answer {
            tracing::warn!(issuer, "the keys of the issuer can't be read: {why}");
        }
        let mut known = known();
        known.end(answer, now);
        Ok(known.answer(issuer, now)?)
    }
}

fn age(at: Timestamp, now: Timestamp) -> i64 {
    (now.unix() - at.unix()).max(0)
}

/// Reads the keys of an issuer: its configuration, and then the JWK set that the configuration names on the same server.
fn read_keys(fetch: &FetchDocument, issuer: &str, authorities: Option<&str>) -> Result<IssuerKeys, String> {
    let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = fetch(&address, authorities)?;
    let about = |why: &str| format!("{address}: {why}");
    let configuration = json::parse(&document, MAX_DOCUMENT_BYTES).map_err(|error| about(&error.to_string()))?;
    if configuration["issuer"] != issuer {
        return Err(about("the document is about another issuer"));
    }
    let keys = configuration["jwks_uri"].as_str().ok_or_else(|| about("`jwks_uri` is missing"))?;
    // Otherwise the document could send this service to any server of its network.
    let server = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    if server(keys) != server(issuer) {
        return Err(about("`jwks_uri` names another server than the issuer: pin the keys with --jwks FILE"));
    }
    IssuerKeys::parse(&fetch(keys, authorities)?).map_err(|why| format!("{keys}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/a";

    fn keys(kid: &str) -> IssuerKeys {
        IssuerKeys::parse(format!(r#"{{"keys":[{{"kid":"{kid}","kty":"oct"}}]}}"#).as_bytes()).expect("a JWK set")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    #[test]
    fn an_unknown_key_is_asked_for_at_most_each_five_minutes() {
        let mut known = KnownKeys::default();
        assert!(known.must_ask("a", at(0)), "nothing is known");
        known.begin("a", at(0));
        known.end(Ok(keys("a")), at(0));
        assert!(!known.must_ask("a", at(1)));
        assert!(known.must_ask("b", at(1)), "the first request for a rotated key");
        known.begin("b", at(1));
        known.end(Ok(keys("b")), at(1));
        assert!(!known.must_ask("b", at(2)) && !known.must_ask("c", at(300)));
        assert!(known.must_ask("c", at(301)));
    }

    #[test]
    fn keys_are_read_again_after_an_hour_and_stay_usable_for_a_day_without_their_issuer() {
        let mut known = KnownKeys::default();
        known.begin("a", at(0));
        known.end(Err("gone".to_owned()), at(0));
        assert!(known.answer(ISSUER, at(0)).is_err_and(|refusal| refusal.code == Code::Busy));
        assert!(!known.must_ask("a", at(9)) && known.must_ask("a", at(10)), "no keys are known");
        known.begin("a", at(10));
        known.end(Ok(keys("a")), at(10));
        assert!(!known.must_ask("a", at(3609)) && known.must_ask("a", at(3610)));
        known.begin("a", at(3610));
        known.end(Err("gone".to_owned()), at(3610));
        assert!(!known.must_ask("a", at(3909)) && known.must_ask("a", at(3910)));
        assert!(known.answer(ISSUER, at(86_409)).is_ok_and(|keys| keys.has("a")));
        let refusal = known.answer(ISSUER, at(86_410)).expect_err("a day is over");
        assert!(refusal.detail.contains("gone") && refusal.retry_after_s.is_some(), "{refusal}");
    }

    #[test]
    fn the_configuration_is_of_the_issuer_and_names_keys_on_its_server() {
        let read = |configuration: &str| {
            let configuration = configuration.to_owned();
            let fetch = move |url: &str, _: Option<&str>| match url {
                "https://issuer.example/a/.well-known/openid-configuration" => Ok(configuration.clone().into_bytes()),
                "https://issuer.example/keys" => Ok(br#"{"keys":[]}"#.to_vec()),
                other => Err(format!("asked for {other}")),
            };
            read_keys(&fetch, ISSUER, None)
        };
        let of = |issuer: &str, keys: &str| read(&format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#));
        assert_eq!(of(ISSUER, "https://issuer.example/keys").map(|keys| keys.usable()), Ok(0));
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
            assert!(bad.is_err_and(|why| !why.contains("asked for")), "nothing else is asked");
        }
    }
}
