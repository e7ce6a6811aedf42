//! Finds the proposal or the file that an argument names, and the boundary that has the proposal.

use std::path::Path;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, LookupRange,
    PrintableText, ReviewSubject, Tell, Terminal, ask_each, find_grant, find_proposal, is_grant,
    read_bounded,
};
use documents::{Envelope, json};
use wire::ProposalView;

/// Finds the subject that the user named: a file, an id, or the last digits of an open proposal's id. If the user
/// gives no name, the subject is the only pending proposal.
///
/// # Errors
/// Returns an error if no subject or more than one subject matches, or if the boundary returns another proposal.
pub fn find_subject(named: Option<&str>, client: &Client) -> CommandResult<ReviewSubject> {
    if let Some(name) = named.filter(|name| is_file(name)) {
        return read_envelope(Path::new(name)).map(ReviewSubject::File);
    }
    let id = find_proposal(client, named, LookupRange::Open)?;
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    // Compare the id, because the person must not decide about another proposal than the named one.
    if view.id != id {
        let detail = format!(
            "nothing was signed: this command requested {id}, but the boundary returned {}",
            view.id
        );
        return Err(CommandFailure::refused(detail));
    }
    Ok(ReviewSubject::Proposal(Box::new(view)))
}

/// A boundary that was asked, with its answer for each name. A single boundary has no answers.
pub type SearchedBoundary = (GlobalOptions, Client, Vec<bool>);

/// Asks each boundary of the list, or only the chosen one, which of the named proposals and grants it has. The command
/// reads and compares each of them again before it asks the person.
///
/// # Errors
/// Returns an error if the list of boundaries can't be used, or if the chosen boundary can't be reached.
pub fn search_names(
    names: &[String],
    key: &KeyArgs,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult<Vec<SearchedBoundary>> {
    // A file names no boundary of the list.
    let is_one = names.first().is_none_or(|name| is_file(name));
    let all = if is_one {
        vec![global.clone()]
    } else {
        global.chosen()?
    };
    if let [one] = all.as_slice() {
        return Ok(vec![(
            one.clone(),
            one.reviewer(key, terminal)?,
            Vec::new(),
        )]);
    }
    let mut searched = Vec::new();
    let ask = |one: &GlobalOptions, tell: &mut Tell<'_, _>| {
        let client = one.reviewer(key, terminal)?;
        let mut has = Vec::new();
        for name in names {
            let found = if is_grant(name) {
                find_grant(name, &client).map(drop)
            } else {
                find_subject(Some(name), &client).map(drop)
            };
            match found {
                Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
                found => has.push(found.is_ok()),
            }
        }
        client.limit_reads(None);
        tell((client, has))
    };
    ask_each(&all, ask, |one, answer| {
        match answer {
            Ok((client, has)) => searched.push((one.clone(), client, has)),
            Err(failure) => terminal.say(format!(
                "note: {} was not searched: {failure}",
                one.shown_name()
            )),
        }
        Ok(())
    })?;
    Ok(searched)
}

/// Returns the only boundary that has the name at this place of the names.
///
/// # Errors
/// Returns an error if no boundary or more than one boundary has it.
pub fn boundary_with<'s>(
    searched: &'s [SearchedBoundary],
    at: usize,
    name: Option<&str>,
) -> CommandResult<(&'s GlobalOptions, &'s Client)> {
    let found: Vec<_> = searched
        .iter()
        .filter(|(.., has)| has.get(at).is_none_or(|has| *has))
        .collect();
    if let [(global, client, _)] = found.as_slice() {
        return Ok((global, client));
    }
    Err(CommandFailure::usage(format!(
        "{} boundaries of your list have the proposal or grant {}: give its whole id, or the boundary with \
         --boundary NAME",
        found.len(),
        PrintableText::text(name.unwrap_or_default())
    )))
}

/// Maximum size of an envelope file, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// Returns true if the argument names a file: `-`, `*.json`, or a text with a `/`. The function does not test whether a
/// file exists, because an attacker could create a file whose name is the id of a proposal.
pub fn is_file(name: &str) -> bool {
    name == "-" || name.contains('/') || name.ends_with(".json")
}

/// Reads an envelope file.
///
/// # Errors
/// Returns an error if the file cannot be read or is no envelope.
pub fn read_envelope(path: &Path) -> CommandResult<Envelope> {
    let bytes = read_bounded(path, MAX_ENVELOPE_BYTES)?;
    json::parse_as(&bytes, MAX_ENVELOPE_BYTES).map_err(|error| {
        let place = PrintableText::file(path);
        let advice = "make one with `countersign propose ... --offline -o FILE`";
        CommandFailure::usage(format!(
            "{place} is no envelope: {}; {advice}",
            PrintableText::text(&error.to_string())
        ))
    })
}
