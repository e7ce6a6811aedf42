//! Routes for standing grants.

use axum::http::StatusCode;

use crate::{
    Field, HandlerResult, Reply, Route, RouteAccess, RouteCall, fail,
    http::{
        call::{answer, answer_with},
        operation::{field, json, ok},
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

const GRANT: Reply = ok::<GrantView>("the grant as it is now");
const GRANT_ID: Field = field("id", "the grant's id, `grt_…`");

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Draft a standing grant; the answer contains the bytes to sign",
        about: "A standing grant permits several runs within limits. Nobody signs them one by one: enough approvers of every \
             step sign `payload` once. The body has the terms of a draft, or a grant that was made elsewhere. A grant that is \
             wider than policy permits is refused.",
        body: Some(json::<GrantRequest>()),
        replies: &[Reply {
            status: 201,
            about: "the grant, which waits for signatures or is in force",
            ..GRANT
        }],
        codes: JUDGED,
        ..Route::post("/v1/grants", "propose-grant", &propose)
    },
    Route {
        summary: "The drafts and the grants whose end has not come",
        about: "Callers see the grants that they may use or asked for, and those of steps that they may read. The boundary \
             reads only the first 1,000 of them. `GET /v1/grants/{id}` also finds the others.",
        replies: &[ok::<GrantList>("the grants, in the order of their ends")],
        ..Route::get("/v1/grants", "grants", &list)
    },
    Route {
        summary: "One grant",
        about: "The terms of the grant, its signatures and its uses so far.",
        segments: &[GRANT_ID],
        replies: &[GRANT],
        codes: &[Code::NotFound],
        ..Route::get("/v1/grants/{id}", "grant", &show)
    },
    Route {
        summary: "Add signatures to a draft; with enough of them, the grant is in force",
        about: "The call needs no bearer: the signatures authorize it. Each is an Ed25519 signature or an SSHSIG over the PAE \
             of the payload. The quorum of every step of the grant must be met.",
        segments: &[GRANT_ID],
        access: RouteAccess::Signed,
        body: Some(json::<Signatures>()),
        replies: &[GRANT],
        codes: JUDGED,
        ..Route::post("/v1/grants/{id}/signatures", "sign-grant", &sign)
    },
    Route {
        summary: "Take a draft back; only its proposer and operators can",
        about: "A grant of the log ends with a revocation.",
        segments: &[GRANT_ID],
        replies: &[GRANT],
        codes: &[Code::NotFound, Code::WrongState],
        ..Route::post("/v1/grants/{id}/cancellation", "withdraw-grant", &withdraw)
    },
];

async fn propose(mut call: RouteCall) -> HandlerResult {
    let request: GrantRequest = call.read(MAX_BYTES).await?;
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
            return fail(
                Code::Malformed,
                "send exactly one of `draft` and `envelope`",
            );
        }
    };
    answer_with(StatusCode::CREATED, &view)
}

async fn list(call: RouteCall) -> HandlerResult {
    call.found(|boundary, caller| boundary.proposals.grants(caller))
        .await
}

async fn show(call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    answer(&call.app.boundary.proposals.grant(&call.caller, &id)?)
}

async fn withdraw(call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    let view = call
        .finish(
            |boundary, caller| async move { boundary.proposals.withdraw_grant(&caller, &id).await },
        )
        .await?;
    answer(&view)
}

async fn sign(call: RouteCall) -> HandlerResult {
    let id: GrantId = call.path("id")?;
    call.sign(MAX_BYTES, |boundary, signatures, app| async move {
        let proposals = &boundary.proposals;
        proposals
            .sign_grant(&id, &signatures, |keyid| RouteCall::charge_key(&app, keyid))
            .await
    })
    .await
}
