//! Prints the events and the output of a run.

use std::io::Write as _;

use base64::Engine as _;
use serde_json::Value;

use crate::{
    CommandFailure, CommandResult, OutputComplaints, OutputPainter, Terminal,
    terminal::output_painter::{CommandGuard, plain},
};
use documents::{ContentDigest, Output, Sha256Stream, StreamName};
use wire::{Event, RefusalView};

/// Options for the output of a run.
#[derive(Clone, Copy, Default, clap::Args)]
pub struct OutputForm {
    /// Print output to a terminal unchanged, including control characters
    #[arg(long)]
    raw: bool,
    /// Escape control characters on every output, without colours, and lines that a CI system (GitHub, GitLab, Azure, TeamCity and
    /// others) could take for a command
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    escape: bool,
}

/// Prints the events of a run.
pub struct RunPrinter<'t> {
    /// The terminal of this printer.
    pub terminal: &'t Terminal,
    form: OutputForm,
    out: OutputPainter,
    err: OutputPainter,
    guard: CommandGuard,
    held_up: Option<RefusalView>,
    /// The error messages in the output that a list of programs may explain.
    pub complaints: OutputComplaints,
    /// Digests of all output so far: of the standard output, and of the standard error.
    seen: (Sha256Stream, Sha256Stream),
}

impl<'t> RunPrinter<'t> {
    /// Creates a printer for the standard streams. On a terminal, a carriage return begins a new line, colours are left
    /// out, and other control characters are shown as escapes, unless `form` disables this.
    pub fn new(terminal: &'t Terminal, form: OutputForm) -> Self {
        let (out, err, guard) = Default::default();
        let (held_up, complaints) = (None, OutputComplaints::default());
        Self {
            terminal,
            form,
            out,
            err,
            guard,
            held_up,
            complaints,
            seen: Default::default(),
        }
    }

    /// Returns true if the printed pieces are the output that the receipt states.
    pub fn has_printed(&self, output: &Output) -> bool {
        let digest = |seen: &Sha256Stream| ContentDigest::from_bytes(seen.clone().finish());
        digest(&self.seen.0) == output.stdout.sha256 && digest(&self.seen.1) == output.stderr.sha256
    }

    /// Prints one event.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written, or if a piece of output is not valid base64.
    pub fn event(&mut self, event: &Event, line: &Value) -> CommandResult<()> {
        let piece = piece_of(event)?;
        if let Some((stream, piece)) = &piece {
            let seen = if *stream == StreamName::Stdout {
                &mut self.seen.0
            } else {
                &mut self.seen.1
            };
            seen.update(piece);
        }
        if self.terminal.json {
            if let Some((_, piece)) = &piece {
                self.complaints.read(piece);
            }
            return self.terminal.object(line);
        }
        if let Some((stream, piece)) = piece {
            return self.output(stream, &piece);
        }
        match event {
            Event::Status { status, code } => {
                if self.terminal.err_is_terminal {
                    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                    self.terminal.say(format!("-- {status}{code}"));
                }
                Ok(())
            }
            Event::HeldUp { code, detail } => {
                let why = RefusalView {
                    code: *code,
                    detail: detail.clone(),
                };
                // After an interruption, the stream repeats this event.
                if self.held_up.as_ref() != Some(&why) {
                    self.terminal.say(held_up_words(&why));
                    self.guard.line_ended();
                    self.held_up = Some(why);
                }
                Ok(())
            }
            Event::Signature { approver } => {
                if self.terminal.err_is_terminal {
                    self.terminal.say(format!("-- signed by {approver}"));
                }
                Ok(())
            }
            Event::Truncated {
                stream,
                bytes,
                recorded,
            } => {
                self.terminal
                    .say(truncated_words(*stream, *bytes, *recorded));
                self.guard.line_ended();
                Ok(())
            }
            Event::Output { .. } | Event::Exit { .. } | Event::Receipt { .. } => Ok(()),
        }
    }

    /// Prints a piece of output.
    ///
    /// # Errors
    /// Returns an error if the standard stream cannot be written.
    pub fn output(&mut self, stream: StreamName, piece: &[u8]) -> CommandResult<()> {
        self.complaints.read(piece);
        let (tamed, is_terminal) = match stream {
            StreamName::Stdout => (&mut self.out, self.terminal.out_is_terminal),
            StreamName::Stderr => (&mut self.err, self.terminal.err_is_terminal),
        };
        let visible = match self.form {
            OutputForm { escape: true, .. } => {
                Some(self.guard.defuse(stream, &plain(tamed.feed(piece))))
            }
            OutputForm { raw, .. } => (is_terminal && !raw).then(|| plain(tamed.feed(piece))),
        };
        let bytes = visible.as_ref().map_or(piece, String::as_bytes);
        match stream {
            StreamName::Stdout => self.terminal.put(bytes),
            StreamName::Stderr => Ok(std::io::stderr().lock().write_all(bytes)?),
        }
    }

    /// Prints the rest of the output in the buffer.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn end(&mut self) -> CommandResult<()> {
        let (out, err) = (plain(self.out.end()), plain(self.err.end()));
        if !out.is_empty() {
            self.terminal.put(out)?;
        }
        if !err.is_empty() {
            let _ = std::io::stderr().write_all(err.as_bytes());
        }
        Ok(())
    }
}

/// Returns the bytes of an output event, or `None` for another event.
///
/// # Errors
/// Returns an error if the piece is not valid base64.
pub fn piece_of(event: &Event) -> CommandResult<Option<(StreamName, Vec<u8>)>> {
    let Event::Output {
        stream,
        text,
        base64,
        ..
    } = event
    else {
        return Ok(None);
    };
    let piece = match (text, base64) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(coded)) => base64::engine::general_purpose::STANDARD
            .decode(coded)
            .map_err(|_| {
                CommandFailure::unreachable(
                    "the boundary sent a piece of output that is not valid base64",
                )
            })?,
        (None, None) => Vec::new(),
    };
    Ok(Some((*stream, piece)))
}

/// Returns the statement that a part of a stream was not recorded.
pub fn truncated_words(stream: StreamName, bytes: u64, recorded: u64) -> String {
    format!("{}: {recorded} of {bytes} bytes were recorded", stream)
}

/// Returns the reason why an approved run has not started, as text.
pub fn held_up_words(why: &RefusalView) -> String {
    format!(
        "the run can't start yet ({}), and the boundary tries again until the proposal expires: {}",
        why.code, why.detail
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::Stream;

    #[test]
    fn printed_output_is_compared_with_the_digests_of_the_receipt() {
        let terminal = Terminal::new(true);
        let mut printer = RunPrinter::new(&terminal, OutputForm::default());
        let piece = |text: Option<&str>, base64: Option<&str>| Event::Output {
            stream: StreamName::Stdout,
            offset: 0,
            elapsed_ms: None,
            text: text.map(str::to_owned),
            base64: base64.map(str::to_owned),
        };
        for event in [piece(Some("a"), None), piece(None, Some("/w=="))] {
            printer.event(&event, &Value::Null).expect("printed");
        }
        let stdout = |bytes: &[u8]| Output {
            stdout: Stream {
                sha256: ContentDigest::of(bytes),
                ..Stream::empty()
            },
            stderr: Stream::empty(),
        };
        assert!(printer.has_printed(&stdout(b"a\xff")));
        assert!(!printer.has_printed(&stdout(b"a")));
        assert!(
            printer
                .event(&piece(None, Some("!")), &Value::Null)
                .is_err()
        );
    }
}
