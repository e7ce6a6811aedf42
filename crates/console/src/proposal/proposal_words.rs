//! A proposal in words, and what a page says if a boundary does not give it.

use axum::http::StatusCode;
use client::remote::client::Client;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::outcome_words::outcome_words;
use client::terminal::person_words::person_words;
use client::terminal::printable_text::PrintableText;
use documents::record::code::Code;
use documents::record::ident::ProposalId;
use documents::record::refused_parts::refused_words;
use wire::api::view::ProposalView;

/// Returns external text with escapes in place of characters that a reader can't see.
#[must_use]
pub fn plain(text: &str) -> String {
    PrintableText::text(text).as_str().to_owned()
}

/// Returns how a proposal stands, in words, with the words of the people who denied it.
#[must_use]
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
    let said = view.denials.iter().map(|denial| (denial.approver.as_str(), denial.reason.as_str()));
    PrintableText::text(&words).then(&person_words(said)).as_str().to_owned()
}

/// Reads a proposal, and checks that the boundary returned this proposal.
///
/// # Errors
/// Returns an error if the boundary refuses, does not answer, or returns another proposal.
pub fn proposal_of(client: &Client, id: &ProposalId) -> Result<ProposalView, CommandFailure> {
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    if view.id == *id {
        return Ok(view);
    }
    let what = format!("this page asked for {id}, but the boundary returned {}: don't trust this boundary", view.id);
    Err(CommandFailure::new(Exit::Refused, what))
}

/// Returns the status of the page that shows this failure.
#[must_use]
pub fn status_of(failure: &CommandFailure) -> StatusCode {
    match failure.exit {
        Exit::Unreachable => StatusCode::BAD_GATEWAY,
        _ if failure.has_code(Code::NotFound) => StatusCode::NOT_FOUND,
        _ if failure.has_code(Code::Forbidden) => StatusCode::FORBIDDEN,
        _ if failure.has_code(Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::CONFLICT,
    }
}
