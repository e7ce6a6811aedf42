//! Source of the blobs, tiles and entries that an audit reads.

use documents::{BlobDigest, TilePath};

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);
