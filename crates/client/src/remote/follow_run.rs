//! Waits for the end of a proposal, prints the output and returns the exit code.

use std::{
    io::{BufRead as _, Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Client, CommandFailure, CommandResult, Exit, PrintableText, RunPrinter, Terminal, denial_words,
    eprintln_quietly, outcome_words, remote::read_receipt::explain_refusals, write_new,
};
use documents::{
    Bundle, Code, MAX_BUNDLE_BYTES, MAX_MADE_BYTES, Outcome, ProposalId, ReceiptId, Status,
    TlogProof, json as strict, lines_of_others, refused_words,
};
use verdict::Chain;
use wire::{Event, ProposalStatus, ProposalView};

/// Maximum length of a line in a stream, enough for the largest bundle.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// Maximum number of attempts to read the last events of a run that has ended.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);
/// Number of times that the pause between two attempts can double, starting with [`PAUSE`].
const MOST_DOUBLED: u32 = 4;
/// Maximum time for attempts to reach a boundary that has answered before, because it may be restarting.
const RESTART: Duration = Duration::from_secs(120);
/// Maximum time for attempts to reach a boundary that has never answered.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// Waits until the status of a proposal is final.
///
/// # Errors
/// Returns an error if the boundary cannot be reached for a long time, or if the boundary refuses the request.
pub fn follow(
    client: &Client,
    id: &ProposalId,
    sink: &mut RunPrinter<'_>,
) -> CommandResult<ProposalView> {
    let path = format!("/v1/proposals/{id}/events");
    let mut after = None;
    let (mut tries, mut told) = (0, false);
    let mut outage = Outage::new(FIRST_ANSWER);
    loop {
        let before = after;
        let broken = match client.lines(&path, after) {
            Ok(lines) => {
                // The boundary has answered, so a later outage may be a restart.
                outage = Outage::new(RESTART);
                read_events(lines, &mut after, sink)?
            }
            Err(failure) if failure.exit == Exit::Unreachable => Some(failure),
            Err(failure) => return Err(failure),
        };
        match client.get::<ProposalView>(&format!("/v1/proposals/{id}")) {
            // The stream may have lost its last events, so read the stream once more before the end.
            Ok(view) if view.status.has_ended() && (broken.is_none() || tries >= TRIES) => {
                sink.end()?;
                return Ok(view);
            }
            // The boundary has as many readers as it permits. The proposal may wait for hours, so the command tries
            // again until the boundary permits another reader.
            Ok(view)
                if !view.status.has_ended()
                    && broken
                        .as_ref()
                        .is_some_and(|broken| broken.has_code(Code::Busy)) =>
            {
                outage = Outage::new(RESTART);
                if !told {
                    sink.terminal.say(
                        "the boundary has too many readers; the command waits for a free place",
                    );
                    told = true;
                }
                std::thread::sleep(PAUSE * 2_u32.pow(MOST_DOUBLED));
            }
            // A proxy in between may end each connection. The command goes on as long as it can read the status.
            Ok(_) => {
                outage = Outage::new(RESTART);
                tries = if after == before {
                    tries.saturating_add(1)
                } else {
                    0
                };
                std::thread::sleep(PAUSE * 2_u32.pow(tries.min(MOST_DOUBLED)));
            }
            Err(failure) => outage.wait(failure, sink.terminal).map_err(|mut failure| {
                if failure.exit == Exit::Unreachable {
                    failure
                        .message
                        .push_str(&format!("; the proposal continues: countersign wait {id}"));
                }
                failure
            })?,
        }
    }
}

/// Period in which the boundary cannot be reached.
struct Outage {
    most: Duration,
    began: Option<Instant>,
    tries: u32,
}

impl Outage {
    const fn new(most: Duration) -> Self {
        Self {
            most,
            began: None,
            tries: 0,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Returns `failure` if another attempt is useless, or if the outage has lasted too long.
    fn wait(&mut self, failure: CommandFailure, terminal: &Terminal) -> CommandResult<()> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if failure.exit != Exit::Unreachable || began.elapsed() >= self.most {
            return Err(failure);
        }
        if self.tries == 0 {
            terminal.say(format!(
                "{failure}; the command tries again for up to {} s",
                self.most.as_secs()
            ));
        }
        std::thread::sleep(PAUSE * 2_u32.pow(self.tries.min(MOST_DOUBLED)));
        self.tries += 1;
        Ok(())
    }
}

/// Reads the events of a stream. Returns the failure that interrupted the stream, or `None` if the stream ended
/// normally.
fn read_events(
    mut lines: impl std::io::BufRead,
    after: &mut Option<u64>,
    sink: &mut RunPrinter<'_>,
) -> CommandResult<Option<CommandFailure>> {
    loop {
        match next_line(&mut lines) {
            Ok(None) => return Ok(None),
            Ok(Some(value)) => {
                // Skip an event that this program does not know, because a newer boundary may send it. Its id is
                // stored, so that the event is not requested again.
                if let Ok(event) = serde_json::from_value::<Event>(value.clone()) {
                    sink.event(&event, &value)?;
                }
                *after = value["id"].as_u64().or(*after);
            }
            Err(failure) => return Ok(Some(failure)),
        }
    }
}

/// A line of an NDJSON stream.
pub enum StreamLine {
    /// A document.
    Document(Value),
    /// An empty line, which keeps the connection open.
    Pause,
    /// The end of the stream.
    End,
}

/// Returns the next document of an NDJSON stream. Empty lines, which keep the connection open, are skipped.
///
/// # Errors
/// Returns an error if the stream was interrupted.
pub fn next_line(lines: &mut impl std::io::BufRead) -> CommandResult<Option<Value>> {
    loop {
        match read_line(lines)? {
            StreamLine::Document(value) => return Ok(Some(value)),
            StreamLine::Pause => {}
            StreamLine::End => return Ok(None),
        }
    }
}

/// Returns the next line of an NDJSON stream.
///
/// # Errors
/// Returns an error if the stream was interrupted.
pub fn read_line(lines: &mut impl std::io::BufRead) -> CommandResult<StreamLine> {
    let mut line = Vec::new();
    let read = lines
        .by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(broke)?;
    if read == 0 {
        return Ok(StreamLine::End);
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(StreamLine::Pause);
    }
    serde_json::from_slice(&line)
        .map(StreamLine::Document)
        .map_err(broke)
}

fn broke(what: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::unreachable(format!("the stream of events was interrupted: {what}"))
}

/// Returns the exit code for a proposal that has ended, or for which the command no longer waits.
fn exit_of(view: &ProposalView) -> Exit {
    match (view.status, &view.outcome, &view.refusal) {
        // A denial stopped the run.
        (ProposalStatus::Finished, Some(_), Some(refusal))
        | (ProposalStatus::Refused, _, Some(refusal))
            if refusal.code == Code::Denied =>
        {
            Exit::Denied
        }
        (ProposalStatus::Finished, Some(outcome), _) => Exit::of_outcome(outcome),
        (ProposalStatus::Finished, None, _) => Exit::Unreachable,
        (ProposalStatus::Expired, ..) => Exit::TimedOut,
        (ProposalStatus::Denied, ..) => Exit::Denied,
        (ProposalStatus::Cancelled | ProposalStatus::Refused, ..) => Exit::Refused,
        // The command stopped waiting before the end of the proposal.
        (ProposalStatus::Pending | ProposalStatus::Approved | ProposalStatus::Running, ..) => {
            Exit::TimedOut
        }
    }
}

/// Bundle that the user wants, with its cosignatures.
pub struct WantedBundle<'a> {
    /// Path of the bundle file.
    pub bundle: Option<&'a Path>,
    /// Number of cosignatures to wait for. With `None`, the number is 1 if the bundle's roster names a witness, else 0.
    pub witnesses: Option<u64>,
    /// The first version of the roster in the bundle. With `None`, the boundary chooses it.
    pub from_roster: Option<u64>,
}

/// Waits until a proposal has ended, prints its events and its result, and writes the wanted bundle. Ctrl-C ends the wait.
///
/// # Errors
/// Returns the errors of [`follow`], or an error if the bundle cannot be fetched or written.
pub fn wait_for(
    client: &Client,
    id: &ProposalId,
    wanted: WantedBundle<'_>,
    mut printer: RunPrinter<'_>,
) -> CommandResult {
    stop_waiting_on_interrupt(id);
    let view = follow(client, id, &mut printer)?;
    conclude(client, &view, wanted, &printer)
}

/// Writes the bundle if the user named a bundle file, explains refused programs, prints the result, and returns the
/// exit code.
///
/// # Errors
/// Returns an error if the bundle cannot be fetched or written.
fn conclude(
    client: &Client,
    view: &ProposalView,
    wanted: WantedBundle<'_>,
    printer: &RunPrinter<'_>,
) -> CommandResult {
    let terminal = printer.terminal;
    let exit = exit_of(view);
    let bundle = wanted.bundle;
    let mut bundle_failure = None;
    if let Some(path) = bundle {
        match &view.receipt {
            Some(receipt) => {
                bundle_failure = match fetch(client, receipt, &wanted, terminal) {
                    Ok(bytes) => write_new(path, &bytes, terminal).err().map(|failure| {
                        format!(
                            "was not written: {failure}; to get the bundle, run `countersign wait {} --bundle FILE`",
                            view.id
                        )
                    }),
                    Err(failure) => Some(format!("could not be fetched: {failure}")),
                }
            }
            None => terminal.say("there is no receipt, so no bundle was written"),
        }
    }
    explain_refusals(client, view, &printer.complaints, terminal)?;
    if terminal.json {
        let path = bundle.filter(|_| bundle_failure.is_none() && view.receipt.is_some());
        terminal.object(json!({
            "type": "result",
            "proposal": view,
            "exit": {"code": exit.code(), "kind": exit.word()},
            "bundle": path.map(Path::to_string_lossy),
        }))?;
    } else {
        eprintln_quietly(&ending(view));
    }
    // The exit code of a failed run has priority over a failure to write the bundle.
    match bundle_failure {
        Some(failure) if exit.code() == 0 => Err(CommandFailure::unreachable(format!(
            "the run succeeded, but its bundle {failure}"
        ))),
        Some(failure) => {
            terminal.say(format!("the bundle {failure}"));
            Ok(exit)
        }
        None => Ok(exit),
    }
}

/// Fetches the bundle until it has enough cosignatures, which arrive after the receipt. The cosignatures are not
/// verified here.
fn fetch(
    client: &Client,
    receipt: &ReceiptId,
    wanted: &WantedBundle<'_>,
    terminal: &Terminal,
) -> CommandResult<Vec<u8>> {
    let from = wanted.from_roster;
    let from = from.map_or_else(String::new, |first| format!("?from_roster={first}"));
    let deadline = Instant::now() + COSIGNED;
    let mut outage = Outage::new(RESTART);
    loop {
        let bytes = match client.bytes(&format!("/v1/receipts/{receipt}/bundle{from}")) {
            Ok(bytes) => bytes,
            Err(failure) => {
                outage.wait(failure, terminal)?;
                continue;
            }
        };
        let (found, named) = cosignatures(&bytes);
        let witnesses = wanted.witnesses.unwrap_or_else(|| u64::from(named));
        if found >= witnesses {
            return Ok(bytes);
        }
        if Instant::now() > deadline {
            terminal.say(format!(
                "only {found} of {witnesses} witnesses have cosigned so far: to get the bundle again later, run \
                 `countersign wait {} --witness {witnesses} --bundle FILE`",
                receipt.proposal()
            ));
            return Ok(bytes);
        }
        std::thread::sleep(COSIGNED_PAUSE);
    }
}

/// Returns the number of signatures in the bundle that may be cosignatures, and whether the bundle's roster names
/// witnesses.
fn cosignatures(bundle: &[u8]) -> (u64, bool) {
    let Ok(bundle) = strict::parse_as::<Bundle>(bundle, MAX_BUNDLE_BYTES) else {
        return (0, false);
    };
    let proof = TlogProof::parse(&bundle.proofs.receipt).ok();
    let named = Chain::unverified(bundle.roster.versions(), MAX_MADE_BYTES)
        .is_ok_and(|chain| !chain.last().tables().witnesses.is_empty());
    (
        proof.map_or(0, |proof| lines_of_others(&proof.checkpoint)),
        named,
    )
}

/// Maximum time to wait for cosignatures. In this time, the boundary can ask a witness again after an error.
pub const COSIGNED: Duration = Duration::from_secs(60);
/// Pause between two requests for the bundle.
pub const COSIGNED_PAUSE: Duration = Duration::from_millis(250);

fn ending(view: &ProposalView) -> PrintableText {
    let mut words = state_words(view, ended_words);
    if let Some(receipt) = &view.receipt {
        words += &format!("; receipt {receipt}");
    }
    PrintableText::text(&words).then(denial_words(&view.denials))
}

/// Returns the state of a proposal in words. `words_of` describes the outcome of its run.
pub fn state_words(view: &ProposalView, words_of: fn(&Outcome) -> String) -> String {
    let mut words = match (&view.outcome, &view.refusal) {
        (Some(outcome), Some(why)) => format!("{}: {}", words_of(outcome), why.detail),
        (Some(outcome), None) => words_of(outcome) + &refused_words(&view.refused),
        (None, Some(why)) => format!("{} ({}): {}", view.status, why.code, why.detail),
        (None, None) => view.status.to_string(),
    };
    if let Some(why) = &view.end_unknown_because {
        words += &format!(": {why}");
    }
    words
}

/// Installs a handler for Ctrl-C, which prints that the proposal continues and ends the program.
fn stop_waiting_on_interrupt(id: &ProposalId) {
    let id = id.clone();
    // Without this thread, Ctrl-C still ends the program, but without a message.
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = writeln!(
                std::io::stderr(),
                "\nstopped waiting, but the proposal continues: countersign wait {id}, or countersign cancel {id}"
            );
            std::process::exit(i32::from(Exit::Signal(2).code()));
        }
    });
}

/// Describes an outcome. If the run did not start, the text refers to the log of the service, because a receipt has no
/// field for the reason.
fn ended_words(outcome: &Outcome) -> String {
    let why = match outcome.status {
        Status::NotStarted => "; the log of the service says why",
        _ => "",
    };
    outcome_words(outcome) + why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_that_needs_an_explanation_has_one() {
        let words = |code| {
            ended_words(&Outcome {
                exit_code: Some(code),
                ..Outcome::of(Status::Failed)
            })
        };
        assert_eq!(words(3), "failed, exit code 3");
        let not_started = ended_words(&Outcome::of(Status::NotStarted));
        assert_eq!(not_started, "not started; the log of the service says why");
    }

    #[test]
    fn a_stream_is_read_line_by_line_and_an_incomplete_line_is_an_error() {
        let mut lines =
            &b"{\"id\":1,\"type\":\"status\",\"status\":\"running\"}\n\n{\"id\":2}\n{\"id\""[..];
        assert_eq!(next_line(&mut lines).expect("line").expect("some")["id"], 1);
        assert_eq!(next_line(&mut lines).expect("line").expect("some")["id"], 2);
        assert_eq!(
            next_line(&mut lines).expect_err("cut").exit,
            Exit::Unreachable
        );
        assert_eq!(next_line(&mut lines).expect("end"), None);
    }
}
