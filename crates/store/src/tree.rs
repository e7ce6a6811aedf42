//! The Merkle tree of the log over stored tiles.
//!
//! Complete tiles (256 hashes) are immutable rows. Incomplete tiles are in memory, at most 255 hashes for each level.
//! When a store is opened, the incomplete tiles are rebuilt from leaves and complete tiles.
//!
//! For export and audit, this module also serves the stored log as the files of C2SP tlog-tiles.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use crate::{Store, StoreFault, StoreHead, StoreReads, StoreResult, TileRow};
use documents::{
    BlobDigest, Hash, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, leaf_hash, locked, merkle,
    node_hash, push_entry, unhex32,
};

const WIDTH: usize = TILE_WIDTH as usize;

/// Maximum number of complete tiles in the cache for proofs (16 KiB each).
const KEPT_TILES: usize = 64;

/// Hashes of a tile, and the roots of all complete subtrees over these hashes, so that a proof needs no hash
/// computation.
#[derive(Clone, Default)]
pub struct TreeTile {
    /// Hashes by height: index 0 contains the entries of the tile, and index 8 contains the root of a complete tile.
    heights: [Vec<Hash>; TILE_HEIGHT as usize + 1],
}

impl TreeTile {
    fn of(entries: &[Hash]) -> Self {
        let mut tile = Self::default();
        for entry in entries {
            tile.push(*entry);
        }
        tile
    }

    /// Adds an entry, which costs one hash computation on average.
    fn push(&mut self, entry: Hash) {
        self.heights[0].push(entry);
        for height in 0..usize::from(TILE_HEIGHT) {
            let below = &self.heights[height];
            if !below.len().is_multiple_of(2) {
                break;
            }
            let [left, right] = [below[below.len() - 2], below[below.len() - 1]];
            self.heights[height + 1].push(node_hash(&left, &right));
        }
    }

    fn entries(&self) -> &[Hash] {
        &self.heights[0]
    }

    /// Returns the root if the tile is complete.
    fn root(&self) -> Option<Hash> {
        self.heights[usize::from(TILE_HEIGHT)].first().copied()
    }
}

/// Right edge of the tree: its incomplete tiles.
#[derive(Clone, Default)]
pub struct TreeEdge {
    size: u64,
    levels: Vec<TreeTile>,
}

/// Returns the root hash of the stored tree with `size` leaves, or `None` if the stored log is smaller.
///
/// # Errors
/// Returns a fault if the log cannot be read.
pub fn root_of(reads: &StoreReads, size: u64) -> StoreResult<Option<Hash>> {
    if size > 0 && reads.leaf(size - 1)?.is_none() {
        return Ok(None);
    }
    let (edge, cache) = (TreeEdge::read(reads, size)?, TileCache::default());
    Subtrees::new(&edge, reads, &cache).root_at(size).map(Some)
}

impl TreeEdge {
    /// Builds the edge of the stored tree with `size` leaves.
    ///
    /// # Errors
    /// Returns a fault if a leaf or a tile is missing or cannot be read.
    pub fn load(store: &mut dyn Store, size: u64) -> StoreResult<Self> {
        let store = RefCell::new(store);
        Self::build(
            size,
            |range| store.borrow_mut().leaf_hashes(range),
            |level, at| store.borrow_mut().tile(level, at),
        )
    }

    /// Builds the edge from a reader, computing the hashes of the leaves again.
    ///
    /// # Errors
    /// Returns a fault if a leaf or a tile is missing or cannot be read.
    pub fn read(reads: &StoreReads, size: u64) -> StoreResult<Self> {
        let hashes = |range: Range<u64>| {
            let wanted = range.end - range.start;
            let leaves = reads.leaves(range)?;
            if leaves.len() as u64 == wanted {
                return Ok(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
            }
            Err(StoreFault::broken(
                "reading the log's tree",
                "an entry is missing",
            ))
        };
        Self::build(size, hashes, |level, at| {
            reads.tile(level, at)?.ok_or_else(|| missing(level, at))
        })
    }

    fn build(
        size: u64,
        leaves: impl Fn(Range<u64>) -> StoreResult<Vec<Hash>>,
        tile: impl Fn(u8, u64) -> StoreResult<Vec<Hash>>,
    ) -> StoreResult<Self> {
        let mut levels = Vec::new();
        let mut entries = size;
        while entries > 0 {
            let first = entries - entries % u64::from(TILE_WIDTH);
            let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
            let hashes = if level == 0 {
                leaves(first..entries)?
            } else {
                let mut hashes = Vec::with_capacity(WIDTH);
                for index in first..entries {
                    let below = TreeTile::of(&tile(level - 1, index)?);
                    hashes.push(below.root().ok_or_else(|| missing(level - 1, index))?);
                }
                hashes
            };
            levels.push(TreeTile::of(&hashes));
            entries >>= TILE_HEIGHT;
        }
        Ok(Self { size, levels })
    }

    /// Returns the number of leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf, and pushes each completed tile to `complete`.
    pub fn append(&mut self, leaf: Hash, complete: &mut Vec<TileRow>) {
        let mut hash = leaf;
        // Index of the entry at this level. After the following shift, `index` is the index of the entry's tile.
        let mut index = self.size;
        self.size += 1;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(TreeTile::default());
            }
            self.levels[at].push(hash);
            let Some(root) = self.levels[at].root() else {
                break;
            };
            index >>= TILE_HEIGHT;
            let [hashes, ..] = std::mem::take(&mut self.levels[at]).heights;
            hash = root;
            complete.push(TileRow {
                level,
                index,
                hashes,
            });
        }
    }
}

/// Cache of complete tiles. The oldest tile is removed first.
#[derive(Default)]
pub struct TileCache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    tiles: HashMap<(u8, u64), Arc<TreeTile>>,
    order: VecDeque<(u8, u64)>,
}

impl TileCache {
    /// Returns a complete tile from the cache or from the database.
    fn tile(&self, level: u8, index: u64, reads: &StoreReads) -> StoreResult<Arc<TreeTile>> {
        let key = (level, index);
        if let Some(tile) = locked(&self.0).tiles.get(&key) {
            return Ok(tile.clone());
        }
        let tile = Arc::new(TreeTile::of(
            &reads
                .tile(level, index)?
                .ok_or_else(|| missing(level, index))?,
        ));
        let mut kept = locked(&self.0);
        if kept.tiles.insert(key, tile.clone()).is_none() {
            kept.order.push_back(key);
            if kept.order.len() > KEPT_TILES
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.tiles.remove(&oldest);
            }
        }
        Ok(tile)
    }
}

pub struct Subtrees<'a> {
    edge: &'a TreeEdge,
    reads: &'a StoreReads,
    cache: &'a TileCache,
}

impl<'a> Subtrees<'a> {
    pub const fn new(edge: &'a TreeEdge, reads: &'a StoreReads, cache: &'a TileCache) -> Self {
        Self { edge, reads, cache }
    }

    /// Returns the hash of the complete subtree over the leaves from `index << level` up to, but not including, `(index
    /// + 1) << level`.
    pub fn hash(&self, level: u8, index: u64) -> StoreResult<Hash> {
        // The subtree covers `2^within` entries of one tile.
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << within;
        let at = usize::try_from((first % u64::from(TILE_WIDTH)) >> within).unwrap_or(usize::MAX);
        let found = |tile: &TreeTile| tile.heights[usize::from(within)].get(at).copied();
        self.with_tile(tile_level, first >> TILE_HEIGHT, found)?
            .ok_or_else(|| missing(level, index))
    }

    /// Returns the root hash at `size`, which is at most the size of the tree.
    pub fn root_at(&self, size: u64) -> StoreResult<Hash> {
        merkle::root_of(size, |level, index| self.hash(level, index))
    }

    /// Returns the first `width` entries of a tile, or `None` if the tile has fewer entries.
    pub fn entries(&self, level: u8, index: u64, width: usize) -> StoreResult<Option<Vec<Hash>>> {
        self.with_tile(level, index, |tile| {
            tile.entries().get(..width).map(<[Hash]>::to_vec)
        })
    }

    /// Returns the bytes of all entries of the tile at `index` of level 0, or `None` if they do not match the tree.
    pub fn bytes_of(&self, index: u64) -> StoreResult<Option<Vec<Vec<u8>>>> {
        let first = index << TILE_HEIGHT;
        let end = self.edge.size.min(first + u64::from(TILE_WIDTH));
        let entries = self.reads.leaves(first..end)?;
        let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        Ok(self.is_tile(index, &hashes)?.then_some(entries))
    }

    /// Returns true if these hashes are all entries of the tile at `index` of level 0. The tile is compared with the
    /// stored tiles above it, up to the edge of the tree, which is in memory.
    fn is_tile(&self, mut index: u64, hashes: &[Hash]) -> StoreResult<bool> {
        if index == self.edge.size >> TILE_HEIGHT {
            return self.with_tile(0, index, |tile| tile.entries() == hashes);
        }
        let mut below = TreeTile::of(hashes).root();
        for level in 1_u8.. {
            let at = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
            index >>= TILE_HEIGHT;
            let (entry, root) = self.with_tile(level, index, |tile| {
                (tile.entries().get(at).copied(), tile.root())
            })?;
            if below.is_none() || entry != below {
                return Ok(false);
            }
            // This tile is incomplete, so it belongs to the edge of the tree in memory, and the comparison ends.
            if root.is_none() {
                break;
            }
            below = root;
        }
        Ok(true)
    }

    fn with_tile<T>(
        &self,
        level: u8,
        index: u64,
        read: impl FnOnce(&TreeTile) -> T,
    ) -> StoreResult<T> {
        let complete = self
            .edge
            .size
            .checked_shr(u32::from(level + 1) * u32::from(TILE_HEIGHT))
            .unwrap_or(0);
        if index > complete {
            return Err(missing(level, index));
        }
        if index < complete {
            return Ok(read(&*self.cache.tile(level, index, self.reads)?));
        }
        match self.edge.levels.get(usize::from(level)) {
            Some(tile) => Ok(read(tile)),
            None => Ok(read(&TreeTile::default())),
        }
    }
}

fn missing(level: u8, index: u64) -> StoreFault {
    StoreFault::broken(
        "reading the log's tree",
        format!("hash tile {level}/{index} is missing"),
    )
}

/// Log of a store without a writer, such as a backup or a closed log. Reading this log needs no key.
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
    ) -> StoreResult<Self> {
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
    pub fn resource(&self, path: &str) -> StoreResult<Option<Vec<u8>>> {
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
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
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
) -> StoreResult<Option<Vec<u8>>> {
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
                    .map_err(|error| StoreFault::broken(DURING, error))?;
            }
            Ok(Some(bytes))
        }
    }
}
