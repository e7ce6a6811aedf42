//! Large outputs, uploaded files and cosignatures in the database of several nodes, so that each node has them.
//!
//! An object is written over a connection of its own, before a batch refers to it, so neither the writer nor its lock waits.
//! The name of an object is the digest of its bytes, so a second write of the same object changes nothing.

use std::io;
use std::ops::Range;

use documents::{Blake3Digest, ContentDigest, Name, Timestamp};

/// Receives bytes, piece by piece.
pub type TakeBytes<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Passes all bytes of an object to a function, piece by piece. A second call passes the same bytes.
pub type CopyBytes<'a> = &'a dyn Fn(TakeBytes<'_>) -> io::Result<()>;

/// The objects of a boundary. A boundary whose database is a file of this host has none: it keeps them in files.
///
/// Every method returns an error if the database cannot be read or written. Its kind is
/// [`StorageFull`](io::ErrorKind::StorageFull) or [`NotConnected`](io::ErrorKind::NotConnected) if a later attempt can succeed.
pub trait Objects: Send + Sync {
    /// Makes an object durable. Retention deletes an object that nothing refers to, an hour after its last write.
    fn keep(&self, name: &[u8; 32], copy: CopyBytes<'_>) -> io::Result<()>;

    /// Returns the bytes of an output in `range`, which must not end after the output.
    ///
    /// # Errors
    /// Returns an error if the bytes of the whole output do not match its name.
    fn output(&self, name: &Blake3Digest, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Returns the number of the uploaded files of a proposer, and of their bytes.
    fn uploaded(&self, proposer: &Name) -> io::Result<(usize, u64)>;

    /// Returns the size of an uploaded file of a proposer, or `None` if it is not stored.
    fn upload_size(&self, proposer: &Name, digest: &ContentDigest) -> io::Result<Option<u64>>;

    /// Notes that the proposer uploaded an object now.
    fn add_upload(&self, proposer: &Name, digest: &ContentDigest, bytes: u64) -> io::Result<()>;

    /// Passes the bytes of an uploaded file to `to`. The caller must compare their digest.
    fn copy_upload(&self, digest: &ContentDigest, to: TakeBytes<'_>) -> io::Result<()>;

    /// Deletes the notes about uploads before this time. Returns their number.
    fn retire_uploads(&self, before: Timestamp) -> io::Result<usize>;

    /// Returns the stored cosignatures, which the caller must verify.
    fn cosignatures(&self) -> io::Result<Vec<Cosignature>>;

    /// Stores a cosignature, and deletes the cosignatures of checkpoints with fewer entries than `oldest`.
    fn keep_cosignature(&self, cosignature: &Cosignature, oldest: u64) -> io::Result<()>;
}

/// The cosignature of a checkpoint by a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Number of entries of the checkpoint.
    pub size: u64,
    /// Verifier key of the witness.
    pub witness: String,
    /// The checkpoint with the signature of the boundary.
    pub note: String,
    /// The signature lines that the witness answered.
    pub lines: String,
}
