//! The writer thread: checks requests, commits them in batches, and answers.
//!
//! All queued requests form one transaction and are answered after the commit. Within a batch, new runs are checked
//! last and receipts second to last, so that a seal or a denial in the same batch can stop a new run.

mod gather;
mod leaf_writes;
pub mod messages;
mod other_writers;
mod row_writes;
mod run_writes;

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Answers, Asked, CheckpointRow, ClosedWindows, Commit, EventFact, EventRow, LedgerConfig,
    OpenProposals, ProposalState, ProposalStatus, PublishedState, RetentionWalk, SharedState,
    StatusChange, Store, StoreFault, StoreHead, StoreResult, StoredRevocation, TreeEdge, WriteKind,
    WriteStop, WriterMessage, Writes, answer_idle,
    crash_points::WriteKinds,
    waits,
    writer::{
        gather::{MAX_BATCH, close, gather},
        messages::{Panicked, questions},
    },
};
use documents::{Hash, ProposalId, Timestamp, locked};

/// State of the writer, which can be rebuilt from the store.
pub struct Writer {
    store: Box<dyn Store>,
    inbox: mpsc::Receiver<WriterMessage>,
    /// Messages that arrived while the writer asked the database about an unconfirmed commit.
    held: Vec<WriterMessage>,
    shared: Arc<SharedState>,
    config: LedgerConfig,
    head: StoreHead,
    edge: TreeEdge,
    exclusive: HashMap<String, ProposalId>,
    /// Emergencies whose review is open.
    emergencies: BTreeSet<ProposalId>,
    closed: ClosedWindows,
    /// The revocations in the order of the log.
    revoked: Arc<Vec<StoredRevocation>>,
    /// Low-water mark and time since boot when the store was opened. The mark rises with the time since boot.
    anchor: (Timestamp, Duration),
    /// Position at which the next search for rows to delete continues.
    retired: RetentionWalk,
    /// True if the store has a new connection, and the writer has not yet both read the state and committed a batch
    /// with this connection.
    is_stale: bool,
}

/// The checked requests of one batch.
#[derive(Default)]
pub struct Batch<'m> {
    writes: Writes<'m>,
    /// Known states of proposals, with the changes of this batch.
    states: HashMap<ProposalId, ProposalState>,
    /// Changes of the status of proposals.
    changes: Vec<StatusChange>,
    kinds: WriteKinds,
    /// True if the store has changed rows already, for a rare message such as `Prune`.
    stepped: bool,
    /// The open proposals before this batch, if other writers committed since the last batch.
    followed: Option<OpenProposals>,
}

impl Batch<'_> {
    /// Notes a change of a status. The change makes an event, and is counted after the commit.
    fn changed(&mut self, proposal: &ProposalId, to: ProposalStatus, at: Timestamp) {
        self.event(at, EventFact::Proposal(proposal.clone(), to));
        match self.states.get_mut(proposal) {
            Some(state) => state.status = to,
            None => {
                let state = ProposalState {
                    status: to,
                    consumption: None,
                    receipt: None,
                };
                self.states.insert(proposal.clone(), state);
            }
        }
        self.changes.push(StatusChange {
            proposal: proposal.clone(),
            to,
            at,
        });
    }

    fn event(&mut self, at: Timestamp, what: EventFact) {
        self.writes.events.push(EventRow { at, what });
    }
}

impl Writer {
    pub fn new(
        store: Box<dyn Store>,
        inbox: mpsc::Receiver<WriterMessage>,
        shared: Arc<SharedState>,
        config: LedgerConfig,
        head: StoreHead,
        edge: TreeEdge,
        closed: ClosedWindows,
    ) -> Self {
        let revoked = shared.published().revoked.clone();
        // The low-water mark can start at the time of the last leaf, because no later leaf has an earlier date, so an
        // authorization that expired before the last leaf is refused in any case. Then the mark rises no faster than
        // the time since boot.
        let anchor = (head.mark.max(head.last_at), (config.boottime)());
        let mut writer = Self {
            store,
            inbox,
            held: Vec::new(),
            shared,
            config,
            head,
            edge,
            exclusive: HashMap::new(),
            emergencies: BTreeSet::new(),
            closed,
            revoked,
            anchor,
            retired: RetentionWalk::default(),
            is_stale: false,
        };
        writer.take_held();
        writer
    }

    /// Handles messages until all senders are gone, a close message arrives, or a fatal error occurs.
    pub fn work(mut self) {
        let _guard = Panicked(Arc::clone(&self.config.on_fatal));
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            batch.append(&mut self.held);
            if batch.is_empty() && self.inbox.blocking_recv_many(&mut batch, MAX_BATCH) == 0 {
                return;
            }
            gather(
                &mut self.inbox,
                &mut batch,
                Arc::strong_count(&self.shared.announced) - 1,
            );
            let (idle, writing): (Vec<_>, Vec<_>) = batch.drain(..).partition(|message| {
                matches!(message, WriterMessage::Ping(_) | WriterMessage::Close(_))
            });
            let closing = idle
                .iter()
                .any(|message| matches!(message, WriterMessage::Close(_)));
            // An idle writer also commits a batch, to record the newest checkpoint, and to read the receipts of runs
            // that another node still ends.
            let of_others = || self.config.keep_head.is_some() && self.shared.has_runs();
            let is_stale =
                self.is_stale || self.store.is_stale() || self.shared.no_runs().is_some();
            let has_more = !idle.is_empty()
                && (of_others() || is_stale || !self.shared.unrecorded().is_empty());
            // A packed tile is a batch of its own, so that no run fails with it if the disk is full.
            let (packing, writing): (Vec<_>, Vec<_>) = writing
                .into_iter()
                .partition(|message| matches!(message, WriterMessage::Pack(_)));
            for (group, is_needed) in [(&writing, has_more), (&packing, false)] {
                if (!group.is_empty() || is_needed)
                    && let Err(fault) = self.batch(group)
                {
                    // Call `on_fatal` before answering, because no caller may act on an answer after a fatal error.
                    (self.config.on_fatal)(&fault);
                    close(&mut self.inbox);
                    writing
                        .iter()
                        .chain(&packing)
                        .for_each(|message| message.send(Some(&fault)));
                    return;
                }
            }
            if closing {
                close(&mut self.inbox);
                let closed = self.store.close();
                // Drop the connection and the lock before answering, so that the caller can open the store again.
                drop(self);
                idle.iter()
                    .for_each(|message| answer_idle(message, closed.clone()));
                return;
            }
            idle.iter().for_each(|message| answer_idle(message, Ok(())));
        }
    }

    /// Runs one transaction and answers its messages. Every returned error is fatal.
    fn batch(&mut self, messages: &[WriterMessage]) -> StoreResult {
        let began = Instant::now();
        let notes = self.shared.unrecorded();
        match self.attempt(messages, &notes) {
            Ok(changes) => {
                self.shared.recorded(&notes);
                // Count before the answers, so that a caller with an answer finds the change in the counters.
                self.shared.changed(changes.into_iter());
                if !messages.is_empty() {
                    self.config.metrics.batch(messages.len(), began.elapsed());
                }
                messages.iter().for_each(|message| message.send(None));
                self.store.maintain()
            }
            Err(fault) if fault.is_fatal() => Err(fault),
            // One message can be the cause of the failure, so handle each message alone.
            Err(StoreFault::Database { .. }) if messages.len() > 1 => messages
                .iter()
                .try_for_each(|message| self.batch(std::slice::from_ref(message))),
            Err(fault) => {
                // The health report shows why nothing is written. An idle writer tries again. A full disk of this host
                // needs no report here, because the boundary measures its own disk, but not the disk of a database
                // server.
                if fault.is_unreachable() || (fault.can_pass() && self.config.keep_head.is_some()) {
                    *locked(&self.shared.no_runs) = Some(fault.to_string());
                }
                messages
                    .iter()
                    .for_each(|message| message.send(Some(&fault)));
                Ok(())
            }
        }
    }

    /// Checks the requests, and commits the accepted ones. After an error, the state is the state before the batch.
    fn attempt(
        &mut self,
        messages: &[WriterMessage],
        notes: &[CheckpointRow],
    ) -> StoreResult<Vec<StatusChange>> {
        let asked = questions(messages);
        let (mut answers, renewed) = self.begin(&asked)?;
        *locked(&self.shared.no_runs) = answers.no_runs.take();
        if let Some(server) = answers.server_clock {
            let seconds = (self.config.clock)().unix().saturating_sub(server.unix());
            self.shared
                .ahead_of_server_s
                .store(seconds, Ordering::Relaxed);
        }
        let is_renewed = renewed.is_some();
        let (before, revoked) = (self.head.clone(), self.revoked.clone());
        let (exclusive, emergencies) = (self.exclusive.clone(), self.emergencies.clone());
        let followed = answers
            .others
            .take()
            .map(|others| self.follow(others))
            .transpose()?
            .or(renewed);
        let mut batch = Batch {
            followed,
            ..Batch::default()
        };
        let known = self.head.clone();
        batch.writes.first = known.size;
        batch.writes.checkpoints = notes;
        let states = asked.proposals.into_iter().zip(answers.states.drain(..));
        batch.states = states
            .filter_map(|(id, state)| Some((id.clone(), state?)))
            .collect();
        let done = self
            .judge(&mut batch, messages, answers, &known)
            .and_then(|()| self.commit(messages, batch, &known));
        match &done {
            Err(fault) if !fault.is_fatal() => {
                self.store.rollback();
                self.is_stale = is_renewed;
                self.head = before;
                self.exclusive = exclusive;
                self.emergencies = emergencies;
                self.revoked = revoked;
                self.edge = TreeEdge::clone(&self.shared.published().edge);
                self.closed.undo();
            }
            _ => {}
        }
        done
    }

    /// Commits a batch, then publishes the new tree to readers. Returns the changes of the status of proposals.
    fn commit(
        &mut self,
        messages: &[WriterMessage],
        batch: Batch<'_>,
        before: &StoreHead,
    ) -> StoreResult<Vec<StatusChange>> {
        let Batch {
            writes,
            changes,
            kinds,
            stepped,
            followed,
            ..
        } = batch;
        // After a crash before the commit, the database has nothing of the batch, and after the commit, the whole batch. A
        // caller without an answer repeats the request and gets the stored result. Recovery closes runs without a receipt.
        kinds.pass(false);
        if writes.is_empty() && !stepped && followed.is_none() {
            self.store.rollback();
            kinds.pass(true);
            return Ok(changes);
        }
        let changes_before = self.store.server_changes();
        let stored = match self.store.commit(&writes) {
            Commit::Done(hashes) => hashes,
            Commit::NotDone(fault) => return Err(fault),
            Commit::Unknown => match self
                .settle(messages, before.size..self.head.size)
                .inspect(|_| self.config.metrics.settled_commit())?
            {
                Some(hashes) => hashes,
                None => {
                    return Err(waits(
                        "the connection to the database was lost before the commit",
                    ));
                }
            },
        };
        kinds.pass(true);
        if !writes.events.is_empty() {
            self.shared.events.send_modify(|count| *count += 1);
        }
        if !stored
            .iter()
            .eq(writes.leaves.iter().map(|leaf| &leaf.hash))
        {
            return Err(StoreFault::broken(
                "reading leaf hashes back",
                "the hashes that were read differ from the hashes that were written",
            ));
        }
        self.closed.keep();
        if *before != self.head || followed.is_some() {
            let published = self.shared.published();
            let grown = self.head.size > published.head.size;
            let edge = if grown {
                Arc::new(self.edge.clone())
            } else {
                published.edge.clone()
            };
            self.shared.publish(PublishedState {
                head: self.head.clone(),
                edge,
                revoked: self.revoked.clone(),
            });
        }
        if let Some(open) = followed {
            *locked(&self.shared.open_proposals) = open;
        }
        if !writes.starts.is_empty() {
            self.keep_head(messages, before.size, changes_before)?;
        }
        Ok(changes)
    }

    /// Stores the signed checkpoint that covers new runs on the disk of this node, before the runs start. If the database
    /// goes back to an earlier time, this checkpoint prevents a second run with the same nonce.
    ///
    /// # Errors
    /// Returns a fatal fault only, because the batch is durable.
    fn keep_head(
        &mut self,
        messages: &[WriterMessage],
        before: u64,
        changes_before: u64,
    ) -> StoreResult {
        const DURING: &str = "keeping the signed checkpoint of new runs";
        let Some(keep) = self.config.keep_head.clone() else {
            return Ok(());
        };
        let since = Instant::now();
        loop {
            let kept = self
                .shared
                .checkpoint_at(self.head.size)
                .and_then(|row| match row {
                    Some(row) => keep(&row).map_err(|error| StoreFault::broken(DURING, error)),
                    None => Ok(()),
                });
            match kept {
                Err(fault) if !fault.is_fatal() => self.wait_for_server(messages, since, &fault),
                Err(fault) => return Err(fault),
                Ok(()) => break,
            }
        }
        // Another node may have compared the checkpoints of all nodes before this checkpoint was stored. After a
        // restart, the server can also show rows that it loses later. So the batch is decided again, like an
        // unconfirmed commit.
        let mut decided_at = changes_before;
        while self.store.server_changes() != decided_at {
            self.store.doubt();
            if self.settle(messages, before..self.head.size)?.is_none() {
                return Err(StoreFault::broken(
                    DURING,
                    "the database server lost a batch that it had confirmed",
                ));
            }
            // The new connection that decided about the batch counts as a change too, but is no reason to decide again.
            decided_at = self.store.decided_at();
        }
        Ok(())
    }

    /// Asks the database about an unconfirmed commit until the result is known. Callers get a fault after
    /// [`UNKNOWN_WAIT`]. Returns the stored hashes of the batch's leaves, or `None` if the batch does not exist.
    ///
    /// # Errors
    /// Returns a fatal fault only.
    fn settle(
        &mut self,
        messages: &[WriterMessage],
        leaves: Range<u64>,
    ) -> StoreResult<Option<Vec<Hash>>> {
        let since = Instant::now();
        let mut durable = false;
        loop {
            let asked = if durable {
                Ok(true)
            } else {
                self.store.settle()
            };
            let read = match asked {
                Ok(false) => return Ok(None),
                Ok(true) => {
                    durable = true;
                    self.store.leaf_hashes(leaves.clone()).map(Some)
                }
                Err(fault) => Err(fault),
            };
            let fault = match read {
                Err(fault) if !fault.is_fatal() => fault,
                decided => return decided,
            };
            self.wait_for_server(messages, since, &fault);
        }
    }

    /// Checks all messages in the order of their arrival, except that receipts and then new runs come last.
    fn judge<'m>(
        &mut self,
        b: &mut Batch<'m>,
        messages: &'m [WriterMessage],
        answers: Answers,
        before: &StoreHead,
    ) -> StoreResult {
        let (mut finishes, mut consumes) = (Vec::new(), Vec::new());
        let mut precedents = answers.precedents.into_iter();
        let mut signatures = answers.signatures.into_iter();
        let mut denials = answers.denials.into_iter();
        for message in messages {
            match message {
                WriterMessage::Consume(asked) => consumes.push(&**asked),
                WriterMessage::Finish(asked) => finishes.push(&**asked),
                WriterMessage::Seal(asked) => {
                    let done = settled(self.seal(b, &asked.message))?;
                    b.set(asked, WriteKind::Seal, done);
                }
                WriterMessage::Propose(asked) => {
                    let precedent = precedents.next().ok_or_else(unanswered)?;
                    let done = self.propose(b, &asked.message, precedent);
                    b.set(asked, WriteKind::Proposal, Ok(done));
                }
                WriterMessage::Sign(asked) => {
                    let stored = signatures.next().ok_or_else(unanswered)?;
                    let (id, new, by_people) = &asked.message;
                    let done = b.sign(id, new, *by_people, stored);
                    b.set(asked, WriteKind::Proposal, done);
                }
                WriterMessage::Deny(asked) => {
                    let precedent = denials.next().ok_or_else(unanswered)?;
                    let done = self.deny(b, &asked.message, precedent);
                    b.set(asked, WriteKind::Denial, done);
                }
                WriterMessage::Revoke(asked) => {
                    let done = settled(self.revoke(b, &asked.message))?;
                    b.set(asked, WriteKind::Revocation, done);
                }
                WriterMessage::Review(asked) => {
                    let done = self.review(b, &asked.message);
                    b.set(asked, WriteKind::Review, done);
                }
                WriterMessage::Grant(asked) => {
                    let done = settled(self.grant(b, &asked.message))?;
                    b.set(asked, WriteKind::Grant, done);
                }
                WriterMessage::Tell(asked) => {
                    b.tell(&asked.message);
                    b.set(asked, WriteKind::Told, Ok(()));
                }
                WriterMessage::Admit(asked) => {
                    let done = self.admit(b, &asked.message)?;
                    b.set(asked, WriteKind::Admission, Ok(done));
                }
                WriterMessage::Advance(asked) => {
                    let done = self.advance(b, &asked.message);
                    b.set(asked, WriteKind::Advance, done);
                }
                WriterMessage::Refuse(asked) => {
                    let done = self.refuse(b, &asked.message.0, asked.message.1);
                    b.set(asked, WriteKind::Refusal, done);
                }
                WriterMessage::Expire(asked) => {
                    let done = self.expire(b, asked.message)?;
                    b.set(asked, WriteKind::Advance, Ok(done));
                }
                WriterMessage::Prune(asked) => {
                    let done = self.prune(b, asked.message)?;
                    b.set(asked, WriteKind::Prune, Ok(done));
                }
                WriterMessage::Retire(asked) => {
                    let done = self.retire(b, asked.message.0, asked.message.1)?;
                    b.set(asked, WriteKind::Retire, Ok(done));
                }
                WriterMessage::Pack(asked) => {
                    self.store.pack(&asked.message)?;
                    b.stepped = true;
                    b.set(asked, WriteKind::Pack, Ok(()));
                }
                // `work` has already removed these messages.
                WriterMessage::Ping(_) | WriterMessage::Close(_) => {}
            }
        }
        if !finishes.is_empty() {
            self.finish(b, &finishes)?;
        }
        if !consumes.is_empty() {
            self.consume(b, &consumes, &answers.candidates, answers.uses)?;
        }
        let state = |head: &StoreHead| (head.boundary, head.seal, head.version, head.mark);
        if state(before) != state(&self.head) {
            b.writes.head = Some(self.head.clone());
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Stores a result in its message until the batch is durable.
    fn set<M, T, E>(&mut self, asked: &Asked<M, T, E>, kind: WriteKind, result: Result<T, E>) {
        if result.is_ok() {
            self.kinds.add(kind);
        }
        asked.set(result);
    }
}

/// Separates the fault that undoes a batch from the answer to a message.
fn settled<T>(result: Result<T, WriteStop>) -> StoreResult<Result<T, WriteStop>> {
    match result {
        Err(WriteStop::Fault(fault)) => Err(fault),
        answer => Ok(answer),
    }
}

fn unanswered() -> StoreFault {
    StoreFault::broken(
        "checking requests",
        "the backend did not answer each question",
    )
}
