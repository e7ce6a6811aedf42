//! Tests of the document formats: vectors, golden documents, schemas, properties, mutants and verifiers in other
//! languages.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../audit/mod.rs"]
mod audit;
#[path = "../certified/mod.rs"]
mod certified;
#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../history/mod.rs"]
mod history;
#[path = "../mutants/mod.rs"]
mod mutants;
#[path = "../passkey/mod.rs"]
mod passkey;
#[path = "../planted/mod.rs"]
mod planted;
#[path = "../second/mod.rs"]
mod second;
#[path = "../shell/mod.rs"]
mod shell;
#[path = "../support/mod.rs"]
mod support;
#[path = "../vectors/mod.rs"]
mod vectors;

mod conformance;
mod documents;
mod fuzz_corpus;
mod golden_documents;
mod mutation;
mod pages;
mod passkeys;
mod peers;
mod policies;
mod properties;
mod receipts_foreign;
mod roster_patches;
mod rundown;
mod schemas;
mod second_opinion;
