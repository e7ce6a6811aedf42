//! Measures an audit, the signature checks in it, and a Merkle tree of up to ten million entries.
//!
//! The benchmark makes the entries in memory, with real keys. Compare `audit` with `signatures` of the same run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/history/mod.rs"]
mod history;
#[path = "boundary/ledger.rs"]
mod ledger;
#[path = "../tests/passkey/mod.rs"]
mod passkey;

use std::path::Path;
use std::sync::LazyLock;

use divan::{Bencher, black_box};
use documents::{
    Consumption, ForeignKey, Hash, LeafKind, PAYLOAD_TYPE, PublicKey, SealDigest, StatementKey,
    TILE_WIDTH, Timestamp, merkle, pae, sshsig,
};
use history::{ALICE, BOB, Log, grants, key};
use passkey::PasskeyPair;
use serde_json::Value;
use store::{
    Commit, LeafRow, Ledger, Questions, SealWrite, SqliteStore, Store as _, TreeEdge, Writes,
    opened, sqlite,
};
use verdict::{Expected, entry};

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Number of runs in the audited log.
const RUNS: i64 = 1000;

/// A log of runs with one or two signatures each. Each run has a separate consumption leaf, as with one client.
fn log(signers: usize) -> Log {
    let mut log = Log::new();
    for at in 0..RUNS {
        log.run(
            if signers == 2 {
                "two:go"
            } else {
                "nginx:restart"
            },
            at,
            &[ALICE, BOB][..signers],
        );
    }
    log
}

/// A log of runs under one standing grant.
fn uses() -> Log {
    let mut log = Log::with(|sealed| {
        grants::permit_grants(sealed);
        sealed.policy["default"]["standing"]["max_uses"] = RUNS.into();
    });
    let granted = grants::grant(&mut log, &[ALICE, BOB], |of| of["max_uses"] = RUNS.into());
    for at in 0..RUNS {
        let number = at.unsigned_abs() + 1;
        grants::run(
            &mut log,
            &granted,
            &grants::Use {
                number,
                at,
                ..grants::PLAIN
            },
        );
    }
    log
}

static USES: LazyLock<Log> = LazyLock::new(uses);
static ONE: LazyLock<Log> = LazyLock::new(|| log(1));
static TWO: LazyLock<Log> = LazyLock::new(|| log(2));

fn of(signers: usize) -> &'static Log {
    if signers == 2 { &TWO } else { &ONE }
}

/// Verifies one signature of a passkey over a message of the size of an authorization.
#[divan::bench]
fn passkey_signature(bencher: Bencher<'_, '_>) {
    let key = PasskeyPair::of(1);
    let line = ForeignKey::parse(&key.line()).expect("a line");
    let message = pae(PAYLOAD_TYPE, &[b'x'; 2_048]);
    let signature = key.sign(&message);
    let passkey = line.passkey().expect("a passkey");
    bencher.bench(|| {
        sshsig::verify(
            StatementKey::Passkey(passkey),
            black_box(&message),
            black_box(&signature),
        )
        .expect("verified")
    });
}

#[divan::bench(args = [1, 2], sample_count = 25, sample_size = 1)]
fn audit(bencher: Bencher<'_, '_>, signers: usize) {
    bench_audit(bencher, of(signers));
}

/// Audits runs under a standing grant. Compare with a run that one person signed.
#[divan::bench(sample_count = 25, sample_size = 1)]
fn audit_of_uses(bencher: Bencher<'_, '_>) {
    bench_audit(bencher, &USES);
}

fn bench_audit(bencher: Bencher<'_, '_>, log: &Log) {
    let head = log.head();
    assert!(log.audit().1.clean);
    bencher
        .counter(divan::counter::ItemsCount::new(RUNS.unsigned_abs()))
        .bench(|| {
            let mut auditor = log.auditor(Expected::default());
            // The auditor receives the entries of one tile at a time.
            let tiles = log
                .entries
                .chunks(usize::from(TILE_WIDTH))
                .map(|tile| Ok(tile.to_vec()));
            entry::each(tiles, |entry| {
                auditor.entry(entry, log).map(|said| drop(black_box(said)))
            })
            .expect("readable");
            auditor.finish(&head, log).expect("readable")
        });
}

/// Checks only the signatures that the audit checks, over the same messages.
#[divan::bench(args = [1, 2], sample_count = 25, sample_size = 1)]
fn signatures(bencher: Bencher<'_, '_>, signers: usize) {
    let checks = checks(of(signers));
    assert_eq!(checks.len() as u64, of(signers).audit().1.counts.signatures);
    bencher
        .counter(divan::counter::ItemsCount::new(RUNS.unsigned_abs()))
        .bench(|| {
            for (key, message, signature) in &checks {
                key.verify(black_box(message), signature)
                    .map(drop)
                    .expect("a good signature");
            }
        });
}

type Check = (PublicKey, Vec<u8>, [u8; 64]);

fn checks(log: &Log) -> Vec<Check> {
    use base64::Engine as _;
    let decode = |text: &Value| {
        base64::engine::general_purpose::STANDARD
            .decode(text.as_str().expect("text"))
            .expect("base64")
    };
    let mut checks = Vec::new();
    let mut envelopes: Vec<Value> = log
        .entries
        .iter()
        .map(|entry| serde_json::from_slice(entry).expect("an envelope"))
        .collect();
    while let Some(envelope) = envelopes.pop() {
        let payload = decode(&envelope["payload"]);
        for signature in envelope["signatures"].as_array().expect("signatures") {
            let signer = [history::ALICE, history::BOB, history::BOUNDARY]
                .into_iter()
                .find(|seed| signature["keyid"] == key(*seed).keyid().as_str())
                .expect("a signer");
            let raw = decode(&signature["sig"]).try_into().expect("64 bytes");
            checks.push((*key(signer).public(), pae(PAYLOAD_TYPE, &payload), raw));
        }
    }
    checks
}

// The Merkle tree

/// Log sizes. The results of all sizes must be similar.
const SIZES: [u64; 3] = [10_000, 1_000_000, 10_000_000];

fn leaf_of(index: u64) -> Hash {
    merkle::leaf_hash(&index.to_be_bytes())
}

/// A consumption. A store that opens reads the log back to a consumption whose windows have ended, and no further.
static CONSUMPTION: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let entries = log(1).entries;
    let is_consumption = |entry: &&Vec<u8>| opened::<Consumption>(entry).is_ok();
    entries.iter().find(is_consumption).expect("a run").clone()
});

/// A store whose log has `size` entries and a seal after them: all complete tiles, and the leaf rows of the last two tiles.
/// The first of these rows is an old consumption.
fn store(directory: &Path, size: u64) -> Ledger {
    let path = directory.join("data/countersign.db");
    let at = Timestamp::from_unix(1_900_000_000);
    let (mut store, reads) = sqlite::open(&path).expect("a store");
    let mut edge = TreeEdge::default();
    let mut writes = Writes::default();
    // The store compares the bytes of the last complete tile when it opens.
    let width = u64::from(TILE_WIDTH);
    writes.first = (size - size % width).saturating_sub(width);
    for index in 0..size {
        let leaf = match index == writes.first {
            true => merkle::leaf_hash(&CONSUMPTION),
            false => leaf_of(index),
        };
        edge.append(leaf, &mut writes.tiles);
        if writes.tiles.len() >= 1000 {
            commit(&mut store, &writes);
            writes.tiles.clear();
        }
    }
    writes.leaves = (writes.first..size)
        .map(|index| {
            let data: Vec<u8> = match index == writes.first {
                true => CONSUMPTION.clone(),
                false => index.to_be_bytes().into(),
            };
            LeafRow {
                kind: LeafKind::Refusal,
                at,
                hash: merkle::leaf_hash(&data),
                data: data.into(),
            }
        })
        .collect();
    let mut head = store.head().expect("a head");
    head.mark = at;
    writes.head = Some(head);
    commit(&mut store, &writes);
    let ledger = ledger::open(store, reads, &path, at).ledger();
    seal(&ledger, b"first");
    ledger
}

/// Seals the boundary, which also shows that the ledger accepts entries.
fn seal(ledger: &Ledger, state: &[u8]) {
    let seal = SealWrite {
        thaws: false,
        envelope: b"{}".to_vec(),
        digest: SealDigest::of(state),
        new_epoch: false,
        checked: ledger.checked_state(),
        at: ledger.now(),
        blobs: Vec::new(),
        tokens: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(ledger.seal(seal)).expect("sealed");
}

fn commit(store: &mut SqliteStore, writes: &Writes<'_>) {
    store.begin(0, &Questions::default()).expect("begun");
    assert!(matches!(store.commit(writes), Commit::Done(_)));
    store.maintain().expect("kept house");
}

/// Proves entries from the whole log. Each proof needs other tiles of the disk than the proof before it.
#[divan::bench(args = SIZES)]
fn inclusion_proof(bencher: Bencher<'_, '_>, size: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = store(directory.path(), size);
    let root = ledger.root_at(size).expect("read").expect("a root");
    let next = std::cell::Cell::new(0_u64);
    bencher.bench_local(|| {
        let index = next.get();
        next.set((index + 7_654_321) % size);
        let path = ledger
            .inclusion(black_box(index), size)
            .expect("read")
            .expect("within");
        debug_assert!(merkle::verify_inclusion(&leaf_of(index), index, size, &path, &root).is_ok());
        path
    });
}

#[divan::bench(args = SIZES)]
fn consistency_proof(bencher: Bencher<'_, '_>, size: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = store(directory.path(), size);
    let next = std::cell::Cell::new(1_u64);
    bencher.bench_local(|| {
        let old = next.get();
        next.set(1 + (old + 7_654_321) % (size - 1));
        ledger
            .consistency(black_box(old), size)
            .expect("read")
            .expect("within")
    });
}

/// Appends one leaf durably. The time for the tree must not grow with the log.
#[divan::bench(args = SIZES, sample_count = 50, sample_size = 1)]
fn append(bencher: Bencher<'_, '_>, size: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = store(directory.path(), size);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    bencher.bench_local(|| {
        let at = ledger.now();
        runtime
            .block_on(ledger.refuse(vec![b'x'; 1000], at))
            .expect("kept")
    });
    seal(&ledger, b"next");
}

/// Appends to the tree in memory, without a disk.
#[divan::bench(args = SIZES)]
fn append_in_memory(bencher: Bencher<'_, '_>, size: u64) {
    let mut edge = TreeEdge::default();
    let mut complete = Vec::new();
    for index in 0..size {
        edge.append(leaf_of(index), &mut complete);
        complete.clear();
    }
    let leaf = leaf_of(size);
    bencher.bench_local(|| {
        edge.append(black_box(leaf), &mut complete);
        complete.clear();
    });
}
