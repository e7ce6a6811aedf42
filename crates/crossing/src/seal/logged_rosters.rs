//! The versions of the roster that the seals of a log put in force.

use crate::seal::sealed::{SealError, one};
use documents::{BlobDigest, Seal, TilePath};
use store::Ledger;
use verdict::{Chain, EvidenceFiles, LogEntry, LoggedRosters, Unreadable};

/// The blobs that the seals of a log name.
pub struct LedgerBlobs<'a>(pub &'a Ledger);

impl EvidenceFiles for LedgerBlobs<'_> {
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable> {
        let blob = self.0.reads().blob(digest);
        blob.map_err(|error| Unreadable(error.to_string()))
    }

    fn tile(&self, _path: &TilePath) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(None)
    }

    fn entries(&self, _tile: u64, _size: u64) -> Result<Vec<Vec<u8>>, Unreadable> {
        Err(Unreadable("a seal needs no other entries".to_owned()))
    }
}

/// Returns the versions of the roster that the seals of a log put in force, from its first seal to the seal in entry `last`. Their
/// signatures are not verified.
///
/// # Errors
/// Returns an error if an entry or a blob is missing.
pub fn logged_rosters(ledger: &Ledger, last: u64) -> Result<Chain, SealError> {
    let mut found = LoggedRosters::default();
    for seal in ledger
        .seals()
        .map_err(one)?
        .iter()
        .filter(|seal| seal.index <= last)
    {
        let leaf = ledger.leaf(seal.index).map_err(one)?;
        let leaf =
            leaf.ok_or_else(|| one(format!("the seal in log entry {} is missing", seal.index)))?;
        let entry = LogEntry::of(leaf.data.to_vec());
        let read = found.entry(&entry, &LedgerBlobs(ledger));
        read.map_err(|Unreadable(why)| one(why))?;
    }
    let chain = found.chain().cloned();
    chain.ok_or_else(|| one("the log has no readable version of the roster"))
}

/// Checks that versions of the roster are those of a seal, and that each follows the version before it.
///
/// # Errors
/// Returns an error if a version is missing or the versions lead to another roster.
pub fn sealed_rosters(seal: &Seal, logged: &Chain) -> Result<Chain, SealError> {
    let chain = Chain::from_first(&logged.versions_from(1))
        .map_err(|error| one(format!("sealed roster: {error}")))?;
    if chain.last().digest() != seal.roster {
        return Err(one(format!(
            "seal {}: the versions of the roster lead to {}, but the seal names {}",
            seal.number,
            chain.last().digest(),
            seal.roster
        )));
    }
    Ok(chain)
}
