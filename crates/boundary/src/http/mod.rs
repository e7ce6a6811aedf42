//! The HTTP interface.
//!
//! The router and the OpenAPI document are built from the table of routes in `openapi.rs`. Each request first passes
//! `reply`, which checks Host and Origin, catches panics, writes the log line and adds common headers. Then
//! `RouteCall::enter` authenticates the caller, and the handler of the route runs.

pub(crate) mod openapi;
pub(crate) mod problem;
pub(crate) mod route;

pub(crate) mod access;
mod admissions;
pub(crate) mod app;
mod artifacts;
mod authorizations;
pub(crate) mod call;
mod challenges;
mod connection;
mod denials;
pub(crate) mod events;
mod feed;
mod grants;
pub(crate) mod limit;
mod log_routes;
mod mcp;
pub mod metrics_listener;
mod metrics_route;
pub(crate) mod operation;
pub(crate) mod outputs;
mod probes;
pub(crate) mod proposals;
mod receipts;
mod registry;
mod reviews;
mod revocations;
mod sessions;
pub mod standby;

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{
        HeaderValue, Method, Request, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONNECTION, HOST, X_CONTENT_TYPE_OPTIONS},
    },
    response::Response,
};
use hyper::body::Incoming;
use tokio::{net::TcpListener, sync::watch};
use tower::Service as _;
use tracing::Instrument as _;

use crate::{
    App, Boundary, HttpConfig, Phase, RequestSummary,
    http::{
        app::{PeerAddress, request_span},
        problem::{RefusedWith, method_not_allowed, refused},
    },
    openapi, routes,
};
use crossing::{Refusal, fault, refuse};
use documents::{Code, Name};
use store::Metrics;

/// Serves requests on `listener` until the future `shutdown` completes, then waits at most `config.drain` for the end
/// of changes and runs in progress. During this time the service refuses new changes, but answers read requests, so
/// that a waiting client learns the outcome of its run.
///
/// # Errors
/// Returns an error if the listener has no address. A failed connection is logged but is no error of this function.
pub async fn serve(
    listener: TcpListener,
    boundary: Boundary,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let bound = listener.local_addr()?;
    let (phase, _) = watch::channel(Phase::Serving);
    let app = Arc::new(App::new(
        boundary,
        bound,
        &config,
        phase.subscribe(),
        openapi().to_string().into(),
    ));
    let face = face(&app, config.mcp);
    let reply = move |peer, request: Request<Incoming>| reply(face.clone(), peer, request);
    let drained = async {
        shutdown.await;
        phase.send_replace(Phase::Draining);
        drain(&app, config.drain).await;
    };
    let (most, metrics) = (config.max_connections, app.boundary.monitoring.metrics());
    let ended =
        connection::accept(listener, config.tls, reply, most, metrics, &phase, drained).await;
    tracing::info!(address = %bound, "no longer listening");
    if tokio::time::timeout(LAST_ANSWERS, ended).await.is_err() {
        tracing::warn!(
            seconds = LAST_ANSWERS.as_secs(),
            "clients did not read the answers in time: the service closes these connections"
        );
    }
    phase.send_replace(Phase::Over);
    Ok(())
}

/// Waits until all calls and runs have ended, for at most the time `within`.
async fn drain(app: &App, within: Duration) {
    let began = Instant::now();
    // From now on, `/ready` reports that the service ends, and the boundary verifies no new requests.
    app.boundary.crossing.capacity().close_verification();
    let waited_for = app.is_waited_for();
    if tokio::time::timeout(within, app.finished()).await.is_err() {
        tracing::warn!(
            seconds = within.as_secs(),
            "some calls did not end in time while the service was ending"
        );
    }
    app.boundary
        .housekeeping
        .end_runs(within.saturating_sub(began.elapsed()))
        .await;
    if waited_for {
        // Clients that have just received an outcome fetch their receipts next.
        tokio::time::sleep(LAST_READS).await;
    }
}

/// Time for read requests after the last run, if a client was waiting.
const LAST_READS: Duration = Duration::from_secs(1);
/// Time limit for the last answers at shutdown.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Face {
    router: Router,
    app: Arc<App>,
}

/// Builds the handler of all requests. The tools of MCP get a handler that has no route to MCP.
fn face(app: &Arc<App>, mcp: bool) -> Face {
    let face = Face {
        router: route::router(routes(), app.clone()).fallback(unknown),
        app: app.clone(),
    };
    if !mcp {
        return face;
    }
    let others = route::router(
        routes().filter(|route| route.path != mcp::PATH),
        app.clone(),
    )
    .fallback(unknown);
    let inner = move |peer, request| {
        let answer: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> =
            Box::pin(reply(face.clone(), peer, request));
        answer
    };
    Face {
        router: mcp::with_mcp(others, app.clone(), Arc::new(inner)),
        app: app.clone(),
    }
}

/// Expected duration of a restart, in seconds.
const RESTART_S: u64 = 5;

async fn unknown() -> Response {
    refused(&refuse(
        Code::NotFound,
        "there is no such path: GET /openapi.json lists all paths",
    ))
}

async fn reply<B>(mut face: Face, peer: IpAddr, request: Request<B>) -> Result<Response, Infallible>
where
    B: HttpBody<Data = axum::body::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let began = Instant::now();
    let method = request.method().clone();
    let metrics = face.app.boundary.monitoring.metrics().clone();
    let span = request_span(request.headers());
    let host = request.headers().get(HOST).cloned();
    let answered = async {
        match face.app.hosts.check(request.headers(), request.uri()) {
            Err(stopped) if !probes::is_probe(&method, request.uri().path(), request.headers()) => {
                refused(&stopped)
            }
            Ok(()) if !method.is_safe() && !face.app.takes_changes() => {
                let refusal = Refusal::new(
                    Code::Busy,
                    "the boundary is stopping or restarting: try again soon",
                );
                let mut response = refused(&refusal.retry_after(RESTART_S).into());
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
            _ => {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(PeerAddress(peer));
                caught(face.router.call(request)).await
            }
        }
    };
    let response = with_common_headers(answered.instrument(span.clone()).await);
    span.in_scope(|| note(&metrics, &method, &response, began.elapsed(), (peer, host)));
    Ok(response)
}

/// Adds the headers of all responses. A refusal of the method gets its problem document.
pub(crate) fn with_common_headers(mut response: Response) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = method_not_allowed(response.headers_mut().remove(ALLOW));
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Returns the word for a method in the log. A client can write any text in place of a method, also a token.
fn method_word(method: &Method) -> &str {
    const STANDARD: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if STANDARD.contains(method) {
        method.as_str()
    } else {
        OTHER_METHOD
    }
}

const OTHER_METHOD: &str = "(other)";
/// Maximum length of a Host in the log, in bytes (RFC 1035: 253 bytes, and a port).
const MOST_OF_HOST: usize = 260;

/// Counts a request, and writes its log line without query, headers and body, which may contain secrets. The line of a
/// refused request names the client's address and the Host.
fn note(
    metrics: &Metrics,
    method: &Method,
    response: &Response,
    took: Duration,
    (peer, host): (IpAddr, Option<HeaderValue>),
) {
    let seen = response.extensions().get::<RequestSummary>();
    let path = seen.map_or("(no route)", |seen| seen.path);
    metrics.request(path, response.status().as_u16(), took);
    let code = response.extensions().get().map(|RefusedWith(code)| *code);
    if let Some(code) = code {
        metrics.refusal(code);
    }
    // A line of a request that was not refused has no fields `code`, `peer` and `host`.
    let peer = code.map(|_| tracing::field::display(peer));
    // A client can write a token in place of a host.
    let is_shown = |host: &HeaderValue| {
        host.to_str()
            .is_ok_and(|host| host.len() <= MOST_OF_HOST && !host.contains("cst_"))
    };
    let host = host
        .filter(|host| code.is_some() && is_shown(host))
        .map(tracing::field::debug);
    let code = code.map(tracing::field::display);
    let principal = seen
        .and_then(|seen| seen.principal.as_ref())
        .map_or("-", Name::as_str);
    let (status, us) = (response.status().as_u16(), took.as_micros() as u64);
    // A request with an unknown method has no route and changes nothing, so its line has the level debug. A refused
    // Host has the level info, because operators look for it.
    let is_wrong_host = seen.is_none() && response.status() == StatusCode::FORBIDDEN;
    let is_noted = is_wrong_host || (!method.is_safe() && method_word(method) != OTHER_METHOD);
    let method = method_word(method);
    if response.status().is_server_error() && response.status() != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%method, path, status, code, peer, host, us, principal, "request");
    } else if is_noted {
        tracing::info!(%method, path, status, code, peer, host, us, principal, "request");
    } else {
        tracing::debug!(%method, path, status, code, peer, host, us, principal, "request");
    }
}

/// Runs the handler. A panic becomes a fault with an id.
async fn caught(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answer = pin!(answer);
    let outcome = poll_fn(|context| {
        // `AssertUnwindSafe` is correct here: a request owns its data, and no lock is held during an incomplete change.
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
            let said = said
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            refused(&fault(format_args!("a handler panicked: {said}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Problem;

    #[test]
    fn every_route_is_unique_and_describes_its_refusals() {
        let mut seen = Vec::new();
        for route in routes() {
            assert!(
                !seen.contains(&(route.path, route.verb)),
                "{} stands twice",
                route.path
            );
            seen.push((route.path, route.verb));
            assert!(
                !route.replies.is_empty() && !route.summary.is_empty(),
                "{}",
                route.path
            );
            assert!(
                route.verb != crate::http::operation::Verb::Get || route.body.is_none(),
                "{} is safe and has a body",
                route.path
            );
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_fault_with_an_id() {
        let response = caught(async { panic!("boom") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .expect("a body");
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.kind, problem::FAULT);
        assert!(problem.fault.is_some_and(|id| id.len() > 4) && !problem.detail.contains("boom"));
    }
}
