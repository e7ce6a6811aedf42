//! Routes of receipts, bundles and their verification.

use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, Field, HandlerResult, MAX_BODY_BYTES, Reply, Route, RouteAccess, RouteCall, Verb,
    evidence::LoggedReceipt,
    http::{
        call::{answer, bytes},
        operation::ok,
    },
};
use crossing::fault;
use documents::{Bundle, MEDIA_TYPE, ReceiptId};
use verdict::{BundleReport, RosterTrust, VerifyOptions, bundle_check};
use wire::{ReceiptFiles, ReceiptView};

const RECEIPT_ID: Field = Field {
    name: "id",
    about: "the receipt's id, `rcp_…`: the proposal's id with another prefix",
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/receipts/{id}",
        name: "receipt",
        summary: "A signed receipt and its log entry",
        about: "The signed statement of what ran and how the run ended. Only the proposer of the run and callers \
             with the scope `read` get the receipt.",
        segments: &[RECEIPT_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<ReceiptView>,
            "the receipt",
        )],
        codes: &[],
        handler: |call| Box::pin(receipt(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/receipts/{id}/bundle",
        name: "bundle",
        summary: "A receipt with all data that its offline verification needs",
        about: "Save the answer unchanged: `countersign verify` verifies the bundle offline, with only a roster.",
        segments: &[RECEIPT_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[Reply {
            status: 200,
            media: MEDIA_TYPE,
            shape: BodyShape::Json(SchemaGenerator::subschema_for::<Bundle>),
            about: "the bundle",
        }],
        codes: &[],
        handler: |call| Box::pin(bundled(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/receipts/{id}/files",
        name: "receipt_files",
        summary: "The files and outputs that a run left",
        about: "The manifest that the receipt names, and the values of the outputs that the step declares.",
        segments: &[RECEIPT_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<ReceiptFiles>,
            "the files and outputs",
        )],
        codes: &[],
        handler: |call| Box::pin(files(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/receipts/verify",
        name: "verify",
        summary: "Every check of a bundle with its result, by this boundary's roster: convenient, but not \
             independent of the boundary",
        about: "The answer to a bundle is 200 with a report, even if checks fail: read `verified`.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Bundle>)),
        replies: &[ok(
            SchemaGenerator::subschema_for::<BundleReport>,
            "the report; `verified` is the result",
        )],
        codes: &[],
        handler: |call| Box::pin(verify(call)),
    },
];

async fn receipt(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let LoggedReceipt {
        id,
        index,
        envelope,
        unknown,
    } = call
        .app
        .boundary
        .evidence
        .receipt_envelope(&call.caller, &id)?;
    answer(
        StatusCode::OK,
        &ReceiptView {
            id,
            index,
            envelope,
            end_unknown_because: unknown,
        },
    )
}

async fn files(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let files = call
        .blocking(move |boundary, caller| boundary.evidence.files(caller, &id))
        .await?;
    answer(StatusCode::OK, &files)
}

async fn bundled(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let name = format!("attachment; filename=\"{id}.bundle.json\"");
    let bundle = call
        .blocking(move |boundary, caller| boundary.evidence.bundle(caller, &id))
        .await?;
    let mut response = bytes(StatusCode::OK, MEDIA_TYPE, bundle);
    let name = name
        .parse()
        .map_err(|_| fault(&"a receipt's id contains only characters that a header may have"))?;
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Verifies a bundle for the caller. Unlike the result of `countersign verify`, this result requires trust in the
/// boundary.
async fn verify(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BODY_BYTES).await?;
    let _permit = call.app.boundary.crossing.capacity().permit()?;
    let report = call
        .blocking(move |boundary, _| {
            let trust = RosterTrust::Chain(Box::new(boundary.crossing.state().rosters.clone()));
            bundle_check::verify(&body, &trust, VerifyOptions::default())
                .map_err(|error| fault(&error))
        })
        .await?;
    answer(StatusCode::OK, &report)
}
