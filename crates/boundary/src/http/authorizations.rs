//! Routes for complete envelopes, which were signed elsewhere and whose crossing begins immediately.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, HandlerResult, Reply, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{bytes, joined, read},
        proposals::JUDGED,
    },
};
use documents::{Bundle, Envelope, MEDIA_TYPE};

/// Maximum body size in bytes, enough for a payload of 20 KiB and sixteen signatures of 512 bytes in base64.
const MAX_ENVELOPE_BYTES: usize = 128 << 10;
pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Post,
    path: "/v1/authorizations",
    name: "submit",
    summary: "Runs a signed authorization once, and returns the receipt with its proofs",
    about: "For an envelope that was signed elsewhere, for example offline. The answer comes when the run has \
         ended. `GET /v1/proposals/{id}/events` follows the run.",
    segments: &[],
    access: RouteAccess::Known,
    query: &[],
    headers: &[],
    body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Envelope>)),
    replies: &[Reply {
        status: 200,
        media: MEDIA_TYPE,
        shape: BodyShape::Json(SchemaGenerator::subschema_for::<Bundle>),
        about: "the receipt's bundle",
    }],
    codes: JUDGED,
    handler: |call| Box::pin(submit(call)),
}];

async fn submit(mut call: RouteCall) -> HandlerResult {
    // Read the body before taking the permit, so that a slow sender does not occupy a permit.
    let body = call.body(MAX_ENVELOPE_BYTES).await?;
    let permit = call.app.boundary.crossing.capacity().permit()?;
    let envelope: Envelope = read(&body)?;
    drop(body);
    call.charge_signatures(&envelope.signatures)?;
    let (boundary, caller) = (call.app.boundary.clone(), call.caller.clone());
    // A separate task continues the crossing if the client disconnects.
    let crossing = call.app.work(async move {
        let receipted = boundary.proposals.submit(&caller, envelope, permit).await?;
        boundary.evidence.bundle_of(&receipted)
    })?;
    Ok(bytes(StatusCode::OK, MEDIA_TYPE, joined(crossing.await)?))
}
