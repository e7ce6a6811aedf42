//! A request that was refused, with the page that says why.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::PreEscaped;

use crate::page::frame::problem;

/// The answer to a refused request.
#[derive(Debug)]
pub struct RefusedRequest(Box<Response>);

/// An answer, or the page that says why there is none.
pub type PageAnswer<T> = Result<T, RefusedRequest>;

impl RefusedRequest {
    /// Says what went wrong and what to do.
    #[must_use]
    pub fn new(status: StatusCode, title: &str, what: &str) -> Self {
        Self::with(status, problem(title, what))
    }

    /// Answers with this page.
    #[must_use]
    pub fn with(status: StatusCode, page: PreEscaped<String>) -> Self {
        Self(Box::new((status, Html(page.into_string())).into_response()))
    }
}

impl IntoResponse for RefusedRequest {
    fn into_response(self) -> Response {
        *self.0
    }
}
