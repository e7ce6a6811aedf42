//! Tests of the ledger with real SQLite files, and with a real PostgreSQL server.

mod boundary_time;
mod changed_servers;
mod denied_authorizations;
mod events;
mod failed_writes;
mod failing_store;
mod grants;
mod log_proofs;
mod output_retention;
mod packed_tiles;
mod proposal_rows;
mod request_sequences;
mod reviews;
mod revocations;
mod seals_and_tokens;
mod spent_nonces;
mod store_opening;
mod two_writers;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{
    AuthorizationCore, Consume, Finish, LeafRef, Ledger, LedgerConfig, LedgerLimits, LogSigner,
    NewProposal, Objects, ProposalStatus, SealWrite, ServerSettings, Spender, SpentNonce, Store,
    StoreFault, StoreReads, StoreResult, Window, WriteStop,
    ledger::tests::failing_store::{Commits, Failing},
    postgres,
    shared::KeepHead,
    sqlite,
};
use documents::{
    AuthorizationDigest, Base64, BlobDigest, Consumption, Envelope, LeafHash, LeafKind, Nonce,
    ParamsDigest, ProposalId, SealDigest, SecretKey, Signed, SshKey, Statement, StepDigest,
    Timestamp, merkle,
};

const T0: i64 = 1_800_000_000;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_unix(T0 + seconds)
}

/// A writer with its reading connections.
type Opened = (Box<dyn Store>, Arc<StoreReads>);

/// Directory, clock and key of one store. A test can open the store several times.
struct World {
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
    fatal: Arc<Mutex<Vec<StoreFault>>>,
    limits: LedgerLimits,
    /// A schema of the PostgreSQL server, or `None` for SQLite.
    server: Option<ServerSettings>,
}

impl World {
    /// Returns a world with SQLite, and one with PostgreSQL if the host has PostgreSQL.
    fn on_each_engine() -> Vec<Self> {
        let server = postgres::tests::server().map(|server| Self {
            server: Some(server.new_schema()),
            ..Self::new()
        });
        std::iter::once(Self::new())
            .chain(server)
            .inspect(|world| eprintln!("engine: {}", world.engine()))
            .collect()
    }

    fn engine(&self) -> &'static str {
        if self.server.is_some() {
            "PostgreSQL"
        } else {
            "SQLite"
        }
    }

    fn new() -> Self {
        Self {
            server: None,
            directory: tempfile::tempdir().expect("directory"),
            clock: Arc::new(AtomicI64::new(T0)),
            boot: Arc::default(),
            fatal: Arc::default(),
            limits: LedgerLimits::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data").join("countersign.db")
    }

    fn config(&self) -> LedgerConfig {
        let (clock, boot, fatal) = (
            Arc::clone(&self.clock),
            Arc::clone(&self.boot),
            Arc::clone(&self.fatal),
        );
        let secret = SecretKey::from_seed([3; 32]);
        let key = secret.public();
        LedgerConfig {
            name: "test".parse().expect("name"),
            signer: LogSigner {
                key,
                keyid: SshKey::from_public(key, "").expect("key").keyid(),
                sign: Arc::new(move |message| secret.sign(message)),
            },
            clock: Arc::new(move || Timestamp::from_unix(clock.load(SeqCst))),
            boottime: Arc::new(move || Duration::from_secs(boot.load(SeqCst))),
            on_fatal: Arc::new(move |fault| fatal.lock().expect("lock").push(fault.clone())),
            outputs: self.directory.path().join("outputs"),
            objects: self
                .server
                .clone()
                .map(|server| Arc::new(Objects::new(server))),
            limits: self.limits,
            metrics: Arc::default(),
            keep_head: None,
        }
    }

    /// Opens the store, and tries again while the lock is taken, because child processes of other tests hold a copy of
    /// the lock until they call exec.
    fn store(&self) -> Opened {
        let begun = std::time::Instant::now();
        loop {
            match self.try_open() {
                Err(fault)
                    if fault.to_string().contains("is in use by")
                        && begun.elapsed().as_secs() < 10 =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                opened => return opened.expect("store"),
            }
        }
    }

    fn try_open(&self) -> StoreResult<Opened> {
        match &self.server {
            Some(settings) => {
                let (store, reads) = postgres::open(settings.clone(), None)?;
                Ok((Box::new(store), Arc::new(reads)))
            }
            None => {
                let (store, reads) = sqlite::open(&self.path())?;
                Ok((Box::new(store), Arc::new(reads)))
            }
        }
    }

    /// Changes rows directly, without the writer.
    fn tamper(&self, sql: &str) {
        match &self.server {
            Some(settings) => postgres::tests::tamper(settings, sql),
            None => sqlite::tamper(&self.path(), sql),
        }
    }

    fn open(&self) -> Spender {
        let (store, reads) = self.store();
        Ledger::open(store, reads, self.config()).expect("ledger")
    }

    /// Returns the fault because of which the ledger does not open.
    fn refused(&self) -> String {
        let (store, reads) = self.store();
        Ledger::open(store, reads, self.config())
            .err()
            .expect("refused")
            .to_string()
    }

    fn open_failing(&self) -> (Spender, Arc<Commits>) {
        self.open_failing_with(|_| None)
    }

    fn open_failing_with(
        &self,
        keep_head: impl FnOnce(&Arc<Commits>) -> Option<KeepHead>,
    ) -> (Spender, Arc<Commits>) {
        let (store, reads) = self.store();
        let commits = Arc::<Commits>::default();
        let config = LedgerConfig {
            keep_head: keep_head(&commits),
            ..self.config()
        };
        let failing = Failing {
            store,
            commits: Arc::clone(&commits),
        };
        (
            Ledger::open(Box::new(failing), reads, config).expect("ledger"),
            commits,
        )
    }

    /// Opens the store, and tries again until the previous owner releases the lock.
    async fn open_after_close(&self) -> Spender {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match self.try_open() {
                Ok((store, reads)) => {
                    return Ledger::open(store, reads, self.config()).expect("ledger");
                }
                Err(fault) => assert!(std::time::Instant::now() < deadline, "{fault}"),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn sealed(&self) -> Spender {
        let ledger = self.open();
        seal(&ledger, 1).await.expect("seal");
        ledger
    }
}

fn seal_write(ledger: &Ledger, number: u8) -> SealWrite {
    SealWrite {
        envelope: format!("seal {number}").into_bytes(),
        digest: SealDigest::of(&[number]),
        new_epoch: false,
        thaws: false,
        checked: ledger.checked_state(),
        at: ledger.now(),
        blobs: vec![(BlobDigest::of(&[number]), vec![number])],
        tokens: Vec::new(),
    }
}

async fn seal(ledger: &Ledger, number: u8) -> Result<LeafRef, WriteStop> {
    ledger.seal(seal_write(ledger, number)).await
}

fn core(number: u8) -> AuthorizationCore {
    core_until(number, t(3600))
}

fn core_until(number: u8, expires_at: Timestamp) -> AuthorizationCore {
    let id = ProposalId::ending(expires_at, [number; 10]);
    AuthorizationCore {
        digest: AuthorizationDigest::of(id.as_str().as_bytes()),
        id,
        nonce: Nonce::new(expires_at, [number; 16]),
        step: "web:restart".parse().expect("ref"),
        step_digest: StepDigest::of(b"step"),
        params_digest: ParamsDigest::of(&[number]),
        proposer: "agent".parse().expect("name"),
        expires_at,
    }
}

fn millis(at: Timestamp) -> u64 {
    at.unix().unsigned_abs() * 1000
}

fn new_proposal(number: u8) -> NewProposal {
    NewProposal {
        core: core(number),
        payload: Arc::from(&[number; 40][..]),
        programs: None,
        request: [number; 32],
        chosen_nonce: true,
        may_repeat: false,
        created_ms: millis(t(0)) + u64::from(number),
        admitted: None,
    }
}

fn envelope_of(payload: &[u8]) -> Vec<u8> {
    documents::canonical_of(&Envelope::new(payload, Vec::new())).expect("envelope")
}

fn consume_of(ledger: &Ledger, core: AuthorizationCore) -> Consume {
    let state = ledger.state();
    let envelope: Arc<[u8]> = envelope_of(core.id.as_str().as_bytes()).into();
    Consume {
        version: state.version,
        seal: state.seal.unwrap_or(SealDigest::of(b"none")),
        window: Window {
            issued_at: core.expires_at.plus(-3600),
            not_before: core.expires_at.plus(-3600),
            expires_at: core.expires_at,
            max_s: None,
            valid_after: None,
            valid_before: None,
        },
        envelope,
        handed_in_by: "agent".parse().expect("a name"),
        exclusive: None,
        limit_s: 60,
        session: None,
        claim: None,
        emergency: None,
        signers: Vec::new(),
        programs: None,
        core,
    }
}

/// Returns the end of the run that the ledger knows.
fn finish_of(ledger: &Ledger, id: &ProposalId) -> Finish {
    let consumption = ledger
        .proposal(id)
        .ok()
        .flatten()
        .and_then(|row| row.consumption)
        .unwrap_or_default();
    let leaf = ledger
        .leaf(consumption.0)
        .ok()
        .flatten()
        .map(|leaf| merkle::leaf_hash(&leaf.data))
        .unwrap_or_default();
    Finish {
        proposal: id.clone(),
        consumption,
        leaf: LeafHash::from_bytes(leaf),
        receipt: receipt_of(id).into(),
        at: t(1),
        detail: b"succeeded".to_vec(),
        outputs: Vec::new(),
        order: None,
        blobs: Vec::new(),
        unknown: false,
        grant: None,
    }
}

fn receipt_of(id: &ProposalId) -> Vec<u8> {
    let statement = serde_json::json!({"predicate": {"proposal": id}});
    envelope_of(statement.to_string().as_bytes())
}

async fn run_whole(ledger: &Spender, number: u8) -> (SpentNonce, LeafRef) {
    let consumed = ledger
        .consume(consume_of(ledger, core(number)))
        .await
        .expect("consumed");
    (
        consumed,
        ledger
            .finish(finish_of(ledger, &core(number).id))
            .await
            .expect("finished"),
    )
}

fn status(ledger: &Ledger, number: u8) -> Option<ProposalStatus> {
    ledger
        .proposal(&core(number).id)
        .expect("read")
        .map(|proposal| proposal.status)
}

fn consumptions(ledger: &Ledger) -> Vec<(u64, Statement<Consumption>)> {
    let key = SshKey::from_public(SecretKey::from_seed([3; 32]).public(), "").expect("key");
    let mut found = Vec::new();
    for index in 0..ledger.state().size {
        let leaf = ledger.leaf(index).expect("read").expect("leaf");
        if leaf.kind == LeafKind::Consumption {
            let envelope: Envelope = serde_json::from_slice(&leaf.data).expect("envelope");
            let signed =
                Signed::<Consumption>::from_envelope(&envelope, Base64::Strict).expect("signed");
            found.push((
                index,
                signed
                    .verify(|_| Some(&key))
                    .expect("verified")
                    .statement()
                    .clone(),
            ));
        }
    }
    found
}

fn check_laws(ledger: &Ledger) {
    let state = ledger.state();
    let leaf = |index| ledger.leaf(index).expect("read").expect("a leaf").data;
    let data: Vec<_> = (0..state.size).map(leaf).collect();
    assert_eq!(data.len() as u64, state.size);
    let hashes: Vec<_> = data.iter().map(|data| merkle::leaf_hash(data)).collect();
    assert_eq!(
        ledger.root_at(state.size).expect("root"),
        Some(merkle::root(&hashes))
    );
    let mut spent = std::collections::HashMap::new();
    let mut last = Timestamp::from_unix(0);
    for (index, statement) in consumptions(ledger) {
        assert!(statement.predicate.at >= last, "at decreased");
        last = statement.predicate.at;
        for (item, one) in (0..).zip(&statement.predicate.spent) {
            let row = ledger
                .reads()
                .spent(&one.nonce)
                .expect("read")
                .expect("every consumed nonce has its row");
            assert_eq!((row.index, row.item), (index, item));
            assert!(
                spent.insert(one.nonce.clone(), row.proposal).is_none(),
                "one consumption per nonce"
            );
        }
    }
    let running: Vec<_> = ledger
        .reads()
        .unfinished()
        .expect("read")
        .into_iter()
        .map(|one| one.proposal)
        .collect();
    for proposal in spent.values() {
        let row = ledger
            .proposal(proposal)
            .expect("read")
            .expect("every consumed nonce has its proposal");
        let expected = if running.contains(proposal) {
            ProposalStatus::Running
        } else {
            ProposalStatus::Finished
        };
        assert_eq!(row.status, expected);
        assert_eq!(row.receipt.is_some(), expected == ProposalStatus::Finished);
    }
    for proposal in &running {
        assert!(
            spent.values().any(|one| one == proposal),
            "every running proposal has a consumption"
        );
    }
}
