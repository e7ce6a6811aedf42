//! Sources of a log: a server, a directory with a copy, or a store that no service uses.
//!
//! Every source has the files of C2SP tlog-tiles: `checkpoint`, `tile/<level>/<index>[.p/<width>]` and
//! `tile/entries/<index>[.p/<width>]`. Every source also has the files `blob/sha256/<hex>`, which contain the data
//! that entries name by digest.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{Client, CommandFailure, CommandResult, PrintableText, fail_check, fail_usage};
use documents::{
    BlobDigest, Hash, MAX_ENTRY_BYTES, MAX_NOTE_BYTES, MAX_SEALED_ROSTERS_BYTES, TILE_HEIGHT,
    TILE_WIDTH, TileKind, TilePath, merkle, split_entries,
};
use verdict::{EvidenceFiles, Unreadable};

/// A source of a log.
pub enum LogSource {
    /// A directory that `log export` has written.
    Directory(PathBuf),
    /// A boundary, or another HTTP server that has the same files.
    Served(Box<Client>),
    /// A store that no service uses: a backup or a closed log.
    Stored(Box<dyn LogAtRest>),
}

/// The log in a store that no service uses. The client has no store, so only the whole program implements this trait.
pub trait LogAtRest: std::fmt::Debug + Send + Sync {
    /// Returns the bytes of `checkpoint`, `tile/…` or `blob/sha256/<hex>`, or `None` if the path does not exist.
    ///
    /// # Errors
    /// Returns a message if the store cannot be read.
    fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// Function that opens the log in a store that no service uses.
pub type OpenStoredLog = fn(&Path) -> CommandResult<LogSource>;

/// Maximum size of a tile in bytes: a tile with entries of the maximum size.
pub const MAX_TILE_BYTES: usize = TILE_WIDTH as usize * (MAX_ENTRY_BYTES + 2);

/// Name of a directory in a copy with every signed checkpoint that `log export` accepted. The name of a file is the
/// size of its checkpoint.
pub const KEPT_HEADS: &str = "checkpoints";
/// Prefix of the names of temporary files in a copy.
pub const UNFINISHED: &str = ".new-";

impl LogSource {
    /// Returns the signed checkpoint, or `None` if the source has no checkpoint.
    ///
    /// # Errors
    /// Returns an error if the checkpoint cannot be read.
    pub fn head(&self) -> CommandResult<Option<String>> {
        let Some(bytes) = self.resource("checkpoint", MAX_NOTE_BYTES)? else {
            return Ok(None);
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| CommandFailure::check_said_no("the log's checkpoint is not UTF-8"))
    }

    /// Returns all signed checkpoints that `log export` stored in the copy, with their file names, sorted by name. Only
    /// a copy has such checkpoints.
    ///
    /// # Errors
    /// Returns an error if the checkpoints cannot be read.
    pub fn kept_heads(&self) -> CommandResult<Vec<(String, String)>> {
        let Self::Directory(directory) = self else {
            return Ok(Vec::new());
        };
        let kept = directory.join(KEPT_HEADS);
        let failed = CommandFailure::unable("read", &kept);
        let entries = match std::fs::read_dir(&kept) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut heads = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // This is a temporary file of an interrupted export.
            if name.starts_with(UNFINISHED) {
                continue;
            }
            let Some(bytes) = read_file(&entry.path(), MAX_NOTE_BYTES)? else {
                continue;
            };
            heads.push((
                format!("{KEPT_HEADS}/{name}"),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
        heads.sort();
        Ok(heads)
    }

    /// Returns a tile, or `None` if the source does not have this tile.
    ///
    /// # Errors
    /// Returns an error if the tile cannot be read.
    pub fn tile(&self, path: &TilePath) -> CommandResult<Option<Vec<u8>>> {
        self.resource(&path.to_string(), MAX_TILE_BYTES)
    }

    /// Returns a blob, or `None` if the source does not have this blob. The digest of the bytes is not checked.
    ///
    /// # Errors
    /// Returns an error if the blob cannot be read.
    pub fn blob(&self, digest: &BlobDigest) -> CommandResult<Option<Vec<u8>>> {
        // The largest blob is a list of versions of the roster.
        let path = format!("blob/sha256/{}", digest.hex());
        self.resource(&path, MAX_SEALED_ROSTERS_BYTES)
    }

    /// Returns the entries of tile `index` in a log with `size` entries.
    ///
    /// # Errors
    /// Returns an error if the entries are missing or cannot be read.
    pub fn entries(&self, index: u64, size: u64) -> CommandResult<Vec<Vec<u8>>> {
        let tile = Self::tile_of(TileKind::Entries, index, size)?;
        let mut bytes = self.tile(&tile)?;
        if bytes.is_none() && tile.width() < TILE_WIDTH {
            // If the log has grown, a complete tile may have replaced the incomplete tile.
            bytes = self.tile(&Self::tile_of(TileKind::Entries, index, u64::MAX)?)?;
        }
        let Some(bytes) = bytes else {
            let hashes = self.tile(&Self::tile_of(TileKind::Hashes(0), index, size)?)?;
            let why = match hashes {
                Some(_) => {
                    "the hashes of these entries exist. Is this a mirror of hashes (`log export --hashes`)? Such a \
                     mirror has no contents: audit a copy with contents, and compare it with this mirror by \
                     --against"
                }
                None => "the log is incomplete",
            };
            return fail_check(format!("{tile} is missing: {why}"));
        };
        let mut entries = split_entries(&bytes)
            .filter(|entries| entries.len() >= usize::from(tile.width()))
            .ok_or_else(|| {
                CommandFailure::check_said_no(format!(
                    "{tile} is incomplete, or is no tile of entries"
                ))
            })?;
        entries.truncate(usize::from(tile.width()));
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Returns the path of tile `index` in a log with `size` leaves. The last tile may be incomplete.
    ///
    /// # Errors
    /// Returns an error if the log has no such tile.
    pub fn tile_of(kind: TileKind, index: u64, size: u64) -> CommandResult<TilePath> {
        let level = if let TileKind::Hashes(level) = kind {
            u32::from(level)
        } else {
            0
        };
        let entries = size.checked_shr(level * 8).unwrap_or(0);
        let width = entries
            .saturating_sub(index.saturating_mul(u64::from(TILE_WIDTH)))
            .min(u64::from(TILE_WIDTH));
        u16::try_from(width)
            .ok()
            .and_then(|width| TilePath::new(kind, index, width))
            .ok_or_else(|| {
                CommandFailure::check_said_no(format!(
                    "a log of {size} entries has no tile {index} of this level"
                ))
            })
    }

    /// Returns the root hash of a part of the tree that one tile of hashes contains.
    ///
    /// # Errors
    /// Returns an error if the tile is missing, cut or unreadable.
    pub fn subtree(&self, level: u8, index: u64, size: u64) -> CommandResult<Hash> {
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << within;
        let width = u64::from(TILE_WIDTH);
        let tile = Self::tile_of(TileKind::Hashes(tile_level), first / width, size)?;
        let missing = || {
            CommandFailure::check_said_no(format!(
                "{tile} is missing or cut: the copy is incomplete"
            ))
        };
        let bytes = self.tile(&tile)?.ok_or_else(missing)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        let start = usize::try_from(first % width).unwrap_or(usize::MAX);
        let part = hashes
            .get(start..start.saturating_add(1 << within))
            .filter(|_| rest.is_empty());
        part.map(merkle::root).ok_or_else(missing)
    }

    /// Returns the failure for an unreadable resource, with the exit code for an unreadable tile.
    pub fn unreadable(&self, error: Unreadable) -> CommandFailure {
        match self {
            Self::Directory(_) | Self::Stored(_) => CommandFailure::usage(error.0),
            Self::Served(_) => CommandFailure::unreachable(error.0),
        }
    }

    fn resource(&self, path: &str, most: usize) -> CommandResult<Option<Vec<u8>>> {
        match self {
            Self::Served(client) => client.find(&format!("/log/{path}"), most),
            Self::Directory(directory) => read_file(&directory.join(path), most),
            Self::Stored(log) => log
                .resource(path)
                .map_err(|fault| CommandFailure::check_said_no(format!("the store: {fault}"))),
        }
    }
}

/// Reads a file of at most `most` bytes. Returns `None` if the file does not exist.
///
/// # Errors
/// Returns an error if the file is unreadable or too large, or if the path is not a regular file.
pub fn read_file(path: &Path, most: usize) -> CommandResult<Option<Vec<u8>>> {
    let shown = PrintableText::file(path);
    let failed = CommandFailure::unable("read", path);
    // Without this flag, opening a pipe would block until a process writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
    {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return fail_usage(format!("{shown} is no file"));
    }
    let mut bytes = Vec::new();
    if facts.len() <= most as u64 {
        file.take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if facts.len().max(bytes.len() as u64) > most as u64 {
        return fail_check(format!("{shown} is too large"));
    }
    Ok(Some(bytes))
}

impl EvidenceFiles for LogSource {
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable> {
        Self::blob(self, digest).map_err(|failure| Unreadable(failure.message))
    }

    /// A server may publish a copy of unknown origin, so the audit compares its hash tiles with computed tiles too. The
    /// comparison takes less than 1 % of the time for reading the entries.
    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Unreadable> {
        Self::tile(self, path).map_err(|failure| Unreadable(failure.message))
    }

    fn entries(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, Unreadable> {
        Self::entries(self, index, size).map_err(|failure| Unreadable(failure.message))
    }
}
