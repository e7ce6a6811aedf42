//! The sandbox: what a step can reach, and what its limits are.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod closures;
mod listed_programs;
mod profiles;
mod programs;
mod runs;
