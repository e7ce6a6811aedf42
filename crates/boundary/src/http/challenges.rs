//! Read access with a key of the roster, by challenge and answer.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, HandlerResult, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
    },
};
use documents::Code;
use wire::{AdmissionResponse, Challenge, ChallengeAnswer, ChallengeRequest};

/// Maximum body size in bytes.
const MAX_BYTES: usize = 8 << 10;

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/challenges",
        name: "challenge",
        summary: "Get a challenge: a text that a person signs with a key of the roster to get a bearer",
        about: "The first of two calls for a person who has a key but no token. The answer contains no secret. A key of \
             the roster gets a challenge also above the rate limit.",
        segments: &[],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<ChallengeRequest>,
        )),
        replies: &[ok(
            SchemaGenerator::subschema_for::<Challenge>,
            "the text that the key must sign",
        )],
        codes: &[Code::UnknownSigner],
        handler: |call| Box::pin(challenge(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/challenges/answer",
        name: "answerChallenge",
        summary: "Exchange a signed challenge for a bearer token that is valid for some minutes",
        about: "The second of two calls. The bearer gives an approver the scope `read`, an operator the scopes \
             `operate` and `read`, and a proposer of the roster the scope `propose`.",
        segments: &[],
        access: RouteAccess::Signed,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<ChallengeAnswer>,
        )),
        replies: &[ok(
            SchemaGenerator::subschema_for::<AdmissionResponse>,
            "the bearer",
        )],
        codes: &[
            Code::UnknownSigner,
            Code::BadSignature,
            Code::Expired,
            Code::Unauthenticated,
        ],
        handler: |call| Box::pin(answered(call)),
    },
];

async fn challenge(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let ChallengeRequest { keyid } = read(&body)?;
    // The creation of a challenge costs only a few hashes and no memory, so a key of the roster gets a challenge even
    // above the rate limit.
    let challenge = call.unless_limited(call.app.boundary.admission.challenge(&keyid))?;
    answer(StatusCode::OK, &Challenge { challenge })
}

async fn answered(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_BYTES).await?;
    let ChallengeAnswer {
        challenge,
        signature,
    } = read(&body)?;
    match call.app.boundary.admission.answer(&challenge, &signature) {
        Ok((bearer, name, expires_at)) => {
            RouteCall::charge_key(&call.app, &signature.keyid)?;
            answer(
                StatusCode::OK,
                &AdmissionResponse {
                    bearer,
                    name,
                    expires_at,
                },
            )
        }
        Err(stopped) => {
            call.charge_failure()?;
            Err(stopped)
        }
    }
}
