//! The `review` command shows what a signature would cover, and never signs.
//!
//! The module also finds the proposal or the file that an argument names, and the boundary that has the proposal.

use std::path::Path;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, LookupRange, PagerChoice,
    PrintableText, ProposalReview, ReviewSubject, StatementVerdict, Tell, Terminal, TrustArgs,
    ask_each, check_open, commands::grant, denial_words, fail_refused, fail_usage, find_grant,
    find_proposal, is_grant, now, read_bounded, read_statement,
};
use documents::{Authorization, AuthorizationDigest, Base64, Code, Envelope, joined, json};
use wire::{DenialsView, ProposalView};

/// Show what a signature would cover; never signs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign review                        the only pending proposal
  countersign review 4f2a9c                 by the last digits of its id
  countersign review statement.json         a statement made with `propose --offline`
  countersign review --full                 every signed field, through $PAGER at a terminal
  countersign review --roster sha256:…      with a roster that you pinned

Exit codes: 0 every check of this program passed; 2 there is no trusted roster; 126 a check failed, or the proposal \
is over.")]
pub struct Args {
    /// The id of a proposal, the last digits of an open proposal's id (at least 6), the id of a grant, or an envelope file
    /// (./NAME or *.json). The default is the only pending proposal
    #[arg(value_name = "ID|FILE")]
    proposal: Option<String>,
    /// Show every signed field, not only the decision screen
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    pager: PagerChoice,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Shows the review.
///
/// # Errors
/// Returns an error if no review can be made.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let searched = search_names(args.proposal.as_slice(), &args.key, global, terminal)?;
    let (global, client) = boundary_with(&searched, 0, args.proposal.as_deref())?;
    if let Some(name) = args.proposal.as_deref().filter(|name| is_grant(name)) {
        return grant::show(
            name,
            client,
            &global.trust(&args.trust),
            (args.pager, args.full),
            terminal,
        );
    }
    let subject = find_subject(args.proposal.as_deref(), client)?;
    if let ReviewSubject::Proposal(view) = &subject {
        check_open(view, true)?;
    }
    if let ReviewSubject::File(envelope) = &subject {
        check_statement(envelope, client, terminal)?;
    }
    let keys = args.key.find().unwrap_or_default();
    let review = ProposalReview::make(
        &subject,
        client,
        &global.trust(&args.trust),
        &keys.ids(),
        now(),
    )?;
    if terminal.json {
        terminal.object(review.to_json())?;
    } else if args.full {
        terminal.page(&review.full())?;
    } else {
        review.show(terminal, args.pager)?;
    }
    Ok(match review.found.standing {
        StatementVerdict::Sound => Exit::Done,
        StatementVerdict::NoTrust => {
            terminal.say(review.advice());
            Exit::NoTrust
        }
        StatementVerdict::Unsound => Exit::Refused,
    })
}

/// Asks the boundary whether the statement in a file was denied, or whether its proposal has ended. If the boundary
/// does not answer, the function only prints a note, because a statement can be signed offline.
///
/// # Errors
/// Returns an error if the statement was denied, or if its proposal has ended.
pub fn check_statement(
    envelope: &Envelope,
    client: &Client,
    terminal: &Terminal,
) -> CommandResult<()> {
    // The review reports an unreadable statement later.
    let Ok((payload, statement)) =
        read_statement::<Authorization>(Base64::Lenient, &envelope.payload)
    else {
        return Ok(());
    };
    let (id, digest) = (
        statement.predicate.proposal,
        AuthorizationDigest::of(&payload),
    );
    let unknown = |failure: &CommandFailure| {
        terminal.say(format!(
            "note: the boundary did not answer whether this statement was denied or has run: {}",
            PrintableText::text(&failure.message)
        ));
    };
    match client.get::<DenialsView>(&format!("/v1/denials/{digest}")) {
        Ok(view) => {
            if let Some(first) = view.denials.first() {
                let names = joined(
                    view.denials.iter().map(|denial| denial.approver.as_str()),
                    ", ",
                );
                let line =
                    PrintableText::text(&format!("{id} was denied by {names} at {}", first.at));
                let line = line
                    .then(denial_words(&view.denials))
                    .and(": nothing to sign");
                return fail_refused(line);
            }
        }
        Err(failure) => {
            unknown(&failure);
            return Ok(());
        }
    }
    match client.get::<ProposalView>(&format!("/v1/proposals/{id}")) {
        Ok(view) if view.digest == digest => check_open(&view, false),
        Ok(_) => Ok(()),
        Err(failure) if failure.has_code(Code::NotFound) => Ok(()),
        Err(failure) => {
            unknown(&failure);
            Ok(())
        }
    }
}

/// Finds the subject that the user named: a file, an id, or the last digits of an open proposal's id. If the user
/// gives no name, the subject is the only pending proposal.
///
/// # Errors
/// Returns an error if no subject or more than one subject matches, or if the boundary returns another proposal.
pub fn find_subject(named: Option<&str>, client: &Client) -> CommandResult<ReviewSubject> {
    if let Some(name) = named.filter(|name| is_file(name)) {
        return read_envelope(Path::new(name)).map(ReviewSubject::File);
    }
    let view = find_open(named, client)?;
    Ok(ReviewSubject::Proposal(Box::new(view)))
}

/// Finds an open proposal, like [`find_subject`], but never a file.
///
/// # Errors
/// Returns an error if no proposal or more than one proposal matches, or if the boundary returns another proposal.
pub fn find_open(named: Option<&str>, client: &Client) -> CommandResult<ProposalView> {
    let id = find_proposal(client, named, LookupRange::Open)?;
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    // Compare the id, because the person must not decide about another proposal than the named one.
    if view.id != id {
        let detail = format!(
            "nothing was signed: this command requested {id}, but the boundary returned {}",
            view.id
        );
        return fail_refused(detail);
    }
    Ok(view)
}

/// A boundary, with its answer for each name whether the boundary has it. A single boundary is not asked, so there are
/// no answers.
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
    // A file is not searched at the boundaries of the list.
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
/// Returns an error if no boundary or more than one boundary has the named proposal or grant.
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
    fail_usage(format!(
        "{} boundaries of your list have the proposal or grant {}: give its whole id, or the boundary with \
         --boundary NAME",
        found.len(),
        PrintableText::text(name.unwrap_or_default())
    ))
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
