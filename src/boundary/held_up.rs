//! The reasons why approved runs have not begun: the refusal of each run's last try.
//!
//! The reasons are only in memory. After a restart the next try sets them again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::boundary::view::RefusalView;
use crate::crossing::refusal::Refusal;
use crate::record::ident::ProposalId;

/// The refusals that delay approved runs. Their number is limited by the number of waiting proposals.
#[derive(Debug, Default)]
pub struct DelayedRuns(Mutex<HashMap<ProposalId, RefusalView>>);

impl DelayedRuns {
    /// Stores the refusal of a try. Returns whether it differs from the refusal of the try before.
    pub fn keep(&self, id: &ProposalId, refused: &Refusal) -> bool {
        let why = RefusalView::new(refused.code, &refused.detail);
        self.lock().insert(id.clone(), why.clone()) != Some(why)
    }

    /// Returns the refusal of the last try.
    pub fn of(&self, id: &ProposalId) -> Option<RefusalView> {
        self.lock().get(id).cloned()
    }

    /// Removes the refusal, because the proposal is not tried any more.
    pub fn forget(&self, id: &ProposalId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProposalId, RefusalView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
