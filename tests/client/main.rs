//! Tests of the client: the program with the feature `client` only, against a boundary that the whole program serves.
//!
//! `scripts/test` builds the client, and names the whole program in `COUNTERSIGN_BOUNDARY_PROGRAM`. With the feature
//! `boundary` this binary is empty, because the other test binaries then test the same commands. The client passes the
//! tests of those binaries that need no part of a boundary.
#![cfg(not(feature = "boundary"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../history/mod.rs"]
mod history;
#[path = "../support/mod.rs"]
mod support;
#[path = "../terminal/mod.rs"]
mod terminal;

#[path = "../boundary/gate.rs"]
mod gate;
#[path = "../audit/log_export.rs"]
mod log_export;
#[path = "../commands/review.rs"]
mod review;

mod lacking;
mod whole_way;
