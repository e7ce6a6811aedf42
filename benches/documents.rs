//! Measures the strict parser and the canonical writer, with a receipt's envelope of 6 KB and the receipt's payload.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use divan::{Bencher, black_box};
use documents::crypto::{canonical, json};
use documents::record::document::Statement;
use documents::record::envelope::Envelope;
use documents::record::receipt::Receipt;

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIPT: &[u8] = include_bytes!("../tests/conformance/golden/valid/envelope/receipt.json");
const PAYLOAD: &[u8] = include_bytes!("../tests/conformance/golden/valid/payload/receipt.json");

fn main() {
    divan::main();
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    bencher.bench(|| json::parse(black_box(RECEIPT), 1 << 20).expect("strict"));
}

#[divan::bench]
fn parse_canonical(bencher: Bencher<'_, '_>) {
    bencher.bench(|| canonical::parse_canonical(black_box(RECEIPT), 1 << 20).expect("canonical"));
}

#[divan::bench]
fn to_canonical(bencher: Bencher<'_, '_>) {
    let value = json::parse(RECEIPT, 1 << 20).expect("strict");
    bencher.bench(|| canonical::to_canonical(black_box(&value)));
}

/// A payload has many short strings; an envelope has few long strings.
#[divan::bench]
fn payload_tree_to_canonical(bencher: Bencher<'_, '_>) {
    let value = json::parse(PAYLOAD, 1 << 20).expect("strict");
    bencher.bench(|| canonical::to_canonical(black_box(&value)));
}

#[divan::bench]
fn read_envelope(bencher: Bencher<'_, '_>) {
    bencher.bench(|| canonical::read_as::<Envelope>(black_box(RECEIPT), 1 << 20).expect("an envelope"));
}

#[divan::bench]
fn write_envelope(bencher: Bencher<'_, '_>) {
    let envelope: Envelope = canonical::read_as(RECEIPT, 1 << 20).expect("an envelope");
    bencher.bench(|| black_box(&envelope).to_canonical().expect("canonical"));
}

#[divan::bench]
fn read_payload(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Statement::<Receipt>::from_payload(black_box(PAYLOAD)).expect("a receipt"));
}

#[divan::bench]
fn write_payload(bencher: Bencher<'_, '_>) {
    let receipt = Statement::<Receipt>::from_payload(PAYLOAD).expect("a receipt");
    bencher.bench(|| black_box(&receipt).to_payload().expect("canonical"));
}
