//! Records the output of a run up to a limit.
//!
//! Standard output and standard error share one limit. Output beyond the limit is counted but not recorded, so that a
//! run with much output neither blocks nor fills the memory or the disk.
//!
//! This file also defines the flag that cancels a run. The flag wakes the thread that polls it.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::event::EventfdFlags;

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A part of the recorded output, passed to the caller when the output arrives.
#[derive(Debug, PartialEq)]
pub struct Chunk<'a> {
    /// The stream of these bytes.
    pub stream: OutputStream,
    /// The bytes, never empty.
    pub bytes: &'a [u8],
}

/// The output of one stream.
#[derive(Debug)]
pub struct Capture {
    /// Number of bytes that the run wrote.
    pub bytes: u64,
    /// The first bytes of the stream, up to the limit.
    pub recorded: CapturedBytes,
    /// True if some bytes were not recorded.
    pub truncated: bool,
}

impl Capture {
    pub(crate) fn empty() -> Self {
        Self {
            bytes: 0,
            recorded: CapturedBytes::Memory(Vec::new()),
            truncated: false,
        }
    }
}

/// Recorded bytes of one stream, in memory (up to 1 MiB) or in a file without a name.
#[derive(Debug)]
pub enum CapturedBytes {
    /// At most 1 MiB.
    Memory(Vec<u8>),
    /// More than 1 MiB, in a file that disappears on drop.
    Spooled {
        /// The file with the bytes. [`CapturedBytes::reader`] reads this file.
        file: File,
        /// Number of recorded bytes in the file.
        bytes: u64,
    },
}

impl CapturedBytes {
    /// Returns a reader that starts at the first byte.
    ///
    /// # Errors
    /// Fails if the file can't be rewound.
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

/// Maximum number of bytes of one stream in memory. Output beyond this maximum is written to a file.
const IN_MEMORY: usize = 1 << 20;

pub(crate) struct Recorder {
    room: u64,
    spool: PathBuf,
    stdout: Capture,
    stderr: Capture,
    /// True if only the caller gets the recorded bytes, and the recorder keeps nothing.
    pub(crate) stream: bool,
}

impl Recorder {
    pub(crate) fn new(limit: u64, spool: &Path) -> Self {
        Self {
            room: limit,
            spool: spool.to_owned(),
            stdout: Capture::empty(),
            stderr: Capture::empty(),
            stream: false,
        }
    }

    /// Records the bytes `arrived` and returns the recorded part of them.
    pub(crate) fn take<'a>(
        &mut self,
        stream: OutputStream,
        arrived: &'a [u8],
    ) -> Option<Chunk<'a>> {
        let capture = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        capture.bytes += arrived.len() as u64;
        // After the first byte that is not recorded, no more bytes of this stream are recorded, so that the recorded
        // bytes are always the beginning of the stream.
        let fits = if capture.truncated {
            0
        } else {
            usize::try_from(self.room)
                .unwrap_or(usize::MAX)
                .min(arrived.len())
        };
        let kept = &arrived[..fits];
        let kept = match capture
            .recorded
            .append(if self.stream { &[] } else { kept }, &self.spool)
        {
            Ok(()) => kept,
            Err(error) => {
                // Log the reason, because the receipt states only that the output was truncated.
                tracing::warn!(%error, spool = %self.spool.display(), "the rest of the output of a run can't be \
                                                                       recorded");
                &[]
            }
        };
        capture.truncated |= kept.len() < arrived.len();
        if kept.is_empty() {
            return None;
        }
        self.room -= kept.len() as u64;
        Some(Chunk {
            stream,
            bytes: kept,
        })
    }

    pub(crate) fn finish(self) -> (Capture, Capture) {
        (self.stdout, self.stderr)
    }
}

impl CapturedBytes {
    /// Appends all of `bytes` to the recorded bytes, or returns an error.
    fn append(&mut self, bytes: &[u8], spool: &Path) -> io::Result<()> {
        match self {
            Self::Memory(memory) if memory.len() + bytes.len() <= IN_MEMORY => {
                memory.extend_from_slice(bytes)
            }
            Self::Memory(memory) => {
                let mut file = tempfile::tempfile_in(spool)?;
                file.write_all(memory)?;
                file.write_all(bytes)?;
                *self = Self::Spooled {
                    file,
                    bytes: (memory.len() + bytes.len()) as u64,
                };
            }
            Self::Spooled {
                file,
                bytes: written,
            } => {
                // A failed write leaves the stored length unchanged, so readers ignore the partial write.
                file.write_all(bytes)?;
                *written += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

/// Cancels a run. All clones share one flag. The flag can be raised but never lowered.
#[derive(Debug, Clone)]
pub struct CancelFlag(Arc<OwnedFd>);

impl CancelFlag {
    /// Creates a flag that is not raised.
    ///
    /// # Errors
    /// Fails if the process has no free file descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)))
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        // The write fails only if the counter is full. The flag is then already raised.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for CancelFlag {
    /// Returns a descriptor that is readable while the flag is raised.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the number of recorded bytes.
    fn size(capture: &Capture) -> u64 {
        match &capture.recorded {
            CapturedBytes::Memory(bytes) => bytes.len() as u64,
            CapturedBytes::Spooled { bytes, .. } => *bytes,
        }
    }

    fn content(capture: &mut Capture) -> Vec<u8> {
        let mut bytes = Vec::new();
        capture
            .recorded
            .reader()
            .expect("readable")
            .read_to_end(&mut bytes)
            .expect("readable");
        bytes
    }

    #[test]
    fn both_output_streams_share_one_limit_and_the_truncated_bytes_are_counted() {
        let mut recorder = Recorder::new(5, Path::new("/nonexistent"));
        assert_eq!(
            recorder
                .take(OutputStream::Stdout, b"abc")
                .map(|c| c.bytes.to_vec()),
            Some(b"abc".to_vec())
        );
        assert_eq!(
            recorder
                .take(OutputStream::Stderr, b"def")
                .map(|c| c.bytes.to_vec()),
            Some(b"de".to_vec())
        );
        assert_eq!(recorder.take(OutputStream::Stdout, b"ghi"), None);
        let (mut out, mut err) = recorder.finish();
        assert_eq!(
            (out.bytes, out.truncated, content(&mut out)),
            (6, true, b"abc".to_vec())
        );
        assert_eq!(
            (err.bytes, err.truncated, content(&mut err)),
            (3, true, b"de".to_vec())
        );
    }

    #[test]
    fn large_output_is_spooled_to_a_file_and_read_back() {
        let spool = tempfile::tempdir().expect("a directory");
        let mut recorder = Recorder::new(u64::MAX, spool.path());
        let piece = vec![7; 300_000];
        for _ in 0..5 {
            recorder.take(OutputStream::Stdout, &piece);
        }
        let (mut out, ..) = recorder.finish();
        assert!(matches!(out.recorded, CapturedBytes::Spooled { .. }));
        assert_eq!(content(&mut out), vec![7; 1_500_000]);
    }

    #[test]
    fn output_that_cannot_be_spooled_is_truncated_at_the_end() {
        let mut recorder = Recorder::new(u64::MAX, Path::new("/nonexistent"));
        recorder.take(OutputStream::Stdout, b"head");
        recorder.take(OutputStream::Stdout, &vec![1; 2 << 20]);
        recorder.take(OutputStream::Stdout, b"tail");
        let (mut out, ..) = recorder.finish();
        assert_eq!((out.truncated, content(&mut out)), (true, b"head".to_vec()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_recorded_output_is_the_beginning_of_the_output_and_the_counts_are_correct(
            limit in 0_u64..200,
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut recorder = Recorder::new(limit, Path::new("/nonexistent"));
            let (mut all_out, mut all_err) = (Vec::new(), Vec::new());
            for (to_out, bytes) in &pieces {
                let stream = if *to_out { OutputStream::Stdout } else { OutputStream::Stderr };
                if *to_out { &mut all_out } else { &mut all_err }.extend_from_slice(bytes);
                recorder.take(stream, bytes);
            }
            let (mut out, mut err) = recorder.finish();
            let recorded = size(&out) + size(&err);
            prop_assert!(recorded <= limit);
            for (capture, all) in [(&mut out, all_out), (&mut err, all_err)] {
                prop_assert_eq!(capture.bytes, all.len() as u64);
                prop_assert_eq!(capture.truncated, size(capture) < capture.bytes);
                prop_assert!(all.starts_with(&content(capture)));
            }
        }
    }
}
