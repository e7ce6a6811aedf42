//! The checks of each request, and the headers of each answer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use maud::{DOCTYPE, html};

use crate::page::frame::{SCRIPT, SCRIPT_PATH, STYLE, STYLE_PATH, problem};
use crate::web::door::Door;

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
const MAX_FORM: usize = 64 << 10;

/// Returns the routes behind the checks. Only the style, the script and the link work without the cookie.
pub fn guarded(door: Arc<Door>, pages: Router) -> Router {
    let inner = pages.layer(from_fn_with_state(door.clone(), inside));
    Router::new()
        .route("/enter/{secret}", get(enter))
        .route(STYLE_PATH, get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route(SCRIPT_PATH, get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
        .with_state(door.clone())
        .merge(inner)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(door, outside))
}

/// Checks host and origin, and adds the headers.
async fn outside(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let mut answer = if !door.is_host(request.headers()) {
        // No name of this server in the answer: another site may have sent the browser here.
        (
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers only under its own address: open the address that the program printed\n",
        )
            .into_response()
    } else if !reads && !door.is_origin(request.headers()) {
        let what = "The form does not come from a page of this program, so nothing was done.";
        (StatusCode::FORBIDDEN, Html(problem("Refused", what).into_string())).into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Lets only a browser with the cookie in.
async fn inside(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.has_cookie(request.headers()) {
        return next.run(request).await;
    }
    let what = "This browser was not let in. The address that the program printed works once, in one browser: stop the \
        program with Ctrl-C, start it again, and open the new address.";
    (StatusCode::UNAUTHORIZED, Html(problem("Not let in", what).into_string())).into_response()
}

/// Lets a browser in. The page leads on by itself, because a cookie with `SameSite=Strict` does not come with a redirect
/// that began on another site.
async fn enter(State(door): State<Arc<Door>>, Path(secret): Path<String>) -> Response {
    let Some(cookie) = door.enter(&secret) else {
        let what = "This address was used before, or it is wrong. Each start of the program has one address, which works \
            once: stop the program with Ctrl-C, start it again, and open the new address.";
        return (StatusCode::FORBIDDEN, Html(problem("Not let in", what).into_string())).into_response();
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "countersign" } meta http-equiv="refresh" content="0;url=/"; }
            body { a href="/" { "Go on to the pages" } }
        }
    };
    ([(SET_COOKIE, cookie)], Html(page.into_string())).into_response()
}

/// Serves the pages until the future `shutdown` completes. Open streams end with it.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    door: Arc<Door>,
    pages: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    debug_assert_eq!(listener.local_addr()?.ip(), Ipv4Addr::LOCALHOST);
    let server = axum::serve(listener, guarded(door, pages));
    tokio::select! {
        served = server => served,
        () = shutdown => Ok(()),
    }
}
