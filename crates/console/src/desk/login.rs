//! The login: a passkey signs a challenge of a boundary, and the boundary gives access for ten minutes.
//!
//! The answer is the same for each name that a person types, so the desk tells nobody who is in a roster.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Extension, Form, Query, State},
    http::{HeaderMap, StatusCode, header::SET_COOKIE},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use client::{CommandFailure, now};
use documents::{EnvelopeSignature, KeyId, PasskeyMessage, hex, visible};
use maud::{Markup, html};
use wire::CHALLENGE_TYPE;

use crate::{
    ANSWER_FIELDS, Desk, DeskBoundary, DeskPerson, FormFields, LOG_OUT, PageAnswer, Peer,
    RefusedRequest, Sent, TakenForm, answer_fields, browser_answer,
    desk::{
        desk_state::{LoginAttempt, LoginTarget},
        login_sessions::LoginSession,
        passkey_pages,
    },
    hidden, page, plain, sent_text, status_of,
    web::secrets::random,
};

const LOGIN: &str = "/login";
const ANSWER: &str = "/login/answer";

pub fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route(LOGIN, get(show).post(begin))
        .route(ANSWER, post(answered))
        .route(LOG_OUT, post(log_out))
}

async fn show(Query(query): Query<FormFields>) -> Markup {
    let to = query
        .get("to")
        .and_then(|to| LoginTarget::parse(to))
        .unwrap_or_default();
    login_page("", &to)
}

/// Returns the page of the login.
pub fn login_page(boundary: &str, to: &LoginTarget) -> Markup {
    let main = html! {
        h1 { "Log in" }
        form method="post" action=(LOGIN) {
            input type="hidden" name="to" value=(to.as_str());
            div.fields {
                div { label for="name" { "Your name in the roster" } input #name name="name" required autocomplete="username" autocapitalize="none" spellcheck="false"; }
                div {
                    label for="boundary" { "Name of the boundary" }
                    input #boundary name="boundary" value=(plain(boundary)) autocapitalize="none" spellcheck="false" aria-describedby="boundary-hint";
                    p.hint #boundary-hint { "Leave the field empty if this desk has one boundary." }
                }
            }
            button.main type="submit" { "Log in with your passkey" }
        }
        p { a href="/enrol" { "Make a passkey for this desk" } }
    };
    page("Log in", &main)
}

async fn begin(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Peer,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    desk.count(peer)?;
    let field = |name: &str| sent_text(&sent, name).trim();
    let to = LoginTarget::parse(field("to")).unwrap_or_default();
    let attempt = LoginAttempt {
        place: desk.place_of(field("boundary")),
        key: 0,
        name: field("name").parse().ok(),
        to,
    };
    ask(&desk, attempt).await
}

/// Asks for a signature over a challenge. A name without a passkey gets a challenge that no boundary made.
async fn ask(desk: &Desk, attempt: LoginAttempt) -> PageAnswer<Response> {
    let secret: [u8; 32] = random().map_err(no_secret)?;
    // Ask a boundary even if the desk has no boundary with this name.
    let boundary = desk.boundaries.get(attempt.place.unwrap_or_default());
    let mut keys = attempt.keys(desk).map_or_else(Vec::new, |(_, keys)| keys);
    // Ask the boundary even if the name has no passkey, so that the time of the answer shows no difference.
    let known = (attempt.key < keys.len()).then(|| keys.swap_remove(attempt.key).keyid());
    let keyid = known.unwrap_or_else(|| KeyId::from_bytes(&secret));
    let made = match boundary.map(|boundary| boundary.public.clone()) {
        None => None,
        Some(place) => {
            let asked = place
                .read(move |place, client| DeskBoundary::challenge(&place.trust, client, keyid))
                .await;
            match asked {
                Ok(challenge) => Some(challenge),
                Err(failure) if failure.problem.is_some() => None,
                Err(failure) => return Err(failed(&failure)),
            }
        }
    };
    let challenge = made.unwrap_or_else(|| hex(&secret));
    let message = PasskeyMessage::new(CHALLENGE_TYPE, challenge.as_bytes());
    let (is_other, form) = (attempt.key > 0, desk.forms.issue_with((attempt, challenge)));
    let main = html! {
        h1 { "Log in" }
        @if is_other { p { "This is another passkey of yours. Use it once more." } }
        p { "Your passkey signs a challenge of the boundary. This gives you access for 10 minutes, and approves nothing." }
        form method="post" action=(ANSWER) data-passkey="get" data-challenge=(message.challenge()) data-host=(desk.host()) {
            (hidden(&desk.form_key, ANSWER, &form, ""))
            (answer_fields(&ANSWER_FIELDS))
            button.main type="submit" { "Use your passkey" }
        }
        p { a href=(LOGIN) { "Begin again" } }
    };
    Ok(page("Log in", &main).into_response())
}

async fn answered(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Peer,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    desk.count(peer)?;
    let taken = TakenForm::take(&desk.form_key, &desk.forms, ANSWER, &sent);
    let refuse = |what: &str| RefusedRequest::with(StatusCode::FORBIDDEN, not_logged_in(what));
    let (attempt, challenge) = taken
        .ok_or_else(|| refuse("This page was used before, or it is too old."))?
        .kept;
    let wrong = || {
        refuse(
            "The name, the boundary or the passkey is wrong, or the roster at this desk does not have your passkey yet, or the \
            policy of the boundary counts no passkey. The person who runs the desk can find out which.",
        )
    };
    let answer = browser_answer(&sent).ok_or_else(wrong)?;
    let message = PasskeyMessage::new(CHALLENGE_TYPE, challenge.as_bytes());
    let (boundary, keys) = attempt.keys(&desk).ok_or_else(wrong)?;
    let mut valid = keys.into_iter().enumerate();
    let valid = valid.find_map(|(number, key)| {
        message
            .signature(&key, &answer)
            .ok()
            .map(|blob| (number, key, blob))
    });
    let (number, key, blob) = valid.ok_or_else(wrong)?;
    if number != attempt.key {
        // The challenge is valid for one key, but the person used another of several passkeys. Ask again with this
        // passkey.
        return ask(
            &desk,
            LoginAttempt {
                key: number,
                ..attempt
            },
        )
        .await;
    }
    let signature = EnvelopeSignature::new(key.keyid(), &blob);
    let admitted = boundary
        .public
        .act(move |_, client| client.answer_challenge(challenge, signature))
        .await;
    let admission = admitted.map_err(|failure| failed(&failure))?;
    let (Some(place), Some(person)) = (attempt.place, attempt.name) else {
        return Err(wrong());
    };
    let seconds = u64::try_from(admission.expires_at.unix() - now().unix()).unwrap_or_default();
    let (began, ends) = (
        Instant::now(),
        Instant::now() + Duration::from_secs(seconds),
    );
    let own = DeskPerson {
        key,
        host: desk.host().to_owned(),
    };
    let pages =
        passkey_pages::routes(boundary.with_bearer(admission.bearer), own).map_err(no_secret)?;
    let session = LoginSession {
        person,
        boundary: place,
        pages,
        ends,
    };
    let cookie = desk.logins.open(session, began).map_err(no_secret)?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to(attempt.to.as_str())).into_response())
}

async fn log_out(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Redirect {
    desk.logins.end(&headers);
    Redirect::to(LOGIN)
}

fn not_logged_in(what: &str) -> Markup {
    let main = html! { h1 { "Not logged in" } p role="alert" { (what) } p { a href=(LOGIN) { "Begin again" } } };
    page("Not logged in", &main)
}

fn no_secret(error: std::io::Error) -> RefusedRequest {
    failed(&CommandFailure::unreachable(error))
}

fn failed(failure: &CommandFailure) -> RefusedRequest {
    RefusedRequest::with(
        status_of(failure),
        not_logged_in(&visible(&failure.message)),
    )
}
