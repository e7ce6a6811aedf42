//! Stores the receipt of a run, and keeps it as a file if it came too late.

use std::time::Duration;

use crate::carried::late_receipts::LateReceipts;
use crate::carried::patience::Patience;
use crate::crossing::cross::Crossing;
use crate::seal::refusal::{Stopped, fault};
use crate::store::stored_leaf::LeafRef;
use crate::store::stored_run::{Finish, FinishStop};
use documents::crypto::digest::LeafHash;
use documents::crypto::merkle::leaf_hash;
use documents::record::receipt::{Outcome, Status};
use documents::record::validity::Timestamp;

impl Crossing {
    /// Stores a receipt. If the disk is full or the database server does not answer, the boundary waits: it never drops a
    /// receipt.
    pub(super) async fn store_receipt(&self, finish: Finish) -> Result<LeafRef, Stopped> {
        let mut patience = Patience::default();
        loop {
            let stop = match self.ledger.finish(finish.clone()).await {
                Ok(leaf) => return Ok(leaf),
                Err(stop) => stop,
            };
            match &stop {
                FinishStop::Fault(fault) if fault.can_pass() && patience.is_left(&self.capacity) => {
                    patience.wait(&finish.proposal, fault).await;
                    continue;
                }
                // An earlier attempt stored this receipt, but the server did not confirm it in time.
                FinishStop::Finished { receipt } => {
                    let leaf = self.ledger.leaf(*receipt)?;
                    if let Some(leaf) = leaf.filter(|leaf| leaf.data == *finish.receipt) {
                        return Ok(LeafRef { index: *receipt, hash: LeafHash::from_bytes(leaf_hash(&leaf.data)) });
                    }
                }
                _ => {}
            }
            if self.ledger.has_nodes() {
                let kept = self.late.keep(&finish.proposal, &finish.receipt).map_err(|error| fault(&error))?;
                tracing::error!(proposal = %finish.proposal, "the receipt is kept in {}: {stop}", kept.display());
            }
            return Err(fault(&stop));
        }
    }

    /// Returns the receipts that came too late.
    #[must_use]
    pub const fn late_receipts(&self) -> &LateReceipts {
        &self.late
    }
}

/// Longest time from the request to spend a nonce to the start of the run, if the boundary has several nodes. It is shorter
/// than the time after which another node can close the run.
pub(super) const LATEST_START: Duration = Duration::from_secs(20);

/// Returns the start time that the receipt states. If the outcome is `unknown`, start and end are both the time of
/// recovery, because readers would understand a difference as the duration of the run.
pub(super) fn shown_start(outcome: &Outcome, started_at: Timestamp, finished_at: Timestamp) -> Timestamp {
    if outcome.status == Status::Unknown { finished_at } else { started_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::cross::outcome_of;
    use sandbox::runs::End;

    #[test]
    fn the_receipt_of_a_lost_run_has_the_same_start_and_end_time() {
        let (started, finished) = (Timestamp::from_unix(100), Timestamp::from_unix(130));
        let lost = outcome_of(&End::Lost("the run's first process ended without a word".to_owned()));
        assert_eq!(shown_start(&lost, started, finished), finished);
        assert_eq!(shown_start(&outcome_of(&End::Exited(0)), started, finished), started);
    }
}
