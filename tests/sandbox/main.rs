//! The sandbox: what a step can reach, and what its limits are.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../escape/mod.rs"]
mod escape;
#[path = "../support/later_rows.rs"]
mod later_rows;
#[path = "../planted/mod.rs"]
mod planted;
#[path = "../support/mod.rs"]
mod support;

mod closures;
mod control_groups;
mod everyday;
mod hosts;
mod listed_attacks;
mod listed_programs;
mod neighbour;
mod network_lines;
mod profiles;
mod program_record;
mod programs;
mod results;
mod runs;
