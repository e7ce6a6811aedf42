//! A batch between the writer and a backend: the questions, their answers, the writes and the result of the commit.

use crate::{
    AuthorizationCore, Candidate, CheckpointRow, DenialsAhead, EventRow, FinishRow, GrantClaim,
    LeafRow, NewProposal, ProposalPrecedent, ProposalState, ReviewRow, RunRow, Signature, SpentUse,
    StoreFault, StoreHead, StoredDenial, StoredGrant, StoredStatus, TileRow, ToldTarget,
};
use documents::{AuthorizationDigest, BlobDigest, Hash, Name, ProposalId, SealDigest, Timestamp};

/// What the writer must know before it checks the requests of a batch.
#[derive(Debug, Default)]
pub struct Questions<'a> {
    /// Requests to run.
    pub runs: Vec<&'a AuthorizationCore>,
    /// Proposals whose state is needed.
    pub proposals: Vec<&'a ProposalId>,
    /// New proposals.
    pub new: Vec<&'a NewProposal>,
    /// Proposals whose signatures are needed.
    pub signed: Vec<&'a ProposalId>,
    /// Denials.
    pub denials: Vec<DenialQuestion<'a>>,
    /// Uses of grants, one for each request to run under a grant.
    pub uses: Vec<&'a GrantClaim>,
}

/// A denial that arrived.
#[derive(Debug)]
pub struct DenialQuestion<'a> {
    /// The denied authorization.
    pub authorization: &'a AuthorizationDigest,
    /// The person who denied it.
    pub approver: &'a Name,
    /// Denials since this time are counted.
    pub since: Timestamp,
}

/// Answers to [`Questions`], each list in the order of its questions.
#[derive(Debug, Default)]
pub struct Answers {
    /// True if the store has a new connection, so that the writer must read the state again before it judges by these
    /// answers.
    pub is_new: bool,
    /// What other writers committed since the last batch of this store, or `None` if nothing.
    pub others: Option<OtherWrites>,
    /// Time of the database server, if it has a clock of its own.
    pub server_clock: Option<Timestamp>,
    /// Reason why no run may start now, for example after a restart of the database server.
    pub no_runs: Option<String>,
    /// Stored facts about each request to run.
    pub candidates: Vec<Candidate>,
    /// State of each proposal, or `None` if the proposal is not stored.
    pub states: Vec<Option<ProposalState>>,
    /// Existing proposals that matter for each new proposal.
    pub precedents: Vec<ProposalPrecedent>,
    /// Signatures of each proposal in their order of arrival.
    pub signatures: Vec<Vec<Signature>>,
    /// Stored facts about each denial.
    pub denials: Vec<DenialPrecedent>,
    /// The newest uses of each grant, the newest first: as many as [`GrantClaim::needed`] says.
    pub uses: Vec<Vec<SpentUse>>,
}

/// What other writers committed.
#[derive(Debug)]
pub struct OtherWrites {
    /// The state after their last batch.
    pub head: StoreHead,
    /// Hashes of the leaves that they appended.
    pub hashes: Vec<Hash>,
}

/// Stored facts about a denial.
#[derive(Debug)]
pub struct DenialPrecedent {
    /// Leaf of an earlier denial of the same authorization by the same approver.
    pub leaf: Option<u64>,
    /// The proposal of the authorization, unless the proposal is finished.
    pub unfinished: Option<(ProposalId, ProposalState)>,
    /// Earlier denials of authorizations that the boundary did not know.
    pub ahead: DenialsAhead,
}

/// All rows that a batch writes. A backend writes the lists in the order of the fields, because a later row can change an
/// earlier one.
#[derive(Debug, Default)]
pub struct Writes<'a> {
    /// Index of the first leaf.
    pub first: u64,
    /// Leaves to append.
    pub leaves: Vec<LeafRow>,
    /// Tiles that the leaves complete.
    pub tiles: Vec<TileRow>,
    /// Leaves that are seals.
    pub seals: Vec<(u64, SealDigest)>,
    /// True if a seal ends all earlier approvals.
    pub new_epoch: bool,
    /// Blobs. An existing blob stays.
    pub blobs: Vec<&'a (BlobDigest, Vec<u8>)>,
    /// New proposals with the status pending.
    pub proposals: Vec<&'a NewProposal>,
    /// Signatures of proposals.
    pub signatures: Vec<SignatureRow<'a>>,
    /// Denials.
    pub denials: Vec<DenialRow<'a>>,
    /// Changes of the status of proposals that do not run. A proposal can have several, in their order.
    pub steps: Vec<StepRow<'a>>,
    /// Runs that ended, with their outputs and blobs.
    pub ends: Vec<FinishRow<'a>>,
    /// Runs whose nonces are spent. A run can belong to a proposal of the same batch.
    pub starts: Vec<RunRow<'a>>,
    /// Reviews, with the runs that they close or settle.
    pub reviews: Vec<ReviewRow>,
    /// Grants. A grant with the same id gets the envelope and the leaf of the row.
    pub grants: Vec<StoredGrant>,
    /// Events, whose numbers follow the newest stored event.
    pub events: Vec<EventRow>,
    /// Targets of messages that got events.
    pub told: Vec<&'a ToldTarget>,
    /// Signed checkpoints. Another root at the same size is a fatal fault.
    pub checkpoints: &'a [CheckpointRow],
    /// The state of the boundary, if it changed. Size and time of the log are not stored.
    pub head: Option<StoreHead>,
}

impl Writes<'_> {
    /// Returns true if the batch writes no row.
    pub fn is_empty(&self) -> bool {
        // Each other list has a leaf for each of its rows.
        self.leaves.is_empty()
            && self.blobs.is_empty()
            && self.proposals.is_empty()
            && self.signatures.is_empty()
            && self.steps.is_empty()
            && self.events.is_empty()
            && self.grants.is_empty()
            && self.told.is_empty()
            && self.checkpoints.is_empty()
            && self.head.is_none()
    }
}

/// A signature to store.
#[derive(Debug)]
pub struct SignatureRow<'a> {
    /// The signed proposal.
    pub proposal: &'a ProposalId,
    /// Number of the earlier signatures of the proposal.
    pub number: usize,
    /// The signature.
    pub signature: &'a Signature,
}

/// A denial to store.
#[derive(Debug)]
pub struct DenialRow<'a> {
    /// The denied authorization.
    pub authorization: &'a AuthorizationDigest,
    /// Approver, leaf and time.
    pub denial: StoredDenial,
    /// True if the boundary did not know the authorization when the denial arrived.
    pub ahead: bool,
}

/// A change of a proposal's status, other than the start and the end of a run.
#[derive(Debug)]
pub struct StepRow<'a> {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// New status.
    pub to: StoredStatus,
    /// Time of the change.
    pub at: Timestamp,
    /// Details of the new status. It can be empty.
    pub detail: &'a [u8],
}

/// Result of a commit.
#[derive(Debug)]
pub enum Commit {
    /// The batch is durable. The value contains the hashes of its leaves, as the database stored them.
    Done(Vec<Hash>),
    /// Nothing of the batch is stored, and nothing of it will be.
    NotDone(StoreFault),
    /// Nobody knows yet whether the batch is durable. [`Store::settle`](crate::Store::settle) decides.
    Unknown,
}
