//! The `output` command prints the output of a run.

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
use crate::remote::follow_run::follow;
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::remote::refused_programs;
use crate::remote::run_printer::{OutputForm, RunPrinter, truncated_words};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::refused_programs::print_hints;
use crate::terminal::streams::Terminal;

/// Print the output of a run after a check against the digests in its receipt. With -f, print the output live.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign output 4f2a9c            the standard output and the standard error
  countersign output 4f2a9c -f         live, while it runs
  countersign output 4f2a9c --stderr   only the standard error of the run, on the standard error

This command does not check the signature of the receipt. Check it with `countersign verify` on the bundle.")]
pub struct Args {
    /// The id of the proposal or the receipt, or the last digits of the id (at least 6). The default is the only
    /// finished proposal
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    /// Follow the run and print its output live
    #[arg(short, long)]
    follow: bool,
    /// Print only the standard output of the run
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Print only the standard error of the run
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
/// Returns an error if there is no output, or if the output differs from the digests in the receipt.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut client = global.client(&args.key)?;
    let only = if args.follow { ProposalStatus::Running } else { ProposalStatus::Finished };
    let seen = |client: &Client| {
        let id = find_proposal(client, args.proposal.as_deref(), LookupRange::Visible(only))?;
        let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
        Ok::<_, CommandFailure>((id, view))
    };
    let (id, view) = match seen(&client) {
        // The boundary shows an agent's token only the proposals of this agent. At the same terminal, a person can read
        // the other proposals with a key.
        Err(_) if args.proposal.is_some() && !client.token_reads_all() => {
            client = global.reviewer(&args.key, terminal)?;
            seen(&client)?
        }
        seen => seen?,
    };
    let mut sink = RunPrinter::new(terminal, args.form);
    if args.follow {
        let view = follow(&client, &id, &mut sink)?;
        refused_programs::explain(&client, &view, sink.complaints(), terminal)?;
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
    let signed = Statement::<Receipt>::from_payload(&payload).map_err(|error| odd(error.to_string()))?.predicate;
    let written = &signed.output;
    if terminal.json {
        let mut object = json!({"proposal": id, "receipt": receipt.id, "output": written});
        let hints = refused_programs::of_receipt(&view, &signed, sink.complaints());
        if !hints.is_empty() {
            object["hints"] = json!(hints);
        }
        terminal.object(&object)?;
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
            terminal.say(&truncated_words(name, stream.bytes, stream.recorded));
        }
    }
    sink.end()?;
    print_hints(&refused_programs::of_receipt(&view, &signed, sink.complaints()), terminal)?;
    Ok(Exit::Done)
}

fn check(bytes: &[u8], stream: &Stream) -> Result<(), CommandFailure> {
    if Blake3Digest::of(bytes) == stream.blake3 && ContentDigest::of(bytes) == stream.sha256 {
        Ok(())
    } else {
        Err(CommandFailure::new(
            Exit::CheckSaidNo,
            "the output from the boundary does not match the digests in the receipt: don't use the output",
        ))
    }
}
