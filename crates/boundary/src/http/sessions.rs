//! Routes to create, show, reset and end sessions.

use axum::http::StatusCode;

use crate::{
    Field, HandlerResult, Reply, Route, RouteCall,
    http::{
        call::{answer, answer_with},
        operation::{field, json, ok},
    },
};
use documents::{Code, SessionId};
use wire::{NewSession, SessionList, SessionView};

/// Maximum body size in bytes.
const MAX_REQUEST_BYTES: usize = 4 << 10;

const SESSION: Reply = ok::<SessionView>("the session");
const SESSION_ID: Field = field("id", "the session's id, `ses_…`");

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Begin a session for the steps of one runbook",
        about: "A session carries variables, the directory and files from run to run. The authorization of each step \
             with a session binds the state of the session. A session ends after 30 minutes without a run, and when the \
             boundary restarts.",
        body: Some(json::<NewSession>()),
        replies: &[Reply {
            status: 201,
            about: "the new session",
            ..SESSION
        }],
        codes: &[Code::UnknownStep],
        ..Route::post("/v1/sessions", "create_session", &create)
    },
    Route {
        summary: "The sessions that the caller may use",
        about: "Clients of one owner share their sessions. A caller with the scope `read` or `operate` for all steps sees \
             all sessions.",
        replies: &[ok::<SessionList>("the sessions, oldest first")],
        ..Route::get("/v1/sessions", "sessions", &list)
    },
    Route {
        summary: "One session: its state, the names of its variables, and its runs",
        about: "The answer never contains the values of the variables.",
        segments: &[SESSION_ID],
        replies: &[SESSION],
        ..Route::get("/v1/sessions/{id}", "session", &show)
    },
    Route {
        summary: "End a session and begin a new one for the same runbook",
        about: "The new session has a new id, so proposals for the old session can't run.",
        segments: &[SESSION_ID],
        replies: &[Reply {
            status: 201,
            about: "the new session",
            ..SESSION
        }],
        ..Route::post("/v1/sessions/{id}/reset", "reset_session", &reset)
    },
    Route {
        summary: "End a session and remove its files",
        about: "A run in progress goes on to its end.",
        segments: &[SESSION_ID],
        replies: &[ok::<SessionView>("the session as it was")],
        ..Route::post("/v1/sessions/{id}/end", "end_session", &end)
    },
];

async fn create(mut call: RouteCall) -> HandlerResult {
    let NewSession { runbook } = call.read(MAX_REQUEST_BYTES).await?;
    answer_with(
        StatusCode::CREATED,
        &call.app.boundary.sessions.create(&call.caller, &runbook)?,
    )
}

async fn list(call: RouteCall) -> HandlerResult {
    answer(&call.app.boundary.sessions.list(&call.caller)?)
}

async fn show(call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    answer(&call.app.boundary.sessions.show(&call.caller, &id)?)
}

async fn reset(mut call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    call.no_body().await?;
    answer_with(
        StatusCode::CREATED,
        &call.app.boundary.sessions.reset(&call.caller, &id)?,
    )
}

async fn end(mut call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    call.no_body().await?;
    answer(&call.app.boundary.sessions.end(&call.caller, &id)?)
}
