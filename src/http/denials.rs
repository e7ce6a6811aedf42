//! Routes for denials of a proposal, or of a statement that the boundary may not have.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::boundary::view::{DenialView, DenialsView};
use crate::crypto::digest::AuthorizationDigest;
use crate::http::api::StatementDenial;
use crate::http::call::{RouteCall, answer, read};
use crate::http::operation::{BodyShape, Field, RouteAccess, Verb, ok};
use crate::http::proposals::{PROPOSAL, PROPOSAL_ID};
use crate::http::route::{HandlerResult, Route};
use crate::record::code::Code;
use crate::record::envelope::{Base64, Envelope};
use crate::record::ident::ProposalId;

/// Maximum body size in bytes, enough for a signed denial of 8 KiB and a statement of 20 KiB, both in base64.
const MAX_BYTES: usize = 64 << 10;
/// Codes of the refusals with which the boundary may answer a denial.
const CODES: &[Code] = &[
    Code::WrongBoundary,
    Code::UnknownSigner,
    Code::BadSignature,
    Code::NotPermittedSigner,
    Code::SelfApproval,
    Code::Revoked,
    Code::WrongState,
];

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/proposals/{id}/denial",
        name: "deny",
        summary: "A signed denial: withdraws the proposal, or kills its run",
        about: "Needs no bearer: the denial is a DSSE envelope that an approver signed over the digest of the authorization.",
        segments: &[PROPOSAL_ID],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Envelope>)),
        replies: &[PROPOSAL],
        codes: CODES,
        handler: |call| Box::pin(deny(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/denials",
        name: "denyStatement",
        summary: "A signed denial of a statement that was made elsewhere: it never runs, also where the boundary has not seen it",
        about: "Needs no bearer. `payload` is the statement, which says who may deny it. The boundary logs the denial and refuses the statement as `denied` until `kept_until`; a run of it is killed. Of statements that the boundary has not seen, 100 denials of one approver are taken in a day, and 1,000 of all.",
        segments: &[],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<StatementDenial>)),
        replies: &[ok(SchemaGenerator::subschema_for::<DenialView>, "the denial is in the log")],
        codes: &[
            Code::WrongBoundary,
            Code::UnknownSigner,
            Code::BadSignature,
            Code::NotPermittedSigner,
            Code::SelfApproval,
            Code::Revoked,
            Code::WrongState,
            Code::Expired,
        ],
        handler: |call| Box::pin(deny_statement(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/denials/{digest}",
        name: "denials",
        summary: "The denials of a statement, also of one that the boundary has not seen",
        about: "Needs the scope `read` for all steps. An approver who was handed a statement asks before signing it.",
        segments: &[Field {
            name: "digest",
            about: "`sha256:` and 64 hex digits: the digest of the statement's payload",
        }],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(SchemaGenerator::subschema_for::<DenialsView>, "its denials, or none")],
        codes: &[],
        handler: |call| Box::pin(denials(call)),
    },
];

async fn deny(mut call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    let body = call.body(MAX_BYTES).await?;
    let denial: Envelope = read(&body)?;
    call.charge_signatures(&denial.signatures)?;
    let done = call.finish(|boundary, _| async move { boundary.proposals.deny(&id, &denial).await }).await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}

async fn denials(call: RouteCall) -> HandlerResult {
    let digest: AuthorizationDigest = call.path("digest")?;
    answer(StatusCode::OK, &call.blocking(move |boundary, caller| boundary.proposals.denials(caller, &digest)).await?)
}

async fn deny_statement(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let StatementDenial { denial, payload } = read(&body)?;
    call.charge_signatures(&denial.signatures)?;
    let payload = Base64::Lenient.decode("/payload", &payload)?;
    let done =
        call.finish(|boundary, _| async move { boundary.proposals.deny_statement(&denial, &payload).await }).await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}
