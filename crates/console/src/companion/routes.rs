//! The requests of the browser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use client::commands::approve::AskedText;
use client::commands::clock::now;
use client::remote::proposals::list;
use client::terminal::exit::CommandFailure;
use documents::crypto::digest::StepDigest;
use documents::record::code::Code;
use documents::record::ident::ProposalId;
use maud::html;
use wire::api::view::ProposalView;

use crate::companion::boundary_pages;
use crate::companion::compare_view::{self, compare, fields_of};
use crate::companion::freeze;
use crate::companion::grant_pages;
use crate::companion::held::{HeldReview, replaced};
use crate::companion::inbox::read_all;
use crate::companion::requests::{Companion, Sent, Shared, after_signature, failed, take_held, ways};
use crate::companion::review_view::{RefusedReview, ReviewView};
use crate::companion::run_review_pages;
use crate::companion::views::{NavPlace, companion_page, inbox, is_live, path_of};
use crate::proposal::proposal_words::{plain, proposal_of};
use crate::proposal::receipts::check;
use crate::proposal::run_view::{RunAddresses, RunView};
use crate::web::refused_request::{PageAnswer, RefusedRequest};

/// Advice if a boundary refuses to cancel.
const CANCEL_ADVICE: &str =
    "only the proposer and operators can cancel: to stop this proposal as an approver, deny it on its review page";

/// Returns the routes. Only `sign`, `deny` and the pages of the freeze, of grants and of runs to review use a key.
pub(super) fn routes(companion: Arc<Companion>) -> Router {
    Router::new()
        .route("/", get(first))
        .route("/b/{at}/review/{id}", get(review))
        .route("/b/{at}/sign/{id}", post(sign))
        .route("/b/{at}/deny/{id}", post(deny))
        .route("/b/{at}/compare/{digest}", get(side_by_side))
        .route("/b/{at}/run/{id}", get(run))
        .route("/b/{at}/events/{id}", get(events))
        .route("/b/{at}/stop/{id}", post(stop))
        .merge(boundary_pages::routes())
        .merge(freeze::routes())
        .merge(grant_pages::routes())
        .merge(run_review_pages::routes())
        .fallback(async || {
            RefusedRequest::new(StatusCode::NOT_FOUND, "No such page", "This program has no page at this address.")
        })
        .with_state(companion)
}

async fn first(State(own): Shared) -> Response {
    let time = now();
    let all = read_all(&own.places, &own.signing, time).await;
    let all: Vec<_> = own.places.iter().map(|place| place.shown_name()).zip(all).collect();
    Html(inbox(&all, time)).into_response()
}

async fn review(State(own): Shared, Path((at, id)): Path<(usize, ProposalId)>) -> PageAnswer<Response> {
    show_review(&own, at, id, &RefusedReview::default()).await
}

/// Makes a new review, and shows what was wrong with an earlier form.
async fn show_review(own: &Companion, at: usize, id: ProposalId, refused: &RefusedReview) -> PageAnswer<Response> {
    let (place, signing, asked) = (own.place(at)?, own.signing.clone(), id.clone());
    let made = place.read(move |place, client| signing.review(&asked, &place.trust, client)).await;
    let made = made.map_err(|failure| failed(NavPlace::at(at), "No review", &failure, ways(at, &id)))?;
    let digest = made.review.found.digest.to_string();
    // The person typed the digits of the review before.
    if refused.sent.get("digest").is_some_and(|before| *before != digest) {
        return Err(failed(NavPlace::at(at), "Nothing was signed", &replaced(id.as_str()), ways(at, &id)));
    }
    let number = own.forms.issue();
    let page = ReviewView { door: &own.door, number: &number, boundary: at, made: &made, refused }.page();
    own.held.keep(&number, HeldReview { boundary: at, id, digest, review: made.review, made: Instant::now() });
    let status = if refused.errors.0.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, Html(page)).into_response())
}

async fn sign(State(own): Shared, Path((at, id)): Path<(usize, ProposalId)>, Form(sent): Sent) -> PageAnswer<Response> {
    let place = own.place(at)?;
    let form = own.take(&format!("/b/{at}/sign/{id}"), &sent)?;
    let held = take_held(&own.held, &form, (at, &id, ways(at, &id)))?;
    let refused = RefusedReview::of_signature(&AskedText::of(&held.review), sent);
    if !refused.errors.0.is_empty() {
        return show_review(&own, at, id, &refused).await;
    }
    let sent = refused.sent;
    let typed: Vec<&str> =
        ["more", "digits"].into_iter().filter_map(|name| sent.get(name)).map(|text| text.trim()).collect();
    let (typed, signing) = (typed.join(" "), own.signing.clone());
    let done = place.act(move |place, client| signing.approve(held, &typed, &place.trust, client)).await;
    after_signature(done, (NavPlace::at(at), &format!("/b/{at}/run/{id}"), ways(at, &id)))
}

async fn deny(State(own): Shared, Path((at, id)): Path<(usize, ProposalId)>, Form(sent): Sent) -> PageAnswer<Response> {
    let place = own.place(at)?;
    let form = own.take(&format!("/b/{at}/deny/{id}"), &sent)?;
    let held = take_held(&own.held, &form, (at, &id, ways(at, &id)))?;
    let refused = RefusedReview::of_denial(&held.review, sent);
    if !refused.errors.0.is_empty() {
        return show_review(&own, at, id, &refused).await;
    }
    let sent = refused.sent;
    let (reason, signing) = (sent.get("reason").map_or("", |text| text.trim()).to_owned(), own.signing.clone());
    let done = place.act(move |place, client| signing.deny(held, &reason, &place.trust, client)).await;
    after_signature(done, (NavPlace::at(at), &format!("/b/{at}/run/{id}"), ways(at, &id)))
}

fn after(at: usize, id: &ProposalId) -> Response {
    Redirect::to(&format!("/b/{at}/run/{id}")).into_response()
}

async fn side_by_side(State(own): Shared, Path((at, digest)): Path<(usize, StepDigest)>) -> PageAnswer<Response> {
    let place = own.place(at)?;
    let read = place.read(move |_, client| {
        let mut views = list(client, &[("status", "pending")])?;
        views.retain(|view| view.step_digest == digest);
        let more = views.len().saturating_sub(compare_view::MOST);
        views.truncate(compare_view::MOST);
        let fields = views.iter().map(fields_of).collect::<Result<Vec<_>, _>>()?;
        Ok((views, fields, more))
    });
    let (views, fields, more) =
        read.await.map_err(|failure| failed(NavPlace::at(at), "No comparison", &failure, html! {}))?;
    if views.is_empty() {
        let what = "No proposal of this definition is pending any more.";
        return Err(RefusedRequest::new(StatusCode::NOT_FOUND, "No comparison", what));
    }
    Ok(Html(compare(at, &place.shown_name(), &views, &fields, more)).into_response())
}

async fn run(State(own): Shared, Path((at, id)): Path<(usize, ProposalId)>) -> PageAnswer<Response> {
    let place = own.place(at)?;
    let read = place.read(move |place, client| {
        let view = proposal_of(client, &id)?;
        let receipt = view.receipt.clone().map(|receipt| check(&place.trust, client, &view, &receipt));
        Ok((view, receipt))
    });
    let (view, receipt) = read.await.map_err(|failure| failed(NavPlace::at(at), "Not read", &failure, html! {}))?;
    let number = own.forms.issue();
    let links = RunAddresses {
        events: path_of("events", at, &view),
        stop: path_of("stop", at, &view),
        review: Some(path_of("review", at, &view)),
    };
    let (receipt, live) = (receipt.as_ref(), is_live(view.status));
    let shown = RunView { door: &own.door, number: &number, links: &links, view: &view, receipt, live, now: now() };
    let title = format!("{} at {}", plain(view.step.as_str()), plain(&place.shown_name()));
    let main = html! { h1 { (title) } (shown.markup()) };
    Ok(Html(companion_page(NavPlace::at(at), &title, main, live)).into_response())
}

async fn events(
    State(own): Shared,
    Path((at, id)): Path<(usize, ProposalId)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> PageAnswer<Response> {
    Ok(own.watchers.answer(own.place(at)?, id, &query, &headers))
}

async fn stop(State(own): Shared, Path((at, id)): Path<(usize, ProposalId)>, Form(sent): Sent) -> PageAnswer<Response> {
    let place = own.place(at)?;
    own.take(&format!("/b/{at}/stop/{id}"), &sent)?;
    let asked = id.clone();
    let done =
        place.act(move |_, client| client.post_nothing::<ProposalView>(&format!("/v1/proposals/{asked}/cancellation")));
    match done.await {
        Ok(_) => Ok(after(at, &id)),
        Err(failure) if failure.has_code(Code::Forbidden) => {
            let message = format!("{}; {CANCEL_ADVICE}", failure.message);
            Err(failed(NavPlace::at(at), "Not cancelled", &CommandFailure { message, ..failure }, ways(at, &id)))
        }
        Err(failure) => Err(failed(NavPlace::at(at), "Not cancelled", &failure, ways(at, &id))),
    }
}
