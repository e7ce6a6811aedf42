//! A copy of a log as a static tlog-tiles directory, brought up to date.
//!
//! Only what is new is fetched. A file is written whole under a name of its own and then renamed; the checkpoint is the
//! last, when everything that it stands for is on the disk. So a copy that was interrupted is the earlier one with more
//! files beside it, which the next run takes over where they fit. Hash tiles are worked out from what is fetched, and
//! their root must be the one that is signed.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{Place, read_file};
use crate::cli::screen::Shown;
use crate::cli::talk::Talk;
use crate::crypto::digest::BlobDigest;
use crate::crypto::json;
use crate::crypto::merkle::{Hash, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, leaf_hash, push_entry, root, root_of};
use crate::crypto::note::{MAX_NOTE_BYTES, Note};
use crate::record::checkpoint::Checkpoint;
use crate::record::document::{Predicate as _, Statement};
use crate::record::envelope::{Base64, Envelope};
use crate::record::seal::Seal;
use crate::record::step::RegistryLeaf;

/// What an export did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The log's name.
    pub origin: String,
    /// Entries in the copy now.
    pub size: u64,
    /// Entries in it before.
    pub before: u64,
    /// Tiles that were written.
    pub tiles: u64,
    /// Blobs that were written.
    pub blobs: u64,
}

/// Copies what is new at `place` into `directory`.
///
/// # Errors
/// When something can't be fetched or written, or what is there is another log, a fork of it, or newer.
pub fn export(place: &Place, directory: &Path, hashes_only: bool, talk: &Talk) -> Result<Export, Failure> {
    let note =
        place.head()?.ok_or_else(|| Failure::new(Exit::Refused, "the log is empty: there is nothing to copy"))?;
    let head = parse_head(&note).map_err(|why| odd(format!("the signed head there: {why}")))?;
    make(directory)?;
    let copy = Copy { directory, hashes_only };
    let earlier = copy.earlier()?;
    let before = earlier.as_ref().map_or(0, |earlier| earlier.size);
    if let Some(earlier) = &earlier {
        copy.check_kind(earlier)?;
        check_follows(earlier, &head, directory, &note)?;
        if earlier.size == head.size {
            copy.sweep(head.size, head.size);
            return Ok(Export { origin: head.origin, size: head.size, before, tiles: 0, blobs: 0 });
        }
    }
    // What an interrupted run left behind is taken over; should it not fit, everything is fetched again.
    for leftovers in [true, false] {
        match copy.grow(place, &note, &head, earlier.as_ref(), leftovers, talk) {
            Err(Stop::OtherRoot { used_leftovers: true }) if leftovers => {}
            Err(Stop::OtherRoot { .. }) => break,
            Err(Stop::Failed(failure)) => return Err(failure),
            Ok(done) => return Ok(done),
        }
    }
    Err(odd(format!(
        "the entries there do not hash to the signed head of {} entries{}: the copy was left as it was; keep it, and ask \
         who runs the boundary\n{note}",
        head.size,
        if before > 0 { ", or not on top of those of this copy: the log may have been forked" } else { "" }
    )))
}

/// A copy never goes back, never to another log, and never to another history.
fn check_follows(earlier: &Checkpoint, head: &Checkpoint, directory: &Path, note: &str) -> Result<(), Failure> {
    let shown = Shown::text(&directory.to_string_lossy());
    let refuse =
        |why: String| Err(odd(format!("{}: {why}; nothing was written. The head there is:\n{note}", shown.as_str())));
    if earlier.origin != head.origin {
        return refuse(format!(
            "holds the log {}, there is {}: export into another directory",
            earlier.origin, head.origin
        ));
    }
    if head.size < earlier.size {
        let why = "was the store restored from a backup, or is this an old mirror";
        return refuse(format!("holds {} entries of this log, there are only {} now: {why}", earlier.size, head.size));
    }
    if head.size == earlier.size && head.root != earlier.root {
        return refuse(format!("FORK: holds a signed head of {} entries with another root", head.size));
    }
    Ok(())
}

struct Copy<'a> {
    directory: &'a Path,
    hashes_only: bool,
}

enum Stop {
    OtherRoot { used_leftovers: bool },
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

const WIDTH: u64 = TILE_WIDTH as u64;

impl Copy<'_> {
    /// The head of what is there.
    fn earlier(&self) -> Result<Option<Checkpoint>, Failure> {
        let Some(bytes) = read_file(&self.directory.join("checkpoint"), MAX_NOTE_BYTES)? else { return Ok(None) };
        let head = std::str::from_utf8(&bytes).map_err(|error| error.to_string()).and_then(parse_head);
        head.map(Some).map_err(|why| self.damaged(&format!("its checkpoint: {why}")))
    }

    /// A copy stays what it was begun as: one half with contents and one without would be neither.
    fn check_kind(&self, earlier: &Checkpoint) -> Result<(), Failure> {
        let last = Place::tile_of(TileKind::Entries, earlier.size.saturating_sub(1) / WIDTH, earlier.size)?;
        let has_contents = self.directory.join(last.to_string()).is_file();
        let is = if has_contents { "holds contents" } else { "is a mirror of hashes only" };
        if has_contents == self.hashes_only {
            let shown = Shown::text(&self.directory.to_string_lossy());
            return Err(odd(format!("{} {is}: give the other kind of copy a directory of its own", shown.as_str())));
        }
        Ok(())
    }

    fn grow(
        &self,
        place: &Place,
        note: &str,
        head: &Checkpoint,
        earlier: Option<&Checkpoint>,
        leftovers: bool,
        talk: &Talk,
    ) -> Result<Export, Stop> {
        let from = earlier.map_or(0, |earlier| earlier.size);
        let mut levels = self.edge(earlier)?;
        let mut done = Export { origin: head.origin.clone(), size: head.size, before: from, tiles: 0, blobs: 0 };
        let mut used_leftovers = false;
        let mut shown = Instant::now();
        for index in from / WIDTH..head.size.div_ceil(WIDTH) {
            let kind = if self.hashes_only { TileKind::Hashes(0) } else { TileKind::Entries };
            let path = Place::tile_of(kind, index, head.size)?;
            let known = usize::try_from(from.saturating_sub(index * WIDTH)).unwrap_or(0);
            let width = usize::from(path.width());
            let left = if leftovers { self.leftover(&path)? } else { None };
            used_leftovers |= left.is_some();
            let fetched = left.is_none();
            let leaves: Vec<Hash> = if self.hashes_only {
                let bytes = match left {
                    Some(bytes) => bytes,
                    None => place.tile(&path)?.ok_or_else(|| odd(format!("{path} is missing there")))?,
                };
                let (hashes, rest) = bytes.as_chunks::<32>();
                if hashes.len() != width || !rest.is_empty() {
                    return Err(odd(format!("{path} there is no tile of {width} hashes")).into());
                }
                hashes.to_vec()
            } else {
                let entries = match left.as_deref().and_then(crate::crypto::merkle::split_entries) {
                    Some(entries) if entries.len() == width => entries.into_iter().map(<[u8]>::to_vec).collect(),
                    _ => place.entries(index, head.size)?,
                };
                for entry in &entries[known.min(entries.len())..] {
                    done.blobs += self.named_by(entry, place)?;
                }
                if fetched {
                    let mut tile = Vec::new();
                    for entry in &entries {
                        push_entry(&mut tile, entry).map_err(|error| odd(error.to_string()))?;
                    }
                    self.write(&path.to_string(), &tile)?;
                    done.tiles += 1;
                }
                entries.iter().map(|entry| leaf_hash(entry)).collect()
            };
            for leaf in leaves.into_iter().skip(known) {
                done.tiles += self.append(&mut levels, leaf)?;
            }
            if talk.err_is_terminal() && shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                let read = (index + 1) * WIDTH;
                let _ = write!(io::stderr(), "\r{} of {} entries ", read.min(head.size), head.size);
            }
        }
        if root_of_levels(&levels, head.size, self)? != head.root {
            return Err(Stop::OtherRoot { used_leftovers });
        }
        for (level, hashes) in (0_u8..).zip(&levels).filter(|(_, hashes)| !hashes.is_empty()) {
            let entries = head.size >> (u32::from(level) * u32::from(TILE_HEIGHT));
            let path = Place::tile_of(TileKind::Hashes(level), entries / WIDTH, head.size)?;
            self.write(&path.to_string(), hashes.as_flattened())?;
            done.tiles += 1;
        }
        // Everything is on the disk before the checkpoint says that it is there.
        let directory = File::open(self.directory).map_err(|error| self.failed("", &error))?;
        rustix::fs::syncfs(&directory).map_err(|error| self.failed("", &error.into()))?;
        self.write("checkpoint", note.as_bytes())?;
        rustix::fs::syncfs(&directory).map_err(|error| self.failed("", &error.into()))?;
        self.sweep(from, head.size);
        if talk.err_is_terminal() {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
        Ok(done)
    }

    /// The incomplete tiles of the copy, by level; its root must be that of its own checkpoint.
    fn edge(&self, earlier: Option<&Checkpoint>) -> Result<Vec<Vec<Hash>>, Failure> {
        let mut levels = Vec::new();
        let Some(earlier) = earlier else { return Ok(levels) };
        let mut entries = earlier.size;
        while entries > 0 {
            let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
            let mut hashes = Vec::with_capacity(usize::from(TILE_WIDTH));
            if entries % WIDTH > 0 {
                let path = Place::tile_of(TileKind::Hashes(level), entries / WIDTH, earlier.size)?;
                hashes.extend(self.hashes(&path)?);
            }
            levels.push(hashes);
            entries >>= TILE_HEIGHT;
        }
        if root_of_levels(&levels, earlier.size, self)? != earlier.root {
            return Err(self.damaged("its tiles do not hash to its checkpoint"));
        }
        Ok(levels)
    }

    fn hashes(&self, path: &TilePath) -> Result<Vec<Hash>, Failure> {
        let bytes = read_file(&self.directory.join(path.to_string()), usize::from(TILE_WIDTH) * 32)?;
        let bytes = bytes.filter(|bytes| bytes.len() == usize::from(path.width()) * 32);
        let bytes = bytes.ok_or_else(|| self.damaged(&format!("{path} is missing or cut")))?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }

    /// Adds a leaf; gives how many tiles it completed, which are written.
    fn append(&self, levels: &mut Vec<Vec<Hash>>, leaf: Hash) -> Result<u64, Failure> {
        let (mut hash, mut written) = (leaf, 0);
        for level in 0_u8.. {
            let at = usize::from(level);
            if levels.len() == at {
                levels.push(Vec::with_capacity(usize::from(TILE_WIDTH)));
            }
            levels[at].push(hash);
            if levels[at].len() < usize::from(TILE_WIDTH) {
                break;
            }
            let hashes = std::mem::take(&mut levels[at]);
            hash = root(&hashes);
            // Its index is how many of its level are complete, which the level above counts.
            let index = self.complete(levels, level);
            if let Some(path) = TilePath::new(TileKind::Hashes(level), index, TILE_WIDTH) {
                self.write(&path.to_string(), hashes.as_flattened())?;
                written += 1;
            }
        }
        Ok(written)
    }

    fn complete(&self, levels: &[Vec<Hash>], level: u8) -> u64 {
        let above = levels.iter().skip(usize::from(level) + 1).rev();
        above.fold(0, |index, hashes| index * WIDTH + hashes.len() as u64)
    }

    /// A whole tile beyond the copy's checkpoint, which an interrupted run left.
    fn leftover(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Failure> {
        if path.width() < TILE_WIDTH {
            return Ok(None);
        }
        read_file(&self.directory.join(path.to_string()), 17 << 20)
    }

    /// Fetches what a seal names, and what that names; gives how many blobs were written.
    fn named_by(&self, entry: &[u8], place: &Place) -> Result<u64, Failure> {
        let Some(seal) = seal_in(entry) else { return Ok(0) };
        let mut written = 0;
        let named = [
            Some(*seal.policy.as_bytes()),
            Some(*seal.builtins.as_bytes()),
            Some(*seal.roster.as_bytes()),
            seal.rosters.map(|rosters| *rosters.as_bytes()),
            Some(*seal.tokens.as_bytes()),
            Some(*seal.configuration.as_bytes()),
        ];
        for digest in named.into_iter().flatten() {
            written += self.blob(&BlobDigest::from_bytes(digest), place)?.1;
        }
        let (registry, new) = self.blob(&seal.registry, place)?;
        written += new;
        // What is no registry is copied as it is: `audit` says so.
        let steps: Vec<RegistryLeaf> = json::parse_as(&registry, registry.len()).unwrap_or_default();
        for step in steps {
            written += self.blob(&BlobDigest::from_bytes(*step.digest.as_bytes()), place)?.1;
        }
        Ok(written)
    }

    fn blob(&self, digest: &BlobDigest, place: &Place) -> Result<(Vec<u8>, u64), Failure> {
        let name = format!("blob/sha256/{}", digest.hex());
        if let Some(bytes) = read_file(&self.directory.join(&name), 17 << 20)?
            && BlobDigest::of(&bytes) == *digest
        {
            return Ok((bytes, 0));
        }
        let bytes = place.blob(digest)?.ok_or_else(|| odd(format!("the blob {digest} is missing there")))?;
        if BlobDigest::of(&bytes) != *digest {
            return Err(odd(format!("what is there as the blob {digest} is something else")));
        }
        self.write(&name, &bytes)?;
        Ok((bytes, 1))
    }

    /// Writes a file at once, or not at all. What is beyond the checkpoint may be replaced, and the checkpoint itself.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let directory = path.parent().unwrap_or(self.directory);
        let done = DirBuilder::new().recursive(true).mode(0o755).create(directory).and_then(|()| {
            let mut builder = tempfile::Builder::new();
            // For whoever serves or audits the copy.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            let mut file = builder.prefix(".new-").permissions(mode).tempfile_in(directory)?;
            file.write_all(bytes)?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        });
        done.map_err(|error| self.failed(name, &error))
    }

    /// Removes parts of tiles that are whole now: a reader takes the whole one.
    fn sweep(&self, from: u64, size: u64) {
        let remove = |kind: TileKind, level: u8| {
            let bits = u32::from(level) * u32::from(TILE_HEIGHT);
            let complete = (size >> bits) / WIDTH;
            // The one that was incomplete before; and the last, should a run have been killed before it came to this.
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

    fn failed(&self, name: &str, error: &io::Error) -> Failure {
        let path = self.directory.join(name);
        Failure::usage(format!("can't write {}: {error}", Shown::text(&path.to_string_lossy()).as_str()))
    }

    fn damaged(&self, why: &str) -> Failure {
        let shown = Shown::text(&self.directory.to_string_lossy());
        odd(format!("{} is damaged: {why}; it was left as it is, export into another directory", shown.as_str()))
    }
}

/// The root over the complete tiles on the disk and the incomplete ones in memory.
fn root_of_levels(levels: &[Vec<Hash>], size: u64, copy: &Copy<'_>) -> Result<Hash, Failure> {
    root_of(size, |level, index| {
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << within;
        let start = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let entries = size >> (u32::from(tile_level) * u32::from(TILE_HEIGHT));
        let hashes = if first / WIDTH == entries / WIDTH {
            levels.get(usize::from(tile_level)).cloned().unwrap_or_default()
        } else {
            copy.hashes(&Place::tile_of(TileKind::Hashes(tile_level), first / WIDTH, size)?)?
        };
        let part = hashes.get(start..start.saturating_add(1 << within));
        part.map(root).ok_or_else(|| copy.damaged("a tile is cut"))
    })
}

/// The seal in an entry, if it is one; nothing of it is verified.
fn seal_in(entry: &[u8]) -> Option<Seal> {
    let envelope: Envelope = serde_json::from_slice(entry).ok()?;
    if envelope.payload.len() / 4 * 3 > Seal::MAX_BYTES + 3 {
        return None;
    }
    let payload = Base64::Strict.decode("", &envelope.payload).ok()?;
    Statement::<Seal>::from_payload(&payload).ok().map(|statement| statement.predicate)
}

fn parse_head(note: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(note).map_err(|error| error.to_string())?;
    Checkpoint::parse(note.unverified_text()).map_err(|error| error.to_string())
}

fn make(directory: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|error| {
        Failure::usage(format!("can't make {}: {error}", Shown::text(&directory.to_string_lossy()).as_str()))
    })
}

fn odd(message: String) -> Failure {
    Failure::new(Exit::CheckSaidNo, message)
}
