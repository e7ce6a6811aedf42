//! The requests for the pages of one boundary: its steps, sessions, ended proposals, open work, and the head of its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use client::{Client, CommandFailure, CommandResult};
use documents::{ProposalId, SessionId, StepDigest, StepRef, to_canonical};
use maud::{Markup, html};
use wire::{
    GrantList, ProposalList, RegistryView, SessionList, SessionView, StepView, UnsettledList,
};

use crate::{
    NavPlace, PageAnswer, PageState, ReachedBoundary, Sent, SharedPages,
    companion::{
        boundary_views::{
            SessionForms, log, open_work, receipts, sessions, step, steps, unread_advice,
        },
        requests::failed,
    },
};

/// Number of proposals that one page of receipts reads.
const ON_PAGE: usize = 50;

/// Returns the routes. Only `end` changes something, and no route uses a key to sign a statement.
pub fn routes() -> Router<Arc<PageState>> {
    Router::new()
        .route("/b/{at}/steps", get(list_steps))
        .route("/b/{at}/step/{*step}", get(show_step))
        .route("/b/{at}/sessions", get(list_sessions))
        .route("/b/{at}/end/{id}", post(end_session))
        .route("/b/{at}/receipts", get(list_receipts))
        .route("/b/{at}/open", get(list_open))
        .route("/b/{at}/log", get(show_log))
}

/// Reads what a page shows, and makes the page. A page that can't be read says why, and what its reader needs.
async fn shown<T: Send + 'static>(
    own: &PageState,
    at: usize,
    section: &'static str,
    read: impl FnOnce(&ReachedBoundary, &Client) -> CommandResult<T> + Send + 'static,
    page: impl FnOnce(&str, &T) -> Markup,
) -> PageAnswer<Markup> {
    let place = own.place(at)?;
    let found = place.read(read).await.map_err(|failure| {
        let title = format!("{section} of {}: not read", place.shown_name());
        failed(
            NavPlace::section(at, section),
            &title,
            &failure,
            unread_advice(&failure),
        )
    })?;
    Ok(page(&place.read_name().await, &found))
}

async fn list_steps(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |_: &ReachedBoundary, client: &Client| client.get::<RegistryView>("/v1/registry");
    shown(&own, at, "Steps", read, |name, found| {
        steps(at, name, found)
    })
    .await
}

async fn show_step(
    State(own): SharedPages,
    Path((at, asked)): Path<(usize, StepRef)>,
) -> PageAnswer<Markup> {
    let read = move |_: &ReachedBoundary, client: &Client| {
        let view: StepView = client.get(&format!("/v1/steps/{asked}"))?;
        if StepDigest::of(&to_canonical(&view.definition)) == view.digest {
            return Ok(view);
        }
        let what = "the definition has another digest than the boundary says: don't trust this boundary, and tell its operator";
        Err(CommandFailure::refused(what))
    };
    shown(&own, at, "Steps", read, |name, view| step(at, name, view)).await
}

async fn list_sessions(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |_: &ReachedBoundary, client: &Client| client.get::<SessionList>("/v1/sessions");
    let forms = SessionForms {
        form_key: &own.form_key,
        numbers: &own.forms,
    };
    shown(&own, at, "Sessions", read, |name, found| {
        sessions(at, name, &found.sessions, forms)
    })
    .await
}

async fn list_receipts(
    State(own): SharedPages,
    Path(at): Path<usize>,
    Query(query): Query<BTreeMap<String, String>>,
) -> PageAnswer<Markup> {
    let from = query
        .get("from")
        .and_then(|text| text.parse::<ProposalId>().ok());
    let cursor = from
        .as_ref()
        .map(|from| format!("&cursor={from}"))
        .unwrap_or_default();
    let read = move |_: &ReachedBoundary, client: &Client| {
        client.get::<ProposalList>(&format!("/v1/proposals?limit={ON_PAGE}{cursor}"))
    };
    shown(&own, at, "Receipts", read, |name, found| {
        receipts(at, name, found, from.is_some())
    })
    .await
}

async fn list_open(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |_: &ReachedBoundary, client: &Client| {
        Ok((
            client.get::<UnsettledList>("/v1/unsettled")?,
            client.get::<GrantList>("/v1/grants")?,
        ))
    };
    shown(&own, at, "Open", read, |name, (runs, grants)| {
        open_work(at, name, runs, &grants.grants)
    })
    .await
}

async fn show_log(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |place: &ReachedBoundary, client: &Client| {
        let (_, roster) = place.roster(client)?;
        place
            .hashes
            .check(&place.trust.rosters()?, roster.trusted(), client)
    };
    shown(&own, at, "Log", read, |name, head| log(at, name, head)).await
}

async fn end_session(
    State(own): SharedPages,
    Path((at, id)): Path<(usize, SessionId)>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let place = own.place(at)?;
    own.take(&format!("/b/{at}/end/{id}"), &sent)?;
    let done = place.act(move |_, client| {
        client.post_nothing::<SessionView>(&format!("/v1/sessions/{id}/end"))
    });
    let back = format!("/b/{at}/sessions");
    done.await.map_err(|failure| {
        let way = html! { p { a href=(back) { "Back to the sessions" } } };
        failed(
            NavPlace::section(at, "Sessions"),
            "The session was not ended",
            &failure,
            way,
        )
    })?;
    Ok(Redirect::to(&back))
}
