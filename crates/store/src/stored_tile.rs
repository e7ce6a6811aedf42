//! Complete hash tiles of the log in the database.

use crate::{Fields, StoreFault, StoreResult};
use documents::Hash;

pub const DURING_TILE: &str = "reading a hash tile";

/// Reads the column `hashes` of a complete tile.
pub fn tile_hashes(row: &Fields<'_>, id: i64) -> StoreResult<Vec<Hash>> {
    let hashes = row.get::<&[u8]>(0)?.as_chunks::<32>().0;
    if hashes.len() == 256 {
        Ok(hashes.to_vec())
    } else {
        Err(StoreFault::broken(
            DURING_TILE,
            format!("tile {id:#x} is cut"),
        ))
    }
}

/// Returns the fault for a complete tile without a row.
pub fn tile_missing(level: u8, index: u64) -> StoreFault {
    StoreFault::broken(DURING_TILE, format!("hash tile {level}/{index} is missing"))
}
