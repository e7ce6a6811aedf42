//! Routes to create, show, sign and cancel proposals, and to wait for a proposal.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use crate::{
    BodyShape, Field, HandlerResult, NDJSON, Phase, Reply, Route, RouteAccess, RouteCall, SSE,
    fail, fail_at,
    http::{
        call::{answer, answer_with},
        events::{events, waiting},
        operation::{field, json, ok, reply},
        problem::unreadable,
    },
};
use crossing::{RequestResult, refuse};
use documents::{Code, Name, ProposalId, ProposalIdEnding, json};
use store::{ProposalPlace, ProposalQuery};
use wire::{Event, ProposalList, ProposalStatus, ProposalView, Propose, Signatures};

/// Maximum body size in bytes. The canonical JSON of the parameters has at most 16 KiB, but escapes can make it six
/// times larger.
const MAX_PROPOSAL_BYTES: usize = 256 << 10;
/// Maximum body size in bytes, enough for sixteen signatures of 512 bytes in base64.
const MAX_SIGNED_BYTES: usize = 64 << 10;
/// Maximum waiting time. Many proxies close an idle request after one minute.
const MAX_WAIT: Duration = Duration::from_secs(55);
/// Default number of proposals on one page. `MAX_PAGE` is the maximum.
const PAGE: usize = 50;
const MAX_PAGE: usize = 100;

/// Codes of the refusals with which the boundary may answer a signed statement.
pub const JUDGED: &[Code] = &[
    Code::UnknownStep,
    Code::StepChanged,
    Code::InvalidParams,
    Code::ParamsMismatch,
    Code::WrongBoundary,
    Code::UnknownSigner,
    Code::BadSignature,
    Code::NotPermittedSigner,
    Code::SelfApproval,
    Code::QuorumMissing,
    Code::NotYetValid,
    Code::Expired,
    Code::Revoked,
    Code::Denied,
    Code::NonceReplayed,
    Code::PolicyDenied,
    Code::ContextChanged,
    Code::SessionStale,
    Code::NotGranted,
    Code::GrantExhausted,
    Code::GrantPaused,
    Code::SandboxUnavailable,
    Code::WrongState,
];

pub const PROPOSAL: Reply = ok::<ProposalView>("the proposal as it is now");

pub const PROPOSAL_ID: Field = field("id", "the proposal's id, `prp_…`");

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Propose to run a step once; the answer contains the bytes to sign",
        about: "Nothing runs before enough approvers have signed `payload`, except under a grant to the token of the caller: \
             the boundary signs this run itself, and the answer comes when the run has begun, or can't begin. A nonce makes the call safe to repeat until \
             its end: for the same nonce and the same run, the answer is the existing proposal. Without a nonce and without \
             `new`, a call that asks for the same run as an earlier proposal of the caller is answered with that \
             proposal, while it is open and for 10 minutes after it ran, was denied or was cancelled, unless the \
             caller has proposed another step or other parameters since. Both answers have `existing`.",
        body: Some(json::<Propose>()),
        replies: &[
            Reply {
                status: 201,
                about: "a new proposal",
                ..PROPOSAL
            },
            ok::<ProposalView>("the earlier proposal that this call repeats, with `existing`"),
        ],
        codes: JUDGED,
        ..Route::post("/v1/proposals", "propose", &propose)
    },
    Route {
        summary: "Proposals, newest first",
        about: "Callers see their own proposals; a caller with the scope `read` sees all proposals. Repeat the call \
             with `cursor` until an answer has no `cursor`.",
        query: &[
            field(
                "status",
                "only proposals in this state; `open` means pending, approved or running",
            ),
            field(
                "id_ends",
                "only proposals whose id ends with this text: 6 to 36 characters, at least 6 of them hex \
                     digits",
            ),
            field("step", "only proposals of this step"),
            field(
                "all",
                "`true`, together with `step`: refuse the call if the caller may not see all proposals of the step",
            ),
            field("proposer", "only proposals of this proposer"),
            field("cursor", "the next page: the `cursor` of the page before"),
            field(
                "limit",
                "the number of proposals in the answer: 1 to 100, by default 50",
            ),
        ],
        replies: &[ok::<ProposalList>("one page")],
        ..Route::get("/v1/proposals", "proposals", &list)
    },
    Route {
        summary: "One proposal. With ?wait=, the boundary answers when the status changes",
        about: "The state of one proposal. Once `receipt` is there, the run has ended and its receipt is in the log.",
        segments: &[PROPOSAL_ID],
        query: &[field(
            "wait",
            "seconds, with or without `s`, at most 55: the longest time until the \
             answer",
        )],
        replies: &[PROPOSAL],
        ..Route::get("/v1/proposals/{id}", "proposal", &proposal)
    },
    Route {
        summary: "The events of a proposal, live: as server-sent events, or as one line for each event",
        about: "The stream ends after the last possible event. A client that lost the stream continues with \
             `Last-Event-ID`.",
        segments: &[PROPOSAL_ID],
        query: &[field(
            "shape",
            "`simple`: only lines {type: output|exit|error}",
        )],
        headers: &[field(
            "Last-Event-ID",
            "the stream continues after this event",
        )],
        replies: &[
            reply(200, SSE, BodyShape::Text, "`data:` is an Event"),
            reply(
                200,
                NDJSON,
                json::<Event>(),
                "one line for each event, with the event's `id`",
            ),
        ],
        ..Route::get("/v1/proposals/{id}/events", "events", &events)
    },
    Route {
        summary: "Signatures over the payload; the quorum starts the run",
        about: "The call needs no bearer: the signatures are the authority. The signature that completes the quorum \
             gets an answer before the run has ended. The signature of the grantee gets an answer when the run has begun, or \
             can't begin.",
        segments: &[PROPOSAL_ID],
        access: RouteAccess::Signed,
        body: Some(json::<Signatures>()),
        replies: &[PROPOSAL],
        codes: JUDGED,
        ..Route::post("/v1/proposals/{id}/signatures", "sign", &sign)
    },
    Route {
        summary: "Cancel a proposal: the boundary stops waiting for signatures, or kills the run",
        about: "Only the proposer and callers with the scope `operate` can cancel. A run that has ended is not \
             changed.",
        segments: &[PROPOSAL_ID],
        replies: &[PROPOSAL],
        codes: &[Code::WrongState],
        ..Route::post("/v1/proposals/{id}/cancellation", "cancel", &cancel)
    },
];

async fn propose(mut call: RouteCall) -> HandlerResult {
    let body = call.body(MAX_PROPOSAL_BYTES).await?;
    // A program of an agent may write 5 as `5.0`.
    let written =
        json::parse_written(&body, MAX_PROPOSAL_BYTES).map_err(|error| unreadable(error.into()))?;
    let wish: Propose = json::typed(&written).map_err(unreadable)?;
    // The boundary itself signs the run of a grant to a token.
    let capacity = call.app.boundary.crossing.capacity();
    let permit = wish.grant.as_ref().map(|_| capacity.permit()).transpose()?;
    let (view, created) = call
        .finish(|boundary, caller| async move {
            let proposed = boundary.proposals.propose(&caller, wish).await;
            drop(permit);
            proposed
        })
        .await?;
    answer_with(
        if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        &view,
    )
}

async fn list(call: RouteCall) -> HandlerResult {
    let statuses = match call.raw_query("status") {
        None => Vec::new(),
        Some("open") => vec![
            ProposalStatus::Pending,
            ProposalStatus::Approved,
            ProposalStatus::Running,
        ],
        Some(word) => {
            let status = json::typed::<ProposalStatus>(&Value::String(word.to_owned()))
                .map_err(|error| refuse(Code::Malformed, format!("?status=: {error}")))?;
            vec![status]
        }
    };
    let limit = call
        .raw_query("limit")
        .map_or(Ok(PAGE), str::parse)
        .unwrap_or_default();
    if !(1..=MAX_PAGE).contains(&limit) {
        return fail(
            Code::Malformed,
            format!("?limit=: expected 1 to {MAX_PAGE}"),
        );
    }
    let before = call.raw_query("cursor").map(list_place);
    if before == Some(None) {
        let why = "the cursor is not from an answer of this boundary: leave the cursor out";
        return fail_at(Code::Malformed, why, "/cursor", "unknown");
    }
    let all = call.query("all")?.unwrap_or(false);
    let query = ProposalQuery {
        statuses,
        ending: call.query::<ProposalIdEnding>("id_ends")?,
        step: call.query("step")?,
        proposer: call.query::<Name>("proposer")?,
        before: before.flatten(),
        limit,
    };
    call.found(move |boundary, caller| boundary.proposals.list(caller, query, all))
        .await
}

/// Reads the cursor of a page: the milliseconds and the id of its last proposal.
fn list_place(cursor: &str) -> Option<ProposalPlace> {
    let (millis, id) = cursor.split_once('.')?;
    Some((millis.parse().ok()?, id.parse().ok()?))
}

async fn proposal(call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    let up_to = call.raw_query("wait").map(parse_wait).transpose()?;
    let boundary = &call.app.boundary;
    // If too many requests already wait, answer immediately. The end of the waiting time is never a denial.
    let view = match (up_to, waiting(&call.app)) {
        (Some(up_to), Some(_room)) => tokio::select! {
            view = boundary.proposals.wait(&call.caller, &id, up_to) => view?,
            () = call.app.phase(Phase::Ending) => boundary.proposals.proposal(&call.caller, &id)?,
        },
        _ => boundary.proposals.proposal(&call.caller, &id)?,
    };
    answer(&view)
}

/// Parses a waiting time such as `55s` or `55`. A value above the maximum is reduced to the maximum.
fn parse_wait(text: &str) -> RequestResult<Duration> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return fail(
            Code::Malformed,
            "?wait=: expected whole seconds, such as 55s",
        );
    }
    Ok(digits
        .parse()
        .map_or(MAX_WAIT, Duration::from_secs)
        .min(MAX_WAIT))
}

async fn sign(call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    call.sign(MAX_SIGNED_BYTES, |boundary, signatures, app| async move {
        let proposals = &boundary.proposals;
        proposals
            .sign(&id, &signatures, |keyid| RouteCall::charge_key(&app, keyid))
            .await
    })
    .await
}

async fn cancel(mut call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    call.no_body().await?;
    let view = call
        .finish(|boundary, caller| async move { boundary.proposals.cancel(&caller, &id).await })
        .await?;
    answer(&view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::problem;

    #[test]
    fn the_wait_parameter_is_parsed_as_seconds_and_limited_to_the_maximum() {
        let of = |text: &str| {
            parse_wait(text)
                .map(|wait| wait.as_secs())
                .map_err(|stopped| problem(&stopped).status)
        };
        for (text, seconds) in [
            ("55s", 55),
            ("55", 55),
            ("0", 0),
            ("0s", 0),
            ("7s", 7),
            ("56s", 55),
            ("999999999", 55),
        ] {
            assert_eq!(of(text), Ok(seconds), "{text}");
        }
        for bad in [
            "",
            "s",
            "-1",
            "1.5s",
            "1m",
            "55ss",
            " 5",
            "+5",
            "1e2",
            "9999999999",
        ] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
    }
}
