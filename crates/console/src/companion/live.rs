//! The events of a run, from the boundary to the page, while the run happens.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use client::remote::follow_run::{StreamLine, read_line};
use client::remote::run_printer::{held_up_words, piece_of, truncated_words};
use client::terminal::exit::CommandFailure;
use documents::record::ident::ProposalId;
use documents::record::stream_name::StreamName;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use wire::api::view::{Event, RefusalView};

use crate::companion::reached::ReachedBoundary;
use crate::page::terminal_text::OutputPainter;

/// Maximum length of the output that a page receives. The page of the ended run shows the recorded output.
const MOST_SENT: usize = 1 << 20;

/// A piece of the answer to the browser.
type Piece = Result<String, Infallible>;

/// Streams the events as server-sent events (HTML Living Standard, section 9.2), after the event with this number.
pub(super) fn stream(
    place: Arc<ReachedBoundary>,
    id: ProposalId,
    after: Option<u64>,
    watcher: OwnedSemaphorePermit,
) -> Response {
    let (send, receive): (Sender<Piece>, Receiver<Piece>) = channel(16);
    tokio::task::spawn_blocking(move || {
        let _watcher = watcher;
        // If the stream breaks, the browser connects again after the last event.
        let lines = place.with(|client| client.lines(&format!("/v1/proposals/{id}/events"), after));
        if let Ok(mut lines) = lines {
            let _ended = forward(&mut lines, &send);
        }
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReceiverStream::new(receive))).into_response()
}

/// Forwards the events until the stream ends, or until the browser leaves.
fn forward(lines: &mut impl std::io::BufRead, send: &Sender<Piece>) -> Result<(), CommandFailure> {
    let mut run = LiveRun::default();
    loop {
        let text = match read_line(lines)? {
            StreamLine::Document(line) => {
                let Ok(event) = serde_json::from_value::<Event>(line.clone()) else { continue };
                let data = run.shown(&event)?;
                match data.is_null() {
                    true => continue,
                    false => format!("id: {}\ndata: {data}\n\n", line["id"].as_u64().unwrap_or_default()),
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
}

impl LiveRun {
    /// Returns what the page shows for an event, or null for nothing.
    fn shown(&mut self, event: &Event) -> Result<Value, CommandFailure> {
        if let Some((stream, piece)) = piece_of(event)? {
            return Ok(self.output(stream, &piece));
        }
        Ok(match event {
            Event::Status { status, .. } if status.has_ended() => json!({"type": "reload"}),
            Event::Status { status, .. } => fact(status.word()),
            Event::HeldUp { code, detail } => {
                fact(&held_up_words(&RefusalView { code: *code, detail: detail.clone() }))
            }
            Event::Signature { approver } => fact(&format!("signed by {approver}")),
            Event::Truncated { stream, bytes, recorded } => fact(&truncated_words(*stream, *bytes, *recorded)),
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
        let painter = if stream == StreamName::Stdout { &mut self.out } else { &mut self.err };
        let parts: Vec<_> = painter.feed(piece).into_iter().map(|part| json!([part.class, part.text])).collect();
        json!({"type": "output", "at": "run", "parts": parts})
    }
}

fn fact(text: &str) -> Value {
    let text = client::terminal::printable_text::PrintableText::text(text).as_str().to_owned();
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
        forward(&mut Cursor::new(lines), &send).expect("forwarded");
        drop(send);
        let mut all = String::new();
        while let Ok(piece) = receive.try_recv() {
            all.push_str(&piece.expect("text"));
        }
        assert!(
            all.starts_with("id: 1\ndata: {\"at\":\"run\",\"text\":\"running\",\"type\":\"fact\"}\n\n:\n\n"),
            "{all}"
        );
        assert!(all.contains("id: 2\ndata: ") && all.contains("[\"\",\"<b>\"],[\"c1\",\"red\\\\x1b[2J\"]"), "{all}");
        assert!(all.ends_with("data: {\"type\":\"reload\"}\n\n") && !all.contains("later"), "{all}");
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
