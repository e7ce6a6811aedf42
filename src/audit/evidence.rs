//! What an audit reads beside the log, and what it could not read.

use std::fmt;

use crate::crypto::digest::BlobDigest;
use crate::crypto::merkle::TilePath;

/// What lies beside the entries of a log.
pub trait EvidenceFiles {
    /// The blob of this digest; nothing when it is not there. Whether it is what its name says is checked by who asks.
    ///
    /// # Errors
    /// When it can't be known whether it is there: then nothing can be said about the log.
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable>;

    /// The stored tile of this path, to be compared; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be known.
    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Unreadable>;
}

/// The log can't be read on: nothing was found out about what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}
