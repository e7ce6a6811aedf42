//! The ledger: the store as the rest of the program sees it.
//!
//! Writing is asked of one thread and durable when the answer comes. Reading goes past it, on its own connections.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{mpsc, oneshot};

use crate::crypto::digest::{AuthorizationDigest, Blake3Digest, BlobDigest};
use crate::crypto::merkle::{self, Hash, TilePath};
use crate::crypto::note;
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::envelope::Envelope;
use crate::record::ident::{Nonce, ProposalId};
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;
use crate::store::message::{
    AdvanceStop, Consume, ConsumeStop, DenialResult, DenialWrite, Finish, FinishStop, Leaf, LeafRef, NewProposal,
    NonceUse, PayloadSource, Proposal, ProposalPage, ProposalQuery, ProposalStep, ProposeResult, PruneResult,
    Retention, SealEntry, SealStored, SealWrite, Signature, SpentNonce, StoredDenial, StoredStatus, Token, Unfinished,
    WriteStop,
};
use crate::store::shared::{LedgerConfig, LedgerState, PublishedState, SharedState};
use crate::store::stored::tile;
use crate::store::tree::{Subtrees, TileCache, TreeEdge};
use crate::store::writer::{Hashed, ReplySender, Writer, WriterMessage};
use crate::store::{CheckpointRow, Retired, Store, StoreHead, StoreReads, lock};

/// Messages that may wait for the writer; who comes later waits to hand in. Admission is limited long before.
const QUEUE: usize = 1024;

/// A clock that is farther behind than this makes the boundary not ready.
const MOST_BEHIND_S: i64 = 60;

/// The handle; clones share one store.
#[derive(Clone)]
pub struct Ledger {
    inbox: mpsc::Sender<WriterMessage>,
    shared: Arc<SharedState>,
}

impl Ledger {
    /// Begins to work on an opened store: builds the tree's edge, compares it with the last recorded checkpoint and
    /// starts the writer.
    ///
    /// # Errors
    /// When the log can't be read or is not the one that its own checkpoint signs.
    pub fn open(
        mut store: Box<dyn Store>,
        reads: Arc<dyn StoreReads>,
        config: LedgerConfig,
    ) -> Result<Self, StoreFault> {
        let head = store.head()?;
        let edge = TreeEdge::load(&mut *store, head.size)?;
        let published =
            PublishedState { head: StoreHead { exclusive: Vec::new(), ..head.clone() }, edge: Arc::new(edge.clone()) };
        let boot = (config.boottime)();
        let mut shared = SharedState {
            reads,
            opened: ((config.clock)(), boot),
            reached: Mutex::new((head.last_at, boot)),
            config: config.clone(),
            published: RwLock::new(Arc::new(published)),
            unrecorded: Mutex::default(),
            note: Mutex::default(),
            tiles: TileCache::default(),
        };
        shared.reach(&head);
        // A clock that was behind at the start, and is set right, did not leap ahead.
        shared.opened = (shared.now(), boot);
        let shared = Arc::new(shared);
        // Queued batches are answered one after the other; the oneshots wake whoever waits.
        let (inbox, outbox) = mpsc::channel(QUEUE);
        let ledger = Self { inbox, shared: Arc::clone(&shared) };
        if let Some(known) = shared.reads.checkpoint(None)?
            && ledger.root_at(known.size)? != Some(known.root)
        {
            let message = format!(
                "the log of {} entries is not the one whose checkpoint at {} it recorded; restore it into a new log",
                head.size, known.size
            );
            return Err(StoreFault::Unusable { message });
        }
        let writer = Writer::new(store, shared, config, head, edge);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.work(outbox))
            .map_err(|error| StoreFault::Unusable { message: format!("can't start the store's writer: {error}") })?;
        Ok(ledger)
    }

    /// A store that nobody writes any more, such as a backup or a log that was closed: everything can be read, every
    /// write is refused as [`StoreFault::Closed`]. `note` is the checkpoint that it was closed with; without one it is signed
    /// when it is asked for.
    ///
    /// # Errors
    /// When the log can't be read, or is not the one that the note signs.
    pub fn at_rest(
        reads: Arc<dyn StoreReads>,
        head: StoreHead,
        config: LedgerConfig,
        note: Option<CheckpointRow>,
    ) -> Result<Self, StoreFault> {
        let edge = TreeEdge::read(&*reads, head.size)?;
        let (inbox, _) = mpsc::channel(1);
        let boot = (config.boottime)();
        let shared = SharedState {
            reads,
            opened: ((config.clock)(), boot),
            reached: Mutex::new((head.last_at, boot)),
            config,
            published: RwLock::new(Arc::new(PublishedState { head, edge: Arc::new(edge) })),
            unrecorded: Mutex::default(),
            tiles: TileCache::default(),
            note: Mutex::new(note.clone()),
        };
        let ledger = Self { inbox, shared: Arc::new(shared) };
        match note {
            Some(note) if ledger.root_at(note.size)? != Some(note.root) => Err(StoreFault::Unusable {
                message: format!("the log is not the one whose checkpoint of {} entries is beside it", note.size),
            }),
            _ => Ok(ledger),
        }
    }

    async fn ask<T, E: From<StoreFault>>(
        &self,
        message: impl FnOnce(ReplySender<T, E>) -> WriterMessage,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(message(answer)).await.map_err(|_| StoreFault::Closed)?;
        answered.await.map_err(|_| StoreFault::Closed)?
    }

    /// Puts a seal in force, with its blobs and the changes of tokens that it states. The first one makes the boundary.
    ///
    /// # Errors
    /// When another seal came in between, it is dated before the last leaf, a token's name is taken, or the store broke.
    pub async fn seal(&self, seal: SealWrite) -> Result<SealStored, WriteStop> {
        self.ask(|answer| WriterMessage::Seal(Box::new(seal), answer)).await
    }

    /// Spends a nonce, once, ever: when this returns `Ok` the nonce is spent durably and its consumption stands in the log.
    ///
    /// # Errors
    /// Why nothing was spent. After a [`StoreFault`] it may have been: look before asking again.
    pub async fn consume(&self, consume: Consume) -> Result<SpentNonce, ConsumeStop> {
        self.ask(|answer| WriterMessage::Consume(Box::new(consume), answer)).await
    }

    /// Closes a run with its receipt.
    ///
    /// # Errors
    /// When the proposal does not run (has its receipt already), or the store broke.
    pub async fn finish(&self, finish: Finish) -> Result<LeafRef, FinishStop> {
        let hash = merkle::leaf_hash(&finish.receipt);
        self.ask(|answer| WriterMessage::Finish(Box::new(Hashed { message: finish, hash }), answer)).await
    }

    /// Keeps a proposal, unless the same is there or too many wait.
    ///
    /// # Errors
    /// When the store broke.
    pub async fn propose(&self, new: NewProposal) -> Result<ProposeResult, StoreFault> {
        self.ask(|answer| WriterMessage::Propose(Box::new(new), answer)).await
    }

    /// Keeps verified signatures, one a key (the first stays), and gives all in order of arrival.
    ///
    /// # Errors
    /// When the proposal is unknown or no longer waits, or the store broke.
    pub async fn sign(&self, proposal: &ProposalId, signatures: Vec<Signature>) -> Result<Vec<Signature>, AdvanceStop> {
        let proposal = proposal.clone();
        self.ask(|answer| WriterMessage::Sign(proposal, signatures, answer)).await
    }

    /// Puts a denial into the log: its authorization never runs from here on, known or not.
    ///
    /// # Errors
    /// When it is too large, nothing is sealed yet, or the store broke.
    pub async fn deny(&self, denial: DenialWrite) -> Result<DenialResult, WriteStop> {
        self.ask(|answer| WriterMessage::Deny(Box::new(denial), answer)).await
    }

    /// Moves a proposal on, only forward; gives where it was.
    ///
    /// # Errors
    /// When it is unknown or stands elsewhere, or the store broke.
    pub async fn advance(&self, advance: ProposalStep) -> Result<StoredStatus, AdvanceStop> {
        self.ask(|answer| WriterMessage::Advance(Box::new(advance), answer)).await
    }

    /// Puts a refusal into the log; `at` is the time that it states.
    ///
    /// # Errors
    /// When it is too large or dated before the last leaf, nothing is sealed yet, or the store broke.
    pub async fn refuse(&self, envelope: Vec<u8>, at: Timestamp) -> Result<LeafRef, WriteStop> {
        self.ask(|answer| WriterMessage::Refuse(envelope, at, answer)).await
    }

    /// Marks as expired what waits and is overdue at `now`, some at a time: call again until nothing comes.
    ///
    /// # Errors
    /// When the store broke.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<ProposalId>, StoreFault> {
        self.ask(|answer| WriterMessage::Expire(now, answer)).await
    }

    /// Raises the low-water mark as far as it may and looks at `limit` nonces, deleting those that expired at or below
    /// it. A thousand or two at a time never keep a run waiting.
    ///
    /// # Errors
    /// When the store broke.
    pub async fn prune(&self, limit: usize) -> Result<PruneResult, StoreFault> {
        self.ask(|answer| WriterMessage::Prune(limit, answer)).await
    }

    /// Deletes some of what its retention has ended, looking at `limit` outputs and proposals; the files that it names are
    /// to be removed afterwards. Call again while something was deleted.
    ///
    /// # Errors
    /// When the store broke.
    pub async fn retire(&self, retention: Retention, limit: usize) -> Result<Retired, StoreFault> {
        self.ask(|answer| WriterMessage::Retire(retention, limit, answer)).await
    }

    /// Ends the writer after what waits, and lets the store go: it can be opened again. The head of the log is signed
    /// and recorded before, so that the next start may have another key.
    ///
    /// # Errors
    /// When the writer had ended before, or the head could not be signed.
    pub async fn close(&self) -> Result<(), StoreFault> {
        let head = self.checkpoint();
        self.ask(WriterMessage::Close).await?;
        head.map(drop)
    }

    /// What is in force, as of the last answered batch.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        let head = &self.shared.published().head;
        LedgerState {
            size: head.size,
            version: head.version,
            boundary: head.boundary,
            seal: head.seal,
            last_at: head.last_at,
            mark: head.mark,
        }
    }

    /// Now, but never before the last leaf's time: what a leaf made outside should state.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// What to say to who asks for what would be dated or judged by a clock that leapt ahead.
    #[must_use]
    pub fn clock_ahead(&self) -> Option<String> {
        let seconds = self.shared.clock_ahead((self.shared.config.clock)())?;
        Some(WriteStop::ClockAhead { seconds }.to_string())
    }

    /// What is wrong with the clock, for an operator: it leapt ahead, or the log or its mark is ahead of it. The boundary is
    /// not ready then.
    #[must_use]
    pub fn clock_trouble(&self) -> Option<String> {
        if let Some(ahead) = self.clock_ahead() {
            return Some(ahead);
        }
        let clock = (self.shared.config.clock)();
        let behind = |time: Timestamp| time.unix().saturating_sub(clock.unix());
        let head = &self.shared.published().head;
        if !self.shared.is_credible(head) {
            let mark = head.mark;
            return Some(format!(
                "the store's mark, {mark}, is {} s ahead of the system clock ({clock}): what ends before the mark is refused as \
                 expired, and nothing is deleted until then; set the system clock right, or, if it is right, the mark was \
                 changed by hand: `countersign store restore BACKUP`",
                behind(mark)
            ));
        }
        let now = self.now();
        (behind(now) > MOST_BEHIND_S).then(|| {
            format!(
                "the system clock ({clock}) is {} s behind the boundary's own time ({now}), which the log has reached: that time \
                 advances by the time since boot until the clock is there, and windows end by it; set the system clock right; \
                 if it is right, the log was dated ahead: stop the boundary for that long, or begin a new log with \
                 `countersign store restore BACKUP`",
                behind(now)
            )
        })
    }

    /// The log's name; nothing before the first seal.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        self.shared.published().head.boundary.map(|id| origin(&self.shared.config.name, &id))
    }

    /// The signed head of the log as it is; nothing before the first seal.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreFault> {
        self.checkpoint_at(self.shared.published().head.size)
    }

    /// The signed head of the log as it was at `size`: a pure function of the rows, so it is the same whenever it is
    /// made. Recorded with the next batch.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn checkpoint_at(&self, size: u64) -> Result<Option<CheckpointRow>, StoreFault> {
        const DURING: &str = "signing a checkpoint";
        let mut last = self.shared.note.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(note) = last.as_ref().filter(|note| note.size == size) {
            return Ok(Some(note.clone()));
        }
        let Some(origin) = self.origin().filter(|_| size > 0) else { return Ok(None) };
        let Some(root) = self.root_at(size)? else { return Ok(None) };
        let body = Checkpoint { origin: origin.clone(), size, root }.body();
        let signer = &self.shared.config.signer;
        let sign = |text: &[u8]| Ok::<_, std::convert::Infallible>((signer.sign)(text));
        let note = note::sign_note(&body, &origin, &signer.key, sign)
            .map_err(|error| StoreFault::Database { during: DURING, message: error.to_string() })?;
        let row = CheckpointRow { size, root, note: note.to_string() };
        self.shared.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).push(row.clone());
        *last = Some(row.clone());
        Ok(Some(row))
    }

    /// The data of refusals dated at or after `since`, among the last `most` entries.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn refusals(&self, since: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreFault> {
        self.shared.reads.refusals(since, most)
    }

    /// The recorded checkpoint of the largest size.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn recorded_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreFault> {
        self.shared.reads.checkpoint(None)
    }

    /// The first recorded checkpoint that covers entry `index`: by the key that the boundary had when that was written,
    /// because no start with another key leaves entries behind that only the key before can vouch for.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, StoreFault> {
        self.shared.reads.checkpoint_over(index)
    }

    /// The root of the tree as it was at `size`; nothing when it was never so large.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn root_at(&self, size: u64) -> Result<Option<Hash>, StoreFault> {
        self.with_tree(size, |tree| merkle::root_of(size, |level, index| tree.hash(level, index)).map(Some))
    }

    /// The inclusion proof of leaf `index` in the tree of `size` leaves.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreFault> {
        self.with_tree(size, |tree| merkle::inclusion_path(index, size, |level, at| tree.hash(level, at)))
    }

    /// The proof that the tree of `old` leaves is a prefix of that of `size`.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn consistency(&self, old: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreFault> {
        self.with_tree(size, |tree| merkle::consistency_path(old, size, |level, at| tree.hash(level, at)))
    }

    /// A tile's bytes, of hashes or entries, of any width that the log has had; nothing when it has not.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, StoreFault> {
        let published = self.shared.published();
        tile(&*self.shared.reads, &published.edge, &self.shared.tiles, path)
    }

    fn with_tree<T>(
        &self,
        size: u64,
        read: impl FnOnce(&Subtrees<'_>) -> Result<Option<T>, StoreFault>,
    ) -> Result<Option<T>, StoreFault> {
        let published = self.shared.published();
        if size > published.head.size {
            return Ok(None);
        }
        read(&Subtrees::new(&published.edge, &*self.shared.reads, &self.shared.tiles))
    }

    /// A leaf.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn leaf(&self, index: u64) -> Result<Option<Leaf>, StoreFault> {
        self.shared.reads.leaf(index)
    }

    /// The data of the leaves of `range`, as far as there are.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreFault> {
        self.shared.reads.leaves(range)
    }

    /// A blob.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreFault> {
        self.shared.reads.blob(digest)
    }

    /// All seals, the last is the one in force.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn seals(&self) -> Result<Vec<SealEntry>, StoreFault> {
        self.shared.reads.seals()
    }

    /// A proposal; that of a receipt is `receipt.proposal()`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreFault> {
        self.shared.reads.proposal(id)
    }

    /// The proposal of an authorization, unless it is finished: those are found by id or nonce.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn proposal_of(&self, authorization: &AuthorizationDigest) -> Result<Option<Proposal>, StoreFault> {
        self.shared.reads.proposal_of(authorization)
    }

    /// Proposals, the newest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn proposals(&self, filter: &ProposalQuery) -> Result<ProposalPage, StoreFault> {
        self.shared.reads.proposals(filter)
    }

    /// The bytes that are signed for a proposal, wherever it stands.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn payload(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault> {
        let Some(source) = self.shared.reads.payload(id)? else { return Ok(None) };
        let payload = match source {
            PayloadSource::Payload(payload) => return Ok(Some(payload)),
            PayloadSource::Envelope(envelope) => payload_of(&envelope),
            PayloadSource::Receipt(receipt) => payload_of(&receipt).and_then(|statement| {
                let statement: serde_json::Value = serde_json::from_slice(&statement).ok()?;
                STANDARD.decode(statement.pointer("/predicate/authorization/payload")?.as_str()?).ok()
            }),
        };
        payload
            .map(Some)
            .ok_or_else(|| StoreFault::broken("reading a payload", format!("that of {id} is not readable")))
    }

    /// A proposal's signatures, in order of arrival.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, StoreFault> {
        self.shared.reads.signatures(id)
    }

    /// The denials of an authorization.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn denials(&self, authorization: &AuthorizationDigest) -> Result<Vec<StoredDenial>, StoreFault> {
        self.shared.reads.denials(authorization)
    }

    /// Where a nonce was spent, until it is pruned.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn spent(&self, nonce: &Nonce) -> Result<Option<NonceUse>, StoreFault> {
        self.shared.reads.spent(nonce)
    }

    /// What was consumed and has no receipt, in order: after a crash, recovery's work.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, StoreFault> {
        self.shared.reads.unfinished()
    }

    /// The proposals that run.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn running(&self) -> Result<Vec<ProposalId>, StoreFault> {
        self.shared.reads.running()
    }

    /// How many bytes an output has; nothing when it is not, or no longer, there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn output_size(&self, name: &Blake3Digest) -> Result<Option<u64>, StoreFault> {
        Ok(self.shared.reads.output(name)?.map(|row| row.bytes))
    }

    /// The bytes of an output within `range`, as far as there are.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn output(&self, name: &Blake3Digest, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreFault> {
        let Some(row) = self.shared.reads.output(name)? else { return Ok(None) };
        let end = range.end.min(row.bytes);
        let start = range.start.min(end);
        let unreadable = |message: String| StoreFault::Database { during: "reading an output", message };
        let length = usize::try_from(end - start).map_err(|error| unreadable(error.to_string()))?;
        match row.data {
            Some(data) => {
                let start = usize::try_from(start).map_err(|error| unreadable(error.to_string()))?;
                Ok(data.get(start..start + length).map(<[u8]>::to_vec))
            }
            None => {
                let path = self.output_path(name);
                let mut bytes = vec![0; length];
                File::open(&path)
                    .and_then(|file| file.read_exact_at(&mut bytes, start))
                    .map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
                Ok(Some(bytes))
            }
        }
    }

    /// Where the file of an output must lie that is too large for the database.
    #[must_use]
    pub fn output_path(&self, name: &Blake3Digest) -> PathBuf {
        let hex = name.hex();
        self.shared.config.outputs.join(&hex[..2]).join(hex)
    }

    /// The runs that recorded these bytes: who may read one of them may read the output.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn runs_with_output(&self, name: &Blake3Digest, limit: usize) -> Result<Vec<ProposalId>, StoreFault> {
        self.shared.reads.runs_with_output(name, limit)
    }

    /// In which order a run wrote to its streams.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault> {
        self.shared.reads.output_order(id)
    }

    /// All tokens ever, by name.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreFault> {
        self.shared.reads.tokens()
    }

    /// The token whose secret has this SHA-256, revoked and expired ones too.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, StoreFault> {
        self.shared.reads.token(secret)
    }

    /// Bytes that are free for the store at `directory`.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn room(&self, directory: &Path) -> Result<u64, StoreFault> {
        lock::room(directory)
    }
}

fn payload_of(envelope: &[u8]) -> Option<Vec<u8>> {
    let envelope: Envelope = serde_json::from_slice(envelope).ok()?;
    STANDARD.decode(envelope.payload).ok()
}

#[cfg(test)]
mod tests;
