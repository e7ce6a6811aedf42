//! A test store that can delay a commit, let a commit fail, or return wrong hashes.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::store::fault::StoreFault;
use crate::store::ledger::Ledger;
use crate::store::stored_denial::StoredDenial;
use crate::store::stored_proposal::{AuthorizationCore, NewProposal, Signature};
use crate::store::stored_status::StoredStatus;
use crate::store::stored_token::TokenChange;
use crate::store::{
    Candidate, CheckpointRow, DenialsAhead, FinishRow, LeafRow, ProposalPrecedent, ProposalState, RetentionCut,
    RetentionWalk, Retired, RunRow, Store, StoreHead, SweepResult, TileRow, sqlite,
};
use documents::crypto::digest::{AuthorizationDigest, BlobDigest, SealDigest};
use documents::crypto::merkle::Hash;
use documents::record::ident::{Name, Nonce, ProposalId};
use documents::record::validity::Timestamp;

/// Controls the commits of a test store. A test can delay a commit or let the commit fail.
#[derive(Default)]
pub(super) struct Commits {
    pub(super) held: AtomicBool,
    waiting: AtomicBool,
    pub(super) next: Mutex<std::collections::VecDeque<Option<StoreFault>>>,
    /// If true, the store returns wrong leaf hashes.
    pub(super) lies: AtomicBool,
}

impl Commits {
    /// Sends a request and returns while its commit is delayed. Requests that arrive before the end of this commit form
    /// one batch.
    pub(super) async fn hold<T, F>(&self, ledger: &Ledger, ask: impl FnOnce(Ledger) -> F) -> tokio::task::JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.waiting.store(false, SeqCst);
        self.held.store(true, SeqCst);
        let asking = tokio::spawn(ask(ledger.clone()));
        while !self.waiting.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        asking
    }
}

/// A SQLite store whose commits a test controls.
pub(super) struct Failing {
    pub(super) store: sqlite::SqliteStore,
    pub(super) commits: Arc<Commits>,
}

macro_rules! pass_on {
    ($(fn $name:ident(&mut self $(, $arg:ident: $kind:ty)*) -> $result:ty;)*) => {$(
        fn $name(&mut self $(, $arg: $kind)*) -> $result {
            self.store.$name($($arg),*)
        }
    )*};
}

impl Store for Failing {
    fn commit(&mut self) -> Result<(), StoreFault> {
        self.commits.waiting.store(true, SeqCst);
        while self.commits.held.load(SeqCst) {
            std::thread::yield_now();
        }
        match self.commits.next.lock().expect("lock").pop_front().flatten() {
            Some(fault) => Err(fault),
            None => self.store.commit(),
        }
    }

    fn rollback(&mut self) {
        self.store.rollback();
    }

    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, StoreFault> {
        let mut hashes = self.store.leaf_hashes(range)?;
        if self.commits.lies.load(SeqCst) {
            hashes.iter_mut().for_each(|hash| hash[0] ^= 1);
        }
        Ok(hashes)
    }

    pass_on! {
        fn begin(&mut self) -> Result<(), StoreFault>;
        fn maintain(&mut self) -> Result<(), StoreFault>;
        fn settle(&mut self) -> Result<(), StoreFault>;
        fn head(&mut self) -> Result<StoreHead, StoreFault>;
        fn set_head(&mut self, head: &StoreHead) -> Result<(), StoreFault>;
        fn open_nonces(&mut self) -> Vec<(Nonce, Timestamp)>;
        fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, StoreFault>;
        fn candidates(&mut self, requests: &[&AuthorizationCore]) -> Result<Vec<Candidate>, StoreFault>;
        fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<ProposalState>>, StoreFault>;
        fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), StoreFault>;
        fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), StoreFault>;
        fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), StoreFault>;
        fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), StoreFault>;
        fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), StoreFault>;
        fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, StoreFault>;
        fn precedent(&mut self, new: &NewProposal) -> Result<ProposalPrecedent, StoreFault>;
        fn put_proposal(&mut self, new: &NewProposal) -> Result<(), StoreFault>;
        fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, StoreFault>;
        fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, StoreFault>;
        fn deny(&mut self, authorization: &AuthorizationDigest, denial: &StoredDenial, ahead: bool) -> Result<(), StoreFault>;
        fn denials_ahead(&mut self, approver: &Name, since: Timestamp) -> Result<DenialsAhead, StoreFault>;
        fn unfinished_of(&mut self, authorization: &AuthorizationDigest) -> Result<Option<(ProposalId, ProposalState)>, StoreFault>;
        fn advance(&mut self, proposal: &ProposalId, to: StoredStatus, at: Timestamp, detail: &Vec<u8>) -> Result<(), StoreFault>;
        fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, StoreFault>;
        fn save(&mut self) -> Result<(), StoreFault>;
        fn keep(&mut self) -> Result<(), StoreFault>;
        fn undo(&mut self) -> Result<(), StoreFault>;
        fn retire(&mut self, cut: RetentionCut, walk: RetentionWalk, limit: usize) -> Result<Retired, StoreFault>;
        fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<SweepResult, StoreFault>;
        fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, StoreFault>;
    }
}
