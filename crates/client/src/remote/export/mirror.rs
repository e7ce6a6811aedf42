//! Reads and durably writes the directory of a copy, and checks the signed checkpoint of a log.
//!
//! The checkpoint must have a signature by the boundary's key in the roster that the last seal names. The copy must
//! already know this roster, or an earlier version from which signatures lead to this roster. If the user trusts no
//! roster, the first roster of the copy is trusted without proof.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::{
    ChosenTrust, CommandFailure, CommandResult, LogSource, PrintableText, fail_check, fail_usage,
    newest_of, read_file,
    remote::log_source::{KEPT_HEADS, UNFINISHED},
};
use documents::{
    Base64, BlobDigest, BoundaryName, Checkpoint, Envelope, Hash, MAX_NOTE_BYTES,
    MAX_SEALED_ROSTERS_BYTES, Note, Predicate, RosterDigest, RosterVersion, Seal, SealDigest,
    Statement, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, WitnessKey, leaf_hash, merkle::root,
    origin, push_entry, root_of, split_entries, verify_note,
};
use verdict::{Chain, LogEntry, LoggedRosters, Pinned, TrustedRoster, Unreadable, VersionFacts};

/// Number of entries in a complete tile, as `u64`.
pub const WIDTH: u64 = TILE_WIDTH as u64;

/// Name of the file in a copy with its [`KnownParts`].
const KNOWN_PARTS: &str = "rosters.json";

/// The blobs with versions of the roster that the seals in the first entries name, so that an export with an older trusted
/// version does not read all entries again. Nothing is trusted because of this file.
#[derive(Default, Serialize, Deserialize)]
struct KnownParts {
    entries: u64,
    parts: Vec<BlobDigest>,
}

impl KnownParts {
    /// Reads these parts and those that the further seals of the first `size` entries name.
    fn read_on(&self, log: &LogSource, size: u64) -> CommandResult<LoggedRosters> {
        let mut found = LoggedRosters::default();
        let unreadable = |error: Unreadable| CommandFailure::check_said_no(error.0);
        for part in &self.parts {
            found.part(part, log).map_err(unreadable)?;
        }
        for tile in self.entries / WIDTH..size.div_ceil(WIDTH) {
            let entries = (tile * WIDTH..size).zip(log.entries(tile, size)?);
            for (_, entry) in entries.filter(|(index, _)| *index >= self.entries) {
                let read = found.entry(&LogEntry::of(entry), log);
                read.map_err(unreadable)?;
            }
        }
        Ok(found)
    }
}

/// Directory of a copy, locked by this process.
pub struct LogMirror<'a> {
    directory: &'a Path,
    /// The copy as a source of log data.
    pub copy: LogSource,
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
        let opened = made.map_err(CommandFailure::unable("make", directory))?;
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                remove_unfinished(directory);
                Ok(Self {
                    directory,
                    copy: LogSource::Directory(directory.to_owned()),
                    hashes_only,
                    opened,
                })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(CommandFailure::unreachable(format!(
                "another export is writing into {shown}: try again when it has ended"
            ))),
            Err(error) => fail_usage(format!("can't lock {shown}: {error}")),
        }
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
            return fail_check(format!(
                "{shown} {is}: use a separate directory for the other kind of copy"
            ));
        }
        Ok(())
    }

    /// Reads the incomplete tile of each level. The root of all tiles must be the root in the copy's checkpoint.
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
            let entries = size >> (u32::from(tile_level) * u32::from(TILE_HEIGHT));
            if first / WIDTH != entries / WIDTH {
                let there = self.copy.subtree(level, index, size);
                return there.map_err(|failure| self.damaged(&failure.message));
            }
            let start = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
            let part = levels
                .get(usize::from(tile_level))
                .and_then(|hashes| hashes.get(start..start.saturating_add(1 << within)));
            part.map(root).ok_or_else(|| self.damaged("a tile is cut"))
        })
    }

    fn hashes(&self, path: &TilePath) -> CommandResult<Vec<Hash>> {
        let bytes = self
            .copy
            .tile(path)?
            .filter(|bytes| bytes.len() == usize::from(path.width()) * 32);
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
        ExportTile::read(path, self.copy.tile(path).ok().flatten()?)
    }

    /// Returns the blob with this digest, or `None` if the file is missing or its bytes have another digest.
    pub fn blob(&self, digest: &BlobDigest) -> Option<Vec<u8>> {
        let bytes = self.copy.blob(digest).ok().flatten()?;
        (BlobDigest::of(&bytes) == *digest).then_some(bytes)
    }

    pub fn write_blob(&self, digest: &BlobDigest, bytes: &[u8]) -> CommandResult<()> {
        self.write(&format!("blob/sha256/{}", digest.hex()), bytes)
    }

    /// Reads which parts the copy knows. The result is empty if the file is missing or unreadable.
    fn known_parts(&self) -> KnownParts {
        let bytes = read_file(&self.directory.join(KNOWN_PARTS), MAX_SEALED_ROSTERS_BYTES);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn keep_parts(&self, known: &KnownParts) -> CommandResult<()> {
        let bytes = serde_json::to_vec(known).unwrap_or_default();
        self.write(KNOWN_PARTS, &bytes)
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
        fail_check(format!(
            "{shown}: FORK: the head in {name} differs from the present head of the same size: keep both heads, and \
            ask \
             the operator of the boundary\n{kept}\n{}",
            head.note
        ))
    }

    /// Replaces the note of the copy with a note of the same checkpoint that has other signatures.
    pub fn renew(&self, head: &ExportHead) -> CommandResult<()> {
        self.keep(head)?;
        // After a crash between the two writes, the copy still has the old note. The next export repeats both writes.
        self.write(&kept_name(head), head.note.as_bytes())?;
        self.conclude(head)
    }

    /// Stores the checkpoint as the current checkpoint of the copy. All data that the checkpoint covers must already be
    /// on disk.
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
        done.map_err(CommandFailure::unable("write", self.directory))
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
        done.map_err(CommandFailure::unable("write", &path))
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

/// A checkpoint and its signed note.
pub struct ExportHead {
    /// Signed note with its signatures.
    pub note: String,
    /// The parsed checkpoint.
    pub checkpoint: Checkpoint,
}

impl ExportHead {
    /// Parses a note. Signatures are not verified.
    pub fn parse(note: String) -> Result<Self, String> {
        let read = Note::parse(&note).map_err(|error| error.to_string())?;
        let checkpoint =
            Checkpoint::parse(read.unverified_text()).map_err(|error| error.to_string())?;
        Ok(Self { note, checkpoint })
    }

    /// Checks that the boundary signed this checkpoint with a key in the roster of the last seal in `log`. This roster
    /// must follow the roster after the first `before` entries, which an earlier export verified. Returns the newest
    /// known roster.
    pub fn check_by_log(
        &self,
        mirror: &LogMirror<'_>,
        before: u64,
        trust: &[ChosenTrust],
    ) -> CommandResult<TrustedRoster> {
        let log = &mirror.copy;
        let first = log.entries(0, self.checkpoint.size)?.into_iter().next();
        let (genesis, payload) = first.as_deref().and_then(logged::<Seal>).ok_or_else(|| {
            CommandFailure::check_said_no(
                "the first entry at the source is not a seal: this is not the log of a boundary",
            )
        })?;
        let known = if before == 0 {
            genesis.roster
        } else {
            last_seal(log, before)?.1.roster
        };
        let seal = last_seal(log, self.checkpoint.size)?.1;
        let versions = self.versions_after(log, before, known)?;
        let mut chain = Chain::connect(&Pinned::Digest(known), &versions).map_err(|error| {
            CommandFailure::check_said_no(format!(
                "the roster at the source does not continue the earlier roster of this log: {error}"
            ))
        })?;
        // The user may trust the rosters of several boundaries. At least one must belong to this log, and the newest of
        // these is used.
        let connect = |versions: &[RosterVersion]| {
            newest_of(trust, |trust| {
                Chain::connect(&trust.pinned, versions)
                    .map(|chain| (VersionFacts::of(chain.newest()), chain))
            })
        };
        let mut connected = connect(&versions);
        // The trusted version may be older than the known one.
        let leads = |chain: &Chain| chain.last().digest() == seal.roster;
        for parts in [mirror.known_parts(), KnownParts::default()] {
            let connects = connected.as_ref().is_ok_and(|one| leads(&one.found));
            if !connects && before > 0 && !trust.is_empty() {
                connected = connect(&self.all_versions(mirror, before, parts)?);
            }
        }
        match connected {
            Ok(deciding) => chain = deciding.found,
            Err(refused) => {
                if let Some((last, error)) = refused.last() {
                    return fail_check(format!(
                        "the roster at the source does not continue {} (if that roster belongs to another boundary, \
                         give --roster with the roster of this boundary): {error}",
                        last.from
                    ));
                }
            }
        }
        if !leads(&chain) {
            let message = "the roster of the last seal at the source does not continue the earlier roster of this log";
            return fail_check(message);
        }
        let roster = chain.last();
        let name = &genesis.boundary.name;
        self.check(&origin(name, &SealDigest::of(&payload)), name, roster)?;
        Ok(chain.newest().clone())
    }

    /// Returns the versions of the roster from `known`, the roster after the first `before` entries, to that of the last seal,
    /// or all versions if `before` is 0. Their signatures are not verified.
    fn versions_after(
        &self,
        log: &LogSource,
        before: u64,
        known: RosterDigest,
    ) -> CommandResult<Vec<RosterVersion>> {
        let first = (before > 0).then(|| BlobDigest::from_bytes(*known.as_bytes()));
        let known = KnownParts {
            entries: before,
            parts: first.into_iter().collect(),
        };
        let versions = known.read_on(log, self.checkpoint.size)?.versions();
        if versions.is_empty() {
            let message = "the seals at the source name no readable roster";
            return fail_check(message);
        }
        Ok(versions)
    }

    /// Returns all versions of the roster, of which `known` has some. The copy then knows those of the first `before` entries,
    /// which an earlier export verified. Their signatures are not verified.
    fn all_versions(
        &self,
        mirror: &LogMirror<'_>,
        before: u64,
        known: KnownParts,
    ) -> CommandResult<Vec<RosterVersion>> {
        let log = &mirror.copy;
        let known = KnownParts {
            parts: known.read_on(log, before)?.parts().to_vec(),
            entries: before,
        };
        mirror.keep_parts(&known)?;
        Ok(known.read_on(log, self.checkpoint.size)?.versions())
    }

    /// Checks the signature with a roster that the user trusts. A copy that has only hashes contains no seal, so the
    /// copy names no roster. Returns the trusted roster.
    pub fn check_by_roster(&self, trust: &[ChosenTrust]) -> CommandResult<Option<TrustedRoster>> {
        let mut refused = None;
        for trust in trust {
            let Some(roster) = trust.roster() else {
                return fail_usage(format!(
                    "{}: a copy without contents does not contain the roster with this digest; give the roster itself",
                    trust.from
                ));
            };
            let origin = &self.checkpoint.origin;
            let name = origin.split('/').next().and_then(|name| name.parse().ok());
            let checked = match name {
                Some(name) => self.check(origin, &name, roster),
                None => fail_check(format!("{origin} is not the name of a boundary's log")),
            };
            match checked {
                Ok(()) => return Ok(Some(roster.clone())),
                Err(failure) => refused = Some(failure),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Returns the number of witnesses that cosigned the checkpoint, or 0 if a cosignature is invalid, because an audit
    /// then rejects the whole note.
    pub fn cosigned(&self, roster: &TrustedRoster) -> u64 {
        let Ok(note) = Note::parse(&self.note) else {
            return 0;
        };
        let mut keys = BTreeSet::new();
        for witness in roster.tables().witnesses.values() {
            let Ok(key) = WitnessKey::parse(&witness.vkey) else {
                continue;
            };
            match key.verify(&note) {
                Ok(Some(_)) => drop(keys.insert(*key.key().as_bytes())),
                Ok(None) => {}
                Err(_) => return 0,
            }
        }
        keys.len() as u64
    }

    fn check(
        &self,
        origin: &str,
        name: &BoundaryName,
        roster: &TrustedRoster,
    ) -> CommandResult<()> {
        let note = Note::parse(&self.note).map_err(CommandFailure::check_said_no)?;
        let mut keys = roster.boundary_keys(name).iter();
        if self.checkpoint.origin == origin
            && keys.any(|key| verify_note(&note, origin, key.public()).is_ok())
        {
            return Ok(());
        }
        fail_check(format!(
            "the head at the source has no valid signature for the log {origin} by a key of version {} of the \
             roster, so the source is not the boundary {name}. The copy keeps its old head: check the address of \
             the source. The head is:\n{}",
            roster.version(),
            self.note
        ))
    }
}

/// Returns the last seal in the first `size` entries, with the bytes of its entry.
fn last_seal(log: &LogSource, size: u64) -> CommandResult<(Vec<u8>, Seal)> {
    for tile in (0..size.div_ceil(u64::from(TILE_WIDTH))).rev() {
        for entry in log.entries(tile, size)?.into_iter().rev() {
            if let Some((seal, _)) = logged::<Seal>(&entry) {
                return Ok((entry, seal));
            }
        }
    }
    fail_check("there is no seal in the log: this is not the log of a boundary")
}

/// Parses an entry as a document of this kind, without verification. Returns the document and its payload.
pub fn logged<P: Predicate>(entry: &[u8]) -> Option<(P, Vec<u8>)> {
    let envelope: Envelope = serde_json::from_slice(entry).ok()?;
    if envelope.payload.len() / 4 * 3 > P::MAX_BYTES + 3 {
        return None;
    }
    let payload = Base64::Strict.decode("", &envelope.payload).ok()?;
    let document = Statement::<P>::from_payload(&payload).ok()?.predicate;
    Some((document, payload))
}

/// A tile with exactly the number of leaves that its path requires.
pub struct ExportTile {
    /// Bytes of the tile's file.
    pub bytes: Vec<u8>,
    kind: TileKind,
    /// Hashes of the leaves.
    pub leaves: Vec<Hash>,
}

impl ExportTile {
    /// Parses a tile, or returns `None` if the bytes are not a valid tile for this path.
    pub fn read(path: &TilePath, bytes: Vec<u8>) -> Option<Self> {
        let leaves: Vec<Hash> = match path.kind() {
            TileKind::Entries => split_entries(&bytes)?.into_iter().map(leaf_hash).collect(),
            TileKind::Hashes(_) => {
                let (hashes, rest) = bytes.as_chunks::<32>();
                rest.is_empty().then(|| hashes.to_vec())?
            }
        };
        let kind = path.kind();
        (leaves.len() == usize::from(path.width())).then_some(Self {
            bytes,
            kind,
            leaves,
        })
    }

    /// Fetches a tile of a log with `size` entries.
    pub fn fetch(place: &LogSource, path: &TilePath, size: u64) -> CommandResult<Self> {
        let bytes = if path.kind() == TileKind::Entries {
            let mut bytes = Vec::new();
            for entry in place.entries(path.index(), size)? {
                push_entry(&mut bytes, &entry).map_err(CommandFailure::check_said_no)?;
            }
            bytes
        } else {
            place
                .tile(path)?
                .ok_or_else(|| CommandFailure::check_said_no(format!("{path} is missing there")))?
        };
        let width = path.width();
        Self::read(path, bytes).ok_or_else(|| {
            CommandFailure::check_said_no(format!(
                "{path} at the source is no tile of {width} leaves"
            ))
        })
    }

    /// Returns the entries. If the tile contains only hashes, the result is empty.
    pub fn entries(&self) -> Vec<&[u8]> {
        match self.kind {
            TileKind::Entries => split_entries(&self.bytes).unwrap_or_default(),
            TileKind::Hashes(_) => Vec::new(),
        }
    }
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
