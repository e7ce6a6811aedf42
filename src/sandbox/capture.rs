//! Output of a run, recorded within bounds.
//!
//! Both streams share one limit; what comes after it is counted only, so that a run that floods neither blocks nor
//! fills memory or disk.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Output as it arrives: the part that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Where it was written to.
    pub stream: Stream,
    /// Never empty.
    pub bytes: &'a [u8],
}

/// So many recorded bytes came from this stream in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The stream.
    pub stream: Stream,
    /// How many bytes.
    pub bytes: u64,
}

/// What one stream carried.
#[derive(Debug)]
pub struct Capture {
    /// All bytes that were written.
    pub bytes: u64,
    /// The first of them.
    pub recorded: Recorded,
    /// Whether something was not recorded.
    pub truncated: bool,
}

/// Recorded bytes, in memory or, beyond 1 MiB, in a file without a name.
#[derive(Debug)]
pub enum Recorded {
    /// Few bytes.
    Memory(Vec<u8>),
    /// Many; the file is gone when this is dropped.
    Spooled {
        /// Readable from its start by [`Recorded::reader`].
        file: File,
        /// Its length.
        bytes: u64,
    },
}

impl Recorded {
    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled { bytes, .. } => *bytes,
        }
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads from the first byte.
    ///
    /// # Errors
    /// When the spool file can't be rewound.
    pub fn reader(&mut self) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(bytes.as_slice())),
            Self::Spooled { file, bytes } => {
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file.take(*bytes)))
            }
        }
    }
}

/// Beyond this a stream goes to a file: bounds the service's memory per run.
const IN_MEMORY: usize = 1 << 20;
/// Segments that are noted: bounds what a run costs that alternates between the streams byte by byte. What comes
/// later is in the streams but no longer in the order.
const MAX_SEGMENTS: usize = 1 << 16;

/// Records both streams of one run.
pub(super) struct Recorder {
    room: u64,
    spool: PathBuf,
    stdout: Capture,
    stderr: Capture,
    order: Vec<Segment>,
}

impl Recorder {
    pub(super) fn new(limit: u64, spool: &Path) -> Self {
        let empty = || Capture { bytes: 0, recorded: Recorded::Memory(Vec::new()), truncated: false };
        Self { room: limit, spool: spool.to_owned(), stdout: empty(), stderr: empty(), order: Vec::new() }
    }

    /// Takes what arrived and answers the part of it that was recorded.
    pub(super) fn take<'a>(&mut self, stream: Stream, arrived: &'a [u8]) -> Option<Chunk<'a>> {
        let capture = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        capture.bytes += arrived.len() as u64;
        // After a gap nothing more of this stream is recorded: recorded bytes are always the first ones.
        let fits =
            if capture.truncated { 0 } else { usize::try_from(self.room).unwrap_or(usize::MAX).min(arrived.len()) };
        let kept = &arrived[..fits];
        let kept = match capture.recorded.append(kept, &self.spool) {
            Ok(()) => kept,
            Err(error) => {
                // The receipt says that it was cut, and not why.
                tracing::warn!(%error, spool = %self.spool.display(), "output of a run can't be recorded from here on");
                &[]
            }
        };
        capture.truncated |= kept.len() < arrived.len();
        if kept.is_empty() {
            return None;
        }
        self.room -= kept.len() as u64;
        let bytes = kept.len() as u64;
        match self.order.last_mut() {
            Some(last) if last.stream == stream => last.bytes += bytes,
            _ => {
                if self.order.len() < MAX_SEGMENTS {
                    self.order.push(Segment { stream, bytes });
                }
            }
        }
        Some(Chunk { stream, bytes: kept })
    }

    pub(super) fn finish(self) -> (Capture, Capture, Vec<Segment>) {
        (self.stdout, self.stderr, self.order)
    }
}

impl Recorded {
    /// All of `bytes` or nothing.
    fn append(&mut self, bytes: &[u8], spool: &Path) -> io::Result<()> {
        match self {
            Self::Memory(memory) if memory.len() + bytes.len() <= IN_MEMORY => memory.extend_from_slice(bytes),
            Self::Memory(memory) => {
                let mut file = tempfile::tempfile_in(spool)?;
                file.write_all(memory)?;
                file.write_all(bytes)?;
                *self = Self::Spooled { file, bytes: (memory.len() + bytes.len()) as u64 };
            }
            Self::Spooled { file, bytes: written } => {
                // A failed write leaves the length as it was; the next reader stops there.
                file.write_all(bytes)?;
                *written += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(capture: &mut Capture) -> Vec<u8> {
        let mut bytes = Vec::new();
        capture.recorded.reader().expect("readable").read_to_end(&mut bytes).expect("readable");
        bytes
    }

    #[test]
    fn both_streams_share_the_limit_and_the_rest_is_counted() {
        let mut recorder = Recorder::new(5, Path::new("/nonexistent"));
        assert_eq!(recorder.take(Stream::Stdout, b"abc").map(|c| c.bytes.to_vec()), Some(b"abc".to_vec()));
        assert_eq!(recorder.take(Stream::Stderr, b"def").map(|c| c.bytes.to_vec()), Some(b"de".to_vec()));
        assert_eq!(recorder.take(Stream::Stdout, b"ghi"), None);
        let (mut out, mut err, order) = recorder.finish();
        assert_eq!((out.bytes, out.truncated, content(&mut out)), (6, true, b"abc".to_vec()));
        assert_eq!((err.bytes, err.truncated, content(&mut err)), (3, true, b"de".to_vec()));
        assert_eq!(order, [Segment { stream: Stream::Stdout, bytes: 3 }, Segment { stream: Stream::Stderr, bytes: 2 }]);
    }

    #[test]
    fn large_output_is_spooled_to_a_file_and_read_back() {
        let spool = tempfile::tempdir().expect("a directory");
        let mut recorder = Recorder::new(u64::MAX, spool.path());
        let piece = vec![7; 300_000];
        for _ in 0..5 {
            recorder.take(Stream::Stdout, &piece);
        }
        let (mut out, ..) = recorder.finish();
        assert!(matches!(out.recorded, Recorded::Spooled { .. }));
        assert_eq!((out.recorded.len(), content(&mut out)), (1_500_000, vec![7; 1_500_000]));
    }

    #[test]
    fn without_spool_space_output_is_truncated_only_at_its_end() {
        let mut recorder = Recorder::new(u64::MAX, Path::new("/nonexistent"));
        recorder.take(Stream::Stdout, b"head");
        recorder.take(Stream::Stdout, &vec![1; 2 << 20]);
        recorder.take(Stream::Stdout, b"tail");
        let (mut out, ..) = recorder.finish();
        assert_eq!((out.truncated, content(&mut out)), (true, b"head".to_vec()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn recorded_output_is_a_prefix_and_the_byte_counts_are_correct(
            limit in 0_u64..200,
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut recorder = Recorder::new(limit, Path::new("/nonexistent"));
            let (mut all_out, mut all_err) = (Vec::new(), Vec::new());
            for (to_out, bytes) in &pieces {
                let stream = if *to_out { Stream::Stdout } else { Stream::Stderr };
                if *to_out { &mut all_out } else { &mut all_err }.extend_from_slice(bytes);
                recorder.take(stream, bytes);
            }
            let (mut out, mut err, order) = recorder.finish();
            let recorded = out.recorded.len() + err.recorded.len();
            prop_assert!(recorded <= limit);
            prop_assert_eq!(order.iter().map(|segment| segment.bytes).sum::<u64>(), recorded);
            for (capture, all) in [(&mut out, all_out), (&mut err, all_err)] {
                prop_assert_eq!(capture.bytes, all.len() as u64);
                prop_assert_eq!(capture.truncated, capture.recorded.len() < capture.bytes);
                prop_assert!(all.starts_with(&content(capture)));
            }
        }
    }
}
