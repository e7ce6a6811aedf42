//! The stored log as files of C2SP tlog-tiles, for export and audit.

use std::fmt;
use std::sync::Arc;

use crate::{StoreFault, StoreHead, StoreReads, Subtrees, TreeEdge, tree::TileCache};
use documents::{BlobDigest, TILE_WIDTH, TileKind, TilePath, push_entry, unhex32};

/// Log of a store without a writer, such as a backup or a closed log. Reading it needs no key.
pub struct StoredLog {
    reads: Arc<StoreReads>,
    edge: TreeEdge,
    tiles: TileCache,
    checkpoint: Option<String>,
}

impl StoredLog {
    /// Reads a store without a writer. Without `beside`, the last checkpoint in the store is used.
    ///
    /// # Errors
    /// Returns a fault if the log cannot be read.
    pub fn new(
        reads: Arc<StoreReads>,
        head: &StoreHead,
        beside: Option<String>,
    ) -> Result<Self, StoreFault> {
        let edge = TreeEdge::read(&reads, head.size)?;
        let checkpoint = match beside {
            Some(note) => Some(note),
            None => reads.checkpoint()?.map(|row| row.note),
        };
        Ok(Self {
            reads,
            edge,
            tiles: TileCache::default(),
            checkpoint,
        })
    }

    /// Returns the bytes of `checkpoint`, `tile/…` or `blob/sha256/<hex>`, or `None` if the path does not exist.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        if path == "checkpoint" {
            return Ok(self.checkpoint.clone().map(String::into_bytes));
        }
        if let Some(digest) = path.strip_prefix("blob/sha256/").and_then(unhex32) {
            return self.reads.blob(&BlobDigest::from_bytes(digest));
        }
        match TilePath::parse(path) {
            Some(path) => tile(&self.reads, &self.edge, &self.tiles, &path),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for StoredLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLog")
            .field("size", &self.edge.size())
            .finish_non_exhaustive()
    }
}

/// Returns the bytes of a hash tile or an entry tile. `None` means that the log never had a tile of this width.
pub fn tile(
    reads: &StoreReads,
    edge: &TreeEdge,
    tiles: &TileCache,
    path: &TilePath,
) -> Result<Option<Vec<u8>>, StoreFault> {
    const DURING: &str = "reading a tile";
    let Some((_, subtrees)) = path.subtrees().filter(|_| path.is_within(edge.size())) else {
        return Ok(None);
    };
    let width = usize::try_from(subtrees.end - subtrees.start).unwrap_or(usize::from(TILE_WIDTH));
    match path.kind() {
        TileKind::Hashes(level) => {
            let tree = Subtrees::new(edge, reads, tiles);
            Ok(tree
                .entries(level, path.index(), width)?
                .map(|hashes| hashes.as_flattened().to_vec()))
        }
        TileKind::Entries => {
            let mut bytes = Vec::new();
            for entry in reads.leaves(subtrees)? {
                push_entry(&mut bytes, &entry)
                    .map_err(|error| StoreFault::broken(DURING, error.to_string()))?;
            }
            Ok(Some(bytes))
        }
    }
}
