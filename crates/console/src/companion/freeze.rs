//! The page that freezes a boundary.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use client::revocation::done_words;
use maud::{Markup, html};

use crate::{
    Companion, NavPlace, PageAnswer, PageState, Sent, Shared,
    companion::{
        requests::failed,
        views::{FREEZE, section_page},
    },
    hidden, plain,
};

/// Word that the person types, so that nobody freezes by a click.
pub const WORD: &str = "freeze";

/// Returns the routes. A sent form uses a key.
pub fn routes() -> Router<Arc<Companion>> {
    Router::new().route("/b/{at}/freeze", get(ask).post(freeze))
}

async fn ask(State(own): Shared, Path(at): Path<usize>) -> PageAnswer<Markup> {
    page(&own.pages, at, None, html! {}).await
}

/// Returns the page. `refused` is the reason of a form without the word, and `more` stands below the form.
pub async fn page(
    own: &PageState,
    at: usize,
    refused: Option<&str>,
    more: Markup,
) -> PageAnswer<Markup> {
    let (path, name) = (format!("/b/{at}/freeze"), own.place(at)?.read_name().await);
    let main = html! {
        p { "All proposals end, all runs are stopped, and nothing is proposed or run at this boundary until the operator of its host thaws it. All signatures so far become void. This cannot be undone." }
        p { "To freeze every boundary of your list at once: " code { "countersign freeze --all" } }
        (word_form(own, (&path, WORD), refused, "Sign the freeze"))
        (more)
    };
    Ok(section_page(at, FREEZE, &format!("Freeze {name}"), &main))
}

/// Returns the form of a revocation, which asks for a word. `refused` is the reason of a form without the word.
pub fn word_form(
    own: &PageState,
    (path, word): (&str, &str),
    refused: Option<&str>,
    button: &str,
) -> Markup {
    html! {
        @if refused.is_some() { div.question role="alert" { "Nothing was signed: type the word " (word) " to confirm." } }
        form method="post" action=(path) {
            (hidden(&own.form_key, path, &own.forms.issue(), word))
            p { label { "Reason, which all readers of the log can see " input name="reason" value=[refused] maxlength="2000"; } }
            p { label { "Type " code { (word) } " " input name="word" autocomplete="off" autocapitalize="none" required; } }
            button type="submit" { (button) }
        }
    }
}

async fn freeze(
    State(own): Shared,
    Path(at): Path<usize>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    own.pages.take(&format!("/b/{at}/freeze"), &sent)?;
    let field = |name: &str| sent.get(name).map_or("", |text| text.trim()).to_owned();
    let reason = field("reason");
    if field("word") != WORD {
        let page = page(&own.pages, at, Some(&reason), html! {}).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let signing = own.signing.clone();
    let done = place
        .act(move |place, client| signing.freeze(&reason, &place.trust, client))
        .await;
    let nav = NavPlace::section(at, FREEZE);
    let answer = done.map_err(|failure| failed(nav, "Not frozen", &failure, way_back(at)))?;
    let main = html! {
        p role="status" { (plain(&done_words(&answer, None))) }
        p { "The operator of the host ends the freeze with " code { "countersign thaw" } "." }
    };
    Ok(section_page(at, FREEZE, "Frozen", &main).into_response())
}

fn way_back(at: usize) -> Markup {
    html! { p { a href=(format!("/b/{at}/freeze")) { "Load the page again" } } }
}
