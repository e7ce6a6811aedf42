//! Routes to create, show, reset and end sessions.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::{
    BodyShape, Field, HandlerResult, Reply, Route, RouteAccess, RouteCall, Verb,
    http::{
        call::{answer, read},
        operation::ok,
    },
};
use documents::{Code, SessionId};
use wire::{NewSession, SessionList, SessionView};

/// Maximum body size in bytes.
const MAX_REQUEST_BYTES: usize = 4 << 10;

const SESSION: Reply = ok(SchemaGenerator::subschema_for::<SessionView>, "the session");
const SESSION_ID: Field = Field {
    name: "id",
    about: "the session's id, `ses_…`",
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/sessions",
        name: "create_session",
        summary: "Begin a session for the steps of one runbook",
        about: "A session carries variables, the directory and files from run to run. The authorization of each step \
             with a session binds the state of the session. A session ends after 30 minutes without a run, and when the \
             boundary restarts.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Json(
            SchemaGenerator::subschema_for::<NewSession>,
        )),
        replies: &[Reply {
            status: 201,
            about: "the new session",
            ..SESSION
        }],
        codes: &[Code::UnknownStep],
        handler: |call| Box::pin(create(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/sessions",
        name: "sessions",
        summary: "The sessions that the caller may use",
        about: "Clients of one owner share their sessions. A caller with the scope `read` or `operate` for all steps sees \
             all sessions.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<SessionList>,
            "the sessions, oldest first",
        )],
        codes: &[],
        handler: |call| {
            Box::pin(async move {
                answer(
                    StatusCode::OK,
                    &call.app.boundary.sessions.list(&call.caller)?,
                )
            })
        },
    },
    Route {
        verb: Verb::Get,
        path: "/v1/sessions/{id}",
        name: "session",
        summary: "One session: its state, the names of its variables, and its runs",
        about: "The answer never contains the values of the variables.",
        segments: &[SESSION_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[SESSION],
        codes: &[],
        handler: |call| Box::pin(show(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/sessions/{id}/reset",
        name: "reset_session",
        summary: "End a session and begin a new one for the same runbook",
        about: "The new session has a new id, so proposals for the old session can't run.",
        segments: &[SESSION_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[Reply {
            status: 201,
            about: "the new session",
            ..SESSION
        }],
        codes: &[],
        handler: |call| Box::pin(reset(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/sessions/{id}/end",
        name: "end_session",
        summary: "End a session and remove its files",
        about: "A run in progress goes on to its end.",
        segments: &[SESSION_ID],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[Reply {
            about: "the session as it was",
            ..SESSION
        }],
        codes: &[],
        handler: |call| Box::pin(end(call)),
    },
];

async fn create(mut call: RouteCall) -> HandlerResult {
    let NewSession { runbook } = read(&call.body(MAX_REQUEST_BYTES).await?)?;
    answer(
        StatusCode::CREATED,
        &call.app.boundary.sessions.create(&call.caller, &runbook)?,
    )
}

async fn show(call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    answer(
        StatusCode::OK,
        &call.app.boundary.sessions.show(&call.caller, &id)?,
    )
}

async fn reset(mut call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    call.no_body().await?;
    answer(
        StatusCode::CREATED,
        &call.app.boundary.sessions.reset(&call.caller, &id)?,
    )
}

async fn end(mut call: RouteCall) -> HandlerResult {
    let id: SessionId = call.path("id")?;
    call.no_body().await?;
    answer(
        StatusCode::OK,
        &call.app.boundary.sessions.end(&call.caller, &id)?,
    )
}
