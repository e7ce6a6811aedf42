//! Routes for reviews of emergencies and of runs with an unknown end.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, Field, HandlerResult, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
    },
};
use documents::{Code, Envelope, ReceiptId};
use wire::{ReviewedView, UnsettledList};

/// Maximum body size in bytes, enough for a signed review of 8 KiB in base64.
const MAX_BYTES: usize = 32 << 10;

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/receipts/{id}/reviews",
        name: "review",
        summary: "Review an emergency, or say how a run ended whose end nobody saw",
        about: "The call needs no bearer: the review is a DSSE envelope with one signature, by a person who could approve the \
             step and who is not excluded from the run. With enough reviews, the emergency is closed or the end is settled, \
             and a grant of the run goes on. A second review of the same person replaces the first.",
        segments: &[Field {
            name: "id",
            about: "the receipt's id, `rcp_…`",
        }],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Envelope>)),
        replies: &[ok(
            SchemaGenerator::subschema_for::<ReviewedView>,
            "the review is in the log",
        )],
        codes: &[
            Code::WrongBoundary,
            Code::UnknownSigner,
            Code::BadSignature,
            Code::NotPermittedSigner,
            Code::SelfApproval,
            Code::Revoked,
            Code::WrongState,
        ],
        handler: |call| Box::pin(review(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/unsettled",
        name: "unsettled",
        summary: "The emergencies without a review, and the runs whose end nobody has settled",
        about: "Callers see their own runs, and the runs of steps that they may read. The steps of the runbook with \
             `check=true` can show what a run left.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<UnsettledList>,
            "the runs, newest first",
        )],
        codes: &[],
        handler: |call| Box::pin(unsettled(call)),
    },
];

async fn review(mut call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let body = call.body(MAX_BYTES).await?;
    let review: Envelope = read(&body)?;
    call.charge_signatures(&review.signatures)?;
    let done = call
        .finish(|boundary, _| async move { boundary.proposals.review(&id, &review).await })
        .await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}

async fn unsettled(call: RouteCall) -> HandlerResult {
    let list = call
        .blocking(move |boundary, caller| boundary.proposals.unsettled(caller))
        .await?;
    answer(StatusCode::OK, &list)
}
