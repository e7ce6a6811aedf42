//! Routes for standing grants.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, Field, HandlerResult, Reply, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
        problem::refuse,
    },
};
use documents::{Code, GrantId};
use wire::{GrantList, GrantRequest, GrantView, Signatures};

/// Maximum body size in bytes, enough for the largest grant with its signatures in base64.
const MAX_BYTES: usize = 128 << 10;

/// Codes of the refusals with which the boundary may answer a grant.
const JUDGED: &[Code] = &[
    Code::UnknownStep,
    Code::StepChanged,
    Code::WrongBoundary,
    Code::UnknownSigner,
    Code::BadSignature,
    Code::NotPermittedSigner,
    Code::SelfApproval,
    Code::Expired,
    Code::Revoked,
    Code::PolicyDenied,
    Code::ContextChanged,
    Code::NotGranted,
    Code::NotGrantable,
    Code::SandboxUnavailable,
    Code::WrongState,
];

const GRANT: Reply = ok(
    SchemaGenerator::subschema_for::<GrantView>,
    "the grant as it is now",
);
const GRANT_ID: Field = Field {
    name: "id",
    about: "the grant's id, `grt_…`",
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/grants",
        name: "propose-grant",
        summary: "Draft a standing grant; the answer contains the bytes to sign",
        about: "A standing grant permits several runs within limits. Nobody signs them one by one: enough approvers of every \
             step sign `payload` once. The body has the terms of a draft, or a grant that was made elsewhere. A grant that is \
             wider than policy permits is refused.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<GrantRequest>,
        )),
        replies: &[Reply {
            status: 201,
            about: "the grant, which waits for signatures or is in force",
            ..GRANT
        }],
        codes: JUDGED,
        handler: |call| Box::pin(propose(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/grants",
        name: "grants",
        summary: "The drafts and the grants whose end has not come",
        about: "Callers see the grants that they may use or asked for, and those of steps that they may read. The boundary \
             reads only the first 1,000 of them. `GET /v1/grants/{id}` also finds the others.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<GrantList>,
            "the grants, in the order of their ends",
        )],
        codes: &[],
        handler: |call| Box::pin(list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/grants/{id}",
        name: "grant",
        summary: "One grant",
        about: "The terms of the grant, its signatures and its uses so far.",
        segments: &[GRANT_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[GRANT],
        codes: &[Code::NotFound],
        handler: |call| Box::pin(show(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/grants/{id}/signatures",
        name: "sign-grant",
        summary: "Add signatures to a draft; with enough of them, the grant is in force",
        about: "The call needs no bearer: the signatures authorize it. Each is an Ed25519 signature or an SSHSIG over the PAE \
             of the payload. The quorum of every step of the grant must be met.",
        segments: &[GRANT_ID],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<Signatures>,
        )),
        replies: &[GRANT],
        codes: JUDGED,
        handler: |call| Box::pin(sign(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/grants/{id}/cancellation",
        name: "withdraw-grant",
        summary: "Take a draft back; only its proposer and operators can",
        about: "A grant of the log ends with a revocation.",
        segments: &[GRANT_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[GRANT],
        codes: &[Code::NotFound, Code::WrongState],
        handler: |call| Box::pin(withdraw(call)),
    },
];

async fn propose(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let request: GrantRequest = read(&body)?;
    let view = match (request.draft, request.envelope) {
        (Some(terms), None) => {
            call.finish(|boundary, caller| async move {
                boundary.proposals.draft_grant(&caller, terms).await
            })
            .await?
        }
        (None, Some(envelope)) => {
            call.charge_signatures(&envelope.signatures)?;
            call.finish(|boundary, caller| async move {
                boundary.proposals.submit_grant(&caller, &envelope).await
            })
            .await?
        }
        _ => {
            return Err(refuse(
                Code::Malformed,
                "send exactly one of `draft` and `envelope`",
            ));
        }
    };
    answer(StatusCode::CREATED, &view)
}

async fn list(call: RouteCall) -> HandlerResult {
    let list = call
        .blocking(move |boundary, caller| boundary.proposals.grants(caller))
        .await?;
    answer(StatusCode::OK, &list)
}

async fn show(call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    answer(
        StatusCode::OK,
        &call.app.boundary.proposals.grant(&call.caller, &id)?,
    )
}

async fn withdraw(call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    let view = call
        .finish(
            |boundary, caller| async move { boundary.proposals.withdraw_grant(&caller, &id).await },
        )
        .await?;
    answer(StatusCode::OK, &view)
}

async fn sign(mut call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    // Read the body before taking the permit, so that a slow sender does not occupy a permit.
    let body = call.body(MAX_BYTES).await?;
    let permit = call.app.boundary.crossing.capacity().permit()?;
    let Signatures { signatures } = read(&body)?;
    call.charge_signatures(&signatures)?;
    let app = call.app.clone();
    let done = call
        .finish(|boundary, _| async move {
            let view = boundary
                .proposals
                .sign_grant(&id, &signatures, |keyid| RouteCall::charge_key(&app, keyid))
                .await;
            drop(permit);
            view
        })
        .await;
    answer(StatusCode::OK, &call.unless_limited(done)?)
}
