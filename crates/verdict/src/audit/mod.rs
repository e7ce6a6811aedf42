//! Offline verification, without a store or a network.
pub mod bundle_check;
mod bundled_grant;
mod bundled_plan;
pub(crate) mod check_ledger;
pub(crate) mod decided;
pub(crate) mod documents;
pub mod entry;
pub mod evidence_files;
pub mod finding;
pub mod grant_uses;
pub mod history;
pub mod longer_copy;
pub mod newer_roster;
pub mod people_lines;
pub mod plan_receipts;
mod receipt_facts;
pub mod report;
pub mod reviewed_runs;
pub(crate) mod runs;
pub mod saved_audit;
pub(crate) mod seal_in_force;
pub mod seen_head;
pub mod session_chains;
pub(crate) mod tiles;
pub(crate) mod used_values;
pub(crate) mod witness_check;

#[cfg(test)]
mod tests {
    pub(crate) mod fixture;

    use crate::{BundleReport, RosterTrust, VerifyOptions, verify};
}
