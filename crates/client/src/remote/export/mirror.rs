//! Directory of a copy: reads its state and writes its files durably.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::{
    CommandFailure, CommandResult, ExportHead, ExportTile, LogSource, PrintableText, read_file,
    remote::log_source::{KEPT_HEADS, MAX_RESOURCE_BYTES, UNFINISHED},
};
use documents::{
    BlobDigest, Checkpoint, Hash, MAX_NOTE_BYTES, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath,
    merkle::root, root_of,
};

/// Number of entries in a complete tile, as `u64`.
pub const WIDTH: u64 = TILE_WIDTH as u64;

/// Directory of a copy, locked by this process.
#[derive(Debug)]
pub struct LogMirror<'a> {
    directory: &'a Path,
    hashes_only: bool,
    /// Open directory. The lock is released when this value is dropped.
    opened: File,
}

impl<'a> LogMirror<'a> {
    pub fn open(directory: &'a Path, hashes_only: bool) -> CommandResult<Self> {
        let shown = PrintableText::file(directory);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .and_then(|()| File::open(directory));
        let opened =
            made.map_err(|error| CommandFailure::usage(format!("can't make {shown}: {error}")))?;
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                remove_unfinished(directory);
                Ok(Self {
                    directory,
                    hashes_only,
                    opened,
                })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(CommandFailure::unreachable(format!(
                "another export is writing into {shown}: try again when it has ended"
            ))),
            Err(error) => Err(CommandFailure::usage(format!(
                "can't lock {shown}: {error}"
            ))),
        }
    }

    /// Returns the copy as a source of log data.
    pub fn as_log_source(&self) -> LogSource {
        LogSource::Directory(self.directory.to_owned())
    }

    /// Returns the kind of tiles in this copy: whole entries or hashes.
    pub const fn kind(&self) -> TileKind {
        if self.hashes_only {
            TileKind::Hashes(0)
        } else {
            TileKind::Entries
        }
    }

    /// Reads the checkpoint of the copy.
    pub fn earlier(&self) -> CommandResult<Option<ExportHead>> {
        let Some(bytes) = read_file(&self.directory.join("checkpoint"), MAX_NOTE_BYTES)? else {
            return Ok(None);
        };
        let head = String::from_utf8(bytes)
            .map_err(|error| error.to_string())
            .and_then(ExportHead::parse);
        head.map(Some)
            .map_err(|why| self.damaged(&format!("its checkpoint: {why}")))
    }

    /// Returns an error if this export would change the kind of the copy (whole entries or hashes).
    pub fn check_kind(&self, earlier: Option<&ExportHead>) -> CommandResult<()> {
        let has_contents = match earlier {
            Some(ExportHead { checkpoint, .. }) => {
                let last = checkpoint.size.saturating_sub(1) / WIDTH;
                let last = LogSource::tile_of(TileKind::Entries, last, checkpoint.size)?;
                self.directory.join(last.to_string()).is_file()
            }
            // A copy without a checkpoint belongs to an interrupted first export. Its kind may still change from hashes
            // to whole entries, but not back.
            None if self.hashes_only => ["tile/entries", "blob"]
                .iter()
                .any(|name| self.directory.join(name).exists()),
            None => return Ok(()),
        };
        let is = if has_contents {
            "holds contents"
        } else {
            "is a mirror of hashes only"
        };
        if has_contents == self.hashes_only {
            let shown = PrintableText::file(self.directory);
            return Err(CommandFailure::check_said_no(format!(
                "{shown} {is}: use a separate directory for the other kind of copy"
            )));
        }
        Ok(())
    }

    /// Reads the incomplete tile of each level. Their root must be the root in the copy's checkpoint.
    pub fn edge(&self, earlier: &Checkpoint) -> CommandResult<Vec<Vec<Hash>>> {
        let mut levels = Vec::new();
        let mut entries = earlier.size;
        while entries > 0 {
            let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
            let mut hashes = Vec::with_capacity(usize::from(TILE_WIDTH));
            if !entries.is_multiple_of(WIDTH) {
                let path =
                    LogSource::tile_of(TileKind::Hashes(level), entries / WIDTH, earlier.size)?;
                hashes.extend(self.hashes(&path)?);
            }
            levels.push(hashes);
            entries >>= TILE_HEIGHT;
        }
        if self.root_of(&levels, earlier.size)? != earlier.root {
            return Err(self.damaged("the hashes of its tiles do not match its checkpoint"));
        }
        Ok(levels)
    }

    /// Computes the root hash from complete tiles on disk and incomplete tiles in memory.
    pub fn root_of(&self, levels: &[Vec<Hash>], size: u64) -> CommandResult<Hash> {
        root_of(size, |level, index| {
            let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
            let first = index << within;
            let start = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
            let entries = size >> (u32::from(tile_level) * u32::from(TILE_HEIGHT));
            let hashes = if first / WIDTH == entries / WIDTH {
                levels
                    .get(usize::from(tile_level))
                    .cloned()
                    .unwrap_or_default()
            } else {
                self.hashes(&LogSource::tile_of(
                    TileKind::Hashes(tile_level),
                    first / WIDTH,
                    size,
                )?)?
            };
            let part = hashes.get(start..start.saturating_add(1 << within));
            part.map(root).ok_or_else(|| self.damaged("a tile is cut"))
        })
    }

    fn hashes(&self, path: &TilePath) -> CommandResult<Vec<Hash>> {
        let bytes = read_file(
            &self.directory.join(path.to_string()),
            usize::from(TILE_WIDTH) * 32,
        )?;
        let bytes = bytes.filter(|bytes| bytes.len() == usize::from(path.width()) * 32);
        let bytes =
            bytes.ok_or_else(|| self.damaged(&format!("{path} is missing or incomplete")))?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }

    /// Returns a complete tile that an interrupted export wrote after the last checkpoint, or `None` if the tile is
    /// missing or invalid.
    pub fn leftover(&self, path: &TilePath) -> Option<ExportTile> {
        if path.width() < TILE_WIDTH {
            return None;
        }
        let bytes = read_file(&self.directory.join(path.to_string()), MAX_RESOURCE_BYTES)
            .ok()
            .flatten()?;
        ExportTile::read(path, bytes)
    }

    /// Returns the blob with this digest, or `None` if the file is missing or its bytes have another digest.
    pub fn blob(&self, digest: &BlobDigest) -> Option<Vec<u8>> {
        let bytes = read_file(&self.directory.join(blob_name(digest)), MAX_RESOURCE_BYTES)
            .ok()
            .flatten()?;
        (BlobDigest::of(&bytes) == *digest).then_some(bytes)
    }

    pub fn write_blob(&self, digest: &BlobDigest, bytes: &[u8]) -> CommandResult<()> {
        self.write(&blob_name(digest), bytes)
    }

    /// Stores a checkpoint permanently, because two different signed checkpoints of the same size prove a fork.
    pub fn keep(&self, head: &ExportHead) -> CommandResult<()> {
        let name = kept_name(head);
        let Some(kept) = read_file(&self.directory.join(&name), MAX_NOTE_BYTES)? else {
            return self.write(&name, head.note.as_bytes());
        };
        let kept = String::from_utf8_lossy(&kept).into_owned();
        if ExportHead::parse(kept.clone()).is_ok_and(|kept| kept.checkpoint == head.checkpoint) {
            return Ok(());
        }
        let shown = PrintableText::file(self.directory);
        Err(CommandFailure::check_said_no(format!(
            "{shown}: FORK: the head in {name} differs from the present head of the same size: keep both heads, and \
            ask \
             the operator of the boundary\n{kept}\n{}",
            head.note
        )))
    }

    /// Replaces the note of the copy with a note of the same checkpoint that has other signatures.
    pub fn renew(&self, head: &ExportHead) -> CommandResult<()> {
        self.keep(head)?;
        // After a crash between the two writes, the copy still has the old note. The next export repeats both writes.
        self.write(&kept_name(head), head.note.as_bytes())?;
        self.conclude(head)
    }

    /// Stores the checkpoint as the current checkpoint of the copy. All data below the checkpoint must already be on
    /// disk.
    pub fn conclude(&self, head: &ExportHead) -> CommandResult<()> {
        self.sync()?;
        self.write("checkpoint", head.note.as_bytes())?;
        self.sync()
    }

    /// Makes the names of all written files durable.
    fn sync(&self) -> CommandResult<()> {
        #[cfg(target_os = "linux")]
        let done = rustix::fs::syncfs(&self.opened).map_err(io::Error::from);
        #[cfg(not(target_os = "linux"))]
        let done = sync_directories(self.directory, &self.opened);
        done.map_err(|error| self.failed("", &error))
    }

    /// Writes a file atomically. Only the checkpoint and files that no checkpoint covers may be replaced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> CommandResult<()> {
        let path = self.directory.join(name);
        let directory = path.parent().unwrap_or(self.directory);
        let done = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .and_then(|()| {
                let mut builder = tempfile::Builder::new();
                // Other users may read the files of the copy, because they may serve or audit the copy.
                let mode = fs::Permissions::from_mode(0o644);
                // After a crash, the next export deletes the temporary files, which are all in one directory.
                let mut file = builder
                    .prefix(UNFINISHED)
                    .permissions(mode)
                    .tempfile_in(self.directory)?;
                file.write_all(bytes)?;
                // Without this sync, a power failure could leave an empty file under the final name.
                file.as_file().sync_data()?;
                file.persist(&path).map(drop).map_err(|error| error.error)
            });
        done.map_err(|error| self.failed(name, &error))
    }

    /// Deletes an incomplete tile after the complete tile was written.
    pub fn sweep(&self, from: u64, size: u64) {
        let remove = |kind: TileKind, level: u8| {
            let bits = u32::from(level) * u32::from(TILE_HEIGHT);
            let complete = (size >> bits) / WIDTH;
            // At each level, one tile was incomplete before this export. An interrupted export may also have left an
            // incomplete version of the last complete tile.
            for index in [(from >> bits) / WIDTH, complete.wrapping_sub(1)] {
                if index < complete
                    && let Some(whole) = TilePath::new(kind, index, TILE_WIDTH)
                {
                    let _ = fs::remove_dir_all(self.directory.join(format!("{whole}.p")));
                }
            }
        };
        remove(TileKind::Entries, 0);
        (0..8).for_each(|level| remove(TileKind::Hashes(level), level));
    }

    fn failed(&self, name: &str, error: &io::Error) -> CommandFailure {
        let path = self.directory.join(name);
        CommandFailure::usage(format!(
            "can't write {}: {error}",
            PrintableText::file(&path)
        ))
    }

    fn damaged(&self, why: &str) -> CommandFailure {
        let shown = PrintableText::file(self.directory);
        CommandFailure::check_said_no(format!(
            "{shown} is damaged: {why}; the copy was not changed; export into another directory"
        ))
    }
}

/// Syncs an open directory and all directories below it, for systems that cannot sync one file system. The data of the
/// files is already durable.
#[cfg(any(test, not(target_os = "linux")))]
fn sync_directories(directory: &Path, opened: &File) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path(), &File::open(entry.path())?)?;
        }
    }
    opened.sync_all()
}

/// Deletes temporary files of interrupted exports. No other export uses the directory, because this process has
/// locked it.
fn remove_unfinished(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn kept_name(head: &ExportHead) -> String {
    format!("{KEPT_HEADS}/{}", head.checkpoint.size)
}

fn blob_name(digest: &BlobDigest) -> String {
    format!("blob/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sync_of_the_file_system_every_directory_of_the_copy_is_synced() {
        let copy = tempfile::tempdir().expect("a directory");
        let sync =
            || File::open(copy.path()).and_then(|opened| sync_directories(copy.path(), &opened));
        fs::create_dir_all(copy.path().join("tile/entries/x001")).expect("directories");
        fs::write(copy.path().join("tile/entries/x001/002"), "entries").expect("a file");
        std::os::unix::fs::symlink("..", copy.path().join("tile/up")).expect("a link");
        sync().expect("synced, without a loop through the link");
    }
}
