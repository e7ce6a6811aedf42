//! A stored log as a static tlog-tiles directory has it: what an export or audit reads.

use std::fmt;

use crate::crypto::digest::{BlobDigest, unhex32};
use crate::crypto::merkle::{self, TILE_WIDTH, TileKind, TilePath};
use crate::store::fault::StoreFault;
use crate::store::tree::{Subtrees, TileCache, TreeEdge};
use crate::store::{StoreHead, StoreReads};

/// The log of a store that nobody writes, such as a backup or a log that a restore closed; no key is needed to read it.
pub struct StoredLog {
    reads: Box<dyn StoreReads>,
    edge: TreeEdge,
    tiles: TileCache,
    checkpoint: Option<String>,
}

impl StoredLog {
    /// Takes a store at rest, and the signed head that is kept beside it; without one the last that the store recorded.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn new(reads: Box<dyn StoreReads>, head: &StoreHead, beside: Option<String>) -> Result<Self, StoreFault> {
        let edge = TreeEdge::read(&*reads, head.size)?;
        let checkpoint = match beside {
            Some(note) => Some(note),
            None => reads.checkpoint(None)?.map(|row| row.note),
        };
        Ok(Self { reads, edge, tiles: TileCache::default(), checkpoint })
    }

    /// `checkpoint`, `tile/…` or `blob/sha256/<hex>`; nothing when it is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        if path == "checkpoint" {
            return Ok(self.checkpoint.clone().map(String::into_bytes));
        }
        if let Some(digest) = path.strip_prefix("blob/sha256/").and_then(unhex32) {
            return self.reads.blob(&BlobDigest::from_bytes(digest));
        }
        match TilePath::parse(path) {
            Some(path) => tile(&*self.reads, &self.edge, &self.tiles, &path),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for StoredLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLog").field("size", &self.edge.size()).finish_non_exhaustive()
    }
}

/// A tile's bytes, of hashes or entries, of any width that the log has had; nothing when it has not.
pub(crate) fn tile(
    reads: &dyn StoreReads,
    edge: &TreeEdge,
    tiles: &TileCache,
    path: &TilePath,
) -> Result<Option<Vec<u8>>, StoreFault> {
    const DURING: &str = "reading a tile";
    let Some((_, subtrees)) = path.subtrees().filter(|_| path.is_within(edge.size())) else { return Ok(None) };
    let width = usize::try_from(subtrees.end - subtrees.start).unwrap_or(usize::from(TILE_WIDTH));
    match path.kind() {
        TileKind::Hashes(level) => {
            let tree = Subtrees::new(edge, reads, tiles);
            Ok(tree.entries(level, path.index(), width)?.map(|hashes| hashes.as_flattened().to_vec()))
        }
        TileKind::Entries => {
            let mut bytes = Vec::new();
            for entry in reads.leaves(subtrees)? {
                merkle::push_entry(&mut bytes, &entry)
                    .map_err(|error| StoreFault::broken(DURING, error.to_string()))?;
            }
            Ok(Some(bytes))
        }
    }
}
