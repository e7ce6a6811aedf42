//! Reads documents that the boundary has stored.

use crate::seal::refusal::{Stopped, fault};
use crate::store::ledger::Ledger;
use crate::store::stored_proposal::Proposal;
use documents::crypto::json;
use documents::record::document::Statement;
use documents::record::envelope::{Base64, Envelope};
use documents::record::receipt::Receipt;

/// Returns the receipt of a proposal's run, or `None` if the run has no receipt yet.
///
/// # Errors
/// Returns an error if the store can't be read.
pub fn receipt_of(ledger: &Ledger, row: &Proposal) -> Result<Option<Receipt>, Stopped> {
    receipt_payload_of(ledger, row)?.map(|payload| receipt_of_payload(&payload)).transpose()
}

/// Returns the payload of the receipt of a proposal's run, or `None` if the run has no receipt yet.
///
/// # Errors
/// Returns an error if the store can't be read.
pub fn receipt_payload_of(ledger: &Ledger, row: &Proposal) -> Result<Option<Vec<u8>>, Stopped> {
    let Some(index) = row.receipt else { return Ok(None) };
    let leaf = ledger.leaf(index)?;
    let data = leaf.ok_or_else(|| fault(&format!("receipt leaf {index} is missing")))?.data;
    let envelope: Envelope = json::parse_as(&data, data.len()).map_err(|e| fault(&e))?;
    Ok(Some(Base64::Strict.decode("/payload", &envelope.payload)?))
}

/// Reads the payload of a receipt.
///
/// # Errors
/// Returns an error if the payload is no valid receipt.
pub fn receipt_of_payload(payload: &[u8]) -> Result<Receipt, Stopped> {
    Ok(Statement::<Receipt>::from_payload(payload)?.predicate)
}
