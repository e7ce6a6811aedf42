//! Events: what happened at the boundary, in the order of the commits, and the last event that each target of messages got.

use crate::{
    ProposalStatus,
    fields::{numbered_status, status_number},
};
use documents::{GrantId, KeyId, Name, ProposalId, StepRef, Timestamp};

/// An event that the current batch adds. The database gives the number, and copies step and proposer from the proposal.
pub struct EventRow {
    /// Time of the change.
    pub at: Timestamp,
    /// What happened.
    pub what: EventFact,
}

/// What an event is about.
#[derive(Debug, PartialEq)]
pub enum EventFact {
    /// A proposal got a status.
    Proposal(ProposalId, ProposalStatus),
    /// The log got the entry with this index.
    Entry(EntryEvent, u64),
    /// A draft of a grant arrived, or a grant got the log entry with this index.
    Grant(GrantId, Option<u64>),
    /// The operator should look at something.
    Attention(String),
    /// The run of an emergency begins.
    Emergency(ProposalId),
    /// A person signed a proposal with this key.
    Signed(ProposalId, Name, KeyId),
}

impl EventFact {
    /// Returns the number of the kind in the database. The kinds of proposals have the numbers of their statuses.
    pub fn number(&self) -> u8 {
        match self {
            Self::Proposal(_, status) => status_number(*status),
            Self::Entry(entry, _) => *entry as u8,
            Self::Attention(_) => ATTENTION,
            Self::Emergency(_) => EMERGENCY,
            Self::Signed(..) => SIGNED,
            Self::Grant(_, None) => GRANT_PENDING,
            Self::Grant(_, Some(_)) => GRANT_ACTIVE,
        }
    }

    /// Returns the proposal of the event.
    pub fn proposal(&self) -> Option<&ProposalId> {
        match self {
            Self::Proposal(id, _) | Self::Emergency(id) | Self::Signed(id, ..) => Some(id),
            _ => None,
        }
    }

    /// Returns the log entry of the event.
    pub fn entry(&self) -> Option<u64> {
        match self {
            Self::Entry(_, index) => Some(*index),
            Self::Grant(_, leaf) => *leaf,
            _ => None,
        }
    }

    /// Returns the text for the column `words`.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Attention(words) => Some(words.clone()),
            Self::Signed(_, person, keyid) => Some(format!("{person} {keyid}")),
            Self::Grant(id, _) => Some(id.to_string()),
            _ => None,
        }
    }

    /// Reads the columns `kind`, `proposal`, `entry` and `words`. Returns `None` for a row that
    /// this program does not write.
    pub fn of_row(
        kind: u8,
        proposal: Option<ProposalId>,
        entry: Option<u64>,
        words: Option<String>,
    ) -> Option<Self> {
        let of_entry = |event| entry.map(|index| Self::Entry(event, index));
        match (kind, proposal) {
            (8, None) => of_entry(EntryEvent::Revocation),
            (9, None) => of_entry(EntryEvent::Frozen),
            (10, None) => of_entry(EntryEvent::Thawed),
            (11, None) => of_entry(EntryEvent::Seal),
            (15, None) => of_entry(EntryEvent::Review),
            (ATTENTION, None) => words.map(Self::Attention),
            (GRANT_PENDING | GRANT_ACTIVE, None) => {
                words.and_then(|id| Some(Self::Grant(id.parse().ok()?, entry)))
            }
            (EMERGENCY, Some(id)) => Some(Self::Emergency(id)),
            (SIGNED, Some(id)) => {
                let words = words?;
                let (person, keyid) = words.split_once(' ')?;
                Some(Self::Signed(id, person.parse().ok()?, keyid.parse().ok()?))
            }
            (kind, Some(id)) => Some(Self::Proposal(id, numbered_status(kind)?)),
            _ => None,
        }
    }
}

/// An entry of the log that makes an event.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum EntryEvent {
    /// A key or a token was revoked.
    Revocation = 8,
    /// The epoch was revoked.
    Frozen = 9,
    /// A seal began a new epoch after a freeze.
    Thawed = 10,
    /// A seal came into force.
    Seal = 11,
    /// A person reviewed a run.
    Review = 15,
}

const ATTENTION: u8 = 12;
const GRANT_PENDING: u8 = 13;
const GRANT_ACTIVE: u8 = 14;
const EMERGENCY: u8 = 16;
const SIGNED: u8 = 17;

/// A stored event.
#[derive(Debug)]
pub struct StoredEvent {
    /// Number of the event. The numbers increase in the order of the commits.
    pub seq: u64,
    /// Time of the change.
    pub at: Timestamp,
    /// What happened.
    pub what: EventFact,
    /// The step and the proposer of the event's proposal.
    pub proposed: Option<(StepRef, Name)>,
}

/// The last event that a target of messages got.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldTarget {
    /// Name of the target.
    pub name: Name,
    /// Number of the last event that the target got, or that the boundary gave up sending.
    pub seq: u64,
    /// Number of events that the boundary gave up sending.
    pub given_up: u64,
}

/// Time in seconds for which events are kept.
pub const EVENTS_KEPT_S: i64 = 30 * 86_400;

/// What the targets of messages got since the last call.
pub struct Telling {
    /// The targets, with their new positions.
    pub targets: Vec<ToldTarget>,
    /// Events for the operator.
    pub attention: Vec<(Timestamp, String)>,
}
