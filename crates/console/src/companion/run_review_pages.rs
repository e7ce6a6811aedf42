//! The pages that review a run: what ran, the form for the person's verdict, and the review as it will be signed.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use client::{
    ReadReceipt, RunReview, SaidOfRun, details, review_run::done_words, run_to_review,
    unsettled::needs,
};
use documents::{ObservedEnd, ReceiptId, ReviewVerdict, Status};
use maud::{Markup, html};
use wire::{UnsettledList, UnsettledRun};

use crate::{
    Companion, FormFields, HeldReview, PageAnswer, PlaceAndId, RefusedReview, Sent, SentSignature,
    Shared, after_signature,
    companion::{requests::not_done, reviews::replaced},
    companion_page, hidden, plain, screen_lines, take_held,
};

/// Returns the routes. Only `sign` uses a key.
pub fn routes() -> Router<Arc<Companion>> {
    Router::new()
        .route("/b/{at}/review-run/{id}", get(show).post(make))
        .route("/b/{at}/sign-review/{id}", post(sign))
}

async fn show(State(own): Shared, Path((at, id)): PlaceAndId<ReceiptId>) -> PageAnswer<Response> {
    show_run(&own, at, id, RefusedReview::default()).await
}

/// Reads the run, and shows what was wrong with an earlier form.
async fn show_run(
    own: &Companion,
    at: usize,
    id: ReceiptId,
    refused: RefusedReview,
) -> PageAnswer<Response> {
    let (place, asked, way) = (own.pages.place(at)?, id.clone(), way_back(at, &id));
    let read = place.read(move |place, client| {
        let run = ReadReceipt::fetch(client, &asked)?;
        place.trust.check_id(run.signed.boundary.id)?;
        let open = client.get::<UnsettledList>("/v1/unsettled")?.runs;
        Ok((
            run,
            open.into_iter()
                .find(|open| open.receipt.as_ref() == Some(&asked)),
        ))
    });
    let (run, open) = read.await.map_err(not_done(at, "No run", way.clone()))?;
    // The person filled in the earlier form for the run that its page showed, so the run must be the same.
    refused.check_digest(at, &run.digest.to_string(), id.as_str(), way)?;
    let main = html! {
        h1 { "Review of a run" }
        (refused.errors.summary("Nothing was signed. Correct these fields."))
        section #review aria-label="The run" { (screen_lines(&run_to_review(&run), 2)) }
        p { a href=(format!("/b/{at}/run/{}", id.proposal())) { "Verify the receipt of this run, and read its output" } }
        @match &open {
            None => p { "The boundary lists at most 100 runs that need a review, and this run is not in the list. To review it nevertheless, for example because a settled run ended in another way, use countersign review-run." },
            Some(open) => (form(own, at, &run, open, &refused)),
        }
    };
    let page = companion_page(at, "Review of a run", main);
    Ok((refused.status(), page).into_response())
}

fn form(
    own: &Companion,
    at: usize,
    run: &ReadReceipt,
    open: &UnsettledRun,
    refused: &RefusedReview,
) -> Markup {
    let (path, errors) = (format!("/b/{at}/review-run/{}", run.id), &refused.errors);
    let choice = |id: &str, label: &str, options: &[(&str, String)]| {
        html! {
            div {
                label for=(id) { (label) }
                select id=(id) name=(id) aria-invalid=[errors.invalid(id)] aria-describedby=(errors.described(id, "")) {
                    option value="" { "(choose)" }
                    @for (value, words) in options { option value=(value) selected[refused.value(id) == *value] { (words) } }
                }
                (errors.beside(id))
            }
        }
    };
    html! {
        h2 { "Your review" }
        p { strong.bad { (plain(&needs(open))) } }
        @if run.signed.emergency.is_some() { p { "A review of a person who approved this emergency does not count." } }
        @for line in details(&[open], "") { div.hint { (line.as_str()) } }
        form method="post" action=(path) autocomplete="off" {
            (hidden(&own.pages.form_key, &path, &own.pages.forms.issue(), &run.digest.to_string()))
            div.fields {
                (choice("verdict", "Verdict", &ReviewVerdict::ALL.map(|verdict| (word_of(verdict), choice_of(verdict)))))
                @if run.receipt.outcome.status == Status::Unknown {
                    (choice("observed", "How the run ended, as you found out", &ObservedEnd::ALL.map(|end| (end.word(), end.word().to_owned()))))
                }
                (errors.field("reason", "Reason", refused.value("reason"), &html! { "All readers of the log can see the reason." }))
                (errors.field("evidence", "Receipts of checks of what the run left", refused.value("evidence"), &html! { "Ids (rcp_…) with blanks between them, or nothing. The reason then names each receipt and its digest." }))
            }
            button.main type="submit" { "Show the review to sign" }
        }
    }
}

/// Reads the fields of the form.
fn said_of(sent: FormFields, status: Status) -> Result<SaidOfRun, RefusedReview> {
    let mut found = RefusedReview::of(sent);
    let verdict = ReviewVerdict::ALL
        .into_iter()
        .find(|verdict| word_of(*verdict) == found.value("verdict"));
    let observed = ObservedEnd::ALL
        .into_iter()
        .find(|end| end.word() == found.value("observed"));
    let reason = found.value("reason").trim().to_owned();
    let evidence: Result<Vec<ReceiptId>, _> = found
        .value("evidence")
        .split_whitespace()
        .map(str::parse)
        .collect();
    for (is_wrong, id, label, message) in [
        (
            verdict.is_none(),
            "verdict",
            "Verdict",
            "choose accept or reject",
        ),
        (
            status == Status::Unknown && observed.is_none(),
            "observed",
            "How the run ended",
            "nobody saw how this run ended: find out what the run left, and choose an end",
        ),
        (reason.is_empty(), "reason", "Reason", "write a reason"),
        (
            evidence.is_err(),
            "evidence",
            "Receipts of checks",
            "write only ids of receipts (rcp_…)",
        ),
    ] {
        if is_wrong {
            found.wrong(id, label, message);
        }
    }
    match (verdict, evidence) {
        (Some(verdict), Ok(evidence)) if !found.is_refused() => Ok(SaidOfRun {
            verdict,
            observed,
            reason,
            evidence,
        }),
        _ => Err(found),
    }
}

/// Makes the review, and shows it in the form that the person will sign.
async fn make(
    State(own): Shared,
    Path((at, id)): PlaceAndId<ReceiptId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let (place, asked) = (own.pages.place(at)?, id.clone());
    let form = own.pages.take(&format!("/b/{at}/review-run/{id}"), &sent)?;
    let (signing, way, digest) = (
        own.signing.clone(),
        way_back(at, &id),
        form.contents.clone(),
    );
    let made = place.read(move |place, client| {
        let run = ReadReceipt::fetch(client, &asked)?;
        if run.digest.to_string() != form.contents {
            return Err(replaced(asked.as_str()));
        }
        said_of(sent, run.receipt.outcome.status)
            .map(|said| signing.review_run(run, &said, &place.trust, client))
            .map_or_else(|refused| Ok(Err(refused)), |made| made.map(Ok))
    });
    match made
        .await
        .map_err(not_done(at, "Nothing was signed", way))?
    {
        Err(refused) => show_run(&own, at, id, refused).await,
        Ok(review) => {
            let held = HeldReview::new(at, id, digest, review);
            Ok(show_made(&own, held, &RefusedReview::default()))
        }
    }
}

fn show_made(
    own: &Companion,
    held: HeldReview<ReceiptId, RunReview>,
    refused: &RefusedReview,
) -> Response {
    let (number, path) = (
        own.pages.forms.issue(),
        format!("/b/{}/sign-review/{}", held.boundary, held.id),
    );
    let word = word_of(held.review.statement().verdict);
    let main = html! {
        h1 { "Sign this review at " (plain(held.review.statement().boundary.name.as_str())) "?" }
        (refused.errors.summary("Nothing was signed. Correct this field."))
        section #review aria-label="The review" { (screen_lines(&held.review.screen(), 2)) }
        form method="post" action=(path) autocomplete="off" {
            (hidden(&own.pages.form_key, &path, &number, &held.digest))
            div.fields {
                (refused.errors.field("word", &format!("The word {word}"), refused.value("word"), &html! { "Your newest review of a run replaces your earlier ones. It cannot be undone. A security key or a passphrase is asked for at the terminal of the program." }))
            }
            button.main type="submit" { "Sign the review" }
        }
        (way_back(held.boundary, &held.id))
    };
    let page = companion_page(held.boundary, "Sign a review", main);
    own.held_runs.keep(&number, held);
    (refused.status(), page).into_response()
}

fn choice_of(verdict: ReviewVerdict) -> String {
    let meaning = match verdict {
        ReviewVerdict::Accepted => "the run was right",
        ReviewVerdict::Rejected => "the run was not right",
    };
    format!("{}: {meaning}", word_of(verdict))
}

/// Returns the word that the person types: the verdict.
fn word_of(verdict: ReviewVerdict) -> &'static str {
    match verdict {
        ReviewVerdict::Accepted => "accept",
        ReviewVerdict::Rejected => "reject",
    }
}

async fn sign(
    State(own): Shared,
    Path((at, id)): PlaceAndId<ReceiptId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let held = take_held(
        &own.pages,
        &own.held_runs,
        (&format!("/b/{at}/sign-review/{id}"), &sent),
        (at, &id, way_back(at, &id)),
    )?;
    let refused = RefusedReview::of_word(word_of(held.review.statement().verdict), sent);
    if refused.is_refused() {
        return Ok(show_made(&own, held, &refused));
    }
    let signing = own.signing.clone();
    match place
        .act(move |_, client| signing.sign_review(&held, client))
        .await
    {
        Ok(SentSignature(Ok(answer), _)) => {
            let main = html! { h1 { "Reviewed" } p role="status" { (plain(&done_words(&answer))) } (way_back(at, &id)) };
            Ok(companion_page(at, "Reviewed", main).into_response())
        }
        other => after_signature(
            &own.pages,
            other,
            (at, &format!("/b/{at}/open"), way_back(at, &id)),
        ),
    }
}

fn way_back(at: usize, id: &ReceiptId) -> Markup {
    html! {
        ul {
            li { a href=(format!("/b/{at}/review-run/{id}")) { "Load the run again" } }
            li { a href=(format!("/b/{at}/open")) { "Open work" } }
        }
    }
}
