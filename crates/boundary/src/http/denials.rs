//! Routes for denials of a proposal, or of a statement that the boundary may not have.

use crate::{
    HandlerResult, PROPOSAL_ID, Route, RouteAccess, RouteCall,
    http::{
        operation::{field, json, ok},
        proposals::PROPOSAL,
    },
};
use documents::{AuthorizationDigest, Base64, Code, Envelope, ProposalId};
use wire::{DenialView, DenialsView, StatementDenial};

/// Maximum body size in bytes, enough for a signed denial of 8 KiB and a statement of 25 KiB, both in base64.
const MAX_BYTES: usize = 64 << 10;
/// Codes of the refusals with which the boundary may answer a denial or a review of a run.
pub const CODES: &[Code] = &[
    Code::WrongBoundary,
    Code::UnknownSigner,
    Code::BadSignature,
    Code::NotPermittedSigner,
    Code::SelfApproval,
    Code::Revoked,
    Code::WrongState,
];

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Deny a proposal with a signed denial: the boundary ends the proposal, or kills its run",
        about: "The call needs no bearer: the denial is a DSSE envelope that an approver signed over the digest of \
             the authorization.",
        segments: &[PROPOSAL_ID],
        access: RouteAccess::Signed,
        body: Some(json::<Envelope>()),
        replies: &[PROPOSAL],
        codes: CODES,
        ..Route::post("/v1/proposals/{id}/denial", "deny", &deny)
    },
    Route {
        summary: "Deny a statement that was made elsewhere: the statement never runs, even if the boundary has not \
             seen the statement",
        about: "The call needs no bearer. `payload` is the statement, which defines who can deny the statement. The \
             boundary logs the denial, refuses the statement as `denied` until `kept_until`, and kills a run of the \
             statement. For statements that the boundary has not seen, the boundary accepts 100 denials of one \
             approver in a day, and 1,000 denials of all approvers.",
        access: RouteAccess::Signed,
        body: Some(json::<StatementDenial>()),
        replies: &[ok::<DenialView>("the denial is in the log")],
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
        ..Route::post("/v1/denials", "denyStatement", &deny_statement)
    },
    Route {
        summary: "The denials of a statement, also of a statement that the boundary has not seen",
        about: "The caller needs the scope `read` for all steps. An approver who received a statement calls this \
             path before signing the statement.",
        segments: &[field(
            "digest",
            "`sha256:` and 64 hex digits: the digest of the statement's payload",
        )],
        replies: &[ok::<DenialsView>(
            "the denials of the statement; the list can be empty",
        )],
        ..Route::get("/v1/denials/{digest}", "denials", &denials)
    },
];

async fn deny(mut call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    let denial = call.signed(MAX_BYTES).await?;
    call.finish_signed(|boundary| async move { boundary.proposals.deny(&id, &denial).await })
        .await
}

async fn denials(call: RouteCall) -> HandlerResult {
    let digest: AuthorizationDigest = call.path("digest")?;
    call.found(move |boundary, caller| boundary.proposals.denials(caller, &digest))
        .await
}

async fn deny_statement(mut call: RouteCall) -> HandlerResult {
    let StatementDenial { denial, payload } = call.read(MAX_BYTES).await?;
    call.charge_signatures(&denial.signatures)?;
    let payload = Base64::Lenient.decode("/payload", &payload)?;
    call.finish_signed(|boundary| async move {
        boundary.proposals.deny_statement(&denial, &payload).await
    })
    .await
}
