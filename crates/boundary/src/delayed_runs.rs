//! Reasons why approved runs have not begun. The reason is the latest refusal of an attempt to start the run.
//!
//! The reasons are stored only in memory. After a restart, the next attempt to start the run stores the reason again.

use std::collections::HashMap;
use std::sync::Mutex;

use crossing::Refusal;
use documents::{Code, ProposalId, locked};
use wire::RefusalView;

/// The latest refusal of each approved run that has not begun. A proposal has at most one refusal here.
#[derive(Debug, Default)]
pub struct DelayedRuns(Mutex<HashMap<ProposalId, RefusalView>>);

impl DelayedRuns {
    /// Stores the refusal of an attempt to start a run. Returns true if this refusal differs from the previous refusal.
    pub fn keep(&self, id: &ProposalId, refused: &Refusal) -> bool {
        let why = RefusalView::new(refused.code, &refused.detail);
        locked(&self.0).insert(id.clone(), why.clone()) != Some(why)
    }

    /// Returns the latest refusal of an attempt to start the run.
    pub fn of(&self, id: &ProposalId) -> Option<RefusalView> {
        locked(&self.0).get(id).cloned()
    }

    /// Counts the delayed runs for which `still` returns true, by the code of the refusal. The result contains each code
    /// of `codes`.
    pub fn count(&self, codes: &[Code], still: impl Fn(&ProposalId) -> bool) -> Vec<(Code, u64)> {
        let mut counts: Vec<(Code, u64)> = codes.iter().map(|code| (*code, 0)).collect();
        for (id, why) in locked(&self.0).iter() {
            if let Some((_, count)) = counts.iter_mut().find(|(code, _)| *code == why.code)
                && still(id)
            {
                *count += 1;
            }
        }
        counts
    }

    /// Removes the stored refusal of a run that the boundary no longer tries to start.
    pub fn forget(&self, id: &ProposalId) {
        locked(&self.0).remove(id);
    }
}
