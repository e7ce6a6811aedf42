//! The checks of each request, and the headers of each answer.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
            SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{
    Door, RefusedRequest,
    page::frame::{SCRIPT, SCRIPT_PATH, STYLE, STYLE_PATH, forwarding},
    web::refused_request::with_page,
};

/// What a page may load and do. Trusted types let no text become script. The referrer policy is `same-origin`, because
/// under `no-referrer` Chromium sends the origin `null` with the form of a page, and every sandboxed frame sends
/// `null` too.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of each answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Maximum length of a form.
pub const MAX_FORM: usize = 64 << 10;

/// Returns the routes behind the checks. A browser that was not let in gets only the style, the script and the link.
pub fn guarded(door: Arc<Door>, pages: Router) -> Router {
    Router::new()
        .route("/enter/{secret}", get(enter))
        .with_state(door.clone())
        .merge(files())
        .merge(pages.layer(from_fn_with_state(door.clone(), inside)))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(door, outside))
}

/// Returns the routes of the style and of the script.
pub fn files() -> Router {
    Router::new()
        .route(
            STYLE_PATH,
            get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route(
            SCRIPT_PATH,
            get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)),
        )
}

/// Checks host and origin, and adds the headers.
async fn outside(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let answer = if !door.is_host(request.headers()) {
        // The answer does not contain the name of this server, because another site may have sent the browser here.
        let what = "this server answers only under its own address: open the address that the program printed\n";
        (StatusCode::MISDIRECTED_REQUEST, what).into_response()
    } else if !reads && !door.is_origin(request.headers()) {
        let what = "The form does not come from a page of this program, so nothing was done.";
        RefusedRequest::new(StatusCode::FORBIDDEN, "Refused", what).into_response()
    } else {
        next.run(request).await
    };
    finish(answer)
}

/// Replaces a bare text by a page, and adds the headers of each answer.
pub fn finish(answer: Response) -> Response {
    let mut answer = with_page(answer);
    // The limit of all forms answers with a text. The page for uploads has its own limit and its own page.
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if is_text && answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
        answer = too_long().into_response();
    }
    for (name, value) in HEADERS {
        answer
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Returns the page that says that a form is too long.
pub fn too_long() -> RefusedRequest {
    let what = format!(
        "The form has more than {} KiB, so nothing was done. Go back: the browser keeps what you typed. Then make it shorter.",
        MAX_FORM >> 10
    );
    RefusedRequest::new(StatusCode::PAYLOAD_TOO_LARGE, "Too long", &what)
}

/// Answers only a browser that was let in by the link.
async fn inside(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.has_cookie(request.headers()) {
        return next.run(request).await;
    }
    let what = "This browser was not let in. The address that the program printed works once, in one browser: stop the \
        program with Ctrl-C, start it again, and open the new address.";
    RefusedRequest::new(StatusCode::UNAUTHORIZED, "Not let in", what).into_response()
}

/// Lets a browser in. The answer is a page that forwards, because after a redirect that began on another site, the
/// browser would not send the cookie with `SameSite=Strict`.
async fn enter(
    State(door): State<Arc<Door>>,
    Path(secret): Path<String>,
    method: Method,
) -> Response {
    // A program that only checks whether the address works must not use it up.
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(cookie) = door.enter(&secret) else {
        let what = "This address was used before, or it is wrong. Each start of the program has one address, which works \
            once: stop the program with Ctrl-C, start it again, and open the new address.";
        return RefusedRequest::new(StatusCode::FORBIDDEN, "Not let in", what).into_response();
    };
    let page = forwarding("/", "Go on to the pages");
    ([(SET_COOKIE, cookie)], page).into_response()
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
    debug_assert!(listener.local_addr()?.ip().is_loopback());
    tokio::select! {
        served = axum::serve(listener, guarded(door, pages)).into_future() => served,
        () = shutdown => Ok(()),
    }
}
