//! Routes that return the health, the readiness, the version and the OpenAPI document.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header::HOST};
use serde_json::json;

use crate::{
    BodyShape, HandlerResult, JSON, Reply, Route, RouteAccess, RouteCall,
    http::{
        call::{answer, answer_with, bytes},
        operation::{ok, reply},
    },
};
use wire::{HealthResponse, Ready, Version};

/// Version of the HTTP interface, as in the paths.
const API: &str = "v1";

const HEALTH: Route = Route {
    summary: "Whether the process is up",
    about: "The process answers as long as it runs. Use `/ready` to find out if the boundary accepts proposals.",
    access: RouteAccess::Probe,
    replies: &[ok::<HealthResponse>("the process is up")],
    ..Route::get("/health", "health", &health)
};

const READY: Reply = ok::<Ready>("the boundary accepts and runs proposals");

pub static ROUTES: &[Route] = &[
    HEALTH,
    Route {
        path: "/ready",
        name: "ready",
        summary: "Whether the boundary accepts and runs proposals, and what an operator should know",
        about: "The status is 503 while the boundary does not accept or run proposals. `notes` lists problems for \
             an operator, also while the boundary is ready.",
        replies: &[
            READY,
            Reply {
                status: 503,
                about: "the boundary does not accept or run proposals; `notes` gives \
             the reasons",
                ..READY
            },
        ],
        handler: &ready,
        ..HEALTH
    },
    Route {
        path: "/version",
        name: "version",
        summary: "The versions of the program and of the interface",
        about: "The program's own version, and the version of this HTTP interface.",
        replies: &[ok::<Version>("versions")],
        handler: &version,
        access: RouteAccess::Open,
        ..HEALTH
    },
    Route {
        path: "/openapi.json",
        name: "openapi",
        summary: "This description",
        about: "This document is generated from the table that routes the calls.",
        replies: &[reply(200, JSON, BodyShape::Text, "OpenAPI 3.1")],
        handler: &description,
        access: RouteAccess::Open,
        ..HEALTH
    },
];

/// Returns true if a request gets an answer under every Host. Proxies and orchestrators call by an address or without a
/// Host. A request with several Host headers is invalid (RFC 9112, section 3.2).
pub fn is_probe(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let has_several = headers.get_all(HOST).iter().nth(1).is_some();
    !has_several
        && method.is_safe()
        && ROUTES
            .iter()
            .any(|route| route.access == RouteAccess::Probe && route.path == path)
}

async fn health(_: RouteCall) -> HandlerResult {
    answer(&HealthResponse {
        status: "up".to_owned(),
    })
}

async fn ready(call: RouteCall) -> HandlerResult {
    let ready = call.app.ready();
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // A page of another origin, and a caller under another Host, get only what a health check needs.
    if call
        .app
        .hosts
        .check(&call.headers, &Uri::default())
        .is_err()
    {
        return answer_with(status, &json!({ "ready": ready.ready }));
    }
    answer_with(status, &ready)
}

async fn version(_: RouteCall) -> HandlerResult {
    let version = Version {
        name: "countersign".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API.to_owned(),
    };
    answer(&version)
}

async fn description(call: RouteCall) -> HandlerResult {
    Ok(bytes(JSON, call.app.description.clone()))
}
