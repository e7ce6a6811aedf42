//! Pages for standing grants and reviews of runs, which a passkey does not sign. Each page shows the command that
//! signs.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use client::{ReadReceipt, Screen, now, run_to_review};
use documents::{GrantId, ReceiptId};
use maud::{Markup, html};

use crate::{
    PageAnswer, PageState, PlaceAndId, SharedPages, companion::requests::not_done,
    companion::reviews::read_grant, companion_page, screen_lines,
};

pub fn routes() -> Router<Arc<PageState>> {
    Router::new()
        .route("/b/{at}/grant/{id}", get(grant))
        .route("/b/{at}/review-run/{id}", get(run))
}

async fn grant(State(own): SharedPages, Path((at, id)): PlaceAndId<GrantId>) -> PageAnswer<Markup> {
    let (place, asked) = (own.place(at)?, id.clone());
    let read = place.read(move |place, client| {
        let (_, review) = read_grant(&asked, &place.trust, client)?;
        Ok(review.screen(now()))
    });
    let screen = read.await.map_err(not_done(at, "No grant", html! {}))?;
    let commands = [
        format!("countersign approve {id}"),
        format!("countersign revoke {id}"),
    ];
    let why = "A passkey signs no standing grant, because runs then start without a person. It ends no grant either.";
    Ok(page(at, ("Standing grant", why), &screen, &commands))
}

async fn run(State(own): SharedPages, Path((at, id)): PlaceAndId<ReceiptId>) -> PageAnswer<Markup> {
    let (place, asked) = (own.place(at)?, id.clone());
    let read = place.read(move |place, client| {
        let run = ReadReceipt::fetch(client, &asked)?;
        place.trust.check_id(run.signed.boundary.id)?;
        Ok(run_to_review(&run))
    });
    let screen = read.await.map_err(not_done(at, "No run", html! {}))?;
    let commands = [format!("countersign review-run {id}")];
    let why = "A passkey signs no review of a run, because a review can wait until you are at your own machine.";
    Ok(page(at, ("Review of a run", why), &screen, &commands))
}

fn page(at: usize, (title, why): (&str, &str), screen: &Screen, commands: &[String]) -> Markup {
    let main = html! {
        h1 { (title) }
        section #review aria-label=(title) { (screen_lines(screen, 2)) }
        div.question role="note" {
            p { (why) }
            p { "Use the command on your own machine:" }
            ul { @for command in commands { li { code { (command) } } } }
        }
    };
    companion_page(at, title, main)
}
