//! Finds proposals by id, by the last digits of an id, or by status.

use crate::{Client, CommandFailure, CommandResult, PrintableText, fail_refused, fail_usage};
use documents::{ProposalId, ProposalIdEnding, ReceiptId, joined};
use wire::{ProposalList, ProposalStatus, ProposalView, percent_encoded};

/// Maximum number of pages that a search requests. A page ends after a hundred matches, or after ten thousand examined
/// proposals.
const MAX_PAGES: usize = 1000;

/// Maximum number of proposals in an error message about an ambiguous name.
const MOST_NAMED: usize = 20;

/// Proposals that a search includes.
#[derive(PartialEq)]
pub enum LookupRange {
    /// Proposals that have not ended. Without a name, the only pending proposal is selected.
    Open,
    /// All proposals that the caller may see. Without a name, the only proposal with this status is selected.
    Visible(ProposalStatus),
}

/// Finds a proposal by its id or by the last digits of its id. Without a name, `among` must select exactly one
/// proposal.
///
/// # Errors
/// Returns an error if no proposal matches. If several proposals match, the error names these proposals.
pub fn find_proposal(
    client: &Client,
    named: Option<&str>,
    among: LookupRange,
) -> CommandResult<ProposalId> {
    let Some(name) = named else {
        let only = match among {
            LookupRange::Open => ProposalStatus::Pending,
            LookupRange::Visible(status) => status,
        };
        return only_one(&list(client, &[("status", only.word())])?);
    };
    if let Ok(id) = name.parse::<ProposalId>() {
        return Ok(id);
    }
    if let Ok(receipt) = name.parse::<ReceiptId>() {
        return Ok(receipt.proposal());
    }
    let Ok(ending) = name.to_lowercase().parse::<ProposalIdEnding>() else {
        return fail_usage(format!(
            "{} is neither the id of a proposal nor the last digits of an id (at least 6); name a file with its \
             directory, as ./NAME",
            PrintableText::text(name)
        ));
    };
    let mut query = vec![("id_ends", ending.as_str())];
    if among == LookupRange::Open {
        query.push(("status", "open"));
    }
    let mut found = list(client, &query)?;
    if found.is_empty() && query.len() > 1 {
        // Search ended proposals too, so that the command can say how the proposal ended.
        found = list(client, &query[..1])?;
    }
    match (found.as_slice(), among) {
        // The boundary made the search and is not trusted, so check the id again.
        ([one], _) if ending.is_of(&one.id) => Ok(one.id.clone()),
        ([one], _) => fail_refused(format!(
            "the command asked for {ending}, but the boundary returned {}: nothing was done",
            one.id
        )),
        ([], _) => fail_usage(format!("no proposal that you may see ends with {ending}")),
        (several, _) => Err(ambiguous(
            several,
            "name one proposal by more digits of its id",
        )),
    }
}

/// Returns the id of the only proposal.
///
/// # Errors
/// Returns an error if there is no proposal, or if there are several proposals, which the error names.
pub fn only_one(found: &[ProposalView]) -> CommandResult<ProposalId> {
    match found {
        [one] => Ok(one.id.clone()),
        [] => fail_usage(
            "there is no such proposal now; `countersign inbox` lists the proposals that wait for you",
        ),
        several => Err(ambiguous(
            several,
            "name one proposal by the last 6 digits of its id",
        )),
    }
}

fn ambiguous(several: &[ProposalView], advice: &str) -> CommandFailure {
    let lines = joined(
        several
            .iter()
            .take(MOST_NAMED)
            .map(|view| format!("  {} {}", view.id, view.step)),
        "\n",
    );
    let more = several.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 {
        format!("\n  and {more} more")
    } else {
        String::new()
    };
    let words = format!(
        "{} proposals match, so no proposal was chosen; {advice}",
        several.len()
    );
    CommandFailure::usage(format!("{words}:\n{lines}{more}"))
}

/// Returns all proposals that the caller may see and that match the query, newest first.
///
/// # Errors
/// Returns the boundary's refusal, or an error if the list has too many pages, because an incomplete list could mislead
/// the caller.
pub fn list(client: &Client, query: &[(&str, &str)]) -> CommandResult<Vec<ProposalView>> {
    newest(client, query, usize::MAX, None)
}

/// Returns at most `most` proposals that the caller may see, that match the query, and that `keep` accepts, newest
/// first.
///
/// # Errors
/// Returns the errors of [`list`].
pub fn newest(
    client: &Client,
    query: &[(&str, &str)],
    most: usize,
    keep: Option<&dyn Fn(&ProposalView) -> bool>,
) -> CommandResult<Vec<ProposalView>> {
    // With `keep`, the program may need many pages, so each page is as long as possible.
    let limit = keep.map_or(most, |_| 100).min(100);
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    let asked: String = query
        .iter()
        .map(|(name, value)| format!("&{name}={value}"))
        .collect();
    for _ in 0..MAX_PAGES {
        let from = cursor
            .map(|cursor| format!("&cursor={}", percent_encoded(&cursor)))
            .unwrap_or_default();
        let page: ProposalList =
            client.get(&format!("/v1/proposals?limit={limit}{asked}{from}"))?;
        found.extend(
            page.proposals
                .into_iter()
                .filter(|view| keep.is_none_or(|keep| keep(view))),
        );
        if found.len() >= most {
            found.truncate(most);
            return Ok(found);
        }
        if page.cursor.is_none() {
            return Ok(found);
        }
        cursor = page.cursor;
    }
    let detail = format!(
        "the boundary's list has more than {MAX_PAGES} pages; name one proposal by its whole id"
    );
    Err(CommandFailure::unreachable(detail))
}
