//! The events of a proposal. A reader that starts later gets the same events in the same order with the same numbers.
//!
//! Event 1 is `pending`. The signatures follow in the order of arrival, then `approved`, `running`, the pieces of the
//! output, `exit`, `finished` and the receipt. Each event comes from stored or recorded data, so a reader can continue
//! after any number, even after a restart of the service. The event that states why an approved run is delayed is
//! temporary and has no number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::boundary::proposals::{Proposals, view_status};
use crate::boundary::view::{Event, ProposalStatus, RefusalView};
use crate::crossing::caller::Caller;
use crate::crossing::live::{Cursor, NextPiece, Piece, decode_order};
use crate::crossing::refusal::{Stopped, fault};
use crate::crossing::stored_documents::receipt_of;
use crate::crypto::json;
use crate::record::code::Code;
use crate::record::ident::ProposalId;
use crate::record::receipt::Receipt;
use crate::record::stream_name::StreamName;
use crate::store::stored_proposal::Proposal;
use crate::store::stored_status::StoredStatus;

/// Interval between two checks of the proposal's state, after the nonce is spent and before the recording begins. A
/// reader could miss a change during this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A reader of a proposal's events.
pub struct Events {
    proposals: Arc<Proposals>,
    caller: Caller,
    id: ProposalId,
    /// Number of the last event that the reader already has.
    after: u64,
    number: u64,
    phase: Phase,
    ready: VecDeque<Event>,
}

enum Phase {
    /// The run has not begun. The fields state which events were sent.
    Waiting { began: bool, signatures: usize, approved: bool, held_up: Option<RefusalView> },
    /// The run is in progress, and its output is read from the recording.
    Running { cursor: Cursor },
    /// The run is over, and its output is read from the store.
    Replaying { cursor: Cursor, order: VecDeque<(StreamName, u32)>, receipt: Box<Receipt> },
    /// All events were sent.
    Over,
}

impl Proposals {
    /// Returns the events of a proposal with numbers above `after`.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see the proposal.
    pub fn events(self: &Arc<Self>, caller: &Caller, id: &ProposalId, after: u64) -> Result<Events, Stopped> {
        let _ = self.visible(caller, id)?;
        Ok(Events {
            proposals: self.clone(),
            caller: caller.clone(),
            id: id.clone(),
            after,
            number: 0,
            phase: Phase::Waiting { began: false, signatures: 0, approved: false, held_up: None },
            ready: VecDeque::new(),
        })
    }
}

impl Events {
    fn still(&self) -> bool {
        let crossing = &self.proposals.crossing;
        self.caller.still(&crossing.state(), crossing.now())
    }

    /// Returns the next event and its number. Returns `None` after the last event, or after the reader's token has
    /// expired.
    pub async fn next(&mut self) -> Option<(u64, Event)> {
        loop {
            if !self.still() {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                // A numbered temporary event would change the numbers of the durable events after it.
                if matches!(event, Event::HeldUp { .. }) {
                    return Some((self.number.max(self.after), event));
                }
                self.number += 1;
                if self.number > self.after {
                    return Some((self.number, event));
                }
                continue;
            }
            let mut changes = self.proposals.changes.watch(&self.id);
            match self.advance() {
                Ok(true) => {}
                Ok(false) if matches!(self.phase, Phase::Over) => return None,
                Ok(false) => {
                    let recording = self.proposals.live.find(&self.id);
                    match recording.map(|recording| recording.changes()) {
                        // Check for output once more before the wait, because a piece may have arrived after the
                        // previous check.
                        Some(mut output) => {
                            if self.advance().is_ok_and(|more| more) {
                                continue;
                            }
                            let _ = tokio::time::timeout(LOOK_AGAIN, async {
                                tokio::select! { _ = output.changed() => {} _ = changes.changed() => {} }
                            })
                            .await;
                        }
                        None => {
                            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
                        }
                    }
                }
                Err(stopped) => {
                    tracing::warn!(proposal = %self.id, "events end early: {stopped}");
                    return None;
                }
            }
        }
    }

    /// Queues the events that are available now. Returns false if no event is available yet.
    fn advance(&mut self) -> Result<bool, Stopped> {
        let row = self.proposals.row(&self.id)?;
        match &mut self.phase {
            Phase::Waiting { .. } => self.waiting(&row),
            Phase::Running { cursor } => {
                let Some(recording) = self.proposals.live.find(&self.id) else {
                    if row.status == StoredStatus::Finished {
                        let cursor = cursor.clone();
                        return self.replay(&row, cursor);
                    }
                    return Ok(false);
                };
                match recording.next(cursor).map_err(|e| fault(&e))? {
                    NextPiece::Piece(piece) => {
                        self.ready.push_back(output(piece));
                        Ok(true)
                    }
                    // The recording is dropped when the receipt is durable. The last events are sent after that.
                    NextPiece::NotYet | NextPiece::End => Ok(false),
                }
            }
            Phase::Replaying { cursor, order, receipt } => {
                if let Some((stream, length)) = order.pop_front() {
                    let offset = cursor.step(stream, length);
                    let of = match stream {
                        StreamName::Stdout => &receipt.output.stdout,
                        StreamName::Stderr => &receipt.output.stderr,
                    };
                    let range = offset..offset + u64::from(length);
                    let bytes = self.proposals.ledger.output(&of.blake3, range).map_err(|e| fault(&e))?;
                    // The output was deleted after its retention time, but the receipt still has the digests.
                    let bytes = bytes.unwrap_or_default();
                    self.ready.push_back(output(Piece { stream, offset, bytes }));
                    return Ok(true);
                }
                self.ready.push_back(Event::Exit { outcome: receipt.outcome.clone() });
                self.ready.push_back(Event::Status { status: ProposalStatus::Finished, code: None });
                self.ready.push_back(Event::Receipt { id: self.id.receipt() });
                self.phase = Phase::Over;
                Ok(true)
            }
            Phase::Over => Ok(false),
        }
    }

    fn waiting(&mut self, row: &Proposal) -> Result<bool, Stopped> {
        let Phase::Waiting { began, signatures, approved, held_up } = &mut self.phase else { return Ok(false) };
        let before = self.ready.len();
        if !*began {
            *began = true;
            self.ready.push_back(Event::Status { status: ProposalStatus::Pending, code: None });
        }
        // A proposal accepts signatures only while it is pending. At this point it is no longer pending, so the number
        // of signatures is final.
        let stored = self.proposals.ledger.signatures(&self.id).map_err(|e| fault(&e))?;
        for signature in stored.iter().skip(*signatures) {
            self.ready.push_back(Event::Signature { approver: signature.person.clone() });
        }
        *signatures = stored.len().max(*signatures);
        if row.approved_at.is_some() && !*approved {
            *approved = true;
            self.ready.push_back(Event::Status { status: ProposalStatus::Approved, code: None });
        }
        match row.status {
            StoredStatus::Pending => {}
            StoredStatus::Approved => {
                let now = self.proposals.held_up.of(&self.id);
                if let Some(RefusalView { code, detail }) = now.clone().filter(|why| held_up.as_ref() != Some(why)) {
                    self.ready.push_back(Event::HeldUp { code, detail });
                }
                *held_up = now;
            }
            StoredStatus::Running | StoredStatus::Finished => {
                self.ready.push_back(Event::Status { status: ProposalStatus::Running, code: None });
                self.phase = Phase::Running { cursor: Cursor::default() };
            }
            over => {
                let detail =
                    row.detail.as_ref().and_then(|detail| json::parse_as::<RefusalView>(detail, detail.len()).ok());
                let code = match over {
                    StoredStatus::Denied => Some(Code::Denied),
                    StoredStatus::Expired => Some(Code::Expired),
                    _ => detail.map(|view| view.code),
                };
                self.ready.push_back(Event::Status { status: view_status(over), code });
                self.phase = Phase::Over;
            }
        }
        Ok(self.ready.len() > before)
    }

    fn replay(&mut self, row: &Proposal, cursor: Cursor) -> Result<bool, Stopped> {
        let Some(receipt) = receipt_of(&self.proposals.ledger, row)? else { return Ok(false) };
        let order = self.proposals.ledger.output_order(&self.id).map_err(|e| fault(&e))?.unwrap_or_default();
        let order = decode_order(&order).into_iter().skip(cursor.number()).collect();
        self.phase = Phase::Replaying { cursor, order, receipt: Box::new(receipt) };
        self.advance()
    }
}

fn output(piece: Piece) -> Event {
    use base64::Engine as _;
    match String::from_utf8(piece.bytes) {
        Ok(text) => Event::Output { stream: piece.stream, offset: piece.offset, text: Some(text), base64: None },
        Err(error) => Event::Output {
            stream: piece.stream,
            offset: piece.offset,
            text: None,
            base64: Some(base64::engine::general_purpose::STANDARD.encode(error.as_bytes())),
        },
    }
}
