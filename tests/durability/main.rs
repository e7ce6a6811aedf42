//! Tests of the store after crashes, backups, manual edits and upgrades from earlier versions.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod service_manager;
mod shim;
mod store_by_hand;
mod store_care;
mod stores;
mod torture;
