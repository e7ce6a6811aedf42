//! Tests of the client: against a boundary that the whole program serves.
//!
//! `scripts/test` builds the client, and names the whole program in `COUNTERSIGN_BOUNDARY_PROGRAM`. The client passes the
//! tests of the whole program that need no part of a boundary.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../../../../tests/history/mod.rs"]
mod history;
#[path = "../../../../tests/second/mod.rs"]
mod second;
#[path = "../../../../tests/support/mod.rs"]
mod support;
#[path = "../../../../tests/terminal/mod.rs"]
mod terminal;

#[path = "../../../../tests/boundary/gate.rs"]
mod gate;
#[path = "../../../../tests/audit/log_export.rs"]
mod log_export;
#[path = "../../../../tests/commands/review.rs"]
mod review;

mod lacking;
mod whole_way;
