//! A listener of its own for the metrics, which needs no token. The metrics contain no secret, but the names of
//! witnesses and the size of the log, so the configuration allows only loopback addresses.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::State, http::Request, response::Response, routing::get};
use hyper::body::Incoming;
use tokio::{net::TcpListener, sync::watch};
use tower::Service as _;

use crate::{
    Hosts, Monitoring, Phase,
    http::{call::bytes, caught, connection, problem::refused},
    with_common_headers,
};
use crossing::{fault, refuse};
use documents::Code;
use store::MEDIA_TYPE;

/// Maximum number of connections. A scraper needs one connection, and a slow reader must not delay the other scrapers.
const MOST_SCRAPERS: usize = 16;

/// Answers `GET /metrics` on `listener` until the task is dropped. `allowed_hosts` contains the host names that clients
/// may use besides the loopback names.
///
/// # Errors
/// Returns an error if the listener has no address.
pub async fn serve(
    listener: TcpListener,
    monitoring: Arc<Monitoring>,
    allowed_hosts: &[String],
) -> std::io::Result<()> {
    let hosts = Arc::new(Hosts::new(listener.local_addr()?, false, allowed_hosts));
    let metrics = monitoring.metrics().clone();
    let router = Router::new()
        .route("/metrics", get(scrape))
        .fallback(unknown)
        .with_state(monitoring);
    let reply = move |_, request| answered(hosts.clone(), router.clone(), request);
    let (phase, _) = watch::channel(Phase::Serving);
    connection::accept(
        listener,
        None,
        reply,
        MOST_SCRAPERS,
        &metrics,
        &phase,
        std::future::pending(),
    )
    .await
    .await;
    Ok(())
}

async fn answered(
    hosts: Arc<Hosts>,
    mut router: Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    Ok(with_common_headers(
        match hosts.check(request.headers(), request.uri()) {
            Ok(()) => caught(router.call(request.map(Body::new))).await,
            Err(stopped) => refused(&stopped),
        },
    ))
}

async fn scrape(State(monitoring): State<Arc<Monitoring>>) -> Response {
    let scraped = tokio::task::spawn_blocking(move || monitoring.scrape()).await;
    match scraped.map_err(fault).flatten() {
        Ok(text) => bytes(MEDIA_TYPE, text),
        Err(stopped) => refused(&stopped),
    }
}

async fn unknown() -> Response {
    refused(&refuse(
        Code::NotFound,
        "this address has only the path /metrics",
    ))
}
