//! The `deny` command signs a denial.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, ProposalReview,
    ReviewSubject, SignaturePurpose, Signer, Terminal, TrustArgs, boundary_with, check_open,
    fail_refused, find_subject, home::keys, now, review::render::brief, search_names,
    write_document,
};
use documents::{Authorization, Denial, Envelope};
use wire::{DenialView, ProposalView, StatementDenial};

/// Sign a denial: this statement never runs any more, and a run that has started is ended.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign deny 4f2a9c --reason 'not during the release'
  countersign deny --yes                            the only pending proposal, without a question
  countersign deny statement.json                   the boundary refuses this offline statement from now on
  countersign deny statement.json -o denial.json    only write the denial to a file")]
pub struct Args {
    /// The id of a proposal, the last digits of an open proposal's id (at least 6), or an envelope file (./NAME or
    /// *.json). The default is the only pending proposal
    #[arg(value_name = "ID|FILE")]
    proposal: Option<String>,
    /// The reason for the denial, which the proposer, other approvers and readers of the log can see. Without this
    /// option, the command asks for the reason
    #[arg(long)]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write the signed denial to this file instead of sending it to the boundary
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Shows the statement, asks, signs the denial and sends it to the boundary.
///
/// # Errors
/// Returns an error if the statement cannot be read, the person declines, or the boundary refuses the denial.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let searched = search_names(args.proposal.as_slice(), &args.key, global, terminal)?;
    let (global, client) = boundary_with(&searched, 0, args.proposal.as_deref())?;
    let keys = args.key.find()?;
    let subject = find_subject(args.proposal.as_deref(), client)?;
    if let ReviewSubject::Proposal(view) = &subject {
        // A denial also ends an approved or running proposal.
        check_open(view, true)?;
    }
    let review = ProposalReview::make(
        &subject,
        client,
        &global.trust(&args.trust),
        &keys.ids(),
        now(),
    )?;
    let screen = brief(&review.found);
    if args.output.as_deref() == Some(std::path::Path::new("-")) {
        terminal.show_aside(&screen);
    } else if !terminal.json {
        terminal.show(&screen)?;
    } else if !args.yes {
        terminal.show_aside(&screen);
    }
    let roster = review.sources.roster.roster();
    let signer = keys
        .preferred(|key| roster.is_some_and(|roster| roster.approver_of(&key.keyid()).is_some()))?;
    let reason = match &args.reason {
        None if !args.yes => ask_reason(&review, terminal)?,
        given => given.clone().unwrap_or_default(),
    };
    if !args.yes {
        ask_consent(terminal)?;
    }
    let envelope = sign(&review, &reason, signer)?;
    let Some(path) = &args.output else {
        return hand_in(&subject, &review, envelope, client, terminal);
    };
    write_document(path, &envelope, terminal)?;
    if terminal.json && path != std::path::Path::new("-") {
        terminal.object(
            json!({"digest": review.found.digest, "keyid": signer.key().keyid(), "file": path.to_string_lossy()}),
        )?;
    }
    Ok(Exit::Done)
}

/// Asks for the reason of a denial.
///
/// # Errors
/// Returns an error if the statement is no authorization, or if there is no terminal.
pub fn ask_reason(review: &ProposalReview, terminal: &Terminal) -> CommandResult<String> {
    let signed = statement(review)?;
    let question = format!(
        "deny {} at {}. Reason, for {} and colleagues:",
        signed.step.reference, signed.boundary.name, signed.proposer
    );
    terminal.ask(&question, "say --yes, and give the reason with --reason")
}

/// Asks whether a denial shall be signed.
///
/// # Errors
/// Returns an error if the person does not agree, or if there is no terminal.
pub fn ask_consent(terminal: &Terminal) -> CommandResult<()> {
    match &*terminal.ask(
        "Sign this denial, which cannot be undone? Type yes:",
        "say --yes",
    )? {
        "yes" => Ok(()),
        _ => fail_refused("nothing was signed"),
    }
}

/// Signs a denial of the reviewed statement. A denial can only prevent or end a run, so no trusted roster is needed.
///
/// # Errors
/// Returns an error if the payload is no authorization, the reason is too long, or the key did not sign.
pub fn sign(review: &ProposalReview, reason: &str, signer: &dyn Signer) -> CommandResult<Envelope> {
    let payload = payload(review, reason)?;
    Ok(Envelope::new(
        &payload,
        vec![keys::sign(signer, SignaturePurpose::Deny, &payload)?],
    ))
}

/// Returns the bytes that a denial signs.
///
/// # Errors
/// Returns an error if the payload is no authorization, or if the reason is too long.
pub fn payload(review: &ProposalReview, reason: &str) -> CommandResult<Vec<u8>> {
    let signed = statement(review)?;
    let denial = Denial {
        boundary: signed.boundary.clone(),
        reason: reason.to_owned(),
    };
    denial
        .of(review.found.digest)
        .to_payload()
        .map_err(|error| {
            CommandFailure::usage(format!(
                "the denial can't be written: {error}; shorten the reason"
            ))
        })
}

/// Sends a denial to the boundary, and prints the new state of the proposal.
///
/// # Errors
/// Returns an error if the boundary refuses the denial or cannot be reached.
pub fn hand_in(
    subject: &ReviewSubject,
    review: &ProposalReview,
    denial: Envelope,
    client: &Client,
    terminal: &Terminal,
) -> CommandResult {
    match subject {
        ReviewSubject::Proposal(_) => {
            let answer = send(review, &denial, client)?;
            let words = format!("denied: {} is {}", answer.id, answer.status);
            terminal.answer(&answer, words)
        }
        ReviewSubject::File(_) => {
            let denial = StatementDenial {
                denial,
                payload: STANDARD.encode(&review.sources.payload),
            };
            let answer: DenialView = client.post("/v1/denials", &denial)?;
            terminal.answer(&answer, denied_words(&answer))
        }
    }
}

/// Sends the denial of a proposal to the boundary, and returns the new state of the proposal.
///
/// # Errors
/// Returns an error if the boundary refuses the denial or cannot be reached.
pub fn send(
    review: &ProposalReview,
    denial: &Envelope,
    client: &Client,
) -> CommandResult<ProposalView> {
    client.post(
        &format!("/v1/proposals/{}/denial", statement(review)?.proposal),
        denial,
    )
}

fn denied_words(answer: &DenialView) -> String {
    match answer.status {
        Some(status) => format!("denied: {} is {status}", answer.proposal),
        None => format!(
            "denied: the boundary has not seen {}, but has stored your denial (log entry {}); the boundary refuses \
             the statement until the window ends at {}, and after this time as expired",
            answer.proposal, answer.index, answer.kept_until
        ),
    }
}

/// Returns the reviewed authorization.
///
/// # Errors
/// Returns an error if the payload is no authorization.
pub fn statement(review: &ProposalReview) -> CommandResult<&Authorization> {
    let statement = review.found.statement.as_ref();
    statement
        .map(|statement| &statement.predicate)
        .ok_or_else(|| {
            CommandFailure::refused(
                "nothing was signed: the statement is no authorization, so it can never run",
            )
        })
}
