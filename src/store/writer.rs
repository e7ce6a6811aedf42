//! The writer: judges, commits in groups, answers.
//!
//! It takes what waits, without delay, into one transaction; nobody is answered before the commit. Within a batch
//! everything else stands before runs' ends, and those before new runs: a seal or denial of the batch stops its runs.

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
use crate::store::crash_points::{Kind, Kinds};
use crate::store::fault::Fault;
use crate::store::message::{
    Advance, AdvanceStop, Consume, ConsumeStop, Consumed, DenialDone, DenialWrite, Denied, Finish, FinishStop,
    LeafKind, LeafRef, NewProposal, Proposed, Pruned, Retention, SealWrite, Sealed, Signature, Spent, Status,
    UNSIGNED_KEPT_S, WriteStop,
};
use crate::store::shared::{LedgerConfig, Published, Shared};
use crate::store::tree::Edge;
use crate::store::{Candidate, Cut, FinishRow, Head, LeafRow, Retired, RunRow, Store, TileRow, Walk};

/// The most messages of one batch: bounds what a failed commit fails, and how long its first message waits.
const MAX_BATCH: usize = 256;

/// The most proposals that one call expires, so that runs don't wait for it.
const MAX_EXPIRED: usize = 256;

/// The most denials of one approver, and of all, that are taken in a day before the boundary knows what they deny. Each is an
/// entry of the log for good, and nothing but the approver's word says that there is such a statement.
const MOST_AHEAD_OF_ONE: u64 = 100;
const MOST_AHEAD: u64 = 1000;
const AHEAD_S: i64 = 86_400;

/// How a message is answered.
pub(crate) type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// What is asked of the writer.
pub(crate) enum Message {
    Consume(Box<Consume>, Answer<Consumed, ConsumeStop>),
    Finish(Box<Hashed<Finish>>, Answer<LeafRef, FinishStop>),
    Seal(Box<SealWrite>, Answer<Sealed, WriteStop>),
    Propose(Box<NewProposal>, Answer<Proposed, Fault>),
    Sign(ProposalId, Vec<Signature>, Answer<Vec<Signature>, AdvanceStop>),
    Deny(Box<DenialWrite>, Answer<DenialDone, WriteStop>),
    Advance(Box<Advance>, Answer<Status, AdvanceStop>),
    Refuse(Vec<u8>, Timestamp, Answer<LeafRef, WriteStop>),
    Expire(Timestamp, Answer<Vec<ProposalId>, Fault>),
    Prune(usize, Answer<Pruned, Fault>),
    Retire(Retention, usize, Answer<Retired, Fault>),
    Close(Answer<(), Fault>),
}

/// A message whose leaf was hashed by who asks: the writer is one thread, they are many.
pub(crate) struct Hashed<T> {
    pub(crate) message: T,
    pub(crate) hash: Hash,
}

/// The writer's own state; all of it can be read from the store again.
pub(crate) struct Writer {
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    config: LedgerConfig,
    head: Head,
    edge: Edge,
    exclusive: HashMap<String, ProposalId>,
    /// From where on the mark may rise, and the boot time then.
    anchor: (Timestamp, Duration),
    /// How far the pruner has walked.
    pruned: Vec<u8>,
    /// How far retention has walked.
    retired: Walk,
    // Of the batch at work:
    /// The log's size before it.
    first: u64,
    /// Whether it is one message alone, which has nothing to keep apart from.
    single: bool,
    leaves: Vec<LeafRow>,
    tiles: Vec<TileRow>,
    replies: Vec<Box<dyn Reply>>,
    broken: Option<Fault>,
    kinds: Kinds,
}

impl Writer {
    pub(crate) fn new(
        store: Box<dyn Store>,
        shared: Arc<Shared>,
        config: LedgerConfig,
        head: Head,
        edge: Edge,
    ) -> Self {
        // The mark may begin at the last leaf's time: what expired by then is refused anyway, since no later leaf is
        // dated earlier. From there it rises no faster than this machine's boot time.
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
            retired: Walk::default(),
            first: 0,
            single: false,
            leaves: Vec::new(),
            tiles: Vec::new(),
            replies: Vec::new(),
            broken: None,
            kinds: Kinds::default(),
        };
        writer.exclusive = writer.head.exclusive.drain(..).collect();
        writer
    }

    /// Works until everybody who could ask is gone, somebody closes, or something broke for good.
    pub(crate) fn work(mut self, mut inbox: mpsc::Receiver<Message>) {
        let _guard = Panicked(Arc::clone(&self.config.on_fatal));
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while inbox.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            gather(&mut inbox, &mut batch);
            let mut closing = None;
            batch.retain_mut(|message| match message {
                Message::Close(answer) => {
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
                // First: nobody may act on an answer while the process should be gone.
                (self.config.on_fatal)(&fault);
                for reply in self.replies.drain(..) {
                    reply.send(Some(&fault));
                }
                return;
            }
            if let Some(answer) = closing {
                inbox.close();
                let settled = self.store.settle();
                // The connection and the lock go before the answer: then the store can be opened again.
                drop(self);
                let _ = answer.send(settled);
                return;
            }
        }
    }

    /// One transaction. An error is fatal.
    fn batch(&mut self, messages: &mut Vec<Message>) -> Result<(), Fault> {
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
                self.kinds = Kinds::default();
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
                self.kinds = Kinds::default();
                self.reload()?;
                for reply in self.replies.drain(..) {
                    reply.send(Some(&fault));
                }
                Ok(())
            }
        }
    }

    /// Memory as the store has it, after a batch was undone.
    fn reload(&mut self) -> Result<(), Fault> {
        let as_fatal = |fault: Fault| Fault::broken("reading the store again after an undone batch", fault.to_string());
        self.head = self.store.head().map_err(as_fatal)?;
        self.exclusive = self.head.exclusive.drain(..).collect();
        self.edge = Edge::load(&mut *self.store, self.head.size).map_err(as_fatal)?;
        Ok(())
    }

    fn write_out(&mut self, before: &Head, notes: &[crate::store::CheckpointRow]) -> Result<(), Fault> {
        self.store.append(before.size, &self.leaves, &self.tiles)?;
        self.tiles.clear();
        if let Some(size) = self.store.put_checkpoints(notes)? {
            let message = format!("the log had another root at size {size}: it would be forked");
            return Err(Fault::broken("keeping checkpoints", message));
        }
        let state = |head: &Head| (head.boundary, head.seal, head.version, head.mark);
        if state(before) != state(&self.head) {
            self.store.set_head(&self.head)?;
        }
        self.kinds.pass(false);
        // A crash before this leaves nothing of the batch, after it all: who was not answered asks again and finds it
        // (same nonce, same proposal); runs without a receipt are recovery's.
        self.store.commit()
    }

    /// Shows readers the tree, as read back from the store.
    fn publish(&mut self, before: &Head) -> Result<(), Fault> {
        if self.head.size > before.size {
            let stored = self.store.leaf_hashes(before.size..self.head.size)?;
            if !stored.iter().eq(self.leaves.iter().map(|leaf| &leaf.hash)) {
                return Err(Fault::broken("reading leaf hashes back", "the store gave back other hashes than it took"));
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
            self.shared.publish(Published { head: head.clone(), edge });
        }
        Ok(())
    }

    fn apply(&mut self, messages: &mut Vec<Message>) {
        let (mut finishes, mut consumes) = (Vec::new(), Vec::new());
        for message in messages.drain(..) {
            match message {
                Message::Consume(consume, answer) => consumes.push((consume, answer)),
                Message::Finish(finish, answer) => finishes.push((finish, answer)),
                Message::Seal(seal, answer) => self.step(Kind::Seal, answer, |w| w.seal(*seal)),
                Message::Propose(new, answer) => self.step(Kind::Proposal, answer, |w| w.propose(&new).map(Ok)),
                Message::Sign(id, sigs, answer) => self.step(Kind::Proposal, answer, |w| w.sign(&id, &sigs)),
                Message::Deny(denial, answer) => self.step(Kind::Denial, answer, |w| w.deny(*denial)),
                Message::Advance(advance, answer) => self.step(Kind::Advance, answer, |w| w.advance(&advance)),
                Message::Refuse(data, at, answer) => self.step(Kind::Refusal, answer, |w| w.refuse(data, at)),
                Message::Expire(now, answer) => {
                    // By a clock that leapt ahead nothing ends.
                    let by = if self.shared.clock_ahead(now).is_some() { self.head.last_at } else { now };
                    self.step(Kind::Advance, answer, |w| w.store.expire(by, MAX_EXPIRED).map(Ok));
                }
                Message::Prune(limit, answer) => self.step(Kind::Prune, answer, |w| w.prune(limit).map(Ok)),
                Message::Retire(retention, limit, answer) => {
                    self.step(Kind::Retire, answer, |w| w.retire(retention, limit).map(Ok));
                }
                // Taken out before.
                Message::Close(_) => {}
            }
        }
        if !finishes.is_empty() {
            self.group(Kind::Receipt, finishes, Self::finish);
        }
        if !consumes.is_empty() {
            self.group(Kind::Consume, consumes, Self::consume);
        }
    }

    fn step<T, E>(
        &mut self,
        kind: Kind,
        answer: Answer<T, E>,
        work: impl FnOnce(&mut Self) -> Result<Result<T, E>, Fault>,
    ) where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
    {
        self.kinds.add(kind);
        let result = self.alone(work).unwrap_or_else(|fault| Err(fault.into()));
        self.replies.push(Box::new(Ready { answer, result }));
    }

    /// Works on one message, or on a group that is judged together, so that a fault of it takes nothing else along: what
    /// the database would not take is taken back, the rest of the batch stays. Where that can't be, the batch is broken.
    fn alone<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
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
                Err(fault @ Fault::Database { .. }) => match self.take_back(head, leaves) {
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

    /// Memory and rows as they were before a message that failed.
    fn take_back(&mut self, head: Head, leaves: usize) -> Result<(), Fault> {
        self.store.undo()?;
        self.head = head;
        self.leaves.truncate(leaves);
        self.tiles.clear();
        // Leaves of this batch are rows only at its end: those that stay are appended again.
        self.edge = Edge::load(&mut *self.store, self.first)?;
        for leaf in &self.leaves {
            self.edge.append(leaf.hash, &mut self.tiles);
        }
        self.exclusive = self.store.head()?.exclusive.into_iter().collect();
        Ok(())
    }

    fn group<M, T, E>(
        &mut self,
        kind: Kind,
        group: Vec<(Box<M>, Answer<T, E>)>,
        work: impl Fn(&mut Self, &mut [Box<M>]) -> Result<Vec<Result<T, E>>, Fault>,
    ) where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
    {
        let (mut items, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let results = match self.alone(|writer| work(writer, &mut items)) {
            Ok(results) => results,
            // One of them is to blame: each by itself.
            Err(_) if self.broken.is_none() && items.len() > 1 => {
                let one = |item: &mut Box<M>| {
                    let done = self.alone(|writer| work(writer, std::slice::from_mut(item)));
                    done.map_or_else(|fault| Err(fault.into()), |mut done| done.remove(0))
                };
                items.iter_mut().map(one).collect()
            }
            Err(fault) => answers.iter().map(|_| Err(fault.clone().into())).collect(),
        };
        // Where nothing was claimed or closed, nothing of this kind is committed.
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

    /// Judges all that want to run, then claims and logs what may: one leaf for so many nonces, see [`MAX_ITEMS`].
    fn consume(&mut self, requests: &mut [Box<Consume>]) -> Result<Vec<Result<Consumed, ConsumeStop>>, Fault> {
        let cores: Vec<_> = requests.iter().map(|request| &request.core).collect();
        let candidates = self.store.candidates(&cores)?;
        // Time is judged here; `at` never decreases, whatever the clock does.
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
            // The same nonce twice in one batch: the first that may run has it.
            let judged = match places.get(request.core.nonce.as_str()) {
                Some(&number) => {
                    let (index, item) = place(number);
                    let winner: &(&Consume, bool) = &passed[number];
                    Err(ConsumeStop::Replayed(Spent { index, item, proposal: winner.0.core.id.clone() }))
                }
                None if ids.contains(&request.core.id) => Err(ConsumeStop::WrongState(Status::Running)),
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
                consumed.push(Consumed { index: leaf.index, item, leaf: leaf.hash, data, at, seal });
            }
        }
        self.store.start(&runs)?;
        Ok(results.into_iter().map(|result| result.map(|number: usize| consumed[number].clone())).collect())
    }

    /// Whether one request may run now.
    fn judge(&self, request: &Consume, candidate: &Candidate, at: Timestamp) -> Result<(), ConsumeStop> {
        // First: whatever else changed, who replays is shown the run that there was.
        if let Some(spent) = &candidate.spent {
            return Err(ConsumeStop::Replayed(spent.clone()));
        }
        // R3: the state of the verdict must still be in force. The seal as well: a version alone could be newer than
        // the registry that the verdict was made with.
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
            Some((_, status)) if !status.may_become(Status::Running) => return Err(ConsumeStop::WrongState(status)),
            _ => {}
        }
        // The row keeps the expiry that pruning goes by: it must be the judged one.
        if request.window.expires_at != request.core.expires_at {
            return Err(ConsumeStop::BadWindow);
        }
        let _open = request.window.check(at, self.head.mark)?;
        if let Some(holder) = request.exclusive.as_deref().and_then(|name| self.exclusive.get(name)) {
            return Err(ConsumeStop::ExclusiveBusy { holder: holder.clone() });
        }
        Ok(())
    }

    /// The consumption's envelope: the one document that the store signs itself.
    fn sign_leaf(&self, consumption: Consumption) -> Result<Vec<u8>, Fault> {
        let unwritable = |message: String| Fault::Database { during: "writing a consumption", message };
        let payload = consumption.into_statement().to_payload().map_err(|error| unwritable(error.to_string()))?;
        let sig = (self.config.signer.sign)(&pae(PAYLOAD_TYPE, &payload));
        let signature = EnvelopeSignature::new(self.config.signer.keyid, &sig);
        Envelope::new(&payload, vec![signature]).to_canonical().map_err(|error| unwritable(error.to_string()))
    }

    fn finish(&mut self, ends: &mut [Box<Hashed<Finish>>]) -> Result<Vec<Result<LeafRef, FinishStop>>, Fault> {
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
                    (Status::Running, Some(_), None) if end.receipt.len() > MAX_ENTRY_BYTES => {
                        Err(FinishStop::TooLarge { bytes: end.receipt.len() })
                    }
                    (Status::Running, Some(consumption), None) => Ok(consumption),
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

    fn seal(&mut self, write: SealWrite) -> Result<Result<Sealed, WriteStop>, Fault> {
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
            // The first seal makes the boundary: its digest is the id. The mark begins with it.
            self.head.boundary = Some(write.digest);
            self.anchor = (self.head.mark.max(write.at), (self.config.boottime)());
        }
        self.head.seal = Some(write.digest);
        self.head.version += 1;
        Ok(Ok(Sealed { leaf, version: self.head.version }))
    }

    /// What every leaf from outside must be: small enough, and not dated before the last.
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

    fn propose(&mut self, new: &NewProposal) -> Result<Proposed, Fault> {
        let precedent = self.store.precedent(new)?;
        if let Some(taken) = precedent.taken {
            let same = taken.request == Some(new.request)
                && taken.core.proposer == new.core.proposer
                && taken.core.nonce == new.core.nonce;
            return Ok(if same { Proposed::Same(Box::new(taken)) } else { Proposed::Conflict(Box::new(taken)) });
        }
        if let Some(identical) = precedent.identical {
            return Ok(Proposed::Same(Box::new(identical)));
        }
        let limits = self.config.limits;
        if precedent.unsigned >= limits.unsigned_of_proposer
            && let Some(first) = precedent.unsigned_first
        {
            let until = first.plus(UNSIGNED_KEPT_S);
            return Ok(Proposed::TooManyKept { most: limits.unsigned_of_proposer, until });
        }
        if precedent.of_proposer >= limits.of_proposer {
            return Ok(Proposed::TooMany { most: limits.of_proposer, of_proposer: true });
        }
        if precedent.of_all >= limits.of_all {
            return Ok(Proposed::TooMany { most: limits.of_all, of_proposer: false });
        }
        self.store.put_proposal(new)?;
        Ok(Proposed::New)
    }

    fn standing(&mut self, id: &ProposalId) -> Result<Option<Status>, Fault> {
        let mut standings = self.store.standings(&[id])?;
        Ok(standings.pop().flatten().map(|standing| standing.status))
    }

    fn sign(
        &mut self,
        id: &ProposalId,
        signatures: &[Signature],
    ) -> Result<Result<Vec<Signature>, AdvanceStop>, Fault> {
        match self.standing(id)? {
            None => Ok(Err(AdvanceStop::Unknown)),
            Some(status) if !status.waits() => Ok(Err(AdvanceStop::WrongState(status))),
            Some(_) => self.store.sign(id, signatures).map(Ok),
        }
    }

    fn deny(&mut self, write: DenialWrite) -> Result<Result<DenialDone, WriteStop>, Fault> {
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
                // It may have been handed in since it was looked for.
                let ahead = write.ahead && unfinished.is_none();
                if ahead && let Some(stop) = self.too_many_ahead(&write.approver, write.at)? {
                    return Ok(Err(stop));
                }
                let leaf = self.append(LeafKind::Denial, write.envelope).index;
                let denial = Denied { approver: write.approver, leaf, at: write.at };
                self.store.deny(&write.authorization, &denial, ahead)?;
                self.head.version += 1;
                leaf
            }
        };
        let mut done = DenialDone { leaf, denied: None, running: None };
        match unfinished {
            Some((id, standing)) if standing.status == Status::Running => done.running = Some(id),
            Some((id, standing)) if standing.status.may_become(Status::Denied) => {
                self.store.advance(&id, Status::Denied, write.at, &Vec::new())?;
                done.denied = Some(id);
            }
            _ => {}
        }
        Ok(Ok(done))
    }

    /// Why a denial of what is not known here is not taken now. A denial of what is known is bounded by the proposals.
    fn too_many_ahead(&mut self, approver: &Name, now: Timestamp) -> Result<Option<WriteStop>, Fault> {
        let found = self.store.denials_ahead(approver, now.plus(-AHEAD_S))?;
        let full = |(count, first): (u64, Option<Timestamp>), most, of_approver| {
            let until = first.filter(|_| count >= most)?.plus(AHEAD_S);
            let wait_s = u64::try_from(until.unix() - now.unix()).unwrap_or(0).max(1);
            Some(WriteStop::TooManyAhead { most, of_approver, wait_s })
        };
        Ok(full(found.of_approver, MOST_AHEAD_OF_ONE, true).or_else(|| full(found.of_all, MOST_AHEAD, false)))
    }

    fn advance(&mut self, advance: &Advance) -> Result<Result<Status, AdvanceStop>, Fault> {
        let Some(status) = self.standing(&advance.proposal)? else { return Ok(Err(AdvanceStop::Unknown)) };
        let asked = advance.from.is_empty() || advance.from.contains(&status);
        // Runs begin by consuming and end by a receipt, nowhere else.
        let elsewhere = matches!(advance.to, Status::Running | Status::Finished);
        if !asked || elsewhere || !status.may_become(advance.to) {
            return Ok(Err(AdvanceStop::WrongState(status)));
        }
        self.store.advance(&advance.proposal, advance.to, advance.at, &advance.detail)?;
        if advance.to == Status::Cancelled {
            self.head.version += 1;
        }
        Ok(Ok(status))
    }

    fn refuse(&mut self, data: Vec<u8>, at: Timestamp) -> Result<Result<LeafRef, WriteStop>, Fault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal));
        }
        if let Err(stop) = self.check_leaf(&data, Some(at)) {
            return Ok(Err(stop));
        }
        self.head.last_at = at;
        Ok(Ok(self.append(LeafKind::Refusal, data)))
    }

    /// Raises the mark and, in the same commit, forgets some nonces that expired at or below it.
    fn prune(&mut self, limit: usize) -> Result<Pruned, Fault> {
        let clock = (self.config.clock)();
        let elapsed = (self.config.boottime)().saturating_sub(self.anchor.1);
        let ceiling = self.anchor.0.plus(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
        // By the boundary's own time, which may be ahead of the clock: what has expired by it stays expired after a restart.
        self.head.mark = self.head.mark.max(self.shared.now().min(ceiling));
        // A mark that is ahead of the clock judges, but deletes nothing: it may have been set by hand.
        let swept = self.store.prune(self.head.mark.min(clock), &self.pruned, limit.max(1))?;
        let done = swept.last.is_none();
        self.pruned = swept.last.unwrap_or_default();
        Ok(Pruned {
            mark: self.head.mark,
            deleted: swept.deleted,
            ahead_s: (clock.unix() - ceiling.unix()).max(0),
            done,
        })
    }

    /// Deletes some of what its retention has ended. Age is counted by the mark: a clock that leaps deletes nothing, nor
    /// does a mark that is ahead of it.
    fn retire(&mut self, retention: Retention, limit: usize) -> Result<Retired, Fault> {
        let mark = self.head.mark.min((self.config.clock)());
        let cut = Cut {
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

/// Where several ask at one time, lets those go first who are about to ask as well: a batch has its costs whatever is in
/// it. No delay: who asks alone is served at once, and where no core is short so is everybody.
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

/// A result that waits for the commit.
trait Reply: Send {
    /// Tells it, or the fault that undid it.
    fn send(self: Box<Self>, fault: Option<&Fault>);
}

struct Ready<T, E> {
    answer: Answer<T, E>,
    result: Result<T, E>,
}

impl<T: Send, E: From<Fault> + Send> Reply for Ready<T, E> {
    fn send(self: Box<Self>, fault: Option<&Fault>) {
        let result = match fault {
            Some(fault) => Err(fault.clone().into()),
            None => self.result,
        };
        // Who asked may be gone; what was done is done and can be read.
        let _ = self.answer.send(result);
    }
}

/// Ends the process when the writer panics: nothing could be written any more.
struct Panicked(Arc<dyn Fn(&Fault) + Send + Sync>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(&Fault::broken("writing", "the writer panicked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(taken: usize, waiting: usize) -> usize {
        let (inbox, mut outbox) = mpsc::channel(MAX_BATCH * 2);
        let message = || Message::Prune(1, oneshot::channel().0);
        (0..waiting).for_each(|_| assert!(inbox.try_send(message()).is_ok()));
        let mut batch: Vec<_> = (0..taken).map(|_| message()).collect();
        gather(&mut outbox, &mut batch);
        batch.len()
    }

    #[test]
    fn a_single_caller_is_served_at_once_and_waiting_callers_share_a_batch() {
        assert_eq!(batch_of(1, 3), 1);
        assert_eq!(batch_of(2, 3), 5);
        assert_eq!(batch_of(2, 0), 2);
        assert_eq!(batch_of(2, MAX_BATCH + 7), MAX_BATCH);
    }
}
