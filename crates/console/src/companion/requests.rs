//! Parts that each request needs: the shared state, the forms that work once, and the pages of failures.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use client::{CommandFailure, CommandResult, Exit, GrantReview, ProposalReview, RunReview, now};
use documents::{GrantId, ProposalId, ReceiptId, locked, visible};
use maud::{Markup, html};

use crate::{
    FormFields, HeldReview, NavPlace, OpenForms, PageAnswer, ReachedBoundary, RefusedRequest,
    RunWatchers, SentSignature, TakenForm,
    companion::{reviews::HeldReviews, signing::Signing, views::live_page},
    conflict, missing, status_of,
    web::secrets::FormKey,
};
use wire::ProposalView;

/// The state that all pages need. It contains no key, so the pages of a desk use it too.
pub struct PageState {
    pub places: Vec<Arc<ReachedBoundary>>,
    pub form_key: FormKey,
    pub forms: OpenForms,
    pub watchers: RunWatchers,
    /// For each signature of this person, the path of the page about it, and a sentence with the time.
    signed: Mutex<Vec<(String, String)>>,
}

/// The state of the pages that sign with a key of this program.
pub struct Companion {
    pub pages: Arc<PageState>,
    pub signing: Arc<Signing>,
    pub held: HeldReviews<ProposalId, ProposalReview>,
    pub held_grants: HeldReviews<GrantId, GrantReview>,
    pub held_runs: HeldReviews<ReceiptId, RunReview>,
}

/// The place of a boundary in the list, and an id, in the path of a request.
pub type PlaceAndId<T> = Path<(usize, T)>;
/// The state of the pages without a key.
pub type SharedPages = State<Arc<PageState>>;
/// The state that all requests of the companion share.
pub type Shared = State<Arc<Companion>>;

impl Companion {
    pub fn new(pages: PageState, signing: Arc<Signing>) -> Self {
        let (held, held_grants, held_runs) = Default::default();
        Self {
            pages: Arc::new(pages),
            signing,
            held,
            held_grants,
            held_runs,
        }
    }
}

/// Returns the page of a request that failed, with the way back to the proposal.
pub fn failed(nav: NavPlace, title: &str, failure: &CommandFailure, way: Markup) -> RefusedRequest {
    let main =
        html! { h1 { (title) } div.question role="alert" { (visible(&failure.message)) } (way) };
    RefusedRequest::with(status_of(failure), live_page(nav, title, main, false))
}

/// Returns a function that makes the page of a failed request about a boundary, like [`failed`].
pub fn not_done(
    at: usize,
    title: &str,
    way: Markup,
) -> impl FnOnce(CommandFailure) -> RefusedRequest {
    move |failure| failed(NavPlace::at(at), title, &failure, way)
}

/// Returns the answer to a signature, or the page that says why nothing was signed. `to` is the page after a signature.
pub fn after_signature<T>(
    pages: &PageState,
    done: CommandResult<SentSignature<T>>,
    (at, to, way): (usize, &str, Markup),
) -> PageAnswer<Response> {
    match done {
        Ok(SentSignature(Ok(_), words)) => {
            let mut signed = locked(&pages.signed);
            signed.push((to.to_owned(), format!("{words} at {}.", now())));
            Ok(Redirect::to(to).into_response())
        }
        Ok(SentSignature(Err(failure), _)) => {
            let is_refused = failure.problem.is_some() && failure.exit != Exit::Unreachable;
            let what = if is_refused {
                "refused"
            } else {
                "did not confirm"
            };
            let title = format!("Signed, but the boundary {what} the signature");
            Err(not_done(at, &title, way)(failure))
        }
        Err(failure) => Err(not_done(at, "Nothing was signed", way)(failure)),
    }
}

/// Takes the review that the page of a form showed. The form must come from a page of this program for this path, and
/// works once. `way` leads back to the page.
pub fn take_held<K: PartialEq, R>(
    pages: &PageState,
    held: &HeldReviews<K, R>,
    (path, sent): (&str, &FormFields),
    (at, id, way): (usize, &K, Markup),
) -> PageAnswer<HeldReview<K, R>> {
    let form = pages.take(path, sent)?;
    let found = held.take(&form.number, Instant::now());
    found.filter(|held| held.boundary == at && held.id == *id && held.digest == form.contents).ok_or_else(|| {
        let what = "nothing was signed: the page is older than 10 minutes, or many other reviews were opened after it";
        not_done(at, "Load the review again", way)(CommandFailure::refused(what))
    })
}

/// Takes the review of a proposal that a form shows.
pub fn take_review<R>(
    pages: &PageState,
    held: &HeldReviews<ProposalId, R>,
    (at, page, id): (usize, &str, &ProposalId),
    sent: &FormFields,
) -> PageAnswer<HeldReview<ProposalId, R>> {
    let path = format!("/b/{at}/{page}/{id}");
    take_held(pages, held, (&path, sent), (at, id, ways(at, id)))
}

/// Answers with the page of the proposal, after a signature about it.
pub fn after_review(
    pages: &PageState,
    done: CommandResult<SentSignature<ProposalView>>,
    at: usize,
    id: &ProposalId,
) -> PageAnswer<Response> {
    let to = format!("/b/{at}/run/{id}");
    after_signature(pages, done, (at, &to, ways(at, id)))
}

/// Returns the links from a failure back to its proposal.
pub fn ways(at: usize, id: &ProposalId) -> Markup {
    html! {
        ul {
            li { a href=(format!("/b/{at}/review/{id}")) { "Load the review again" } }
            li { a href=(format!("/b/{at}/run/{id}")) { "Show the state of this proposal" } }
        }
    }
}

impl PageState {
    /// Makes the state for these boundaries.
    pub fn new(places: Vec<Arc<ReachedBoundary>>, form_key: FormKey) -> Self {
        Self {
            places,
            form_key,
            forms: OpenForms::default(),
            watchers: RunWatchers::default(),
            signed: Mutex::default(),
        }
    }

    /// Returns the sentences about what the person signed, for the page `page`.
    pub fn signed(&self, page: &str) -> Markup {
        let signed = locked(&self.signed);
        html! { @for (_, words) in signed.iter().filter(|(to, _)| to == page) { p role="status" { strong { (words) } } } }
    }

    /// Returns a boundary of the list.
    pub fn place(&self, at: usize) -> PageAnswer<Arc<ReachedBoundary>> {
        let what =
            "Your list has no boundary at this address. The list is read when the program starts.";
        self.places
            .get(at)
            .cloned()
            .ok_or_else(|| missing("No such boundary", what))
    }

    /// Takes a form that a page of this program made for this path, once.
    pub fn take(&self, path: &str, sent: &FormFields) -> PageAnswer<TakenForm> {
        let what = "This form was sent before, or it does not come from a page that this program made. Nothing was signed \
            or stopped by this request. Load the page again.";
        let taken = TakenForm::take(&self.form_key, &self.forms, path, sent);
        taken.ok_or_else(|| conflict(what))
    }
}
