//! What a tool reports to the agent in place of an answer: a refusal or a failure, with advice.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::{
    ApiAnswer, Problem, ProblemError, api::view::for_tools, foreign_answer, may_pass,
    visible_detail, visible_json, within_limit,
};
use documents::Code;

/// Maximum number of errors in one problem.
const MAX_ERRORS: usize = 16;

/// Refusal or failure that a tool reports to the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolProblem {
    shown: Value,
    /// True if the boundary sent no answer, so the call may have arrived.
    is_unanswered: bool,
}

impl ToolProblem {
    /// Returns the problem for arguments that the tool does not accept.
    pub fn arguments(detail: impl Display) -> Self {
        Self::new(
            "malformed",
            &detail.to_string(),
            "correct the arguments and call the tool again",
        )
    }

    /// Returns the problem of a call without an answer. The advice is for a call that can be repeated.
    pub fn no_answer(detail: &str) -> Self {
        Self {
            is_unanswered: true,
            ..Self::new(
                "unreachable",
                detail,
                "wait some seconds, then call the tool again",
            )
        }
    }

    /// Returns the problem of a call that reached [`CALL_LIMIT`](crate::mcp::tool_calls::CALL_LIMIT).
    pub fn too_slow() -> Self {
        Self::no_answer("the boundary did not answer within 45 s")
    }

    /// Returns the problem of a server with too many calls in progress.
    pub fn too_many_calls() -> Self {
        Self::new(
            "busy",
            "too many calls of this client are in progress",
            "wait for the answers, then call again",
        )
    }

    /// Returns the problem of a proposal that this machine could not make.
    pub fn not_proposed(detail: &str) -> Self {
        Self::new(
            "fault",
            detail,
            "nothing was proposed: tell the user of this machine",
        )
    }

    /// Returns a problem with this code.
    pub fn new(code: &str, detail: &str, advice: &str) -> Self {
        let shown = json!({"code": code, "detail": visible_detail(detail), "advice": advice});
        Self {
            shown,
            is_unanswered: false,
        }
    }

    /// Returns the problem of an answer that this program does not understand.
    pub fn odd(what: impl Display) -> Self {
        let detail = format!(
            "this version of the program does not understand the boundary's answer: {what}"
        );
        Self::new("unreachable", &detail, "tell the operator of the boundary")
    }

    /// Returns the problem of an answer with a status of failure.
    pub fn of_answer(answer: &ApiAnswer) -> Self {
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            let detail = foreign_answer(answer.status, &answer.body);
            if may_pass(answer.status) {
                return Self::no_answer(&detail);
            }
            return Self::new("unreachable", &detail, "tell the operator of the boundary");
        };
        let word = problem.kind.rsplit('/').next().unwrap_or_default();
        let known = Code::ALL
            .iter()
            .map(|code| code.word())
            .chain(["fault"])
            .find(|known| *known == word);
        let code = known.unwrap_or("unknown");
        let mut shown = json!({
            "code": code, "title": visible_detail(&problem.title), "detail": visible_detail(&for_tools(&problem.detail)),
            "status": answer.status, "advice": advice(code, answer.status, problem.proposal.is_some()),
        });
        if !problem.errors.is_empty() {
            let cut = |error: &ProblemError| json!({"pointer": visible_detail(&error.pointer), "detail": visible_detail(&error.detail)});
            shown["errors"] = problem.errors.iter().take(MAX_ERRORS).map(cut).collect();
        }
        for (name, value) in [
            (
                "proposal",
                problem.proposal.as_ref().map(ToString::to_string),
            ),
            ("receipt", problem.receipt.as_ref().map(ToString::to_string)),
            ("fault", problem.fault.as_deref().map(visible_detail)),
        ] {
            if let Some(value) = value {
                shown[name] = value.into();
            }
        }
        Self {
            shown,
            is_unanswered: false,
        }
    }

    /// Returns the problem with advice for `propose`.
    pub fn of_propose(mut self) -> Self {
        let advice = match self.code() {
            _ if self.is_unanswered => {
                "call the tool again with the same arguments: a repeated `propose` makes no second run"
            }
            "rate-limited" => {
                "`detail` names the limit. If too many of your proposals wait for people, withdraw some with `cancel`, or \
                 wait until some have ended. Otherwise wait as long as `detail` says. Then call the tool again"
            }
            _ => return self,
        };
        self.shown["advice"] = advice.into();
        self
    }

    /// Returns whether the same call can succeed some seconds later.
    pub fn may_pass(&self) -> bool {
        self.is_unanswered
            || matches!(
                self.code(),
                "busy" | "standby" | "database" | "rate-limited"
            )
    }

    /// Returns whether the boundary refused the call. Otherwise the program has sent nothing, or has no answer that it
    /// understands.
    pub fn is_refusal(&self) -> bool {
        !self.shown["status"].is_null()
    }

    /// Returns the code of the problem.
    pub fn code(&self) -> &str {
        self.shown["code"].as_str().unwrap_or_default()
    }

    /// Returns the description of the problem.
    pub fn detail(&self) -> &str {
        self.shown["detail"].as_str().unwrap_or_default()
    }

    /// Returns the problem as JSON.
    pub fn into_json(self) -> Value {
        within_limit(json!({"problem": visible_json(self.shown)}))
    }
}

/// Returns the advice for a refusal of the boundary. `is_about_proposal` is true if the refusal names a proposal.
fn advice(code: &str, status: u16, is_about_proposal: bool) -> &'static str {
    match code {
        "unauthenticated" => {
            "the token or the key is missing or not valid any more: ask the operator for a token"
        }
        "forbidden" => "ask the operator for a token with the required scope or steps",
        "rate-limited" | "busy" | "standby" | "database" => {
            "wait some seconds, then call the tool again"
        }
        "unknown-step" => "list the steps with `list_steps`",
        // Deleted content never comes back.
        "not-found" if status == 410 => {
            "do not repeat the call. If the boundary has deleted the output, `get_receipt` still has its digests. If the \
             session is over, ask the user for a new session"
        }
        // A proposal that the token may read, but whose run has not ended.
        "not-found" if is_about_proposal => {
            "call `wait` with the id in `proposal`: only a run that has ended has a receipt and an output"
        }
        "not-found" => "check the ids of the call: `detail` says what does not exist",
        "invalid-params" | "malformed" | "too-large" => {
            "correct the arguments and call the tool again"
        }
        _ => "do not repeat the call without a change; tell the user what the boundary answered",
    }
}
