//! Compares the stored tiles with tiles that are computed from the entries.
//!
//! The file also defines the source of the blobs, tiles and entries that an audit reads.

use crate::{Finding, FindingKind};
use documents::{BlobDigest, Hash, TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, merkle::root};

/// Incomplete tiles at the right edge of the tree. The audit compares a tile only if the audit knows all hashes of this
/// tile.
pub struct Tiles {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// Index of the next hash at this level.
    next: u64,
    /// Hashes of the incomplete tile, or `None` if the beginning of the tile was not read.
    hashes: Option<Vec<Hash>>,
}

impl Tiles {
    /// Creates the tiles for a log whose first `size` entries were read by an earlier audit.
    pub fn after(size: u64) -> Self {
        let width = u64::from(TILE_WIDTH);
        let mut levels = Vec::new();
        let mut next = size;
        while next > 0 {
            levels.push(Level {
                next,
                hashes: next.is_multiple_of(width).then(Vec::new),
            });
            next >>= TILE_HEIGHT;
        }
        Self { levels }
    }

    /// Adds the next leaf hash and compares every tile that becomes complete.
    pub fn append(
        &mut self,
        leaf: Hash,
        beside: &dyn EvidenceFiles,
    ) -> Result<Vec<Finding>, Unreadable> {
        let mut differing = Vec::new();
        // The hash is `None` if an earlier audit read the beginning of the tile below. In this case the hashes at the
        // beginning of that tile are missing, so its root is unknown.
        let mut hash = Some(leaf);
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Level {
                    next: 0,
                    hashes: Some(Vec::new()),
                });
            }
            let tile = &mut self.levels[at];
            match (&mut tile.hashes, hash) {
                (Some(hashes), Some(hash)) => hashes.push(hash),
                (hashes, _) => *hashes = None,
            }
            tile.next += 1;
            if !tile.next.is_multiple_of(u64::from(TILE_WIDTH)) {
                break;
            }
            let index = tile.next / u64::from(TILE_WIDTH) - 1;
            hash = match tile
                .hashes
                .replace(Vec::with_capacity(usize::from(TILE_WIDTH)))
            {
                Some(hashes) => {
                    differing.extend(compare(level, index, &hashes, beside)?);
                    Some(root(&hashes))
                }
                None => None,
            };
        }
        Ok(differing)
    }

    /// Compares the incomplete tiles at the end of the log with the tile files of the copy.
    pub fn finish(&self, beside: &dyn EvidenceFiles) -> Result<Vec<Finding>, Unreadable> {
        let mut differing = Vec::new();
        for (level, tile) in (0_u8..).zip(&self.levels) {
            if let Some(hashes) = tile.hashes.as_ref().filter(|hashes| !hashes.is_empty()) {
                let index = tile.next / u64::from(TILE_WIDTH);
                differing.extend(compare(level, index, hashes, beside)?);
            }
        }
        Ok(differing)
    }
}

fn compare(
    level: u8,
    index: u64,
    hashes: &[Hash],
    beside: &dyn EvidenceFiles,
) -> Result<Option<Finding>, Unreadable> {
    let width = u16::try_from(hashes.len()).unwrap_or(TILE_WIDTH);
    let Some(path) = TilePath::new(TileKind::Hashes(level), index, width) else {
        return Ok(None);
    };
    let differs = beside
        .tile(&path)?
        .is_some_and(|stored| stored != hashes.as_flattened());
    Ok(differs.then(|| {
        let first = index << (u32::from(level + 1) * u32::from(TILE_HEIGHT));
        let why =
            format!("the hashes in the tile {path} differ from the hashes of the log's entries");
        Finding::at(FindingKind::Tile, first, why)
    }))
}

/// Source of the blobs, tiles and entries of a log.
pub trait EvidenceFiles {
    /// Returns the blob with this digest, or `None` if the blob does not exist. The caller must check that the bytes
    /// have this digest.
    ///
    /// # Errors
    /// Returns an error if the source can't tell whether the blob exists. The audit then stops.
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable>;

    /// Returns the stored tile at this path, or `None` if the tile does not exist. The audit compares the stored tile
    /// with a tile that the audit computes from the entries.
    ///
    /// # Errors
    /// Returns an error if the source can't tell whether the tile exists.
    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Unreadable>;

    /// Returns the entries of tile `index` in a log with `size` entries. The audit reads entries again if a value seems to be
    /// used twice.
    ///
    /// # Errors
    /// Returns an error if the entries are missing or can't be read.
    fn entries(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, Unreadable>;
}

/// Error that stops an audit because the source of the log can't be read.
///
/// The type is no [`std::error::Error`], so that `?` can't turn this error into a failed check of a boundary.
#[derive(Debug)]
pub struct Unreadable(pub String);
