//! Rows that writer and backend exchange.

use std::sync::Arc;

use crate::{Consume, Finish, NonceUse, Proposal, ProposalStatus};
use documents::{
    AuthorizationDigest, ContentDigest, Hash, LeafKind, ProposalId, SealDigest, Timestamp,
};

/// Current state of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreHead {
    /// Number of leaves in the log.
    pub size: u64,
    /// The latest time that a leaf of the log states.
    pub last_at: Timestamp,
    /// State version, which each change that can alter a verdict increases.
    pub version: u64,
    /// The low-water mark.
    pub mark: Timestamp,
    /// Id of the boundary.
    pub boundary: Option<SealDigest>,
    /// Digest of the seal in force.
    pub seal: Option<SealDigest>,
    /// Names of exclusive locks, each with the run that holds the lock.
    pub exclusive: Vec<(String, ProposalId)>,
    /// Emergencies whose review is open.
    pub emergencies: Vec<ProposalId>,
}

/// Stored facts about one request to run.
#[derive(Debug)]
pub struct Candidate {
    /// The consumption that spent the nonce of the request.
    pub spent: Option<NonceUse>,
    /// True if the authorization is denied.
    pub denied: bool,
    /// The authorization and the status of the stored proposal.
    pub proposal: Option<(AuthorizationDigest, ProposalStatus)>,
}

/// The stored state of one proposal.
#[derive(Debug, Clone, Copy)]
pub struct ProposalState {
    /// Status of the proposal.
    pub status: ProposalStatus,
    /// Leaf index and item number of the consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf index of the receipt.
    pub receipt: Option<u64>,
}

/// A row of `leaf`: its index, its hash and its bytes, which are empty if the entry is packed.
pub struct EntryRow {
    /// Index of the leaf.
    pub index: u64,
    /// RFC 6962 hash of the leaf.
    pub hash: Hash,
    /// Bytes of the leaf.
    pub data: Vec<u8>,
}

/// A tile of 256 old log entries in a compressed form that the backend chooses.
pub struct PackedRow {
    /// Number of the tile.
    pub tile: u64,
    /// The compressed entries.
    pub data: Vec<u8>,
}

/// A leaf to append.
pub struct LeafRow {
    /// Kind of the leaf.
    pub kind: LeafKind,
    /// The latest time that this leaf or an earlier leaf states.
    pub at: Timestamp,
    /// RFC 6962 hash of the leaf.
    pub hash: Hash,
    /// Bytes of the leaf.
    pub data: Arc<[u8]>,
}

/// A tile that the current batch completed.
pub struct TileRow {
    /// Level in the tree, counted in tiles.
    pub level: u8,
    /// Index of the tile in its level.
    pub index: u64,
    /// The 256 hashes of the tile.
    pub hashes: Vec<Hash>,
}

/// A run whose nonce is spent in the current batch.
pub struct RunRow<'a> {
    /// The request to run.
    pub request: &'a Consume,
    /// True if the store has a row for the proposal.
    pub known: bool,
    /// Time of the consumption.
    pub at: Timestamp,
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// Leaf index of the authorization.
    pub authorization: u64,
    /// The grant and the number of its use.
    pub granted: Option<(&'a ContentDigest, u64)>,
}

/// A run that ended.
pub struct FinishRow<'a> {
    /// The end of the run.
    pub end: &'a Finish,
    /// Leaf index of the receipt.
    pub receipt: u64,
    /// True if the run needs a review.
    pub owed: bool,
}

/// Stored facts that can be the reason not to store a new proposal.
#[derive(Debug, Default)]
pub struct ProposalPrecedent {
    /// Proposal with the same id, or with the same nonce if the caller chose the nonce.
    pub taken: Option<Proposal>,
    /// The newest proposals of the same proposer, newest first.
    pub newest: Vec<Proposal>,
    /// Number of pending proposals of this proposer, without overdue proposals.
    pub of_proposer: u64,
    /// Number of all pending proposals, without overdue proposals.
    pub of_all: u64,
    /// Number of cancelled, refused or expired proposals of this proposer that have no signature.
    pub unsigned: u64,
    /// Earliest end of a window among these unsigned proposals.
    pub unsigned_first: Option<Timestamp>,
}

/// Counts of denials that arrived before the boundary knew their authorization. Each field contains the number of
/// denials and the time of the earliest denial.
#[derive(Debug)]
pub struct DenialsAhead {
    /// Denials of one approver.
    pub of_approver: (u64, Option<Timestamp>),
    /// Denials of all approvers.
    pub of_all: (u64, Option<Timestamp>),
}

/// A signed checkpoint of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRow {
    /// Size of the tree.
    pub size: u64,
    /// Root hash of the tree.
    pub root: Hash,
    /// The signed note (C2SP signed-note).
    pub note: String,
}
