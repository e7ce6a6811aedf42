//! The pages that freeze a boundary, or that end the person's own passkey. Both sign a revocation, which can only stop
//! something.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use client::{
    PrintableText, RevokingBoundary,
    revocation::{self, done_words},
};
use documents::{Envelope, RevokedSubject};
use maud::{Markup, html};

use crate::{
    DeskPerson, HeldReview, PageAnswer, PageState, RefusedReview, Sent, browser_answer,
    companion::{freeze, requests::not_done, reviews::HeldReviews},
    companion_page, plain, signing_page, take_held,
};

/// Word that the person types, so that a click alone ends no passkey.
const WORD: &str = "revoke";

/// What these pages need.
pub struct StopPages {
    pages: Arc<PageState>,
    person: DeskPerson,
    held: HeldReviews<&'static str, Vec<u8>>,
}

impl StopPages {
    pub fn new(pages: Arc<PageState>, person: DeskPerson) -> Self {
        Self {
            pages,
            person,
            held: HeldReviews::default(),
        }
    }
}

type Own = State<Arc<StopPages>>;

pub fn routes() -> Router<Arc<StopPages>> {
    Router::new()
        .route("/b/{at}/freeze", get(ask_freeze).post(freeze))
        .route("/b/{at}/my-key", get(ask_key).post(end_key))
        .route(
            "/b/{at}/send-freeze",
            post(|own: Own, at: Path<usize>, sent: Sent| send(own, at, "send-freeze", sent)),
        )
        .route(
            "/b/{at}/send-my-key",
            post(|own: Own, at: Path<usize>, sent: Sent| send(own, at, "send-my-key", sent)),
        )
}

async fn ask_freeze(State(own): Own, Path(at): Path<usize>) -> PageAnswer<Markup> {
    freeze::page(&own.pages, at, &RefusedReview::default(), way_to_key(at)).await
}

async fn freeze(State(own): Own, Path(at): Path<usize>, Form(sent): Sent) -> PageAnswer<Response> {
    own.pages.take(&format!("/b/{at}/freeze"), &sent)?;
    let refused = RefusedReview::of_word(freeze::WORD, sent);
    if refused.is_refused() {
        let page = freeze::page(&own.pages, at, &refused, way_to_key(at)).await?;
        return Ok((refused.status(), page).into_response());
    }
    let words = "You freeze the boundary. All proposals and runs end, and nothing runs until the operator of its host thaws it.";
    let subject = |boundary: &RevokingBoundary<'_>, _: &DeskPerson| {
        RevokedSubject::epoch(&boundary.boundary.epoch)
    };
    show(&own, (at, "send-freeze", words), refused.reason(), subject).await
}

async fn ask_key(State(own): Own, Path(at): Path<usize>) -> Markup {
    key_page(&own, at, &RefusedReview::default())
}

fn key_page(own: &StopPages, at: usize, refused: &RefusedReview) -> Markup {
    let path = format!("/b/{at}/my-key");
    let main = html! {
        h1 { "End your passkey" }
        p { "After this, the passkey " code { (own.person.key.keyid()) } " signs nothing at this boundary. This can't be undone. Use it if you lost a device with this passkey, and then tell the signers of the roster." }
        (refused.word_form(&own.pages, &path, WORD, "Show the revocation to sign"))
    };
    companion_page(at, "End your passkey", main)
}

async fn end_key(State(own): Own, Path(at): Path<usize>, Form(sent): Sent) -> PageAnswer<Response> {
    own.pages.take(&format!("/b/{at}/my-key"), &sent)?;
    let refused = RefusedReview::of_word(WORD, sent);
    if refused.is_refused() {
        return Ok((refused.status(), key_page(&own, at, &refused)).into_response());
    }
    let words = "You revoke your own passkey. It then signs nothing at this boundary.";
    let subject =
        |_: &RevokingBoundary<'_>, person: &DeskPerson| RevokedSubject::Key(person.key.keyid());
    show(&own, (at, "send-my-key", words), refused.reason(), subject).await
}

/// Shows the revocation that the passkey signs next.
async fn show(
    own: &StopPages,
    (at, send, words): (usize, &'static str, &str),
    reason: &str,
    subject: fn(&RevokingBoundary<'_>, &DeskPerson) -> RevokedSubject,
) -> PageAnswer<Response> {
    let (place, person, said) = (own.pages.place(at)?, own.person.clone(), reason.to_owned());
    let made = place.read(move |place, client| {
        let boundary = RevokingBoundary::read(client)?;
        place.trust.check_id(boundary.boundary.id)?;
        let subject = subject(&boundary, &person);
        Ok((
            subject,
            revocation::payload(boundary.boundary, subject, &said)?,
        ))
    });
    let (subject, payload) =
        made.await
            .map_err(not_done(at, "Nothing was signed", way_back(at)))?;
    let (path, number, digest) = (
        format!("/b/{at}/{send}"),
        own.pages.forms.issue(),
        subject.to_string(),
    );
    let statement = html! {
        p { strong { (words) } " This can't be undone." }
        dl.pairs {
            dt { "Boundary" } dd { (plain(&place.read_name().await)) }
            dt { "Revoked" } dd { code { (digest) } }
            dt { "Reason" } dd { (PrintableText::quoted_prose(reason).as_str()) }
        }
    };
    let page = signing_page(
        &own.pages,
        (at, "Sign a revocation"),
        &statement,
        (&path, &number, &digest),
        &own.person.question(&payload),
    );
    own.held
        .keep(&number, HeldReview::new(at, send, digest, payload));
    Ok(page.into_response())
}

async fn send(
    State(own): Own,
    Path(at): Path<usize>,
    path: &'static str,
    Form(sent): Sent,
) -> PageAnswer<Markup> {
    let place = own.pages.place(at)?;
    let held = take_held(
        &own.pages,
        &own.held,
        (&format!("/b/{at}/{path}"), &sent),
        (at, &path, way_back(at)),
    )?;
    let (answer, person) = (browser_answer(&sent), own.person.clone());
    let done = place.act(move |_, client| {
        let signature = person.signature(&held.review, answer.as_ref())?;
        revocation::send(client, &Envelope::new(&held.review, vec![signature]))
    });
    let answer = done.await.map_err(not_done(at, "Not done", way_back(at)))?;
    let main = html! { h1 { "Done" } p role="status" { (plain(&done_words(&answer, None))) } (way_back(at)) };
    Ok(companion_page(at, "Done", main))
}

fn way_to_key(at: usize) -> Markup {
    html! { p { "Did you lose a device with your passkey? " a href=(format!("/b/{at}/my-key")) { "End your passkey" } "." } }
}

fn way_back(at: usize) -> Markup {
    html! { p { a href=(format!("/b/{at}/freeze")) { "Back to the page of the freeze" } } }
}
