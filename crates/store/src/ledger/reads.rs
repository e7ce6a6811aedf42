//! What the log and the tables contain, as callers of the ledger read it.

use std::{
    fs::File,
    io,
    ops::{Deref, Range},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

use crate::{
    CheckpointRow, Ledger, Objects, StoreFault, StoreReads, StoreResult, Token, tree::tile, waits,
};
use documents::{Blake3Digest, Hash, TilePath, locked, merkle};

/// A ledger also has the methods of its readers.
impl Deref for Ledger {
    type Target = StoreReads;

    fn deref(&self) -> &StoreReads {
        &self.shared.reads
    }
}

impl Ledger {
    /// Returns the readers of the store. Callers need this function for a method of the readers that has the same name
    /// as a method of the ledger.
    pub fn reads(&self) -> &StoreReads {
        self
    }

    /// Returns the origin of the log, or `None` before the first seal.
    pub fn origin(&self) -> Option<String> {
        self.shared.origin()
    }

    /// Returns the signed checkpoint of the current log, or `None` before the first seal.
    pub fn checkpoint(&self) -> StoreResult<Option<CheckpointRow>> {
        self.checkpoint_at(self.shared.published().head.size)
    }

    /// Returns the signed checkpoint of the log at `size`. The checkpoint depends only on the stored rows, so each call
    /// returns the same checkpoint. The next batch stores the checkpoint.
    pub fn checkpoint_at(&self, size: u64) -> StoreResult<Option<CheckpointRow>> {
        self.shared.checkpoint_at(size)
    }

    /// Returns the root hash of the tree at `size`, or `None` if the log is smaller.
    pub fn root_at(&self, size: u64) -> StoreResult<Option<Hash>> {
        self.shared.root_at(size)
    }

    /// Returns the inclusion proof of leaf `index` in the tree with `size` leaves.
    pub fn inclusion(&self, index: u64, size: u64) -> StoreResult<Option<Vec<Hash>>> {
        self.shared.with_tree(size, |tree| {
            merkle::inclusion_path(index, size, |level, at| tree.hash(level, at))
        })
    }

    /// Returns the consistency proof between the trees with `old` and with `size` leaves.
    pub fn consistency(&self, old: u64, size: u64) -> StoreResult<Option<Vec<Hash>>> {
        self.shared.with_tree(size, |tree| {
            merkle::consistency_path(old, size, |level, at| tree.hash(level, at))
        })
    }

    /// Returns the bytes of the log entries `256 * tile` to `256 * tile + 255`, as far as the log has them, or `None` if they
    /// do not match the tree. A start compares the tree with the checkpoint that this node keeps.
    pub fn proven_entries(&self, tile: u64) -> StoreResult<Option<Vec<Vec<u8>>>> {
        self.shared.with_tree(0, |tree| tree.bytes_of(tile))
    }

    /// Returns the bytes of a hash tile or an entry tile. `None` means that the log never had a tile of this width.
    pub fn tile(&self, path: &TilePath) -> StoreResult<Option<Vec<u8>>> {
        let published = self.shared.published();
        tile(
            &self.shared.reads,
            &published.edge,
            &self.shared.tiles,
            path,
        )
    }

    /// Returns the size of an output, or `None` if the output does not exist or was deleted.
    pub fn output_size(&self, name: &Blake3Digest) -> StoreResult<Option<u64>> {
        Ok(self.shared.reads.output(name)?.map(|row| row.bytes))
    }

    /// Returns the bytes of an output within `range`. A range beyond the end of the output is cut.
    pub fn output(&self, name: &Blake3Digest, range: Range<u64>) -> StoreResult<Option<Vec<u8>>> {
        let Some(row) = self.shared.reads.output(name)? else {
            return Ok(None);
        };
        let end = range.end.min(row.bytes);
        let start = range.start.min(end);
        let unreadable =
            |error: &dyn ToString| StoreFault::database("reading an output", error.to_string());
        let length = usize::try_from(end - start).map_err(|error| unreadable(&error))?;
        match (row.data, &self.shared.config.objects) {
            (Some(data), _) => {
                let start = usize::try_from(start).map_err(|error| unreadable(&error))?;
                Ok(data.get(start..start + length).map(<[u8]>::to_vec))
            }
            (None, Some(objects)) => {
                objects
                    .output(name, start..end)
                    .map(Some)
                    .map_err(|error| match error.kind() {
                        io::ErrorKind::NotConnected => waits(error),
                        _ => unreadable(&error),
                    })
            }
            (None, None) => {
                let path = self.output_path(name);
                let mut bytes = vec![0; length];
                File::open(&path)
                    .and_then(|file| file.read_exact_at(&mut bytes, start))
                    .map_err(|error| unreadable(&format!("{}: {error}", path.display())))?;
                Ok(Some(bytes))
            }
        }
    }

    /// Returns the path of an output that is too large for the database.
    pub fn output_path(&self, name: &Blake3Digest) -> PathBuf {
        let hex = name.hex();
        self.shared.config.outputs.join(&hex[..2]).join(hex)
    }

    /// Returns the large objects, if the database is on a server.
    pub fn objects(&self) -> Option<Arc<Objects>> {
        self.shared.config.objects.clone()
    }

    /// Returns all tokens by name, including revoked and expired tokens.
    ///
    /// They stay in memory until the version of the state changes. A new token changes the version, because it needs a
    /// new seal.
    pub fn tokens(&self) -> StoreResult<Arc<[Token]>> {
        // Read the version first, so that a later change is read again.
        let version = self.version();
        let mut kept = locked(&self.shared.tokens);
        match &*kept {
            Some((known, tokens)) if *known == version => Ok(tokens.clone()),
            _ => {
                let tokens: Arc<[Token]> = self.shared.reads.tokens()?.into();
                *kept = Some((version, tokens.clone()));
                Ok(tokens)
            }
        }
    }
}
