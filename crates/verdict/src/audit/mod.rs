//! Offline verification, without a store or a network.
pub mod bundle_check;
pub(crate) mod check_ledger;
pub(crate) mod decided;
pub(crate) mod documents;
pub mod entry;
pub mod finding;
pub mod grant_uses;
pub mod history;
pub mod newer_roster;
mod receipt_facts;
pub mod report;
pub mod reviewed_runs;
pub(crate) mod runs;
pub(crate) mod seal_in_force;
pub mod seen_head;
pub mod session_chains;
pub mod tiles;
pub mod used_values;
pub(crate) mod witness_check;

#[cfg(test)]
mod tests {
    pub(crate) mod fixture;

    use crate::{BundleReport, RosterTrust, VerifyOptions, verify};
}
