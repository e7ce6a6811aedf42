//! Messages to the writer, with their answers, and the end of the process after a panic of the writer.

use std::{cell::Cell, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    AdvanceStop, Consume, ConsumeStop, DenialResult, DenialWrite, Finish, FinishStop, GrantWrite,
    IdTokenUse, LeafRef, NewProposal, PackedRow, ProposalStatus, ProposalStep, ProposeResult,
    PruneResult, Questions, Retention, Retired, ReviewWrite, RevocationResult, RevocationWrite,
    SealWrite, Signature, SpentNonce, StoreFault, StoreResult, StoredGrant, Telling, WriteStop,
};
use documents::{Hash, ProposalId, Timestamp};

/// Period in seconds for which denials of unknown authorizations are counted.
pub const AHEAD_S: i64 = 86_400;

/// Channel for the answer to a message.
pub type ReplySender<T, E> = oneshot::Sender<Result<T, E>>;

/// A message with the channel for its answer. The result stays here until the batch is durable.
pub struct Asked<M, T, E> {
    pub message: M,
    answer: Cell<Option<ReplySender<T, E>>>,
    result: Cell<Option<Result<T, E>>>,
}

impl<M, T, E> Asked<M, T, E> {
    /// Stores the result until the batch is durable.
    pub fn set(&self, result: Result<T, E>) {
        self.result.set(Some(result));
    }
}

impl<M, T, E: From<StoreFault>> Asked<M, T, E> {
    pub const fn new(message: M, answer: ReplySender<T, E>) -> Self {
        Self {
            message,
            answer: Cell::new(Some(answer)),
            result: Cell::new(None),
        }
    }

    /// Sends the result, or the fault that undid the batch. A second call sends nothing.
    pub fn send(&self, fault: Option<&StoreFault>) {
        let result = match (fault, self.result.take()) {
            (None, Some(result)) => result,
            (None, None) => Err(StoreFault::Closed.into()),
            (Some(fault), _) => Err(fault.clone().into()),
        };
        if let Some(answer) = self.answer.take() {
            // The receiver may be gone. A later call can read the result from the store.
            let _ = answer.send(result);
        }
    }
}

/// A message in a box of its own, because the queue copies its entries.
pub type BoxedMessage<M, T, E> = Box<Asked<M, T, E>>;

/// A request to the writer.
pub enum WriterMessage {
    Consume(BoxedMessage<Consume, SpentNonce, ConsumeStop>),
    /// The hash of the leaf comes with the message, because senders run in parallel and the writer is one thread.
    Finish(BoxedMessage<(Finish, Hash), LeafRef, FinishStop>),
    Seal(BoxedMessage<SealWrite, LeafRef, WriteStop>),
    Propose(BoxedMessage<NewProposal, ProposeResult, StoreFault>),
    /// The last value is true for the signatures of people.
    Sign(BoxedMessage<(ProposalId, Vec<Signature>, bool), Vec<Signature>, AdvanceStop>),
    Deny(BoxedMessage<DenialWrite, DenialResult, WriteStop>),
    Revoke(BoxedMessage<RevocationWrite, RevocationResult, WriteStop>),
    Review(BoxedMessage<ReviewWrite, LeafRef, WriteStop>),
    Grant(BoxedMessage<GrantWrite, StoredGrant, WriteStop>),
    Tell(BoxedMessage<Telling, (), StoreFault>),
    Admit(BoxedMessage<IdTokenUse, bool, StoreFault>),
    Advance(BoxedMessage<ProposalStep, ProposalStatus, AdvanceStop>),
    Refuse(BoxedMessage<(Arc<[u8]>, Timestamp), LeafRef, WriteStop>),
    Expire(BoxedMessage<Timestamp, Vec<ProposalId>, StoreFault>),
    Prune(BoxedMessage<usize, PruneResult, StoreFault>),
    Retire(BoxedMessage<(Retention, usize), Retired, StoreFault>),
    /// Stores a packed tile.
    Pack(BoxedMessage<PackedRow, (), StoreFault>),
    /// Records a waiting checkpoint. The answer shows that the writer works.
    Ping(BoxedMessage<(), (), StoreFault>),
    Close(BoxedMessage<(), (), StoreFault>),
}

impl WriterMessage {
    pub fn send(&self, fault: Option<&StoreFault>) {
        match self {
            Self::Consume(asked) => asked.send(fault),
            Self::Finish(asked) => asked.send(fault),
            Self::Seal(asked) => asked.send(fault),
            Self::Propose(asked) => asked.send(fault),
            Self::Sign(asked) => asked.send(fault),
            Self::Deny(asked) => asked.send(fault),
            Self::Revoke(asked) => asked.send(fault),
            Self::Review(asked) => asked.send(fault),
            Self::Grant(asked) => asked.send(fault),
            Self::Tell(asked) => asked.send(fault),
            Self::Admit(asked) => asked.send(fault),
            Self::Advance(asked) => asked.send(fault),
            Self::Refuse(asked) => asked.send(fault),
            Self::Expire(asked) => asked.send(fault),
            Self::Prune(asked) => asked.send(fault),
            Self::Retire(asked) => asked.send(fault),
            Self::Pack(asked) => asked.send(fault),
            Self::Ping(asked) | Self::Close(asked) => asked.send(fault),
        }
    }
}

/// Collects the questions to the store that the checks of the messages need.
pub fn questions(messages: &[WriterMessage]) -> Questions<'_> {
    let mut questions = Questions::default();
    for message in messages {
        match message {
            WriterMessage::Consume(asked) => {
                questions.runs.push(&asked.message.core);
                if let Some(claim) = &asked.message.claim {
                    let uses = questions.uses.iter();
                    let earlier = uses.filter(|(one, _)| one.grant == claim.grant).count();
                    questions.uses.push((claim, earlier as u64));
                }
            }
            WriterMessage::Finish(asked) => questions.proposals.push(&asked.message.0.proposal),
            WriterMessage::Advance(asked) => questions.proposals.push(&asked.message.proposal),
            WriterMessage::Propose(asked) => questions.new.push(&asked.message),
            WriterMessage::Sign(asked) => {
                questions.proposals.push(&asked.message.0);
                questions.signed.push(&asked.message.0);
            }
            WriterMessage::Deny(asked) => questions.denials.push(&asked.message),
            _ => {}
        }
    }
    questions
}

pub fn answer_idle(message: &WriterMessage, result: StoreResult) {
    if let WriterMessage::Ping(asked) | WriterMessage::Close(asked) = message {
        asked.set(result);
        asked.send(None);
    }
}

/// Ends the process if the writer panics, because no other thread can write.
pub struct Panicked(pub Arc<dyn Fn(&StoreFault) + Send + Sync>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(&StoreFault::broken("writing", "the writer panicked"));
        }
    }
}
