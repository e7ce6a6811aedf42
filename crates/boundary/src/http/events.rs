//! Event streams of a proposal, in the formats SSE and NDJSON. NDJSON also has a simple shape: only output as text, the
//! exit code, and errors.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header::ACCEPT},
    response::Response,
};
use base64::Engine as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    App, HandlerResult, Phase, RouteCall,
    events::Events,
    fail,
    http::{access::only, call::bytes},
};
use crossing::{Refusal, RequestResult, Stopped, refuse};
use documents::{Code, Outcome, ProposalId, Status, StreamName, locked};
use wire::{Event, ProposalStatus};

/// Request header with the id of the last event that the client received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Media type of server-sent events.
pub const SSE: &str = "text/event-stream";
/// Media type of NDJSON.
pub const NDJSON: &str = "application/x-ndjson";
/// Interval between two comments in an idle stream, so that proxies and clients do not close the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Maximum number of queued events for one reader, because each event needs up to 200 KB of memory. A slow reader
/// delays only its own stream, never the run.
const IN_FLIGHT: usize = 2;
/// Value of `Retry-After` if the boundary has too many readers, in seconds.
const READERS_RETRY_S: u64 = 5;

/// Handles `GET /v1/proposals/{id}/events`.
pub async fn events(call: RouteCall) -> HandlerResult {
    let id: ProposalId = call.path("id")?;
    let form = EventFormat::of(&call)?;
    let after = last_event(&call)?.unwrap_or(0);
    let place = reader_place(&call)?;
    let events = call
        .app
        .boundary
        .proposals
        .events(&call.caller, &id, after)?;
    Ok(answer_events(&call, form, place, events))
}

/// Returns the number in the header `Last-Event-ID`.
pub fn last_event(call: &RouteCall) -> RequestResult<Option<u64>> {
    let number = |text: &str| {
        text.parse()
            .map_err(|_| refuse(Code::Malformed, "Last-Event-ID: expected a number"))
    };
    only(&call.headers, &LAST_EVENT_ID)?.map(number).transpose()
}

/// Returns a streaming response with these events.
pub fn answer_events(
    call: &RouteCall,
    form: EventFormat,
    place: ReaderPlace,
    mut events: impl EventSource + 'static,
) -> Response {
    let (mut reader, response) = stream(form);
    let app = call.app.clone();
    tokio::spawn(async move {
        pump(&app, &mut events, &mut reader).await;
        drop(place);
    });
    response
}

/// Maximum number of readers of one caller.
const MOST_OF_CALLER: usize = 100;

/// The place of one reader of events.
pub struct ReaderPlace {
    _of_all: OwnedSemaphorePermit,
    _of_caller: Arc<()>,
}

/// Returns a place for one reader of events. One caller gets at most a fifth of the places and at most
/// [`MOST_OF_CALLER`], so that others get places.
///
/// # Errors
/// Returns `busy` if the caller or the boundary has too many readers.
pub fn reader_place(call: &RouteCall) -> RequestResult<ReaderPlace> {
    let busy = |who: &str| {
        let why = format!(
            "{who} has too many readers of events: ask for the proposal with ?wait=, or try again"
        );
        Stopped::from(Refusal::new(Code::Busy, why).retry_after(READERS_RETRY_S))
    };
    let mut streams = locked(&call.app.streams);
    streams.retain(|_, counter| Arc::strong_count(counter) > 1);
    let counter = streams.entry(call.caller.name().cloned()).or_default();
    // The count includes the reference in the map.
    if Arc::strong_count(counter) > call.app.most_watchers.div_ceil(5).min(MOST_OF_CALLER) {
        return Err(busy("this caller"));
    }
    let of_all = call
        .app
        .watchers
        .clone()
        .try_acquire_owned()
        .map_err(|_| busy("the boundary"))?;
    Ok(ReaderPlace {
        _of_all: of_all,
        _of_caller: counter.clone(),
    })
}

#[derive(PartialEq)]
pub enum EventFormat {
    /// Server-sent events.
    Sse,
    /// NDJSON, each line with one event and its id.
    Lines,
    /// NDJSON for readers that only need the output, the exit code and errors.
    Simple,
}

impl EventFormat {
    /// Returns the format that `Accept` and `?shape=` request. The default is server-sent events.
    pub fn of(call: &RouteCall) -> RequestResult<Self> {
        let lines = wants_lines(&call.headers)?;
        match (lines, call.raw_query("shape")) {
            (None, _) => fail(
                Code::Malformed,
                format!(
                    "events come as {SSE} or {NDJSON}: accept one of these \
                 types"
                ),
            ),
            (Some(true), None) => Ok(Self::Lines),
            (Some(true), Some("simple")) => Ok(Self::Simple),
            (Some(true), Some(_)) => fail(Code::Malformed, "?shape= accepts only `simple`"),
            (Some(false), None) => Ok(Self::Sse),
            (Some(false), Some(_)) => fail(
                Code::Malformed,
                format!("?shape= is only for lines: ask with `Accept: {NDJSON}`"),
            ),
        }
    }
}

/// Returns true if `Accept` prefers lines, false if it prefers server-sent events, and `None` if it allows neither
/// format.
fn wants_lines(headers: &HeaderMap) -> RequestResult<Option<bool>> {
    let accept = accepted(headers)?;
    let quality = |wanted: &str| {
        // The most specific matching media range decides (RFC 9110 section 12.5.1).
        let mut best: Option<(usize, u16)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let group = wanted.split('/').next().unwrap_or("");
            let specific = match name {
                "*/*" => 0,
                _ if name
                    .strip_suffix("/*")
                    .is_some_and(|given| given.eq_ignore_ascii_case(group)) =>
                {
                    1
                }
                _ if name.eq_ignore_ascii_case(wanted) => 2,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1000, thousandths);
            if best.is_none_or(|(before, _)| specific >= before) {
                best = Some((specific, weight));
            }
        }
        best.map_or(0, |(_, weight)| weight)
    };
    let (events, lines) = (quality(SSE), quality(NDJSON));
    Ok((events > 0 || lines > 0).then_some(lines > events))
}

/// Joins all `Accept` headers of the request. Without such a header, the result is `*/*`.
fn accepted(headers: &HeaderMap) -> RequestResult<String> {
    let values: Result<Vec<&str>, _> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| value.to_str())
        .collect();
    match values {
        Ok(values) if values.is_empty() => Ok("*/*".to_owned()),
        Ok(values) => Ok(values.join(",")),
        Err(_) => fail(Code::Malformed, "the header accept is not plain text"),
    }
}

fn thousandths(weight: &str) -> u16 {
    weight
        .parse::<f32>()
        .ok()
        .filter(|weight| (0.0..=1.0).contains(weight))
        .map_or(0, |weight| (weight * 1000.0) as u16)
}

struct EventReader {
    form: EventFormat,
    simple: SimpleEvents,
    to: mpsc::Sender<Result<Bytes, Infallible>>,
}

/// Error: the client has disconnected.
struct ClientGone;

impl EventReader {
    /// Writes one event, and waits if the client reads slowly.
    async fn event(&mut self, id: u64, event: &impl StreamedEvent) -> Result<(), ClientGone> {
        let piece = self.write(id, event);
        if piece.is_empty() {
            return Ok(());
        }
        self.to.send(Ok(piece)).await.map_err(|_| ClientGone)
    }

    fn write(&mut self, id: u64, event: &impl StreamedEvent) -> Bytes {
        match self.form {
            EventFormat::Sse => sse(id, event),
            EventFormat::Lines => event.line(id).into(),
            EventFormat::Simple => event
                .simple_lines(&mut self.simple)
                .iter()
                .flat_map(line_of)
                .collect(),
        }
    }

    async fn keep_alive(&self) -> Result<(), ClientGone> {
        // Proxies close a connection that is silent for a minute. NDJSON has no comments, but readers skip empty lines.
        let sign: &[u8] = if self.form == EventFormat::Sse {
            b": keep-alive\n\n"
        } else {
            b"\n"
        };
        self.to
            .send(Ok(Bytes::from_static(sign)))
            .await
            .map_err(|_| ClientGone)
    }
}

/// Creates a streaming response and its sending end.
fn stream(form: EventFormat) -> (EventReader, Response) {
    let (to, from) = mpsc::channel(IN_FLIGHT);
    let media = if form == EventFormat::Sse {
        SSE
    } else {
        NDJSON
    };
    let mut response = bytes(media, Body::from_stream(ReceiverStream::new(from)));
    // The header `x-accel-buffering` asks a reverse proxy not to buffer the stream.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    (
        EventReader {
            form,
            simple: SimpleEvents::default(),
            to,
        },
        response,
    )
}

/// Forwards events to the client until the last event, until the client disconnects, or until the service has ended its
/// runs.
async fn pump(app: &App, events: &mut impl EventSource, reader: &mut EventReader) {
    let mut tick = interval(KEEP_ALIVE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    loop {
        let mut next = pin!(events.next());
        let event = loop {
            tokio::select! {
                biased;
                () = reader.to.closed() => return,
                event = &mut next => break event,
                () = app.phase(Phase::Ending) => return,
                _ = tick.tick() => if reader.keep_alive().await.is_err() { return },
            }
        };
        let Some((id, event)) = event else { return };
        if reader.event(id, &event).await.is_err() {
            return;
        }
        tick.reset();
    }
}

/// An event that a stream can carry.
pub trait StreamedEvent: Serialize + Sync {
    /// Returns the word for the kind of the event.
    fn word(&self) -> &'static str;
    /// Returns the line of the event.
    fn line(&self, id: u64) -> Vec<u8>
    where
        Self: Sized,
    {
        line_of(&Line { id, event: self })
    }
    /// Returns the lines of the event in the simple shape.
    fn simple_lines(&self, _simple: &mut SimpleEvents) -> Vec<Value> {
        Vec::new()
    }
}

/// The events of one stream.
pub trait EventSource: Send {
    type Event: StreamedEvent + Send;
    /// Returns the next event with its number, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<(u64, Self::Event)>> + Send;
}

impl StreamedEvent for Event {
    fn word(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::HeldUp { .. } => "held-up",
            Self::Signature { .. } => "signature",
            Self::Output { .. } => "output",
            Self::Truncated { .. } => "truncated",
            Self::Exit { .. } => "exit",
            Self::Receipt { .. } => "receipt",
        }
    }

    fn simple_lines(&self, simple: &mut SimpleEvents) -> Vec<Value> {
        simple.lines(self)
    }
}

impl EventSource for Events {
    type Event = Event;

    async fn next(&mut self) -> Option<(u64, Event)> {
        Events::next(self).await
    }
}

#[derive(Serialize)]
struct Line<'e, E> {
    id: u64,
    #[serde(flatten)]
    event: &'e E,
}

pub fn line_of(value: &impl Serialize) -> Vec<u8> {
    // The serialization can't fail, because an event contains only text and numbers.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Encodes a server-sent event (WHATWG HTML section 9.2): one field per line, and an empty line. Serialized JSON
/// contains no line breaks.
fn sse(id: u64, event: &impl StreamedEvent) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {id}\nevent: {}\ndata: {data}\n\n", event.word()).into()
}

/// Takes a permit for a request that waits, or returns `None` if all permits are in use.
pub fn waiting(app: &App) -> Option<OwnedSemaphorePermit> {
    Arc::clone(&app.waits).try_acquire_owned().ok()
}

/// Writes the events of one stream in the simple shape.
#[derive(Default)]
pub struct SimpleEvents {
    stdout: TextDecoder,
    stderr: TextDecoder,
}

impl SimpleEvents {
    /// Returns the lines for one event. Most events have no line.
    pub fn lines(&mut self, event: &Event) -> Vec<Value> {
        match event {
            Event::Output {
                stream,
                text,
                base64,
                ..
            } => {
                let decoder = match stream {
                    StreamName::Stdout => &mut self.stdout,
                    StreamName::Stderr => &mut self.stderr,
                };
                let coded = base64.as_deref().unwrap_or_default();
                let bytes = match text {
                    Some(text) => text.as_bytes().to_vec(),
                    // The boundary encoded the piece itself, so the decoding can't fail.
                    None => base64::engine::general_purpose::STANDARD
                        .decode(coded)
                        .unwrap_or_default(),
                };
                output(decoder.feed(bytes)).into_iter().collect()
            }
            Event::Exit { outcome } => {
                let rest = [self.stdout.end(), self.stderr.end()]
                    .into_iter()
                    .filter_map(output);
                rest.chain([json!({"type": "exit", "exitCode": exit_code(outcome)})])
                    .collect()
            }
            Event::Status { status, code } => {
                let word = match status {
                    ProposalStatus::Denied => "denied",
                    ProposalStatus::Expired => "expired",
                    ProposalStatus::Cancelled => "cancelled",
                    ProposalStatus::Refused => "refused",
                    ProposalStatus::Pending
                    | ProposalStatus::Approved
                    | ProposalStatus::Running
                    | ProposalStatus::Finished => return Vec::new(),
                };
                let message = code.map_or_else(
                    || word.to_owned(),
                    |code| format!("{word}: {}", code.title()),
                );
                vec![json!({"type": "error", "message": message})]
            }
            Event::HeldUp { .. }
            | Event::Signature { .. }
            | Event::Truncated { .. }
            | Event::Receipt { .. } => Vec::new(),
        }
    }
}

fn output(text: String) -> Option<Value> {
    (!text.is_empty()).then(|| json!({"type": "output", "data": text}))
}

/// Decodes UTF-8 in pieces. Each invalid sequence becomes U+FFFD.
#[derive(Default)]
struct TextDecoder {
    /// Incomplete character at the end of the last piece, at most three bytes.
    tail: Vec<u8>,
}

impl TextDecoder {
    fn feed(&mut self, piece: Vec<u8>) -> String {
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.extend(piece);
        let incomplete = bytes.utf8_chunks().last().map_or(0, |last| {
            match std::str::from_utf8(last.invalid()) {
                // Without an error length, more bytes can complete the character.
                Err(error) if error.error_len().is_none() => last.invalid().len(),
                _ => 0,
            }
        });
        self.tail = bytes.split_off(bytes.len() - incomplete);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn end(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.tail)).into_owned()
    }
}

/// Returns the exit code of the step. For an outcome without an exit code, returns the code that shells or the program
/// `timeout` use.
fn exit_code(outcome: &Outcome) -> u16 {
    if let Some(code) = outcome.exit_code {
        return code.into();
    }
    if let Some(signal) = outcome.signal {
        return 128 + u16::from(signal);
    }
    match outcome.status {
        Status::Succeeded => 0,
        Status::Warned => 2,
        Status::Failed => 1,
        Status::TimedOut => 124,
        Status::Cancelled => 126,
        Status::Killed => 137,
        Status::NotStarted | Status::Unknown => 125,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::StreamName;
    use wire::ProposalStatus;

    fn output(text: &str) -> Event {
        let (stream, elapsed_ms) = (StreamName::Stdout, Some(12));
        Event::Output {
            stream,
            offset: 3,
            elapsed_ms,
            text: Some(text.into()),
            base64: None,
        }
    }

    #[test]
    fn a_server_sent_event_has_three_fields_and_an_empty_line() {
        let framed = sse(7, &output("a\nb\r\n\ndata: x"));
        let expected = "id: 7\nevent: output\ndata: {\"type\":\"output\",\"stream\":\"stdout\",\"offset\":3,\
                        \"elapsed_ms\":12,\"text\":\"a\\nb\\r\\n\\ndata: x\"}\n\n";
        assert_eq!(
            framed,
            expected.as_bytes(),
            "no output can end its event or begin another"
        );
    }

    #[test]
    fn a_line_contains_the_event_and_its_id() {
        let event = Event::Status {
            status: ProposalStatus::Running,
            code: None,
        };
        let line = stream(EventFormat::Lines).0.write(9, &event);
        assert_eq!(
            line,
            &b"{\"id\":9,\"type\":\"status\",\"status\":\"running\"}\n"[..]
        );
        assert!(stream(EventFormat::Simple).0.write(9, &event).is_empty());
    }

    #[test]
    fn the_preferred_media_type_of_accept_is_chosen() {
        let of = |accept: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            wants_lines(&headers).ok().flatten()
        };
        for events in [
            None,
            Some("*/*"),
            Some("text/event-stream"),
            Some("text/*"),
            Some("application/x-ndjson;q=0.5, text/event-stream"),
        ] {
            assert_eq!(of(events), Some(false), "{events:?}");
        }
        for lines in [
            "application/x-ndjson",
            "application/*",
            "text/event-stream;q=0.1, application/x-ndjson;q=0.9",
            "*/*, text/event-stream;q=0",
        ] {
            assert_eq!(of(Some(lines)), Some(true), "{lines}");
        }
        for neither in ["text/html", "*/*;q=0", "", "application/json"] {
            assert_eq!(of(Some(neither)), None, "{neither}");
        }
        let mut twice = HeaderMap::new();
        twice.append(ACCEPT, HeaderValue::from_static("text/html"));
        twice.append(ACCEPT, HeaderValue::from_static("Application/X-NDJSON"));
        assert!(wants_lines(&twice).is_ok_and(|lines| lines == Some(true)));
    }
}

#[cfg(test)]
mod simple_events_tests {
    use super::*;
    use documents::Code;

    fn piece(stream: StreamName, bytes: &[u8]) -> Event {
        let base64 = Some(base64::engine::general_purpose::STANDARD.encode(bytes));
        Event::Output {
            stream,
            offset: 0,
            elapsed_ms: None,
            text: None,
            base64,
        }
    }

    fn exit(status: Status, exit_code: Option<u8>, signal: Option<u8>) -> Event {
        Event::Exit {
            outcome: Outcome {
                status,
                exit_code,
                signal,
                limit: None,
            },
        }
    }

    #[test]
    fn the_simple_event_stream_has_the_events_output_and_exit_and_error() {
        let of = |event: &Event| SimpleEvents::default().lines(event);
        let text = Event::Output {
            stream: StreamName::Stdout,
            offset: 3,
            elapsed_ms: Some(1),
            text: Some("hi".into()),
            base64: None,
        };
        assert_eq!(of(&text), [json!({"type": "output", "data": "hi"})]);
        assert_eq!(
            of(&piece(StreamName::Stderr, b"\xff")),
            [json!({"type": "output", "data": "\u{fffd}"})]
        );
        for (event, code) in [
            (exit(Status::Failed, Some(3), None), 3),
            (exit(Status::Failed, None, Some(9)), 137),
            (exit(Status::TimedOut, None, None), 124),
        ] {
            assert_eq!(of(&event), [json!({"type": "exit", "exitCode": code})]);
        }
        let denied = Event::Status {
            status: ProposalStatus::Denied,
            code: Some(Code::Denied),
        };
        assert_eq!(
            of(&denied),
            [json!({"type": "error", "message": "denied: an approver denied the run"})]
        );
        assert!(
            of(&Event::Status {
                status: ProposalStatus::Running,
                code: None
            })
            .is_empty()
        );
    }

    #[test]
    fn a_character_that_two_pieces_share_is_decoded_in_the_simple_shape() {
        let mut simple = SimpleEvents::default();
        let mut text = String::new();
        let mut see = |event: &Event| {
            let lines = simple.lines(event);
            let data = lines
                .iter()
                .filter_map(|line| line["data"].as_str())
                .collect::<String>();
            text.push_str(&data);
            lines
        };
        for byte in "é€𝄞".as_bytes() {
            see(&piece(StreamName::Stdout, &[*byte]));
        }
        // The streams have separate decoders, and a character that never ends is shown at the end.
        see(&piece(StreamName::Stdout, b"a\xe2"));
        see(&piece(StreamName::Stderr, b"b"));
        let end = see(&exit(Status::Succeeded, Some(0), None));
        assert_eq!(end.last(), Some(&json!({"type": "exit", "exitCode": 0})));
        assert_eq!(text, "é€𝄞ab\u{fffd}");
    }
}
