//! Admission of CI jobs by their ID tokens.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::http::call::{RouteCall, answer, read};
use crate::http::operation::{BodyShape, RouteAccess, Verb, ok};
use crate::http::route::{HandlerResult, Route};
use crate::seal::refusal::Stopped;
use documents::record::code::Code;
use wire::api::body::AdmissionResponse;
use wire::api::oidc::{IdTokenBody, WantedAudience};

/// Maximum body size in bytes: an ID token of the maximum size.
const MAX_BYTES: usize = 17 << 10;

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/admissions",
        name: "audience",
        summary: "The audience for which a CI job must get an ID token",
        about: "For a job that does not know the id of the boundary.",
        segments: &[],
        access: RouteAccess::Open,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(SchemaGenerator::subschema_for::<WantedAudience>, "the value of the claim `aud`")],
        codes: &[],
        handler: |call| Box::pin(wanted(call)),
    },
    Route {
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
        body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<IdTokenBody>)),
        replies: &[ok(SchemaGenerator::subschema_for::<AdmissionResponse>, "the bearer")],
        codes: &[Code::TooLarge, Code::BadSignature],
        handler: |call| Box::pin(admit(call)),
    },
];

async fn wanted(call: RouteCall) -> HandlerResult {
    answer(StatusCode::OK, &WantedAudience { audience: call.app.boundary.admission.audience() })
}

async fn admit(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let IdTokenBody { id_token } = read(&body)?;
    let admitted = match call.app.boundary.admission.present(&id_token) {
        Ok(presented) => {
            call.charge_issuer(presented.issuer())?;
            call.finish(|boundary, _| async move { boundary.admission.exchange(presented).await }).await
        }
        Err(stopped) => Err(stopped),
    };
    match admitted {
        Ok((bearer, name, expires_at)) => answer(StatusCode::OK, &AdmissionResponse { bearer, name, expires_at }),
        Err(stopped) => {
            // An issuer that does not answer is not the fault of the job.
            if !matches!(&stopped, Stopped::Refused(refusal) if refusal.code == Code::Busy) {
                call.charge_failure()?;
            }
            Err(stopped)
        }
    }
}
