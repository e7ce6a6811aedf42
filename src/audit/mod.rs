//! Verification offline: no store, no network.
pub mod bundle;
mod decided;
mod documents;
mod facts;
#[cfg(test)]
mod fixture;
pub mod gate;
mod ledger;
pub mod report;
mod witnesses;
