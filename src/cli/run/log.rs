//! The `run --log` command reads a person's own receipts and checks their chain.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::local::local_log::{LocalLog, LocalLogLine};
use client::home::keys::{KeyArgs, Keys};
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::outcome_words::outcome_words;
use client::terminal::streams::Terminal;
use client::terminal::table::aligned;
use documents::crypto::digest::ContentDigest;
use documents::crypto::key_id::KeyId;
use documents::crypto::ssh_key::SshKey;
use documents::record::envelope::{Base64, Envelope, Signed};
use documents::record::local_receipt::LocalReceipt;
use judgement::trust::open_signer::open_signer;

/// Prints every receipt and every error in the log.
///
/// # Errors
/// Returns an error if the log or a key cannot be read.
pub(super) fn show(key: &KeyArgs, more: &[PathBuf], terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let log = LocalLog::of_process()?;
    let known = known(&key.find()?, more)?;
    let Some(lines) = log.read()? else {
        terminal.say(&format!("there is no local log yet: {}", log.file().display()));
        return Ok(Exit::Done);
    };
    let mut chain = Chain::default();
    let mut rows = vec![["", "STEP", "OUTCOME", "SANDBOX", "ANSWERS", "BY"].map(str::to_owned)];
    for line in lines {
        let (number, found) = chain.take(line?, &known);
        match found {
            Found::Receipt(receipt) if terminal.json => terminal.object(&json!({
                "number": number, "digest": chain.last, "keyid": chain.keyid, "receipt": receipt,
            }))?,
            Found::Receipt(receipt) => rows.push([
                number.to_string(),
                receipt.step.reference.to_string(),
                outcome_words(&receipt.outcome),
                receipt.sandbox.level.word().to_owned(),
                receipt.answers.len().to_string(),
                format!("{} at {}", receipt.person, receipt.host),
            ]),
            Found::Wrong(why) if terminal.json => terminal.object(&json!({"number": number, "wrong": why}))?,
            Found::Wrong(why) => rows.push([
                number.to_string(),
                format!("WRONG: {why}"),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]),
        }
    }
    let sound = chain.wrong == 0;
    let exit = if sound { Exit::Done } else { Exit::CheckSaidNo };
    if terminal.json {
        terminal.object(&json!({
            "type": "local-log", "file": log.file().to_string_lossy(), "receipts": chain.number, "wrong": chain.wrong, "last": chain.last,
            "exit": exit.code(),
        }))?;
        return Ok(exit);
    }
    terminal.put(aligned(&rows).as_bytes())?;
    let last = chain.last.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    if sound {
        terminal.say(&format!(
            "receipts: {}, each signed by one of your keys and linked to the receipt before it; the last is {last}. \
             The log alone can't show if receipts are missing at its end",
            chain.number
        ));
    } else {
        terminal.say(&format!(
            "{} of {} lines are wrong: the log was damaged or edited, or signed by a key that is not named here \
             (--key, --also-key); the last is {last}",
            chain.wrong, chain.number
        ));
    }
    Ok(exit)
}

fn known(keys: &Keys, more: &[PathBuf]) -> Result<BTreeMap<KeyId, SshKey>, CommandFailure> {
    let mut known: BTreeMap<KeyId, SshKey> =
        keys.all().map(|signer| (signer.key().keyid(), signer.key().clone())).collect();
    for path in more {
        let key = open_signer(path).map_err(|error| CommandFailure::usage(error.to_string()))?.key().clone();
        known.insert(key.keyid(), key);
    }
    Ok(known)
}

/// Result of checking the receipt chain, up to the last line that was read.
#[derive(Debug, Default)]
struct Chain {
    number: u64,
    wrong: u64,
    last: Option<ContentDigest>,
    keyid: Option<KeyId>,
}

enum Found {
    Receipt(Box<LocalReceipt>),
    Wrong(String),
}

impl Chain {
    fn take(&mut self, line: LocalLogLine, known: &BTreeMap<KeyId, SshKey>) -> (u64, Found) {
        self.number += 1;
        let found = match line {
            LocalLogLine::Envelope(envelope) => self.envelope(&envelope, known),
            LocalLogLine::Broken(why) => {
                self.last = None;
                Err(format!("the line is no envelope: {why}"))
            }
            LocalLogLine::Torn(bytes) => Err(format!(
                "the end of the line is missing after {bytes} bytes (a write was interrupted); the next run moves \
                 the line to another file"
            )),
        };
        let found = found.map_or_else(Found::Wrong, |receipt| Found::Receipt(Box::new(receipt)));
        self.wrong += u64::from(matches!(found, Found::Wrong(_)));
        (self.number, found)
    }

    fn envelope(&mut self, envelope: &Envelope, known: &BTreeMap<KeyId, SshKey>) -> Result<LocalReceipt, String> {
        let before = self.last.take();
        let signed =
            Signed::<LocalReceipt>::from_envelope(envelope, Base64::Strict).map_err(|error| error.to_string())?;
        // Keep the digest of a refused receipt too, because the next receipt names it.
        self.last = Some(ContentDigest::from_bytes(signed.digest()));
        if signed.signature_count() != 1 {
            return Err(format!("{} signatures instead of one", signed.signature_count()));
        }
        self.keyid = signed.claimed().next().copied();
        let verified = signed.verify(|keyid| known.get(keyid)).map_err(|error| error.to_string())?;
        let receipt = verified.predicate().clone();
        if receipt.previous == before {
            return Ok(receipt);
        }
        let names = |digest: Option<ContentDigest>| digest.map_or("none".to_owned(), |digest| digest.to_string());
        Err(format!(
            "the receipt names {} as the receipt before, but the receipt before is {}: a receipt was removed, \
             inserted or moved",
            names(receipt.previous),
            names(before)
        ))
    }
}
