//! Live output of runs. The boundary records the output while a run writes the output, and any number of readers can
//! follow.
//!
//! A recording stores the output in the order of its arrival, up to the limit of recorded bytes. Output that does not
//! fit into a small buffer goes to an unlinked file, so that large output uses disk space and not memory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::crypto::digest::{Blake3Stream, ContentDigest, Sha256Stream};
use crate::record::ident::ProposalId;
use crate::record::receipt::Stream;
use crate::record::stream_name::StreamName;
use crate::sandbox::cancel_flag::CancelFlag;

/// Maximum number of output bytes of a run that stay in memory.
const IN_MEMORY: usize = 64 << 10;
/// Maximum number of pieces of one run's output. Each piece needs 8 bytes of memory. Output after the last of these
/// pieces is counted but not recorded.
const MOST_PIECES: usize = 1 << 18;
/// Maximum size of the output piece in one event, in bytes.
pub const PIECE: usize = 32 << 10;

/// The runs in progress.
#[derive(Debug, Default)]
pub struct RunsInProgress {
    runs: Arc<Mutex<Runs>>,
}

#[derive(Debug, Default)]
struct Runs {
    living: HashMap<ProposalId, Arc<Recording>>,
    /// Proposals whose runs were asked to stop after the nonce was spent and before the recording began.
    stopped_early: HashSet<ProposalId>,
}

/// A run in progress, with its recording. When the value is dropped, the run is removed from [`RunsInProgress`],
/// because the store then has the output of the run. A reader with a handle to the recording can still read all of the
/// output.
#[derive(Debug)]
pub struct RunInProgress {
    proposal: ProposalId,
    recording: Arc<Recording>,
    runs: Arc<Mutex<Runs>>,
}

impl RunInProgress {
    /// Returns the id of the run's proposal.
    pub fn proposal(&self) -> &ProposalId {
        &self.proposal
    }

    /// Returns a shared handle to the recording, for other readers and writers.
    pub fn shared(&self) -> Arc<Recording> {
        self.recording.clone()
    }
}

impl Deref for RunInProgress {
    type Target = Arc<Recording>;

    fn deref(&self) -> &Self::Target {
        &self.recording
    }
}

impl Drop for RunInProgress {
    fn drop(&mut self) {
        lock(&self.runs).living.remove(&self.proposal);
        self.recording.tick.send_modify(|tick| *tick += 1);
    }
}

impl RunsInProgress {
    /// Starts the recording of a run, with at most `most` bytes.
    pub fn begin(&self, proposal: &ProposalId, scratch: PathBuf, most: u64) -> RunInProgress {
        let recording = Arc::new(Recording::new(scratch, most));
        let mut runs = lock(&self.runs);
        if runs.stopped_early.remove(proposal) {
            recording.cancel();
        }
        runs.living.insert(proposal.clone(), recording.clone());
        drop(runs);
        RunInProgress { proposal: proposal.clone(), recording, runs: self.runs.clone() }
    }

    /// Returns the recording of a run, or `None` if the run is not in progress.
    pub fn find(&self, proposal: &ProposalId) -> Option<Arc<Recording>> {
        lock(&self.runs).living.get(proposal).cloned()
    }

    /// Asks a run to stop, even if its nonce is spent and the run has not begun yet.
    pub fn stop(&self, proposal: &ProposalId) {
        let mut runs = lock(&self.runs);
        match runs.living.get(proposal) {
            Some(run) => run.cancel(),
            None => drop(runs.stopped_early.insert(proposal.clone())),
        }
    }

    /// Removes the effect of [`RunsInProgress::stop`] for a run that ended before its recording began.
    pub fn forget(&self, proposal: &ProposalId) {
        lock(&self.runs).stopped_early.remove(proposal);
    }

    /// Asks all runs in progress to stop.
    pub fn cancel_all(&self) {
        lock(&self.runs).living.values().for_each(|run| run.cancel());
    }
}

/// The recorded output of one run, while the output arrives.
#[derive(Debug)]
pub struct Recording {
    state: Mutex<State>,
    /// Number of changes to the recording. Readers wait until this number changes.
    tick: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    scratch: PathBuf,
    /// Number of bytes that the recording may still store.
    room: u64,
    /// The pieces in the order of their arrival, each with stream and length.
    order: Vec<(StreamName, u32)>,
    /// Number of pieces that a reader has already seen. Only pieces that no reader has seen may still grow.
    seen: usize,
    buffer: Vec<u8>,
    /// The file with the bytes that do not fit into the buffer.
    spool: Option<File>,
    recorded: u64,
    stdout: Tally,
    stderr: Tally,
    failed: Option<String>,
    closed: bool,
    cancelled: bool,
    /// The flag that is raised when the run must stop.
    flag: Option<CancelFlag>,
}

#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    recorded: u64,
    /// Digests of the recorded bytes. The digests are created at the first byte, because many runs write nothing to a
    /// stream.
    digests: Option<Box<(Sha256Stream, Blake3Stream)>>,
}

impl Tally {
    fn add(&mut self, bytes: &[u8], kept: usize) {
        self.bytes += bytes.len() as u64;
        self.recorded += kept as u64;
        if kept > 0 {
            let (sha256, blake3) = &mut **self.digests.get_or_insert_default();
            sha256.update(&bytes[..kept]);
            blake3.update(&bytes[..kept]);
        }
    }

    /// Returns the description of the stream for the receipt. `all` is the number of bytes that the run wrote to the
    /// stream.
    fn stream(&self, all: u64) -> Stream {
        let mut stream = Stream::empty();
        if let Some((sha256, blake3)) = self.digests.as_deref() {
            stream.sha256 = ContentDigest::from_bytes(sha256.clone().finish());
            stream.blake3 = blake3.finish();
        }
        Stream { bytes: all.max(self.recorded), recorded: self.recorded, truncated: self.recorded < all, ..stream }
    }
}

impl Recording {
    fn new(scratch: PathBuf, most: u64) -> Self {
        Self {
            state: Mutex::new(State {
                scratch,
                room: most,
                order: Vec::new(),
                seen: 0,
                buffer: Vec::new(),
                spool: None,
                recorded: 0,
                stdout: Tally::default(),
                stderr: Tally::default(),
                failed: None,
                closed: false,
                cancelled: false,
                flag: None,
            }),
            tick: watch::channel(0).0,
        }
    }

    /// Records output of the run. Output beyond the limit is counted but not recorded.
    pub fn write(&self, stream: StreamName, bytes: &[u8]) {
        let mut state = lock(&self.state);
        // The number of pieces is limited, because a step may alternate between the streams after each byte.
        let room = if state.order.len() < MOST_PIECES { state.room } else { 0 };
        let keep = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let kept = match state.keep(&bytes[..keep]) {
            Ok(()) => keep,
            Err(error) => {
                state.failed.get_or_insert_with(|| format!("output could not be recorded: {error}"));
                0
            }
        };
        let tally = match stream {
            StreamName::Stdout => &mut state.stdout,
            StreamName::Stderr => &mut state.stderr,
        };
        tally.add(bytes, kept);
        state.note(stream, kept);
        state.room -= kept as u64;
        drop(state);
        if kept > 0 {
            self.tick.send_modify(|tick| *tick += 1);
        }
    }

    /// Ends the recording, because the run writes no more output. The arguments `stdout` and `stderr` are the numbers
    /// of all bytes that the run wrote to each stream.
    pub fn close(&self, stdout: u64, stderr: u64) -> RecordedOutput {
        let mut state = lock(&self.state);
        state.closed = true;
        // Close the descriptor of the flag immediately, because readers may keep the recording in memory for a long
        // time.
        state.flag = None;
        let recorded = RecordedOutput {
            stdout: state.stdout.stream(stdout),
            stderr: state.stderr.stream(stderr),
            order: encode_order(&state.order),
            failed: state.failed.clone(),
        };
        drop(state);
        self.tick.send_modify(|tick| *tick += 1);
        recorded
    }

    /// Passes the recorded bytes of one stream to `to`, piece by piece.
    ///
    /// # Errors
    /// Returns an error if the spool can't be read.
    pub fn copy(&self, stream: StreamName, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let state = lock(&self.state);
        let mut at = 0;
        for &(of, length) in &state.order {
            if of == stream {
                to(&state.read(at, length as usize)?)?;
            }
            at += u64::from(length);
        }
        Ok(())
    }

    /// Returns the next piece after `cursor`. If no piece follows the cursor, the result states whether more output may
    /// follow.
    ///
    /// # Errors
    /// Returns an error if the spool can't be read.
    pub fn next(&self, cursor: &mut Cursor) -> io::Result<NextPiece> {
        let mut state = lock(&self.state);
        let Some(&(stream, length)) = state.order.get(cursor.number) else {
            return Ok(if state.closed { NextPiece::End } else { NextPiece::NotYet });
        };
        let bytes = state.read(cursor.at, length as usize)?;
        state.seen = state.seen.max(cursor.number + 1);
        Ok(NextPiece::Piece(Piece { stream, offset: cursor.step(stream, length), bytes }))
    }

    /// Returns a receiver that wakes at each change of the recording.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// Asks the run to stop.
    pub fn cancel(&self) {
        let mut state = lock(&self.state);
        state.cancelled = true;
        state.flag.iter().for_each(CancelFlag::cancel);
    }

    /// Sets the flag that is raised when the run must stop. If the run was already asked to stop, the flag is raised
    /// immediately.
    pub fn cancels(&self, flag: CancelFlag) {
        let mut state = lock(&self.state);
        if state.cancelled {
            flag.cancel();
        }
        state.flag = Some(flag);
    }
}

/// The position of a reader in a recording.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    number: usize,
    at: u64,
    stdout: u64,
    stderr: u64,
}

impl Cursor {
    /// Returns the number of pieces that the reader has read.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Moves the cursor behind a piece, and returns the offset of the piece within its stream.
    pub fn step(&mut self, stream: StreamName, length: u32) -> u64 {
        let of_stream = match stream {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        };
        let offset = *of_stream;
        *of_stream += u64::from(length);
        self.at += u64::from(length);
        self.number += 1;
        offset
    }
}

/// The result of reading the piece after a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextPiece {
    /// A piece.
    Piece(Piece),
    /// The run is still in progress, so more output may follow.
    NotYet,
    /// The run is over, so no more pieces follow.
    End,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The stream to which the piece belongs.
    pub stream: StreamName,
    /// Number of recorded bytes of the stream before this piece.
    pub offset: u64,
    /// The bytes of the piece, at most [`PIECE`].
    pub bytes: Vec<u8>,
}

/// The recorded output of a run that has ended.
#[derive(Debug, Clone)]
pub struct RecordedOutput {
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// The order in which the pieces arrived (see [`decode_order`]).
    pub order: Vec<u8>,
    /// The reason why a part of the output could not be stored, or `None` if all output was stored.
    pub failed: Option<String>,
}

impl State {
    /// Adds recorded bytes to the list of pieces. The last piece grows until a reader has seen the piece, so a step
    /// that writes single bytes creates few pieces.
    fn note(&mut self, stream: StreamName, kept: usize) {
        let mut left = kept;
        if self.order.len() > self.seen
            && let Some((last, length)) = self.order.last_mut()
            && *last == stream
        {
            let more = left.min(PIECE.saturating_sub(*length as usize));
            *length += more as u32; // at most PIECE, 32 KiB
            left -= more;
        }
        while left > 0 {
            let length = left.min(PIECE);
            self.order.push((stream, length as u32));
            left -= length;
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.spool.is_none() && self.buffer.len() + bytes.len() > IN_MEMORY {
            let mut spool = tempfile::tempfile_in(&self.scratch)?;
            spool.write_all(&self.buffer)?;
            self.buffer = Vec::new();
            self.spool = Some(spool);
        }
        match &self.spool {
            Some(spool) => spool.write_all_at(bytes, self.recorded)?,
            None => self.buffer.extend_from_slice(bytes),
        }
        self.recorded += bytes.len() as u64;
        Ok(())
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        if let Some(spool) = &self.spool {
            let mut bytes = vec![0; length];
            spool.read_exact_at(&mut bytes, at)?;
            return Ok(bytes);
        }
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        self.buffer
            .get(start..start.saturating_add(length))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::Error::other("a part is outside of the recorded output"))
    }
}

/// Encodes each piece in four bytes, which contain 31 bits of length and one bit for the stream (the lowest bit).
fn encode_order(order: &[(StreamName, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(order.len() * 4);
    for &(stream, length) in order {
        let word = length << 1 | u32::from(stream == StreamName::Stderr);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Decodes a stored order into pieces, each with stream and length.
#[must_use]
pub fn decode_order(bytes: &[u8]) -> Vec<(StreamName, u32)> {
    bytes
        .chunks_exact(4)
        .map(|word| {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            (if word & 1 == 1 { StreamName::Stderr } else { StreamName::Stdout }, word >> 1)
        })
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock is used like any other lock, because the guarded data is consistent even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::Blake3Digest;

    fn recording(most: u64) -> Recording {
        Recording::new(std::env::temp_dir(), most)
    }

    #[test]
    fn recorded_output_equals_written_output_up_to_the_limit() {
        for size in [10, IN_MEMORY / 2, IN_MEMORY * 3] {
            let recording = recording(size as u64);
            let text: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            for (number, chunk) in text.chunks(1000).enumerate() {
                recording.write(if number % 3 == 0 { StreamName::Stderr } else { StreamName::Stdout }, chunk);
            }
            recording.write(StreamName::Stdout, b"too much");
            let recorded = recording.close(size as u64 + 8, 0);
            assert_eq!(recorded.stdout.recorded + recorded.stderr.recorded, size as u64);
            assert!(recorded.stdout.truncated && recorded.stdout.recorded < recorded.stdout.bytes);
            let mut stdout = Vec::new();
            recording
                .copy(StreamName::Stdout, |bytes| {
                    stdout.extend_from_slice(bytes);
                    Ok(())
                })
                .expect("a copy");
            assert_eq!(Blake3Digest::of(&stdout), recorded.stdout.blake3);
            assert_eq!(read(&recording, &mut Cursor::default()).concat(), text);
            let order: u64 = decode_order(&recorded.order).iter().map(|&(_, length)| u64::from(length)).sum();
            assert_eq!(order, size as u64);
        }
    }

    fn read(recording: &Recording, cursor: &mut Cursor) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while let NextPiece::Piece(piece) = recording.next(cursor).expect("a piece") {
            pieces.push(piece.bytes);
        }
        pieces
    }

    #[test]
    fn output_offsets_count_for_each_stream_and_delivered_pieces_never_change() {
        let recording = recording(100);
        let mut cursor = Cursor::default();
        recording.write(StreamName::Stdout, b"one");
        assert_eq!(read(&recording, &mut cursor), [b"one"]);
        recording.write(StreamName::Stdout, b"a");
        recording.write(StreamName::Stdout, b"b");
        recording.write(StreamName::Stderr, b"two");
        recording.write(StreamName::Stdout, b"three");
        let first = recording.next(&mut cursor).expect("a piece");
        assert_eq!(first, NextPiece::Piece(Piece { stream: StreamName::Stdout, offset: 3, bytes: b"ab".to_vec() }));
        assert_eq!(read(&recording, &mut cursor), [&b"two"[..], b"three"]);
        assert_eq!(recording.next(&mut cursor).expect("no piece"), NextPiece::NotYet);
        recording.close(10, 3);
        assert_eq!(recording.next(&mut cursor).expect("no piece"), NextPiece::End);
    }

    #[test]
    fn output_that_is_written_byte_by_byte_is_joined_into_few_pieces() {
        let recording = recording(1 << 20);
        for _ in 0..100_000 {
            recording.write(StreamName::Stdout, b"x");
        }
        assert_eq!(decode_order(&recording.close(100_000, 0).order).len(), 100_000_usize.div_ceil(PIECE));
    }

    #[test]
    fn a_step_that_alternates_between_its_output_streams_creates_a_limited_number_of_pieces() {
        let recording = recording(u64::MAX);
        for _ in 0..MOST_PIECES {
            recording.write(StreamName::Stdout, b"x");
            recording.write(StreamName::Stderr, b"y");
        }
        let all = MOST_PIECES as u64;
        let recorded = recording.close(all, all);
        assert!(recorded.stdout.truncated && recorded.stderr.truncated);
        assert_eq!(recorded.stdout.recorded + recorded.stderr.recorded, all);
        assert_eq!(recorded.order.len(), MOST_PIECES * 4);
    }

    #[test]
    fn a_run_that_is_cancelled_before_its_start_is_cancelled_at_once() {
        let (live, id) = (RunsInProgress::default(), ProposalId::new(1, [1; 10]));
        live.stop(&id);
        let run = live.begin(&id, std::env::temp_dir(), 10);
        assert!(lock(&run.state).cancelled);
        drop(run);
        assert!(live.find(&id).is_none(), "dropped is forgotten");
        live.stop(&id);
        live.forget(&id);
        let run = live.begin(&id, std::env::temp_dir(), 10);
        assert!(!lock(&run.state).cancelled);
        live.stop(&id);
        assert!(lock(&run.state).cancelled);
        assert!(lock(&live.runs).stopped_early.is_empty());
    }
}
