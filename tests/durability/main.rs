//! What takes minutes to prove: the store after crashes, backups, manual edits and upgrades, two nodes of one boundary, many
//! runs at one time, and random orders of requests.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../certified/mod.rs"]
mod certified;
#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../issuer/mod.rs"]
mod issuer;
#[path = "../passkey/mod.rs"]
mod passkey;
#[path = "../second/mod.rs"]
mod second;
#[path = "../support/mod.rs"]
mod support;

mod administrator_statements;
mod backup_update;
mod cluster;
mod crash;
mod endurance;
mod large_roster;
mod many_runs;
mod node_administrator;
mod node_failover;
mod node_keys;
mod node_outputs;
mod node_poolers;
mod node_reports;
mod node_trouble;
mod nodes;
mod packed_tiles;
mod random_orders;
mod reference;
mod second_receipts;
mod service_manager;
mod store_by_hand;
mod store_care;
mod store_move;
mod stores;
mod torture;
