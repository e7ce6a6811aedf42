//! The checks of each request, the headers of each answer, and what a browser gets before the login.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{HOST, ORIGIN, STRICT_TRANSPORT_SECURITY},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use client::eprintln_quietly;
use maud::Markup;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::{
    Desk, PageAnswer, RefusedRequest,
    desk::{desk_state::LoginTarget, enrolment, listening::BrowserAddress, login},
    missing,
    page::frame::forwarding,
    web::{
        door::is_only,
        guard::{MAX_FORM, files, finish, too_long},
    },
};

/// Time limit for the body of a request.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Header value after which browsers call this host only over TLS, even if a person types `http://`.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Returns all routes. Before the login, only the pages of the login, of the enrolment and of links work.
pub fn desk_routes(desk: Arc<Desk>) -> Router {
    let inner = Router::new()
        .route("/p/{boundary}/{id}", get(linked))
        .route("/go/{boundary}/{id}", get(go))
        .merge(login::routes())
        .merge(enrolment::routes())
        .fallback(inside)
        .with_state(desk.clone())
        .merge(files())
        .layer(DefaultBodyLimit::max(MAX_FORM));
    Router::new()
        .fallback_service(inner)
        .layer(from_fn_with_state(desk, outside))
}

/// Checks host and origin, reads the body within its deadline, and adds the headers.
async fn outside(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let answer = if !is_only(request.headers(), HOST, desk.authority()) {
        if let Some(peer) = request.extensions().get::<BrowserAddress>() {
            let host = request
                .headers()
                .get(HOST)
                .map_or(&b""[..], HeaderValue::as_bytes)
                .escape_ascii();
            eprintln_quietly(&format!(
                "refused a request from {}: its Host is {host}, but --host is {}",
                peer.0,
                desk.authority()
            ));
        }
        (
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers only under its own address\n",
        )
            .into_response()
    } else if reads {
        next.run(request).await
    } else if !is_only(request.headers(), ORIGIN, &desk.origin) {
        let what = "The form does not come from a page of this desk, so nothing was done.";
        RefusedRequest::new(StatusCode::FORBIDDEN, "Refused", what).into_response()
    } else {
        let (head, body) = request.into_parts();
        match timeout(BODY_DEADLINE, to_bytes(body, MAX_FORM)).await {
            Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
            Ok(Err(_)) => too_long().into_response(),
            Err(_) => {
                let what = format!(
                    "The form did not arrive within {} seconds, so nothing was done. Send it again.",
                    BODY_DEADLINE.as_secs()
                );
                RefusedRequest::new(StatusCode::REQUEST_TIMEOUT, "Too slow", &what).into_response()
            }
        }
    };
    let mut answer = finish(answer);
    answer
        .headers_mut()
        .insert(STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    answer
}

/// Answers a link of a message with a page that forwards to its target. A redirect would not work, because a browser
/// sends the cookie with `SameSite=Strict` only with requests that begin on this site.
async fn linked(Path((boundary, id)): Path<(String, String)>) -> PageAnswer<Markup> {
    let Some(to) = LoginTarget::parse(&format!("/go/{boundary}/{id}")) else {
        let what = "The link is not whole. Copy all of it from the message.";
        return Err(missing("No such page", what));
    };
    Ok(forwarding(to.as_str(), "Go on to the page"))
}

async fn go(
    State(desk): State<Arc<Desk>>,
    Path((boundary, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> PageAnswer<Response> {
    let Some(to) = LoginTarget::parse(&format!("/b/0/review/{id}")) else {
        return Err(missing("No such page", "The link is not whole."));
    };
    let known = desk
        .logins
        .find(&headers, Instant::now())
        .filter(|(_, at)| desk.place_of(&boundary) == Some(*at));
    Ok(match known {
        Some(_) => Redirect::to(to.as_str()).into_response(),
        None => login::login_page(&boundary, &to).into_response(),
    })
}

/// Serves the pages of a person who is logged in.
async fn inside(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (headers, method, path) = (
        request.headers().clone(),
        request.method().clone(),
        request.uri().path().to_owned(),
    );
    if let Some((pages, _)) = desk.logins.find(&headers, Instant::now()) {
        let Ok(answer) = pages.oneshot(request).await;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return answer;
        }
        // The boundary no longer accepts the bearer of this login, for example after a restart.
        desk.logins.end(&headers);
    }
    if method == Method::GET {
        let to = LoginTarget::parse(&path).unwrap_or_default();
        return login::login_page("", &to).into_response();
    }
    let what = "Your login has ended, so nothing was signed or stopped. Log in again, then load the page again.";
    RefusedRequest::new(StatusCode::UNAUTHORIZED, "Not logged in", what).into_response()
}
