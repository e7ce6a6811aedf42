//! Runs the commands of the documentation, the demo and the CI examples as a reader would run them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../shown/mod.rs"]
mod shown;
#[path = "../support/mod.rs"]
mod support;

mod ci_examples;
mod demo;
mod docs;
