//! The `submit` command sends an envelope that was signed elsewhere.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::{
    CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, OutputForm, RunPrinter, Terminal,
    commands::review::read_envelope, outcome_words, read_statement, remote::follow_run::follow,
    write_document,
};
use documents::{Authorization, Base64, Envelope, Predicate, Receipt};
use wire::{ProposalStatus, ProposalView};

/// Pause between two questions whether the run has begun.
const PAUSE: Duration = Duration::from_millis(250);

/// Submit an envelope that was signed elsewhere. The step runs at once. The output is printed live, and the exit code
/// is that of the step.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign submit signed.json
  countersign submit signed.json --bundle run.bundle.json")]
pub struct Args {
    /// The file of the envelope, or - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the bundle of the receipt to this file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

/// Sends the envelope and waits for the end of the run.
///
/// # Errors
/// Returns the refusal of the boundary, or an error if the connection ended before the end of the run.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client(&args.key)?;
    let envelope = read_envelope(&args.file)?;
    let id = payload_of::<Authorization>(&envelope)?.proposal;
    let view = || client.get::<ProposalView>(&format!("/v1/proposals/{id}"));
    // This request gets the access with a key that both threads use. Ignore a failure, because the boundary does not
    // know the proposal yet if the statement was written offline.
    let _ = view();
    let posting = {
        let client = client.clone();
        std::thread::spawn(move || client.submit(&envelope))
    };
    let mut sink = RunPrinter::new(terminal, args.form);
    let mut followed = false;
    while !followed && !posting.is_finished() {
        std::thread::sleep(PAUSE);
        followed = view().is_ok_and(|view| view.status == ProposalStatus::Running);
    }
    if followed {
        follow(&client, &id, &mut sink)?;
    }
    let bundle = posting
        .join()
        .map_err(|_| CommandFailure::unreachable("the request ended too early"))??;
    // A token may permit submitting, but not reading. Then the command prints no output.
    if !followed && view().is_ok() {
        follow(&client, &id, &mut sink)?;
    }
    let envelope = serde_json::from_value::<Envelope>(bundle["receipt"].clone()).map_err(unread)?;
    let (receipt, outcome) = (id.receipt(), payload_of::<Receipt>(&envelope)?.outcome);
    if let Some(path) = &args.bundle {
        write_document(path, &bundle, terminal)?;
    }
    let exit = Exit::of_outcome(&outcome);
    let told = json!({"code": exit.code(), "kind": exit.word()});
    terminal.report(
        json!({"type": "result", "receipt": receipt, "outcome": outcome, "exit": told, "bundle": args.bundle.as_deref().map(Path::to_string_lossy)}),
        format!("{}; receipt {receipt}", outcome_words(&outcome)),
    )?;
    Ok(exit)
}

/// Returns the content of an unverified envelope.
fn payload_of<P: Predicate>(envelope: &Envelope) -> CommandResult<P> {
    let (_, statement) = read_statement(Base64::Lenient, &envelope.payload).map_err(unread)?;
    Ok(statement.predicate)
}

fn unread(error: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::usage(format!("the envelope can't be read: {error}"))
}
