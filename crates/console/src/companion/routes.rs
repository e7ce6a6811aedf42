//! The requests of the browser.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::Response,
    routing::{get, post},
};
use client::{AskedText, now};
use documents::ProposalId;
use maud::{Markup, html};

use crate::{
    Companion, PageAnswer, RefusedReview, Sent, Shared,
    companion::{
        freeze, grant_pages,
        inbox::read_all,
        requests::{after_review, take_review},
        run_pages, run_review_pages,
        views::inbox,
    },
    shown_review,
};

/// Returns the routes. Only `sign`, `deny` and the pages of the freeze, of grants and of runs to review use a key.
pub fn routes(companion: Arc<Companion>) -> Router {
    Router::new()
        .route("/", get(first))
        .route("/b/{at}/review/{id}", get(review))
        .route("/b/{at}/sign/{id}", post(sign))
        .route("/b/{at}/deny/{id}", post(deny))
        .merge(freeze::routes())
        .merge(grant_pages::routes())
        .merge(run_review_pages::routes())
        .with_state(companion.clone())
        .merge(run_pages::routes().with_state(companion.pages.clone()))
}

async fn first(State(own): Shared) -> Markup {
    let time = now();
    let all = read_all(&own.pages.places, &own.signing, time).await;
    let all: Vec<_> = own
        .pages
        .places
        .iter()
        .map(|place| place.shown_name())
        .zip(all)
        .collect();
    inbox(&all, time, &html! {})
}

async fn review(
    State(own): Shared,
    Path((at, id)): Path<(usize, ProposalId)>,
) -> PageAnswer<Response> {
    show_review(&own, at, id, &RefusedReview::default()).await
}

/// Makes a new review, and shows what was wrong with an earlier form.
async fn show_review(
    own: &Companion,
    at: usize,
    id: ProposalId,
    refused: &RefusedReview,
) -> PageAnswer<Response> {
    let (place, signing, asked) = (own.pages.place(at)?, own.signing.clone(), id.clone());
    let made = place
        .read(move |place, client| signing.review(&asked, &place.trust, client))
        .await;
    shown_review((&own.pages, &own.held), (at, id), made, |_| None, refused)
}

async fn sign(
    State(own): Shared,
    Path((at, id)): Path<(usize, ProposalId)>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let held = take_review(&own.pages, &own.held, (at, "sign", &id), &sent)?;
    let refused = RefusedReview::of_signature(&AskedText::of(&held.review), sent);
    if refused.is_refused() {
        return show_review(&own, at, id, &refused).await;
    }
    let (typed, signing) = (refused.typed(), own.signing.clone());
    let done = place
        .act(move |place, client| signing.approve(held, &typed, &place.trust, client))
        .await;
    after_review(&own.pages, done, at, &id)
}

async fn deny(
    State(own): Shared,
    Path((at, id)): Path<(usize, ProposalId)>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let held = take_review(&own.pages, &own.held, (at, "deny", &id), &sent)?;
    let refused = RefusedReview::of_denial(&held.review, sent);
    if refused.is_refused() {
        return show_review(&own, at, id, &refused).await;
    }
    let (reason, signing) = (
        refused.value("reason").trim().to_owned(),
        own.signing.clone(),
    );
    let done = place
        .act(move |place, client| signing.deny(held, &reason, &place.trust, client))
        .await;
    after_review(&own.pages, done, at, &id)
}
