//! Follows a proposal to its end: output as it comes, then the exit code.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::boundary::view::{Event, ProposalStatus, ProposalView};
use crate::crypto::cosignature::lines_of_others;
use crate::crypto::json as strict;
use crate::crypto::note::TlogProof;
use crate::record::bundle::{Bundle, MAX_BUNDLE_BYTES};
use crate::record::ident::{ProposalId, ReceiptId};
use crate::remote::client::Client;
use crate::remote::run_printer::RunPrinter;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::outcome_words::outcome_words;
use crate::terminal::streams::{Terminal, write_new};
use crate::trust::chain::Pinned;

/// The longest line of a stream: a bundle, with room to spare.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// How often a broken stream is taken up again without anything new, with a pause that grows.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, as a power of two of the first.
const MOST_DOUBLED: u32 = 4;
/// How long a boundary that was there, and can't be reached, is asked again: it is restarted, say.
const RESTART: Duration = Duration::from_secs(120);
/// How long one is asked again that has not answered yet.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// Follows a proposal until nothing more can come of it.
///
/// # Errors
/// When the boundary can't be reached for long, or refuses to tell.
pub fn follow(client: &Client, id: &ProposalId, sink: &mut RunPrinter<'_>) -> Result<ProposalView, Failure> {
    let path = format!("/v1/proposals/{id}/events");
    let mut after = None;
    let mut tries = 0;
    let mut outage = Outage::new(FIRST_ANSWER);
    loop {
        let before = after;
        let broken = match client.lines(&path, after) {
            Ok(lines) => {
                // The boundary was there, so one that is out of reach later is restarted.
                outage = Outage::new(RESTART);
                read_events(lines, &mut after, sink)?
            }
            Err(failure) if failure.exit == Exit::Unreachable => Some(failure),
            Err(failure) => return Err(failure),
        };
        match client.get::<ProposalView>(&format!("/v1/proposals/{id}")) {
            // A stream may break off just before its last events: once more, for what is missing.
            Ok(view) if is_over(view.status) && (broken.is_none() || tries >= TRIES) => {
                sink.end()?;
                return Ok(view);
            }
            Ok(_) => {
                outage = Outage::new(RESTART);
                tries = if after == before { tries + 1 } else { 0 };
                if tries > TRIES {
                    return Err(broken.unwrap_or_else(|| {
                        Failure::new(
                            Exit::Unreachable,
                            "the boundary ends the stream of events without an end of the run",
                        )
                    }));
                }
                std::thread::sleep(PAUSE * 2_u32.pow(tries.min(MOST_DOUBLED)));
            }
            Err(failure) => outage.wait(failure, sink.terminal())?,
        }
    }
}

/// A boundary that can't be reached for a while.
struct Outage {
    most: Duration,
    began: Option<Instant>,
    tries: u32,
}

impl Outage {
    const fn new(most: Duration) -> Self {
        Self { most, began: None, tries: 0 }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure itself, when another try is of no use, or it lasts too long.
    fn wait(&mut self, failure: Failure, terminal: &Terminal) -> Result<(), Failure> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if failure.exit != Exit::Unreachable || began.elapsed() >= self.most {
            return Err(failure);
        }
        if self.tries == 0 {
            terminal.say(&format!("{failure}; trying again for up to {} s", self.most.as_secs()));
        }
        std::thread::sleep(PAUSE * 2_u32.pow(self.tries.min(MOST_DOUBLED)));
        self.tries += 1;
        Ok(())
    }
}

/// Reads events to the end of the stream; gives why it broke off, if it did.
fn read_events(
    mut lines: impl std::io::BufRead,
    after: &mut Option<u64>,
    sink: &mut RunPrinter<'_>,
) -> Result<Option<Failure>, Failure> {
    loop {
        match next_line(&mut lines) {
            Ok(None) => return Ok(None),
            Ok(Some(value)) => {
                // An event of a later version is passed over, and not asked for again.
                if let Ok(event) = serde_json::from_value::<Event>(value.clone()) {
                    sink.event(&event, &value)?;
                }
                *after = value["id"].as_u64().or(*after);
            }
            Err(failure) => return Ok(Some(failure)),
        }
    }
}

/// The next document of a stream of lines; empty lines only show that it lives.
///
/// # Errors
/// When the stream broke off.
pub fn next_line(lines: &mut impl std::io::BufRead) -> Result<Option<Value>, Failure> {
    let broke = |what: String| Failure::new(Exit::Unreachable, format!("the stream of events broke off: {what}"));
    loop {
        let mut line = Vec::new();
        let read = lines
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| broke(error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        return serde_json::from_slice(&line).map(Some).map_err(|error| broke(error.to_string()));
    }
}

/// Whether nothing more can come of it.
#[must_use]
pub const fn is_over(status: ProposalStatus) -> bool {
    match status {
        ProposalStatus::Pending | ProposalStatus::Approved | ProposalStatus::Running => false,
        ProposalStatus::Finished
        | ProposalStatus::Denied
        | ProposalStatus::Expired
        | ProposalStatus::Cancelled
        | ProposalStatus::Refused => true,
    }
}

/// How a command that waited ends.
#[must_use]
fn exit_of(view: &ProposalView) -> Exit {
    match (view.status, &view.outcome, &view.refusal) {
        (ProposalStatus::Finished, Some(outcome), _) => Exit::of_outcome(outcome),
        (ProposalStatus::Finished, None, _) => Exit::Unreachable,
        (ProposalStatus::Expired, ..) => Exit::TimedOut,
        (ProposalStatus::Refused, _, Some(refusal)) => Exit::of_code(refusal.code),
        (ProposalStatus::Denied | ProposalStatus::Cancelled | ProposalStatus::Refused, ..) => Exit::Refused,
        // Not over: whoever asks has stopped waiting.
        (ProposalStatus::Pending | ProposalStatus::Approved | ProposalStatus::Running, ..) => Exit::TimedOut,
    }
}

/// What is wanted of a run besides its end.
#[derive(Debug, Clone, Copy)]
pub struct WantedBundle<'a> {
    /// Where its bundle goes.
    pub bundle: Option<&'a Path>,
    /// How many witnesses should have cosigned the bundle's checkpoint before it is written; nothing means one where the
    /// bundle's roster names any.
    pub witnesses: Option<u64>,
}

/// Fetches the bundle if asked for, says how it ended, and gives the exit code.
///
/// # Errors
/// When the bundle can't be had or written.
pub fn conclude(
    client: &Client,
    view: &ProposalView,
    wanted: WantedBundle<'_>,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let exit = exit_of(view);
    let bundle = wanted.bundle;
    let mut bundle_failure = None;
    if let Some(path) = bundle {
        match &view.receipt {
            Some(receipt) => {
                let written = fetch(client, receipt, wanted.witnesses, terminal)
                    .and_then(|bytes| write_new(path, &bytes, terminal));
                bundle_failure = written.err();
            }
            None => terminal.say("there is no receipt, so no bundle was written"),
        }
    }
    if terminal.json {
        let path = bundle.filter(|_| bundle_failure.is_none() && view.receipt.is_some());
        terminal.object(&json!({
            "type": "result",
            "proposal": view,
            "exit": {"code": exit.code(), "kind": exit.word()},
            "bundle": path.map(Path::to_string_lossy),
        }))?;
    } else {
        terminal.say(&ending(view));
    }
    // The run's own code matters more than a file, but a bundle that was asked for and is not there is no success.
    match bundle_failure {
        Some(failure) if exit.code() == 0 => Err(Failure::new(
            Exit::Unreachable,
            format!("the run ended well, but its bundle could not be had: {failure}"),
        )),
        Some(failure) => {
            terminal.say(&format!("no bundle: {failure}"));
            Ok(exit)
        }
        None => Ok(exit),
    }
}

/// The bundle; cosignatures come a moment after the receipt, so it is asked for until there are enough. Who they are of is
/// for the verifier to find out.
fn fetch(client: &Client, receipt: &ReceiptId, wanted: Option<u64>, terminal: &Terminal) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + COSIGNED;
    let mut outage = Outage::new(RESTART);
    loop {
        let bytes = match client.bytes(&format!("/v1/receipts/{receipt}/bundle")) {
            Ok(bytes) => bytes,
            Err(failure) => {
                outage.wait(failure, terminal)?;
                continue;
            }
        };
        let (found, named) = cosignatures(&bytes);
        let witnesses = wanted.unwrap_or_else(|| u64::from(named));
        if found >= witnesses {
            return Ok(bytes);
        }
        if Instant::now() > deadline {
            terminal.say(&format!(
                "only {found} of {witnesses} witnesses have cosigned so far; `countersign wait {} --witness {witnesses} --bundle \
                 FILE` gets the bundle again later",
                receipt.proposal()
            ));
            return Ok(bytes);
        }
        std::thread::sleep(COSIGNED_PAUSE);
    }
}

/// As many of the bundle's checkpoint may be cosignatures, and whether its roster names witnesses at all.
fn cosignatures(bundle: &[u8]) -> (u64, bool) {
    let Ok(bundle) = strict::parse_as::<Bundle>(bundle, MAX_BUNDLE_BYTES) else { return (0, false) };
    let proof = TlogProof::parse(&bundle.proofs.receipt).ok();
    let roster = bundle.roster.last().and_then(|envelope| Pinned::from_envelope(envelope).ok());
    let named = matches!(roster, Some(Pinned::Roster(roster)) if !roster.tables().witness.is_empty());
    (proof.map_or(0, |proof| lines_of_others(&proof.checkpoint)), named)
}

/// How long is waited for witnesses: they are asked at once, and again after a first trouble.
pub const COSIGNED: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
pub const COSIGNED_PAUSE: Duration = Duration::from_millis(250);

fn ending(view: &ProposalView) -> String {
    let mut words = match (&view.outcome, &view.refusal) {
        (Some(outcome), _) => outcome_words(outcome),
        (None, Some(refusal)) => format!("{} ({}): {}", view.status.word(), refusal.code, refusal.detail),
        (None, None) => view.status.word().to_owned(),
    };
    if let Some(receipt) = &view.receipt {
        words.push_str(&format!("; receipt {receipt}"));
    }
    words
}

/// Makes Ctrl-C stop the waiting and say that the run goes on.
pub fn stop_waiting_on_interrupt(id: &ProposalId) {
    let id = id.clone();
    // Without this thread Ctrl-C ends the program all the same, only without the words.
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = writeln!(
                std::io::stderr(),
                "\nstopped waiting, the proposal goes on: countersign wait {id}, or countersign cancel {id}"
            );
            std::process::exit(i32::from(Exit::Signal(2).code()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::receipt::Outcome;
    use crate::record::receipt::Status;

    #[test]
    fn a_shell_s_exit_code_for_a_file_that_was_too_large_is_explained() {
        let words = |code| outcome_words(&Outcome { exit_code: Some(code), ..Outcome::of(Status::Failed) });
        assert!(words(153).contains("153 (a shell's code for a program that reached the limit file_bytes)"));
        assert_eq!(words(3), "failed, exit code 3");
    }

    #[test]
    fn a_stream_is_read_line_by_line_and_a_cut_stream_is_reported() {
        let mut lines = &b"{\"id\":1,\"type\":\"status\",\"status\":\"running\"}\n\n{\"id\":2}\n{\"id\""[..];
        assert_eq!(next_line(&mut lines).expect("line").expect("some")["id"], 1);
        assert_eq!(next_line(&mut lines).expect("line").expect("some")["id"], 2);
        assert_eq!(next_line(&mut lines).expect_err("cut").exit, Exit::Unreachable);
        assert_eq!(next_line(&mut lines).expect("end"), None);
    }
}
