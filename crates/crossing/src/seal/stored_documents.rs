//! Reads documents that the boundary has stored.

use crate::{RequestResult, fault};
use documents::{Authorization, AuthorizationRef, LeafHash, LeafKind, Receipt, leaf_hash};
use store::{Ledger, Proposal, opened, payload_of};

/// The receipt of a run, as the log has it.
pub struct StoredReceipt {
    /// The bytes of the log entry: the envelope.
    pub entry: Vec<u8>,
    /// The payload of the envelope.
    pub payload: Vec<u8>,
    /// The parsed payload.
    pub receipt: Receipt,
}

/// Returns the receipt of a proposal's run, or `None` if the run has no receipt yet.
///
/// The row of a proposal is not signed, and its index can lead to another entry if somebody changes the row or the entry
/// by hand. So the bytes of the entry are compared with their hash, and the receipt with the digest in the row.
///
/// # Errors
/// Returns an error if the store can't be read, or if the entry is not the receipt of this run.
pub fn stored_receipt(ledger: &Ledger, row: &Proposal) -> RequestResult<Option<StoredReceipt>> {
    let Some(index) = row.receipt else {
        return Ok(None);
    };
    let other = |why: &dyn std::fmt::Display| {
        fault(format!(
            "log entry {index} is not the receipt of {}: {why}. Somebody changed the store by hand, or the disk failed: run \
             `countersign store check`",
            row.core.id
        ))
    };
    let leaf = ledger
        .leaf(index)?
        .ok_or_else(|| other(&"the entry is missing"))?;
    if leaf.kind != LeafKind::Receipt || leaf.hash != leaf_hash(&leaf.data) {
        return Err(other(&"its bytes do not match its hash or its kind"));
    }
    let (payload, statement) = opened::<Receipt>(&leaf.data).map_err(|error| other(&error))?;
    let receipt = statement.predicate;
    if receipt.authorization.digest != row.core.digest {
        return Err(other(&"it is for another authorization"));
    }
    Ok(Some(StoredReceipt {
        entry: leaf.data,
        payload,
        receipt,
    }))
}

/// Returns the authorization of a run, as the log has it.
///
/// # Errors
/// Returns an error if the store can't be read, or if the entry is not this authorization.
pub fn authorization_at(ledger: &Ledger, named: &AuthorizationRef) -> RequestResult<Authorization> {
    let (_, statement) = opened::<Authorization>(&authorization_entry(ledger, named)?)?;
    Ok(statement.predicate)
}

/// Returns the bytes of the log entry of an authorization.
///
/// # Errors
/// Returns the errors of [`authorization_at`].
pub fn authorization_entry(ledger: &Ledger, named: &AuthorizationRef) -> RequestResult<Vec<u8>> {
    let leaf = ledger.leaf(named.index)?;
    leaf.map(|leaf| leaf.data)
        .filter(|data| LeafHash::from_bytes(leaf_hash(data)) == named.leaf)
        .ok_or_else(|| {
            fault(format!(
                "log entry {} is not the authorization {}. Somebody changed the store by hand, or the disk failed: run \
                 `countersign store check`",
                named.index, named.digest
            ))
        })
}

/// Returns the payload of the entry to which the row of a proposal leads, for a caller that compares the digest of the
/// payload.
///
/// # Errors
/// Returns an error if the store can't be read.
pub fn unchecked_payload(ledger: &Ledger, row: &Proposal) -> RequestResult<Option<Vec<u8>>> {
    let Some(leaf) = row
        .receipt
        .map(|index| ledger.leaf(index))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    payload_of(&leaf.data).map(Some).map_err(fault)
}

/// Returns the content of the receipt of a proposal's run, or `None` if the run has no receipt yet.
///
/// # Errors
/// Returns the errors of [`stored_receipt`].
pub fn receipt_of(ledger: &Ledger, row: &Proposal) -> RequestResult<Option<Receipt>> {
    Ok(stored_receipt(ledger, row)?.map(|stored| stored.receipt))
}
