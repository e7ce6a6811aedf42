//! Checks the source code of this project: module layout, tests that documents name, dependencies, sentences.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../rust_source/mod.rs"]
mod rust_source;

mod client;
mod compile_fail;
mod layers;
mod named_tests;
mod sentences;
mod supply_chain;
