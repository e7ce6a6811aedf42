//! Measures the store with 64 clients: consumptions alone, and consumptions with receipts.
//!
//! Most of the time is the sync of the disk, so compare only results of the same run. To measure without a disk, set
//! `TMPDIR` to a tmpfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::store::ledger::Ledger;
use countersign::store::sqlite;
use countersign::store::stored_proposal::AuthorizationCore;
use countersign::store::stored_run::Window;
use countersign::store::stored_run::{Consume, Finish};
use countersign::store::stored_seal::SealWrite;
use documents::crypto::canonical::canonical_of;
use documents::crypto::digest::{AuthorizationDigest, ParamsDigest, SealDigest, StepDigest, sha256};
use documents::record::envelope::Envelope;
use documents::record::ident::{Nonce, ProposalId};
use documents::record::validity::Timestamp;

const CLIENTS: u64 = 64;
const EACH: u64 = 50;
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn nonces_of_64_clients(bencher: divan::Bencher<'_, '_>) {
    measure(bencher, false);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn crossings_of_64_clients(bencher: divan::Bencher<'_, '_>) {
    measure(bencher, true);
}

fn measure(bencher: divan::Bencher<'_, '_>, whole: bool) {
    let directory = tempfile::tempdir().expect("directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
    let ledger = open(&directory.path().join("data/countersign.db"));
    let digest = SealDigest::of(b"seal");
    let seal =
        SealWrite { envelope: b"{}".to_vec(), digest, previous: None, at: NOW, blobs: Vec::new(), tokens: Vec::new() };
    let version = runtime.block_on(ledger.seal(seal)).expect("seal").version;
    let envelope: Arc<[u8]> = canonical_of(&Envelope::new(&[b'x'; 1500], Vec::new())).expect("envelope").into();
    let next = AtomicU64::new(0);
    bencher.counter(divan::counter::ItemsCount::new(CLIENTS * EACH)).bench(|| {
        runtime.block_on(async {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..CLIENTS {
                let first = next.fetch_add(EACH, Ordering::Relaxed);
                let (ledger, envelope) = (ledger.clone(), Arc::clone(&envelope));
                clients.spawn(async move {
                    for number in first..first + EACH {
                        let consume = consume(number, version, digest, &envelope);
                        let id = consume.core.id.clone();
                        ledger.consume(consume).await.expect("consumed");
                        if whole {
                            ledger.finish(finish(id)).await.expect("finished");
                        }
                    }
                });
            }
            clients.join_all().await;
        });
    });
}

fn open(path: &std::path::Path) -> Ledger {
    let (store, reads) = sqlite::open(path).expect("store");
    ledger::open(store, reads, path, NOW)
}

fn consume(number: u64, version: u64, seal: SealDigest, envelope: &Arc<[u8]>) -> Consume {
    let random: [u8; 16] = sha256(&number.to_be_bytes())[..16].try_into().expect("16 bytes");
    let millis = 1_800_000_000_000 + number / 8;
    let expires_at = NOW.plus(3600);
    Consume {
        version,
        seal,
        core: AuthorizationCore {
            id: ProposalId::new(millis, random[..10].try_into().expect("10 bytes")),
            digest: AuthorizationDigest::of(&random),
            nonce: Nonce::new(millis, random),
            step: "web:restart".parse().expect("ref"),
            step_digest: StepDigest::of(b"step"),
            params_digest: ParamsDigest::of(b"params"),
            proposer: "agent".parse().expect("name"),
            expires_at,
        },
        envelope: Arc::clone(envelope),
        decision: Arc::from(&[b'd'; 200][..]),
        window: Window {
            issued_at: NOW,
            not_before: NOW,
            expires_at,
            max_s: None,
            valid_after: None,
            valid_before: None,
        },
        exclusive: None,
        session: None,
    }
}

fn finish(proposal: ProposalId) -> Finish {
    Finish {
        proposal,
        receipt: vec![b'r'; 5200].into(),
        at: NOW,
        detail: b"succeeded".to_vec(),
        outputs: Vec::new(),
        order: None,
        blobs: Vec::new(),
    }
}
