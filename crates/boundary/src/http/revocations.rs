//! The route for revocations.

use crate::{
    HandlerResult, Route, RouteAccess, RouteCall,
    http::operation::{json, ok},
};
use documents::{Code, Envelope};
use wire::RevocationView;

/// Maximum body size in bytes, enough for a signed revocation of 8 KiB in base64.
const MAX_BYTES: usize = 32 << 10;

pub static ROUTES: &[Route] = &[Route {
    summary: "Revoke a key or a token, or freeze the boundary, with a signed revocation",
    about: "The call needs no bearer: the revocation is a DSSE envelope with one signature. A key is revoked by its \
         holder or an operator, a token by an owner of the token or an operator, and the epoch by an approver or an \
         operator. The revocation of the epoch is the freeze: it ends all proposals and runs, and nothing is proposed or \
         run until an operator of the host thaws the boundary. A second revocation of the same subject adds no log entry.",
    access: RouteAccess::Signed,
    body: Some(json::<Envelope>()),
    replies: &[ok::<RevocationView>("the revocation is in the log")],
    codes: &[
        Code::WrongBoundary,
        Code::UnknownSigner,
        Code::BadSignature,
        Code::NotPermittedSigner,
        Code::Revoked,
        Code::WrongState,
        Code::NotFound,
    ],
    ..Route::post("/v1/revocations", "revoke", &revoke)
}];

async fn revoke(mut call: RouteCall) -> HandlerResult {
    let revocation = call.signed(MAX_BYTES).await?;
    call.finish_signed(|boundary| async move {
        let done = boundary.proposals.revoke(&revocation).await;
        // Update `/ready` at once, because a revoked key can be in the roster, and a step can lack approvers now.
        let _ = boundary.health.note_seal();
        done
    })
    .await
}
