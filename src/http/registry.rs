//! Routes of the seal in force and its steps.

use axum::http::StatusCode;
use schemars::SchemaGenerator;

use crate::http::call::{RouteCall, answer};
use crate::http::operation::{Field, RouteAccess, Verb, ok};
use crate::http::route::{HandlerResult, Route};
use documents::record::code::Code;
use documents::record::ident::StepRef;
use wire::api::registry_view::{RegistryView, StepView};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/registry",
        name: "registry",
        summary: "The seal in force and the registered steps",
        about: "Lists the steps that the caller may propose, each with its digest and the approvals that it needs. \
             A caller with the scope `read` sees all steps.",
        segments: &[],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[ok(SchemaGenerator::subschema_for::<RegistryView>, "seal and steps")],
        codes: &[],
        handler: |call| Box::pin(registry(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/steps/{*ref}",
        name: "step",
        summary: "One step's whole definition",
        about: "The definition with script and parameter schema, the permissions that policy asks about, and the \
             sandbox that a run would get.",
        segments: &[Field {
            name: "ref",
            about: "the step, `path/of/runbook:step-id`; its slashes may be percent-encoded",
        }],
        access: RouteAccess::Known,
        query: &[Field {
            name: "params_digest",
            about: "digest of parameters, `sha256:…`: with it, the answer can have `unknown_end`",
        }],
        headers: &[],
        body: None,
        replies: &[ok(
            SchemaGenerator::subschema_for::<StepView>,
            "the definition from which the step digest is \
             computed",
        )],
        codes: &[Code::UnknownStep, Code::Forbidden],
        handler: |call| Box::pin(step(call)),
    },
];

async fn registry(call: RouteCall) -> HandlerResult {
    answer(StatusCode::OK, &call.app.boundary.evidence.registry_view(&call.caller)?)
}

async fn step(call: RouteCall) -> HandlerResult {
    let reference: StepRef = call.path("ref")?;
    answer(
        StatusCode::OK,
        &call.app.boundary.evidence.step_view(&call.caller, &reference, call.query("params_digest")?)?,
    )
}
