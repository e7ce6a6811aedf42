//! Large outputs, uploaded files and cosignatures in the database of several nodes, so that each node has them.
//!
//! An object is written over a connection of its own, before a batch refers to it, so neither the writer nor its lock waits.
//! The name of an object is the digest of its bytes, so a second write of the same object changes nothing.

use std::io;

/// Receives bytes, piece by piece.
pub type TakeBytes<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Passes all bytes of an object to a function, piece by piece. A second call passes the same bytes.
pub type CopyBytes<'a> = &'a dyn Fn(TakeBytes<'_>) -> io::Result<()>;

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
