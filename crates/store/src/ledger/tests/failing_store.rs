//! A test store that can delay a commit, let a commit fail, or return wrong hashes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use crate::{
    Answers, Commit, Ledger, OpenBatch, PackedRow, Questions, Store, StoreFault, StoreHead,
    StoreResult, Writes, ledger::Spender,
};
use documents::Timestamp;

type RejectsBatch = fn(&Writes<'_>) -> bool;

/// Controls the commits of a test store. A test can delay a commit or let the commit fail.
#[derive(Default)]
pub struct Commits {
    pub held: AtomicBool,
    waiting: AtomicBool,
    pub next: Mutex<std::collections::VecDeque<Option<StoreFault>>>,
    /// The batches for which this function returns true are rejected.
    pub rejects: Mutex<Option<RejectsBatch>>,
    /// If true, the store returns wrong leaf hashes.
    pub lies: AtomicBool,
    /// Number of changes of the database server.
    pub server_changes: AtomicU64,
    /// The clock of the database server.
    pub server_clock: Mutex<Option<Timestamp>>,
    /// Number of durable batches that the writer doubted.
    pub doubted: AtomicU64,
    /// If true, the database server has lost the last batch.
    pub lost: AtomicBool,
}

impl Commits {
    /// Sends a request and returns while its commit is delayed. Requests that arrive before the end of this commit form
    /// one batch.
    pub async fn hold<T, F>(
        &self,
        ledger: &Ledger,
        ask: impl FnOnce(Spender) -> F,
    ) -> tokio::task::JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.waiting.store(false, SeqCst);
        self.held.store(true, SeqCst);
        let asking = tokio::spawn(ask(Spender(ledger.clone())));
        while !self.waiting.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        asking
    }
}

/// A store whose commits a test controls.
pub struct Failing {
    pub store: Box<dyn Store>,
    pub commits: Arc<Commits>,
}

macro_rules! pass_on {
    ($(fn $name:ident(&mut self $(, $arg:ident: $kind:ty)*) -> $result:ty;)*) => {$(
        fn $name(&mut self $(, $arg: $kind)*) -> $result {
            self.store.$name($($arg),*)
        }
    )*};
}

impl Store for Failing {
    fn commit(&mut self, writes: &Writes<'_>) -> Commit {
        self.commits.waiting.store(true, SeqCst);
        while self.commits.held.load(SeqCst) {
            std::thread::yield_now();
        }
        if let Some(fault) = self
            .commits
            .next
            .lock()
            .expect("lock")
            .pop_front()
            .flatten()
        {
            return Commit::NotDone(fault);
        }
        if self
            .commits
            .rejects
            .lock()
            .expect("lock")
            .is_some_and(|rejects| rejects(writes))
        {
            return Commit::NotDone(StoreFault::Database {
                during: "test",
                message: "rejected".to_owned(),
            });
        }
        match self.store.commit(writes) {
            Commit::Done(mut hashes) if self.commits.lies.load(SeqCst) => {
                hashes.iter_mut().for_each(|hash| hash[0] ^= 1);
                Commit::Done(hashes)
            }
            committed => committed,
        }
    }

    fn begin(&mut self, size: u64, questions: &Questions<'_>) -> StoreResult<Answers> {
        let server_clock = *self.commits.server_clock.lock().expect("lock");
        Ok(Answers {
            server_clock,
            ..self.store.begin(size, questions)?
        })
    }

    fn server_changes(&self) -> u64 {
        self.commits.server_changes.load(SeqCst)
    }

    fn doubt(&mut self) {
        self.commits.doubted.fetch_add(1, SeqCst);
    }

    fn settle(&mut self) -> StoreResult<bool> {
        // A real store asks over a new connection, which counts as a change of the server.
        self.commits.server_changes.fetch_add(1, SeqCst);
        Ok(!self.commits.lost.load(SeqCst))
    }

    fn rollback(&mut self) {
        self.store.rollback();
    }

    pass_on! {
        fn head(&mut self) -> StoreResult<StoreHead>;
        fn connection(&mut self) -> StoreResult<&dyn OpenBatch>;
        fn batch(&mut self) -> StoreResult<&dyn OpenBatch>;
        fn pack(&mut self, packed: &PackedRow) -> StoreResult;
        fn maintain(&mut self) -> StoreResult;
        fn close(&mut self) -> StoreResult;
    }
}
