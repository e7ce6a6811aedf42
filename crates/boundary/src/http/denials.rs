//! Routes for denials of a proposal, or of a statement that the boundary may not have.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, Field, HandlerResult, PROPOSAL_ID, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
        proposals::PROPOSAL,
    },
};
use documents::{AuthorizationDigest, Base64, Code, Envelope, ProposalId};
use wire::{DenialView, DenialsView, StatementDenial};

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
        summary: "Deny a proposal with a signed denial: the boundary ends the proposal, or kills its run",
        about: "The call needs no bearer: the denial is a DSSE envelope that an approver signed over the digest of \
             the authorization.",
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
        summary: "Deny a statement that was made elsewhere: the statement never runs, even if the boundary has not \
             seen the statement",
        about: "The call needs no bearer. `payload` is the statement, which defines who can deny the statement. The \
             boundary logs the denial, refuses the statement as `denied` until `kept_until`, and kills a run of the \
             statement. For statements that the boundary has not seen, the boundary accepts 100 denials of one \
             approver in a day, and 1,000 denials of all approvers.",
        segments: &[],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<StatementDenial>,
        )),
        replies: &[ok(
            SchemaGenerator::subschema_for::<DenialView>,
            "the denial is in the log",
        )],
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
        summary: "The denials of a statement, also of a statement that the boundary has not seen",
        about: "The caller needs the scope `read` for all steps. An approver who received a statement calls this \
             path before signing the statement.",
        segments: &[Field {
            name: "digest",
            about: "`sha256:` and 64 hex digits: the digest of the statement's payload",
        }],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<DenialsView>,
            "the denials of the statement; the list can be empty",
        )],
        codes: &[],
        handler: |call| Box::pin(denials(call)),
    },
];

async fn deny(mut call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    let body = call.body(MAX_BYTES).await?;
    let denial: Envelope = read(&body)?;
    call.charge_signatures(&denial.signatures)?;
    let done = call
        .finish(|boundary, _| async move { boundary.proposals.deny(&id, &denial).await })
        .await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}

async fn denials(call: RouteCall) -> HandlerResult {
    let digest: AuthorizationDigest = call.path("digest")?;
    answer(
        StatusCode::OK,
        &call
            .blocking(move |boundary, caller| boundary.proposals.denials(caller, &digest))
            .await?,
    )
}

async fn deny_statement(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let StatementDenial { denial, payload } = read(&body)?;
    call.charge_signatures(&denial.signatures)?;
    let payload = Base64::Lenient.decode("/payload", &payload)?;
    let done = call
        .finish(
            |boundary, _| async move { boundary.proposals.deny_statement(&denial, &payload).await },
        )
        .await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}
