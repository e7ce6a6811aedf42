//! Tests of exports, audits, witnesses and bundles: everything that an auditor reads.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../certified/mod.rs"]
mod certified;
#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../history/mod.rs"]
mod history;
#[path = "../mutants/mod.rs"]
mod mutants;
#[path = "../second/mod.rs"]
mod second;
#[path = "../support/mod.rs"]
mod support;

mod audit;
mod history_entries;
mod independent;
mod independent_history;
mod log_export;
mod log_mutation;
mod session_and_plan_logs;
mod verify_many;
mod witness;
