//! Admission of CI jobs by their ID tokens.

use crate::{
    HandlerResult, Route, RouteAccess, RouteCall,
    http::{
        call::answer,
        operation::{json, ok},
    },
};
use crossing::Stopped;
use documents::Code;
use wire::{AdmissionResponse, IdTokenBody};

/// Maximum body size in bytes: an ID token of the maximum size.
const MAX_BYTES: usize = 17 << 10;

pub static ROUTES: &[Route] = &[Route {
    summary: "Exchange the ID token of a CI job for a bearer token that is valid for ten minutes",
    about: "The ID token opens the one token whose binding names its issuer and its claims (`countersign token create \
             --oidc`). The bearer has the rights of this token, and ends with it. Each ID token can be used once. A refusal \
             names the claim that differs.",
    access: RouteAccess::Open,
    body: Some(json::<IdTokenBody>()),
    replies: &[ok::<AdmissionResponse>("the bearer")],
    codes: &[Code::TooLarge, Code::BadSignature],
    ..Route::post("/v1/admissions", "admit", &admit)
}];

async fn admit(mut call: RouteCall) -> HandlerResult {
    let IdTokenBody { id_token } = call.read(MAX_BYTES).await?;
    let app = call.app.clone();
    // Before the verification, only the caller is charged: for the call, and by the penalty below. So the boundary
    // verifies only few signatures per second for one address. Each verification takes about 0.05 ms.
    let admitted = call.finish(|boundary, _| async move {
        boundary
            .admission
            .exchange(&id_token, |issuer| RouteCall::charge_issuer(&app, issuer))
            .await
    });
    match admitted.await {
        Ok(admitted) => answer(&admitted),
        Err(stopped) => {
            // The job is not at fault if its issuer does not answer or has many jobs.
            if !matches!(&stopped, Stopped::Refused(refusal) if refusal.code.is_temporary() || refusal.code == Code::RateLimited)
            {
                // The answer is the first refusal, because the job needs its reason. A caller above the rate limit is
                // refused at its next call.
                let _limited = call.charge_failure();
            }
            Err(stopped)
        }
    }
}
