//! What strict reading and canonical writing of a document cost: a receipt's envelope of 6 KB.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign::crypto::{canonical, json};
use divan::{Bencher, black_box};

const RECEIPT: &[u8] = include_bytes!("../tests/conformance/golden/valid/envelope/receipt.json");

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
