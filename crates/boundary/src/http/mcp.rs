//! The Model Context Protocol at `/mcp`.
//!
//! A request to `/mcp` is authenticated and charged like every other request. The tools then call the routes of this
//! service as HTTP requests with the caller's own `Authorization` header, so that they pass the same checks and get the
//! same log lines. These inner requests are not charged again.

use std::{convert::Infallible, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST, RANGE},
    },
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde_json::{Map, Value};
use tower::Service as _;

use crate::{
    App, BodyShape, HandlerResult, MAX_BODY_BYTES, RequestSummary, Route, RouteAccess, RouteCall,
    SSE, fail,
    http::{
        app::PeerAddress,
        call::AlreadyCharged,
        operation::{json, ok, reply},
        problem::refused,
    },
};
use crossing::{Stopped, fault};
use documents::{Code, MAX_BUNDLE_BYTES};
use wire::{
    ApiAnswer, ApiMethod, ApiRequest, ApiUnreachable, BoundaryApi, McpServer, ToolCalls,
    no_message, parse_message,
};

/// Path of the protocol.
pub const PATH: &str = "/mcp";

/// The route in the OpenAPI document. Its handler answers only while the protocol is off.
pub static ROUTES: &[Route] = &[Route {
    summary: "The Model Context Protocol for agents (streamable HTTP, without sessions)",
    about: "Takes one JSON-RPC message of MCP. Off unless `mcp = true` in countersign.toml: then the answer is \
         `not-found`. The tools make the other calls of this interface with the caller's bearer. No tool signs.",
    body: Some(json::<Map<String, Value>>()),
    replies: &[
        ok::<Map<String, Value>>("the JSON-RPC answer"),
        reply(
            200,
            SSE,
            BodyShape::Text,
            "progress notes, then the JSON-RPC answer",
        ),
        reply(
            202,
            "text/plain",
            BodyShape::Text,
            "a notification needs no answer",
        ),
        reply(
            400,
            "application/json",
            json::<Map<String, Value>>(),
            "the body is no message of the protocol: a JSON-RPC error",
        ),
    ],
    ..Route::post(PATH, "mcp", &off)
}];

async fn off(_: RouteCall) -> HandlerResult {
    fail(
        Code::NotFound,
        "MCP is off: the operator can set `mcp = true` in countersign.toml",
    )
}

/// Function that handles a request of a peer like a request from the network.
pub type Inner = Arc<
    dyn Fn(IpAddr, Request) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>
        + Send
        + Sync,
>;

/// Adds the protocol to a router that has no route at [`PATH`].
pub fn with_mcp(router: Router, app: Arc<App>, inner: Inner) -> Router {
    let enter = move |request: Request| serve(app.clone(), inner.clone(), request);
    router.route(PATH, on(MethodFilter::POST, enter))
}

async fn serve(app: Arc<App>, inner: Inner, request: Request) -> Response {
    let headers = request.headers().clone();
    let peer = request.extensions().get::<PeerAddress>().copied();
    let mut principal = None;
    let answered = async {
        let mut call = RouteCall::enter(app, &[], RouteAccess::Known, request).await?;
        principal = call.caller.name().cloned();
        let body = call.body(MAX_BODY_BYTES).await?;
        // HTTP answers each request. So a message that would get no answer on a stream, such as a blank line, gets an
        // error here.
        let checked = parse_message(&body)
            .and_then(|message| message.ok_or_else(|| no_message(&Value::Null)));
        if let Err(error) = checked {
            let headers = [(CONTENT_TYPE, "application/json")];
            return Ok((StatusCode::BAD_REQUEST, headers, error).into_response());
        }
        let PeerAddress(peer) =
            peer.ok_or_else(|| fault("a request without its peer's address"))?;
        Ok(answer(
            Inside {
                inner,
                peer,
                headers: Arc::new(headers),
            },
            body,
        )
        .await)
    };
    let mut response = answered
        .await
        .unwrap_or_else(|stopped: Stopped| refused(&stopped));
    response.extensions_mut().insert(RequestSummary {
        path: PATH,
        principal,
    });
    response
}

async fn answer(inside: Inside, body: Bytes) -> Response {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = (*inside.headers).clone();
    // This service has already checked `Host` and `Origin`.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let server = McpServer::new([(String::new(), ToolCalls::of_request(inside))].into());
    let sessions = Arc::new(NeverSessionManager::default());
    let mut service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    match service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The routes of this service, with the credentials of one caller.
#[derive(Clone)]
struct Inside {
    inner: Inner,
    peer: IpAddr,
    /// Headers of the request to `/mcp`.
    headers: Arc<HeaderMap>,
}

impl BoundaryApi for Inside {
    async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
        let odd = |error: &dyn std::fmt::Display| {
            ApiUnreachable(format!("the request can't be made: {error}"))
        };
        let body = request.body.map(|body| body.to_string());
        let mut inner = Request::new(body.map_or_else(Body::empty, Body::from));
        *inner.method_mut() = match request.method {
            ApiMethod::Get => Method::GET,
            ApiMethod::Post => Method::POST,
        };
        *inner.uri_mut() = request.path.parse().map_err(|error| odd(&error))?;
        let headers = inner.headers_mut();
        for name in [HOST, AUTHORIZATION] {
            if let Some(value) = self.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        if request.method == ApiMethod::Post {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(range) = request.range {
            headers.insert(RANGE, range.parse().map_err(|error| odd(&error))?);
        }
        inner.extensions_mut().insert(AlreadyCharged);
        let response = match (self.inner)(self.peer, inner).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), MAX_BUNDLE_BYTES.max(MAX_INNER_BYTES)).await;
        let body =
            body.map_err(|error| ApiUnreachable(format!("the answer can't be read: {error}")))?;
        Ok(ApiAnswer {
            status,
            body: body.into(),
        })
    }
}

/// Maximum size of an inner answer in bytes. The largest is the registry.
const MAX_INNER_BYTES: usize = 32 << 20;
