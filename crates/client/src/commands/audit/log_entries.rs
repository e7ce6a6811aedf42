//! Reads the entries of a log in order.

use crate::{CommandResult, LogSource};
use documents::{Frontier, TILE_WIDTH, merkle};
use verdict::{LogEntry, entry};

/// Computes the root hash over the first `earlier` entries of a log of `size` entries.
pub fn root_at(place: &LogSource, size: u64, earlier: u64) -> CommandResult<merkle::Hash> {
    let mut tree = Frontier::default();
    for tile in 0..earlier.div_ceil(u64::from(TILE_WIDTH)) {
        let left = usize::try_from(earlier - tree.size()).unwrap_or(usize::MAX);
        for entry in place.entries(tile, size)?.iter().take(left) {
            tree.append(merkle::leaf_hash(entry));
        }
    }
    Ok(tree.root())
}

/// Calls `take` with each entry from number `from` up to `size`, in order.
pub fn each_entry(
    place: &LogSource,
    from: u64,
    size: u64,
    take: impl FnMut(&LogEntry) -> CommandResult<()>,
) -> CommandResult<()> {
    let width = u64::from(TILE_WIDTH);
    let tiles = (from / width..size.div_ceil(width)).map(|tile| {
        let skip = usize::try_from(from.saturating_sub(tile * width)).unwrap_or(usize::MAX);
        place
            .entries(tile, size)
            .map(|mut entries| entries.split_off(skip.min(entries.len())))
    });
    entry::each(tiles, take)
}
