//! The events of a run, from the boundary to the page, while the run happens.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use client::{
    CommandResult, OutputPainter, StreamLine, held_up_words, piece_of, read_line, truncated_words,
};
use documents::{ProposalId, StreamName};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use wire::{Event, RefusalView};

use crate::{ReachedBoundary, RefusedRequest};

/// Maximum number of pages that follow a run at the same time. Each needs a thread.
const MOST_WATCHERS: usize = 128;
/// Maximum length of the output that a page receives. The page of the ended run shows the recorded output.
const MOST_SENT: usize = 1 << 20;

/// A piece of the answer to the browser.
pub type EventPart = Result<String, Infallible>;

/// The pages that follow runs.
#[derive(Debug, Clone)]
pub struct RunWatchers(Arc<Semaphore>);

impl Default for RunWatchers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_WATCHERS)))
    }
}

impl RunWatchers {
    /// Answers the request for the events of a proposal. The query `have` is the number of signatures that the page shows:
    /// the page loads again at the next signature.
    pub fn answer(
        &self,
        place: Arc<ReachedBoundary>,
        id: ProposalId,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Response {
        let Ok(watcher) = self.0.clone().try_acquire_owned() else {
            let what = "Too many pages follow runs at the moment. Close some of them, then load this page again.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return RefusedRequest::new(status, "Too many pages", what).into_response();
        };
        let number = |text: &String| text.parse::<u64>().ok();
        let after = last_event(headers, query);
        // The page has seen each signature before the event `after`.
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
        // If the stream breaks, the browser connects again after the last event.
        let lines = place.with(|client| client.lines(&format!("/v1/proposals/{id}/events"), after));
        if let Ok(mut lines) = lines {
            let _ended = forward(&mut lines, run, &send);
        }
    });
    event_stream(receive)
}

/// Returns the number of the last event that the browser has.
pub fn last_event(headers: &HeaderMap, query: &BTreeMap<String, String>) -> Option<u64> {
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

/// Forwards the events until the stream ends, or until the browser leaves.
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
            // A comment, which the page ignores. It fails if the browser has left.
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
#[derive(Debug, Default)]
struct LiveRun {
    out: OutputPainter,
    err: OutputPainter,
    sent: usize,
    /// Number of further signatures that the page shows already, or `None` if the page ignores signatures.
    shown: Option<u64>,
}

impl LiveRun {
    /// Returns what the page shows for an event, or null for nothing.
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
mod tests {
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
