//! Routes of the seal in force and its steps.

use crate::{
    HandlerResult, Route, RouteCall, StepSearch,
    http::{
        call::{answer, bytes},
        operation::{field, ok},
    },
};
use crossing::refuse;
use documents::{Code, RosterVersion};
use wire::{RegistryView, StepView};

pub static ROUTES: &[Route] = &[
    Route {
        summary: "The seal in force and the registered steps",
        about: "Lists the steps that the caller may propose, each with its digest and the approvals that it needs. \
             A caller with the scope `read` sees all steps. With `query`, `under` or `cursor`, which may be empty, the \
             answer has one `page` of 50 steps. Repeat the call with `cursor` until `page` has no `cursor`.",
        query: &[
            field(
                "query",
                "a ref, a folder, a runbook, or words: only steps whose ref or title contains one of them, the \
                     best first",
            ),
            field(
                "under",
                "only steps of this runbook or of the runbooks in this folder",
            ),
            field("cursor", "the next page: the `cursor` of the page before"),
        ],
        replies: &[ok::<RegistryView>("seal and steps")],
        ..Route::get("/v1/registry", "registry", &registry)
    },
    Route {
        summary: "The versions of the roster up to the version in force",
        about: "An array in the form of `roster` in a bundle. A caller who trusts a version needs only the later ones.",
        query: &[field(
            "from",
            "the first version in the answer, by default 1; the answer always has the version in force",
        )],
        replies: &[ok::<Vec<RosterVersion>>("the versions")],
        ..Route::get("/v1/rosters", "rosters", &rosters)
    },
    Route {
        summary: "One step's whole definition",
        about: "The definition with script and parameter schema, the permissions that policy asks about, and the \
             sandbox that a run would get.",
        segments: &[field(
            "ref",
            "the step, `path/of/runbook:step-id`; its slashes may be percent-encoded",
        )],
        query: &[field(
            "params_digest",
            "digest of parameters, `sha256:…`: with it, the answer can have `unknown_end`",
        )],
        replies: &[ok::<StepView>(
            "the definition from which the step digest is \
             computed",
        )],
        codes: &[Code::UnknownStep, Code::Forbidden],
        ..Route::get("/v1/steps/{*ref}", "step", &step)
    },
];

async fn registry(call: RouteCall) -> HandlerResult {
    let field = |name| call.raw_query(name);
    let search = StepSearch::new(field("query"), field("under"), field("cursor"));
    let search = search.map_err(|why| refuse(Code::Malformed, why))?;
    answer(
        &call
            .app
            .boundary
            .evidence
            .registry_view(&call.caller, search.as_ref())?,
    )
}

async fn rosters(call: RouteCall) -> HandlerResult {
    let first = call.query("from")?.unwrap_or(1);
    let versions = call
        .blocking(move |boundary, caller| boundary.evidence.rosters(caller, first))
        .await?;
    Ok(bytes("application/json", versions))
}

async fn step(call: RouteCall) -> HandlerResult {
    let (evidence, step) = (&call.app.boundary.evidence, call.raw_path("ref")?);
    answer(&evidence.step_view(&call.caller, step, call.query("params_digest")?)?)
}
