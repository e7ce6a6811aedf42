//! Read access with a key of the roster, by challenge and answer.

use crate::{
    HandlerResult, Route, RouteAccess, RouteCall,
    http::{
        call::answer,
        operation::{json, ok},
    },
};
use documents::Code;
use wire::{AdmissionResponse, Challenge, ChallengeAnswer, ChallengeRequest};

/// Maximum body size in bytes.
const MAX_BYTES: usize = 8 << 10;

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Get a challenge: a text that a person signs with a key of the roster to get a bearer",
        about: "The first of two calls for a person who has a key but no token. The answer contains no secret. A key of \
             the roster gets a challenge also above the rate limit.",
        access: RouteAccess::Signed,
        body: Some(json::<ChallengeRequest>()),
        replies: &[ok::<Challenge>("the text that the key must sign")],
        codes: &[Code::UnknownSigner],
        ..Route::post("/v1/challenges", "challenge", &challenge)
    },
    Route {
        summary: "Exchange a signed challenge for a bearer token that is valid for some minutes",
        about: "The second of two calls. The bearer gives an approver the scope `read`, an operator the scopes \
             `operate` and `read`, and a proposer of the roster the scope `propose`.",
        access: RouteAccess::Signed,
        body: Some(json::<ChallengeAnswer>()),
        replies: &[ok::<AdmissionResponse>("the bearer")],
        codes: &[
            Code::UnknownSigner,
            Code::BadSignature,
            Code::Expired,
            Code::Unauthenticated,
        ],
        ..Route::post("/v1/challenges/answer", "answerChallenge", &answered)
    },
];

async fn challenge(mut call: RouteCall) -> HandlerResult {
    let ChallengeRequest { keyid } = call.read(MAX_BYTES).await?;
    // The creation of a challenge costs only a few hashes and no memory, so a key of the roster gets a challenge even
    // above the rate limit.
    let challenge = call.unless_limited(call.app.boundary.admission.challenge(&keyid))?;
    answer(&Challenge { challenge })
}

async fn answered(mut call: RouteCall) -> HandlerResult {
    let ChallengeAnswer {
        challenge,
        signature,
    } = call.read(MAX_BYTES).await?;
    match call.app.boundary.admission.answer(&challenge, &signature) {
        Ok(admitted) => {
            RouteCall::charge_key(&call.app, &signature.keyid)?;
            answer(&admitted)
        }
        Err(stopped) => {
            call.charge_failure()?;
            Err(stopped)
        }
    }
}
