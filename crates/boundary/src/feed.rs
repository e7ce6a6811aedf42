//! The events of the whole boundary, for readers and for targets of messages.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{Caller, Proposals, fail, proposals::stored_refusal};
use crossing::{RequestResult, fault, receipt_of};
use documents::{Code, RosteredApprover, Scope, StatementKey, revoked};
use store::{EntryEvent, EventFact, StoredEvent, opened};
use wire::{FeedEvent, FeedKind, GrantStatus, ProposalStatus, SignedBy};

/// Maximum number of events that one read returns.
const PAGE: usize = 256;
/// Pause after a wait for news, so that one read of a busy boundary returns many events.
const PAUSE: Duration = Duration::from_millis(20);
/// Interval between two checks of the caller's token while nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A reader of the events.
pub struct Feed {
    proposals: Arc<Proposals>,
    caller: Caller,
    /// The approver of `for=me`. `None` if the reader wants the events of all people.
    person: Option<RosteredApprover>,
    after: u64,
    news: watch::Receiver<u64>,
    ready: VecDeque<StoredEvent>,
}

impl Proposals {
    /// Returns a reader of the events with numbers above `after`, or of the events from now on.
    ///
    /// # Errors
    /// Returns `unauthenticated` for a caller without a name, `forbidden` if `for_me` is true and the caller is no
    /// approver, and `not-found` if there is no event `after`.
    pub fn feed(
        self: &Arc<Self>,
        caller: &Caller,
        after: Option<u64>,
        for_me: bool,
    ) -> RequestResult<Feed> {
        let name = caller.demand_name()?;
        let person = for_me.then(|| self.crossing.state().roster.approver(name).cloned());
        if person == Some(None) {
            return fail(
                Code::Forbidden,
                format!(
                    "?for=me is for approvers who read with their own key, and {name} is no approver"
                ),
            );
        }
        // Subscribe before the first read, so that no event is missed.
        let news = self.ledger.event_news();
        let newest = self.ledger.newest_event()?;
        if let Some(after) = after.filter(|after| *after > newest) {
            let detail = format!(
                "there is no event {after} (the newest is {newest}), for example because the store was restored: leave \
                 `after` out to read new events"
            );
            return fail(Code::NotFound, detail);
        }
        let (proposals, after) = (self.clone(), after.unwrap_or(newest));
        Ok(Feed {
            proposals,
            caller: caller.clone(),
            person: person.flatten(),
            after,
            news,
            ready: VecDeque::new(),
        })
    }

    /// Returns the document of a stored event.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn event_view(&self, event: &StoredEvent) -> RequestResult<FeedEvent> {
        let mut view = FeedEvent::new(event.seq, event.at, kind_of(&event.what));
        if let Some((step, proposer)) = &event.proposed {
            (view.step, view.proposer) = (Some(step.clone()), Some(proposer.clone()));
        }
        match &event.what {
            EventFact::Proposal(id, status) => {
                view.proposal = Some(id.clone());
                // An unsigned proposal is deleted soon after its end, and the event then has no code.
                let row = || self.ledger.proposal(id);
                match status {
                    ProposalStatus::Finished => {
                        let receipt = row()?
                            .map(|row| receipt_of(&self.ledger, &row))
                            .transpose()?
                            .flatten();
                        view.outcome = receipt.map(|receipt| receipt.outcome.status);
                    }
                    ProposalStatus::Refused => {
                        let why = row()?.as_ref().and_then(stored_refusal);
                        view.code = why.map(|why| why.code);
                    }
                    _ => {}
                }
            }
            EventFact::Entry(entry, index) => {
                view.entry = Some(*index);
                if *entry == EntryEvent::Revocation {
                    let leaf = self.ledger.leaf(*index)?;
                    let leaf =
                        leaf.ok_or_else(|| fault(format!("log entry {index} is missing")))?;
                    view.subject =
                        Some(opened(&leaf.data).and_then(|(_, statement)| revoked(&statement))?);
                }
            }
            EventFact::Grant(id, leaf) => (view.grant, view.entry) = (Some(id.clone()), *leaf),
            EventFact::Attention(words) => view.words = Some(words.clone()),
            EventFact::Emergency(id) => view.proposal = Some(id.clone()),
            EventFact::Signed(id, person, keyid) => {
                let state = self.crossing.state();
                let passkey = match state.roster.statement_signer(keyid) {
                    Some((_, StatementKey::Passkey(key))) => Some(key.host().to_owned()),
                    _ => None,
                };
                view.proposal = Some(id.clone());
                view.signed = Some(SignedBy {
                    person: person.clone(),
                    keyid: *keyid,
                    passkey,
                });
            }
        }
        Ok(view)
    }
}

impl Feed {
    /// Returns the next event that the caller may see, or `None` after the caller's token has expired or the store
    /// failed.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        loop {
            let crossing = &self.proposals.crossing;
            if !self.caller.still(&crossing.state(), crossing.now()) {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                match self.shown(&event) {
                    Ok(None) => continue,
                    Ok(shown) => return shown,
                    Err(stopped) => {
                        tracing::warn!("events end early: {stopped}");
                        return None;
                    }
                }
            }
            // A change after this point ends the wait below, so that no event is missed.
            self.news.mark_unchanged();
            match self.proposals.ledger.events(self.after, PAGE) {
                Ok(events) if events.is_empty() => {
                    // If no event arrives in time, the loop checks the caller's token again.
                    let _ = tokio::time::timeout(LOOK_AGAIN, self.news.changed()).await;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(events) => self.ready.extend(events),
                Err(error) => {
                    tracing::warn!("events end early: {error}");
                    return None;
                }
            }
        }
    }

    fn shown(&self, event: &StoredEvent) -> RequestResult<Option<FeedEvent>> {
        let sees_all = self.caller.may(Scope::Read) || self.caller.may(Scope::Operate);
        let visible = match &event.proposed {
            Some((step, proposer)) => self.caller.may_see(proposer, step),
            // A token for some steps gets only the events of these steps.
            None => sees_all && !self.caller.is_limited(),
        };
        if !visible || !self.concerns_person(event)? {
            return Ok(None);
        }
        self.proposals.event_view(event).map(Some)
    }

    /// Returns true if the event is wanted. With `for=me`, these are proposals and drafts of grants that still wait for
    /// the signature of the person, signatures in the name of the person, emergencies, and the beginning and the end of
    /// a freeze.
    fn concerns_person(&self, event: &StoredEvent) -> RequestResult<bool> {
        let Some(person) = &self.person else {
            return Ok(true);
        };
        match &event.what {
            EventFact::Proposal(id, ProposalStatus::Pending) => {
                let Some(row) = self.proposals.ledger.proposal(id)? else {
                    return Ok(false);
                };
                if row.status != ProposalStatus::Pending {
                    return Ok(false);
                }
                let view = self.proposals.view(&row)?;
                Ok(view.status == ProposalStatus::Pending && view.approvals.need(person))
            }
            EventFact::Grant(id, None) => {
                let grant = self
                    .proposals
                    .ledger
                    .grant(id)?
                    .map(|row| self.proposals.grant_view(&row))
                    .transpose()?;
                Ok(grant.is_some_and(|view| {
                    view.status == GrantStatus::Pending && view.approvals.need(person)
                }))
            }
            EventFact::Entry(entry, _) => {
                Ok(matches!(entry, EntryEvent::Frozen | EntryEvent::Thawed))
            }
            EventFact::Emergency(_) => Ok(true),
            EventFact::Signed(_, signer, _) => Ok(*signer == person.name),
            EventFact::Proposal(..) | EventFact::Grant(..) | EventFact::Attention(_) => Ok(false),
        }
    }
}

/// Returns the kind of an event.
pub fn kind_of(what: &EventFact) -> FeedKind {
    match what {
        EventFact::Proposal(_, status) => match *status {
            ProposalStatus::Pending => FeedKind::Pending,
            ProposalStatus::Approved => FeedKind::Approved,
            ProposalStatus::Running => FeedKind::Running,
            ProposalStatus::Finished => FeedKind::Finished,
            ProposalStatus::Denied => FeedKind::Denied,
            ProposalStatus::Expired => FeedKind::Expired,
            ProposalStatus::Cancelled => FeedKind::Cancelled,
            ProposalStatus::Refused => FeedKind::Refused,
        },
        EventFact::Entry(EntryEvent::Revocation, _) => FeedKind::Revocation,
        EventFact::Entry(EntryEvent::Frozen, _) => FeedKind::Frozen,
        EventFact::Entry(EntryEvent::Thawed, _) => FeedKind::Thawed,
        EventFact::Entry(EntryEvent::Seal, _) => FeedKind::Seal,
        EventFact::Entry(EntryEvent::Review, _) => FeedKind::Review,
        EventFact::Grant(_, None) => FeedKind::GrantPending,
        EventFact::Grant(_, Some(_)) => FeedKind::GrantActive,
        EventFact::Attention(_) => FeedKind::Attention,
        EventFact::Emergency(_) => FeedKind::Emergency,
        EventFact::Signed(..) => FeedKind::Signed,
    }
}
