//! The reasons why approved runs have not begun (the latest refusal of each run).
//!
//! The reasons are stored only in memory. After a restart, the next attempt to start the run stores the reason again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::boundary::view::RefusalView;
use crate::crossing::refusal::Refusal;
use crate::record::ident::ProposalId;

/// The latest refusal of each approved run that has not begun. The number of waiting proposals limits the number of
/// refusals.
#[derive(Debug, Default)]
pub struct DelayedRuns(Mutex<HashMap<ProposalId, RefusalView>>);

impl DelayedRuns {
    /// Stores the refusal of an attempt to start a run. Returns true if this refusal differs from the previous refusal.
    pub fn keep(&self, id: &ProposalId, refused: &Refusal) -> bool {
        let why = RefusalView::new(refused.code, &refused.detail);
        self.lock().insert(id.clone(), why.clone()) != Some(why)
    }

    /// Returns the latest refusal of an attempt to start the run.
    pub fn of(&self, id: &ProposalId) -> Option<RefusalView> {
        self.lock().get(id).cloned()
    }

    /// Removes the refusal, because the boundary makes no more attempts to start the run.
    pub fn forget(&self, id: &ProposalId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProposalId, RefusalView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
