//! Reads entries and blobs of a log for the evidence.

use crossing::{RequestResult, fault};
use documents::{
    Base64, BlobDigest, Envelope, Manifest, Predicate, Receipt, Statement, canonical, json, sha256,
};
use store::Ledger;

pub fn envelope_in(ledger: &Ledger, index: u64) -> RequestResult<Envelope> {
    let leaf = leaf_data(ledger, index)?;
    canonical::read_as(&leaf, leaf.len()).map_err(fault)
}

pub fn leaf_data(ledger: &Ledger, index: u64) -> RequestResult<Vec<u8>> {
    let leaf = ledger.leaf(index)?;
    Ok(leaf
        .ok_or_else(|| fault(format!("log entry {index} is missing")))?
        .data)
}

pub fn blob_text(ledger: &Ledger, digest: [u8; 32]) -> RequestResult<String> {
    let digest = BlobDigest::from_bytes(digest);
    let bytes = ledger.blob(&digest)?;
    let bytes = bytes.ok_or_else(|| fault(format!("the blob {digest} is missing")))?;
    if sha256(&bytes) != *digest.as_bytes() {
        return Err(fault(format!(
            "the bytes of the blob {digest} do not match its digest"
        )));
    }
    String::from_utf8(bytes).map_err(fault)
}

pub fn predicate<P: Predicate>(envelope: &Envelope) -> RequestResult<P> {
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    Ok(Statement::<P>::from_payload(&payload)?.predicate)
}

/// Returns the manifest that a receipt names, or `None` for a run without files.
pub fn manifest_of(ledger: &Ledger, receipt: &Receipt) -> RequestResult<Option<Manifest>> {
    if receipt.files.count == 0 {
        return Ok(None);
    }
    let text = blob_text(ledger, *receipt.files.manifest.as_bytes())?;
    json::parse_as(text.as_bytes(), text.len())
        .map(Some)
        .map_err(fault)
}
