//! The `submit` command sends an envelope that was signed elsewhere.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::commands::global::GlobalOptions;
use crate::commands::review_subject::read_envelope;
use crate::home::keys::KeyArgs;
use crate::remote::follow_run::next_line;
use crate::remote::run_printer::{OutputForm, RunPrinter};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::outcome_words::outcome_words;
use crate::terminal::streams::{Terminal, write_new};
use documents::record::receipt::Outcome;
use wire::api::view::Event;

/// Submit an envelope that was signed elsewhere. The step runs at once. The output is printed live, and the exit code
/// is that of the step.
#[derive(Debug, clap::Args)]
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
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.client(&args.key)?;
    let envelope = read_envelope(&args.file)?;
    let mut lines = client.post_lines("/v1/authorizations", &envelope)?;
    let mut sink = RunPrinter::new(terminal, args.form);
    let mut outcome: Option<Outcome> = None;
    let mut bundle: Option<Value> = None;
    while let Some(line) = next_line(&mut lines)? {
        match line["type"].as_str() {
            Some("bundle") => bundle = Some(line["bundle"].clone()),
            Some("problem") => return Err(crate::remote::client::refusal_of(&line["problem"])),
            // A boundary that does not stream the output answers only with the bundle.
            None if line.get("mediaType").is_some() => bundle = Some(line),
            _ => {
                if let Ok(event) = serde_json::from_value::<Event>(line.clone()) {
                    if let Event::Exit { outcome: ended } = &event {
                        outcome = Some(ended.clone());
                    }
                    sink.event(&event, &line)?;
                }
            }
        }
    }
    sink.end()?;
    let Some(bundle) = bundle else {
        return Err(CommandFailure::new(
            Exit::Unreachable,
            "the boundary sent no receipt: submit the same envelope again, because it can run only once",
        ));
    };
    let (receipt, of_receipt) = receipt_of(&bundle)?;
    let outcome = outcome.unwrap_or(of_receipt);
    if let Some(path) = &args.bundle {
        let mut bytes =
            serde_json::to_vec(&bundle).map_err(|error| CommandFailure::new(Exit::Unreachable, error.to_string()))?;
        bytes.push(b'\n');
        write_new(path, &bytes, terminal)?;
    }
    let exit = Exit::of_outcome(&outcome);
    if terminal.json {
        let exit = json!({"code": exit.code(), "kind": exit.word()});
        terminal.object(&json!({"type": "result", "receipt": receipt, "outcome": outcome, "exit": exit, "bundle": args.bundle.as_deref().map(Path::to_string_lossy)}))?;
    } else {
        terminal.say(&format!("{}; receipt {receipt}", outcome_words(&outcome)));
    }
    Ok(exit)
}

/// Returns the id and the outcome of an unverified bundle.
fn receipt_of(bundle: &Value) -> Result<(String, Outcome), CommandFailure> {
    use documents::record::authorization::Authorization;
    use documents::record::document::Statement;
    use documents::record::envelope::{Base64, Envelope};
    use documents::record::receipt::Receipt;
    let odd =
        |error: String| CommandFailure::new(Exit::Unreachable, format!("the boundary's bundle can't be read: {error}"));
    let envelope: Envelope =
        serde_json::from_value(bundle["receipt"].clone()).map_err(|error| odd(error.to_string()))?;
    let payload = |envelope: &Envelope| {
        Base64::Strict.decode("/payload", &envelope.payload).map_err(|error| odd(error.to_string()))
    };
    let receipt =
        Statement::<Receipt>::from_payload(&payload(&envelope)?).map_err(|error| odd(error.to_string()))?.predicate;
    let authorization = Statement::<Authorization>::from_payload(&payload(&receipt.authorization)?)
        .map_err(|error| odd(error.to_string()))?
        .predicate;
    Ok((authorization.proposal.receipt().to_string(), receipt.outcome))
}
