//! What a tool reports to the agent in place of an answer: a refusal or a failure, with advice.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::api::body::{Problem, ProblemError};
use crate::mcp::boundary_api::ApiAnswer;
use crate::mcp::visible_text::{visible_detail, visible_json};

/// Maximum number of errors in one problem.
const MAX_ERRORS: usize = 16;

/// Refusal or failure that a tool reports to the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolProblem(Value);

impl ToolProblem {
    /// Returns the problem for arguments that the tool does not accept.
    #[must_use]
    pub fn arguments(detail: impl Display) -> Self {
        Self::new("malformed", &detail.to_string(), "correct the arguments and call the tool again")
    }

    /// Returns the problem of a call without an answer. `repeats` is true if a repeated `propose` is the same proposal.
    #[must_use]
    pub fn no_answer(detail: &str, repeats: bool) -> Self {
        let advice = if repeats {
            "call the tool again with the same arguments: a repeated `propose` makes no second run"
        } else {
            "call the tool again, but do not repeat `propose`: the proposal may exist, and each call is a new proposal, \
             so tell the user first"
        };
        Self::new("unreachable", detail, advice)
    }

    /// Returns the problem of a server with too many calls in progress.
    #[must_use]
    pub fn too_many_calls() -> Self {
        Self::new("busy", "too many calls of this client are in progress", "wait for the answers, then call again")
    }

    /// Returns a problem with this code.
    #[must_use]
    pub fn new(code: &str, detail: &str, advice: &str) -> Self {
        Self(json!({"problem": {"code": code, "detail": visible_detail(detail), "advice": advice}}))
    }

    /// Returns the problem of an answer that this program does not understand.
    #[must_use]
    pub fn odd(what: impl Display) -> Self {
        let detail = format!("this version of the program does not understand the boundary's answer: {what}");
        Self::new("unreachable", &detail, "tell the operator of the boundary")
    }

    /// Returns the problem of an answer with a status of failure.
    #[must_use]
    pub fn of_answer(answer: &ApiAnswer) -> Self {
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            return Self::odd(format_args!("it has status {} and is no problem document", answer.status));
        };
        let code = problem.kind.rsplit('/').next().unwrap_or_default().to_owned();
        let advice = match code.as_str() {
            "unauthenticated" => "the token is missing or not valid any more: ask the operator for a token",
            "rate-limited" | "busy" => "wait some seconds, then call the tool again",
            "unknown-step" | "not-found" => "list the steps with `list_steps`, or check the id",
            "invalid-params" | "malformed" => "correct the arguments and call the tool again",
            _ => "do not repeat the call without a change; tell the user what the boundary answered",
        };
        let mut shown = json!({
            "code": code, "title": visible_detail(&problem.title), "detail": visible_detail(&problem.detail),
            "status": problem.status, "advice": advice,
        });
        if !problem.errors.is_empty() {
            let cut = |error: &ProblemError| json!({"pointer": visible_detail(&error.pointer), "detail": visible_detail(&error.detail)});
            shown["errors"] = problem.errors.iter().take(MAX_ERRORS).map(cut).collect();
        }
        for (name, value) in [
            ("proposal", problem.proposal.as_ref().map(ToString::to_string)),
            ("receipt", problem.receipt.as_ref().map(ToString::to_string)),
            ("fault", problem.fault),
        ] {
            if let Some(value) = value {
                shown[name] = value.into();
            }
        }
        Self(json!({"problem": visible_json(shown)}))
    }

    /// Returns the code of the problem.
    pub(super) fn code(&self) -> &str {
        self.0["problem"]["code"].as_str().unwrap_or_default()
    }

    /// Returns the problem as JSON.
    #[must_use]
    pub fn into_json(self) -> Value {
        self.0
    }
}
