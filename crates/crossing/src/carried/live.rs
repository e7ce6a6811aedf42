//! Live output of runs, and the digests of the output that a receipt states. The boundary records the output of a run in
//! progress, and any number of readers can follow the recording.
//!
//! A recording stores the output in the order of its arrival, up to the limit of recorded bytes. Output that does not
//! fit into a small buffer goes to an unlinked file, so that large output uses disk space and not memory.
//!
//! The file also defines the stored order in which the pieces of a run's output arrived, with stream, length and time
//! of each piece.
//!
//! The recording of a run in progress and the store use the same bytes, so a reader continues at the same position
//! after the end of the run. The bytes begin with four zeros. Each piece follows as two variable-length numbers
//! (LEB128): the length with the stream in the lowest bit, and the milliseconds since the piece before. Version 0.1
//! stored each piece as one little-endian word of four bytes with length and stream, which is never zero.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    ops::Deref,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use documents::{
    Blake3Stream, ContentDigest, ProposalId, Sha256Stream, Stream, StreamName, locked,
};
use sandbox::{CancelFlag, SecretMasks, StreamMasker};

mod reading;

/// Maximum number of output bytes of a run that stay in memory.
const IN_MEMORY: usize = 64 << 10;
/// Maximum number of pieces of one run's output. Each piece needs 2 to 5 bytes of memory. Output after this maximum is
/// counted but not recorded.
const MOST_PIECES: usize = 1 << 18;
/// Maximum size of the output piece in one event, in bytes.
pub const PIECE: usize = 32 << 10;
/// Minimum time between two pieces that readers receive before the pieces are full. Without this limit, each line of a
/// fast step would be a piece, and each reader would delay the step by waking for it.
pub const SLICE: Duration = Duration::from_millis(2);

/// The runs in progress.
#[derive(Default)]
pub struct RunsInProgress {
    runs: Arc<Mutex<Runs>>,
}

#[derive(Default)]
struct Runs {
    living: HashMap<ProposalId, Arc<Recording>>,
    /// Proposals whose runs were asked to stop between the commit of the nonce and the start of the recording.
    stopped_early: HashSet<ProposalId>,
}

/// Run in progress, with its recording. Dropping the value removes the run from [`RunsInProgress`], because the store
/// then has the output. A reader with a handle to the recording can still read the whole output.
pub struct RunInProgress {
    pub proposal: ProposalId,
    recording: Arc<Recording>,
    runs: Arc<Mutex<Runs>>,
}

impl RunInProgress {
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
        locked(&self.runs).living.remove(&self.proposal);
        self.recording.tick.send_modify(|tick| *tick += 1);
    }
}

impl RunsInProgress {
    /// Starts the recording of at most `most` bytes of a run's output. `masks` replaces the secrets of the run.
    pub fn begin(
        &self,
        proposal: &ProposalId,
        scratch: PathBuf,
        most: u64,
        masks: Option<&Arc<SecretMasks>>,
    ) -> RunInProgress {
        let recording = Arc::new(Recording::new(scratch, most, masks));
        let mut runs = locked(&self.runs);
        if runs.stopped_early.remove(proposal) {
            recording.cancel();
        }
        runs.living.insert(proposal.clone(), recording.clone());
        drop(runs);
        RunInProgress {
            proposal: proposal.clone(),
            recording,
            runs: self.runs.clone(),
        }
    }

    /// Returns the recording of a run, or `None` if the run is not in progress.
    pub fn find(&self, proposal: &ProposalId) -> Option<Arc<Recording>> {
        locked(&self.runs).living.get(proposal).cloned()
    }

    /// Asks a run to stop, even if its nonce is spent and the run has not begun yet.
    pub fn stop(&self, proposal: &ProposalId) {
        let mut runs = locked(&self.runs);
        match runs.living.get(proposal) {
            Some(run) => run.cancel(),
            None => drop(runs.stopped_early.insert(proposal.clone())),
        }
    }

    /// Removes a request to stop ([`RunsInProgress::stop`]) for a run that ended before its recording began.
    pub fn forget(&self, proposal: &ProposalId) {
        locked(&self.runs).stopped_early.remove(proposal);
    }

    /// Asks all runs in progress to stop.
    pub fn cancel_all(&self) {
        locked(&self.runs)
            .living
            .values()
            .for_each(|run| run.cancel());
    }
}

/// Recorded output of one run, while the run writes it.
pub struct Recording {
    state: Mutex<State>,
    /// Number of changes to the recording. Readers wait for the next change.
    tick: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    scratch: PathBuf,
    /// Number of bytes that the recording may still store.
    room: u64,
    begun: Instant,
    /// The complete pieces in the order of their arrival.
    order: OutputOrder,
    /// The last piece, which grows until it is full or a reader gets it.
    open: Option<OpenPiece>,
    /// Time at which a reader last got a piece before it was full.
    sliced: Option<Instant>,
    /// The last recorded bytes.
    buffer: Vec<u8>,
    /// File with the bytes before the buffer.
    spool: Option<Arc<File>>,
    /// Number of bytes in the file.
    spooled: u64,
    stdout: Tally,
    stderr: Tally,
    failed: Option<String>,
    closed: bool,
    cancelled: bool,
    /// Flag that stops the run.
    flag: Option<CancelFlag>,
}

#[derive(Debug, Clone, Copy)]
struct OpenPiece {
    stream: StreamName,
    length: u32,
    elapsed_ms: u64,
}

#[derive(Debug, Default)]
struct Tally {
    /// Number of bytes from the run.
    arrived: u64,
    /// True if the last byte from the run is no line end.
    in_line: bool,
    /// Number of bytes after masking.
    bytes: u64,
    recorded: u64,
    /// Digests of the recorded bytes, created at the first byte, because many runs write nothing to a stream.
    digests: Option<Box<(Sha256Stream, Blake3Stream)>>,
    /// Replaces secrets. `None` for a run without secrets, so that its output is recorded at once.
    masker: Option<Box<StreamMasker>>,
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

    /// Returns the receipt's description of the stream. `all` is the number of bytes that the run wrote to the stream.
    fn stream(&self, all: u64) -> Stream {
        let mut stream = Stream::empty();
        if let Some((sha256, blake3)) = self.digests.as_deref() {
            stream.sha256 = ContentDigest::from_bytes(sha256.clone().finish());
            stream.blake3 = blake3.finish();
        }
        let redactions = self.masker.as_ref().map_or(0, |masker| masker.redactions());
        if redactions > 0 {
            // A label is longer or shorter than its secret, so the sizes tell nothing about a cut.
            let truncated = self.arrived < all || self.recorded < self.bytes;
            return Stream {
                bytes: all,
                recorded: self.recorded,
                truncated,
                redactions,
                ..stream
            };
        }
        Stream {
            bytes: all.max(self.recorded),
            recorded: self.recorded,
            truncated: self.recorded < all,
            ..stream
        }
    }
}

impl Recording {
    fn new(scratch: PathBuf, most: u64, masks: Option<&Arc<SecretMasks>>) -> Self {
        let tally = || Tally {
            masker: masks.map(|masks| Box::new(StreamMasker::new(masks.clone()))),
            ..Tally::default()
        };
        Self {
            state: Mutex::new(State {
                scratch,
                room: most,
                begun: Instant::now(),
                order: OutputOrder::default(),
                open: None,
                sliced: None,
                buffer: Vec::new(),
                spool: None,
                spooled: 0,
                stdout: tally(),
                stderr: tally(),
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
        let mut state = locked(&self.state);
        let kept = state.write(stream, bytes);
        drop(state);
        if kept > 0 {
            self.tick.send_modify(|tick| *tick += 1);
        }
    }

    /// Records a line of the boundary after the output of the run, on a line of its own. Returns the number of its bytes.
    pub fn write_line(&self, stream: StreamName, line: &str) -> u64 {
        let begun = locked(&self.state).tally(stream).in_line;
        let line = format!("{}{line}", if begun { "\n" } else { "" });
        self.write(stream, line.as_bytes());
        line.len() as u64
    }

    /// Ends the recording after the run. `stdout` and `stderr` are the numbers of bytes that the run wrote to each
    /// stream.
    pub fn close(&self, stdout: u64, stderr: u64) -> RecordedOutput {
        let mut state = locked(&self.state);
        state.end_masks(StreamName::Stdout, stdout);
        state.end_masks(StreamName::Stderr, stderr);
        state.closed = true;
        state.complete();
        // Close the descriptor of the flag now, because readers may hold the recording for a long time.
        state.flag = None;
        let recorded = RecordedOutput {
            stdout: state.stdout.stream(stdout),
            stderr: state.stderr.stream(stderr),
            order: state.order.bytes.clone(),
            failed: state.failed.clone(),
        };
        drop(state);
        self.tick.send_modify(|tick| *tick += 1);
        recorded
    }

    /// Asks the run to stop.
    pub fn cancel(&self) {
        let mut state = locked(&self.state);
        state.cancelled = true;
        state.flag.iter().for_each(CancelFlag::cancel);
    }

    /// Sets the flag that stops the run. If the run was already asked to stop, the function raises the flag.
    pub fn cancels(&self, flag: CancelFlag) {
        let mut state = locked(&self.state);
        if state.cancelled {
            flag.cancel();
        }
        state.flag = Some(flag);
    }
}

/// Position of a reader in a recording, and in the stored order of its pieces.
#[derive(Clone, Default)]
pub struct Cursor {
    position: OrderPosition,
    at: u64,
    stdout: u64,
    stderr: u64,
}

impl Cursor {
    /// Returns the next piece of a stored order, and moves the cursor behind the piece.
    pub fn next(&mut self, order: &[u8]) -> Option<Piece> {
        let mut position = self.position;
        let piece = position.next(order)?;
        Some(self.step(piece, position))
    }

    fn step(&mut self, piece: OrderedPiece, position: OrderPosition) -> Piece {
        let OrderedPiece {
            stream,
            length,
            elapsed_ms,
        } = piece;
        let of_stream = match stream {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        };
        let piece = Piece {
            stream,
            offset: *of_stream,
            length,
            elapsed_ms,
            at: self.at,
        };
        *of_stream += u64::from(length);
        self.at += u64::from(length);
        self.position = position;
        piece
    }
}

/// The result of reading the piece after a cursor.
#[derive(Debug, PartialEq)]
pub enum NextPiece {
    /// A piece.
    Piece(Piece),
    /// A piece has begun, and is complete after at most [`SLICE`].
    Soon,
    /// The run is still in progress, so more output may follow.
    NotYet,
    /// The run has ended, so no more pieces follow.
    End,
}

/// A piece of output.
#[derive(Debug, PartialEq)]
pub struct Piece {
    /// The stream to which the piece belongs.
    pub stream: StreamName,
    /// Number of recorded bytes of the stream before this piece.
    pub offset: u64,
    /// Number of bytes, at most [`PIECE`].
    pub length: u32,
    /// Time from the start of the recording to the first byte, in milliseconds.
    pub elapsed_ms: Option<u64>,
    /// Number of recorded bytes of both streams before this piece.
    at: u64,
}

/// The recorded output of a run that has ended.
#[derive(Clone)]
pub struct RecordedOutput {
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// Order in which the pieces arrived (see [`OutputOrder`]).
    pub order: Vec<u8>,
    /// Reason why a part of the output could not be stored, or `None` if all output was stored.
    pub failed: Option<String>,
}

impl State {
    /// Masks and records bytes. Returns the number of recorded bytes.
    fn write(&mut self, stream: StreamName, bytes: &[u8]) -> usize {
        let tally = self.tally(stream);
        tally.arrived += bytes.len() as u64;
        tally.in_line = bytes.last().map_or(tally.in_line, |last| *last != b'\n');
        let Some(masker) = &mut tally.masker else {
            return self.record(stream, bytes);
        };
        let mut clear = Vec::new();
        masker.push(bytes, &mut clear);
        self.record(stream, &clear)
    }

    /// Ends the masks of a stream to which the run wrote `all` bytes.
    fn end_masks(&mut self, stream: StreamName, all: u64) {
        let tally = self.tally(stream);
        let (Some(masker), is_whole) = (&mut tally.masker, tally.arrived >= all) else {
            return;
        };
        let mut clear = Vec::new();
        masker.finish(&mut clear);
        // If the output was cut, the last bytes may be the beginning of a secret whose end was cut off.
        if is_whole {
            self.record(stream, &clear);
        }
    }

    fn record(&mut self, stream: StreamName, bytes: &[u8]) -> usize {
        // A step that alternates between the streams after each byte would create too many pieces.
        let room = if self.order.pieces < MOST_PIECES {
            self.room
        } else {
            0
        };
        let tally = self.tally(stream);
        // After the first byte that is not recorded, no more bytes of this stream are recorded, so that the recorded
        // bytes are always the beginning of the stream.
        let room = if tally.recorded < tally.bytes {
            0
        } else {
            room
        };
        let keep = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let kept = match self.keep(&bytes[..keep]) {
            Ok(()) => keep,
            Err(error) => {
                self.failed
                    .get_or_insert_with(|| format!("output could not be recorded: {error}"));
                0
            }
        };
        self.tally(stream).add(bytes, kept);
        self.note(stream, kept);
        self.room -= kept as u64;
        kept
    }

    /// Adds recorded bytes to the pieces. The last piece grows, so that a step that writes single bytes creates few
    /// pieces.
    fn note(&mut self, stream: StreamName, kept: usize) {
        let mut left = kept;
        while left > 0 {
            if self.open.is_some_and(|open| open.stream != stream) {
                self.complete();
            }
            let elapsed_ms = || u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let open = self.open.get_or_insert_with(|| OpenPiece {
                stream,
                length: 0,
                elapsed_ms: elapsed_ms(),
            });
            let more = left.min(PIECE - open.length as usize);
            open.length += more as u32; // at most PIECE, 32 KiB
            left -= more;
            if open.length as usize == PIECE {
                self.complete();
            }
        }
    }

    /// Ends the growth of the last piece.
    fn complete(&mut self) {
        if let Some(open) = self.open.take() {
            self.order.push(open.stream, open.length, open.elapsed_ms);
        }
    }

    fn tally(&mut self, stream: StreamName) -> &mut Tally {
        match stream {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        }
    }

    /// Adds bytes to the recording: all of them, or none after an error.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > IN_MEMORY {
            let spool = match &self.spool {
                Some(spool) => spool.clone(),
                None => self
                    .spool
                    .insert(Arc::new(tempfile::tempfile_in(&self.scratch)?))
                    .clone(),
            };
            // After an error, the buffer still has its bytes, and the next write to the file begins at the same place.
            spool.write_all_at(&self.buffer, self.spooled)?;
            self.spooled += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn source(&self, at: u64, length: u32) -> io::Result<Source> {
        let in_spool = usize::try_from(self.spooled.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(length as usize);
        let start = usize::try_from(at.saturating_sub(self.spooled)).unwrap_or(usize::MAX);
        let tail = self
            .buffer
            .get(start..start.saturating_add(length as usize - in_spool));
        let tail = tail
            .ok_or_else(|| io::Error::other("a part is outside of the recorded output"))?
            .to_vec();
        Ok(Source {
            spool: self.spool.clone().filter(|_| in_spool > 0),
            at,
            in_spool,
            tail,
        })
    }
}

/// Place of the bytes of a piece: the first `in_spool` bytes are in the file, and `tail` follows.
struct Source {
    spool: Option<Arc<File>>,
    at: u64,
    in_spool: usize,
    tail: Vec<u8>,
}

impl Source {
    fn read(self) -> io::Result<Vec<u8>> {
        let Some(spool) = self.spool else {
            return Ok(self.tail);
        };
        let mut bytes = vec![0; self.in_spool];
        spool.read_exact_at(&mut bytes, self.at)?;
        bytes.extend(self.tail);
        Ok(bytes)
    }
}

/// The first bytes of an order with times.
const MARK: [u8; 4] = [0; 4];

/// The pieces of an output in the order of their arrival.
#[derive(Debug, Default)]
pub struct OutputOrder {
    /// The bytes for the store. Without pieces, there are no bytes.
    bytes: Vec<u8>,
    pieces: usize,
    /// Time of the last piece.
    elapsed_ms: u64,
}

/// Position between two pieces of an order.
#[derive(Clone, Copy, Default)]
pub struct OrderPosition {
    byte: usize,
    elapsed_ms: u64,
}

/// A piece of an order.
#[derive(Debug, PartialEq)]
pub struct OrderedPiece {
    /// The stream to which the piece belongs.
    pub stream: StreamName,
    /// Length in bytes.
    pub length: u32,
    /// Time from the start of the recording to the first byte of the piece, in milliseconds. Version 0.1 stored no
    /// times.
    pub elapsed_ms: Option<u64>,
}

impl OutputOrder {
    /// Adds a piece. The time never decreases.
    pub fn push(&mut self, stream: StreamName, length: u32, elapsed_ms: u64) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&MARK);
        }
        let since = elapsed_ms.saturating_sub(self.elapsed_ms);
        put(
            &mut self.bytes,
            u64::from(length) << 1 | u64::from(stream == StreamName::Stderr),
        );
        put(&mut self.bytes, since);
        self.elapsed_ms += since;
        self.pieces += 1;
    }
}

impl OrderPosition {
    /// Returns the piece after this position and moves the position behind the piece. Returns `None` at the end, and
    /// if the bytes are not an order.
    pub fn next(&mut self, order: &[u8]) -> Option<OrderedPiece> {
        if !order.starts_with(&MARK) {
            let word: [u8; 4] = order
                .get(self.byte..self.byte.checked_add(4)?)?
                .try_into()
                .ok()?;
            self.byte += 4;
            return Some(piece(u64::from(u32::from_le_bytes(word)), None));
        }
        let mut at = self.byte.max(MARK.len());
        let word = take(order, &mut at)?;
        let elapsed_ms = self.elapsed_ms.checked_add(take(order, &mut at)?)?;
        (self.byte, self.elapsed_ms) = (at, elapsed_ms);
        Some(piece(word, Some(elapsed_ms)))
    }
}

fn piece(word: u64, elapsed_ms: Option<u64>) -> OrderedPiece {
    let stream = if word & 1 == 1 {
        StreamName::Stderr
    } else {
        StreamName::Stdout
    };
    OrderedPiece {
        stream,
        length: u32::try_from(word >> 1).unwrap_or(u32::MAX),
        elapsed_ms,
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80); // the low seven bits, and the mark that more follow
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::Blake3Digest;

    fn recording(most: u64) -> Recording {
        Recording::new(std::env::temp_dir(), most, None)
    }

    #[test]
    fn recorded_output_equals_written_output_up_to_the_limit() {
        for size in [10, IN_MEMORY / 2, IN_MEMORY * 3] {
            let recording = recording(size as u64);
            let text: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            for (number, chunk) in text.chunks(1000).enumerate() {
                recording.write(
                    if number % 3 == 0 {
                        StreamName::Stderr
                    } else {
                        StreamName::Stdout
                    },
                    chunk,
                );
            }
            recording.write(StreamName::Stdout, b"too much");
            let recorded = recording.close(size as u64 + 8, 0);
            assert_eq!(
                recorded.stdout.recorded + recorded.stderr.recorded,
                size as u64
            );
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
            assert_eq!(
                pieces(&recorded)
                    .iter()
                    .map(|piece| u64::from(piece.length))
                    .sum::<u64>(),
                size as u64
            );
        }
    }

    #[test]
    fn after_a_failed_write_the_recorded_bytes_are_the_beginning_of_the_stream() {
        let recording = Recording::new("/nonexistent".into(), 1 << 20, None);
        recording.write(StreamName::Stdout, &[b'a'; IN_MEMORY - 10]);
        recording.write(StreamName::Stdout, &[b'b'; 20]);
        recording.write(StreamName::Stdout, b"c");
        recording.write(StreamName::Stderr, b"d");
        let recorded = recording.close(IN_MEMORY as u64 + 11, 1);
        assert_eq!(
            (recorded.stdout.recorded, recorded.stdout.truncated),
            (IN_MEMORY as u64 - 10, true)
        );
        assert_eq!(
            (recorded.stderr.recorded, recorded.stderr.truncated),
            (1, false)
        );
        assert!(recorded.failed.is_some());
    }

    fn pieces(recorded: &RecordedOutput) -> Vec<Piece> {
        let mut cursor = Cursor::default();
        std::iter::from_fn(|| cursor.next(&recorded.order)).collect()
    }

    fn read(recording: &Recording, cursor: &mut Cursor) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        loop {
            match recording.next(cursor) {
                NextPiece::Piece(piece) => pieces.push(recording.bytes(&piece).expect("bytes")),
                NextPiece::Soon => std::thread::sleep(SLICE),
                NextPiece::NotYet | NextPiece::End => return pieces,
            }
        }
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
        let NextPiece::Piece(first) = recording.next(&mut cursor) else {
            panic!("a complete piece")
        };
        assert_eq!(
            (first.stream, first.offset, first.length),
            (StreamName::Stdout, 3, 2)
        );
        assert_eq!(recording.bytes(&first).expect("bytes"), b"ab");
        assert_eq!(read(&recording, &mut cursor), [&b"two"[..], b"three"]);
        assert_eq!(recording.next(&mut cursor), NextPiece::NotYet);
        let recorded = recording.close(10, 3);
        assert_eq!(recording.next(&mut cursor), NextPiece::End);
        let lengths: Vec<_> = pieces(&recorded).iter().map(|piece| piece.length).collect();
        assert_eq!(lengths, [3, 2, 3, 5]);
        assert!(
            cursor.next(&recorded.order).is_none(),
            "the cursor continues in the stored order"
        );
    }

    #[test]
    fn output_that_is_written_byte_by_byte_is_joined_into_few_pieces() {
        let recording = recording(1 << 20);
        for _ in 0..100_000 {
            recording.write(StreamName::Stdout, b"x");
        }
        assert_eq!(
            pieces(&recording.close(100_000, 0)).len(),
            100_000_usize.div_ceil(PIECE)
        );
    }

    #[test]
    fn readers_of_a_fast_run_do_not_cut_its_output_into_single_lines() {
        let recording = recording(1 << 20);
        let mut cursors = vec![Cursor::default(); 100];
        let begun = Instant::now();
        for _ in 0..2000 {
            recording.write(StreamName::Stdout, b"a line\n");
            for cursor in &mut cursors {
                while let NextPiece::Piece(_) = recording.next(cursor) {}
            }
        }
        let slices = begun.elapsed().as_nanos() / SLICE.as_nanos() + 2;
        let pieces = pieces(&recording.close(14_000, 0)).len() as u128;
        assert!(pieces <= slices, "{pieces} pieces in {slices} slices");
    }

    #[test]
    fn a_piece_has_the_time_of_its_first_byte() {
        let recording = recording(100);
        recording.write(StreamName::Stdout, b"a");
        std::thread::sleep(Duration::from_millis(20));
        recording.write(StreamName::Stdout, b"a");
        recording.write(StreamName::Stderr, b"b");
        let times: Vec<_> = pieces(&recording.close(2, 1))
            .iter()
            .filter_map(|piece| piece.elapsed_ms)
            .collect();
        assert!(times[1] >= times[0] + 20, "{times:?}");
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
        let kept = recorded.stdout.recorded + recorded.stderr.recorded;
        assert!(kept.abs_diff(all) <= 1, "{kept}");
        assert_eq!(pieces(&recorded).len() as u64, kept);
        assert!(
            recorded.order.len() < 1 << 20,
            "{} bytes",
            recorded.order.len()
        );
    }

    #[test]
    fn a_run_that_is_cancelled_before_its_start_is_cancelled_at_once() {
        let (live, id) = (RunsInProgress::default(), ProposalId::new(1, [1; 10]));
        live.stop(&id);
        let run = live.begin(&id, std::env::temp_dir(), 10, None);
        assert!(locked(&run.state).cancelled);
        drop(run);
        assert!(live.find(&id).is_none(), "dropped is forgotten");
        live.stop(&id);
        live.forget(&id);
        let run = live.begin(&id, std::env::temp_dir(), 10, None);
        assert!(!locked(&run.state).cancelled);
        live.stop(&id);
        assert!(locked(&run.state).cancelled);
        assert!(locked(&live.runs).stopped_early.is_empty());
    }
}

#[cfg(test)]
mod output_order_tests {
    use proptest::prelude::*;

    use super::*;

    fn read(order: &[u8]) -> Vec<OrderedPiece> {
        let mut at = OrderPosition::default();
        std::iter::from_fn(|| at.next(order)).collect()
    }

    #[test]
    fn an_order_of_version_0_1_is_read_without_times() {
        // 3 bytes of stdout, 128 bytes of stderr, 128 bytes of stdout (whose first byte is zero).
        let words: Vec<u8> = [6_u32, 257, 256]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let pieces: Vec<_> = read(&words)
            .iter()
            .map(|piece| (piece.stream, piece.length, piece.elapsed_ms))
            .collect();
        let (out, err) = (StreamName::Stdout, StreamName::Stderr);
        assert_eq!(pieces, [(out, 3, None), (err, 128, None), (out, 128, None)]);
        assert_eq!(
            read(&words[8..]).len(),
            1,
            "an order may begin with a zero byte"
        );
    }

    proptest! {
        #[test]
        fn an_order_is_read_back(pieces in prop::collection::vec((any::<bool>(), 1_u32..1 << 31, 0_u64..1 << 40), 0..40)) {
            let (mut order, mut expected, mut now) = (OutputOrder::default(), Vec::new(), 0);
            for (error, length, since) in pieces {
                now += since;
                let stream = if error { StreamName::Stderr } else { StreamName::Stdout };
                order.push(stream, length, now);
                expected.push(OrderedPiece { stream, length, elapsed_ms: Some(now) });
            }
            prop_assert_eq!(order.pieces, expected.len());
            prop_assert_eq!(read(&order.bytes), expected);
        }

        #[test]
        fn bytes_that_are_not_an_order_end_it(bytes in prop::collection::vec(any::<u8>(), 0..80), marked in any::<bool>()) {
            let bytes = if marked { [&MARK[..], &bytes].concat() } else { bytes };
            prop_assert!(read(&bytes).len() <= bytes.len());
        }
    }
}
