//! The checks of each request, and the headers of each answer.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use maud::{DOCTYPE, html};

use crate::page::frame::{SCRIPT, SCRIPT_PATH, STYLE, STYLE_PATH, problem};
use crate::web::door::{Door, WayIn};

/// What a page may load and do. Trusted types let no text become script. `same-origin` as the policy of the referrer,
/// because under `no-referrer` Chromium sends the origin `null` with the form of a page, and every sandboxed frame sends
/// `null` too.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of each answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Maximum length of a form.
pub(crate) const MAX_FORM: usize = 64 << 10;

/// Mark of a request from a browser that was let in.
#[derive(Debug, Clone, Copy)]
struct LetIn;

/// Returns the routes behind the checks. Only the style, the script and the link work for a browser that was not let in.
pub fn guarded(door: Arc<Door>, pages: Router) -> Router {
    let inner = Router::new()
        .route("/enter/{secret}", get(enter))
        .with_state(door.clone())
        .merge(files())
        .merge(pages.layer(from_fn(inside)))
        .layer(DefaultBodyLimit::max(MAX_FORM));
    // The inner router sees the path without the secret of the second address.
    Router::new().fallback_service(inner).layer(from_fn_with_state(door, outside))
}

/// Returns the routes of the style and of the script.
pub(crate) fn files() -> Router {
    Router::new()
        .route(STYLE_PATH, get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route(SCRIPT_PATH, get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
}

/// Checks host and origin, finds out whether the browser was let in, and adds the headers.
async fn outside(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let answer = match door.way_of(request.headers()) {
        // No name of this server in the answer: another site may have sent the browser here.
        None => (
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers only under its own address: open the address that the program printed\n",
        )
            .into_response(),
        Some(way) if !reads && !door.is_origin(request.headers(), way) => {
            let what = "The form does not come from a page of this program, so nothing was done.";
            (StatusCode::FORBIDDEN, Html(problem("Refused", what).into_string())).into_response()
        }
        Some(WayIn::Named) => {
            if door.has_cookie(request.headers()) {
                request.extensions_mut().insert(LetIn);
            }
            request.extensions_mut().insert(WayIn::Named);
            next.run(request).await
        }
        Some(WayIn::Numbered) => {
            request.extensions_mut().insert(WayIn::Numbered);
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            let rest = door.below_prefix(request.uri().path()).and_then(|rest| format!("{rest}{query}").parse().ok());
            match rest {
                Some(rest) => {
                    *request.uri_mut() = rest;
                    request.extensions_mut().insert(LetIn);
                    under_prefix(next.run(request).await, door.prefix()).await
                }
                None => next.run(request).await,
            }
        }
    };
    finish(answer)
}

/// Returns the answer with the page for a form that is too long, and with the headers of each answer.
pub(crate) fn finish(mut answer: Response) -> Response {
    if answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let what = format!(
            "The form has more than {} KiB, so nothing was done. Go back: the browser keeps what you typed. Then make it shorter.",
            MAX_FORM >> 10
        );
        answer = (StatusCode::PAYLOAD_TOO_LARGE, Html(problem("Too long", &what).into_string())).into_response();
    }
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Lets only a browser in that opened the link.
async fn inside(request: Request, next: Next) -> Response {
    if request.extensions().get::<LetIn>().is_some() {
        return next.run(request).await;
    }
    let what = "This browser was not let in. The address that the program printed works once, in one browser: stop the \
        program with Ctrl-C, start it again, and open the new address.";
    (StatusCode::UNAUTHORIZED, Html(problem("Not let in", what).into_string())).into_response()
}

/// Attributes whose values are paths of this server.
const PATH_ATTRIBUTES: [&str; 4] = ["href", "action", "src", "data-events"];

/// Puts the secret of the second address before each path in the answer. The macro of `maud` escapes each quotation mark of
/// external text, so only attributes of the program have this form.
async fn under_prefix(answer: Response, prefix: &str) -> Response {
    let (mut head, body) = answer.into_parts();
    let led = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).filter(|to| to.starts_with('/'));
    if let Some(to) = led.and_then(|to| HeaderValue::from_str(&format!("{prefix}{to}")).ok()) {
        head.headers.insert(LOCATION, to);
    }
    let is_page = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page || head.headers.contains_key(CONTENT_DISPOSITION) {
        return Response::from_parts(head, body);
    }
    let page = to_bytes(body, usize::MAX).await.ok().and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let Some(mut page) = page else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    for name in PATH_ATTRIBUTES {
        page = page.replace(&format!(" {name}=\"/"), &format!(" {name}=\"{prefix}/"));
    }
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(page))
}

/// Lets a browser in. The page leads on by itself, because a cookie with `SameSite=Strict` does not come with a redirect
/// that began on another site.
async fn enter(
    State(door): State<Arc<Door>>,
    Extension(way): Extension<WayIn>,
    Path(secret): Path<String>,
    method: Method,
) -> Response {
    // A program that only looks whether the address works would use it up.
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some((path, cookie)) = door.enter(&secret, way) else {
        let what = "This address was used before, or it is wrong. Each start of the program has one address, which works \
            once: stop the program with Ctrl-C, start it again, and open the new address.";
        return (StatusCode::FORBIDDEN, Html(problem("Not let in", what).into_string())).into_response();
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "countersign" } meta http-equiv="refresh" content=(format!("0;url={path}")); }
            body { a href=(path) { "Go on to the pages" } }
        }
    };
    (cookie.map(|cookie| [(SET_COOKIE, cookie)]), Html(page.into_string())).into_response()
}

/// Serves the pages until the future `shutdown` completes. Open streams end with it.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(
    listeners: Vec<tokio::net::TcpListener>,
    door: Arc<Door>,
    pages: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = guarded(door, pages);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        debug_assert!(listener.local_addr()?.ip().is_loopback());
        servers.spawn(axum::serve(listener, app.clone()).into_future());
    }
    tokio::select! {
        Some(served) = servers.join_next() => served.map_err(std::io::Error::other)?,
        () = shutdown => Ok(()),
    }
}
