//! What each request needs: the shared state, the forms that work once, and the pages of failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use client::terminal::exit::{CommandFailure, Exit};
use documents::record::code::Code;
use documents::record::ident::ProposalId;
use maud::{Markup, html};
use tokio::sync::Semaphore;

use crate::companion::held::{HeldReview, HeldReviews};
use crate::companion::reached::ReachedBoundary;
use crate::companion::signing::Signing;
use crate::companion::views::{NavPlace, companion_page, plain, sealed};
use crate::page::frame::problem;
use crate::web::door::Door;
use crate::web::one_use::OpenForms;

/// Maximum number of pages that follow a run at the same time. Each needs a thread.
const MOST_WATCHERS: usize = 64;

/// What the routes need.
#[derive(Debug)]
pub(super) struct Companion {
    pub(super) places: Vec<Arc<ReachedBoundary>>,
    pub(super) signing: Arc<Signing>,
    pub(super) door: Arc<Door>,
    pub(super) forms: OpenForms,
    pub(super) held: HeldReviews,
    pub(super) watchers: Arc<Semaphore>,
}

/// The fields of a form.
pub(super) type Sent = Form<BTreeMap<String, String>>;
/// The state that all requests share.
pub(super) type Shared = State<Arc<Companion>>;

impl Companion {
    pub(super) fn new(places: Vec<Arc<ReachedBoundary>>, signing: Arc<Signing>, door: Arc<Door>) -> Self {
        let watchers = Arc::new(Semaphore::new(MOST_WATCHERS));
        Self { places, signing, door, forms: OpenForms::default(), held: HeldReviews::default(), watchers }
    }
}

/// An answer, or the page that says why there is none.
pub(super) type PageAnswer<T> = Result<T, Box<Response>>;

/// Returns a page with a refusal.
pub(super) fn refuse(status: StatusCode, title: &str, what: &str) -> Box<Response> {
    Box::new((status, Html(problem(title, what).into_string())).into_response())
}

/// Returns the page of a request that failed, with the way back to the proposal.
pub(super) fn failed(nav: NavPlace, title: &str, failure: &CommandFailure, way: Markup) -> Box<Response> {
    let status = match failure.exit {
        Exit::Unreachable => StatusCode::BAD_GATEWAY,
        _ if failure.has_code(Code::NotFound) => StatusCode::NOT_FOUND,
        _ if failure.has_code(Code::Forbidden) => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    };
    let main = html! { h1 { (title) } div.question role="alert" { (plain(&failure.message)) } (way) };
    Box::new((status, Html(companion_page(nav, title, main, false))).into_response())
}

/// Returns the links from a failure back to its proposal.
pub(super) fn ways(at: usize, id: &ProposalId) -> Markup {
    html! {
        ul {
            li { a href=(format!("/b/{at}/review/{id}")) { "Load the review again" } }
            li { a href=(format!("/b/{at}/run/{id}")) { "Show the state of this proposal" } }
        }
    }
}

/// A form that was sent, and that works no second time.
pub(super) struct TakenForm {
    /// Number of the form.
    pub(super) number: String,
    /// Contents that the seal covers, for example the digest of a review.
    pub(super) contents: String,
}

impl Companion {
    /// Returns a boundary of the list.
    pub(super) fn place(&self, at: usize) -> PageAnswer<Arc<ReachedBoundary>> {
        let what = "Your list has no boundary at this address. The list is read when the program starts.";
        self.places.get(at).cloned().ok_or_else(|| refuse(StatusCode::NOT_FOUND, "No such boundary", what))
    }

    /// Takes a form that a page of this program made for this path, once.
    pub(super) fn take(&self, path: &str, sent: &BTreeMap<String, String>) -> PageAnswer<TakenForm> {
        let field = |name: &str| sent.get(name).map_or("", String::as_str);
        let (number, contents) = (field("form"), field("digest"));
        if self.door.is_sealed(path, &sealed(number, contents), field("seal")) && self.forms.take(number) {
            return Ok(TakenForm { number: number.to_owned(), contents: contents.to_owned() });
        }
        let what = "This form was sent before, or it does not come from a page that this program made. Nothing was signed \
            or stopped by this request. Load the page again.";
        Err(refuse(StatusCode::CONFLICT, "Not done", what))
    }

    /// Takes the review that the page of the form showed.
    pub(super) fn take_review(&self, form: &TakenForm, at: usize, id: &ProposalId) -> PageAnswer<HeldReview> {
        let held = self.held.take(&form.number, Instant::now());
        let same = |held: &HeldReview| {
            held.boundary == at && held.id == *id && held.review.found.digest.to_string() == form.contents
        };
        held.filter(same).ok_or_else(|| {
            let what =
                "nothing was signed: the page is older than 10 minutes, or many other reviews were opened after it";
            failed(NavPlace::at(at), "Load the review again", &CommandFailure::new(Exit::Refused, what), ways(at, id))
        })
    }
}

/// Unites the answer and the refusal of a request.
pub(super) fn either(answer: PageAnswer<Response>) -> Response {
    answer.unwrap_or_else(|refusal| *refusal)
}
