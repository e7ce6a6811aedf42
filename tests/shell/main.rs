//! Tests of the shell parser with hand-written scripts and against bash and dash, and of scripts under a list of programs.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/host.rs"]
mod host;
#[path = "../planted/mod.rs"]
mod planted;

mod generator;
mod listed_scripts;
mod listed_vectors;
mod shell_commands;
mod shell_truth;
mod template_truth;
mod templates;
