//! Routes of receipts, bundles and their verification.

use axum::http::header::CONTENT_DISPOSITION;

use crate::{
    Field, HandlerResult, MAX_BODY_BYTES, Route, RouteCall,
    http::{
        call::{answer, bytes},
        operation::{field, json, ok, reply},
    },
};
use crossing::fault;
use documents::{Bundle, MEDIA_TYPE, ReceiptId};
use verdict::{BundleReport, RosterTrust, VerifyOptions, bundle_check};
use wire::{ReceiptFiles, ReceiptView};

const RECEIPT_ID: Field = field(
    "id",
    "the receipt's id, `rcp_…`: the proposal's id with another prefix",
);

pub static ROUTES: &[Route] = &[
    Route {
        summary: "A signed receipt and its log entry",
        about: "The signed statement of what ran and how the run ended. Only the proposer of the run and callers \
             with the scope `read` get the receipt.",
        segments: &[RECEIPT_ID],
        replies: &[ok::<ReceiptView>("the receipt")],
        ..Route::get("/v1/receipts/{id}", "receipt", &receipt)
    },
    Route {
        summary: "A receipt with all data that its offline verification needs",
        about: "Save the answer unchanged: `countersign verify` verifies the bundle offline, with only a roster.",
        segments: &[RECEIPT_ID],
        query: &[field(
            "from_roster",
            "leave out the versions of the roster before this one: those who trust it or a later one need no earlier one",
        )],
        replies: &[reply(200, MEDIA_TYPE, json::<Bundle>(), "the bundle")],
        ..Route::get("/v1/receipts/{id}/bundle", "bundle", &bundled)
    },
    Route {
        summary: "The files and outputs that a run left",
        about: "The manifest that the receipt names, and the values of the outputs that the step declares.",
        segments: &[RECEIPT_ID],
        replies: &[ok::<ReceiptFiles>("the files and outputs")],
        ..Route::get("/v1/receipts/{id}/files", "receipt_files", &files)
    },
    Route {
        summary: "Every check of a bundle with its result, by this boundary's roster: convenient, but not \
             independent of the boundary",
        about: "The answer to a bundle is 200 with a report, even if checks fail: read `verified`.",
        body: Some(json::<Bundle>()),
        replies: &[ok::<BundleReport>("the report; `verified` is the result")],
        ..Route::post("/v1/receipts/verify", "verify", &verify)
    },
];

async fn receipt(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    answer(&call.app.boundary.evidence.receipt_in(&call.caller, &id)?.0)
}

async fn files(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    call.found(move |boundary, caller| boundary.evidence.files(caller, &id))
        .await
}

async fn bundled(call: RouteCall) -> HandlerResult {
    let id: ReceiptId = call.path("id")?;
    let first = call.query("from_roster")?;
    let name = format!("attachment; filename=\"{id}.bundle.json\"");
    let bundle = call
        .blocking(move |boundary, caller| boundary.evidence.bundle(caller, &id, first))
        .await?;
    let mut response = bytes(MEDIA_TYPE, bundle);
    let name = name
        .parse()
        .map_err(|_| fault("a receipt's id contains only characters that a header may have"))?;
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Verifies a bundle for the caller. Unlike the result of `countersign verify`, this result requires trust in the
/// boundary.
async fn verify(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BODY_BYTES).await?;
    let _permit = call.app.boundary.crossing.capacity().permit()?;
    call.found(move |boundary, _| {
        let trust = RosterTrust::Chain(Box::new(boundary.crossing.state().rosters.clone()));
        bundle_check::verify(&body, &trust, VerifyOptions::default()).map_err(fault)
    })
    .await
}
