//! Seals: the request to append a seal, and the seals of the log.

use crate::{CheckedState, LeafRef, TokenChange};
use documents::{BlobDigest, SealDigest, Timestamp};

/// A seal to append to the log.
#[derive(Debug, Clone)]
pub struct SealWrite {
    /// Envelope of the seal, as canonical JSON.
    pub envelope: Vec<u8>,
    /// True if the seal ends a freeze.
    pub thaws: bool,
    /// True if the seal ends the epoch of the seal before it, so that all earlier approvals end.
    pub new_epoch: bool,
    /// Digest of the payload of the seal. The digest of the first seal becomes the id of the boundary.
    pub digest: SealDigest,
    /// State with which the seal was made. Its seal is the previous seal, or `None` for the first seal.
    pub checked: CheckedState,
    /// Time that the seal states.
    pub at: Timestamp,
    /// Blobs that the seal names by digest.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// Changes of tokens, after which the stored tokens match the seal.
    pub tokens: Vec<TokenChange>,
}

/// A seal that is now in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealStored {
    /// Leaf of the seal.
    pub leaf: LeafRef,
    /// State version that begins with this seal.
    pub version: u64,
}

/// A seal of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealEntry {
    /// Leaf index of the seal.
    pub index: u64,
    /// Digest of the seal's payload.
    pub digest: SealDigest,
}
