//! Large outputs as files, durable before their receipt.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::boundary::live::{Recorded, Recording};
use crate::boundary::view::StreamName;
use crate::crypto::digest::Blake3Digest;
use crate::store::message::{MAX_INLINE_BYTES, OutputRow};

/// The directory of large outputs, and of what is on its way there.
#[derive(Debug, Clone)]
pub struct Outputs {
    directory: PathBuf,
}

impl Outputs {
    /// Uses `directory`, which must exist and belong to the service alone.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where spools of living runs go.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.directory.clone()
    }

    /// Free bytes of the disk that they are on.
    ///
    /// # Errors
    /// When the disk can't be asked.
    pub fn room(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Makes what a run recorded ready for the store: small outputs as rows, large ones as durable files.
    ///
    /// # Errors
    /// When a file can't be written or synced.
    pub fn keep(
        &self,
        recorded: &Recorded,
        recording: &Recording,
        path: impl Fn(&Blake3Digest) -> PathBuf,
    ) -> io::Result<Vec<OutputRow>> {
        let mut rows = Vec::new();
        for (name, stream) in [(StreamName::Stdout, &recorded.stdout), (StreamName::Stderr, &recorded.stderr)] {
            if stream.recorded == 0 || rows.iter().any(|row: &OutputRow| row.name == stream.blake3) {
                continue;
            }
            let data = if stream.recorded <= MAX_INLINE_BYTES as u64 {
                let mut data = Vec::new();
                recording.copy(name, |bytes| {
                    data.extend_from_slice(bytes);
                    Ok(())
                })?;
                Some(data)
            } else {
                self.write(&path(&stream.blake3), name, recording)?;
                None
            };
            rows.push(OutputRow { name: stream.blake3, bytes: stream.recorded, data });
        }
        Ok(rows)
    }

    fn write(&self, path: &Path, name: StreamName, recording: &Recording) -> io::Result<()> {
        if path.exists() {
            return Ok(()); // named by its content: the same bytes are there already
        }
        let parent = path.parent().unwrap_or(&self.directory);
        if !parent.exists() {
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
            File::open(&self.directory)?.sync_all()?;
        }
        let temporary = tempfile::Builder::new().prefix(".output-").tempfile_in(&self.directory)?;
        let mut writer = BufWriter::new(temporary.as_file());
        recording.copy(name, |bytes| writer.write_all(bytes))?;
        writer.flush()?;
        drop(writer);
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        File::open(parent)?.sync_all()
    }

    /// Whether all that was recorded is kept in rows: then nothing is written before the commit.
    #[must_use]
    pub fn is_inline(recorded: &Recorded) -> bool {
        [&recorded.stdout, &recorded.stderr].iter().all(|stream| stream.recorded <= MAX_INLINE_BYTES as u64)
    }

    /// Removes what a crash left behind: temporary files. Named outputs stay; they are what their name says.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".output-") {
                fs::remove_file(entry.path())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}
