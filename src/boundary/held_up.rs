//! Why approved runs have not begun: the no of each one's last try.
//!
//! Kept in memory alone. It says how things stand now, and after a restart the next try says it again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::boundary::view::RefusalView;
use crate::crossing::refusal::Refusal;
use crate::record::ident::ProposalId;

/// What holds approved runs up. As many at most as proposals may wait.
#[derive(Debug, Default)]
pub struct HeldUp(Mutex<HashMap<ProposalId, RefusalView>>);

impl HeldUp {
    /// Keeps the no of a try. Whether it is another one than that of the try before.
    pub fn keep(&self, id: &ProposalId, refused: &Refusal) -> bool {
        let why = RefusalView::new(refused.code, &refused.detail);
        self.lock().insert(id.clone(), why.clone()) != Some(why)
    }

    /// The no of the last try.
    pub fn of(&self, id: &ProposalId) -> Option<RefusalView> {
        self.lock().get(id).cloned()
    }

    /// Nothing is tried any more.
    pub fn forget(&self, id: &ProposalId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProposalId, RefusalView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
