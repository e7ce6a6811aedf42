//! The writer thread: checks requests, commits the requests in batches, and answers.
//!
//! The writer takes all queued requests into one transaction, and answers them after the commit. Within a batch, the
//! writer checks new runs last and receipts second to last. Therefore a seal or a denial in the same batch can stop a
//! new run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::crypto::digest::LeafHash;
use crate::crypto::merkle::{self, Hash, MAX_ENTRY_BYTES};
use crate::crypto::signature::{PAYLOAD_TYPE, pae};
use crate::record::consumption::{Consumption, MAX_ITEMS, Spent as SpentItem};
use crate::record::envelope::{Envelope, EnvelopeSignature};
use crate::record::ident::{Name, ProposalId};
use crate::record::validity::Timestamp;
use crate::store::crash_points::{WriteKind, WriteKinds};
use crate::store::fault::StoreFault;
use crate::store::retention::{PruneResult, Retention, UNSIGNED_KEPT_S};
use crate::store::shared::{LedgerConfig, PublishedState, SharedState};
use crate::store::stored_denial::{DenialResult, DenialWrite, StoredDenial};
use crate::store::stored_leaf::{LeafKind, LeafRef, WriteStop};
use crate::store::stored_proposal::{AdvanceStop, NewProposal, ProposalStep, ProposeResult, Signature};
use crate::store::stored_run::{Consume, ConsumeStop, Finish, FinishStop, NonceUse, SpentNonce};
use crate::store::stored_seal::{SealStored, SealWrite};
use crate::store::stored_status::StoredStatus;
use crate::store::tree::TreeEdge;
use crate::store::{
    Candidate, FinishRow, LeafRow, RetentionCut, RetentionWalk, Retired, RunRow, Store, StoreHead, TileRow,
};

/// Maximum number of messages in one batch. The limit bounds the effect of a failed commit and the waiting time of the
/// first message.
const MAX_BATCH: usize = 256;

/// Maximum number of proposals that one call marks as expired, so that runs do not wait for long.
const MAX_EXPIRED: usize = 256;

/// Maximum number of denials of unknown authorizations in one day: 100 for one approver, 1000 for all approvers.
///
/// Each denial is a permanent log entry, and the boundary cannot check that the denied authorization exists.
const MOST_AHEAD_OF_ONE: u64 = 100;
const MOST_AHEAD: u64 = 1000;
const AHEAD_S: i64 = 86_400;

/// Channel for the answer to a message.
pub(crate) type ReplySender<T, E> = oneshot::Sender<Result<T, E>>;

/// A request to the writer.
pub(crate) enum WriterMessage {
    Consume(Box<Consume>, ReplySender<SpentNonce, ConsumeStop>),
    Finish(Box<Hashed<Finish>>, ReplySender<LeafRef, FinishStop>),
    Seal(Box<SealWrite>, ReplySender<SealStored, WriteStop>),
    Propose(Box<NewProposal>, ReplySender<ProposeResult, StoreFault>),
    Sign(ProposalId, Vec<Signature>, ReplySender<Vec<Signature>, AdvanceStop>),
    Deny(Box<DenialWrite>, ReplySender<DenialResult, WriteStop>),
    Advance(Box<ProposalStep>, ReplySender<StoredStatus, AdvanceStop>),
    Refuse(Vec<u8>, Timestamp, ReplySender<LeafRef, WriteStop>),
    Expire(Timestamp, ReplySender<Vec<ProposalId>, StoreFault>),
    Prune(usize, ReplySender<PruneResult, StoreFault>),
    Retire(Retention, usize, ReplySender<Retired, StoreFault>),
    Close(ReplySender<(), StoreFault>),
}

/// A message with the hash of its leaf. The sender computes the hash of the leaf, because many senders run in parallel
/// and the writer is one thread.
pub(crate) struct Hashed<T> {
    pub(crate) message: T,
    pub(crate) hash: Hash,
}

/// The state of the writer. The program can rebuild this state from the store.
pub(crate) struct Writer {
    store: Box<dyn Store>,
    shared: Arc<SharedState>,
    config: LedgerConfig,
    head: StoreHead,
    edge: TreeEdge,
    exclusive: HashMap<String, ProposalId>,
    /// Start value of the low-water mark, and the time since boot at the start. The low-water mark rises from the start
    /// value with the time since boot.
    anchor: (Timestamp, Duration),
    /// The last nonce that pruning has examined.
    pruned: Vec<u8>,
    /// The position that retention has reached in the store.
    retired: RetentionWalk,
    // The fields below belong to the current batch.
    /// Size of the log before the current batch.
    first: u64,
    /// True if the batch has only one message, which needs no savepoint.
    single: bool,
    leaves: Vec<LeafRow>,
    tiles: Vec<TileRow>,
    replies: Vec<Box<dyn Reply>>,
    broken: Option<StoreFault>,
    kinds: WriteKinds,
}

impl Writer {
    pub(crate) fn new(
        store: Box<dyn Store>,
        shared: Arc<SharedState>,
        config: LedgerConfig,
        head: StoreHead,
        edge: TreeEdge,
    ) -> Self {
        // The low-water mark can start at the time of the last leaf. No later leaf has an earlier date. Therefore, even
        // without a low-water mark, the boundary would refuse an authorization that expired before the last leaf. After
        // the start, the low-water mark rises no faster than the time since boot.
        let anchor = (head.mark.max(head.last_at), (config.boottime)());
        let mut writer = Self {
            store,
            shared,
            config,
            head,
            edge,
            exclusive: HashMap::new(),
            anchor,
            pruned: Vec::new(),
            retired: RetentionWalk::default(),
            first: 0,
            single: false,
            leaves: Vec::new(),
            tiles: Vec::new(),
            replies: Vec::new(),
            broken: None,
            kinds: WriteKinds::default(),
        };
        writer.exclusive = writer.head.exclusive.drain(..).collect();
        writer
    }

    /// Handles messages until all senders are gone, a close message arrives, or a fatal error occurs.
    pub(crate) fn work(mut self, mut inbox: mpsc::Receiver<WriterMessage>) {
        let _guard = Panicked(Arc::clone(&self.config.on_fatal));
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while inbox.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            gather(&mut inbox, &mut batch);
            let mut closing = None;
            batch.retain_mut(|message| match message {
                WriterMessage::Close(answer) => {
                    let (unused, _) = oneshot::channel();
                    closing = Some(std::mem::replace(answer, unused));
                    false
                }
                _ => true,
            });
            let last_note = closing.is_some() && !self.shared.unrecorded().is_empty();
            if (!batch.is_empty() || last_note)
                && let Err(fault) = self.batch(&mut batch)
            {
                // The writer calls `on_fatal` before it answers, because no caller may act on an answer after a fatal
                // error.
                (self.config.on_fatal)(&fault);
                for reply in self.replies.drain(..) {
                    reply.send(Some(&fault));
                }
                return;
            }
            if let Some(answer) = closing {
                inbox.close();
                let settled = self.store.settle();
                // The writer drops the connection and the lock before it answers, so that the caller can open the store
                // again.
                drop(self);
                let _ = answer.send(settled);
                return;
            }
        }
    }

    /// Runs one transaction. Every error that this function returns is fatal.
    fn batch(&mut self, messages: &mut Vec<WriterMessage>) -> Result<(), StoreFault> {
        let before = self.head.clone();
        self.first = before.size;
        self.single = messages.len() == 1;
        if let Err(fault) = self.store.begin() {
            self.broken = Some(fault);
        }
        self.apply(messages);
        let notes = self.shared.unrecorded();
        let committed = match self.broken.take() {
            Some(fault) => Err(fault),
            None => self.write_out(&before, &notes),
        };
        match committed {
            Ok(()) => {
                self.kinds.pass(true);
                self.publish(&before)?;
                self.shared.recorded(&notes);
                self.leaves.clear();
                self.kinds = WriteKinds::default();
                for reply in self.replies.drain(..) {
                    reply.send(None);
                }
                self.store.maintain()
            }
            Err(fault) => {
                if fault.is_fatal() {
                    return Err(fault);
                }
                self.store.rollback();
                self.leaves.clear();
                self.tiles.clear();
                self.kinds = WriteKinds::default();
                self.reload()?;
                for reply in self.replies.drain(..) {
                    reply.send(Some(&fault));
                }
                Ok(())
            }
        }
    }

    /// Reloads the state from the store after a batch was undone.
    fn reload(&mut self) -> Result<(), StoreFault> {
        let as_fatal =
            |fault: StoreFault| StoreFault::broken("reading the store after an undone batch", fault.to_string());
        self.head = self.store.head().map_err(as_fatal)?;
        self.exclusive = self.head.exclusive.drain(..).collect();
        self.edge = TreeEdge::load(&mut *self.store, self.head.size).map_err(as_fatal)?;
        Ok(())
    }

    fn write_out(&mut self, before: &StoreHead, notes: &[crate::store::CheckpointRow]) -> Result<(), StoreFault> {
        self.store.append(before.size, &self.leaves, &self.tiles)?;
        self.tiles.clear();
        if let Some(size) = self.store.put_checkpoints(notes)? {
            let message = format!("the log already has another root hash at size {size}, so the log would fork");
            return Err(StoreFault::broken("keeping checkpoints", message));
        }
        let state = |head: &StoreHead| (head.boundary, head.seal, head.version, head.mark);
        if state(before) != state(&self.head) {
            self.store.set_head(&self.head)?;
        }
        self.kinds.pass(false);
        // If the process dies before the commit, the database contains nothing of the batch. If the process dies after
        // the commit, the database contains the whole batch. A caller that got no answer repeats the request and gets
        // the stored result. Recovery closes the runs that have no receipt.
        self.store.commit()
    }

    /// Compares the stored leaf hashes with the new tree, and then publishes the tree to readers.
    fn publish(&mut self, before: &StoreHead) -> Result<(), StoreFault> {
        if self.head.size > before.size {
            let stored = self.store.leaf_hashes(before.size..self.head.size)?;
            if !stored.iter().eq(self.leaves.iter().map(|leaf| &leaf.hash)) {
                return Err(StoreFault::broken(
                    "reading leaf hashes back",
                    "the hashes that were read differ from the hashes that were written",
                ));
            }
        }
        let shown = (before.size, before.last_at, before.seal, before.boundary, before.version, before.mark);
        let head = &self.head;
        if shown != (head.size, head.last_at, head.seal, head.boundary, head.version, head.mark) {
            let edge = if head.size > before.size {
                Arc::new(self.edge.clone())
            } else {
                self.shared.published().edge.clone()
            };
            self.shared.publish(PublishedState { head: head.clone(), edge });
        }
        Ok(())
    }

    fn apply(&mut self, messages: &mut Vec<WriterMessage>) {
        let (mut finishes, mut consumes) = (Vec::new(), Vec::new());
        for message in messages.drain(..) {
            match message {
                WriterMessage::Consume(consume, answer) => consumes.push((consume, answer)),
                WriterMessage::Finish(finish, answer) => finishes.push((finish, answer)),
                WriterMessage::Seal(seal, answer) => self.step(WriteKind::Seal, answer, |w| w.seal(*seal)),
                WriterMessage::Propose(new, answer) => {
                    self.step(WriteKind::Proposal, answer, |w| w.propose(&new).map(Ok))
                }
                WriterMessage::Sign(id, sigs, answer) => self.step(WriteKind::Proposal, answer, |w| w.sign(&id, &sigs)),
                WriterMessage::Deny(denial, answer) => self.step(WriteKind::Denial, answer, |w| w.deny(*denial)),
                WriterMessage::Advance(advance, answer) => {
                    self.step(WriteKind::Advance, answer, |w| w.advance(&advance))
                }
                WriterMessage::Refuse(data, at, answer) => {
                    self.step(WriteKind::Refusal, answer, |w| w.refuse(data, at))
                }
                WriterMessage::Expire(now, answer) => {
                    // If the clock leapt ahead, the call only expires proposals up to the time of the last leaf.
                    let by = if self.shared.clock_ahead(now).is_some() { self.head.last_at } else { now };
                    self.step(WriteKind::Advance, answer, |w| w.store.expire(by, MAX_EXPIRED).map(Ok));
                }
                WriterMessage::Prune(limit, answer) => self.step(WriteKind::Prune, answer, |w| w.prune(limit).map(Ok)),
                WriterMessage::Retire(retention, limit, answer) => {
                    self.step(WriteKind::Retire, answer, |w| w.retire(retention, limit).map(Ok));
                }
                // The function `work` has already removed close messages from the batch.
                WriterMessage::Close(_) => {}
            }
        }
        if !finishes.is_empty() {
            self.group(WriteKind::Receipt, finishes, Self::finish);
        }
        if !consumes.is_empty() {
            self.group(WriteKind::Consume, consumes, Self::consume);
        }
    }

    fn step<T, E>(
        &mut self,
        kind: WriteKind,
        answer: ReplySender<T, E>,
        work: impl FnOnce(&mut Self) -> Result<Result<T, E>, StoreFault>,
    ) where
        T: Send + 'static,
        E: From<StoreFault> + Send + 'static,
    {
        self.kinds.add(kind);
        let result = self.alone(work).unwrap_or_else(|fault| Err(fault.into()));
        self.replies.push(Box::new(Ready { answer, result }));
    }

    /// Handles one message, or a group of messages that are checked together, inside a savepoint. If the database
    /// rejects the writes, the writer undoes only these writes, and the rest of the batch stays. If this undo fails,
    /// the whole batch fails.
    fn alone<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreFault>) -> Result<T, StoreFault> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        if self.single {
            return work(self).inspect_err(|fault| self.broken = Some(fault.clone()));
        }
        let (head, leaves) = (self.head.clone(), self.leaves.len());
        let done = match self.store.save() {
            Ok(()) => match work(self) {
                Ok(done) => self.store.keep().map(|()| done),
                Err(fault @ StoreFault::Database { .. }) => match self.take_back(head, leaves) {
                    Ok(()) => return Err(fault),
                    Err(_) => Err(fault),
                },
                Err(fault) => Err(fault),
            },
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &done {
            self.broken = Some(fault.clone());
        }
        done
    }

    /// Restores the state and the rows that existed before a failed message.
    fn take_back(&mut self, head: StoreHead, leaves: usize) -> Result<(), StoreFault> {
        self.store.undo()?;
        self.head = head;
        self.leaves.truncate(leaves);
        self.tiles.clear();
        // The leaves of this batch are written at its end, so this loop appends the remaining leaves to the edge again.
        self.edge = TreeEdge::load(&mut *self.store, self.first)?;
        for leaf in &self.leaves {
            self.edge.append(leaf.hash, &mut self.tiles);
        }
        self.exclusive = self.store.head()?.exclusive.into_iter().collect();
        Ok(())
    }

    fn group<M, T, E>(
        &mut self,
        kind: WriteKind,
        group: Vec<(Box<M>, ReplySender<T, E>)>,
        work: impl Fn(&mut Self, &mut [Box<M>]) -> Result<Vec<Result<T, E>>, StoreFault>,
    ) where
        T: Send + 'static,
        E: From<StoreFault> + Send + 'static,
    {
        let (mut items, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let results = match self.alone(|writer| work(writer, &mut items)) {
            Ok(results) => results,
            // A single request of the group caused the failure, so the writer handles each request alone.
            Err(_) if self.broken.is_none() && items.len() > 1 => {
                let one = |item: &mut Box<M>| {
                    let done = self.alone(|writer| work(writer, std::slice::from_mut(item)));
                    done.map_or_else(|fault| Err(fault.into()), |mut done| done.remove(0))
                };
                items.iter_mut().map(one).collect()
            }
            Err(fault) => answers.iter().map(|_| Err(fault.clone().into())).collect(),
        };
        // If all requests of the group failed, the batch contains no entry of this kind.
        if results.iter().any(Result::is_ok) {
            self.kinds.add(kind);
        }
        for (answer, result) in answers.into_iter().zip(results) {
            self.replies.push(Box::new(Ready { answer, result }));
        }
    }

    fn append(&mut self, kind: LeafKind, data: impl Into<Arc<[u8]>>) -> LeafRef {
        let data = data.into();
        let hash = merkle::leaf_hash(&data);
        self.append_hashed(kind, data, hash)
    }

    fn append_hashed(&mut self, kind: LeafKind, data: Arc<[u8]>, hash: Hash) -> LeafRef {
        self.edge.append(hash, &mut self.tiles);
        let index = self.head.size;
        self.head.size += 1;
        self.leaves.push(LeafRow { kind, at: self.head.last_at, hash, data });
        LeafRef { index, hash: LeafHash::from_bytes(hash) }
    }

    /// Checks all requests to run, and writes the accepted requests to the log. A consumption leaf contains at most
    /// [`MAX_ITEMS`] nonces.
    fn consume(&mut self, requests: &mut [Box<Consume>]) -> Result<Vec<Result<SpentNonce, ConsumeStop>>, StoreFault> {
        let cores: Vec<_> = requests.iter().map(|request| &request.core).collect();
        let candidates = self.store.candidates(&cores)?;
        // All requests of the batch are checked at the same time `at`. This time never decreases, even if the clock is
        // set back.
        if let Some(seconds) = self.shared.clock_ahead((self.config.clock)()) {
            return Ok(vec![Err(ConsumeStop::ClockAhead { seconds }); requests.len()]);
        }
        let at = self.shared.now().max(self.head.last_at);
        let first = self.head.size;
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(requests.len());
        let mut ids: HashSet<&ProposalId> = HashSet::with_capacity(requests.len());
        let (mut passed, mut results) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for (request, candidate) in requests.iter().zip(&candidates) {
            let place = |number: usize| (first + (number / MAX_ITEMS) as u64, (number % MAX_ITEMS) as u32);
            // If two requests of one batch have the same nonce, the first accepted request spends the nonce.
            let judged = match places.get(request.core.nonce.as_str()) {
                Some(&number) => {
                    let (index, item) = place(number);
                    let winner: &(&Consume, bool) = &passed[number];
                    Err(ConsumeStop::Replayed(NonceUse { index, item, proposal: winner.0.core.id.clone() }))
                }
                None if ids.contains(&request.core.id) => Err(ConsumeStop::WrongState(StoredStatus::Running)),
                None => self.judge(request, candidate, at),
            };
            match judged {
                Ok(()) => {
                    if let Some(name) = &request.exclusive {
                        self.exclusive.insert(name.to_string(), request.core.id.clone());
                    }
                    let number = passed.len();
                    places.insert(request.core.nonce.as_str(), number);
                    ids.insert(&request.core.id);
                    passed.push((&**request, candidate.proposal.is_some()));
                    results.push(Ok(number));
                }
                Err(stop) => results.push(Err(stop)),
            }
        }
        let Some(seal) = self.head.seal else { return Ok(vec![Err(ConsumeStop::NoSeal); requests.len()]) };
        let mut consumed = Vec::with_capacity(passed.len());
        let mut runs = Vec::with_capacity(passed.len());
        for items in passed.chunks(MAX_ITEMS) {
            self.head.last_at = at;
            let spent = items.iter().map(|(request, _)| SpentItem {
                authorization: request.core.digest,
                nonce: request.core.nonce.clone(),
                expires_at: request.core.expires_at,
            });
            let data: Arc<[u8]> = self.sign_leaf(Consumption { seal, at, spent: spent.collect() })?.into();
            let leaf = self.append(LeafKind::Consumption, data.clone());
            for (item, (request, known)) in (0..).zip(items) {
                runs.push(RunRow {
                    core: &request.core,
                    known: *known,
                    at,
                    index: leaf.index,
                    item,
                    seal,
                    exclusive: request.exclusive.as_deref(),
                    envelope: &request.envelope,
                    decision: &request.decision,
                });
                let data = data.clone();
                consumed.push(SpentNonce { index: leaf.index, item, leaf: leaf.hash, data, at, seal });
            }
        }
        self.store.start(&runs)?;
        Ok(results.into_iter().map(|result| result.map(|number: usize| consumed[number].clone())).collect())
    }

    /// Checks whether one request can run now.
    fn judge(&self, request: &Consume, candidate: &Candidate, at: Timestamp) -> Result<(), ConsumeStop> {
        // The writer checks the nonce first, so that a replayed nonce always leads to the earlier run.
        if let Some(spent) = &candidate.spent {
            return Err(ConsumeStop::Replayed(spent.clone()));
        }
        // R3: the state under which the authorization was verified must still be in force. The writer also compares the
        // seal, because the version alone does not name the registry.
        if self.head.seal.is_none() {
            return Err(ConsumeStop::NoSeal);
        }
        if request.version != self.head.version || Some(request.seal) != self.head.seal {
            return Err(ConsumeStop::Moved);
        }
        if candidate.denied {
            return Err(ConsumeStop::Denied);
        }
        match candidate.proposal {
            Some((digest, _)) if digest != request.core.digest => return Err(ConsumeStop::OtherAuthorization),
            Some((_, status)) if !status.may_become(StoredStatus::Running) => {
                return Err(ConsumeStop::WrongState(status));
            }
            _ => {}
        }
        // Pruning uses the expiry in the row, so the row and the checked window must state the same expiry.
        if request.window.expires_at != request.core.expires_at {
            return Err(ConsumeStop::BadWindow);
        }
        let _open = request.window.check(at, self.head.mark)?;
        if let Some(holder) = request.exclusive.as_deref().and_then(|name| self.exclusive.get(name)) {
            return Err(ConsumeStop::ExclusiveBusy { holder: holder.clone() });
        }
        Ok(())
    }

    /// Signs the envelope of a consumption. The store signs no other statement than consumptions.
    fn sign_leaf(&self, consumption: Consumption) -> Result<Vec<u8>, StoreFault> {
        let unwritable = |message: String| StoreFault::Database { during: "writing a consumption", message };
        let payload = consumption.into_statement().to_payload().map_err(|error| unwritable(error.to_string()))?;
        let sig = (self.config.signer.sign)(&pae(PAYLOAD_TYPE, &payload));
        let signature = EnvelopeSignature::new(self.config.signer.keyid, &sig);
        Envelope::new(&payload, vec![signature]).to_canonical().map_err(|error| unwritable(error.to_string()))
    }

    fn finish(&mut self, ends: &mut [Box<Hashed<Finish>>]) -> Result<Vec<Result<LeafRef, FinishStop>>, StoreFault> {
        let ids: Vec<_> = ends.iter().map(|end| &end.message.proposal).collect();
        let standings = self.store.standings(&ids)?;
        let mut closed: HashMap<ProposalId, u64> = HashMap::with_capacity(ends.len());
        let mut places = Vec::with_capacity(ends.len());
        let mut results = Vec::with_capacity(ends.len());
        for (end, standing) in ends.iter().zip(standings) {
            let hash = end.hash;
            let end = &end.message;
            let consumption = match (standing, closed.get(&end.proposal)) {
                (_, Some(&receipt)) => Err(FinishStop::Finished { receipt }),
                (None, _) => Err(FinishStop::NotRunning(None)),
                (Some(standing), _) => match (standing.status, standing.consumption, standing.receipt) {
                    (_, _, Some(receipt)) => Err(FinishStop::Finished { receipt }),
                    (StoredStatus::Running, Some(_), None) if end.receipt.len() > MAX_ENTRY_BYTES => {
                        Err(FinishStop::TooLarge { bytes: end.receipt.len() })
                    }
                    (StoredStatus::Running, Some(consumption), None) => Ok(consumption),
                    (status, _, None) => Err(FinishStop::NotRunning(Some(status))),
                },
            };
            match consumption {
                Ok(consumption) => {
                    let leaf = self.append_hashed(LeafKind::Receipt, end.receipt.clone(), hash);
                    closed.insert(end.proposal.clone(), leaf.index);
                    places.push(Some((consumption, leaf.index)));
                    results.push(Ok(leaf));
                }
                Err(stop) => {
                    places.push(None);
                    results.push(Err(stop));
                }
            }
        }
        let rows: Vec<_> = ends
            .iter()
            .zip(&places)
            .filter_map(|(end, place)| place.map(|(consumption, receipt)| (&end.message, consumption, receipt)))
            .map(|(end, consumption, receipt)| FinishRow {
                proposal: &end.proposal,
                consumption,
                receipt,
                at: end.at,
                detail: &end.detail,
                outputs: &end.outputs,
                order: end.order.as_deref(),
                blobs: &end.blobs,
            })
            .collect();
        self.store.finish(&rows)?;
        if !self.exclusive.is_empty() {
            self.exclusive.retain(|_, holder| !closed.contains_key(holder));
        }
        Ok(results)
    }

    fn seal(&mut self, write: SealWrite) -> Result<Result<SealStored, WriteStop>, StoreFault> {
        if write.previous != self.head.seal {
            return Ok(Err(WriteStop::Moved));
        }
        if let Err(stop) = self.check_leaf(&write.envelope, Some(write.at)) {
            return Ok(Err(stop));
        }
        if let Some(name) = self.store.change_tokens(&write.tokens)? {
            return Ok(Err(WriteStop::Token(name)));
        }
        self.head.last_at = write.at;
        let leaf = self.append(LeafKind::Seal, write.envelope);
        self.store.put_seal(leaf.index, &write.digest)?;
        self.store.put_blobs(&write.blobs)?;
        if self.head.boundary.is_none() {
            // The first seal creates the boundary, and the digest of this seal becomes the boundary's id. The low-water
            // mark starts at the time of the first seal.
            self.head.boundary = Some(write.digest);
            self.anchor = (self.head.mark.max(write.at), (self.config.boottime)());
        }
        self.head.seal = Some(write.digest);
        self.head.version += 1;
        Ok(Ok(SealStored { leaf, version: self.head.version }))
    }

    /// Checks a leaf that a caller made: its size and its date. The function also refuses the leaf if the clock leapt
    /// ahead.
    fn check_leaf(&self, data: &[u8], at: Option<Timestamp>) -> Result<(), WriteStop> {
        if data.len() > MAX_ENTRY_BYTES {
            return Err(WriteStop::TooLarge { bytes: data.len() });
        }
        if at.is_some_and(|at| at < self.head.last_at) {
            return Err(WriteStop::BackDated { last: self.head.last_at });
        }
        if let Some(seconds) = at.filter(|at| *at > self.head.last_at).and_then(|at| self.shared.clock_ahead(at)) {
            return Err(WriteStop::ClockAhead { seconds });
        }
        Ok(())
    }

    fn propose(&mut self, new: &NewProposal) -> Result<ProposeResult, StoreFault> {
        let precedent = self.store.precedent(new)?;
        if let Some(taken) = precedent.taken {
            let same = taken.request == Some(new.request)
                && taken.core.proposer == new.core.proposer
                && taken.core.nonce == new.core.nonce;
            return Ok(if same {
                ProposeResult::Same(Box::new(taken))
            } else {
                ProposeResult::Conflict(Box::new(taken))
            });
        }
        if let Some(identical) = precedent.identical {
            return Ok(ProposeResult::Same(Box::new(identical)));
        }
        let limits = self.config.limits;
        if precedent.unsigned >= limits.unsigned_of_proposer
            && let Some(first) = precedent.unsigned_first
        {
            let until = first.plus(UNSIGNED_KEPT_S);
            return Ok(ProposeResult::TooManyKept { most: limits.unsigned_of_proposer, until });
        }
        if precedent.of_proposer >= limits.of_proposer {
            return Ok(ProposeResult::TooMany { most: limits.of_proposer, of_proposer: true });
        }
        if precedent.of_all >= limits.of_all {
            return Ok(ProposeResult::TooMany { most: limits.of_all, of_proposer: false });
        }
        self.store.put_proposal(new)?;
        Ok(ProposeResult::New)
    }

    fn standing(&mut self, id: &ProposalId) -> Result<Option<StoredStatus>, StoreFault> {
        let mut standings = self.store.standings(&[id])?;
        Ok(standings.pop().flatten().map(|standing| standing.status))
    }

    fn sign(
        &mut self,
        id: &ProposalId,
        signatures: &[Signature],
    ) -> Result<Result<Vec<Signature>, AdvanceStop>, StoreFault> {
        match self.standing(id)? {
            None => Ok(Err(AdvanceStop::Unknown)),
            Some(status) if !status.waits() => Ok(Err(AdvanceStop::WrongState(status))),
            Some(_) => self.store.sign(id, signatures).map(Ok),
        }
    }

    fn deny(&mut self, write: DenialWrite) -> Result<Result<DenialResult, WriteStop>, StoreFault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal));
        }
        if let Err(stop) = self.check_leaf(&write.envelope, None) {
            return Ok(Err(stop));
        }
        let known = self.store.denial(&write.authorization, &write.approver)?;
        let unfinished = self.store.unfinished_of(&write.authorization)?;
        let leaf = match known {
            Some(leaf) => leaf,
            None => {
                // The proposal may have arrived after the caller searched for the proposal.
                let ahead = write.ahead && unfinished.is_none();
                if ahead && let Some(stop) = self.too_many_ahead(&write.approver, write.at)? {
                    return Ok(Err(stop));
                }
                let leaf = self.append(LeafKind::Denial, write.envelope).index;
                let denial = StoredDenial { approver: write.approver, leaf, at: write.at };
                self.store.deny(&write.authorization, &denial, ahead)?;
                self.head.version += 1;
                leaf
            }
        };
        let mut done = DenialResult { leaf, denied: None, running: None };
        match unfinished {
            Some((id, standing)) if standing.status == StoredStatus::Running => done.running = Some(id),
            Some((id, standing)) if standing.status.may_become(StoredStatus::Denied) => {
                self.store.advance(&id, StoredStatus::Denied, write.at, &Vec::new())?;
                done.denied = Some(id);
            }
            _ => {}
        }
        Ok(Ok(done))
    }

    /// Returns the reason to refuse a denial of an unknown authorization. Denials of known authorizations need no
    /// limit, because the number of proposals is limited.
    fn too_many_ahead(&mut self, approver: &Name, now: Timestamp) -> Result<Option<WriteStop>, StoreFault> {
        let found = self.store.denials_ahead(approver, now.plus(-AHEAD_S))?;
        let full = |(count, first): (u64, Option<Timestamp>), most, of_approver| {
            let until = first.filter(|_| count >= most)?.plus(AHEAD_S);
            let wait_s = u64::try_from(until.unix() - now.unix()).unwrap_or(0).max(1);
            Some(WriteStop::TooManyAhead { most, of_approver, wait_s })
        };
        Ok(full(found.of_approver, MOST_AHEAD_OF_ONE, true).or_else(|| full(found.of_all, MOST_AHEAD, false)))
    }

    fn advance(&mut self, advance: &ProposalStep) -> Result<Result<StoredStatus, AdvanceStop>, StoreFault> {
        let Some(status) = self.standing(&advance.proposal)? else { return Ok(Err(AdvanceStop::Unknown)) };
        let asked = advance.from.is_empty() || advance.from.contains(&status);
        // Only `consume` can start a run, and only `finish` can end a run.
        let elsewhere = matches!(advance.to, StoredStatus::Running | StoredStatus::Finished);
        if !asked || elsewhere || !status.may_become(advance.to) {
            return Ok(Err(AdvanceStop::WrongState(status)));
        }
        self.store.advance(&advance.proposal, advance.to, advance.at, &advance.detail)?;
        if advance.to == StoredStatus::Cancelled {
            self.head.version += 1;
        }
        Ok(Ok(status))
    }

    fn refuse(&mut self, data: Vec<u8>, at: Timestamp) -> Result<Result<LeafRef, WriteStop>, StoreFault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal));
        }
        if let Err(stop) = self.check_leaf(&data, Some(at)) {
            return Ok(Err(stop));
        }
        self.head.last_at = at;
        Ok(Ok(self.append(LeafKind::Refusal, data)))
    }

    /// Raises the low-water mark, and in the same commit deletes some nonces that expired at or before the mark.
    fn prune(&mut self, limit: usize) -> Result<PruneResult, StoreFault> {
        let clock = (self.config.clock)();
        let elapsed = (self.config.boottime)().saturating_sub(self.anchor.1);
        let ceiling = self.anchor.0.plus(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
        // The low-water mark uses the boundary's own time, which can be ahead of the clock. If the mark used only the
        // clock, an expired authorization could become valid after a restart.
        self.head.mark = self.head.mark.max(self.shared.now().min(ceiling));
        // If the low-water mark is ahead of the clock, pruning uses the clock, because a person may have changed the
        // mark by hand.
        let swept = self.store.prune(self.head.mark.min(clock), &self.pruned, limit.max(1))?;
        let done = swept.last.is_none();
        self.pruned = swept.last.unwrap_or_default();
        Ok(PruneResult {
            mark: self.head.mark,
            deleted: swept.deleted,
            ahead_s: (clock.unix() - ceiling.unix()).max(0),
            done,
        })
    }

    /// Deletes some rows whose retention has ended. The low-water mark determines the age of a row, unless the mark is
    /// ahead of the clock. Therefore a wrong clock alone, or a wrong mark alone, deletes no rows.
    fn retire(&mut self, retention: Retention, limit: usize) -> Result<Retired, StoreFault> {
        let mark = self.head.mark.min((self.config.clock)());
        let cut = RetentionCut {
            outputs: mark.plus(-retention.outputs_s),
            proposals: mark.plus(-retention.proposals_s),
            unsigned: mark.plus(-UNSIGNED_KEPT_S),
            mark,
        };
        let retired = self.store.retire(cut, self.retired, limit.max(1))?;
        self.retired = retired.walk;
        Ok(retired)
    }
}

/// Collects more messages while other tasks are about to send messages, because every commit has a fixed cost. If the
/// batch has only one message, the function returns immediately. The function only yields the CPU and never sleeps.
fn gather<M>(inbox: &mut mpsc::Receiver<M>, batch: &mut Vec<M>) {
    let mut before = 1;
    while batch.len() > before && batch.len() < MAX_BATCH {
        before = batch.len();
        std::thread::yield_now();
        while batch.len() < MAX_BATCH
            && let Ok(message) = inbox.try_recv()
        {
            batch.push(message);
        }
    }
}

/// An answer that is sent after the commit.
trait Reply: Send {
    /// Sends the result, or the fault that undid the batch.
    fn send(self: Box<Self>, fault: Option<&StoreFault>);
}

struct Ready<T, E> {
    answer: ReplySender<T, E>,
    result: Result<T, E>,
}

impl<T: Send, E: From<StoreFault> + Send> Reply for Ready<T, E> {
    fn send(self: Box<Self>, fault: Option<&StoreFault>) {
        let result = match fault {
            Some(fault) => Err(fault.clone().into()),
            None => self.result,
        };
        // The receiver of the answer may be gone. The store has the result, so a later call can read it.
        let _ = self.answer.send(result);
    }
}

/// Ends the process if the writer panics, because no other thread can write.
struct Panicked(Arc<dyn Fn(&StoreFault) + Send + Sync>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(&StoreFault::broken("writing", "the writer panicked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(taken: usize, waiting: usize) -> usize {
        let (inbox, mut outbox) = mpsc::channel(MAX_BATCH * 2);
        let message = || WriterMessage::Prune(1, oneshot::channel().0);
        (0..waiting).for_each(|_| assert!(inbox.try_send(message()).is_ok()));
        let mut batch: Vec<_> = (0..taken).map(|_| message()).collect();
        gather(&mut outbox, &mut batch);
        batch.len()
    }

    #[test]
    fn a_single_write_request_is_handled_at_once_and_queued_requests_are_handled_in_one_batch() {
        assert_eq!(batch_of(1, 3), 1);
        assert_eq!(batch_of(2, 3), 5);
        assert_eq!(batch_of(2, 0), 2);
        assert_eq!(batch_of(2, MAX_BATCH + 7), MAX_BATCH);
    }
}
