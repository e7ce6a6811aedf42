//! Tiles of the log (C2SP tlog-tiles, height 8): their paths, and the entries in a tile of entries.

use std::fmt;

/// Number of hashes or entries in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// Number of tree levels in one tile.
pub const TILE_HEIGHT: u8 = 8;

/// Maximum size of an entry, in bytes. A tile stores the length of each entry in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// The content of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of the tree level 8 × `level`. The value is the level of the tile (0 to 63).
    Hashes(u8),
    /// Log entries, each with its length before it.
    Entries,
}

/// One tile of C2SP tlog-tiles, with the path `tile/<level>/<index>[.p/<width>]` or `tile/entries/<index>[.p/<width>]`.
/// The index is written in groups of three digits, with an `x` before each group except the last:
/// `tile/0/x001/x234/067`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl TilePath {
    /// Returns the tile with this number of hashes or entries (1 to 256). Returns `None` for other widths or for levels
    /// over 63.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let level_ok = !matches!(kind, TileKind::Hashes(64..));
        (level_ok && (1..=TILE_WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    /// Parses a path in its canonical form. Returns `None` for any other form.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = if kind == "entries" {
            TileKind::Entries
        } else {
            TileKind::Hashes(kind.parse().ok()?)
        };
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => (
                place,
                width
                    .parse()
                    .ok()
                    .filter(|&width: &u16| width < TILE_WIDTH)?,
            ),
            None => (place, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in place.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        // Write the path again and compare, to reject leading zeros, missing or extra `x` groups, and signs.
        Self::new(kind, index, width).filter(|tile| tile.to_string() == path)
    }

    /// Returns the content.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Returns the index of the tile in its level.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Returns the number of hashes or entries in the tile. A tile of 256 is full and never changes.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Returns the tree level of the tile's hashes, and the range of their indexes in this level. For a tile of
    /// entries, the result is level 0 and the range of leaf indexes. Returns `None` if the range lies beyond every
    /// possible tree.
    pub fn subtrees(&self) -> Option<(u8, std::ops::Range<u64>)> {
        let level = match self.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(tile_level) => tile_level
                .checked_mul(TILE_HEIGHT)
                .filter(|&level| level < 64)?,
        };
        let start = self.index.checked_mul(u64::from(TILE_WIDTH))?;
        let end = start.checked_add(u64::from(self.width))?;
        // The last subtree must end within the first 2^64 leaves.
        ((end - 1) <= u64::MAX >> level).then_some((level, start..end))
    }

    /// Returns true if a tree of `size` leaves contains the whole tile.
    pub fn is_within(&self, size: u64) -> bool {
        self.subtrees()
            .is_some_and(|(level, range)| range.end <= size >> level)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (at, group) in groups.iter().enumerate().rev() {
            if at > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The error for an entry that is longer than [`MAX_ENTRY_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log entry has {bytes} bytes, at most {MAX_ENTRY_BYTES} are allowed")]
pub struct EntryTooLarge {
    /// Length of the entry in bytes.
    pub bytes: usize,
}

/// Appends an entry to a tile of entries: first its length (16 bits, big-endian), then its bytes.
///
/// # Errors
/// Returns an error if the entry is too long. The tile is then unchanged.
pub fn push_entry(tile: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLarge> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLarge { bytes: entry.len() })?;
    tile.extend_from_slice(&length.to_be_bytes());
    tile.extend_from_slice(entry);
    Ok(())
}

/// Returns the entries of a tile of entries. Returns `None` if the tile ends within an entry or has more than
/// [`TILE_WIDTH`] entries.
pub fn split_entries(mut tile: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !tile.is_empty() {
        if entries.len() == usize::from(TILE_WIDTH) {
            return None;
        }
        let (length, rest) = tile.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        tile = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_path_has_only_one_accepted_form() {
        for (path, kind, index, width) in [
            ("tile/0/000.p/5", TileKind::Hashes(0), 0, 5),
            ("tile/entries/000", TileKind::Entries, 0, 256),
            ("tile/2/x001/x234/067", TileKind::Hashes(2), 1_234_067, 256),
            ("tile/entries/x001/000.p/255", TileKind::Entries, 1000, 255),
            (
                "tile/63/x018/x446/x744/x073/x709/x551/615",
                TileKind::Hashes(63),
                u64::MAX,
                256,
            ),
        ] {
            let tile = TilePath::new(kind, index, width).expect(path);
            assert_eq!(
                (TilePath::parse(path), tile.to_string()),
                (Some(tile), path.to_owned())
            );
        }
        let bad = "tile/ tile/0 tile/0/ tile/0/0 tile/0/0000 tile/00/000 tile/+0/000 tile/64/000 \
                   tile/256/000 tile/0/x000/000 tile/0/001/000 tile/0/x001 tile/0/x001/x000 tile/0/000.p/0 \
                   tile/0/000.p/256 tile/0/000.p/05 tile/0/000.p/+5 tile/0/000.p/ tile/0/000.p/5/ \
                   /tile/0/000 tile/0/000/ tile/entry/000 tile/0/x018/x446/x744/x073/x709/x551/616 \
                   tile/0/../000 tile/0/000.p/5.p/5 tile/0/00a tile/0//000";
        for bad in bad.split(' ').chain([""]) {
            assert_eq!(TilePath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tile_returns_the_subtrees_that_it_contains() {
        let tile = |path: &str| TilePath::parse(path).expect(path);
        assert_eq!(tile("tile/1/002.p/3").subtrees(), Some((8, 512..515)));
        assert_eq!(tile("tile/8/000").subtrees(), None);
        assert_eq!(
            tile("tile/63/x018/x446/x744/x073/x709/x551/615").subtrees(),
            None
        );
        assert!(tile("tile/0/000.p/5").is_within(5));
        assert!(!tile("tile/0/000.p/6").is_within(5));
        assert!(tile("tile/1/000.p/1").is_within(256));
        assert!(!tile("tile/1/000.p/1").is_within(255));
    }

    #[test]
    fn an_entry_has_at_most_65535_bytes() {
        let mut tile = Vec::new();
        assert_eq!(push_entry(&mut tile, &[1; 65_535]), Ok(()));
        assert_eq!(
            push_entry(&mut tile, &[1; 65_536]),
            Err(EntryTooLarge { bytes: 65_536 })
        );
        assert_eq!(split_entries(&tile).map(|entries| entries.len()), Some(1));
        assert_eq!(split_entries(&tile[..65_536]), None);
        assert_eq!(split_entries(&[0]), None);
    }

    #[test]
    fn a_tile_has_at_most_256_entries() {
        assert_eq!(
            split_entries(&[0; 2 * 256]).map(|entries| entries.len()),
            Some(256)
        );
        assert_eq!(split_entries(&[0; 2 * 257]), None);
        assert_eq!(split_entries(&[0; 16 << 20]), None);
    }
}
