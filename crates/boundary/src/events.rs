//! The events of a proposal. A reader that starts later gets the same events in the same order with the same numbers.
//!
//! Event 1 is `pending`. The signatures follow in the order of arrival, then `approved`, `running`, the pieces of the
//! output, a mark for each truncated stream, `exit`, `finished` and the receipt. Each event comes from stored or
//! recorded data, so a reader can continue after any number, even after a restart of the service. The event that states
//! why an approved run is delayed is temporary and has no number.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{Caller, Proposals, proposals::stored_refusal};
use crossing::{Cursor, NextPiece, Piece, Recording, RequestResult, SLICE, fault, receipt_of};
use documents::{Code, ProposalId, Receipt, StreamName};
use store::Proposal;
use wire::{Event, ProposalStatus, RefusalView};

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
    changes: watch::Receiver<u64>,
    phase: Phase,
    ready: VecDeque<Event>,
}

enum Phase {
    /// The run has not begun. The fields state which events were sent.
    Waiting {
        began: bool,
        signatures: usize,
        approved: bool,
        held_up: Option<RefusalView>,
    },
    /// The run is in progress, and its output is read from the recording.
    Running { cursor: Cursor },
    /// The run is over, and its output is read from the store.
    Replaying {
        cursor: Cursor,
        order: Vec<u8>,
        receipt: Box<Receipt>,
    },
    /// All events were sent.
    Over,
}

impl Proposals {
    /// Returns the events of a proposal with numbers above `after`.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see the proposal.
    pub fn events(
        self: &Arc<Self>,
        caller: &Caller,
        id: &ProposalId,
        after: u64,
    ) -> RequestResult<Events> {
        self.visible(caller, id)?;
        Ok(Events {
            proposals: self.clone(),
            caller: caller.clone(),
            id: id.clone(),
            after,
            number: 0,
            changes: self.changes.watch(id),
            phase: Phase::Waiting {
                began: false,
                signatures: 0,
                approved: false,
                held_up: None,
            },
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
            // A change after this point ends the wait below, so that no change is missed.
            self.changes.mark_unchanged();
            let recording = self.proposals.live.find(&self.id);
            let mut output = recording.as_ref().map(|recording| recording.changes());
            let news = match self.advance(recording.as_deref()) {
                Ok(news) => news,
                Err(stopped) => {
                    tracing::warn!(proposal = %self.id, "events end early: {stopped}");
                    return None;
                }
            };
            // A reader must not keep the recording of a run that has ended, because its file uses disk space.
            drop(recording);
            match (news, &mut output) {
                (News::Events, _) => {}
                (News::None, _) if matches!(self.phase, Phase::Over) => return None,
                (News::Soon, _) => tokio::time::sleep(SLICE).await,
                (News::None, Some(output)) => {
                    let _ = tokio::time::timeout(LOOK_AGAIN, async {
                        tokio::select! { _ = output.changed() => {} _ = self.changes.changed() => {} }
                    })
                    .await;
                }
                (News::None, None) => {
                    let _ = tokio::time::timeout(LOOK_AGAIN, self.changes.changed()).await;
                }
            }
        }
    }

    /// Queues the events that are available now.
    fn advance(&mut self, recording: Option<&Recording>) -> RequestResult<News> {
        let news = |more| if more { News::Events } else { News::None };
        match (&mut self.phase, recording) {
            (Phase::Running { cursor }, Some(recording)) => match recording.next(cursor) {
                NextPiece::Piece(piece) => {
                    self.piece(&piece, |_| recording.bytes(&piece).map_err(fault))?;
                    Ok(News::Events)
                }
                NextPiece::Soon => Ok(News::Soon),
                // The recording is dropped when the receipt is durable. The last events are sent after that.
                NextPiece::NotYet | NextPiece::End => Ok(News::None),
            },
            (Phase::Running { cursor }, None) => {
                let cursor = cursor.clone();
                let row = self.proposals.row(&self.id)?;
                self.replay(&row, cursor).map(news)
            }
            (Phase::Waiting { .. }, _) => {
                let row = self.proposals.row(&self.id)?;
                self.waiting(&row).map(news)
            }
            (Phase::Replaying { .. }, _) => self.replayed().map(news),
            (Phase::Over, _) => Ok(News::None),
        }
    }

    /// Queues the event of a piece. If the reader already has the event, the bytes are not read.
    fn piece(
        &mut self,
        piece: &Piece,
        bytes: impl FnOnce(&Proposals) -> RequestResult<Vec<u8>>,
    ) -> RequestResult {
        if self.number < self.after {
            self.number += 1;
        } else {
            let bytes = bytes(&self.proposals)?;
            self.ready.push_back(Event::output(
                piece.stream,
                piece.offset,
                piece.elapsed_ms,
                bytes,
            ));
        }
        Ok(())
    }

    fn replayed(&mut self) -> RequestResult<bool> {
        let Phase::Replaying {
            cursor,
            order,
            receipt,
        } = &mut self.phase
        else {
            return Ok(false);
        };
        if let Some(piece) = cursor.next(order) {
            let of = match piece.stream {
                StreamName::Stdout => &receipt.output.stdout,
                StreamName::Stderr => &receipt.output.stderr,
            };
            let (name, range) = (
                of.blake3,
                piece.offset..piece.offset + u64::from(piece.length),
            );
            // After its retention time, the output is deleted, but the receipt still has the digests.
            let stored = move |proposals: &Proposals| {
                Ok(proposals.ledger.output(&name, range)?.unwrap_or_default())
            };
            self.piece(&piece, stored)?;
            return Ok(true);
        }
        for (stream, of) in [
            (StreamName::Stdout, &receipt.output.stdout),
            (StreamName::Stderr, &receipt.output.stderr),
        ] {
            if of.truncated {
                self.ready.push_back(Event::Truncated {
                    stream,
                    bytes: of.bytes,
                    recorded: of.recorded,
                });
            }
        }
        self.ready.extend([
            Event::Exit {
                outcome: receipt.outcome.clone(),
            },
            Event::Status {
                status: ProposalStatus::Finished,
                code: None,
            },
            Event::Receipt {
                id: self.id.receipt(),
            },
        ]);
        self.phase = Phase::Over;
        Ok(true)
    }

    fn waiting(&mut self, row: &Proposal) -> RequestResult<bool> {
        let Phase::Waiting {
            began,
            signatures,
            approved,
            held_up,
        } = &mut self.phase
        else {
            return Ok(false);
        };
        let before = self.ready.len();
        if !*began {
            *began = true;
            self.ready.push_back(Event::Status {
                status: ProposalStatus::Pending,
                code: None,
            });
        }
        // A proposal accepts signatures only while it is pending. Here, the proposal is no longer pending, so the
        // number of signatures is final.
        let stored = self.proposals.ledger.signatures(&self.id)?;
        for signature in stored.iter().skip(*signatures) {
            self.ready.push_back(Event::Signature {
                approver: signature.person.clone(),
            });
        }
        *signatures = stored.len().max(*signatures);
        if row.approved_at.is_some() && !*approved {
            *approved = true;
            self.ready.push_back(Event::Status {
                status: ProposalStatus::Approved,
                code: None,
            });
        }
        match row.status {
            ProposalStatus::Pending => {}
            ProposalStatus::Approved => {
                let now = self.proposals.held_up.of(&self.id);
                if let Some(RefusalView { code, detail }) =
                    now.clone().filter(|why| held_up.as_ref() != Some(why))
                {
                    self.ready.push_back(Event::HeldUp { code, detail });
                }
                *held_up = now;
            }
            ProposalStatus::Running | ProposalStatus::Finished => {
                self.ready.push_back(Event::Status {
                    status: ProposalStatus::Running,
                    code: None,
                });
                self.phase = Phase::Running {
                    cursor: Cursor::default(),
                };
            }
            over => {
                let code = match over {
                    ProposalStatus::Denied => Some(Code::Denied),
                    ProposalStatus::Expired => Some(Code::Expired),
                    _ => stored_refusal(row).map(|view| view.code),
                };
                self.ready.push_back(Event::Status { status: over, code });
                self.phase = Phase::Over;
            }
        }
        Ok(self.ready.len() > before)
    }

    /// Continues with the stored output if the run is over.
    fn replay(&mut self, row: &Proposal, cursor: Cursor) -> RequestResult<bool> {
        if row.status != ProposalStatus::Finished {
            return Ok(false);
        }
        let Some(receipt) = receipt_of(&self.proposals.ledger, row)? else {
            return Ok(false);
        };
        let order = self
            .proposals
            .ledger
            .output_order(&self.id)?
            .unwrap_or_default();
        self.phase = Phase::Replaying {
            cursor,
            order,
            receipt: Box::new(receipt),
        };
        self.replayed()
    }
}

/// Result of one step of a reader.
enum News {
    /// Events are queued or skipped.
    Events,
    /// The next event is available after [`SLICE`].
    Soon,
    /// No event is available until the next change.
    None,
}
