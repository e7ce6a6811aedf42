//! Wakes the tasks that wait for a change of a proposal.

use std::{collections::HashMap, sync::Mutex};

use tokio::sync::{Notify, watch};

use documents::{ProposalId, locked};

/// Proposals, each with the tasks that wait for a change of the proposal.
#[derive(Default)]
pub struct Changes {
    watched: Mutex<HashMap<ProposalId, watch::Sender<u64>>>,
    room: Notify,
}

impl Changes {
    /// Returns a receiver that wakes at the next change of the proposal `id`. Call this function before reading the
    /// proposal, so that no change is missed.
    pub fn watch(&self, id: &ProposalId) -> watch::Receiver<u64> {
        let mut watched = locked(&self.watched);
        if watched.len() > SWEEP_AT {
            watched.retain(|_, sender| sender.receiver_count() > 0);
        }
        watched
            .entry(id.clone())
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    /// Wakes the tasks that wait for a change of the proposal `id`.
    pub fn notify(&self, id: &ProposalId) {
        let mut watched = locked(&self.watched);
        if let Some(sender) = watched.get(id) {
            if sender.receiver_count() == 0 {
                watched.remove(id);
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
    }

    /// Wakes one task that waits for free capacity, because a run has ended.
    pub fn notify_room(&self) {
        self.room.notify_one();
    }

    /// Waits until a run has ended.
    pub async fn room(&self) {
        self.room.notified().await;
    }
}

/// Number of entries of [`Changes`] above which entries without a waiting task are removed.
const SWEEP_AT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_wakes_only_the_watchers_of_its_proposal() {
        let changes = Changes::default();
        let (one, two) = (ProposalId::new(1, [1; 10]), ProposalId::new(1, [2; 10]));
        let mut first = changes.watch(&one);
        let mut second = changes.watch(&two);
        changes.notify(&one);
        assert_eq!(
            (first.has_changed().ok(), second.has_changed().ok()),
            (Some(true), Some(false))
        );
        first.mark_unchanged();
        second.mark_unchanged();
        drop(first);
        changes.notify(&one);
        assert!(
            changes.watched.lock().expect("lock").get(&one).is_none(),
            "forgotten once nobody watches"
        );
    }
}
