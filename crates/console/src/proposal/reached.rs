//! The boundaries of the person, and for each boundary:
//!
//! - the requests to it
//! - what the person trusts: its id in the list of boundaries, and its roster
//! - the signed head of its log: each new head must continue the newest head that was verified here before
//! - the events of a run, from the boundary to the page, while the run happens

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{Receiver, Sender, channel},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{FormFields, RefusedRequest, plain};
use client::{
    ChosenTrust, Client, CommandFailure, CommandResult, GlobalOptions, ListedBoundary, LogSource,
    OutputPainter, RosterSource, StreamLine, Terminal, TrustArgs, export, held_up_words, piece_of,
    read_line, roster_in_force, truncated_words,
};
use documents::{BoundaryName, Checkpoint, Note, ProposalId, SealDigest, StreamName, locked};
use verdict::{Pinned, TrustedRoster};
use wire::{Event, FreezeView, ProposalView, RefusalView, RegistryView};

/// Longest time that a page waits for a boundary. A slow boundary does not delay the others of the page.
pub const PAGE_WAITS: Duration = Duration::from_secs(10);
/// Maximum number of requests at the same time to one boundary, so that a boundary that hangs holds few threads.
const AT_ONCE: usize = 8;

/// Makes the client with the access of the person.
type ClientMaker = Box<dyn Fn() -> CommandResult<Client> + Send + Sync>;

/// A boundary that this program reads.
pub struct ReachedBoundary {
    /// Name in the list of boundaries, or the address.
    name: String,
    /// Name that the boundary states, after the first answer.
    own_name: Mutex<Option<BoundaryName>>,
    options: GlobalOptions,
    /// What the person trusts at this boundary.
    pub trust: BoundaryTrust,
    /// The part of the log that was verified here.
    pub hashes: VerifiedHashes,
    make: ClientMaker,
    /// The client with its access, which is used until it expires. `None` before the first request.
    client: Mutex<Option<Client>>,
    places: Arc<Semaphore>,
}

/// What a boundary says about itself, and whether the person trusts its roster.
pub struct BoundaryState {
    /// Name in the roster.
    pub name: BoundaryName,
    /// Version of the roster in force.
    pub roster: u64,
    /// True if the person trusts this roster.
    pub is_trusted: bool,
    /// The freeze, if the boundary is frozen.
    pub frozen: Option<FreezeView>,
}

impl ReachedBoundary {
    /// Takes the boundary of these options. The first request calls `make`.
    pub fn new(
        options: GlobalOptions,
        trust: &TrustArgs,
        make: impl Fn() -> CommandResult<Client> + Send + Sync + 'static,
    ) -> Self {
        let name = options.shown_name().to_owned();
        let trust = BoundaryTrust::new(&options, trust);
        Self {
            name,
            options,
            trust,
            hashes: VerifiedHashes::default(),
            make: Box::new(make),
            own_name: Mutex::default(),
            client: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Returns the name for pages: the name in the list, or else the name that the boundary has in its roster.
    pub fn shown_name(&self) -> String {
        let own = locked(&self.own_name);
        own.as_ref()
            .filter(|_| self.options.listed().is_none())
            .map_or_else(|| self.name.clone(), ToString::to_string)
    }

    /// Returns the name for pages, and asks the boundary for its name if this program does not know it yet.
    pub async fn read_name(self: &Arc<Self>) -> String {
        if self.options.listed().is_none() && self.shown_name() == self.name {
            // If the boundary does not answer, the page shows its address.
            drop(self.read(ReachedBoundary::roster).await);
        }
        self.shown_name()
    }

    /// Returns the title of the page of a proposal: its step, and the name of the boundary.
    pub async fn title_of(self: &Arc<Self>, view: &ProposalView) -> String {
        let name = self.read_name().await;
        format!("{} at {}", plain(view.step.as_str()), plain(&name))
    }

    /// Calls `work`, which sends requests. `work` gets a client of its own, so no lock is held while it waits for answers.
    ///
    /// # Errors
    /// Returns the error of `work`, or the reason why there is no client.
    pub fn with<T>(&self, work: impl FnOnce(&Client) -> CommandResult<T>) -> CommandResult<T> {
        let known = locked(&self.client).clone();
        let client = match known {
            Some(client) => client,
            None => (self.make)()?,
        };
        let result = work(&client);
        *locked(&self.client) = Some(client);
        result
    }

    /// Reads what the boundary says about itself.
    ///
    /// # Errors
    /// Returns an error if the boundary does not answer, or has another id than the list of boundaries states.
    pub fn state(&self, client: &Client) -> CommandResult<BoundaryState> {
        let (registry, roster) = self.roster(client)?;
        let is_trusted = roster
            .trusted()
            .is_some_and(|trusted| trusted.digest() == registry.seal.roster);
        let version = roster.roster().map_or(0, TrustedRoster::version);
        Ok(BoundaryState {
            name: registry.boundary.name,
            roster: version,
            is_trusted,
            frozen: registry.frozen,
        })
    }

    /// Reads the roster in force, and checks the id of the boundary.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::state`].
    pub fn roster(&self, client: &Client) -> CommandResult<(RegistryView, RosterSource)> {
        let (registry, roster) = roster_in_force(client, &self.trust.rosters()?)?;
        self.trust.check_id(registry.boundary.id)?;
        *locked(&self.own_name) = Some(registry.boundary.name.clone());
        Ok((registry, roster))
    }

    /// Does work that only reads, on a thread of its own, and waits for a limited time.
    ///
    /// # Errors
    /// Returns the error of `work`, or an error if the boundary did not answer in time.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Client) -> CommandResult<T> + Send + 'static,
    ) -> CommandResult<T> {
        // Limit the time of the request too. Otherwise, a request that no page waits for would hold one of the
        // `AT_ONCE` permits.
        let limited = move |own: &Self, client: &Client| {
            client.limit_reads(Some(PAGE_WAITS + Duration::from_secs(2)));
            let result = work(own, client);
            client.limit_reads(None);
            result
        };
        match tokio::time::timeout(PAGE_WAITS, self.act(limited)).await {
            Ok(result) => result,
            Err(_) => Err(CommandFailure::unreachable(format!(
                "the boundary at {} did not answer within {} s: load the page again, or ask its operator",
                self.options.url,
                PAGE_WAITS.as_secs()
            ))),
        }
    }

    /// Does work that changes something, on a thread of its own, and waits until it is done: the person may have to
    /// touch a key. The work goes on if the browser no longer waits.
    ///
    /// # Errors
    /// Returns the error of the work.
    pub async fn act<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Client) -> CommandResult<T> + Send + 'static,
    ) -> CommandResult<T> {
        let ended =
            |what: String| CommandFailure::unreachable(format!("the work ended too early: {what}"));
        let place = self
            .places
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| ended(error.to_string()))?;
        let own = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            own.with(|client| work(&own, client))
        });
        work.await.map_err(|error| ended(error.to_string()))?
    }
}

/// What the person trusts at one boundary.
pub struct BoundaryTrust {
    options: TrustArgs,
    listed: Option<ListedBoundary>,
}

impl BoundaryTrust {
    /// Takes the options of trust for the boundary of these options.
    pub fn new(global: &GlobalOptions, trust: &TrustArgs) -> Self {
        Self {
            options: global.trust(trust),
            listed: global.listed().cloned(),
        }
    }

    /// Returns the trusted rosters.
    ///
    /// # Errors
    /// Returns an error if a roster can't be read.
    pub fn rosters(&self) -> CommandResult<Vec<ChosenTrust>> {
        self.options.find()
    }

    /// Returns the options of trust, for a review.
    pub const fn options(&self) -> &TrustArgs {
        &self.options
    }

    /// Checks that a boundary, or a statement for it, has the id that the list of boundaries states.
    ///
    /// # Errors
    /// Returns an error if the id differs.
    pub fn check_id(&self, found: SealDigest) -> CommandResult<()> {
        self.listed
            .as_ref()
            .map_or(Ok(()), |listed| listed.check_id(found))
    }
}

/// The hashes of a log up to the newest verified head, as `countersign log export --hashes` writes them. The directory
/// is deleted when the program ends.
#[derive(Default)]
pub struct VerifiedHashes(Mutex<Option<TempDir>>);

/// A head that was checked on this machine.
pub struct CheckedHead {
    /// The head.
    pub checkpoint: Checkpoint,
    /// The head with its signature lines.
    pub note: String,
    /// Number of entries of the head before, or 0 for the first head.
    pub before: u64,
    /// Version of the trusted roster whose key signed the head. `None` without a trusted roster.
    pub roster: Option<u64>,
    /// Number of further signature lines, which this program did not check.
    pub more_signatures: usize,
}

impl CheckedHead {
    /// Returns the root hash as the head writes it.
    pub fn root(&self) -> String {
        self.checkpoint
            .body()
            .lines()
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    }
}

impl VerifiedHashes {
    /// Reads the head and the hashes of the new entries, as `countersign log export --hashes` does. Checks the
    /// signature with the newest trusted roster.
    ///
    /// # Errors
    /// Returns an error if the boundary can't be read, if the head has no valid signature, or if the log does not
    /// continue the log that was verified before.
    pub fn check(
        &self,
        chosen: &[ChosenTrust],
        trusted: Option<&TrustedRoster>,
        client: &Client,
    ) -> CommandResult<CheckedHead> {
        // The export needs a whole roster, even if the person pinned only a digest, because the copy of hashes names no
        // roster.
        let pinned = chosen.first().zip(trusted).map(|(from, roster)| {
            let pinned = Pinned::Roster(Box::new(roster.clone()));
            ChosenTrust {
                pinned,
                ..from.clone()
            }
        });
        let pinned: Vec<ChosenTrust> = pinned.into_iter().collect();
        let mut kept = locked(&self.0);
        let unkept = |error: std::io::Error| {
            CommandFailure::usage(format!(
                "the directory for the hashes of the log can't be made: {error}"
            ))
        };
        let directory = match &mut *kept {
            Some(directory) => directory,
            none => none.insert(tempfile::tempdir().map_err(unkept)?),
        };
        let served = LogSource::Served(Box::new(client.clone()));
        let done = export(
            &served,
            directory.path(),
            true,
            &pinned,
            &Terminal::new(true),
        )?;
        let unread = |why: String| {
            CommandFailure::check_said_no(format!("the head of the log can't be read: {why}"))
        };
        let note = LogSource::Directory(directory.path().to_owned()).head()?;
        let note = note.ok_or_else(|| unread("it is missing".to_owned()))?;
        drop(kept);
        let parsed = Note::parse(&note).map_err(|error| unread(error.to_string()))?;
        let checkpoint = Checkpoint::parse(parsed.unverified_text())
            .map_err(|error| unread(error.to_string()))?;
        let (roster, more_signatures) = (
            trusted.map(TrustedRoster::version),
            parsed.signatures().len(),
        );
        let more_signatures = more_signatures - usize::from(roster.is_some());
        Ok(CheckedHead {
            checkpoint,
            note,
            before: done.before,
            roster,
            more_signatures,
        })
    }
}

/// Maximum number of pages that follow a run at the same time. Each needs a thread.
const MOST_WATCHERS: usize = 128;
/// Maximum length of the output that a page receives. The page of the ended run shows the recorded output.
const MOST_SENT: usize = 1 << 20;

/// A piece of the answer to the browser.
pub type EventPart = Result<String, Infallible>;

/// Permits for the pages that follow runs.
pub struct RunWatchers(Arc<Semaphore>);

impl Default for RunWatchers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_WATCHERS)))
    }
}

impl RunWatchers {
    /// Answers the request for the events of a proposal. The query `have` is the number of signatures that the page
    /// shows. The page loads again at the next signature.
    pub fn answer(
        &self,
        place: Arc<ReachedBoundary>,
        id: ProposalId,
        query: &FormFields,
        headers: &HeaderMap,
    ) -> Response {
        let Ok(watcher) = self.0.clone().try_acquire_owned() else {
            let what = "Too many pages follow runs at the moment. Close some of them, then load this page again.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return RefusedRequest::new(status, "Too many pages", what).into_response();
        };
        let number = |text: &String| text.parse::<u64>().ok();
        let after = last_event(headers, query);
        // A browser that continues after the event `after` already has all signatures before it.
        let shown = query
            .get("have")
            .and_then(number)
            .map(|have| if after.is_some() { 0 } else { have });
        stream(
            place,
            id,
            after,
            LiveRun {
                shown,
                ..LiveRun::default()
            },
            watcher,
        )
    }
}

/// Streams the events after the event with this number.
fn stream(
    place: Arc<ReachedBoundary>,
    id: ProposalId,
    after: Option<u64>,
    run: LiveRun,
    watcher: OwnedSemaphorePermit,
) -> Response {
    let (send, receive): (Sender<EventPart>, Receiver<EventPart>) = channel(16);
    tokio::task::spawn_blocking(move || {
        let _watcher = watcher;
        // If the stream breaks, the browser connects again and continues after the last event.
        let lines = place.with(|client| client.lines(&format!("/v1/proposals/{id}/events"), after));
        if let Ok(mut lines) = lines {
            let _ended = forward(&mut lines, run, &send);
        }
    });
    event_stream(receive)
}

/// Returns the number of the last event that the browser has.
pub fn last_event(headers: &HeaderMap, query: &FormFields) -> Option<u64> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    last.or_else(|| query.get("after").map(String::as_str))?
        .parse()
        .ok()
}

/// Answers with server-sent events (HTML Living Standard, section 9.2).
pub fn event_stream(events: Receiver<EventPart>) -> Response {
    (
        [(CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(ReceiverStream::new(events)),
    )
        .into_response()
}

/// Forwards the events until the stream ends, or until the browser disconnects.
fn forward(
    lines: &mut impl std::io::BufRead,
    mut run: LiveRun,
    send: &Sender<EventPart>,
) -> CommandResult<()> {
    loop {
        let text = match read_line(lines)? {
            StreamLine::Document(line) => {
                let Ok(event) = serde_json::from_value::<Event>(line.clone()) else {
                    continue;
                };
                let data = run.shown(&event)?;
                match data.is_null() {
                    true => continue,
                    false => format!(
                        "id: {}\ndata: {data}\n\n",
                        line["id"].as_u64().unwrap_or_default()
                    ),
                }
            }
            // A comment, which the page ignores. Sending it fails if the browser has disconnected.
            StreamLine::Pause => ":\n\n".to_owned(),
            StreamLine::End => "data: {\"type\":\"reload\"}\n\n".to_owned(),
        };
        let is_last = text.contains("\"type\":\"reload\"");
        if send.blocking_send(Ok(text)).is_err() || is_last {
            return Ok(());
        }
    }
}

/// The output of one run, as the page receives it.
#[derive(Default)]
struct LiveRun {
    out: OutputPainter,
    err: OutputPainter,
    sent: usize,
    /// Number of coming signature events that the page shows already, or `None` if the page ignores signatures.
    shown: Option<u64>,
}

impl LiveRun {
    /// Returns what the page shows for an event, or null if it shows nothing.
    fn shown(&mut self, event: &Event) -> CommandResult<Value> {
        if let Some((stream, piece)) = piece_of(event)? {
            return Ok(self.output(stream, &piece));
        }
        Ok(match event {
            Event::Status { status, .. } if status.has_ended() => json!({"type": "reload"}),
            Event::Status { status, .. } => fact(status.word()),
            Event::HeldUp { code, detail } => fact(&held_up_words(&RefusalView {
                code: *code,
                detail: detail.clone(),
            })),
            Event::Signature { .. } if self.shown == Some(0) => json!({"type": "reload"}),
            Event::Signature { approver } => {
                self.shown = self.shown.map(|shown| shown - 1);
                fact(&format!("signed by {approver}"))
            }
            Event::Truncated {
                stream,
                bytes,
                recorded,
            } => fact(&truncated_words(*stream, *bytes, *recorded)),
            Event::Output { .. } | Event::Exit { .. } | Event::Receipt { .. } => Value::Null,
        })
    }

    fn output(&mut self, stream: StreamName, piece: &[u8]) -> Value {
        if self.sent > MOST_SENT {
            return Value::Null;
        }
        self.sent += piece.len();
        if self.sent > MOST_SENT {
            return fact(
                "The output is too long for a live page. The page of the ended run says how to read all of it.",
            );
        }
        let painter = if stream == StreamName::Stdout {
            &mut self.out
        } else {
            &mut self.err
        };
        let parts: Vec<_> = painter
            .feed(piece)
            .into_iter()
            .map(|part| json!([part.class, part.text]))
            .collect();
        json!({"type": "output", "at": "run", "parts": parts})
    }
}

fn fact(text: &str) -> Value {
    let text = client::PrintableText::text(text).as_str().to_owned();
    json!({"type": "fact", "at": "run", "text": text})
}

#[cfg(test)]
mod live_tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn events_reach_the_page_with_their_numbers_and_the_end_loads_the_page_again() {
        let lines = "{\"id\":1,\"type\":\"status\",\"status\":\"running\"}\n\n\
            {\"id\":2,\"type\":\"output\",\"stream\":\"stdout\",\"offset\":0,\"text\":\"<b>\\u001b[31mred\\u001b[2J\"}\n\
            {\"id\":3,\"type\":\"later\"}\n";
        let (send, mut receive) = channel(16);
        forward(&mut Cursor::new(lines), LiveRun::default(), &send).expect("forwarded");
        drop(send);
        let mut all = String::new();
        while let Ok(piece) = receive.try_recv() {
            all.push_str(&piece.expect("text"));
        }
        assert!(
            all.starts_with(
                "id: 1\ndata: {\"at\":\"run\",\"text\":\"running\",\"type\":\"fact\"}\n\n:\n\n"
            ),
            "{all}"
        );
        assert!(
            all.contains("id: 2\ndata: ")
                && all.contains("[\"\",\"<b>\"],[\"c1\",\"red\\\\x1b[2J\"]"),
            "{all}"
        );
        assert!(
            all.ends_with("data: {\"type\":\"reload\"}\n\n") && !all.contains("later"),
            "{all}"
        );
    }

    #[test]
    fn a_page_loads_again_at_the_first_signature_that_it_does_not_show() {
        let signed: Event =
            serde_json::from_value(json!({"type": "signature", "approver": "alice"}))
                .expect("an event");
        for (shown, types) in [
            (None, ["fact", "fact"]),
            (Some(1), ["fact", "reload"]),
            (Some(0), ["reload", "reload"]),
        ] {
            let mut run = LiveRun {
                shown,
                ..LiveRun::default()
            };
            assert_eq!(
                types.map(|_| run.shown(&signed).expect("shown")["type"].clone()),
                types
            );
        }
    }

    #[test]
    fn a_page_receives_a_limited_amount_of_output() {
        let mut run = LiveRun::default();
        let piece = vec![b'x'; MOST_SENT];
        assert_eq!(run.output(StreamName::Stdout, &piece)["type"], "output");
        assert_eq!(run.output(StreamName::Stderr, b"y")["type"], "fact");
        assert!(run.output(StreamName::Stdout, b"z").is_null());
    }
}
