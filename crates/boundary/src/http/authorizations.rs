//! Routes for complete envelopes, which were signed elsewhere and whose crossing begins immediately.

use crate::{
    HandlerResult, Route, RouteCall,
    http::{
        call::{bytes, read},
        operation::{json, reply},
        proposals::JUDGED,
    },
};
use crossing::fault;
use documents::{Bundle, Envelope, MEDIA_TYPE};

/// Maximum body size in bytes, enough for a payload of 25 KiB and sixteen signatures of 512 bytes in base64.
const MAX_ENVELOPE_BYTES: usize = 128 << 10;
pub static ROUTES: &[Route] = &[Route {
    summary: "Runs a signed authorization once, and returns the receipt with its proofs",
    about: "For an envelope that was signed elsewhere, for example offline. The answer comes when the run has \
         ended. `GET /v1/proposals/{id}/events` follows the run.",
    body: Some(json::<Envelope>()),
    replies: &[reply(
        200,
        MEDIA_TYPE,
        json::<Bundle>(),
        "the receipt's bundle",
    )],
    codes: JUDGED,
    ..Route::post("/v1/authorizations", "submit", &submit)
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
    Ok(bytes(MEDIA_TYPE, crossing.await.map_err(fault)??))
}
