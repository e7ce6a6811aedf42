//! The proposals that have not ended, counted in memory, so that no query has to count them.

use std::collections::{BTreeSet, HashMap};

use crate::{
    ClosedKey, ProposalQuery, ProposalStatus, StoreReads, StoreResult, batch_questions::changed,
    id_bytes,
};
use documents::{ProposalId, Timestamp};

/// Number of proposals that one read at the start returns.
const PAGE: usize = 1000;

/// A durable change of the status of a proposal.
pub struct StatusChange {
    pub proposal: ProposalId,
    pub to: ProposalStatus,
    pub at: Timestamp,
}

/// Numbers of proposals that have not ended.
#[derive(Debug, Default, PartialEq)]
pub struct OpenProposalCounts {
    /// Number of proposals that wait for signatures.
    pub pending: u64,
    /// Number of proposals that have enough signatures and wait to run.
    pub approved: u64,
    /// Number of proposals whose nonce is spent and whose receipt is not stored.
    pub running: u64,
    /// Time at which the oldest of the approved proposals was approved.
    pub oldest_approved: Option<Timestamp>,
}

/// The proposals that have not ended. Their number is limited by the limits on pending proposals and on runs.
#[derive(Default)]
pub struct OpenProposals {
    status: HashMap<ProposalId, (ProposalStatus, Timestamp)>,
    approved: BTreeSet<(Timestamp, ProposalId)>,
    counts: OpenProposalCounts,
}

impl OpenProposals {
    /// Reads the proposals that have not ended from the store.
    pub fn read(reads: &StoreReads) -> StoreResult<Self> {
        let mut open = Self::default();
        let mut before = None;
        loop {
            let statuses = vec![
                ProposalStatus::Pending,
                ProposalStatus::Approved,
                ProposalStatus::Running,
            ];
            let page = reads.proposals(&ProposalQuery {
                statuses,
                before,
                limit: PAGE,
                ..ProposalQuery::default()
            })?;
            for found in page.proposals {
                let at = found.approved_at.unwrap_or(found.created_at);
                open.change(StatusChange {
                    proposal: found.core.id,
                    to: found.status,
                    at,
                });
            }
            before = page.next;
            if before.is_none() {
                return Ok(open);
            }
        }
    }

    /// Checks that each proposal that waits has its statement, because the service could not read it later.
    pub fn check(&self, reads: &StoreReads) -> StoreResult {
        let waits = self
            .status
            .iter()
            .filter(|(_, (status, _))| *status != ProposalStatus::Running);
        let ids: Vec<&ProposalId> = waits.map(|(id, _)| id).collect();
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| id_bytes(id).to_vec()).collect();
        let Some(lost) = reads.without_row(ClosedKey::Payload, &keys)? else {
            return Ok(());
        };
        Err(changed(&format!(
            "the proposal {} waits, but its statement has no row",
            ids[lost]
        )))
    }

    /// Records the new status of a proposal.
    pub fn change(&mut self, change: StatusChange) {
        let StatusChange { proposal, to, at } = change;
        if let Some((from, since)) = self.status.remove(&proposal) {
            if let Some(count) = self.count(from) {
                *count -= 1;
            }
            self.approved.remove(&(since, proposal.clone()));
        }
        let Some(count) = self.count(to) else { return };
        *count += 1;
        if to == ProposalStatus::Approved {
            self.approved.insert((at, proposal.clone()));
        }
        self.status.insert(proposal, (to, at));
    }

    pub fn counts(&self) -> OpenProposalCounts {
        OpenProposalCounts {
            oldest_approved: self.approved.first().map(|(at, _)| *at),
            ..self.counts
        }
    }

    pub fn waits_to_run(&self, id: &ProposalId) -> bool {
        self.status
            .get(id)
            .is_some_and(|(status, _)| *status == ProposalStatus::Approved)
    }

    /// Returns the proposals that wait for signatures or for their run.
    pub fn waiting(&self) -> Vec<ProposalId> {
        self.with(ProposalStatus::waits)
    }

    /// Returns the proposals whose nonce is spent and whose receipt is not stored.
    pub fn running(&self) -> Vec<ProposalId> {
        self.with(|status| status == ProposalStatus::Running)
    }

    fn with(&self, wanted: impl Fn(ProposalStatus) -> bool) -> Vec<ProposalId> {
        self.status
            .iter()
            .filter(|(_, (status, _))| wanted(*status))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Returns the counter of a status, or `None` if a proposal with this status has ended.
    fn count(&mut self, status: ProposalStatus) -> Option<&mut u64> {
        match status {
            ProposalStatus::Pending => Some(&mut self.counts.pending),
            ProposalStatus::Approved => Some(&mut self.counts.approved),
            ProposalStatus::Running => Some(&mut self.counts.running),
            ProposalStatus::Finished
            | ProposalStatus::Denied
            | ProposalStatus::Expired
            | ProposalStatus::Cancelled
            | ProposalStatus::Refused => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ProposalId {
        format!("prp_0192f0c1-0000-7000-8000-0000000000{n:02x}")
            .parse()
            .expect("an id")
    }

    #[test]
    fn each_proposal_is_counted_under_its_last_status_only() {
        let mut open = OpenProposals::default();
        let mut change = |n, to, at| {
            open.change(StatusChange {
                proposal: id(n),
                to,
                at: Timestamp::from_unix(at),
            });
            open.counts()
        };
        change(1, ProposalStatus::Pending, 10);
        change(2, ProposalStatus::Pending, 11);
        change(1, ProposalStatus::Approved, 20);
        let counts = change(2, ProposalStatus::Approved, 15);
        assert_eq!((counts.pending, counts.approved, counts.running), (0, 2, 0));
        assert_eq!(counts.oldest_approved, Some(Timestamp::from_unix(15)));
        let counts = change(2, ProposalStatus::Running, 30);
        assert_eq!(
            (counts.approved, counts.running, counts.oldest_approved),
            (1, 1, Some(Timestamp::from_unix(20)))
        );
        change(1, ProposalStatus::Denied, 31);
        // An envelope with all signatures starts a run of a proposal that the store does not contain.
        change(3, ProposalStatus::Running, 32);
        change(3, ProposalStatus::Finished, 33);
        assert_eq!(
            change(2, ProposalStatus::Finished, 34),
            OpenProposalCounts::default()
        );
        assert!(open.status.is_empty() && open.approved.is_empty());
    }
}
