//! Offline verification, without a store or a network.
pub mod bundle_check;
mod bundled_grant;
mod bundled_plan;
mod check_ledger;
mod decided;
mod documents;
pub mod entry;
pub mod evidence_files;
pub mod finding;
#[cfg(test)]
mod fixture;
pub mod gate;
pub mod gate_requirements;
pub mod grant_uses;
pub mod history;
pub mod longer_copy;
pub mod people_lines;
pub mod plan_receipts;
mod receipt_facts;
pub mod report;
pub mod reviewed_runs;
mod runs;
pub mod saved_audit;
mod seal_in_force;
pub mod seen_head;
pub mod session_chains;
mod tiles;
mod witness_check;
