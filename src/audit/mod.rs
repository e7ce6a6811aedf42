//! Verification offline: no store, no network.
pub mod bundle;
mod facts;
mod ledger;
pub mod report;
