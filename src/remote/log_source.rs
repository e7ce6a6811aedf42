//! Where a log lies: a boundary or mirror that serves it, a directory with the same files, or a store at rest.
//!
//! Both have the resources of C2SP tlog-tiles: `checkpoint`, `tile/<level>/<index>[.p/<width>]`,
//! `tile/entries/<index>[.p/<width>]`; and beside them `blob/sha256/<hex>`, what the entries name.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::audit::evidence::{EvidenceFiles, Unreadable};
use crate::crypto::digest::BlobDigest;
use crate::crypto::merkle::{MAX_ENTRY_BYTES, TILE_WIDTH, TileKind, TilePath, split_entries};
use crate::crypto::note::MAX_NOTE_BYTES;
use crate::remote::client::Client;
use crate::store::stored::StoredLog;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::screen::PrintableText;

/// A place that a log is read from.
#[derive(Debug)]
pub enum LogSource {
    /// A directory, as `log export` writes it.
    Directory(PathBuf),
    /// A boundary, or a server of such a directory.
    Served(Box<Client>),
    /// A store that nobody serves: a backup, or a log that a restore closed.
    Stored(Box<StoredLog>),
}

/// The largest resource: a tile of the longest entries. Blobs are smaller.
pub const MAX_RESOURCE_BYTES: usize = TILE_WIDTH as usize * (MAX_ENTRY_BYTES + 2);

/// The directory of a copy that holds every signed head that the copy took, each under its size.
pub const KEPT_HEADS: &str = "checkpoints";
/// How a file of a copy is called until it is whole.
pub const UNFINISHED: &str = ".new-";

impl LogSource {
    /// The signed head; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn head(&self) -> Result<Option<String>, CommandFailure> {
        let Some(bytes) = self.resource("checkpoint", MAX_NOTE_BYTES)? else { return Ok(None) };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| CommandFailure::new(Exit::CheckSaidNo, "the log's checkpoint is no text"))
    }

    /// The signed heads that an export kept beside its copy, each with the name of its file, in the order of their names.
    /// A served log and a store have none.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn kept_heads(&self) -> Result<Vec<(String, String)>, CommandFailure> {
        let Self::Directory(directory) = self else { return Ok(Vec::new()) };
        let kept = directory.join(KEPT_HEADS);
        let failed = |error: io::Error| {
            CommandFailure::usage(format!(
                "can't read {}: {error}",
                PrintableText::text(&kept.to_string_lossy()).as_str()
            ))
        };
        let entries = match std::fs::read_dir(&kept) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut heads = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What an export had begun to write when it was killed.
            if name.starts_with(UNFINISHED) {
                continue;
            }
            let Some(bytes) = read_file(&entry.path(), MAX_NOTE_BYTES)? else { continue };
            heads.push((format!("{KEPT_HEADS}/{name}"), String::from_utf8_lossy(&bytes).into_owned()));
        }
        heads.sort();
        Ok(heads)
    }

    /// A tile; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, CommandFailure> {
        self.resource(&path.to_string(), MAX_RESOURCE_BYTES)
    }

    /// A blob, not yet checked; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, CommandFailure> {
        self.resource(&format!("blob/sha256/{}", digest.hex()), MAX_RESOURCE_BYTES)
    }

    /// The entries of tile `index` in a log of `size`, as far as it goes.
    ///
    /// # Errors
    /// When they are not there, or can't be read.
    pub fn entries(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, CommandFailure> {
        let tile = Self::tile_of(TileKind::Entries, index, size)?;
        let mut bytes = self.tile(&tile)?;
        if bytes.is_none() && tile.width() < TILE_WIDTH {
            // The whole tile takes the place of its part once it is full.
            bytes = self.tile(&Self::tile_of(TileKind::Entries, index, u64::MAX)?)?;
        }
        let Some(bytes) = bytes else {
            let hashes = self.tile(&Self::tile_of(TileKind::Hashes(0), index, size)?)?;
            let why = match hashes {
                Some(_) => {
                    "its hashes are there. Is this a mirror of hashes (`log export --hashes`)? It has no contents: audit a \
                            copy that has them, and hold it against this one with --against"
                }
                None => "the log is not whole",
            };
            return Err(CommandFailure::new(Exit::CheckSaidNo, format!("{tile} is missing: {why}")));
        };
        let mut entries = split_entries(&bytes)
            .filter(|entries| entries.len() >= usize::from(tile.width()))
            .ok_or_else(|| CommandFailure::new(Exit::CheckSaidNo, format!("{tile} is cut, or no tile of entries")))?;
        entries.truncate(usize::from(tile.width()));
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The tile of this index in a log of `size` leaves, as wide as it is there.
    ///
    /// # Errors
    /// When there is no such tile.
    pub fn tile_of(kind: TileKind, index: u64, size: u64) -> Result<TilePath, CommandFailure> {
        let level = if let TileKind::Hashes(level) = kind { u32::from(level) } else { 0 };
        let entries = size.checked_shr(level * 8).unwrap_or(0);
        let width = entries.saturating_sub(index.saturating_mul(u64::from(TILE_WIDTH))).min(u64::from(TILE_WIDTH));
        u16::try_from(width).ok().and_then(|width| TilePath::new(kind, index, width)).ok_or_else(|| {
            CommandFailure::new(Exit::CheckSaidNo, format!("a log of {size} entries has no tile {index} of this level"))
        })
    }

    /// That something beside the entries can't be read, by the code that the same has of a tile.
    pub fn unreadable(&self, error: Unreadable) -> CommandFailure {
        match self {
            Self::Directory(_) | Self::Stored(_) => CommandFailure::usage(error.0),
            Self::Served(_) => CommandFailure::new(Exit::Unreachable, error.0),
        }
    }

    fn resource(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, CommandFailure> {
        match self {
            Self::Served(client) => client.find(&format!("/log/{path}"), most),
            Self::Directory(directory) => read_file(&directory.join(path), most),
            Self::Stored(log) => log
                .resource(path)
                .map_err(|fault| CommandFailure::new(Exit::CheckSaidNo, format!("the store: {fault}"))),
        }
    }
}

/// A file of at most `most` bytes; nothing when there is none.
///
/// # Errors
/// When it can't be read, is larger, or no file but a pipe, say, which might never end.
pub fn read_file(path: &Path, most: usize) -> Result<Option<Vec<u8>>, CommandFailure> {
    let shown = PrintableText::text(&path.to_string_lossy());
    let failed = |error: io::Error| CommandFailure::usage(format!("can't read {}: {error}", shown.as_str()));
    // Opening a pipe would wait for somebody to write into it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(CommandFailure::usage(format!("{} is no file", shown.as_str())));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > most {
        return Err(CommandFailure::new(Exit::CheckSaidNo, format!("{} is larger than it may be", shown.as_str())));
    }
    Ok(Some(bytes))
}

impl EvidenceFiles for LogSource {
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable> {
        Self::blob(self, digest).map_err(|failure| Unreadable(failure.message))
    }

    /// Tiles are compared wherever they lie: what is served may be a directory that somebody wrote. 8 KiB for 256 entries
    /// of a few KiB each, so this costs less than a hundredth of reading them.
    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Unreadable> {
        Self::tile(self, path).map_err(|failure| Unreadable(failure.message))
    }
}
