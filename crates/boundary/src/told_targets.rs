//! The state of the targets of messages, for the operator.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use documents::{Name, Timestamp, locked};

/// The state of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Name of the target.
    pub name: Name,
    /// Form of its messages.
    pub kind: String,
    /// Number of the last event that the target got, did not want, or lost.
    pub seq: u64,
    /// Number of events that were given up.
    pub given_up: u64,
    /// Number of newer events.
    #[serde(default)]
    pub behind: u64,
    /// Time of the event that the target did not accept, if it is tried again.
    pub waits_since: Option<Timestamp>,
    /// Reason why the last attempt failed.
    pub trouble: Option<String>,
}

/// The state of all targets.
#[derive(Debug, Default)]
pub struct ToldTargets(Mutex<Vec<TargetStatus>>);

impl ToldTargets {
    /// Records the state of a target.
    pub fn note(&self, status: TargetStatus) {
        let mut all = locked(&self.0);
        match all.iter_mut().find(|known| known.name == status.name) {
            Some(known) => *known = status,
            None => all.push(status),
        }
    }

    /// Returns the state of each target. `newest` is the number of the newest event.
    pub fn status(&self, newest: u64) -> Vec<TargetStatus> {
        let all = locked(&self.0).clone();
        all.into_iter()
            .map(|one| TargetStatus {
                behind: newest.saturating_sub(one.seq),
                ..one
            })
            .collect()
    }
}
