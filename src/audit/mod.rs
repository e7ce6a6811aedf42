//! Verification offline: no store, no network.
pub mod bundle;
mod decided;
mod documents;
mod facts;
#[cfg(test)]
mod fixture;
mod ledger;
pub mod report;
