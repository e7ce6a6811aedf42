//! The parts of an earlier seal that a bundle needs.

use crate::{blob_text, envelope_in, leaf_data, logged_documents::predicate};
use crossing::{BundleShare, RequestResult, fault, logged_rosters};
use documents::{RegistryLeaf, Seal, SealDigest, json};
use store::Ledger;
use verdict::Chain;

/// Parts of a seal that is no longer in force, for the bundles of runs under this seal.
pub struct Earlier {
    pub index: u64,
    pub seal: Seal,
    pub bundled: BundleShare,
    pub manifest: Vec<RegistryLeaf>,
}

/// Returns the parts of an earlier seal that bundles share.
pub fn earlier_seal(ledger: &Ledger, digest: SealDigest) -> RequestResult<Earlier> {
    let seals = ledger.seals()?;
    let entry = seals.iter().find(|entry| entry.digest == digest);
    let index = entry
        .ok_or_else(|| fault(format!("the seal {digest} is not in the log")))?
        .index;
    let seal: Seal = predicate(&envelope_in(ledger, index)?)?;
    let bundled = BundleShare {
        seal: leaf_text(ledger, index)?,
        policy: blob_text(ledger, *seal.policy.as_bytes())?,
        builtins: blob_text(ledger, *seal.builtins.as_bytes())?,
    };
    let manifest = blob_text(ledger, *seal.registry.as_bytes())?;
    let manifest = json::parse_as(manifest.as_bytes(), manifest.len()).map_err(fault)?;
    Ok(Earlier {
        index,
        seal,
        bundled,
        manifest,
    })
}

/// Returns the versions of the roster up to the version of the earlier seal in log entry `index`. `in_force` has those of the seal in force.
pub fn rosters_under(
    ledger: &Ledger,
    (index, seal): (u64, &Seal),
    in_force: &Chain,
) -> RequestResult<Chain> {
    if let Some(version) = in_force.number_of(&seal.roster) {
        return Ok(in_force.until(version));
    }
    // A closed log may have versions that the log in force does not have.
    logged_rosters(ledger, index).map_err(fault)
}

pub fn leaf_text(ledger: &Ledger, index: u64) -> RequestResult<String> {
    String::from_utf8(leaf_data(ledger, index)?).map_err(fault)
}
