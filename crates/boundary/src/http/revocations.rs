//! The route for revocations.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, HandlerResult, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
    },
};
use documents::{Code, Envelope};
use wire::RevocationView;

/// Maximum body size in bytes, enough for a signed revocation of 8 KiB in base64.
const MAX_BYTES: usize = 32 << 10;

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Post,
    path: "/v1/revocations",
    name: "revoke",
    summary: "Revoke a key or a token, or freeze the boundary, with a signed revocation",
    about: "The call needs no bearer: the revocation is a DSSE envelope with one signature. A key is revoked by its \
         holder or an operator, a token by an owner of the token or an operator, and the epoch by an approver or an \
         operator. The revocation of the epoch is the freeze: it ends all proposals and runs, and nothing is proposed or \
         run until an operator of the host thaws the boundary. A second revocation of the same subject adds no log entry.",
    segments: &[],
    access: RouteAccess::Signed,
    query: &[],
    headers: &[],
    body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Envelope>)),
    replies: &[ok(
        SchemaGenerator::subschema_for::<RevocationView>,
        "the revocation is in the log",
    )],
    codes: &[
        Code::WrongBoundary,
        Code::UnknownSigner,
        Code::BadSignature,
        Code::NotPermittedSigner,
        Code::Revoked,
        Code::WrongState,
        Code::NotFound,
    ],
    handler: |call| Box::pin(revoke(call)),
}];

async fn revoke(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let revocation: Envelope = read(&body)?;
    call.charge_signatures(&revocation.signatures)?;
    let done = call
        .finish(|boundary, _| async move {
            let done = boundary.proposals.revoke(&revocation).await;
            // A revoked key of the roster, and a step that lacks approvers now, stand in `/ready` at once.
            let _ = boundary.health.note_seal();
            done
        })
        .await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}
