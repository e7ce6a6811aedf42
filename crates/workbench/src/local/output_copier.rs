//! Copies the output of a step to the terminal.
//!
//! A separate thread writes the output. A slow reader or a paused terminal can delay the time limit and Ctrl-C only if
//! the bounded queue is full.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use client::{CommandFailure, CommandResult, Terminal};
use documents::StreamName;
use sandbox::{CancelFlag, Capture, Chunk, OutputStream, SecretMasks, StreamMasker};
use wire::Event;

/// Maximum number of pieces in the queue. A piece is one read from the pipe, at most 64 KiB.
const QUEUE: usize = 256;

/// Receives the output of a step, and passes it to the person.
#[derive(Debug)]
pub struct OutputCopier {
    begun: Instant,
    queue: SyncSender<(StreamName, u64, u64, Vec<u8>)>,
    writer: JoinHandle<CommandResult<()>>,
    stdout: Tally,
    stderr: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    /// Number of bytes after the secrets were replaced.
    bytes: u64,
    masker: Option<StreamMasker>,
}

impl OutputCopier {
    /// Starts the writer thread. If the thread cannot write any more, it sets `cancel`.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub fn begin(
        terminal: &Terminal,
        cancel: &CancelFlag,
        masks: Option<&Arc<SecretMasks>>,
    ) -> CommandResult<Self> {
        let (queue, pieces) = sync_channel::<(StreamName, u64, u64, Vec<u8>)>(QUEUE);
        let (terminal, cancel) = (terminal.clone(), cancel.clone());
        let writer = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                let mut result = Ok(());
                for (stream, offset, elapsed_ms, bytes) in pieces {
                    if result.is_ok() {
                        result = write(&terminal, stream, offset, elapsed_ms, bytes);
                        if result.is_err() {
                            cancel.cancel();
                        }
                    }
                }
                result
            });
        let writer = writer.map_err(|error| {
            CommandFailure::unreachable(format!("the thread for output can't be started: {error}"))
        })?;
        let tally = || Tally {
            masker: masks.map(|masks| StreamMasker::new(masks.clone())),
            ..Tally::default()
        };
        Ok(Self {
            begun: Instant::now(),
            queue,
            writer,
            stdout: tally(),
            stderr: tally(),
        })
    }

    /// Queues a piece of output, with a text in place of each secret.
    pub fn take(&mut self, chunk: Chunk<'_>) {
        let (name, tally) = match chunk.stream {
            OutputStream::Stdout => (StreamName::Stdout, &mut self.stdout),
            OutputStream::Stderr => (StreamName::Stderr, &mut self.stderr),
        };
        let mut bytes = Vec::with_capacity(chunk.bytes.len());
        match &mut tally.masker {
            Some(masker) => masker.push(chunk.bytes, &mut bytes),
            None => bytes.extend_from_slice(chunk.bytes),
        }
        self.send(name, bytes);
    }

    fn send(&mut self, name: StreamName, bytes: Vec<u8>) {
        let tally = if name == StreamName::Stdout {
            &mut self.stdout
        } else {
            &mut self.stderr
        };
        if bytes.is_empty() {
            return;
        }
        let offset = tally.bytes;
        tally.bytes += bytes.len() as u64;
        // The send cannot fail, because the writer thread lives as long as the queue.
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = self.queue.send((name, offset, elapsed_ms, bytes));
    }

    /// Queues the rest of the output after the run, and waits until all output is written.
    ///
    /// # Errors
    /// Returns an error if the output could not be written.
    pub fn end(mut self, stdout: &Capture, stderr: &Capture) -> CommandResult<()> {
        for (name, cut) in [
            (StreamName::Stdout, stdout.truncated),
            (StreamName::Stderr, stderr.truncated),
        ] {
            let tally = if name == StreamName::Stdout {
                &mut self.stdout
            } else {
                &mut self.stderr
            };
            let mut rest = Vec::new();
            // The end of a cut stream may be the beginning of a secret.
            if let Some(masker) = tally.masker.as_mut().filter(|_| !cut) {
                masker.finish(&mut rest);
            }
            self.send(name, rest);
        }
        let Self { queue, writer, .. } = self;
        drop(queue);
        let panicked = |_| {
            Err(CommandFailure::unreachable(
                "the output could not be written",
            ))
        };
        writer.join().unwrap_or_else(panicked)
    }
}

/// Writes a piece of output: unchanged for a person, or as a JSON event for a program.
fn write(
    terminal: &Terminal,
    stream: StreamName,
    offset: u64,
    elapsed_ms: u64,
    bytes: Vec<u8>,
) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(Event::output(stream, offset, Some(elapsed_ms), bytes));
    }
    match stream {
        StreamName::Stdout => terminal.put(&bytes),
        StreamName::Stderr => Ok(std::io::stderr().lock().write_all(&bytes)?),
    }
}
