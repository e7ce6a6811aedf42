//! The `review` command shows what a signature would cover, and never signs.

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, PagerChoice,
    PrintableText, ProposalReview, ReviewSubject, StatementVerdict, Terminal, TrustArgs,
    boundary_with, check_open, commands::grant, denial_words, find_subject, is_grant, now,
    read_statement, search_names,
};
use documents::{Authorization, AuthorizationDigest, Base64, Code, Envelope, joined};
use wire::{DenialsView, ProposalView};

/// Show what a signature would cover; never signs.
#[derive(Debug, clap::Args)]
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
    let review = ProposalReview::make(&subject, client, &global.trust(&args.trust), &keys, now())?;
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
                return Err(CommandFailure::refused(line));
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
