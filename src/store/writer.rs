//! The writer thread: checks requests, commits them in batches, and answers.
//!
//! All queued requests form one transaction and are answered after the commit. Within a batch, new runs are checked
//! last and receipts second to last, so that a seal or a denial in the same batch can stop a new run.

mod denial_writes;
mod leaf_writes;
mod proposal_writes;
mod retention_writes;
mod run_writes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::store::crash_points::{WriteKind, WriteKinds};
use crate::store::fault::StoreFault;
use crate::store::open_nonces::OpenNonces;
use crate::store::open_proposals::StatusChange;
use crate::store::retention::{PruneResult, Retention};
use crate::store::shared::{LedgerConfig, PublishedState, SharedState};
use crate::store::stored_denial::{DenialResult, DenialWrite};
use crate::store::stored_leaf::{LeafRef, WriteStop};
use crate::store::stored_proposal::{AdvanceStop, NewProposal, ProposalStep, ProposeResult, Signature};
use crate::store::stored_run::{Consume, ConsumeStop, Finish, FinishStop, SpentNonce};
use crate::store::stored_seal::{SealStored, SealWrite};
use crate::store::stored_status::StoredStatus;
use crate::store::tree::TreeEdge;
use crate::store::{CheckpointRow, LeafRow, RetentionWalk, Retired, Store, StoreHead, TileRow};
use documents::crypto::merkle::Hash;
use documents::record::ident::ProposalId;
use documents::record::validity::Timestamp;

/// Maximum number of messages in one batch, because a failed commit affects all of them, and the first message waits
/// for the commit.
const MAX_BATCH: usize = 256;

/// Duration of one pause of [`gather`]. In this time, two cores check two or three requests.
const PAUSE: Duration = Duration::from_micros(150);

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
    /// Changes nothing. The answer shows that the writer works.
    Ping(ReplySender<(), StoreFault>),
    Close(ReplySender<(), StoreFault>),
}

/// Message with the hash of its leaf. The sender computes the hash, because senders run in parallel and the writer is
/// one thread.
pub(crate) struct Hashed<T> {
    pub(crate) message: T,
    pub(crate) hash: Hash,
}

/// State of the writer, which can be rebuilt from the store.
pub(crate) struct Writer {
    store: Box<dyn Store>,
    shared: Arc<SharedState>,
    config: LedgerConfig,
    head: StoreHead,
    edge: TreeEdge,
    exclusive: HashMap<String, ProposalId>,
    open_nonces: OpenNonces,
    /// Low-water mark and time since boot when the store was opened. The mark rises with the time since boot.
    anchor: (Timestamp, Duration),
    /// Last nonce that pruning has examined.
    pruned: Vec<u8>,
    /// Position of the retention in the store.
    retired: RetentionWalk,
    // The fields below belong to the current batch.
    /// Size of the log before the current batch.
    first: u64,
    /// True if the batch has only one message, which needs no savepoint.
    single: bool,
    leaves: Vec<LeafRow>,
    /// Changes of the status of proposals.
    changes: Vec<StatusChange>,
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
        // The low-water mark can start at the time of the last leaf, because no later leaf has an earlier date, so an
        // authorization that expired before the last leaf is refused in any case. Then the mark rises no faster than
        // the time since boot.
        let anchor = (head.mark.max(head.last_at), (config.boottime)());
        let mut writer = Self {
            store,
            shared,
            config,
            head,
            edge,
            exclusive: HashMap::new(),
            open_nonces: OpenNonces::default(),
            anchor,
            pruned: Vec::new(),
            retired: RetentionWalk::default(),
            first: 0,
            single: false,
            leaves: Vec::new(),
            changes: Vec::new(),
            tiles: Vec::new(),
            replies: Vec::new(),
            broken: None,
            kinds: WriteKinds::default(),
        };
        writer.exclusive = writer.head.exclusive.drain(..).collect();
        for (nonce, end) in writer.store.open_nonces() {
            writer.open_nonces.spend(&nonce, end);
        }
        writer.open_nonces.keep();
        writer
    }

    /// Handles messages until all senders are gone, a close message arrives, or a fatal error occurs.
    pub(crate) fn work(mut self, mut inbox: mpsc::Receiver<WriterMessage>) {
        let _guard = Panicked(Arc::clone(&self.config.on_fatal));
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while inbox.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            gather(&mut inbox, &mut batch, self.shared.announced.load(Ordering::Relaxed));
            let (mut closing, mut pings) = (None, Vec::new());
            batch.retain_mut(|message| match message {
                WriterMessage::Close(answer) => {
                    closing = Some(taken(answer));
                    false
                }
                WriterMessage::Ping(answer) => {
                    pings.push(taken(answer));
                    false
                }
                _ => true,
            });
            let last_note = closing.is_some() && !self.shared.unrecorded().is_empty();
            if (!batch.is_empty() || last_note)
                && let Err(fault) = self.batch(&mut batch)
            {
                // Call `on_fatal` before answering, because no caller may act on an answer after a fatal error.
                (self.config.on_fatal)(&fault);
                for reply in self.replies.drain(..) {
                    reply.send(Some(&fault));
                }
                return;
            }
            for ping in pings {
                let _ = ping.send(Ok(()));
            }
            if let Some(answer) = closing {
                inbox.close();
                let settled = self.store.settle();
                // Drop the connection and the lock before answering, so that the caller can open the store again.
                drop(self);
                let _ = answer.send(settled);
                return;
            }
        }
    }

    /// Runs one transaction. Every returned error is fatal.
    fn batch(&mut self, messages: &mut Vec<WriterMessage>) -> Result<(), StoreFault> {
        let (began, size) = (Instant::now(), messages.len());
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
                self.open_nonces.keep();
                self.publish(&before)?;
                self.shared.recorded(&notes);
                self.leaves.clear();
                self.kinds = WriteKinds::default();
                // Count before the answers, so that a caller with an answer finds the change in the counters.
                self.shared.changed(self.changes.drain(..));
                if size > 0 {
                    self.config.metrics.batch(size, began.elapsed());
                }
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
                self.changes.clear();
                self.open_nonces.undo_to(0);
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

    /// Reloads the state after a batch was undone.
    fn reload(&mut self) -> Result<(), StoreFault> {
        let as_fatal =
            |fault: StoreFault| StoreFault::broken("reading the store after an undone batch", fault.to_string());
        self.head = self.store.head().map_err(as_fatal)?;
        self.exclusive = self.head.exclusive.drain(..).collect();
        self.edge = TreeEdge::load(&mut *self.store, self.head.size).map_err(as_fatal)?;
        Ok(())
    }

    fn write_out(&mut self, before: &StoreHead, notes: &[CheckpointRow]) -> Result<(), StoreFault> {
        self.store.append(before.size, &self.leaves, &self.tiles)?;
        self.tiles.clear();
        if let Some(size) = self.store.put_checkpoints(notes)? {
            let message =
                format!("the log already has another root hash at size {size}, so this batch would fork the log");
            return Err(StoreFault::broken("keeping checkpoints", message));
        }
        let state = |head: &StoreHead| (head.boundary, head.seal, head.version, head.mark);
        if state(before) != state(&self.head) {
            self.store.set_head(&self.head)?;
        }
        self.kinds.pass(false);
        // After a crash before the commit, the database contains nothing of the batch, and after the commit, the whole
        // batch. A caller without an answer repeats the request and gets the stored result. Recovery closes the runs
        // that have no receipt.
        self.store.commit()
    }

    /// Compares the stored leaf hashes with the new tree, then publishes the tree to readers.
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
                    self.step(WriteKind::Advance, answer, |w| w.expire(now).map(Ok));
                }
                WriterMessage::Prune(limit, answer) => self.step(WriteKind::Prune, answer, |w| w.prune(limit).map(Ok)),
                WriterMessage::Retire(retention, limit, answer) => {
                    self.step(WriteKind::Retire, answer, |w| w.retire(retention, limit).map(Ok));
                }
                // `work` has already removed these messages.
                WriterMessage::Ping(_) | WriterMessage::Close(_) => {}
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

    /// Handles one message, or a group of messages that are checked together, inside a savepoint. Writes that the
    /// database rejects are undone without the rest of the batch. If this undo fails, the whole batch fails.
    fn alone<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreFault>) -> Result<T, StoreFault> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        if self.single {
            return work(self).inspect_err(|fault| self.broken = Some(fault.clone()));
        }
        let (head, leaves, changes) = (self.head.clone(), self.leaves.len(), self.changes.len());
        let nonces = self.open_nonces.in_batch();
        let done = match self.store.save() {
            Ok(()) => match work(self) {
                Ok(done) => self.store.keep().map(|()| done),
                Err(fault @ StoreFault::Database { .. }) => match self.take_back(head, leaves, changes, nonces) {
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
    fn take_back(&mut self, head: StoreHead, leaves: usize, changes: usize, nonces: usize) -> Result<(), StoreFault> {
        self.store.undo()?;
        self.open_nonces.undo_to(nonces);
        self.head = head;
        self.leaves.truncate(leaves);
        self.changes.truncate(changes);
        self.tiles.clear();
        // The leaves of this batch are written only at its end, so append the remaining ones to the edge again.
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
            // One request of the group caused the failure, so handle each request alone.
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
}

/// Takes the channel out of a message that will be dropped.
fn taken<T, E>(answer: &mut ReplySender<T, E>) -> ReplySender<T, E> {
    std::mem::replace(answer, oneshot::channel().0)
}

/// Waits for more messages while fewer than half of the callers that announced a message have sent it, because every
/// commit has a fixed cost. The wait ends when no message arrived during one pause. One or two callers never wait.
fn gather<M>(inbox: &mut mpsc::Receiver<M>, batch: &mut Vec<M>, announced: usize) {
    let mut before = 0;
    while batch.len() > before && batch.len() < MAX_BATCH && 2 * batch.len() < announced {
        before = batch.len();
        std::thread::sleep(PAUSE);
        while batch.len() < MAX_BATCH
            && let Ok(message) = inbox.try_recv()
        {
            batch.push(message);
        }
    }
}

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
        // The receiver may be gone. A later call can read the result from the store.
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

    fn batch_of(taken: usize, waiting: usize, announced: usize) -> usize {
        let (inbox, mut outbox) = mpsc::channel(MAX_BATCH * 2);
        let message = || WriterMessage::Prune(1, oneshot::channel().0);
        (0..waiting).for_each(|_| assert!(inbox.try_send(message()).is_ok()));
        let mut batch: Vec<_> = (0..taken).map(|_| message()).collect();
        gather(&mut outbox, &mut batch, announced);
        batch.len()
    }

    #[test]
    fn a_single_write_request_is_handled_at_once_and_queued_requests_are_handled_in_one_batch() {
        assert_eq!(batch_of(1, 3, 2), 1);
        assert_eq!(batch_of(1, 3, 3), 4, "two other callers have announced a request");
        assert_eq!(batch_of(2, 0, 64), 2, "no request arrives during a pause");
        assert_eq!(batch_of(2, MAX_BATCH + 7, 2 * MAX_BATCH), MAX_BATCH);
    }
}
