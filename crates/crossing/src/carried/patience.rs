//! Waits for free disk space, or for the database server.

use std::time::Duration;

use crate::Capacity;
use documents::ProposalId;

/// Interval between two attempts to write a receipt.
const RECEIPT_PAUSE: Duration = Duration::from_secs(1);
const LAST_OFFERS: usize = 60;

/// Limits how long a receipt waits while the service is ending. In normal operation there is no
/// limit.
#[derive(Debug, Default)]
pub struct Patience {
    offers: usize,
    last: usize,
}

impl Patience {
    pub fn is_left(&mut self, capacity: &Capacity) -> bool {
        if capacity.is_closed() {
            self.last += 1;
        }
        self.last <= LAST_OFFERS
    }

    pub async fn wait(&mut self, proposal: &ProposalId, why: &(dyn std::fmt::Display + Sync)) {
        if self.offers.is_multiple_of(LAST_OFFERS) {
            tracing::error!(%proposal, "a receipt waits until it can be stored: {why}");
        }
        self.offers += 1;
        tokio::time::sleep(RECEIPT_PAUSE).await;
    }
}
