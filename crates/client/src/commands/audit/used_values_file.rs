//! The file beside the state of an audit: short hashes of all nonces and proposals that the audits of a log have read.
//!
//! An audit only appends to this file. The state names the number of hashes and the digest of the bytes. So a state that was
//! not replaced after a crash still fits the beginning of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::PrintableText;
use documents::{Blake3Stream, SealDigest};
use verdict::SavedAudit;

const MAGIC: &[u8; 16] = b"countersign used";
const VERSION: u64 = 1;
/// Length of the magic bytes, the version and the id of the boundary.
const HEADER_BYTES: usize = 16 + 8 + 32;
const HASH_BYTES: u64 = 8;
/// Number of bytes that are read or written at once: a multiple of the size of a hash.
const BLOCK_BYTES: usize = 1 << 20;

/// The file, which may not exist yet.
#[derive(Debug)]
pub struct UsedValuesFile {
    path: PathBuf,
}

/// The verified beginning of the file, up to the last hash of a state.
#[derive(Debug)]
pub struct EarlierValues {
    file: File,
    end: u64,
    digest: Blake3Stream,
}

impl UsedValuesFile {
    /// Returns the file that belongs to the state at `state`.
    pub fn of(state: &Path) -> Self {
        let mut path = state.as_os_str().to_owned();
        path.push(".used");
        Self { path: path.into() }
    }

    /// Opens the file and verifies the bytes that the state names. The error is the reason why they can't be used.
    pub fn open(&self, state: &SavedAudit) -> Result<EarlierValues, String> {
        let shown = PrintableText::file(&self.path).to_string();
        let failed = |error: io::Error| format!("can't read {shown}: {error}");
        // Without this flag, opening a pipe would block until a process writes to it.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&self.path)
            .map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        let end = state
            .used_values
            .checked_mul(HASH_BYTES)
            .and_then(|bytes| bytes.checked_add(HEADER_BYTES as u64));
        if !facts.is_file() {
            return Err(format!("{shown} is no file"));
        }
        let end = end.filter(|end| *end <= facts.len());
        let Some(end) = end else {
            return Err(format!("{shown} is shorter than the state says"));
        };
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let expected = header_of(&state.boundary);
        if header[..16] != expected[..16] {
            return Err(format!(
                "{shown} does not contain the nonces and proposals of a log"
            ));
        }
        if header[16..24] != expected[16..24] {
            return Err(format!(
                "{shown} has a format of another version of the program"
            ));
        }
        if header != expected {
            return Err(format!("{shown} belongs to another boundary"));
        }
        let mut earlier = EarlierValues {
            file,
            end,
            digest: Blake3Stream::default(),
        };
        let mut digest = Blake3Stream::default();
        earlier
            .each_block(0, |block| {
                digest.update(block);
                Ok(())
            })
            .map_err(failed)?;
        earlier.digest = digest;
        if Some(earlier.digest.finish()) != state.used_digest {
            return Err(format!(
                "the content of {shown} is not the content that the state names"
            ));
        }
        Ok(earlier)
    }

    /// Adds the hashes to the file, or replaces the file if `earlier` is not its beginning, and names the result in `state`.
    /// If the process stops before the state is replaced, the earlier state fits the beginning of an extended file. It does
    /// not fit a replaced file, and the next audit then reads the log from its first entry.
    pub fn write(
        &self,
        state: &mut SavedAudit,
        earlier: Option<&EarlierValues>,
        hashes: &[Vec<u64>],
        directory: &Path,
    ) -> io::Result<()> {
        let same = |earlier: &&EarlierValues| {
            let (ours, now) = (earlier.file.metadata()?, self.path.metadata()?);
            Ok::<_, io::Error>((ours.dev(), ours.ino()) == (now.dev(), now.ino()))
        };
        let mut digest =
            earlier.map_or_else(Blake3Stream::default, |earlier| earlier.digest.clone());
        if let Some(earlier) = earlier.filter(|earlier| same(earlier).unwrap_or(false)) {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            // Remove what an interrupted audit has appended.
            file.set_len(earlier.end)?;
            write_hashes(&mut file, &mut digest, hashes)?;
            file.sync_all()?;
        } else {
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            match earlier {
                Some(earlier) => earlier.each_block(0, |block| file.write_all(block))?,
                None => {
                    let header = header_of(&state.boundary);
                    digest.update(&header);
                    file.write_all(&header)?;
                }
            }
            write_hashes(&mut file, &mut digest, hashes)?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
        }
        state.used_digest = Some(digest.finish());
        Ok(())
    }
}

impl EarlierValues {
    /// Passes the hashes to `take`, in pieces.
    pub fn each(&self, mut take: impl FnMut(&[u64])) -> io::Result<()> {
        let mut hashes = Vec::with_capacity(BLOCK_BYTES / 8);
        self.each_block(HEADER_BYTES as u64, |block| {
            hashes.clear();
            hashes.extend(
                block
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| u64::from_le_bytes(*bytes)),
            );
            take(&hashes);
            Ok(())
        })
    }

    /// Passes the bytes from `start` to the last hash to `take`.
    fn each_block(
        &self,
        start: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, mut block) = (start, vec![0; BLOCK_BYTES]);
        while at < self.end {
            let length = usize::try_from(self.end - at)
                .unwrap_or(BLOCK_BYTES)
                .min(BLOCK_BYTES);
            self.file.read_exact_at(&mut block[..length], at)?;
            take(&block[..length])?;
            at += length as u64;
        }
        Ok(())
    }
}

fn header_of(boundary: &SealDigest) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..16].copy_from_slice(MAGIC);
    header[16..24].copy_from_slice(&VERSION.to_le_bytes());
    header[24..].copy_from_slice(boundary.as_bytes());
    header
}

fn write_hashes(
    file: &mut impl io::Write,
    digest: &mut Blake3Stream,
    hashes: &[Vec<u64>],
) -> io::Result<()> {
    for piece in hashes
        .iter()
        .flat_map(|chunk| chunk.chunks(BLOCK_BYTES / 8))
    {
        let bytes: Vec<u8> = piece.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        digest.update(&bytes);
        file.write_all(&bytes)?;
    }
    Ok(())
}
