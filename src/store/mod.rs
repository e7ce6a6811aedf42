//! The store: what must survive, and in which order.
//!
//! [`ledger::Ledger`] is what the rest of the program sees: one writer thread that judges and commits in groups. Below it
//! is a backend, [`Store`] and [`StoreReads`]: today [`sqlite`]. Judgement (windows, replays, states) stands above the
//! backend, once; a backend keeps rows.

use std::ops::Range;
use std::sync::Arc;

use crate::crypto::digest::{AuthorizationDigest, Blake3Digest, BlobDigest, SealDigest};
use crate::crypto::merkle::Hash;
use crate::record::ident::{Name, Nonce, ProposalId};
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;
use crate::store::message::{
    AuthorizationCore, Leaf, LeafKind, NewProposal, NonceUse, OutputRow, PayloadSource, Proposal, ProposalPage,
    ProposalQuery, SealEntry, Signature, StatusDetail, StoredDenial, StoredStatus, Token, TokenChange, Unfinished,
};

pub mod care;
pub mod crash_points;
pub mod fault;
pub mod ledger;
pub mod lock;
pub mod message;
pub mod shared;
pub mod sqlite;
pub mod stored;
pub mod tree;
pub mod window;
mod writer;

/// The one connection that writes.
///
/// The contract, which every backend's tests hold:
/// - **One writer.** Only one `Store` of a database exists at a time, in whatever process; opening a second one fails.
/// - **Atomic.** What is written between [`begin`](Self::begin) and [`commit`](Self::commit) becomes visible and durable
///   together or not at all, also when the process is killed or the machine loses power in between.
/// - **Durable.** When `commit` returns `Ok`, the rows survive a power cut. When it returns an error nothing of them is
///   visible now; after one that [`StoreFault::is_fatal`] nothing is known, and the process must end without trying again.
/// - **Coarse.** Methods take whole batches, so that a networked backend needs one round trip each. Reads inside see the
///   writes before them.
/// - Keys that must be unique (a nonce, a leaf's index, a token's name) are so by the database's own constraint: a second
///   one is an error, although the writer asks before.
pub trait Store: Send {
    /// Begins the one transaction of a batch.
    ///
    /// # Errors
    /// When the database can't begin one.
    fn begin(&mut self) -> Result<(), StoreFault>;

    /// Makes the batch durable.
    ///
    /// # Errors
    /// See the contract.
    fn commit(&mut self) -> Result<(), StoreFault>;

    /// Forgets the batch.
    fn rollback(&mut self);

    /// Housekeeping after a batch was answered: moving the write-ahead log into the database.
    ///
    /// # Errors
    /// When a write or sync failed.
    fn maintain(&mut self) -> Result<(), StoreFault>;

    /// The last thing before an orderly end: everything that is durable stands in the database's own file.
    ///
    /// # Errors
    /// When a write or sync failed; nothing is lost by it.
    fn settle(&mut self) -> Result<(), StoreFault>;

    /// What is in force.
    ///
    /// # Errors
    /// When it can't be read.
    fn head(&mut self) -> Result<StoreHead, StoreFault>;

    /// Keeps what [`StoreHead`] has besides the log's own size and time.
    ///
    /// # Errors
    /// When it can't be written.
    fn set_head(&mut self, head: &StoreHead) -> Result<(), StoreFault>;

    /// Hashes of the leaves of `range`, as stored.
    ///
    /// # Errors
    /// When one is missing or can't be read.
    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, StoreFault>;

    /// A complete tile: 256 hashes.
    ///
    /// # Errors
    /// When it is missing or can't be read.
    fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, StoreFault>;

    /// What is known of each of these requests to run.
    ///
    /// # Errors
    /// When it can't be read.
    fn candidates(&mut self, requests: &[&AuthorizationCore]) -> Result<Vec<Candidate>, StoreFault>;

    /// Where each of these proposals stands.
    ///
    /// # Errors
    /// When it can't be read.
    fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<ProposalState>>, StoreFault>;

    /// Appends leaves from index `first` on, and the tiles that they complete.
    ///
    /// # Errors
    /// When an index is taken or it can't be written.
    fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), StoreFault>;

    /// Claims the nonces and marks the proposals as running.
    ///
    /// # Errors
    /// When a nonce is taken or it can't be written.
    fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), StoreFault>;

    /// Closes runs.
    ///
    /// # Errors
    /// When it can't be written.
    fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), StoreFault>;

    /// Keeps blobs; one that is there stays.
    ///
    /// # Errors
    /// When it can't be written.
    fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), StoreFault>;

    /// Notes that leaf `index` is a seal.
    ///
    /// # Errors
    /// When it can't be written.
    fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), StoreFault>;

    /// Adds and revokes tokens, or changes nothing and gives the name of the first whose change does not apply.
    ///
    /// # Errors
    /// When it can't be written.
    fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, StoreFault>;

    /// What there is already of a new proposal, and how many wait.
    ///
    /// # Errors
    /// When it can't be read.
    fn precedent(&mut self, new: &NewProposal) -> Result<ProposalPrecedent, StoreFault>;

    /// Keeps a new proposal, pending.
    ///
    /// # Errors
    /// When its id is taken or it can't be written.
    fn put_proposal(&mut self, new: &NewProposal) -> Result<(), StoreFault>;

    /// Adds signatures, one a key, in order of arrival, and gives all.
    ///
    /// # Errors
    /// When it can't be written.
    fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, StoreFault>;

    /// The leaf of this approver's denial, where there is one.
    ///
    /// # Errors
    /// When it can't be read.
    fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, StoreFault>;

    /// Keeps a denial; `ahead` when its authorization was not known before.
    ///
    /// # Errors
    /// When it can't be written.
    fn deny(
        &mut self,
        authorization: &AuthorizationDigest,
        denial: &StoredDenial,
        ahead: bool,
    ) -> Result<(), StoreFault>;

    /// How many denials came after `since` before their authorization was known.
    ///
    /// # Errors
    /// When it can't be read.
    fn denials_ahead(&mut self, approver: &Name, since: Timestamp) -> Result<DenialsAhead, StoreFault>;

    /// The proposal of this authorization that is not finished, where there is one.
    ///
    /// # Errors
    /// When it can't be read.
    fn unfinished_of(
        &mut self,
        authorization: &AuthorizationDigest,
    ) -> Result<Option<(ProposalId, ProposalState)>, StoreFault>;

    /// Moves a proposal that waits to another state.
    ///
    /// # Errors
    /// When it can't be written.
    fn advance(
        &mut self,
        proposal: &ProposalId,
        to: StoredStatus,
        at: Timestamp,
        detail: &StatusDetail,
    ) -> Result<(), StoreFault>;

    /// Marks as expired what waits and is overdue, at most `limit`.
    ///
    /// # Errors
    /// When it can't be written.
    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, StoreFault>;

    /// Marks a place in the batch: what is written from here on can be taken back by itself.
    ///
    /// # Errors
    /// When the database can't.
    fn save(&mut self) -> Result<(), StoreFault>;

    /// Forgets the place that was marked last: what was written since stays in the batch.
    ///
    /// # Errors
    /// When the database can't.
    fn keep(&mut self) -> Result<(), StoreFault>;

    /// Takes back what was written since the place that was marked last.
    ///
    /// # Errors
    /// When the database can't: then the whole batch is lost.
    fn undo(&mut self) -> Result<(), StoreFault>;

    /// Looks at `limit` outputs and `limit` proposals from `walk` on and deletes what ended before `cut`.
    ///
    /// Rows of finished proposals stay, they lead to receipts; so does which run recorded which output.
    ///
    /// # Errors
    /// When it can't be written.
    fn retire(&mut self, cut: RetentionCut, walk: RetentionWalk, limit: usize) -> Result<Retired, StoreFault>;

    /// Looks at `limit` nonces after `after` and deletes those that expired at or below `mark`.
    ///
    /// # Errors
    /// When it can't be written.
    fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<SweepResult, StoreFault>;

    /// Keeps checkpoints; gives the size of the first that has another root here already.
    ///
    /// # Errors
    /// When it can't be written.
    fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, StoreFault>;
}

/// Reads of committed state, from any thread, never through the writer.
///
/// Each call sees one committed state, and every batch that was answered before the call.
pub trait StoreReads: Send + Sync {
    /// One leaf.
    ///
    /// # Errors
    /// When it can't be read.
    fn leaf(&self, index: u64) -> Result<Option<Leaf>, StoreFault>;
    /// The data of the leaves of `range`, as far as there are.
    ///
    /// # Errors
    /// When it can't be read.
    fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreFault>;
    /// A complete tile, 256 hashes, where there is one.
    ///
    /// # Errors
    /// When it can't be read.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, StoreFault>;
    /// A blob.
    ///
    /// # Errors
    /// When it can't be read.
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreFault>;
    /// The data of refusals dated at or after `since`, the newest first, among the last `most` entries of the log.
    ///
    /// # Errors
    /// When it can't be read.
    fn refusals(&self, since: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreFault>;
    /// All seals, in order.
    ///
    /// # Errors
    /// When it can't be read.
    fn seals(&self) -> Result<Vec<SealEntry>, StoreFault>;
    /// The recorded checkpoint of the largest size, or of `size`.
    ///
    /// # Errors
    /// When it can't be read.
    fn checkpoint(&self, size: Option<u64>) -> Result<Option<CheckpointRow>, StoreFault>;
    /// The recorded checkpoint of the smallest size that covers this entry.
    ///
    /// # Errors
    /// When it can't be read.
    fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, StoreFault>;
    /// A proposal.
    ///
    /// # Errors
    /// When it can't be read.
    fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreFault>;
    /// The proposal of an authorization, unless it is finished: finished ones are found by id or nonce.
    ///
    /// # Errors
    /// When it can't be read.
    fn proposal_of(&self, authorization: &AuthorizationDigest) -> Result<Option<Proposal>, StoreFault>;
    /// Proposals, the newest first.
    ///
    /// # Errors
    /// When it can't be read.
    fn proposals(&self, filter: &ProposalQuery) -> Result<ProposalPage, StoreFault>;
    /// Where the bytes to sign stand.
    ///
    /// # Errors
    /// When it can't be read.
    fn payload(&self, id: &ProposalId) -> Result<Option<PayloadSource>, StoreFault>;
    /// A proposal's signatures, in order of arrival.
    ///
    /// # Errors
    /// When it can't be read.
    fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, StoreFault>;
    /// The denials of an authorization.
    ///
    /// # Errors
    /// When it can't be read.
    fn denials(&self, authorization: &AuthorizationDigest) -> Result<Vec<StoredDenial>, StoreFault>;
    /// Where a nonce was spent.
    ///
    /// # Errors
    /// When it can't be read.
    fn spent(&self, nonce: &Nonce) -> Result<Option<NonceUse>, StoreFault>;
    /// What was consumed and has no receipt, in order of consumption.
    ///
    /// # Errors
    /// When it can't be read.
    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreFault>;
    /// The proposals that were consumed and have no receipt.
    ///
    /// # Errors
    /// When it can't be read.
    fn running(&self) -> Result<Vec<ProposalId>, StoreFault>;
    /// Recorded bytes.
    ///
    /// # Errors
    /// When it can't be read.
    fn output(&self, name: &Blake3Digest) -> Result<Option<OutputRow>, StoreFault>;
    /// The runs that recorded these bytes, at most `limit`.
    ///
    /// # Errors
    /// When it can't be read.
    fn runs_with_output(&self, name: &Blake3Digest, limit: usize) -> Result<Vec<ProposalId>, StoreFault>;
    /// In which order a run wrote to its streams.
    ///
    /// # Errors
    /// When it can't be read.
    fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault>;
    /// All tokens ever, by name.
    ///
    /// # Errors
    /// When it can't be read.
    fn tokens(&self) -> Result<Vec<Token>, StoreFault>;
    /// The token whose secret has this SHA-256, revoked or not.
    ///
    /// # Errors
    /// When it can't be read.
    fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, StoreFault>;
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHead {
    /// Leaves in the log.
    pub size: u64,
    /// The latest time that a leaf states.
    pub last_at: Timestamp,
    /// Raised by whatever can change a verdict.
    pub version: u64,
    /// What expires at or below it is expired.
    pub mark: Timestamp,
    /// The boundary's id.
    pub boundary: Option<SealDigest>,
    /// The seal in force.
    pub seal: Option<SealDigest>,
    /// Names of exclusive locks, with who holds them.
    pub exclusive: Vec<(String, ProposalId)>,
}

/// What is known of a request to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where its nonce was spent.
    pub spent: Option<NonceUse>,
    /// Whether its authorization is denied.
    pub denied: bool,
    /// Its proposal's authorization and state, where the row is there.
    pub proposal: Option<(AuthorizationDigest, StoredStatus)>,
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalState {
    /// Its state.
    pub status: StoredStatus,
    /// Leaf and item of its consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf of its receipt.
    pub receipt: Option<u64>,
}

/// A leaf to append.
#[derive(Debug, Clone)]
pub struct LeafRow {
    /// What it is.
    pub kind: LeafKind,
    /// The latest time signed up to here.
    pub at: Timestamp,
    /// Its RFC 6962 hash.
    pub hash: Hash,
    /// Its bytes.
    pub data: Arc<[u8]>,
}

/// A tile that became complete.
#[derive(Debug, Clone)]
pub struct TileRow {
    /// Its level, counted in tiles.
    pub level: u8,
    /// Its index in the level.
    pub index: u64,
    /// 256 hashes.
    pub hashes: Vec<Hash>,
}

/// A run whose nonce is claimed.
#[derive(Debug)]
pub struct RunRow<'a> {
    /// Which proposal.
    pub core: &'a AuthorizationCore,
    /// Whether its row is there.
    pub known: bool,
    /// The consumption's time.
    pub at: Timestamp,
    /// The consumption's leaf.
    pub index: u64,
    /// Its item there.
    pub item: u32,
    /// The seal in force.
    pub seal: SealDigest,
    /// The exclusive lock that it takes.
    pub exclusive: Option<&'a str>,
    /// The envelope with the counted signatures.
    pub envelope: &'a [u8],
    /// What the receipt says of who decided.
    pub decision: &'a [u8],
}

/// A run that ended.
#[derive(Debug)]
pub struct FinishRow<'a> {
    /// Which proposal.
    pub proposal: &'a ProposalId,
    /// Leaf and item of its consumption.
    pub consumption: (u64, u32),
    /// Leaf of its receipt.
    pub receipt: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The outcome in short.
    pub detail: &'a StatusDetail,
    /// Recorded bytes.
    pub outputs: &'a [OutputRow],
    /// The order of the streams' pieces.
    pub order: Option<&'a [u8]>,
    /// Blobs that the receipt names.
    pub blobs: &'a [(BlobDigest, Vec<u8>)],
}

/// What there is already of a new proposal.
#[derive(Debug)]
pub struct ProposalPrecedent {
    /// The proposal with this id or, where the caller chose it, this nonce.
    pub taken: Option<Proposal>,
    /// One that waits for the same step with the same parameters by the same proposer.
    pub identical: Option<Proposal>,
    /// How many of this proposer are pending and not overdue.
    pub of_proposer: u64,
    /// How many of all are pending and not overdue.
    pub of_all: u64,
    /// How many of this proposer were cancelled or expired, were never signed, and are kept still.
    pub unsigned: u64,
    /// When the window of the first of those ends.
    pub unsigned_first: Option<Timestamp>,
}

/// Denials that came before their authorization was known: how many, and when the first of them came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialsAhead {
    /// Of one approver.
    pub of_approver: (u64, Option<Timestamp>),
    /// Of all.
    pub of_all: (u64, Option<Timestamp>),
}

/// What a sweep over nonces did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepResult {
    /// How many were deleted.
    pub deleted: usize,
    /// The last one that it looked at; none when there was no more.
    pub last: Option<Vec<u8>>,
}

/// What is old enough to go. All four are times by the low-water mark, so that no clock deletes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionCut {
    /// Outputs recorded at or before.
    pub outputs: Timestamp,
    /// Proposals ended at or before.
    pub proposals: Timestamp,
    /// Proposals that were cancelled or expired, were never signed, and whose window ended at or before.
    pub unsigned: Timestamp,
    /// The mark itself: a proposal that could still run by its window stays, whatever became of it.
    pub mark: Timestamp,
}

/// How far retention has walked through the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionWalk {
    /// The backend's own place among outputs; none where they were seen to their end.
    pub outputs: Option<u64>,
    /// The same among proposals.
    pub proposals: Option<[u8; 16]>,
}

/// What a round of retention did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    /// Rows that were deleted.
    pub deleted: usize,
    /// Outputs that were files: those are to be removed once this is durable.
    pub files: Vec<Blake3Digest>,
    /// Where to go on; from the beginning when all was seen.
    pub walk: RetentionWalk,
}

/// A signed head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The tree's size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The signed note.
    pub note: String,
}
