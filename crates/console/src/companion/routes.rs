//! The routes of the approver's pages.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::Response,
    routing::{get, post},
};
use client::{Client, CommandResult, ProposalReview, now};
use documents::ProposalId;
use maud::{Markup, html};

use crate::{
    Companion, MadeReview, PageAnswer, PageState, PasskeyQuestion, PlaceAndId, ReachedBoundary,
    RefusedReview, Sent, Shared,
    companion::{
        freeze, grant_pages,
        inbox::read_all,
        requests::after_review,
        review_view::{Reviewer, answered, review},
        reviews::HeldReviews,
        run_pages, run_review_pages,
        views::inbox,
    },
};

/// Returns the routes. Only `sign`, `deny` and the pages of the freeze, of grants and of runs to review use a key.
pub fn routes(companion: Arc<Companion>) -> Router {
    Router::new()
        .route("/", get(first))
        .route("/b/{at}/review/{id}", get(review::<Companion>))
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

impl Reviewer for Companion {
    fn pages(&self) -> &PageState {
        &self.pages
    }

    fn held(&self) -> &HeldReviews<ProposalId, ProposalReview> {
        &self.held
    }

    fn make(
        &self,
        id: ProposalId,
    ) -> impl FnOnce(&ReachedBoundary, &Client) -> CommandResult<MadeReview> + Send + 'static {
        let signing = self.signing.clone();
        move |place, client| signing.review(&id, &place.trust, client)
    }

    fn question(&self, _: &MadeReview) -> Option<PasskeyQuestion> {
        None
    }
}

async fn sign(
    State(own): Shared,
    Path((at, id)): PlaceAndId<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let (held, sent) =
        answered(&*own, (at, "sign", &id), sent, RefusedReview::of_signature).await?;
    let (typed, signing) = (sent.typed(), own.signing.clone());
    let done = place
        .act(move |place, client| signing.approve(held, &typed, &place.trust, client))
        .await;
    after_review(&own.pages, done, at, &id)
}

async fn deny(
    State(own): Shared,
    Path((at, id)): PlaceAndId<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let (held, sent) = answered(&*own, (at, "deny", &id), sent, RefusedReview::of_denial).await?;
    let (reason, signing) = (sent.reason().to_owned(), own.signing.clone());
    let done = place
        .act(move |place, client| signing.deny(held, &reason, &place.trust, client))
        .await;
    after_review(&own.pages, done, at, &id)
}
