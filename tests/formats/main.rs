//! Tests of the document formats: vectors, golden documents, schemas, properties, mutants and verifiers in other
//! languages.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../golden/mod.rs"]
mod golden;
#[path = "../support/host.rs"]
mod host;
#[path = "../mutants/mod.rs"]
mod mutants;
#[path = "../second/mod.rs"]
mod second;
#[path = "../vectors/mod.rs"]
mod vectors;

mod conformance;
mod fuzz_corpus;
mod golden_documents;
mod mutation;
mod pages;
mod peers;
mod properties;
mod receipts_foreign;
mod reserved;
mod rundown;
mod schemas;
mod second_opinion;
