//! Offline verification, without a store or a network.
pub mod bundle;
mod decided;
mod documents;
pub mod entry;
pub mod evidence;
mod facts;
pub mod finding;
#[cfg(test)]
mod fixture;
pub mod gate;
pub mod history;
pub mod kept;
mod ledger;
pub mod report;
mod runs;
mod sealed;
mod tiles;
mod witnesses;
