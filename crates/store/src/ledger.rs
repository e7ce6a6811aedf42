//! The ledger: the interface of the store for the rest of the program.
//!
//! One writer thread handles all writes. A write is durable when the caller gets its answer. Reads use separate
//! connections.
mod reads;

use std::{ops::Deref, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    AdvanceStop, Asked, CheckedState, CheckpointRow, Consume, ConsumeStop, DenialResult,
    DenialWrite, Finish, FinishStop, GrantWrite, IdTokenUse, LeafRef, LedgerConfig, Metrics,
    NewProposal, OpenProposals, ProposalStatus, ProposalStep, ProposeResult, PruneResult,
    PublishedState, Retention, Retired, ReviewWrite, RevocationResult, RevocationWrite, SealWrite,
    SharedState, Signature, SpentNonce, Store, StoreFault, StoreHead, StoreReads, StoreResult,
    StoredGrant, StoredRevocation, Subtrees, Telling, TreeEdge, WriteStop, Writer, WriterMessage,
    batch_questions::OpenProposalCounts, check_state, read_revocations, refused,
    writer::messages::BoxedMessage,
};
use documents::{ProposalId, Timestamp, locked, merkle};

/// Capacity of the writer's queue. A sender waits if the queue is full.
const QUEUE: usize = 1024;

/// Maximum number of seconds by which the clock may be behind the log. If the clock is farther behind, the boundary is
/// not ready.
const MOST_BEHIND_S: i64 = 60;

/// A handle to the store. The handle can be cloned.
///
/// Every method returns a [`StoreFault`] if the store cannot be read or written.
#[derive(Clone)]
pub struct Ledger {
    inbox: mpsc::Sender<WriterMessage>,
    shared: Arc<SharedState>,
}

/// The only value that can spend nonces. An opened store has exactly one such value: [`Ledger::open`] is the only
/// constructor, and the type can't be cloned.
#[must_use]
pub struct Spender(Ledger);

impl Spender {
    /// Spends a nonce. After `Ok`, the spent nonce and the consumption are durable.
    ///
    /// # Errors
    /// Returns the reason why the nonce was not spent. After a [`StoreFault`], the nonce may be spent or not, so the
    /// caller must look up the nonce before another attempt.
    pub async fn consume(&self, consume: Consume) -> Result<SpentNonce, ConsumeStop> {
        self.0.ask(WriterMessage::Consume, consume).await
    }

    /// Returns the ledger of the store, which can do everything except spend a nonce.
    pub fn ledger(&self) -> Ledger {
        self.0.clone()
    }
}

impl Deref for Spender {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

impl Ledger {
    /// Starts the writer for an open store, after comparing the Merkle tree with the last recorded checkpoint, and the
    /// newest entries with the tree and the rows.
    ///
    /// # Errors
    /// Returns a fault if the log cannot be read, if it does not match its own checkpoint, or if the newest entries were
    /// changed.
    pub fn open(
        mut store: Box<dyn Store>,
        reads: Arc<StoreReads>,
        config: LedgerConfig,
    ) -> StoreResult<Spender> {
        let head = store.head()?;
        let edge = TreeEdge::load(&mut *store, head.size)?;
        let revoked = read_revocations(&reads)?;
        let published = PublishedState {
            head: StoreHead {
                exclusive: Vec::new(),
                emergencies: Vec::new(),
                ..head.clone()
            },
            edge: Arc::new(edge.clone()),
            revoked,
        };
        let mut shared = SharedState::new(reads, config.clone(), published, None);
        // The counter of each status exists from the start on.
        for status in ProposalStatus::ALL {
            config.metrics.proposals(status.word(), 0);
        }
        let open = OpenProposals::read(&shared.reads)?;
        open.check(&shared.reads)?;
        *locked(&shared.open_proposals) = open;
        shared.reach(&head);
        // If the clock is behind now, somebody may correct it later. The correction must not count as a leap ahead.
        shared.opened.0 = shared.now();
        let shared = Arc::new(shared);
        let (inbox, outbox) = mpsc::channel(QUEUE);
        let ledger = Self {
            inbox,
            shared: Arc::clone(&shared),
        };
        let tree = Subtrees::new(&edge, &shared.reads, &shared.tiles);
        let closed = check_state(&head, &tree, &shared.reads, &shared.published().revoked)?;
        let writer = Writer::new(store, outbox, shared, config, head, edge, closed);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.work())
            .map_err(|error| {
                refused(format!(
                    "can't start the writer thread of the store: {error}"
                ))
            })?;
        Ok(Spender(ledger))
    }

    /// Opens a store that has no writer, such as a backup or a closed log. Every write returns [`StoreFault::Closed`].
    ///
    /// `note` is the checkpoint that was signed when the log was closed. Without `note`, the ledger signs a checkpoint
    /// when a caller asks for one.
    ///
    /// # Errors
    /// Returns a fault if the log cannot be read or does not match the checkpoint.
    pub fn at_rest(
        reads: Arc<StoreReads>,
        head: StoreHead,
        config: LedgerConfig,
        note: Option<CheckpointRow>,
    ) -> StoreResult<Self> {
        let published = PublishedState {
            edge: Arc::new(TreeEdge::read(&reads, head.size)?),
            head,
            revoked: read_revocations(&reads)?,
        };
        let shared = SharedState::new(reads, config, published, note.clone());
        let ledger = Self {
            inbox: mpsc::channel(1).0,
            shared: Arc::new(shared),
        };
        match note {
            Some(note) if ledger.root_at(note.size)? != Some(note.root) => Err(refused(format!(
                "the log does not match the checkpoint of {} entries that is stored next to the database",
                note.size
            ))),
            _ => Ok(ledger),
        }
    }

    /// Announces that the caller will soon send a request, until the returned value is dropped. The writer then lets the
    /// other announced callers run before it commits a single request, so that their requests share the commit.
    pub fn announce(&self) -> Arc<()> {
        self.shared.announced.clone()
    }

    async fn ask<M, T, E: From<StoreFault>>(
        &self,
        to: impl FnOnce(BoxedMessage<M, T, E>) -> WriterMessage,
        message: M,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        self.inbox
            .send(to(Box::new(Asked::new(message, answer))))
            .await
            .map_err(|_| StoreFault::Closed)?;
        answered.await.map_err(|_| StoreFault::Closed)?
    }

    /// Puts a seal in force, with its blobs and its token changes. The first seal creates the boundary.
    ///
    /// # Errors
    /// Returns an error if another seal or a revocation was stored first, if a new token's name is in use, or if the date of the seal
    /// is earlier than the date of the last leaf.
    pub async fn seal(&self, seal: SealWrite) -> Result<LeafRef, WriteStop> {
        self.ask(WriterMessage::Seal, seal).await
    }

    /// Stores the receipt of a run.
    ///
    /// # Errors
    /// Returns an error if the proposal is not running or already has a receipt.
    pub async fn finish(&self, finish: Finish) -> Result<LeafRef, FinishStop> {
        let hash = merkle::leaf_hash(&finish.receipt);
        self.ask(WriterMessage::Finish, (finish, hash)).await
    }

    /// Stores a new proposal, unless the same proposal exists or the store has too many proposals.
    pub async fn propose(&self, new: NewProposal) -> StoreResult<ProposeResult> {
        self.ask(WriterMessage::Propose, new).await
    }

    /// Stores verified signatures. Returns all signatures of the proposal in their order of arrival. If a key signed
    /// twice, only its first signature is stored.
    ///
    /// # Errors
    /// Returns an error if the proposal is unknown or not pending.
    pub async fn sign(
        &self,
        proposal: &ProposalId,
        signatures: Vec<Signature>,
    ) -> Result<Vec<Signature>, AdvanceStop> {
        self.ask(WriterMessage::Sign, (proposal.clone(), signatures, true))
            .await
    }

    /// Stores the signature of a grantee. This signature makes no event, because the use of a grant needs no decision
    /// of a person.
    ///
    /// # Errors
    /// Returns the errors of [`Self::sign`].
    pub async fn sign_use(
        &self,
        proposal: &ProposalId,
        signature: Signature,
    ) -> Result<Vec<Signature>, AdvanceStop> {
        self.ask(
            WriterMessage::Sign,
            (proposal.clone(), vec![signature], false),
        )
        .await
    }

    /// Appends a denial to the log. The denied authorization can never run, even if the boundary receives it after the
    /// denial.
    ///
    /// # Errors
    /// Returns an error if the denial is too large, if too many denials of unknown authorizations arrived, if the log has
    /// no seal, or if the seal in force or the revocations changed after the check.
    pub async fn deny(&self, denial: DenialWrite) -> Result<DenialResult, WriteStop> {
        self.ask(WriterMessage::Deny, denial).await
    }

    /// Appends a revocation to the log, unless the log already has a revocation of the same subject.
    ///
    /// # Errors
    /// Returns an error if the revocation is too large, if the log has no seal, or if the seal in force or the revocations
    /// changed after the check.
    pub async fn revoke(&self, revocation: RevocationWrite) -> Result<RevocationResult, WriteStop> {
        self.ask(WriterMessage::Revoke, revocation).await
    }

    /// Appends a review to the log, and closes the emergency or settles the run if the review says so. Callers must store
    /// the reviews of one run one after the other, because the writer does not count people.
    ///
    /// # Errors
    /// Returns an error if the review is too large, if the log has no seal, or if the seal in force or the revocations
    /// changed after the check.
    pub async fn review(&self, review: ReviewWrite) -> Result<LeafRef, WriteStop> {
        self.ask(WriterMessage::Review, review).await
    }

    /// Changes the status of a proposal. Returns the previous status.
    ///
    /// # Errors
    /// Returns an error if the proposal is unknown or if its status does not allow the change.
    pub async fn advance(&self, advance: ProposalStep) -> Result<ProposalStatus, AdvanceStop> {
        self.ask(WriterMessage::Advance, advance).await
    }

    /// Appends a refusal to the log. `at` must be the time that the refusal states.
    ///
    /// # Errors
    /// Returns an error if the refusal is too large, if the log has no seal, or if the date of the refusal is earlier
    /// than the date of the last leaf.
    pub async fn refuse(&self, envelope: Vec<u8>, at: Timestamp) -> Result<LeafRef, WriteStop> {
        self.ask(WriterMessage::Refuse, (envelope.into(), at)).await
    }

    /// Stores a draft of a grant with its signatures, or logs a grant. Returns the stored grant.
    ///
    /// # Errors
    /// Returns the reason why nothing is stored.
    pub async fn put_grant(&self, write: GrantWrite) -> Result<StoredGrant, WriteStop> {
        self.ask(WriterMessage::Grant, write).await
    }

    /// Records the last event that each target of messages got.
    pub async fn tell(&self, telling: Telling) -> StoreResult {
        self.ask(WriterMessage::Tell, telling).await
    }

    /// Notes that an ID token was used. Returns false if the ID token was used before.
    pub async fn admit(&self, used: IdTokenUse) -> StoreResult<bool> {
        self.ask(WriterMessage::Admit, used).await
    }

    /// Returns a receiver that wakes after each batch that adds events.
    pub fn event_news(&self) -> watch::Receiver<u64> {
        self.shared.events.subscribe()
    }

    /// Marks some proposals that are overdue at `now` as expired. Callers repeat the call until no proposal is marked.
    pub async fn expire(&self, now: Timestamp) -> StoreResult<Vec<ProposalId>> {
        self.ask(WriterMessage::Expire, now).await
    }

    /// Raises the low-water mark, and deletes those of the next `limit` nonces that expired at or before the mark.
    ///
    /// A limit of 1000 or 2000 does not delay runs noticeably.
    pub async fn prune(&self, limit: usize) -> StoreResult<PruneResult> {
        self.ask(WriterMessage::Prune, limit).await
    }

    /// Examines `limit` outputs and `limit` proposals, and deletes the rows whose retention has ended. The caller must
    /// then remove the files that the result names, and call again until nothing is deleted.
    pub async fn retire(&self, retention: Retention, limit: usize) -> StoreResult<Retired> {
        self.ask(WriterMessage::Retire, (retention, limit)).await
    }

    /// Packs the next 256 log entries if all are older than `age_s` seconds. Returns false if no such entries are left.
    ///
    /// Like the age of other rows, the age of an entry is calculated from the earlier of the low-water mark and the clock.
    pub async fn pack(&self, age_s: i64) -> StoreResult<bool> {
        let mark = self
            .shared
            .published()
            .head
            .mark
            .min((self.shared.config.clock)());
        let reads = Arc::clone(&self.shared.reads);
        // A compression takes longer than a batch, so it runs on another thread than the writer.
        let found = tokio::task::spawn_blocking(move || reads.packable(mark.plus(-age_s))).await;
        let unfinished =
            |error: tokio::task::JoinError| StoreFault::database("packing old log entries", error);
        match found.map_err(unfinished)?? {
            // After a crash before or during the commit, the rows of the entries still have their bytes.
            Some(packed) => self.ask(WriterMessage::Pack, packed).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Waits until the writer has handled the requests that were queued before this call. Also records a signed
    /// checkpoint that waits for the next batch.
    pub async fn ping(&self) -> StoreResult {
        self.ask(WriterMessage::Ping, ()).await
    }

    /// Ends the writer after the queued requests and releases the store.
    ///
    /// The last checkpoint is signed and recorded first, so that the next start can use another key.
    ///
    /// # Errors
    /// Returns a fault if the writer had already ended or if the checkpoint could not be signed.
    pub async fn close(&self) -> StoreResult {
        let head = self.checkpoint();
        self.ask(WriterMessage::Close, ()).await?;
        head.map(drop)
    }

    /// Returns the state of the log after the last finished batch.
    pub fn state(&self) -> StoreHead {
        self.shared.published().head.clone()
    }

    /// Returns the version of the state after the last finished batch.
    pub fn version(&self) -> u64 {
        self.shared.published().head.version
    }

    /// Returns the revocations of the log after the last finished batch, in the order of the log.
    pub fn revocations(&self) -> Arc<Vec<StoredRevocation>> {
        self.shared.published().revoked.clone()
    }

    /// Returns the newest seal and the number of revocations. A service that checks a document must name the seal with
    /// which it made the check, because the newest seal is in the log a moment before that seal is in force.
    pub fn checked_state(&self) -> CheckedState {
        let published = self.shared.published();
        CheckedState {
            seal: published.head.seal,
            revocations: published.revoked.len(),
        }
    }

    /// Returns true if the boundary has several nodes.
    pub fn has_nodes(&self) -> bool {
        self.shared.config.keep_head.is_some()
    }

    /// Returns the current time, but never a time before the last leaf. Signed documents must state this time.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Returns the counters of the service.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.config.metrics
    }

    /// Returns the numbers of proposals that have not ended, without a query.
    pub fn open_proposals(&self) -> OpenProposalCounts {
        locked(&self.shared.open_proposals).counts()
    }

    /// Returns true if the proposal has enough signatures and waits to run, without a query.
    pub fn waits_to_run(&self, id: &ProposalId) -> bool {
        locked(&self.shared.open_proposals).waits_to_run(id)
    }

    /// Returns the proposals that wait for signatures or for their run, without a query.
    pub fn waiting_proposals(&self) -> Vec<ProposalId> {
        locked(&self.shared.open_proposals).waiting()
    }

    /// Returns the proposals whose nonce is spent and whose receipt is not stored, without a query.
    pub fn running_proposals(&self) -> Vec<ProposalId> {
        locked(&self.shared.open_proposals).running()
    }

    /// Returns the seconds by which the system clock is ahead of the time since the start of the service. A negative
    /// number means that the clock is behind.
    pub fn clock_ahead_s(&self) -> i64 {
        self.shared.ahead_s((self.shared.config.clock)())
    }

    /// Returns a message for callers if the system clock jumped ahead.
    pub fn clock_ahead(&self) -> Option<String> {
        let seconds = self.shared.clock_ahead((self.shared.config.clock)())?;
        Some(WriteStop::ClockAhead { seconds }.to_string())
    }

    /// Returns a message for an operator if no run can start, or if the system clock jumped ahead, is behind the log or
    /// the low-water mark, or differs from the clock of the database server. The boundary is not ready while there is
    /// such a message.
    pub fn clock_trouble(&self) -> Option<String> {
        if let Some(ahead) = self.clock_ahead() {
            return Some(ahead);
        }
        if let Some(why) = self.shared.no_runs() {
            return Some(format!("no run starts now: {why}"));
        }
        if let Some(seconds) = self.shared.clocks_differ() {
            return Some(ConsumeStop::ClocksDiffer { seconds }.to_string());
        }
        let clock = (self.shared.config.clock)();
        let behind = |time: Timestamp| time.unix().saturating_sub(clock.unix());
        let head = &self.shared.published().head;
        if !self.shared.is_credible(head) {
            let mark = head.mark;
            return Some(format!(
                "the low-water mark of the store, {mark}, is {} s ahead of the system clock ({clock}), so every \
                 authorization that expires before the mark is refused; set the system clock right; if the clock is \
                 right, the mark was changed by hand: restore a backup with `countersign store restore BACKUP`",
                behind(mark)
            ));
        }
        let now = self.now();
        (behind(now) > MOST_BEHIND_S).then(|| {
            format!(
                "the system clock ({clock}) is {} s behind the boundary's own time ({now}), which comes from the \
                 log; the boundary uses its own time until the clock has caught up; set the system clock right; if \
                 the clock is right, the log has entries with future dates: stop the boundary until that time, or \
                 begin a new log with `countersign store restore BACKUP`",
                behind(now)
            )
        })
    }
}

#[cfg(test)]
mod tests;
