//! The simple shape of an event stream: only output as text, the exit code, and errors.

use base64::Engine as _;
use serde_json::{Value, json};

use documents::{Outcome, Status, StreamName};
use wire::{Event, ProposalStatus};

/// Writes the events of one stream in the simple shape.
#[derive(Debug, Default)]
pub(super) struct SimpleEvents {
    stdout: TextDecoder,
    stderr: TextDecoder,
}

impl SimpleEvents {
    /// Returns the lines for one event. Most events have no line.
    pub(super) fn lines(&mut self, event: &Event) -> Vec<Value> {
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
#[derive(Debug, Default)]
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
