//! Export of a log: an incremental copy in the file format of C2SP tlog-tiles.
//!
//! The command `log export` fetches only new data. Each file is written under a temporary name and then renamed. The
//! checkpoint is written last, after all data that it covers is on disk. If the command is interrupted, the copy only
//! has additional files, and the next call uses those additional files that are valid. Hash tiles are computed from the
//! fetched entries, and their root must match the signed checkpoint. A tile that has grown must begin with its old
//! leaves. The directory `checkpoints/` contains each checkpoint that the command accepted.

pub mod mirror;

use std::{
    cell::Cell,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    ChosenTrust, CommandFailure, CommandResult, ExportHead, ExportTile, LogSource, PrintableText,
    Terminal, fail_check,
    remote::export::mirror::{LogMirror, WIDTH, logged},
};
use documents::{
    Authorization, BlobDigest, Hash, MAX_DEFINITION_BYTES, RegistryLeaf, Seal, StepDefinition,
    TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, json, merkle::root,
};

/// Result of an export.
#[derive(Default, Serialize)]
pub struct Export {
    /// Origin of the log.
    pub origin: String,
    /// Number of entries in the copy after the export.
    pub size: u64,
    /// Number of entries in the copy before the export.
    pub before: u64,
    /// Number of written tiles.
    pub tiles: u64,
    /// Number of written blobs.
    pub blobs: u64,
    /// Number of new cosignatures on the checkpoint, if the log has not grown.
    pub cosignatures: u64,
}

/// Copies the new data of the log at `place` into `directory`.
///
/// A copy contains either whole entries or only hashes. For a copy with whole entries, the boundary must have signed
/// the checkpoint, and its roster must follow the copy's known roster or a roster of `trust`. For a copy of hashes, a
/// boundary in a roster of `trust` must have signed the checkpoint, unless `trust` is empty.
///
/// # Errors
/// Returns an error if data cannot be fetched or written, or if another export uses the directory. Returns an error if
/// the directory contains another log, a fork or a newer copy, or if the boundary did not sign the checkpoint.
pub fn export(
    place: &LogSource,
    directory: &Path,
    hashes_only: bool,
    trust: &[ChosenTrust],
    terminal: &Terminal,
) -> CommandResult<Export> {
    let mirror = LogMirror::open(directory, hashes_only)?;
    let note = place
        .head()?
        .ok_or_else(|| CommandFailure::refused("the log is empty: there is nothing to copy"))?;
    let head = ExportHead::parse(note).map_err(|why| {
        CommandFailure::check_said_no(format!("the signed head at the source is invalid: {why}"))
    })?;
    let earlier = mirror.earlier()?;
    mirror.check_kind(earlier.as_ref())?;
    let size = head.checkpoint.size;
    let before = earlier
        .as_ref()
        .map_or(0, |earlier| earlier.checkpoint.size);
    if let Some(earlier) = &earlier {
        check_follows(earlier, &head, directory)?;
        if before == size {
            let cosignatures = refresh(&mirror, earlier, &head, hashes_only, trust, terminal)?;
            mirror.sweep(size, size);
            return Ok(Export {
                origin: head.checkpoint.origin,
                size,
                before,
                cosignatures,
                ..Export::default()
            });
        }
    }
    let growth = Growth {
        mirror,
        place,
        head: &head,
        earlier: earlier.as_ref(),
        hashes_only,
        trust,
        terminal,
        used_leftovers: Cell::new(false),
    };
    // The first attempt uses the files of an interrupted export. If these files are wrong, the second attempt fetches
    // everything.
    for leftovers in [true, false] {
        if let Some(done) = growth.grow(leftovers)? {
            return Ok(done);
        }
        if !growth.used_leftovers.get() {
            break;
        }
    }
    fail_check(format!(
        "the entries at the source do not match the signed head of {size} entries{}: the copy was not changed; keep \
         the copy, and ask the operator of the boundary\n{}",
        if before > 0 {
            ", or do not continue the entries of this copy: the log may have been forked"
        } else {
            ""
        },
        head.note
    ))
}

/// Checks that the new checkpoint belongs to the same log, is not smaller than the old checkpoint, and is not a fork.
fn check_follows(earlier: &ExportHead, head: &ExportHead, directory: &Path) -> CommandResult<()> {
    let shown = PrintableText::file(directory);
    let (note, earlier, head) = (&head.note, &earlier.checkpoint, &head.checkpoint);
    let refuse = |why: String| {
        fail_check(format!(
            "{shown}: {why}; nothing was written. The head at the source is:\n{note}"
        ))
    };
    if earlier.origin != head.origin {
        return refuse(format!(
            "the copy is of the log {}, but the source is the log {}: export into another directory",
            earlier.origin, head.origin
        ));
    }
    if head.size < earlier.size {
        let why = "the store may be restored from a backup, or the source may be an old mirror";
        return refuse(format!(
            "the copy contains {} entries of this log, but the source has only {} now: {why}",
            earlier.size, head.size
        ));
    }
    if head.size == earlier.size && head.root != earlier.root {
        return refuse(format!(
            "FORK: the copy contains a signed head of {} entries with another root",
            head.size
        ));
    }
    Ok(())
}

/// Checks the boundary's signature and updates the note of a log that has not grown. Returns the number of new
/// cosignatures. Without a known roster the note is not updated, because new signatures cannot be verified.
fn refresh(
    mirror: &LogMirror<'_>,
    earlier: &ExportHead,
    head: &ExportHead,
    hashes_only: bool,
    trust: &[ChosenTrust],
    terminal: &Terminal,
) -> CommandResult<u64> {
    let check = |head: &ExportHead| {
        if hashes_only {
            head.check_by_roster(trust)
        } else {
            head.check_by_log(mirror, head.checkpoint.size, trust)
                .map(Some)
        }
    };
    let Some(roster) = check(head)? else {
        return Ok(0);
    };
    let signed = check(earlier).is_ok();
    let had = if signed { earlier.cosigned(&roster) } else { 0 };
    let more = head.cosigned(&roster).saturating_sub(had);
    if !signed {
        terminal.say(
            "The boundary did not sign the head of the copy; a head that the boundary signed replaces the head \
             of the copy.",
        );
    }
    if more > 0 || !signed {
        mirror.renew(head)?;
    }
    Ok(more)
}

/// State of an export of new entries.
struct Growth<'a> {
    mirror: LogMirror<'a>,
    place: &'a LogSource,
    head: &'a ExportHead,
    earlier: Option<&'a ExportHead>,
    hashes_only: bool,
    trust: &'a [ChosenTrust],
    terminal: &'a Terminal,
    /// True after an attempt that used a file of an interrupted export.
    used_leftovers: Cell<bool>,
}

/// Maximum size of a registry in bytes, enough for more than 20 000 steps.
const MAX_REGISTRY_BYTES: usize = 4 << 20;

impl Growth<'_> {
    /// Copies the new entries. Returns `None` if the entries do not match the signed head.
    fn grow(&self, leftovers: bool) -> CommandResult<Option<Export>> {
        let (mirror, head) = (&self.mirror, &self.head.checkpoint);
        let (from, size) = (
            self.earlier.map_or(0, |earlier| earlier.checkpoint.size),
            head.size,
        );
        let mut levels = match self.earlier {
            Some(earlier) => mirror.edge(&earlier.checkpoint)?,
            None => Vec::new(),
        };
        let mut done = Export {
            origin: head.origin.clone(),
            size,
            before: from,
            ..Export::default()
        };

        let mut shown = Instant::now();
        for index in from / WIDTH..size.div_ceil(WIDTH) {
            let path = LogSource::tile_of(mirror.kind(), index, size)?;
            // Leaves of this tile that the copy already has. Only the incomplete last tile of the copy has such leaves.
            let held = levels.first().cloned().unwrap_or_default();
            let left = Some(&path)
                .filter(|_| leftovers)
                .and_then(|path| mirror.leftover(path))
                .filter(|tile| tile.leaves.starts_with(&held));
            let fetched = left.is_none();
            let tile = match left {
                Some(tile) => {
                    self.used_leftovers.set(true);
                    tile
                }
                None => self.fetch(&path, &held)?,
            };
            for entry in tile.entries().into_iter().skip(held.len()) {
                done.blobs += self.named_by(entry)?;
            }
            if fetched && !self.hashes_only {
                mirror.write(&path.to_string(), &tile.bytes)?;
                done.tiles += 1;
            }
            for leaf in tile.leaves.iter().skip(held.len()) {
                done.tiles += self.append(&mut levels, *leaf)?;
            }
            if self.terminal.err_is_terminal && shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                let _ = write!(
                    io::stderr(),
                    "\r{} of {size} entries ",
                    ((index + 1) * WIDTH).min(size)
                );
            }
        }
        if mirror.root_of(&levels, size)? != head.root {
            return Ok(None);
        }
        if self.hashes_only {
            let _given = self.head.check_by_roster(self.trust)?;
        } else {
            let _newest = self.head.check_by_log(mirror, from, self.trust)?;
        }
        for head in self.earlier.into_iter().chain([self.head]) {
            mirror.keep(head)?;
        }
        for (level, hashes) in (0_u8..)
            .zip(&levels)
            .filter(|(_, hashes)| !hashes.is_empty())
        {
            let entries = size >> (u32::from(level) * u32::from(TILE_HEIGHT));
            let path = LogSource::tile_of(TileKind::Hashes(level), entries / WIDTH, size)?;
            mirror.write(&path.to_string(), hashes.as_flattened())?;
            done.tiles += 1;
        }
        mirror.conclude(self.head)?;
        mirror.sweep(from, size);
        if self.terminal.err_is_terminal {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
        Ok(Some(done))
    }

    /// Fetches a tile. The tile must begin with the leaves that the copy already has.
    fn fetch(&self, path: &TilePath, held: &[Hash]) -> CommandResult<ExportTile> {
        let tile = ExportTile::fetch(self.place, path, self.head.checkpoint.size)?;
        if tile.leaves.starts_with(held) {
            return Ok(tile);
        }
        fail_check(format!(
            "FORK: {path} at the source has other entries than this copy contains, so the log was forked, or the \
             server of the log changed the entries; nothing was written: keep the copy, and ask the operator of the \
             boundary. The head at the source is:\n{}",
            self.head.note
        ))
    }

    /// Adds a leaf, and writes each tile that becomes complete. Returns the number of written tiles.
    fn append(&self, levels: &mut Vec<Vec<Hash>>, leaf: Hash) -> CommandResult<u64> {
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
            // The index of this tile is the number of complete tiles before it, which the hashes in the higher levels
            // give.
            let above = levels.iter().skip(at + 1).rev();
            let index = above.fold(0, |index, hashes| index * WIDTH + hashes.len() as u64);
            if let Some(path) = TilePath::new(TileKind::Hashes(level), index, TILE_WIDTH) {
                self.mirror
                    .write(&path.to_string(), hashes.as_flattened())?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Fetches the list of programs that an authorization names, or all blobs that a seal names, all steps that the sealed
    /// registry names, and the files of these steps. Returns the number of written blobs.
    fn named_by(&self, entry: &[u8]) -> CommandResult<u64> {
        if let Some((signed, _)) = logged::<Authorization>(entry) {
            let list = signed.sandbox.programs.map(BlobDigest::from);
            return list.map_or(Ok(0), |list| Ok(self.blob(&list)?.1));
        }
        let Some((seal, _)) = logged::<Seal>(entry) else {
            return Ok(0);
        };
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
            written += self.blob(&BlobDigest::from_bytes(digest))?.1;
        }
        let (registry, new) = self.blob(&seal.registry)?;
        written += new;
        if registry.len() > MAX_REGISTRY_BYTES {
            let (digest, length) = (seal.registry, registry.len());
            return fail_check(format!(
                "the registry {digest} at the source has {length} bytes, which is more than a boundary can seal"
            ));
        }
        // `audit` reports an invalid registry, so it is not an error here.
        let steps: Vec<RegistryLeaf> =
            json::parse_as(&registry, MAX_REGISTRY_BYTES).unwrap_or_default();
        for step in steps {
            let (definition, new) = self.blob(&BlobDigest::from_bytes(*step.digest.as_bytes()))?;
            written += new;
            for digest in contents_of(&definition) {
                written += self.blob(&digest)?.1;
            }
        }
        Ok(written)
    }

    /// Returns a blob, and the number of fetched blobs: 0 if the copy already had it, else 1.
    fn blob(&self, digest: &BlobDigest) -> CommandResult<(Vec<u8>, u64)> {
        if let Some(bytes) = self.mirror.blob(digest) {
            return Ok((bytes, 0));
        }
        let bytes = self.place.blob(digest)?.ok_or_else(|| {
            CommandFailure::check_said_no(format!("the blob {digest} is missing at the source"))
        })?;
        if BlobDigest::of(&bytes) != *digest {
            return fail_check(format!("the blob {digest} at the source has other content"));
        }
        self.mirror.write_blob(digest, &bytes)?;
        Ok((bytes, 1))
    }
}

/// Returns the digests of the contents that a step definition names. `audit` reports an invalid definition.
fn contents_of(definition: &[u8]) -> Vec<BlobDigest> {
    let definition = json::parse_as::<StepDefinition>(definition, MAX_DEFINITION_BYTES);
    let files = definition
        .map(|definition| definition.files)
        .unwrap_or_default();
    files
        .iter()
        .map(|file| BlobDigest::from_bytes(*file.digest.as_bytes()))
        .collect()
}
