//! The parts of an earlier seal that a bundle needs.

use crate::{blob_text, envelope_in, leaf_data, logged_documents::predicate};
use crossing::{BundleShare, RequestResult, fault};
use documents::{Envelope, KeyId, RegistryLeaf, Seal, SealDigest, json};
use store::Ledger;

/// Parts of a seal that is no longer in force, for the bundles of runs under this seal.
pub struct Earlier {
    pub(super) index: u64,
    pub(super) keys: Vec<KeyId>,
    pub bundled: BundleShare,
    pub(super) manifest: Vec<RegistryLeaf>,
}

/// Returns the parts of an earlier seal that bundles share.
pub fn earlier_seal(ledger: &Ledger, digest: SealDigest) -> RequestResult<Earlier> {
    let seals = ledger.seals()?;
    let entry = seals.iter().find(|entry| entry.digest == digest);
    let index = entry
        .ok_or_else(|| fault(format!("the seal {digest} is not in the log")))?
        .index;
    let seal: Seal = predicate(&envelope_in(ledger, index)?)?;
    let versions = match &seal.rosters {
        Some(versions) => blob_text(ledger, *versions.as_bytes())?,
        None => {
            let first = blob_text(ledger, *seal.roster.as_bytes())?;
            let first = Envelope::new(first.as_bytes(), Vec::new())
                .to_canonical()
                .map_err(fault)?;
            format!("[{}]", String::from_utf8(first).map_err(fault)?)
        }
    };
    let bundled = BundleShare {
        seal: leaf_text(ledger, index)?,
        policy: blob_text(ledger, *seal.policy.as_bytes())?,
        builtins: blob_text(ledger, *seal.builtins.as_bytes())?,
        roster: versions,
    };
    let manifest = blob_text(ledger, *seal.registry.as_bytes())?;
    let manifest = json::parse_as(manifest.as_bytes(), manifest.len()).map_err(fault)?;
    Ok(Earlier {
        index,
        keys: seal.keys,
        bundled,
        manifest,
    })
}

pub fn leaf_text(ledger: &Ledger, index: u64) -> RequestResult<String> {
    String::from_utf8(leaf_data(ledger, index)?).map_err(fault)
}
