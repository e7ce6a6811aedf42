//! Admission of CI jobs by their ID tokens.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, HandlerResult, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
    },
};
use crossing::Stopped;
use documents::Code;
use wire::{AdmissionResponse, IdTokenBody};

/// Maximum body size in bytes: an ID token of the maximum size.
const MAX_BYTES: usize = 17 << 10;

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Post,
    path: "/v1/admissions",
    name: "admit",
    summary: "Exchange the ID token of a CI job for a bearer token that is valid for ten minutes",
    about: "The ID token opens the one token whose binding names its issuer and its claims (`countersign token create \
             --oidc`). The bearer has the rights of this token, and ends with it. Each ID token can be used once. A refusal \
             names the claim that differs.",
    segments: &[],
    access: RouteAccess::Open,
    query: &[],
    headers: &[],
    body: Some(BodyShape::Json(
        SchemaGenerator::subschema_for::<IdTokenBody>,
    )),
    replies: &[ok(
        SchemaGenerator::subschema_for::<AdmissionResponse>,
        "the bearer",
    )],
    codes: &[Code::TooLarge, Code::BadSignature],
    handler: |call| Box::pin(admit(call)),
}];

async fn admit(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let IdTokenBody { id_token } = read(&body)?;
    let app = call.app.clone();
    // Before the verification, only the caller is charged: by the call and by the penalty below. So the boundary verifies few
    // signatures per second for an address, of which each costs about 0.05 ms.
    let admitted = call.finish(|boundary, _| async move {
        boundary
            .admission
            .exchange(&id_token, |issuer| RouteCall::charge_issuer(&app, issuer))
            .await
    });
    match admitted.await {
        Ok((bearer, name, expires_at)) => answer(
            StatusCode::OK,
            &AdmissionResponse {
                bearer,
                name,
                expires_at,
            },
        ),
        Err(stopped) => {
            // An issuer that does not answer, or that has many jobs, is not the fault of the job.
            if !matches!(&stopped, Stopped::Refused(refusal) if refusal.code.is_temporary() || refusal.code == Code::RateLimited)
            {
                // The job needs the reason. If the caller has reached the rate limit, its next call is refused.
                let _limited = call.charge_failure();
            }
            Err(stopped)
        }
    }
}
