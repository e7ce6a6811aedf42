//! The store of a boundary.
//!
//! The rest of the program uses [`ledger::Ledger`]. Its writer thread checks requests and commits them in batches. A
//! backend (only [`sqlite`]) implements [`Store`] and [`StoreReads`] and stores the rows. The backend makes no
//! decisions, so each rule about windows, nonces and statuses has only one implementation.

use std::ops::Range;
use std::sync::Arc;

use crate::store::fault::StoreFault;
use crate::store::stored_denial::StoredDenial;
use crate::store::stored_leaf::Leaf;
use crate::store::stored_proposal::{
    AuthorizationCore, NewProposal, PayloadSource, Proposal, ProposalPage, ProposalQuery, RunQuery, Signature,
};
use crate::store::stored_run::{NonceUse, OutputRow, Unfinished};
use crate::store::stored_seal::SealEntry;
use crate::store::stored_status::{StatusDetail, StoredStatus};
use crate::store::stored_token::{Token, TokenChange};
use documents::crypto::digest::{AuthorizationDigest, Blake3Digest, BlobDigest, SealDigest};
use documents::crypto::merkle::Hash;
use documents::record::ident::{Name, Nonce, ProposalId};
use documents::record::kinds::LeafKind;
use documents::record::validity::Timestamp;

pub mod consume_window;
pub mod crash_points;
pub mod end_detail;
pub mod fault;
pub mod ledger;
pub mod lock;
mod open_nonces;
pub mod open_proposals;
pub mod retention;
pub mod shared;
pub mod sqlite;
pub mod store_report;
pub mod stored_denial;
pub mod stored_leaf;
pub mod stored_log;
pub mod stored_proposal;
pub mod stored_run;
pub mod stored_seal;
pub mod stored_status;
pub mod stored_token;
pub mod tree;
mod writer;

/// The only connection that writes to the database.
///
/// Every backend must meet this contract:
/// - **One writer.** Only one `Store` of a database is open at a time, in all processes together. A second open fails.
/// - **Atomic.** The writes between [`begin`](Self::begin) and [`commit`](Self::commit) become visible and durable
///   together. After a crash or a power cut, the database has either all writes of a batch or none of its writes.
/// - **Durable.** If `commit` returns `Ok`, the rows survive a power cut. If `commit` returns an error, the rows are
///   not visible. After an error with [`StoreFault::is_fatal`] the durable state is unknown, so the process must end without
///   another attempt.
/// - **Whole batches.** Each method takes a whole batch, so that a networked backend needs one round trip for each
///   call. A read inside a batch sees the earlier writes of the batch.
/// - **Unique keys.** A constraint of the database keeps nonces, leaf indexes and token names unique. A second row with
///   the same key is an error, even though the writer looks for the key before it writes the row.
///
/// Every method returns a [`StoreFault`] if the database cannot be read or written.
pub trait Store: Send {
    /// Begins the transaction of a batch.
    fn begin(&mut self) -> Result<(), StoreFault>;

    /// Makes the batch durable.
    fn commit(&mut self) -> Result<(), StoreFault>;

    /// Undoes the whole batch.
    fn rollback(&mut self);

    /// Moves the write-ahead log into the database file, after the answers to a batch.
    fn maintain(&mut self) -> Result<(), StoreFault>;

    /// Moves all durable data into the database file before a normal end of the process. A failure loses no data.
    fn settle(&mut self) -> Result<(), StoreFault>;

    /// Returns the stored state of the boundary.
    fn head(&mut self) -> Result<StoreHead, StoreFault>;

    /// Stores the fields of [`StoreHead`], except for the size and the time of the log.
    fn set_head(&mut self, head: &StoreHead) -> Result<(), StoreFault>;

    /// Returns the nonces that the log had spent when the store was opened and whose windows were open then, with the
    /// ends of the windows. A second call returns nothing.
    fn open_nonces(&mut self) -> Vec<(Nonce, Timestamp)>;

    /// Returns the stored hashes of the leaves in `range`.
    ///
    /// # Errors
    /// Returns a fault if a leaf of the range is missing.
    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, StoreFault>;

    /// Returns the 256 hashes of a complete tile.
    ///
    /// # Errors
    /// Returns a fault if the tile is missing.
    fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, StoreFault>;

    /// Returns the stored facts about each request to run.
    fn candidates(&mut self, requests: &[&AuthorizationCore]) -> Result<Vec<Candidate>, StoreFault>;

    /// Returns the state of each proposal.
    fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<ProposalState>>, StoreFault>;

    /// Appends leaves from index `first` on, and the tiles that they complete.
    ///
    /// # Errors
    /// Returns a fault if an index already has a leaf.
    fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), StoreFault>;

    /// Spends the nonces and marks the proposals as running.
    ///
    /// # Errors
    /// Returns a fault if a nonce is already spent.
    fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), StoreFault>;

    /// Marks proposals as finished, and stores the outputs and the blobs of their runs.
    fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), StoreFault>;

    /// Stores blobs. The function does not change an existing blob.
    fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), StoreFault>;

    /// Records that leaf `index` is a seal.
    fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), StoreFault>;

    /// Adds and revokes tokens. If one change is impossible, no token is changed, and the name of its token is
    /// returned.
    fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, StoreFault>;

    /// Returns the existing proposals that have the id, the nonce or the content of a new proposal. Also counts pending
    /// and unsigned proposals.
    fn precedent(&mut self, new: &NewProposal) -> Result<ProposalPrecedent, StoreFault>;

    /// Stores a new proposal with the status pending.
    ///
    /// # Errors
    /// Returns a fault if the id of the proposal exists already.
    fn put_proposal(&mut self, new: &NewProposal) -> Result<(), StoreFault>;

    /// Stores signatures in their order of arrival, at most one for each key. Returns all signatures of the proposal.
    fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, StoreFault>;

    /// Returns the leaf of this approver's denial.
    fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, StoreFault>;

    /// Stores a denial. `ahead` is true if the boundary did not know the authorization when the denial arrived.
    fn deny(
        &mut self,
        authorization: &AuthorizationDigest,
        denial: &StoredDenial,
        ahead: bool,
    ) -> Result<(), StoreFault>;

    /// Counts the denials since `since` that arrived before the boundary knew their authorization.
    fn denials_ahead(&mut self, approver: &Name, since: Timestamp) -> Result<DenialsAhead, StoreFault>;

    /// Returns the proposal of this authorization, unless the proposal is finished.
    fn unfinished_of(
        &mut self,
        authorization: &AuthorizationDigest,
    ) -> Result<Option<(ProposalId, ProposalState)>, StoreFault>;

    /// Changes the status of a proposal that is not running.
    fn advance(
        &mut self,
        proposal: &ProposalId,
        to: StoredStatus,
        at: Timestamp,
        detail: &StatusDetail,
    ) -> Result<(), StoreFault>;

    /// Marks at most `limit` overdue proposals as expired.
    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, StoreFault>;

    /// Sets a savepoint in the batch.
    fn save(&mut self) -> Result<(), StoreFault>;

    /// Releases the last savepoint and keeps the writes since then in the batch.
    fn keep(&mut self) -> Result<(), StoreFault>;

    /// Undoes the writes of the batch since the last savepoint.
    ///
    /// # Errors
    /// Returns an error if the undo fails. The whole batch is then lost.
    fn undo(&mut self) -> Result<(), StoreFault>;

    /// Examines `limit` outputs and `limit` proposals from `walk` on, and deletes the rows whose retention has ended
    /// according to `cut`.
    ///
    /// Rows of finished proposals stay, because they lead to receipts. The rows that connect runs with outputs stay
    /// too.
    fn retire(&mut self, cut: RetentionCut, walk: RetentionWalk, limit: usize) -> Result<Retired, StoreFault>;

    /// Examines `limit` nonces after `after` and deletes the nonces that expired at or before `mark`.
    fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<SweepResult, StoreFault>;

    /// Stores checkpoints. Returns the size of the first checkpoint that is already stored with another root.
    fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, StoreFault>;
}

/// Reads committed data from any thread, without the writer.
///
/// Each call sees one committed state, which includes every batch that was answered before the call.
///
/// Every method returns a [`StoreFault`] if the database cannot be read.
pub trait StoreReads: Send + Sync {
    /// Returns one leaf.
    fn leaf(&self, index: u64) -> Result<Option<Leaf>, StoreFault>;
    /// Returns the data of the leaves in `range`. Indexes past the end of the log are ignored.
    fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreFault>;
    /// Returns the 256 hashes of a complete tile.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, StoreFault>;
    /// Returns the bytes of a blob.
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreFault>;
    /// Returns the refusals dated at or after `since`, the newest first. The search covers the last `most` entries of
    /// the log.
    fn refusals(&self, since: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreFault>;
    /// Returns all seals in their order in the log.
    fn seals(&self) -> Result<Vec<SealEntry>, StoreFault>;
    /// Returns the recorded checkpoint at `size`, or the largest recorded checkpoint if `size` is `None`.
    fn checkpoint(&self, size: Option<u64>) -> Result<Option<CheckpointRow>, StoreFault>;
    /// Returns the smallest recorded checkpoint that covers the entry `index`.
    fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, StoreFault>;
    /// Returns a proposal.
    fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreFault>;
    /// Returns a page of proposals, the newest first.
    fn proposals(&self, filter: &ProposalQuery) -> Result<ProposalPage, StoreFault>;
    /// Returns finished runs by their outcome, the newest first. The time of this search does not depend on other runs.
    fn runs(&self, query: &RunQuery) -> Result<Vec<Proposal>, StoreFault>;
    /// Returns the document that contains the payload of a proposal.
    fn payload(&self, id: &ProposalId) -> Result<Option<PayloadSource>, StoreFault>;
    /// Returns the signatures of a proposal in their order of arrival.
    fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, StoreFault>;
    /// Returns the denials of an authorization.
    fn denials(&self, authorization: &AuthorizationDigest) -> Result<Vec<StoredDenial>, StoreFault>;
    /// Returns the consumption that spent a nonce.
    fn spent(&self, nonce: &Nonce) -> Result<Option<NonceUse>, StoreFault>;
    /// Returns the runs that have a consumption and no receipt, in the order of consumption.
    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreFault>;
    /// Returns a recorded output.
    fn output(&self, name: &Blake3Digest) -> Result<Option<OutputRow>, StoreFault>;
    /// Returns at most `limit` runs that recorded this output.
    fn runs_with_output(&self, name: &Blake3Digest, limit: usize) -> Result<Vec<ProposalId>, StoreFault>;
    /// Returns the order in which a run wrote to stdout and stderr.
    fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault>;
    /// Returns all tokens by name, including revoked and expired tokens.
    fn tokens(&self) -> Result<Vec<Token>, StoreFault>;
    /// Returns the token whose secret has this SHA-256 digest, including a revoked token.
    fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, StoreFault>;
    /// Returns the size of the database on the disk, in bytes.
    fn bytes(&self) -> Result<u64, StoreFault>;
}

/// Current state of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Stored facts about one request to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The consumption that spent the nonce of the request.
    pub spent: Option<NonceUse>,
    /// True if the authorization is denied.
    pub denied: bool,
    /// The authorization and the status of the stored proposal.
    pub proposal: Option<(AuthorizationDigest, StoredStatus)>,
}

/// The stored state of one proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalState {
    /// Status of the proposal.
    pub status: StoredStatus,
    /// Leaf index and item number of the consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf index of the receipt.
    pub receipt: Option<u64>,
}

/// A leaf to append.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct TileRow {
    /// Level in the tree, counted in tiles.
    pub level: u8,
    /// Index of the tile in its level.
    pub index: u64,
    /// The 256 hashes of the tile.
    pub hashes: Vec<Hash>,
}

/// A run whose nonce is spent in the current batch.
#[derive(Debug)]
pub struct RunRow<'a> {
    /// Fields of the authorization.
    pub core: &'a AuthorizationCore,
    /// True if the store has a row for the proposal.
    pub known: bool,
    /// Time of the consumption.
    pub at: Timestamp,
    /// Leaf index of the consumption.
    pub index: u64,
    /// Item number in the consumption.
    pub item: u32,
    /// The seal in force.
    pub seal: SealDigest,
    /// Name of the exclusive lock that the run takes.
    pub exclusive: Option<&'a str>,
    /// Envelope with the counted signatures.
    pub envelope: &'a [u8],
    /// The approval decision for the receipt.
    pub decision: &'a [u8],
}

/// A run that ended.
#[derive(Debug)]
pub struct FinishRow<'a> {
    /// Id of the proposal.
    pub proposal: &'a ProposalId,
    /// Leaf index and item number of the consumption.
    pub consumption: (u64, u32),
    /// Leaf index of the receipt.
    pub receipt: u64,
    /// Time at which the run ended.
    pub at: Timestamp,
    /// Summary of the outcome.
    pub detail: &'a StatusDetail,
    /// Recorded outputs.
    pub outputs: &'a [OutputRow],
    /// The order in which the run wrote to stdout and stderr.
    pub order: Option<&'a [u8]>,
    /// Blobs that the receipt names.
    pub blobs: &'a [(BlobDigest, Vec<u8>)],
}

/// Existing proposals that can be the reason not to store a new proposal.
#[derive(Debug)]
pub struct ProposalPrecedent {
    /// Proposal with the same id, or with the same nonce if the caller chose the nonce.
    pub taken: Option<Proposal>,
    /// A pending proposal of the same proposer for the same step and parameters.
    pub identical: Option<Proposal>,
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
/// denials and the time of the earliest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialsAhead {
    /// Denials of one approver.
    pub of_approver: (u64, Option<Timestamp>),
    /// Denials of all approvers.
    pub of_all: (u64, Option<Timestamp>),
}

/// Result of a search for expired nonces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepResult {
    /// Number of deleted nonces.
    pub deleted: usize,
    /// The last examined nonce, or `None` at the end of the table.
    pub last: Option<Vec<u8>>,
}

/// Times for the deletion of rows after their retention. All are calculated from the low-water mark, so that a wrong
/// clock cannot delete anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionCut {
    /// Outputs that were recorded at or before this time are deleted.
    pub outputs: Timestamp,
    /// Proposals that ended at or before this time are deleted.
    pub proposals: Timestamp,
    /// Unsigned proposals that were cancelled, refused or expired are deleted if their window ended at or before this time.
    pub unsigned: Timestamp,
    /// Low-water mark. No proposal with a later end of its window is deleted.
    pub mark: Timestamp,
}

/// Position of the retention in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionWalk {
    /// Position among the outputs, in a form that the backend chooses, or `None` for the beginning.
    pub outputs: Option<u64>,
    /// Position among the proposals, or `None` for the beginning.
    pub proposals: Option<[u8; 16]>,
    /// Unsigned proposals whose window ended at or before this time are deleted already.
    pub unsigned: Option<Timestamp>,
}

/// Result of one call of the retention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    /// Number of deleted rows.
    pub deleted: usize,
    /// Deleted outputs that are files. The caller removes the files after the commit.
    pub files: Vec<Blake3Digest>,
    /// Position at which the next call continues.
    pub walk: RetentionWalk,
}

/// A signed checkpoint of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Size of the tree.
    pub size: u64,
    /// Root hash of the tree.
    pub root: Hash,
    /// The signed note (C2SP signed-note).
    pub note: String,
}
