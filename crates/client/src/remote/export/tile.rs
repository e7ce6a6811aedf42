//! One tile of leaves, with whole entries or only with hashes.

use crate::{CommandFailure, CommandResult, LogSource};
use documents::{Hash, TileKind, TilePath, leaf_hash, push_entry, split_entries};

/// A tile with exactly the number of leaves that its path requires.
#[derive(Debug)]
pub struct ExportTile {
    bytes: Vec<u8>,
    kind: TileKind,
    leaves: Vec<Hash>,
}

impl ExportTile {
    /// Parses a tile, or returns `None` if the bytes are not a valid tile for this path.
    pub(super) fn read(path: &TilePath, bytes: Vec<u8>) -> Option<Self> {
        let leaves: Vec<Hash> = match path.kind() {
            TileKind::Entries => split_entries(&bytes)?.into_iter().map(leaf_hash).collect(),
            TileKind::Hashes(_) => {
                let (hashes, rest) = bytes.as_chunks::<32>();
                rest.is_empty().then(|| hashes.to_vec())?
            }
        };
        let kind = path.kind();
        (leaves.len() == usize::from(path.width())).then_some(Self {
            bytes,
            kind,
            leaves,
        })
    }

    /// Fetches a tile of a log with `size` entries.
    pub(super) fn fetch(place: &LogSource, path: &TilePath, size: u64) -> CommandResult<Self> {
        let bytes = if path.kind() == TileKind::Entries {
            let mut bytes = Vec::new();
            for entry in place.entries(path.index(), size)? {
                push_entry(&mut bytes, &entry).map_err(CommandFailure::check_said_no)?;
            }
            bytes
        } else {
            place
                .tile(path)?
                .ok_or_else(|| CommandFailure::check_said_no(format!("{path} is missing there")))?
        };
        let width = path.width();
        Self::read(path, bytes).ok_or_else(|| {
            CommandFailure::check_said_no(format!(
                "{path} at the source is no tile of {width} leaves"
            ))
        })
    }

    /// Returns the bytes of the tile's file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the hashes of the leaves.
    pub(super) fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// Returns the entries. If the tile contains only hashes, the result is empty.
    pub(super) fn entries(&self) -> Vec<&[u8]> {
        match self.kind {
            TileKind::Entries => split_entries(&self.bytes).unwrap_or_default(),
            TileKind::Hashes(_) => Vec::new(),
        }
    }
}
