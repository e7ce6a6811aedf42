//! `output`: what a run wrote.

use serde_json::json;

use crate::boundary::view::{ProposalStatus, ProposalView, ReceiptView};
use crate::cli::global::GlobalOptions;
use crate::crypto::digest::{Blake3Digest, ContentDigest};
use crate::home::keys::KeyArgs;
use crate::record::document::Statement;
use crate::record::envelope::Base64;
use crate::record::receipt::{Receipt, Stream};
use crate::record::stream_name::StreamName;
use crate::remote::client::Client;
use crate::remote::follow::follow;
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::remote::run_printer::{OutputForm, RunPrinter};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Print what a run wrote, checked against the digests of its receipt. With -f, as it comes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign output 4f2a9c            what it wrote to both streams
  countersign output 4f2a9c -f         while it runs
  countersign output 4f2a9c --stderr   only its standard error, on the standard error

The receipt's signature is not checked here: `countersign verify` does that, on the bundle.")]
pub struct Args {
    /// The proposal's or receipt's id, or at least 6 of its last digits; nothing means the only finished one
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    /// Follow the run while it writes
    #[arg(short, long)]
    follow: bool,
    /// Only its standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only its standard error
    #[arg(long)]
    stderr: bool,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

/// Prints the output.
///
/// # Errors
/// When there is none, or it is not what the receipt names.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut client = global.client(&args.key)?;
    let only = if args.follow { ProposalStatus::Running } else { ProposalStatus::Finished };
    let seen = |client: &Client| {
        let id = find_proposal(client, args.proposal.as_deref(), LookupRange::Visible(only))?;
        let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
        Ok::<_, CommandFailure>((id, view))
    };
    let (id, view) = match seen(&client) {
        // An agent's token shows its own proposals only. A person at the same terminal reads the others with a key.
        Err(_) if args.proposal.is_some() && !client.token_reads_all() => {
            client = global.reviewer(&args.key, terminal)?;
            seen(&client)?
        }
        seen => seen?,
    };
    let mut sink = RunPrinter::new(terminal, args.form);
    if args.follow {
        follow(&client, &id, &mut sink)?;
        return Ok(Exit::Done);
    }
    let Some(receipt) = &view.receipt else {
        let advice = if view.status == ProposalStatus::Running { "follow it with -f" } else { "there is no output" };
        return Err(CommandFailure::new(Exit::Refused, format!("{id} is {}: {advice}", view.status.word())));
    };
    let receipt: ReceiptView = client.get(&format!("/v1/receipts/{receipt}"))?;
    let odd = |error: String| {
        CommandFailure::new(Exit::Unreachable, format!("the boundary's receipt can't be read: {error}"))
    };
    let payload =
        Base64::Strict.decode("/payload", &receipt.envelope.payload).map_err(|error| odd(error.to_string()))?;
    let written =
        Statement::<Receipt>::from_payload(&payload).map_err(|error| odd(error.to_string()))?.predicate.output;
    if terminal.json {
        terminal.object(&json!({"proposal": id, "receipt": receipt.id, "output": written}))?;
        return Ok(Exit::Done);
    }
    for (name, stream, wanted) in
        [(StreamName::Stdout, &written.stdout, !args.stderr), (StreamName::Stderr, &written.stderr, !args.stdout)]
    {
        if !wanted || stream.recorded == 0 {
            continue;
        }
        let bytes = client.bytes(&format!("/v1/outputs/{}", stream.blake3))?;
        check(&bytes, stream)?;
        sink.output(name, &bytes)?;
        if stream.truncated {
            terminal.say(&format!("{} of {} bytes were recorded", stream.recorded, stream.bytes));
        }
    }
    sink.end()?;
    Ok(Exit::Done)
}

/// The bytes are those that the receipt names.
fn check(bytes: &[u8], stream: &Stream) -> Result<(), CommandFailure> {
    if Blake3Digest::of(bytes) == stream.blake3 && ContentDigest::of(bytes) == stream.sha256 {
        Ok(())
    } else {
        Err(CommandFailure::new(
            Exit::CheckSaidNo,
            "the output that the boundary gave is not the one that its receipt names: don't use it",
        ))
    }
}
