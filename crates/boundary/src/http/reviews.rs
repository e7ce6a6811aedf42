//! Routes for reviews of emergencies and of runs with an unknown end.

use crate::{
    HandlerResult, Route, RouteAccess, RouteCall,
    http::{
        denials::CODES,
        operation::{field, json, ok},
    },
};
use documents::{Envelope, ReceiptId};
use wire::{ReviewedView, UnsettledList};

/// Maximum body size in bytes, enough for a signed review of 8 KiB in base64.
const MAX_BYTES: usize = 32 << 10;

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Review an emergency, or say how a run ended whose end nobody saw",
        about: "The call needs no bearer: the review is a DSSE envelope with one signature, by a person who could approve the \
             step and who is not excluded from the run. With enough reviews, the emergency is closed or the end is settled, \
             and a grant of the run goes on. A second review of the same person replaces the first.",
        segments: &[field("id", "the receipt's id, `rcp_…`")],
        access: RouteAccess::Signed,
        body: Some(json::<Envelope>()),
        replies: &[ok::<ReviewedView>("the review is in the log")],
        codes: CODES,
        ..Route::post("/v1/receipts/{id}/reviews", "review", &review)
    },
    Route {
        summary: "The emergencies without a review, and the runs whose end nobody has settled",
        about: "Callers see their own runs, and the runs of steps that they may read. The steps of the runbook with \
             `check=true` can show what a run left.",
        replies: &[ok::<UnsettledList>("the runs, newest first")],
        ..Route::get("/v1/unsettled", "unsettled", &unsettled)
    },
];

async fn review(mut call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let review = call.signed(MAX_BYTES).await?;
    call.finish_signed(|boundary| async move { boundary.proposals.review(&id, &review).await })
        .await
}

async fn unsettled(call: RouteCall) -> HandlerResult {
    call.found(|boundary, caller| boundary.proposals.unsettled(caller))
        .await
}
