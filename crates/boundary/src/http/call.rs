//! One authenticated request.

use std::{
    fmt::Display,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    RequestExt as _,
    body::{Body, Bytes},
    extract::{RawPathParams, Request},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::Response,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::{
    App, Boundary, Caller, Field, JSON, RouteAccess, fail, fail_at,
    http::{
        access::{bearer, looks_secret, only},
        app::PeerAddress,
        limit::{FAILED_AUTHENTICATION, RateKey, Shortage},
        problem::unreadable,
    },
};
use crossing::{Refusal, RefusalCase, RequestResult, Stopped, fault, refuse};
use documents::{
    Code, Envelope, EnvelopeSignature, KeyId, MAX_SIGNATURES, bundle, canonical, joined,
};
use wire::Signatures;

/// The answer of a handler.
pub type HandlerResult = RequestResult<Response>;

/// Maximum body size of all routes in bytes, because the memory of a connection must be limited.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Time limit for the arrival of a request body, so that a slow sender does not occupy a connection.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
/// Time limit for the arrival of an uploaded file.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(600);

/// A request whose caller was authenticated and may call the route.
pub struct RouteCall {
    pub app: Arc<App>,
    pub caller: Arc<Caller>,
    pub headers: HeaderMap,
    peer: IpAddr,
    /// The refusal of the rate limit, for routes with [`RouteAccess::Signed`]. Such a route returns it only if the call
    /// fails.
    limited: Option<Stopped>,
    params: RawPathParams,
    query: Vec<(&'static str, String)>,
    /// Body of the request. The mutex exists only because a `Body` is not `Sync`.
    body: Mutex<Body>,
}

/// Mark of a request that this service makes itself while it answers a request that was already charged. A client
/// cannot set the mark.
#[derive(Clone)]
pub(super) struct AlreadyCharged;

impl RouteCall {
    /// Checks the query, the bearer token, the rate limit and the access to the route, but not the body.
    pub async fn enter(
        app: Arc<App>,
        query: &'static [Field],
        access: RouteAccess,
        mut request: Request,
    ) -> RequestResult<Self> {
        let peer = request
            .extensions()
            .get::<PeerAddress>()
            .map(|peer| peer.0)
            .ok_or_else(|| fault("a request without its peer's address"))?;
        let query = parse_query(request.uri().query().unwrap_or(""), query)?;
        let now = Instant::now();
        let mut limited = None;
        let cost = if request.extensions().get::<AlreadyCharged>().is_some() {
            0
        } else {
            1
        };
        let mut charge = |payer| match app.limits.charge(payer, cost, now) {
            Err(stopped) if access == RouteAccess::Signed => {
                limited = Some(stopped);
                Ok(())
            }
            charged => charged,
        };
        let bearer = if access == RouteAccess::Probe {
            None
        } else {
            bearer(request.headers())?
        };
        let caller = match bearer {
            None if access == RouteAccess::Probe => Caller::default(),
            // A missing token is reported before the rate limit is checked. So a client with a key learns that it must
            // answer a challenge, even if other clients with the same address have exceeded the rate limit.
            None if access == RouteAccess::Known => {
                let detail = "this call needs `Authorization: Bearer cst_...`: ask an operator for a token, or \
                     answer a challenge with a key of the roster";
                return fail(Code::Unauthenticated, detail);
            }
            None => {
                charge(RateKey::Peer(peer))?;
                Caller::default()
            }
            // Failed attempts of other clients with the same address must not delay a caller with a valid token.
            Some(bearer) => match app.boundary.admission.authenticate(bearer) {
                Ok(caller) => {
                    charge(
                        caller
                            .name()
                            .map_or(RateKey::Peer(peer), RateKey::Principal),
                    )?;
                    caller
                }
                Err(stopped) => {
                    app.limits
                        .charge(RateKey::Peer(peer), FAILED_AUTHENTICATION, now)?;
                    return Err(stopped);
                }
            },
        };
        let params = request
            .extract_parts::<RawPathParams>()
            .await
            .map_err(|_| refuse(Code::Malformed, "the percent-encoded path is not UTF-8"))?;
        let (parts, body) = request.into_parts();
        let (caller, headers, body) = (Arc::new(caller), parts.headers, Mutex::new(body));
        Ok(Self {
            app,
            caller,
            headers,
            peer,
            limited,
            params,
            query,
            body,
        })
    }

    /// Parses a segment of the request path.
    pub fn path<T: FromStr<Err: Display>>(&self, name: &str) -> RequestResult<T> {
        let text = self.raw_path(name)?;
        text.parse()
            .map_err(|error| refuse(Code::Malformed, format!("{{{name}}} in the path: {error}")))
    }

    /// Returns a segment of the request path as text.
    pub fn raw_path(&self, name: &str) -> RequestResult<&str> {
        self.params
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value))
            .ok_or_else(|| fault(format_args!("a route without its part {name:?}")))
    }

    /// Returns a field of the query as text, or `None` if the query has no such field.
    pub fn raw_query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find_map(|(key, value)| (*key == name).then_some(value.as_str()))
    }

    /// Parses a field of the query, or returns `None` if the query has no such field.
    pub fn query<T: FromStr<Err: Display>>(&self, name: &str) -> RequestResult<Option<T>> {
        self.raw_query(name)
            .map(|text| {
                text.parse()
                    .map_err(|error| refuse(Code::Malformed, format!("?{name}=: {error}")))
            })
            .transpose()
    }

    /// Reads the whole body. The limit of `most` bytes is checked while the body arrives.
    pub async fn body(&mut self, most: usize) -> RequestResult<Bytes> {
        json_only(&self.headers)?;
        self.bytes(most).await
    }

    /// Reads an envelope, and charges its sender for the signatures.
    pub async fn signed(&mut self, most: usize) -> RequestResult<Envelope> {
        let envelope: Envelope = self.read(most).await?;
        self.charge_signatures(&envelope.signatures)?;
        Ok(envelope)
    }

    /// Reads the body, and parses it strictly.
    pub async fn read<T: Serialize + DeserializeOwned>(&mut self, most: usize) -> RequestResult<T> {
        read(&self.body(most).await?)
    }

    async fn bytes(&mut self, most: usize) -> RequestResult<Bytes> {
        not_encoded(&self.headers)?;
        let too_large = || {
            refuse(
                Code::TooLarge,
                format!("the body may have at most {most} bytes"),
            )
        };
        let announced =
            only(&self.headers, &CONTENT_LENGTH)?.and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let (mut whole, mut joined) = (Bytes::new(), Vec::new());
        self.arrive(BODY_DEADLINE, |frame| {
            if whole.len() + joined.len() + frame.len() > most {
                return Err(too_large());
            }
            // Most bodies arrive in one frame, which is not copied.
            if whole.is_empty() && joined.is_empty() {
                whole = frame;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut whole));
                joined.extend_from_slice(&frame);
            }
            Ok(())
        })
        .await?;
        Ok(if joined.is_empty() {
            whole
        } else {
            joined.into()
        })
    }

    /// Passes the body to `take` as it arrives.
    async fn arrive(
        &mut self,
        deadline: Duration,
        mut take: impl FnMut(Bytes) -> RequestResult + Send,
    ) -> RequestResult {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut frames = std::mem::take(body).into_data_stream();
        let arrived = timeout(deadline, async move {
            while let Some(frame) = frames.next().await {
                take(frame.map_err(|_| {
                    refuse(
                        Code::Malformed,
                        "the body ended before its announced length",
                    )
                })?)?;
            }
            Ok(())
        });
        arrived.await.unwrap_or_else(|_| {
            fail(
                Code::Malformed,
                format!(
                    "the body did not arrive within {} s: send the whole body again",
                    deadline.as_secs()
                ),
            )
        })
    }

    /// Passes the body of a file to `take` as it arrives. The memory for the body does not grow with its size.
    pub async fn upload(
        &mut self,
        mut take: impl FnMut(&[u8]) -> RequestResult + Send,
    ) -> RequestResult {
        not_encoded(&self.headers)?;
        self.arrive(UPLOAD_DEADLINE, |frame| take(&frame)).await
    }

    /// Checks that the body is empty or an empty object.
    pub async fn no_body(&mut self) -> RequestResult {
        let bytes = self.bytes(64).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        json_only(&self.headers)?;
        read::<Empty>(&bytes).map(|Empty {}| ())
    }

    /// Charges the sender of a request for each signature after the first. The keys are not charged here, because an
    /// attacker could use up the rate of another person's key with invalid signatures. [`charge_key`](Self::charge_key)
    /// charges a key after the verification.
    pub fn charge_signatures(&self, signatures: &[EnvelopeSignature]) -> RequestResult {
        if signatures.is_empty() {
            return fail_at(
                Code::Malformed,
                "there is no signature",
                "/signatures",
                "expected at least one",
            );
        }
        if signatures.len() > MAX_SIGNATURES {
            return fail_at(
                Code::TooLarge,
                format!("at most {MAX_SIGNATURES} signatures fit in one call"),
                "/signatures",
                format!("{} signatures", signatures.len()),
            );
        }
        self.app
            .limits
            .charge(self.payer(), signatures.len() as u32 - 1, Instant::now())
    }

    /// Returns the result of a signed call. If the caller has exceeded the rate limit, a refusal is replaced by the
    /// refusal of the rate limit.
    pub fn unless_limited<T>(&self, done: RequestResult<T>) -> RequestResult<T> {
        match (&self.limited, done) {
            (Some(limited), Err(_)) => Err(limited.clone()),
            (_, done) => done,
        }
    }

    fn payer(&self) -> RateKey<'_> {
        self.caller
            .name()
            .map_or(RateKey::Peer(self.peer), RateKey::Principal)
    }

    /// Charges the caller for a failed authentication. The charge is for the bearer token, if the call has one, or else
    /// for the address.
    pub fn charge_failure(&self) -> RequestResult {
        let (limits, now) = (&self.app.limits, Instant::now());
        // Otherwise a caller with a nearly empty bucket could fail without a penalty.
        limits.withdraw(self.payer(), FAILED_AUTHENTICATION, now, Shortage::Owed)
    }

    /// Charges an issuer for an ID token that fits a token. An ID token that does not fit costs the issuer nothing,
    /// because otherwise any caller could use up the rate of the issuer's jobs.
    pub fn charge_issuer(app: &App, issuer: &str) -> RequestResult {
        app.limits
            .charge(RateKey::Issuer(issuer), 1, Instant::now())
    }

    /// Charges a key for a message with a verified signature of this key.
    pub fn charge_key(app: &App, keyid: &KeyId) -> RequestResult {
        app.limits.charge(RateKey::Key(keyid), 1, Instant::now())
    }

    /// Executes a change to its end, even if the client disconnects.
    pub async fn finish<T, F>(
        &self,
        work: impl FnOnce(Boundary, Arc<Caller>) -> F,
    ) -> RequestResult<T>
    where
        T: Send + 'static,
        F: Future<Output = RequestResult<T>> + Send + 'static,
    {
        let work = work(self.app.boundary.clone(), self.caller.clone());
        self.app.work(work)?.await.map_err(fault)?
    }

    /// Does work that signatures authorize. If the work fails and the caller is above the rate limit, the answer is the
    /// refusal of the rate limit.
    pub async fn finish_signed<T, F>(&self, work: impl FnOnce(Boundary) -> F) -> HandlerResult
    where
        T: Serialize + Send + 'static,
        F: Future<Output = RequestResult<T>> + Send + 'static,
    {
        let done = self.finish(|boundary, _| work(boundary)).await;
        answer(&self.unless_limited(done)?)
    }

    /// Takes signatures for a document.
    pub async fn sign<T, F>(
        mut self,
        most: usize,
        sign: impl FnOnce(Boundary, Vec<EnvelopeSignature>, Arc<App>) -> F,
    ) -> HandlerResult
    where
        T: Serialize + Send + 'static,
        F: Future<Output = RequestResult<T>> + Send + 'static,
    {
        // Read the body before taking the permit, so that a slow sender does not occupy a permit. Parse the body after
        // taking the permit.
        let body = self.body(most).await?;
        let permit = self.app.boundary.crossing.capacity().permit()?;
        let Signatures { signatures } = read(&body)?;
        self.charge_signatures(&signatures)?;
        let app = self.app.clone();
        self.finish_signed(|boundary| {
            let signed = sign(boundary, signatures, app);
            async move {
                let view = signed.await;
                drop(permit);
                view
            }
        })
        .await
    }

    /// Answers with the result of a long read.
    pub async fn found<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce(&Boundary, &Caller) -> RequestResult<T> + Send + 'static,
    ) -> HandlerResult {
        answer(&self.blocking(work).await?)
    }

    /// Runs a long read on a blocking thread, so that the threads of the connections stay free.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Boundary, &Caller) -> RequestResult<T> + Send + 'static,
    ) -> RequestResult<T> {
        let (boundary, caller) = (self.app.boundary.clone(), self.caller.clone());
        tokio::task::spawn_blocking(move || work(&boundary, &caller))
            .await
            .map_err(fault)?
    }
}

#[derive(Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// Parses a body strictly.
pub fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> RequestResult<T> {
    canonical::read_as(body, MAX_BODY_BYTES).map_err(unreadable)
}

pub fn answer(document: &impl Serialize) -> HandlerResult {
    let body = serde_json::to_vec(document).map_err(fault)?;
    Ok(bytes(JSON, body))
}

pub fn answer_with(status: StatusCode, document: &impl Serialize) -> HandlerResult {
    let mut response = answer(document)?;
    *response.status_mut() = status;
    Ok(response)
}

pub fn bytes(media: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Requires `Content-Type: application/json`, so that a browser sends a CORS preflight before a request to another
/// origin.
fn json_only(headers: &HeaderMap) -> RequestResult {
    let is_json = only(headers, &CONTENT_TYPE)?.is_some_and(|given| {
        let mut parts = given.split(';').map(str::trim);
        parts.next().is_some_and(|media| {
            media.eq_ignore_ascii_case(JSON) || media.eq_ignore_ascii_case(bundle::MEDIA_TYPE)
        }) && parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8"))
    });
    if is_json {
        return Ok(());
    }
    let detail = "the body's `Content-Type` is missing or is not application/json: send this type (curl: `--json`, \
        or `-H 'Content-Type: application/json'` together with `-d`)";
    Err(Refusal {
        case: Some(RefusalCase::MediaType),
        ..Refusal::new(Code::Malformed, detail)
    }
    .into())
}

/// Refuses a compressed body, whose bytes no reader here can decode.
fn not_encoded(headers: &HeaderMap) -> RequestResult {
    match only(headers, &CONTENT_ENCODING)? {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => Err(Refusal {
            case: Some(RefusalCase::MediaType),
            ..Refusal::new(
                Code::Malformed,
                format!("the body has `Content-Encoding: {encoding}`: send it without compression"),
            )
        }
        .into()),
    }
}

/// Parses the query. Each field must be known and may occur only once.
fn parse_query(
    query: &str,
    fields: &'static [Field],
) -> RequestResult<Vec<(&'static str, String)>> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (percent_decode(key), percent_decode(value)) else {
            return fail(Code::Malformed, "the query is not percent-encoded UTF-8");
        };
        if looks_secret(&key, &value) {
            let detail = "a bearer is accepted only in `Authorization`: this bearer is now in a URL, and so in logs \
                 and histories: ask an operator to revoke the token";
            return fail(Code::Malformed, detail);
        }
        let Some(field) = fields.iter().find(|field| field.name == key) else {
            let known = joined(fields.iter().map(|field| field.name), ", ");
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known
            };
            return fail(
                Code::Malformed,
                format!(
                    "this path does not know the parameter ?{key}=; known: \
                 {known}"
                ),
            );
        };
        if found.iter().any(|(name, _)| *name == field.name) {
            return fail(Code::Malformed, format!("?{}= stands twice", field.name));
        }
        found.push((field.name, value));
    }
    Ok(found)
}

/// Decodes percent-encoding in a query. A `+` means a space.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |c: u8| char::from(c).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::problem;

    static FIELDS: &[Field] = &[
        Field {
            name: "wait",
            about: "",
        },
        Field {
            name: "step",
            about: "",
        },
    ];

    #[test]
    fn unknown_or_repeated_query_fields_are_refused() {
        let parsed =
            parse_query("step=deploy%2Fweb%3arestart&wait=55s", FIELDS).expect("a good query");
        assert_eq!(
            parsed,
            [
                ("step", "deploy/web:restart".to_owned()),
                ("wait", "55s".to_owned())
            ]
        );
        assert_eq!(parse_query("", FIELDS).expect("none"), []);
        for bad in [
            "wait=1&wait=2",
            "wiat=1",
            "wait=%",
            "wait=%zz",
            "wait=%ff",
            "step=%e2%28%a1",
        ] {
            let stopped = parse_query(bad, FIELDS).expect_err(bad);
            assert_eq!(problem(&stopped).status, 400, "{bad}");
        }
    }

    #[test]
    fn a_body_needs_the_json_content_type() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            json_only(&headers).is_ok()
        };
        assert!(of("application/json") && of("Application/JSON; charset=UTF-8"));
        for bad in [
            "text/plain",
            "application/json5",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
            "",
        ] {
            assert!(!of(bad), "{bad}");
        }
        assert!(json_only(&HeaderMap::new()).is_err());
    }
}
