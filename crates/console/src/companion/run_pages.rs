//! The requests of the pages that only read, or that stop a run: comparisons, runs, and the pages of a boundary.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use client::proposals::list;
use documents::{Code, ProposalId, StepDigest};
use maud::{Markup, html};
use wire::ProposalView;

use crate::{
    FormFields, NavPlace, PageAnswer, PageState, PlaceAndId, RunView, Sent, SharedPages,
    companion::{
        boundary_pages,
        compare_view::{self, compare, fields_of},
        requests::{not_done, ways},
        views::{is_live, live_page},
    },
    missing, path_of, read_run, sent_bundle,
};

/// Advice if a boundary refuses to cancel.
const CANCEL_ADVICE: &str = "only the proposer and operators can cancel: to stop this proposal as an approver, deny it on its review page";

/// Returns the routes. No route uses a key.
pub fn routes() -> Router<Arc<PageState>> {
    Router::new()
        .route("/b/{at}/compare/{digest}", get(side_by_side))
        .route("/b/{at}/run/{id}", get(run))
        .route("/b/{at}/bundle/{id}", get(bundle))
        .route("/b/{at}/events/{id}", get(events))
        .route("/b/{at}/stop/{id}", post(stop))
        .merge(boundary_pages::routes())
}

async fn side_by_side(
    State(own): SharedPages,
    Path((at, digest)): PlaceAndId<StepDigest>,
) -> PageAnswer<Markup> {
    let place = own.place(at)?;
    let read = place.read(move |_, client| {
        let mut views = list(client, &[("status", "pending")])?;
        views.retain(|view| view.step_digest == digest);
        let more = views.len().saturating_sub(compare_view::MOST);
        views.truncate(compare_view::MOST);
        let fields = views.iter().map(fields_of).collect::<Result<Vec<_>, _>>()?;
        Ok((views, fields, more))
    });
    let (views, fields, more) = read
        .await
        .map_err(not_done(at, "No comparison", html! {}))?;
    if views.is_empty() {
        let what = "No proposal of this definition is pending any more.";
        return Err(missing("No comparison", what));
    }
    Ok(compare(at, &place.read_name().await, &views, &fields, more))
}

async fn run(
    State(own): SharedPages,
    Path((at, id)): PlaceAndId<ProposalId>,
) -> PageAnswer<Markup> {
    let place = own.place(at)?;
    let read = place.read(move |place, client| read_run(place, client, &id));
    let (view, receipt) = read.await.map_err(not_done(at, "Not read", html! {}))?;
    let number = own.forms.issue();
    let live = is_live(view.status);
    let shown = RunView {
        form_key: &own.form_key,
        number: &number,
        events_path: path_of("events", at, &view),
        stop_path: path_of("stop", at, &view),
        review_path: Some(path_of("review", at, &view)),
        bundle_path: path_of("bundle", at, &view),
        view: &view,
        receipt: receipt.as_ref(),
        live,
    };
    let title = place.title_of(&view).await;
    let main = html! { h1 { (title) } (own.signed(&path_of("run", at, &view))) (shown.markup()) };
    Ok(live_page(NavPlace::at(at), &title, main, live))
}

/// Sends the bundle of the receipt, which `countersign verify` reads.
async fn bundle(
    State(own): SharedPages,
    Path((at, id)): PlaceAndId<ProposalId>,
) -> PageAnswer<Response> {
    sent_bundle(&own.place(at)?, id)
        .await
        .map_err(not_done(at, "Not read", html! {}))
}

async fn events(
    State(own): SharedPages,
    Path((at, id)): PlaceAndId<ProposalId>,
    Query(query): Query<FormFields>,
    headers: HeaderMap,
) -> PageAnswer<Response> {
    Ok(own.watchers.answer(own.place(at)?, id, &query, &headers))
}

async fn stop(
    State(own): SharedPages,
    Path((at, id)): PlaceAndId<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.place(at)?;
    own.take(&format!("/b/{at}/stop/{id}"), &sent)?;
    let asked = id.clone();
    let done = place.act(move |_, client| {
        client.post_nothing::<ProposalView>(&format!("/v1/proposals/{asked}/cancellation"))
    });
    match done.await {
        Ok(_) => Ok(Redirect::to(&format!("/b/{at}/run/{id}")).into_response()),
        Err(mut failure) => {
            if failure.has_code(Code::Forbidden) {
                failure.message = format!("{}; {CANCEL_ADVICE}", failure.message);
            }
            Err(not_done(at, "Not cancelled", ways(at, &id))(failure))
        }
    }
}
