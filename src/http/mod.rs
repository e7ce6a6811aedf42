//! The HTTP face: connections, limits, router.
//!
//! [`routes`] is the one table: the router is built from it, and so is OpenAPI. Every request passes [`reply`], which
//! checks Host and Origin, catches panics, writes the log line and puts the headers that every answer has; then
//! `call::Call::enter`, which knows the caller; then its handler.

pub mod api;
pub mod openapi;
pub mod problem;
pub mod route;

mod access;
mod authorizations;
mod call;
mod challenges;
mod connection;
mod denials;
mod events;
pub mod limit;
mod log;
mod outputs;
mod probes;
mod proposals;
mod receipts;
mod registry;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::Service as _;

use crate::boundary::Boundary;
use crate::crossing::refusal::{Refusal, Stopped, fault};
use crate::http::access::Hosts;
use crate::http::limit::{Limits, Rates};
use crate::http::problem::{method_not_allowed, refuse};
use crate::http::route::Route;
use crate::record::ident::Name;
use crate::record::refusal::Code;

/// How the face is run.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Names besides loopback under which it may be called: `host` (at any port) or `host:port`.
    pub allowed_hosts: Vec<String>,
    /// Connections at once; one more is told 503.
    pub max_connections: usize,
    /// How often each may call.
    pub rates: Rates,
    /// How long what is in flight may take to end at shutdown.
    pub drain: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            max_connections: 1024,
            rates: Rates::default(),
            drain: Duration::from_secs(30),
        }
    }
}

/// Every route there is.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        registry::ROUTES,
        proposals::ROUTES,
        denials::ROUTES,
        authorizations::ROUTES,
        receipts::ROUTES,
        outputs::ROUTES,
        challenges::ROUTES,
        log::ROUTES,
        probes::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// Answers what comes in on `listener` until `shutdown` is ready, then drains, within `config.drain`: calls that change
/// something and are under way end as they would have, new ones are refused, runs end. Who reads or waits is answered until
/// then, so that a client that waits for a run learns its end.
///
/// # Errors
/// When the listener has no address; refused connections are logged and outlived.
pub async fn serve(
    listener: TcpListener,
    boundary: Boundary,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let bound = listener.local_addr()?;
    let (phase, _) = watch::channel(Phase::Serving);
    let app = Arc::new(App::new(boundary, bound, &config, phase.subscribe()));
    let face = Face { router: router(app.clone()), app: app.clone() };
    let reply = move |peer, request: Request<Incoming>| reply(face.clone(), peer, request);
    let drained = async {
        shutdown.await;
        phase.send_replace(Phase::Draining);
        drain(&app, config.drain).await;
    };
    let ended = connection::accept(listener, reply, config.max_connections, &phase, drained).await;
    tracing::info!(address = %bound, "no longer listening");
    if tokio::time::timeout(LAST_ANSWERS, ended).await.is_err() {
        tracing::warn!(seconds = LAST_ANSWERS.as_secs(), "answers were not taken in time: cut off");
    }
    phase.send_replace(Phase::Over);
    Ok(())
}

/// Lets calls and runs end.
async fn drain(app: &App, within: Duration) {
    let began = Instant::now();
    app.boundary.housekeeping.begin_ending();
    let waited_for = app.is_waited_for();
    if tokio::time::timeout(within, app.finished()).await.is_err() {
        tracing::warn!(seconds = within.as_secs(), "calls that were under way did not end in time");
    }
    app.boundary.housekeeping.end_runs(within.saturating_sub(began.elapsed())).await;
    if waited_for {
        // Who waited has just been told the end of a run, and reads its receipt now.
        tokio::time::sleep(LAST_READS).await;
    }
}

/// How long reading is answered after the last run has ended, where somebody waited.
const LAST_READS: Duration = Duration::from_secs(1);
/// How long answers that are on their way may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Where the service is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Requests are taken.
    Serving,
    /// What runs is finished; only reading is answered.
    Draining,
    /// Waits answer as things are, streams end.
    Ending,
    /// What is left is cut off.
    Over,
}

/// What all requests share.
struct App {
    boundary: Boundary,
    hosts: Hosts,
    limits: Limits,
    phase: watch::Receiver<Phase>,
    /// Room for those who wait for events or changes; the other connections stay free for signatures.
    waits: Arc<Semaphore>,
    most_waits: usize,
    /// Calls that change something, each holding one of [`MOST_WORK`].
    work: Arc<Semaphore>,
}

/// More calls that change something than connections can bring: to be waited for, not to limit.
const MOST_WORK: u32 = 1 << 20;

impl App {
    fn new(boundary: Boundary, bound: SocketAddr, config: &HttpConfig, phase: watch::Receiver<Phase>) -> Self {
        let most_waits = config.max_connections / 4 * 3;
        Self {
            boundary,
            hosts: Hosts::new(bound, &config.allowed_hosts),
            limits: Limits::new(config.rates, Instant::now()),
            phase,
            waits: Arc::new(Semaphore::new(most_waits)),
            most_waits,
            work: Arc::new(Semaphore::new(MOST_WORK as usize)),
        }
    }

    /// Ready as soon as the service has come to `phase`.
    async fn phase(&self, phase: Phase) {
        let mut at = self.phase.clone();
        // An error means that `serve` is gone: that is over as well.
        let _ = at.wait_for(|now| *now >= phase).await;
    }

    /// Starts work that ends also when its caller goes away, and that shutdown waits for.
    fn work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, Stopped> {
        let counted = self.work.clone().try_acquire_owned();
        let counted = counted.map_err(|_| refuse(Code::Busy, "too much is under way: try again"))?;
        // A crossing's state is kilobytes: moved once, not into the task, its cell and out again.
        let work = Box::pin(work);
        Ok(tokio::spawn(async move {
            let done = work.await;
            drop(counted);
            done
        }))
    }

    /// Whether new calls may change something.
    fn takes_changes(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Whether somebody waits for events or changes.
    fn is_waited_for(&self) -> bool {
        self.waits.available_permits() < self.most_waits
    }

    /// Ready when no such work is under way.
    async fn finished(&self) {
        let _ = self.work.acquire_many(MOST_WORK).await;
    }
}

/// Router and what it needs, for one more connection.
#[derive(Clone)]
struct Face {
    router: Router,
    app: Arc<App>,
}

/// The peer's address, as the connection tells it.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// What the log line says of a request that had a route.
#[derive(Debug, Clone)]
struct Seen {
    path: &'static str,
    principal: Option<Name>,
}

fn router(app: Arc<App>) -> Router {
    route::router(routes(), app).fallback(unknown)
}

/// Seconds after which a boundary that is started again should answer.
const RESTART_S: u64 = 5;

/// Paths of features that later versions have.
const LATER: [(&str, &str); 5] = [
    ("/v1/sessions", "sessions"),
    ("/v1/grants", "grants"),
    ("/v1/revocations", "revocations"),
    ("/v1/artifacts", "artifacts"),
    ("/metrics", "metrics"),
];

async fn unknown(request: Request<Body>) -> Response {
    let path = request.uri().path();
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let detail = match LATER.iter().find(|(prefix, _)| below(prefix)) {
        Some((_, feature)) => format!("{feature} are not in this version"),
        None => "there is no such path: GET /openapi.json names them all".to_owned(),
    };
    refuse(Code::NotFound, detail).into_response()
}

/// Answers one request, whatever happens.
async fn reply<B>(mut face: Face, peer: IpAddr, request: Request<B>) -> Result<Response, Infallible>
where
    B: HttpBody<Data = axum::body::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let began = Instant::now();
    let method = request.method().clone();
    let mut response = match face.app.hosts.check(request.headers(), request.uri()) {
        Err(stopped) => stopped.into_response(),
        Ok(()) if !method.is_safe() && !face.app.takes_changes() => {
            let refusal = Refusal::new(Code::Busy, "the boundary is ending or starting again: try again soon");
            let mut response = Stopped::from(refusal.retry_after(RESTART_S)).into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Ok(()) => {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            caught(face.router.call(request)).await
        }
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = method_not_allowed(response.headers_mut().remove(ALLOW));
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    note(&method, &response, began.elapsed());
    Ok(response)
}

/// One line a request: who did what, what came of it. No query, no header, no body: secrets could be in them.
fn note(method: &axum::http::Method, response: &Response, took: Duration) {
    let seen = response.extensions().get::<Seen>();
    let path = seen.map_or("(no route)", |seen| seen.path);
    let principal = seen.and_then(|seen| seen.principal.as_ref()).map_or("-", Name::as_str);
    let (status, us) = (response.status().as_u16(), took.as_micros() as u64);
    if response.status().is_server_error() && response.status() != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%method, path, status, us, principal, "request");
    } else if method.is_safe() {
        tracing::debug!(%method, path, status, us, principal, "request");
    } else {
        tracing::info!(%method, path, status, us, principal, "request");
    }
}

/// What the router gives; a panic becomes a fault with an id, and the service goes on.
async fn caught(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answer = pin!(answer);
    let outcome = poll_fn(|context| {
        // A request owns what it works on; what it shares is behind locks that hold no half-done state.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    });
    match outcome.await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            fault(&format_args!("a handler panicked: {said}")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_stands_twice_and_each_has_its_refusals_described() {
        let mut seen = Vec::new();
        for route in routes() {
            assert!(!seen.contains(&(route.path, route.verb == route::Verb::Get)), "{} stands twice", route.path);
            seen.push((route.path, route.verb == route::Verb::Get));
            assert!(!route.replies.is_empty() && !route.summary.is_empty(), "{}", route.path);
            assert!(route.verb == route::Verb::Post || route.body.is_none(), "{} is safe and has a body", route.path);
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_fault_with_an_id() {
        let response = caught(async { panic!("boom") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        let problem: api::Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.kind, problem::FAULT);
        assert!(problem.fault.is_some_and(|id| id.len() > 4) && !problem.detail.contains("boom"));
    }

    #[tokio::test]
    async fn features_of_later_versions_are_refused_by_name() {
        for (path, feature) in
            [("/v1/grants", "grants"), ("/v1/artifacts/blake3:00", "artifacts"), ("/metrics", "metrics")]
        {
            let response = unknown(Request::builder().uri(path).body(Body::empty()).expect("a request")).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
            let problem: api::Problem = serde_json::from_slice(&body).expect("a problem");
            assert!(problem.detail.starts_with(&format!("{feature} are not in this version")), "{}", problem.detail);
        }
    }
}
