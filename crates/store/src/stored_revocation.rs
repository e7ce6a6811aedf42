//! Revocations: the request to store a revocation, and the revocations in the log.

use std::sync::Arc;

use crate::{CheckedState, StoreReads, StoreResult, opened, refused};
use documents::{Name, RevokedSubject, Timestamp, revoked};

/// A verified revocation.
pub struct RevocationWrite {
    /// State with which the revocation was checked.
    pub checked: CheckedState,
    /// What the revocation ends.
    pub subject: RevokedSubject,
    /// Envelope of the revocation, as canonical JSON.
    pub envelope: Arc<[u8]>,
    /// Name of the token that the revocation ends.
    pub token: Option<Name>,
    /// Time at which the revocation arrived at the boundary.
    pub at: Timestamp,
}

/// A revocation in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRevocation {
    /// What the revocation ended.
    pub subject: RevokedSubject,
    /// Leaf index of the revocation.
    pub leaf: u64,
}

/// The result of the attempt to store a revocation.
#[derive(Debug, PartialEq)]
pub struct RevocationResult {
    /// Leaf index of the revocation, or of an earlier revocation of the same subject.
    pub leaf: u64,
    /// True if the log already had a revocation of this subject.
    pub existing: bool,
}

/// Reads the revocations in the order of the log.
///
/// # Errors
/// Returns a fault if the store cannot be read, or if the bytes of an entry are not a revocation.
pub fn read_revocations(reads: &StoreReads) -> StoreResult<Arc<Vec<StoredRevocation>>> {
    let read = |(leaf, data): (u64, Vec<u8>)| {
        let statement = opened(&data).and_then(|(_, statement)| revoked(&statement));
        let subject = statement.map_err(|error| {
            let what = format!(
                "log entry {leaf} is no revocation ({error}); run `countersign store check`"
            );
            refused(what)
        })?;
        Ok(StoredRevocation { subject, leaf })
    };
    reads
        .revocations()?
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map(Arc::new)
}
