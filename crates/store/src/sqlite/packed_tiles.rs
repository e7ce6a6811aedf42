//! Packed tiles: 256 old log entries in one compressed row of the table `packed`.
//!
//! The entries are in groups of 64, because a reader of one entry decompresses one group only. A group has the form of
//! a tile of entries (C2SP tlog-tiles), compressed with Zstandard. The row begins with the SHA-256 digest of all bytes
//! after it, which only the check of a store reads. Then follows a list with the end of each group, as 32 bits, counted
//! from the end of the list. Then follow the groups. The rows of the entries in `leaf` stay, with their hashes, but
//! without their bytes.

use rusqlite::{Connection, params};

use crate::{
    DURING_TILE, EntryRow, LEAVES, PackedRow, StoreFault, StoreResult, TILE,
    sqlite::columns::{all, one, run},
    tile_hashes, tile_id,
};
use documents::{
    Hash, MAX_ENTRY_BYTES, TILE_WIDTH, Timestamp, leaf_hash, push_entry, sha256, split_entries,
};

const WIDTH: u64 = TILE_WIDTH as u64;
/// Number of entries in a group.
const GROUP: usize = 64;
/// Number of bytes of the digest.
const DIGEST: usize = 32;
/// Number of bytes of the list of ends.
const ENDS: usize = TILE_WIDTH as usize / GROUP * 4;
/// Level of compression. Higher levels are slower and save about one byte in a hundred.
const LEVEL: i32 = 3;

/// Reader of log entries, packed or not. The reader keeps the last row and the last group for the next entry.
pub struct Entries<'c> {
    connection: &'c Connection,
    row: Option<(u64, Vec<u8>)>,
    group: Option<(u64, Vec<Vec<u8>>)>,
}

/// Reason why the bytes of an entry cannot be returned.
pub enum NoEntry {
    /// The database cannot be read.
    Unreadable(StoreFault),
    /// The packed tile of the entry is missing or damaged: the place, and the defect.
    Damaged(String, &'static str),
}

impl From<StoreFault> for NoEntry {
    fn from(fault: StoreFault) -> Self {
        Self::Unreadable(fault)
    }
}

impl NoEntry {
    pub fn during(self, during: &'static str) -> StoreFault {
        match self {
            Self::Unreadable(fault) => fault,
            Self::Damaged(place, what) => StoreFault::broken(during, format!("{place}: {what}")),
        }
    }
}

impl<'c> Entries<'c> {
    pub fn of(connection: &'c Connection) -> Self {
        Self {
            connection,
            row: None,
            group: None,
        }
    }

    /// Fills in the bytes of an entry if the entry is packed, after comparing them with the hash of the entry.
    pub fn fill(&mut self, entry: &mut EntryRow) -> Result<(), NoEntry> {
        if !entry.data.is_empty() {
            return Ok(());
        }
        let (index, hash) = (entry.index, entry.hash);
        let (tile, number, at) = (index / WIDTH, index / GROUP as u64, index as usize % GROUP);
        let damaged =
            |what| NoEntry::Damaged(format!("packed tile {tile}, log entry {index}"), what);
        if self.row.as_ref().is_none_or(|(kept, _)| *kept != tile) {
            const DURING: &str = "reading a packed tile";
            let sql = "SELECT data FROM packed WHERE tile = ?1";
            let row = one(self.connection, DURING, sql, [tile], |row| row.get(0))?;
            let row = row.ok_or_else(|| damaged("the row of the tile is missing"))?;
            self.row = Some((tile, row));
        }
        if self.group.as_ref().is_none_or(|(kept, _)| *kept != number)
            && let Some((_, row)) = &self.row
        {
            let group = unpack(row, number as usize % (WIDTH as usize / GROUP));
            self.group = Some((
                number,
                group.ok_or_else(|| damaged("its bytes cannot be decompressed"))?,
            ));
        }
        match self.group.as_ref().and_then(|(_, entries)| entries.get(at)) {
            Some(bytes) if leaf_hash(bytes) == hash => {
                entry.data.clone_from(bytes);
                Ok(())
            }
            _ => Err(damaged("its bytes do not have the hash of the entry")),
        }
    }
}

/// Compresses 256 entries into the bytes of a row.
fn pack(entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (mut ends, mut groups) = (Vec::with_capacity(ENDS), Vec::new());
    for group in entries.chunks(GROUP) {
        let mut plain = Vec::new();
        group
            .iter()
            .try_for_each(|entry| push_entry(&mut plain, entry))
            .ok()?;
        groups.extend(zstd::bulk::compress(&plain, LEVEL).ok()?);
        ends.extend(u32::try_from(groups.len()).ok()?.to_be_bytes());
    }
    let rest = [ends, groups].concat();
    Some([&sha256(&rest)[..], &rest].concat())
}

/// Returns true if the bytes of a row match its digest.
pub fn is_intact(row: &[u8]) -> bool {
    row.split_at_checked(DIGEST)
        .is_some_and(|(digest, rest)| sha256(rest) == *digest)
}

/// Returns the entries of a group, or `None` if the row is damaged.
fn unpack(row: &[u8], number: usize) -> Option<Vec<Vec<u8>>> {
    let (ends, groups) = row.get(DIGEST..)?.split_at_checked(ENDS)?;
    let end = |number: usize| {
        ends.as_chunks::<4>()
            .0
            .get(number)
            .map(|end| u32::from_be_bytes(*end) as usize)
    };
    let start = number.checked_sub(1).map_or(Some(0), end)?;
    let group = groups.get(start..end(number)?)?;
    let size = usize::try_from(zstd::zstd_safe::get_frame_content_size(group).ok()??).ok()?;
    let plain = zstd::bulk::decompress(group, size.min(GROUP * (MAX_ENTRY_BYTES + 2))).ok()?;
    Some(
        split_entries(&plain)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect(),
    )
}

/// Returns the next tile to pack if its newest entry is not dated after `until`. Before the return, the function
/// decompresses the tile again, and compares the entries with the tree.
pub fn next(connection: &Connection, until: Timestamp) -> StoreResult<Option<PackedRow>> {
    const DURING: &str = "packing old log entries";
    let last = one(
        connection,
        DURING,
        "SELECT tile FROM packed ORDER BY tile DESC LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    let tile: u64 = last.map_or(0, |last: u64| last + 1);
    let range = tile * WIDTH..(tile + 1) * WIDTH;
    let at = one(
        connection,
        DURING,
        "SELECT at FROM leaf WHERE idx = ?1",
        [range.end - 1],
        |row| row.get(0),
    )?;
    if at.is_none_or(|at: i64| at > until.unix()) {
        return Ok(None);
    }
    let rows = all(
        connection,
        DURING,
        LEAVES,
        [range.start, range.end],
        |row| row.entry(0),
    )?;
    let hashes: Vec<Hash> = rows.iter().map(|row| row.hash).collect();
    let entries: Vec<Vec<u8>> = rows.into_iter().map(|row| row.data).collect();
    let data = pack(&entries).unwrap_or_default();
    let unpacked: Option<Vec<_>> = (0..WIDTH as usize / GROUP)
        .map(|number| unpack(&data, number))
        .collect();
    let unpacked = unpacked.unwrap_or_default().concat();
    let is_true = |of: &[Vec<u8>]| {
        of.iter()
            .map(|entry| leaf_hash(entry))
            .eq(hashes.iter().copied())
    };
    let id = tile_id(0, tile);
    let kept = one(connection, DURING_TILE, TILE, [id], |row| {
        tile_hashes(row, id)
    })?;
    if !is_true(&unpacked) || kept.as_ref() != Some(&hashes) {
        let message = format!(
            "the log entries {} to {} do not have their hashes, so they are not packed; run `countersign store check`",
            range.start,
            range.end - 1
        );
        return Err(StoreFault::database(DURING, message));
    }
    Ok(Some(PackedRow { tile, data }))
}

/// Adds the row of a tile and removes the bytes of its entries, inside of a batch.
pub fn store(connection: &Connection, packed: &PackedRow) -> StoreResult {
    const DURING: &str = "packing old log entries";
    run(
        connection,
        DURING,
        "INSERT INTO packed (tile, data) VALUES (?1, ?2)",
        params![packed.tile, packed.data],
    )?;
    let range = [packed.tile * WIDTH, (packed.tile + 1) * WIDTH];
    let sql = "SELECT idx, kind, at, hash FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
    let rows: Vec<(u64, u8, i64, Hash)> = all(connection, DURING, sql, range, |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    // An UPDATE would leave each page of the database nearly empty, because SQLite joins pages only after a DELETE.
    run(
        connection,
        DURING,
        "DELETE FROM leaf WHERE idx >= ?1 AND idx < ?2",
        range,
    )?;
    let sql = "INSERT INTO leaf (idx, kind, at, hash, data) VALUES (?1, ?2, ?3, ?4, x'')";
    rows.iter().try_for_each(|row| {
        run(connection, DURING, sql, params![row.0, row.1, row.2, row.3]).map(drop)
    })
}
