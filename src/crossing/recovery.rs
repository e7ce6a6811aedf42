//! Recovery after a crash. The recovery writes a receipt with outcome `unknown` for each consumption without a receipt.
//! Nothing runs again.
//!
//! Only the active node runs the recovery: before it accepts requests for its own runs, and later for the runs of other
//! nodes whose time limits have passed. The processes of own earlier runs have already ended, because each run ends when
//! its pipe to the service closes.

use std::sync::Arc;

use crate::carried::kept_results::ResultsBasis;
use crate::crossing::cross::Crossing;
use crate::crossing::stage::{Closing, Ran, ReceiptBasis, RunEnd};
use crate::seal::refusal::{Stopped, fault};
use crate::store::stored_run::{SpentNonce, Unfinished};
use documents::crypto::digest::AuthorizationDigest;
use documents::crypto::json;
use documents::record::authorization::Authorization;
use documents::record::document::Statement;
use documents::record::envelope::{Base64, Envelope};
use documents::record::malformed::Malformed;
use documents::record::receipt::Decision;

impl Crossing {
    /// Writes the receipts that are missing after a crash, in the order of the consumptions. Returns their number. Runs of
    /// another node are closed only when their time limits have passed, because they can still be in progress.
    ///
    /// # Errors
    /// Returns an error if a receipt can't be written. The service must then not start.
    pub async fn recover(&self) -> Result<usize, Stopped> {
        self.outputs.sweep().map_err(|error| fault(&error))?;
        self.close_lost(|open| open.own || open.over).await
    }

    /// Writes the receipts of runs whose time limits have passed while no node wrote their receipts. Returns their number.
    ///
    /// # Errors
    /// Returns an error if a receipt can't be written.
    pub async fn close_overdue(&self) -> Result<usize, Stopped> {
        // The writer also takes over the receipts that a node without its role still wrote.
        self.ledger.ping().await?;
        self.close_lost(|open| open.over).await
    }

    async fn close_lost(&self, lost: impl Fn(&Unfinished) -> bool) -> Result<usize, Stopped> {
        let mut unfinished = self.ledger.unfinished()?;
        unfinished.retain(lost);
        let count = unfinished.len();
        for open in unfinished {
            let leaf = self.ledger.leaf(open.index)?;
            let leaf = leaf.ok_or_else(|| fault(&format!("log entry {} is missing", open.index)))?;
            let closing = closing_of(open, leaf.data.into()).map_err(|error| fault(&error))?;
            let now = self.now().max(closing.claim.at);
            // The receipt passes through the same last two stages as the receipt of a run that the boundary observed.
            let ran = Ran { closing, end: RunEnd::Unseen, started_at: now, finished_at: now };
            let receipt = self.receipt(ran)?;
            let _ = self.log(receipt).await?;
        }
        Ok(count)
    }
}

fn closing_of(open: Unfinished, data: Arc<[u8]>) -> Result<Closing, Malformed> {
    let envelope: Envelope = json::parse_as(&open.envelope, open.envelope.len())?;
    let decision: Decision = json::parse_as(&open.decision, open.decision.len())?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    let authorization = AuthorizationDigest::of(&payload);
    let Authorization { step, session, grant, .. } = Statement::from_payload(&payload)?.predicate;
    Ok(Closing {
        claim: SpentNonce { index: open.index, item: open.item, leaf: open.leaf, data, at: open.at, seal: open.seal },
        basis: ReceiptBasis { proposal: open.proposal, authorization, step, session, grant, envelope, decision },
        room: None,
        session: None,
        given: ResultsBasis::lost(),
        change: None,
    })
}
