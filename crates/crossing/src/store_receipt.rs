//! Stores the receipt of a run, and keeps it as a file if it came too late.

use crate::{Crossing, LateReceipts, Patience, RequestResult, fault};
use documents::{LeafHash, leaf_hash};
use store::{Finish, FinishStop, LeafRef};

impl Crossing {
    /// Stores a receipt. If the disk is full or the database server does not answer, the boundary waits: it never drops a
    /// receipt.
    pub(super) async fn store_receipt(&self, finish: Finish) -> RequestResult<LeafRef> {
        let mut patience = Patience::default();
        loop {
            let stop = match self.ledger.finish(finish.clone()).await {
                Ok(leaf) => return Ok(leaf),
                Err(stop) => stop,
            };
            match &stop {
                FinishStop::Fault(fault)
                    if fault.can_pass() && patience.is_left(&self.capacity) =>
                {
                    patience.wait(&finish.proposal, fault).await;
                    continue;
                }
                // An earlier attempt stored this receipt, but the server did not confirm it in time.
                FinishStop::Finished { receipt } => {
                    let leaf = self.ledger.leaf(*receipt)?;
                    if let Some(leaf) = leaf.filter(|leaf| leaf.data == *finish.receipt) {
                        return Ok(LeafRef {
                            index: *receipt,
                            hash: LeafHash::from_bytes(leaf_hash(&leaf.data)),
                        });
                    }
                }
                _ => {}
            }
            // A receipt with the outcome `unknown` adds nothing to the stored receipt, so it is not kept.
            if self.ledger.has_nodes() && !finish.unknown {
                let kept = self
                    .late
                    .keep(&finish.proposal, &finish.receipt)
                    .map_err(fault)?;
                tracing::error!(proposal = %finish.proposal, "the receipt is kept in {}: {stop}", kept.display());
            }
            return Err(fault(stop));
        }
    }

    /// Returns the receipts that came too late.
    pub fn late_receipts(&self) -> &LateReceipts {
        &self.late
    }
}
