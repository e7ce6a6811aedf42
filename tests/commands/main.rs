//! The commands for operators and approvers.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../second/mod.rs"]
mod second;
#[path = "../support/mod.rs"]
mod support;
#[path = "../terminal/mod.rs"]
mod terminal;

mod local_secrets;
mod manual;
mod operator;
mod other_formats;
mod policy;
mod production;
mod programs;
mod registry_check;
mod registry_import;
mod review;
mod roster_chain;
mod run;
mod step_files;
mod systemd_unit;
mod test_runbook;
mod users;
mod walk;
mod workflow;
