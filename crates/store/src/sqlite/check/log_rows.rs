//! The entries of the log for the check, packed or not.

use crate::{
    Entries, EntryRow, Look, StoreFault,
    sqlite::{
        check::LogRow,
        packed_tiles::{NoEntry, is_intact},
    },
};

impl Look<'_> {
    /// Returns the entries of one tile.
    pub(super) fn log_rows(&self, range: [u64; 2]) -> Result<Vec<LogRow>, StoreFault> {
        let sql =
            "SELECT kind, at, idx, hash, data FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let rows = self.all(sql, range, |row| {
            Ok((row.get(0)?, row.get(1)?, row.entry(2)?))
        })?;
        let mut entries = Entries::of(&self.connection);
        let read = |(kind, at, mut row): (u8, i64, EntryRow)| {
            let (index, hash, is_packed) = (row.index, row.hash, row.data.is_empty());
            let data = match entries.fill(&mut row) {
                Ok(()) => Ok(row.data),
                Err(NoEntry::Damaged(place, what)) => Err((place, what)),
                Err(NoEntry::Unreadable(error)) => return Err(error),
            };
            Ok(LogRow {
                index,
                kind,
                at,
                hash,
                is_packed,
                data,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Names the first entry of a tile that cannot be unpacked, a changed row, and a tile with packed and other entries.
    /// Returns true if the tile is packed.
    pub(super) fn packed(&mut self, rows: &[LogRow]) -> Result<bool, StoreFault> {
        let count = rows.iter().filter(|row| row.is_packed).count();
        if count == 0 {
            return Ok(false);
        }
        let tile = rows[0].index / 256;
        if let Some((place, what)) = rows.iter().find_map(|row| row.data.as_ref().err()) {
            self.defect(place, *what);
        } else if count < 256 {
            let what = format!("only {count} of its 256 entries are packed");
            self.defect(format!("packed tile {tile}"), what);
        } else {
            // A changed byte of the compressed form can leave all entries the same.
            let sql = "SELECT data FROM packed WHERE tile = ?1";
            let intact = self.one(sql, [tile], |row| Ok(is_intact(row.get(0)?)))?;
            if intact != Some(true) {
                self.defect(
                    format!("packed tile {tile}"),
                    "its bytes do not match its digest",
                );
            }
        }
        Ok(true)
    }

    /// Compares the number of packed tiles with the log.
    pub(super) fn packed_rows(&mut self, expected: u64) -> Result<(), StoreFault> {
        // A store of an earlier version has no packed tiles.
        if self.is_old {
            return Ok(());
        }
        self.count("packed", expected, "the number of packed tiles is")
    }

    /// Returns the bytes of an entry. There are none if the entry is missing, or if its packed tile is damaged, which the
    /// check of the log names.
    pub(super) fn entry_at(&self, index: u64) -> Result<Option<Vec<u8>>, StoreFault> {
        let sql = "SELECT idx, hash, data FROM leaf WHERE idx = ?1";
        let Some(mut row) = self.one(sql, [index], |row| row.entry(0))? else {
            return Ok(None);
        };
        match Entries::of(&self.connection).fill(&mut row) {
            Ok(()) => Ok(Some(row.data)),
            Err(NoEntry::Damaged(..)) => Ok(None),
            Err(NoEntry::Unreadable(error)) => Err(error),
        }
    }
}
