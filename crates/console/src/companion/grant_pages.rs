//! The page of a standing grant: the text of `countersign approve grt_…`, and the forms that sign or end the grant.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use client::{cells, now, revocation::done_words};
use documents::GrantId;
use maud::{Markup, html};

use crate::{
    Companion, HeldReview, PageAnswer, PlaceAndId, RefusedReview, Sent, Shared, after_signature,
    companion::{requests::not_done, signing::MadeGrant},
    companion_page, hidden, plain, screen_lines, take_held,
};

/// Word that the person types, so that a click alone ends no grant.
const WORD: &str = "revoke";

/// Returns the routes. Sending a form uses a key.
pub fn routes() -> Router<Arc<Companion>> {
    Router::new()
        .route("/b/{at}/grant/{id}", get(show).post(sign))
        .route("/b/{at}/revoke/{id}", post(revoke))
}

async fn show(State(own): Shared, Path((at, id)): PlaceAndId<GrantId>) -> PageAnswer<Response> {
    show_grant(&own, at, id, RefusedReview::default()).await
}

/// Reads the grant, and shows what was wrong with an earlier form.
async fn show_grant(
    own: &Companion,
    at: usize,
    id: GrantId,
    refused: RefusedReview,
) -> PageAnswer<Response> {
    let (place, signing, asked, way) = (
        own.pages.place(at)?,
        own.signing.clone(),
        id.clone(),
        way_back(at, &id),
    );
    let made = place
        .read(move |place, client| signing.grant(&asked, &place.trust, client))
        .await;
    let made = made.map_err(not_done(at, "No grant", way.clone()))?;
    let digest = made.review.digest.to_string();
    // The person filled in the earlier form for the grant that its page showed, so the grant must be the same.
    refused.check_digest(at, &digest, id.as_str(), way)?;
    let number = own.pages.forms.issue();
    let page = page(own, at, &made, &number, &refused);
    own.held_grants
        .keep(&number, HeldReview::new(at, id, digest, made.review));
    Ok((refused.status(), page).into_response())
}

fn page(
    own: &Companion,
    at: usize,
    made: &MadeGrant,
    number: &str,
    refused: &RefusedReview,
) -> Markup {
    let MadeGrant {
        review,
        view,
        approver,
    } = made;
    let (errors, digest) = (&refused.errors, review.digest.to_string());
    let (sign, end) = (
        format!("/b/{at}/grant/{}", view.id),
        format!("/b/{at}/revoke/{}", view.id),
    );
    let main = html! {
        h1 { "Standing grant" }
        (own.pages.signed(&sign))
        (errors.summary("Nothing was signed. This page shows the grant again: correct these fields."))
        section #review aria-label="The grant" { (screen_lines(&review.screen(now()), 2)) }
        section aria-labelledby="decide" {
            h2 #decide { "Your decision" }
            p { "The boundary says: " (plain(&cells(view)[1])) ", " (view.approvals.words()) ". This page works once, and for 10 minutes." }
            @match approver {
                Err(why) => div.question role="note" { strong { "You can't sign: " } (plain(why.trim_start_matches("nothing was signed: "))) "." },
                Ok(approver) => form method="post" action=(sign) autocomplete="off" {
                    (hidden(&own.pages.form_key, &sign, number, &digest))
                    div.fields {
                        (errors.field("answer", "The number of uses, a blank, and the last 8 digits of the digest", refused.value("answer"), &html! {
                            "The digest of what you sign is " code { (digest) } ". A security key or a passphrase is asked for at the terminal of the program."
                        }))
                    }
                    button.main type="submit" { "Sign this standing grant as " (approver.as_str()) }
                },
            }
            details {
                summary { "Every signed field and every check" }
                (screen_lines(&review.full(now()), 3))
            }
            @if !view.is_over() {
                h3 { "End the grant" }
                form method="post" action=(end) autocomplete="off" {
                    (hidden(&own.pages.form_key, &end, number, &digest))
                    p { "No run uses the grant after this." }
                    div.fields { (refused.reason_and_word("The word revoke")) }
                    button type="submit" { "Sign the revocation" }
                }
            }
        }
    };
    companion_page(at, "Standing grant", main)
}

async fn sign(
    State(own): Shared,
    Path((at, id)): PlaceAndId<GrantId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let (place, path) = (own.pages.place(at)?, format!("/b/{at}/grant/{id}"));
    let held = take_held(
        &own.pages,
        &own.held_grants,
        (&path, &sent),
        (at, &id, way_back(at, &id)),
    )?;
    let refused = RefusedReview::of_grant(&held.review, sent);
    if refused.is_refused() {
        return show_grant(&own, at, id, refused).await;
    }
    let (typed, signing) = (refused.value("answer").to_owned(), own.signing.clone());
    let done = place
        .act(move |place, client| signing.approve_grant(held, &typed, &place.trust, client))
        .await;
    after_signature(&own.pages, done, (at, &path, way_back(at, &id)))
}

async fn revoke(
    State(own): Shared,
    Path((at, id)): PlaceAndId<GrantId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let form = own.pages.take(&format!("/b/{at}/revoke/{id}"), &sent)?;
    let refused = RefusedReview::of_word(WORD, sent);
    if refused.is_refused() {
        return show_grant(&own, at, id, refused).await;
    }
    let (reason, signing, way) = (
        refused.reason().to_owned(),
        own.signing.clone(),
        way_back(at, &id),
    );
    let work = place.act(move |place, client| {
        signing.end_grant(&id, &form.contents, &reason, &place.trust, client)
    });
    let (answer, words) = work
        .await
        .map_err(not_done(at, "Not revoked", way.clone()))?;
    let main = html! {
        h1 { "Revoked" }
        p role="status" { (plain(&done_words(&answer, Some(&words)))) }
        (way)
    };
    Ok(companion_page(at, "Revoked", main).into_response())
}

fn way_back(at: usize, id: &GrantId) -> Markup {
    html! {
        ul {
            li { a href=(format!("/b/{at}/grant/{id}")) { "Load the grant again" } }
            li { a href=(format!("/b/{at}/open")) { "Open work" } }
        }
    }
}
