//! Proposals by id, ending or status, as a boundary lists them.

use crate::boundary::view::{ProposalList, ProposalStatus, ProposalView};
use crate::record::ident::{ProposalId, ProposalIdEnding, ReceiptId};
use crate::remote::client::Client;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::screen::PrintableText;

/// Pages of a list that are read: of a hundred proposals each, or of ten thousand that were looked through.
const MAX_PAGES: usize = 1000;

/// At most so many are listed where one was to be named.
const MOST_NAMED: usize = 20;

/// Among which proposals an ending is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupRange {
    /// Those that are not over: what somebody can decide on. Without a name it is the only pending one.
    Open,
    /// All that the caller may see. Without a name it is the only one of this status.
    Visible(ProposalStatus),
}

/// The proposal of this id or ending; without a name the only one.
///
/// # Errors
/// When there is none, or more than one, which are then listed.
pub fn find_proposal(client: &Client, named: Option<&str>, among: LookupRange) -> Result<ProposalId, CommandFailure> {
    let none = |words: String| CommandFailure::new(Exit::Usage, words);
    let Some(name) = named else {
        let only = match among {
            LookupRange::Open => ProposalStatus::Pending,
            LookupRange::Visible(status) => status,
        };
        let found = list(client, &[("status", only.word())])?;
        return match found.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(none("there is no such proposal now; `countersign inbox` lists what waits for you".to_owned())),
            several => Err(ambiguous(several)),
        };
    };
    if let Ok(id) = name.parse::<ProposalId>() {
        return Ok(id);
    }
    if let Ok(receipt) = name.parse::<ReceiptId>() {
        return Ok(receipt.proposal());
    }
    let Ok(ending) = name.to_lowercase().parse::<ProposalIdEnding>() else {
        return Err(none(format!(
            "{} is no proposal's id, nor the ending of one (at least 6 of its last digits); a file is named with its \
             directory, as ./NAME",
            PrintableText::text(name).as_str()
        )));
    };
    let mut query = vec![("id_ends", ending.as_str())];
    if among == LookupRange::Open {
        query.push(("status", "open"));
    }
    let found = list(client, &query)?;
    match (found.as_slice(), among) {
        // The boundary looked it up; that it did is seen here.
        ([one], _) if ending.is_of(&one.id) => Ok(one.id.clone()),
        ([one], _) => Err(CommandFailure::new(
            Exit::Refused,
            format!("{ending} was asked for, and the boundary gave {}: nothing was done", one.id),
        )),
        ([], LookupRange::Open) => {
            Err(none(format!("no open proposal ends with {ending}; name one that is over by its whole id")))
        }
        ([], LookupRange::Visible(_)) => Err(none(format!("no proposal that you may see ends with {ending}"))),
        (several, _) => Err(ambiguous(several)),
    }
}

fn ambiguous(several: &[ProposalView]) -> CommandFailure {
    let lines: Vec<_> = several.iter().take(MOST_NAMED).map(|view| format!("  {} {}", view.id, view.step)).collect();
    let more = several.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let words = "proposals could be meant, and none is taken; name one by its whole id";
    CommandFailure::new(Exit::Usage, format!("{} {words}:\n{}{more}", several.len(), lines.join("\n")))
}

/// All proposals that the caller may see and the query names, newest first.
///
/// # Errors
/// As the boundary says; or when there are more than are read, so that no list is taken for whole that is cut.
pub fn list(client: &Client, query: &[(&str, &str)]) -> Result<Vec<ProposalView>, CommandFailure> {
    let mut found = Vec::new();
    let mut cursor: Option<ProposalId> = None;
    let asked: String = query.iter().map(|(name, value)| format!("&{name}={value}")).collect();
    for _ in 0..MAX_PAGES {
        let from = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page: ProposalList = client.get(&format!("/v1/proposals?limit=100{asked}{from}"))?;
        found.extend(page.proposals);
        let Some(next) = page.cursor else { return Ok(found) };
        let odd = |_| CommandFailure::new(Exit::Unreachable, "the boundary's list goes on at no proposal");
        cursor = Some(next.parse().map_err(odd)?);
    }
    let detail = format!("the boundary's list was cut after {MAX_PAGES} pages; name one proposal by its whole id");
    Err(CommandFailure::new(Exit::Unreachable, detail))
}
