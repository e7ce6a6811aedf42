//! Answers that are no page about a boundary: a refused request, with the page that says why, and a file to save.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use maud::Markup;

use crate::problem;

/// The answer to a refused request.
pub struct RefusedRequest(pub Box<Response>);

/// An answer, or the page that says why there is none.
pub type PageAnswer<T> = Result<T, RefusedRequest>;

impl RefusedRequest {
    /// Returns a page that says what went wrong and what to do.
    pub fn new(status: StatusCode, title: &str, what: &str) -> Self {
        let mut refused = Self::with(status, problem(title, what));
        // The script of the pages shows only this sentence.
        if let Ok(said) = HeaderValue::from_str(what) {
            refused.0.headers_mut().insert("x-said", said);
        }
        refused
    }

    /// Answers with this page.
    pub fn with(status: StatusCode, page: Markup) -> Self {
        Self(Box::new((status, page).into_response()))
    }
}

/// Returns the refusal of a request for something that does not exist.
pub fn missing(title: &str, what: &str) -> RefusedRequest {
    RefusedRequest::new(StatusCode::NOT_FOUND, title, what)
}

/// Returns the refusal of a request that can't be done now.
pub fn conflict(what: &str) -> RefusedRequest {
    RefusedRequest::new(StatusCode::CONFLICT, "Not done", what)
}

impl IntoResponse for RefusedRequest {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// Answers with a file that the browser saves under this name. `kind` is the media type.
pub fn download(kind: &str, name: &str, content: impl IntoResponse) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, &disposition)];
    (headers, content).into_response()
}

/// Replaces an answer without a page by the page for an unknown address: no route has the path, or a part of the path
/// can't be read.
pub fn with_page(response: Response) -> Response {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |kind| kind.as_bytes());
    let is_bare = match response.status() {
        StatusCode::NOT_FOUND => kind.is_empty(),
        StatusCode::BAD_REQUEST => kind.starts_with(b"text/plain"),
        _ => false,
    };
    if !is_bare {
        return response;
    }
    let what = "This program has no page at this address.";
    missing("No such page", what).into_response()
}
