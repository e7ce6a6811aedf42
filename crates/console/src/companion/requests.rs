//! What each request needs: the shared state, the forms that work once, and the pages of failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use client::commands::grant::grant_review::GrantReview;
use client::commands::review_run::RunReview;
use client::review::proposal_review::ProposalReview;
use client::terminal::exit::{CommandFailure, Exit};
use documents::record::extension_names::GrantId;
use documents::record::ident::{ProposalId, ReceiptId};
use maud::{Markup, PreEscaped, html};

use crate::companion::held::{HeldReview, HeldReviews};
use crate::companion::signing::{SentSignature, Signing};
use crate::companion::views::{NavPlace, companion_page};
use crate::proposal::live::RunWatchers;
use crate::proposal::proposal_words::{plain, status_of};
use crate::proposal::reached::ReachedBoundary;
use crate::web::door::Door;
use crate::web::one_use::OpenForms;
use crate::web::refused_request::{PageAnswer, RefusedRequest};
use crate::web::sealed_form::TakenForm;

/// What the routes need.
#[derive(Debug)]
pub(super) struct Companion {
    pub(super) places: Vec<Arc<ReachedBoundary>>,
    pub(super) signing: Arc<Signing>,
    pub(super) door: Arc<Door>,
    pub(super) forms: OpenForms,
    pub(super) held: HeldReviews<ProposalId, ProposalReview>,
    pub(super) held_grants: HeldReviews<GrantId, GrantReview>,
    pub(super) held_runs: HeldReviews<ReceiptId, RunReview>,
    pub(super) watchers: RunWatchers,
}

/// The fields of a form.
pub(super) type Sent = Form<BTreeMap<String, String>>;
/// The state that all requests share.
pub(super) type Shared = State<Arc<Companion>>;

impl Companion {
    pub(super) fn new(places: Vec<Arc<ReachedBoundary>>, signing: Arc<Signing>, door: Arc<Door>) -> Self {
        let (forms, watchers) = (OpenForms::default(), RunWatchers::default());
        let (held, held_grants, held_runs) = Default::default();
        Self { places, signing, door, forms, held, held_grants, held_runs, watchers }
    }
}

/// Returns the page of a request that failed, with the way back to the proposal.
pub(super) fn failed(nav: NavPlace, title: &str, failure: &CommandFailure, way: Markup) -> RefusedRequest {
    let main = html! { h1 { (title) } div.question role="alert" { (plain(&failure.message)) } (way) };
    RefusedRequest::with(status_of(failure), PreEscaped(companion_page(nav, title, main, false)))
}

/// Returns the answer to a signature, or the page that says why nothing was signed. `to` is the page after a signature.
pub(super) fn after_signature<T>(
    done: Result<SentSignature<T>, CommandFailure>,
    (nav, to, way): (NavPlace, &str, Markup),
) -> PageAnswer<Response> {
    match done {
        Ok(SentSignature(Ok(_))) => Ok(Redirect::to(to).into_response()),
        Ok(SentSignature(Err(failure))) => {
            Err(failed(nav, "Signed, but the boundary did not confirm the signature", &failure, way))
        }
        Err(failure) => Err(failed(nav, "Nothing was signed", &failure, way)),
    }
}

/// Takes the review that the page of the form showed. `way` leads back to the page.
pub(super) fn take_held<K: PartialEq, R>(
    held: &HeldReviews<K, R>,
    form: &TakenForm,
    (at, id, way): (usize, &K, Markup),
) -> PageAnswer<HeldReview<K, R>> {
    let found = held.take(&form.number, Instant::now());
    found.filter(|held| held.boundary == at && held.id == *id && held.digest == form.contents).ok_or_else(|| {
        let what = "nothing was signed: the page is older than 10 minutes, or many other reviews were opened after it";
        failed(NavPlace::at(at), "Load the review again", &CommandFailure::new(Exit::Refused, what), way)
    })
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

impl Companion {
    /// Returns a boundary of the list.
    pub(super) fn place(&self, at: usize) -> PageAnswer<Arc<ReachedBoundary>> {
        let what = "Your list has no boundary at this address. The list is read when the program starts.";
        self.places.get(at).cloned().ok_or_else(|| RefusedRequest::new(StatusCode::NOT_FOUND, "No such boundary", what))
    }

    /// Takes a form that a page of this program made for this path, once.
    pub(super) fn take(&self, path: &str, sent: &BTreeMap<String, String>) -> PageAnswer<TakenForm> {
        let what = "This form was sent before, or it does not come from a page that this program made. Nothing was signed \
            or stopped by this request. Load the page again.";
        let taken = TakenForm::take(&self.door, &self.forms, path, sent);
        taken.ok_or_else(|| RefusedRequest::new(StatusCode::CONFLICT, "Not done", what))
    }
}
