//! Reads a receipt of the boundary, without a check of its signature.

use crate::{Client, CommandFailure, Exit};
use documents::{Authorization, Base64, ContentDigest, Envelope, Receipt, ReceiptId, Statement};
use wire::ReceiptView;

/// A receipt with the digest of its payload, which a review names.
#[derive(Debug, Clone)]
pub struct ReadReceipt {
    /// The id that the caller asked for.
    pub id: ReceiptId,
    /// The receipt.
    pub receipt: Receipt,
    /// What the approvers signed.
    pub signed: Authorization,
    /// Digest of the receipt's payload, computed by this program.
    pub digest: ContentDigest,
    /// Why the end is unknown, in the words of the boundary.
    pub end_unknown_because: Option<String>,
}

impl ReadReceipt {
    /// Reads the receipt with this id.
    ///
    /// # Errors
    /// Returns an error if there is no such receipt, or if the boundary returns another document.
    pub fn fetch(client: &Client, id: &ReceiptId) -> Result<Self, CommandFailure> {
        Self::of(client.get(&format!("/v1/receipts/{id}"))?, id)
    }

    /// Reads the answer of the boundary about the receipt with this id.
    ///
    /// # Errors
    /// Returns an error if the answer is about another receipt, or can't be read.
    pub fn of(view: ReceiptView, id: &ReceiptId) -> Result<Self, CommandFailure> {
        let (receipt, digest) = signed_receipt(&view.envelope)?;
        let payload = payload_of(&receipt.authorization)?;
        let signed = Statement::<Authorization>::from_payload(&payload)
            .map_err(|error| odd(&error))?
            .predicate;
        if signed.proposal != id.proposal() {
            let detail = format!(
                "this command asked for {id}, but the boundary returned the receipt of {}",
                signed.proposal
            );
            return Err(CommandFailure::new(Exit::Refused, detail));
        }
        Ok(Self {
            id: id.clone(),
            receipt,
            signed,
            digest,
            end_unknown_because: view.end_unknown_because,
        })
    }
}

/// Returns the receipt in an envelope, and the digest of its payload.
///
/// # Errors
/// Returns an error if the envelope contains no receipt.
pub fn signed_receipt(envelope: &Envelope) -> Result<(Receipt, ContentDigest), CommandFailure> {
    let payload = payload_of(envelope)?;
    let statement = Statement::<Receipt>::from_payload(&payload).map_err(|error| odd(&error))?;
    Ok((statement.predicate, ContentDigest::of(&payload)))
}

fn payload_of(envelope: &Envelope) -> Result<Vec<u8>, CommandFailure> {
    Base64::Strict
        .decode("/payload", &envelope.payload)
        .map_err(|error| odd(&error))
}

fn odd(error: &impl std::fmt::Display) -> CommandFailure {
    CommandFailure::new(
        Exit::Unreachable,
        format!("the boundary's receipt can't be read: {error}"),
    )
}
