//! JSON-RPC errors, for requests that are no calls of a tool or that the program can't read.

use std::fmt::Display;

use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CancelTaskParams, CustomRequest, ErrorCode, GetTaskParams,
        ReadResourceRequestParams,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{ToolProblem, of_value, visible_detail};
use documents::ProposalId;

/// Returns the error for a request whose method is unknown, or whose parameters do not fit the method. `rmcp` does not
/// distinguish these requests.
pub fn unread_request(request: &CustomRequest) -> ErrorData {
    let params = request
        .params
        .clone()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let error = match request.method.as_str() {
        "tools/call" => misfit::<CallToolRequestParams>(&params),
        "resources/read" => misfit::<ReadResourceRequestParams>(&params),
        "tasks/get" => misfit::<GetTaskParams>(&params),
        "tasks/cancel" => misfit::<CancelTaskParams>(&params),
        unknown => {
            return ErrorData::new(ErrorCode::METHOD_NOT_FOUND, visible_detail(unknown), None);
        }
    };
    wrong_params(error)
}

/// Returns the reason why `params` are not of type `T`. The reason names the field.
fn misfit<T: DeserializeOwned>(params: &Value) -> String {
    let read: Result<T, String> = of_value(params);
    read.err()
        .unwrap_or_else(|| "they do not fit the method".to_owned())
}

/// Returns the error for parameters with a wrong value.
pub fn wrong_params(error: impl Display) -> ErrorData {
    ErrorData::invalid_params(
        visible_detail(&format!("the parameters are wrong: {error}")),
        None,
    )
}

/// Parses the id of a task, which is the id of a proposal.
pub fn task_id(text: &str) -> Result<ProposalId, ErrorData> {
    text.parse()
        .map_err(|error| wrong_params(format_args!("/taskId: {error}")))
}

/// Returns the error for a request that failed with this problem.
pub fn refused(problem: ToolProblem) -> ErrorData {
    let is_refusal = problem.is_refusal();
    let data = problem.into_json();
    match data["problem"]["code"].as_str().unwrap_or_default() {
        "not-found" | "unknown-step" => ErrorData::resource_not_found(
            "the boundary has no such document for this token",
            Some(data),
        ),
        _ if is_refusal => {
            ErrorData::internal_error("the boundary refused the request", Some(data))
        }
        "busy" => ErrorData::internal_error(
            "too many calls of this client are in progress: wait for the answers, then call again",
            Some(data),
        ),
        _ => ErrorData::internal_error("there is no usable answer of the boundary", Some(data)),
    }
}

/// Returns the error for the URI of no resource.
pub fn unknown_resource() -> ErrorData {
    ErrorData::resource_not_found(
        "there is no such resource: see resources/templates/list",
        None,
    )
}
