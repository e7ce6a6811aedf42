//! Reads documents that the boundary has stored.

use crate::crossing::refusal::{Stopped, fault};
use crate::crypto::json;
use crate::record::document::Statement;
use crate::record::envelope::{Base64, Envelope};
use crate::record::receipt::Receipt;
use crate::store::ledger::Ledger;
use crate::store::stored_proposal::Proposal;

/// Returns the receipt of a proposal's run, or `None` if the run has no receipt yet.
///
/// # Errors
/// Returns an error if the store can't be read.
pub fn receipt_of(ledger: &Ledger, row: &Proposal) -> Result<Option<Receipt>, Stopped> {
    let Some(index) = row.receipt else { return Ok(None) };
    let leaf = ledger.leaf(index).map_err(|e| fault(&e))?;
    let data = leaf.ok_or_else(|| fault(&format!("receipt leaf {index} is missing")))?.data;
    let envelope: Envelope = json::parse_as(&data, data.len()).map_err(|e| fault(&e))?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    Ok(Some(Statement::<Receipt>::from_payload(&payload)?.predicate))
}
