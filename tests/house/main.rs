//! Checks the source code of this project: module layout, tests that documents name, dependencies, sentences.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../certified/mod.rs"]
mod certified;
#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../docs/mod.rs"]
mod docs;
#[path = "../issuer/mod.rs"]
mod issuer;
#[path = "../rust_source/mod.rs"]
mod rust_source;
#[path = "../shown/mod.rs"]
mod shown;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod compile_fail;
mod core_page;
mod layers;
mod model;
mod named_tests;
mod scripts;
mod sentences;
mod sizes;
mod supply_chain;
