//! Opens a ledger for a benchmark, over a store that the benchmark has created.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use documents::{SecretKey, SshKey, Timestamp};
use store::{Ledger, LedgerConfig, LedgerLimits, LogSigner, Spender, SqliteStore, StoreReads};

/// Opens a ledger whose clock always returns `now`.
pub fn open(store: SqliteStore, reads: StoreReads, path: &Path, now: Timestamp) -> Spender {
    let secret = SecretKey::from_seed([3; 32]);
    let key = secret.public();
    let config = LedgerConfig {
        name: "bench".parse().expect("name"),
        signer: LogSigner {
            key,
            keyid: SshKey::from_public(key, "").expect("key").keyid(),
            sign: Arc::new(move |message| secret.sign(message)),
        },
        clock: Arc::new(move || now),
        boottime: Arc::new(|| Duration::ZERO),
        on_fatal: Arc::new(|fault| panic!("{fault}")),
        outputs: path.with_file_name("outputs"),
        objects: None,
        limits: LedgerLimits::default(),
        metrics: Arc::default(),
        keep_head: None,
    };
    Ledger::open(Box::new(store), Arc::new(reads), config).expect("a ledger")
}
