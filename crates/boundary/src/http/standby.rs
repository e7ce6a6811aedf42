//! Answers of a node that is not the active node.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    http::Request,
    response::{IntoResponse as _, Response},
};
use hyper::body::Incoming;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Phase, SeenNodes,
    http::{connection, problem::refused},
    with_common_headers,
};
use crossing::Refusal;
use documents::{Code, locked};
use store::Metrics;
use wire::TlsServer;

/// Maximum number of connections.
const MOST: usize = 64;
/// Seconds after which a client should ask again.
const RETRY_S: u64 = 5;

/// The reason why a node is not active.
#[derive(Clone, PartialEq)]
pub struct StandbyReason {
    /// `standby` if the node waits for other nodes or for its key, `database` if it waits for the database.
    pub code: Code,
    /// The reason, for people.
    pub why: String,
}

impl Default for StandbyReason {
    fn default() -> Self {
        Self {
            code: Code::Standby,
            why: "it is starting".to_owned(),
        }
    }
}

/// Answers `GET /health` with 200 and every other request with 503, until the task is dropped. `why` is the reason why
/// this node is not active. The answer to `/ready` also names the nodes.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    why: Arc<Mutex<StandbyReason>>,
    nodes: Option<Arc<SeenNodes>>,
) -> Infallible {
    let reply = move |_, request: Request<Incoming>| {
        let mut reason = locked(&why).clone();
        if let Some(nodes) = nodes.as_ref().filter(|_| request.uri().path() == "/ready") {
            reason.why += &nodes.summary();
        }
        async move { Ok(with_common_headers(reply(&request, &reason))) }
    };
    let (phase, _) = watch::channel(Phase::Serving);
    connection::accept(
        listener,
        tls,
        reply,
        MOST,
        &Metrics::default(),
        &phase,
        std::future::pending(),
    )
    .await
    .await;
    std::future::pending().await
}

fn reply(request: &Request<Incoming>, reason: &StandbyReason) -> Response {
    if request.uri().path() == "/health" {
        return axum::Json(serde_json::json!({ "status": "ok" })).into_response();
    }
    refused(
        &Refusal::new(
            reason.code,
            format!(
                "this node is not the active node of the boundary: {}",
                reason.why
            ),
        )
        .retry_after(RETRY_S)
        .into(),
    )
}
