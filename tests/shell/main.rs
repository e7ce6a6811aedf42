//! Tests of the shell parser with hand-written scripts and against bash and dash.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod generator;
mod shell_commands;
mod shell_truth;
