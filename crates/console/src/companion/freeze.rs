//! The page that freezes a boundary.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use client::revocation::done_words;
use maud::{Markup, html};

use crate::{
    Companion, PageAnswer, PageState, RefusedReview, Sent, Shared,
    companion::{
        requests::not_done,
        views::{FREEZE, section_page},
    },
    plain,
};

/// Word that the person types, so that a click alone freezes nothing.
pub const WORD: &str = "freeze";

/// Returns the routes. Sending the form uses a key.
pub fn routes() -> Router<Arc<Companion>> {
    Router::new().route("/b/{at}/freeze", get(ask).post(freeze))
}

async fn ask(State(own): Shared, Path(at): Path<usize>) -> PageAnswer<Markup> {
    page(&own.pages, at, &RefusedReview::default(), html! {}).await
}

/// Returns the page. `refused` has the errors of an earlier form, and `more` is shown below the form.
pub async fn page(
    own: &PageState,
    at: usize,
    refused: &RefusedReview,
    more: Markup,
) -> PageAnswer<Markup> {
    let (path, name) = (format!("/b/{at}/freeze"), own.place(at)?.read_name().await);
    let main = html! {
        p { "All proposals end, all runs are stopped, and nothing is proposed or run at this boundary until the operator of its host thaws it. All signatures so far become void. This cannot be undone." }
        p { "To freeze every boundary of your list at once: " code { "countersign freeze --all" } }
        (refused.word_form(own, &path, WORD, "Sign the freeze"))
        (more)
    };
    Ok(section_page(at, FREEZE, &format!("Freeze {name}"), &main))
}

async fn freeze(
    State(own): Shared,
    Path(at): Path<usize>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    own.pages.take(&format!("/b/{at}/freeze"), &sent)?;
    let refused = RefusedReview::of_word(WORD, sent);
    if refused.is_refused() {
        let page = page(&own.pages, at, &refused, html! {}).await?;
        return Ok((refused.status(), page).into_response());
    }
    let (reason, signing) = (refused.reason().to_owned(), own.signing.clone());
    let done = place
        .act(move |place, client| signing.freeze(&reason, &place.trust, client))
        .await;
    let answer = done.map_err(not_done(at, "Not frozen", way_back(at)))?;
    let main = html! {
        p role="status" { (plain(&done_words(&answer, None))) }
        p { "The operator of the host ends the freeze with " code { "countersign thaw" } "." }
    };
    Ok(section_page(at, FREEZE, "Frozen", &main).into_response())
}

fn way_back(at: usize) -> Markup {
    html! { p { a href=(format!("/b/{at}/freeze")) { "Load the page again" } } }
}
