//! A proposal in words, and what a page says if a boundary does not give it.

use axum::http::StatusCode;
use client::{
    Client, CommandFailure, CommandResult, Exit, PrintableText, denial_words, outcome_words,
};
use documents::{Code, ProposalId, refused_words};
use wire::ProposalView;

/// Returns how a proposal stands, in words, with the words of the people who denied it.
pub fn standing_words(view: &ProposalView) -> String {
    let mut words = match (&view.outcome, &view.refusal) {
        (Some(outcome), Some(why)) => format!("{}: {}", outcome_words(outcome), why.detail),
        (Some(outcome), None) => outcome_words(outcome) + &refused_words(&view.refused),
        (None, Some(why)) => format!("{} ({}): {}", view.status.word(), why.code, why.detail),
        (None, None) => view.status.word().to_owned(),
    };
    if let Some(why) = &view.end_unknown_because {
        words.push_str(&format!(": {why}"));
    }
    PrintableText::text(&words)
        .then(denial_words(&view.denials))
        .to_string()
}

/// Reads a proposal, and checks that the boundary returned this proposal.
///
/// # Errors
/// Returns an error if the boundary refuses, does not answer, or returns another proposal.
pub fn proposal_of(client: &Client, id: &ProposalId) -> CommandResult<ProposalView> {
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    if view.id == *id {
        return Ok(view);
    }
    let what = format!(
        "this page asked for {id}, but the boundary returned {}: don't trust this boundary",
        view.id
    );
    Err(CommandFailure::refused(what))
}

/// Returns the status of the page that shows this failure.
pub fn status_of(failure: &CommandFailure) -> StatusCode {
    match failure.exit {
        Exit::Unreachable => StatusCode::BAD_GATEWAY,
        _ if failure.has_code(Code::NotFound) => StatusCode::NOT_FOUND,
        _ if failure.has_code(Code::Forbidden) => StatusCode::FORBIDDEN,
        _ if failure.has_code(Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_names_the_refused_program_beside_the_success() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let view = json!({
            "id": "prp_019aa0b0-5c00-7000-8000-000000000001", "status": "finished", "next": [], "step": "a:b", "step_digest": digest,
            "params": {}, "params_digest": digest, "proposer": "agent", "reason": "", "digest": digest, "payload": "",
            "created_at": "2026-11-20T09:30:00Z", "expires_at": "2026-11-20T10:30:00Z",
            "approvals": {"rules": [], "required": 1, "have": 1, "approvers": [], "missing": [], "excluded": []},
            "outcome": {"status": "succeeded", "exit_code": 0}, "refused": [{"name": "/usr/bin/jq", "add": "programs=jq"}],
        });
        let mut view: ProposalView = serde_json::from_value(view).expect("a view");
        let words = "succeeded, exit code 0; refused: /usr/bin/jq (add programs=jq to the block)";
        assert_eq!(standing_words(&view), words);
        view.refused.clear();
        assert_eq!(standing_words(&view), "succeeded, exit code 0");
    }
}
