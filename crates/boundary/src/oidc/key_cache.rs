//! The keys of issuers, as their servers publish them (OpenID Connect Discovery 1.0), in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::{IssuerKeys, MAX_DOCUMENT_BYTES};
use crossing::{Refusal, Stopped, fault};
use documents::{Code, Timestamp, json, locked};

/// Seconds for which keys are used without another look.
const FRESH_S: i64 = 3600;
/// Seconds for which keys stay usable while their issuer does not answer.
const USABLE_S: i64 = 86_400;
/// Minimum time in seconds between two requests because of old keys, and mean time between two requests because of unknown
/// keys.
const ASK_AGAIN_S: i64 = 300;
/// Number of requests because of unknown keys that can follow each other at once. Anybody can name an unknown key, and a
/// stranger must not use up the request for a new key of the issuer.
const UNKNOWN_AT_ONCE: i64 = 2;
/// Minimum time in seconds between two requests while no keys are known, or after a request without an answer.
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

    /// Returns the value of the field, limited to what the present time allows, because a clock that was set back must not
    /// delay the requests.
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

    /// Returns keys that contain `kid`, or the refusal if no such keys are known. The refusal is not final, because the issuer
    /// can have a new key.
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

    /// Notes the end of a request because of the key `kid`.
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

    /// Returns the keys of an issuer, and asks the issuer if the keys are old or don't contain `kid`. If the issuer was just
    /// asked, the keys may lack `kid`. Callers must limit the issuers to those that an operator named.
    ///
    /// # Errors
    /// Returns `busy` if the issuer does not answer, or can't be asked again yet.
    pub async fn keys(
        &self,
        issuer: &str,
        authorities: Option<&str>,
        kid: &str,
        now: Timestamp,
    ) -> Result<Arc<IssuerKeys>, Stopped> {
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
        // A request for an unknown key waits for a request that runs already.
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
        let answer = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| fault(&error))?;
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

fn age(at: Timestamp, now: Timestamp) -> i64 {
    (now.unix() - at.unix()).max(0)
}

/// Reads the keys of an issuer: its configuration, and then the JWK set that the configuration names on the same server.
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
    let server = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    if server(keys) != server(issuer) {
        return Err(about(
            "`jwks_uri` names another server than the issuer: pin the keys with --jwks FILE",
        ));
    }
    IssuerKeys::parse(&fetch(keys, authorities)?).map_err(|why| format!("{keys}: {why}"))
}

#[cfg(test)]
mod tests {
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
