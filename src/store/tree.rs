//! The log's tree over stored tiles.
//!
//! Complete tiles (256 hashes) are immutable rows; what is not complete stands in memory, at most 255 hashes a level,
//! and is built again from leaf rows and tiles when the store is opened.

use std::collections::HashMap;

use crate::crypto::merkle::{self, Hash, TILE_HEIGHT, TILE_WIDTH};
use crate::store::{Fault, Reads, Store, TileRow};

const WIDTH: usize = TILE_WIDTH as usize;

/// The right edge of the tree: its incomplete tiles.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    size: u64,
    /// By level of tiles: the hashes of the one that is not complete.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// Builds the edge of the stored tree of `size` leaves.
    ///
    /// # Errors
    /// When a leaf or tile is missing or can't be read.
    pub fn load(store: &mut dyn Store, size: u64) -> Result<Self, Fault> {
        let mut levels = Vec::new();
        let mut entries = size;
        while entries > 0 {
            let first = entries - entries % u64::from(TILE_WIDTH);
            let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
            let hashes = if level == 0 {
                store.leaf_hashes(first..entries)?
            } else {
                let mut hashes = Vec::with_capacity(WIDTH);
                for index in first..entries {
                    hashes.push(merkle::root(&store.tile(level - 1, index)?));
                }
                hashes
            };
            levels.push(hashes);
            entries >>= TILE_HEIGHT;
        }
        Ok(Self { size, levels })
    }

    /// Leaves in the tree.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; tiles that it completes are pushed to `complete`.
    pub fn append(&mut self, leaf: Hash, complete: &mut Vec<TileRow>) {
        let mut hash = leaf;
        // The index of the entry in its level; of its tile after the shift.
        let mut index = self.size;
        self.size += 1;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let tile = &mut self.levels[at];
            tile.push(hash);
            if tile.len() < WIDTH {
                break;
            }
            index >>= TILE_HEIGHT;
            let hashes = std::mem::replace(tile, Vec::with_capacity(WIDTH));
            hash = merkle::root(&hashes);
            complete.push(TileRow { level, index, hashes });
        }
    }

    /// The hashes of the level's incomplete tile.
    pub(crate) fn incomplete(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }
}

/// Reads hashes of complete subtrees, each tile once.
pub(crate) struct Subtrees<'a> {
    edge: &'a Edge,
    reads: &'a dyn Reads,
    seen: HashMap<(u8, u64), Vec<Hash>>,
}

impl<'a> Subtrees<'a> {
    pub(crate) fn new(edge: &'a Edge, reads: &'a dyn Reads) -> Self {
        Self { edge, reads, seen: HashMap::new() }
    }

    /// The hash of the complete subtree over the leaves `index << level` to `(index + 1) << level`.
    pub(crate) fn hash(&mut self, level: u8, index: u64) -> Result<Hash, Fault> {
        // `2^within` entries of a tile make it up; they never reach over its end.
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << within;
        let tile = self.tile(tile_level, first >> TILE_HEIGHT)?;
        let from = usize::try_from(first % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        match tile.get(from..from + (1 << within)) {
            Some([one]) => Ok(*one),
            Some(entries) => Ok(merkle::root(entries)),
            None => Err(missing(level, index)),
        }
    }

    /// A tile, as far as it is there.
    pub(crate) fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], Fault> {
        let complete = self.edge.size.checked_shr(u32::from(level + 1) * u32::from(TILE_HEIGHT)).unwrap_or(0);
        if index == complete {
            return Ok(self.edge.incomplete(level));
        }
        if index > complete {
            return Err(missing(level, index));
        }
        if !self.seen.contains_key(&(level, index)) {
            let tile = self.reads.tile(level, index)?.ok_or_else(|| missing(level, index))?;
            self.seen.insert((level, index), tile);
        }
        self.seen.get(&(level, index)).map(Vec::as_slice).ok_or_else(|| missing(level, index))
    }
}

fn missing(level: u8, index: u64) -> Fault {
    Fault::broken("reading the log's tree", format!("hash tile {level}/{index} is missing"))
}
