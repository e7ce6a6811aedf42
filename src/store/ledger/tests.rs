//! Tests of the ledger with real SQLite files.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::crypto::digest::{BlobDigest, ParamsDigest, SealDigest, StepDigest};
use crate::crypto::signature::SecretKey;
use crate::crypto::sshsig::{Presence, SshKey};
use crate::record::consumption::Consumption;
use crate::record::document::Statement;
use crate::record::envelope::{Base64, Signed};
use crate::record::ident::Name;
use crate::record::token::Scope;
use crate::store::retention::{Retention, UNSIGNED_KEPT_S};
use crate::store::shared::{LedgerLimits, LogSigner};
use crate::store::stored_leaf::LeafKind;
use crate::store::stored_proposal::AuthorizationCore;
use crate::store::stored_run::{OutputRow, Window};
use crate::store::stored_token::TokenChange;
use crate::store::{
    Candidate, DenialsAhead, FinishRow, LeafRow, ProposalPrecedent, ProposalState, RetentionCut, RetentionWalk, RunRow,
    SweepResult, TileRow, sqlite,
};

const T0: i64 = 1_800_000_000;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_unix(T0 + seconds)
}

/// A directory, a clock and a key for one store. A test can open the store several times.
struct World {
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
    fatal: Arc<Mutex<Vec<StoreFault>>>,
    limits: LedgerLimits,
}

impl World {
    fn new() -> Self {
        Self {
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
        let (clock, boot, fatal) = (Arc::clone(&self.clock), Arc::clone(&self.boot), Arc::clone(&self.fatal));
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
            limits: self.limits,
        }
    }

    /// Opens the store, and tries again as long as the lock is taken. Other tests of this process start child
    /// processes, which hold a copy of the lock until they call exec.
    fn store(&self) -> (sqlite::SqliteStore, sqlite::reads::SqliteReads) {
        let begun = std::time::Instant::now();
        loop {
            match sqlite::open(&self.path()) {
                Err(fault) if fault.to_string().contains("is in use by") && begun.elapsed().as_secs() < 10 => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                opened => return opened.expect("store"),
            }
        }
    }

    fn open(&self) -> Ledger {
        let (store, reads) = self.store();
        Ledger::open(Box::new(store), Arc::new(reads), self.config()).expect("ledger")
    }

    fn open_failing(&self) -> (Ledger, Arc<Commits>) {
        let (store, reads) = self.store();
        let commits = Arc::<Commits>::default();
        let failing = Failing { store, commits: Arc::clone(&commits) };
        (Ledger::open(Box::new(failing), Arc::new(reads), self.config()).expect("ledger"), commits)
    }

    async fn sealed(&self) -> Ledger {
        let ledger = self.open();
        seal(&ledger, 1).await.expect("seal");
        ledger
    }
}

fn seal_write(ledger: &Ledger, number: u8) -> SealWrite {
    SealWrite {
        envelope: format!("seal {number}").into_bytes(),
        digest: SealDigest::of(&[number]),
        previous: ledger.state().seal,
        at: ledger.now(),
        blobs: vec![(BlobDigest::of(&[number]), vec![number])],
        tokens: Vec::new(),
    }
}

async fn seal(ledger: &Ledger, number: u8) -> Result<SealStored, WriteStop> {
    ledger.seal(seal_write(ledger, number)).await
}

fn core(number: u8) -> AuthorizationCore {
    let id = ProposalId::new(1_800_000_000_000 + u64::from(number), [number; 10]);
    AuthorizationCore {
        digest: AuthorizationDigest::of(id.as_str().as_bytes()),
        id,
        nonce: Nonce::new(1_800_000_000_000, [number; 16]),
        step: "web:restart".parse().expect("ref"),
        step_digest: StepDigest::of(b"step"),
        params_digest: ParamsDigest::of(&[number]),
        proposer: "agent".parse().expect("name"),
        expires_at: t(3600),
    }
}

fn new_proposal(number: u8) -> NewProposal {
    NewProposal {
        core: core(number),
        payload: Arc::from(&[number; 40][..]),
        request: [number; 32],
        chosen_nonce: true,
        created_at: t(0),
    }
}

fn envelope_of(payload: &[u8]) -> Vec<u8> {
    crate::crypto::canonical::canonical_of(&Envelope::new(payload, Vec::new())).expect("envelope")
}

fn consume_of(ledger: &Ledger, core: AuthorizationCore) -> Consume {
    let state = ledger.state();
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
        envelope: envelope_of(core.id.as_str().as_bytes()).into(),
        decision: Arc::from(&b"decision"[..]),
        exclusive: None,
        core,
    }
}

fn finish_of(id: &ProposalId) -> Finish {
    Finish {
        proposal: id.clone(),
        receipt: receipt_of(id).into(),
        at: t(1),
        detail: b"succeeded".to_vec(),
        outputs: Vec::new(),
        order: None,
        blobs: Vec::new(),
    }
}

fn receipt_of(id: &ProposalId) -> Vec<u8> {
    let embedded = Envelope::new(id.as_str().as_bytes(), Vec::new());
    let statement = serde_json::json!({"predicate": {"authorization": embedded}});
    envelope_of(statement.to_string().as_bytes())
}

async fn run_whole(ledger: &Ledger, number: u8) -> (SpentNonce, LeafRef) {
    let consumed = ledger.consume(consume_of(ledger, core(number))).await.expect("consumed");
    (consumed, ledger.finish(finish_of(&core(number).id)).await.expect("finished"))
}

fn status(ledger: &Ledger, number: u8) -> Option<StoredStatus> {
    ledger.proposal(&core(number).id).expect("read").map(|proposal| proposal.status)
}

/// Verifies and returns the consumptions of the log.
fn consumptions(ledger: &Ledger) -> Vec<(u64, Statement<Consumption>)> {
    let key = SshKey::from_public(SecretKey::from_seed([3; 32]).public(), "").expect("key");
    let mut found = Vec::new();
    for index in 0..ledger.state().size {
        let leaf = ledger.leaf(index).expect("read").expect("leaf");
        if leaf.kind == LeafKind::Consumption {
            let envelope: Envelope = serde_json::from_slice(&leaf.data).expect("envelope");
            let signed = Signed::<Consumption>::from_envelope(&envelope, Base64::Strict).expect("signed");
            found.push((index, signed.verify(|_| Some(&key)).expect("verified").statement().clone()));
        }
    }
    found
}

/// Checks the rules that every store must satisfy.
fn check_laws(ledger: &Ledger) {
    let state = ledger.state();
    let data = ledger.leaves(0..state.size).expect("leaves");
    assert_eq!(data.len() as u64, state.size);
    let hashes: Vec<_> = data.iter().map(|data| merkle::leaf_hash(data)).collect();
    assert_eq!(ledger.root_at(state.size).expect("root"), Some(merkle::root(&hashes)));
    let mut spent = std::collections::HashMap::new();
    let mut last = Timestamp::from_unix(0);
    for (index, statement) in consumptions(ledger) {
        assert!(statement.predicate.at >= last, "at decreased");
        last = statement.predicate.at;
        for (item, one) in (0..).zip(&statement.predicate.spent) {
            let row = ledger.spent(&one.nonce).expect("read").expect("every consumed nonce has its row");
            assert_eq!((row.index, row.item), (index, item));
            assert!(spent.insert(one.nonce.clone(), row.proposal).is_none(), "one consumption per nonce");
        }
    }
    let running: Vec<_> = ledger.unfinished().expect("read").into_iter().map(|one| one.proposal).collect();
    assert_eq!(running, ledger.running().expect("read"));
    for proposal in spent.values() {
        let row = ledger.proposal(proposal).expect("read").expect("every consumed nonce has its proposal");
        let expected = if running.contains(proposal) { StoredStatus::Running } else { StoredStatus::Finished };
        assert_eq!(row.status, expected);
        assert_eq!(row.receipt.is_some(), expected == StoredStatus::Finished);
    }
    for proposal in &running {
        assert!(spent.values().any(|one| one == proposal), "every running proposal has a consumption");
    }
}

#[tokio::test]
async fn only_one_of_many_identical_requests_runs() {
    let world = World::new();
    let ledger = world.sealed().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (ledger, consume) = (ledger.clone(), consume_of(&ledger, core(1)));
        tasks.spawn(async move { ledger.consume(consume).await });
    }
    let results = tasks.join_all().await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    let [won] = won[..] else { panic!("{} ran", won.len()) };
    let replayed = ConsumeStop::Replayed(NonceUse { index: won.index, item: won.item, proposal: core(1).id });
    assert_eq!(results.iter().filter(|result| result.as_ref().err() == Some(&replayed)).count(), 63);
    assert_eq!(consumptions(&ledger).len(), 1);
    check_laws(&ledger);
}

#[tokio::test]
async fn consumptions_of_a_large_batch_have_at_most_sixteen_items() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    // The 40 requests arrive while the first batch is being committed.
    let mut asked: Vec<_> = (0..40).map(|number| Box::pin(ledger.consume(consume_of(&ledger, core(number))))).collect();
    for asking in &mut asked {
        let waits = |context: &mut std::task::Context<'_>| Poll::Ready(asking.as_mut().poll(context).is_pending());
        assert!(std::future::poll_fn(waits).await);
    }
    commits.held.store(false, SeqCst);
    let first = first.await.expect("joined").expect("refused").index;
    for (number, asking) in (0..).zip(asked) {
        let consumed = asking.await.expect("consumed");
        assert_eq!((consumed.index, consumed.item), (first + 1 + number / 16, (number % 16) as u32), "number {number}");
        let entry = ledger.leaf(consumed.index).expect("read").expect("an entry");
        assert_eq!(*consumed.data, *entry.data);
    }
    let sizes: Vec<_> = consumptions(&ledger).iter().map(|(_, leaf)| leaf.predicate.spent.len()).collect();
    assert_eq!(sizes, [16, 16, 8]);
    check_laws(&ledger);
}

#[tokio::test]
async fn a_spent_nonce_stays_spent_with_another_expiry_or_another_proposal_or_after_a_restart() {
    let world = World::new();
    let ledger = world.sealed().await;
    let (consumed, _) = run_whole(&ledger, 1).await;
    let spent = NonceUse { index: consumed.index, item: consumed.item, proposal: core(1).id };
    let other = AuthorizationCore { nonce: core(1).nonce, expires_at: t(7200), ..core(2) };
    let mut consume = consume_of(&ledger, other);
    consume.window.issued_at = t(0);
    consume.window.not_before = t(0);
    assert_eq!(ledger.consume(consume.clone()).await, Err(ConsumeStop::Replayed(spent.clone())));
    seal(&ledger, 2).await.expect("seal");
    assert_eq!(ledger.consume(consume.clone()).await, Err(ConsumeStop::Replayed(spent.clone())), "rather than moved");
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert_eq!(ledger.consume(consume).await, Err(ConsumeStop::Replayed(spent)));
    assert_eq!(status(&ledger, 2), None, "a refused request has no row");
    check_laws(&ledger);
}

#[tokio::test]
async fn a_consumption_under_an_outdated_state_version_is_refused() {
    let world = World::new();
    let ledger = world.sealed().await;
    let old = consume_of(&ledger, core(1));
    let sealed = seal(&ledger, 2).await.expect("seal");
    assert_eq!(sealed.version, old.version + 1);
    assert_eq!(ledger.consume(old.clone()).await, Err(ConsumeStop::Moved));
    let newer_version = Consume { version: sealed.version, ..old };
    assert_eq!(
        ledger.consume(newer_version).await,
        Err(ConsumeStop::Moved),
        "an old seal with a new version is refused"
    );
    let before = consume_of(&ledger, core(1));
    let denial = DenialWrite {
        authorization: core(9).digest,
        approver: "alice".parse().expect("name"),
        envelope: b"denial".to_vec(),
        at: t(0),
        ahead: false,
    };
    ledger.deny(denial).await.expect("denied");
    assert_eq!(ledger.consume(before).await, Err(ConsumeStop::Moved), "a denial of whatever");
    ledger.propose(new_proposal(2)).await.expect("proposed");
    let before = consume_of(&ledger, core(1));
    let cancel = ProposalStep {
        proposal: core(2).id,
        from: vec![StoredStatus::Pending],
        to: StoredStatus::Cancelled,
        at: t(0),
        detail: Vec::new(),
    };
    assert_eq!(ledger.advance(cancel).await, Ok(StoredStatus::Pending));
    assert_eq!(ledger.consume(before).await, Err(ConsumeStop::Moved), "a cancellation");
    assert!(ledger.consume(consume_of(&ledger, core(1))).await.is_ok());
}

#[tokio::test]
async fn the_ledger_checks_windows_and_its_time_never_decreases() {
    let world = World::new();
    let ledger = world.sealed().await;
    world.clock.store(T0 + 100, SeqCst);
    let first = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(first.at, t(100));
    world.clock.store(T0 - 5000, SeqCst);
    let second = ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    assert_eq!(second.at, t(100), "the time of the log never decreases");
    let short = AuthorizationCore { expires_at: t(100), ..core(3) };
    let stop = ConsumeStop::Expired { at: t(100), expires_at: t(100) };
    assert_eq!(
        ledger.consume(consume_of(&ledger, short)).await,
        Err(stop),
        "an expired authorization stays expired if the clock is set back"
    );
    assert_eq!(ledger.now(), t(100));
    let stale = SealWrite { at: t(99), ..seal_write(&ledger, 2) };
    assert_eq!(ledger.seal(stale).await, Err(WriteStop::BackDated { last: t(100) }));
    assert_eq!(ledger.refuse(b"no".to_vec(), t(99)).await, Err(WriteStop::BackDated { last: t(100) }));
    ledger.close().await.expect("closed");
    let ledger = world.open();
    let third = ledger.consume(consume_of(&ledger, core(4))).await.expect("consumed");
    assert_eq!(third.at, t(100), "also after a restart");
    let lying = Consume { core: AuthorizationCore { expires_at: t(1), ..core(5) }, ..consume_of(&ledger, core(5)) };
    assert_eq!(
        ledger.consume(lying).await,
        Err(ConsumeStop::BadWindow),
        "the stored expiry and the checked expiry are equal"
    );
    check_laws(&ledger);
}

#[tokio::test]
async fn the_low_water_mark_rises_with_boot_time_and_expired_nonces_stay_expired() {
    let world = World::new();
    let ledger = world.sealed().await;
    let soon = AuthorizationCore { expires_at: t(60), ..core(1) };
    ledger.consume(consume_of(&ledger, soon.clone())).await.expect("consumed");
    ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    // If the clock jumps a year ahead, no nonce is pruned.
    world.clock.store(T0 + 31_536_000, SeqCst);
    world.boot.store(10, SeqCst);
    let pruned = ledger.prune(1000).await.expect("pruned");
    assert_eq!((pruned.mark, pruned.deleted, pruned.done), (t(10), 0, true));
    assert_eq!(pruned.ahead_s, 31_536_000 - 10);
    // After the clock is corrected, the low-water mark follows the clock.
    world.clock.store(T0 + 5, SeqCst);
    assert_eq!(ledger.prune(1000).await.expect("pruned").mark, t(10), "never falls");
    world.clock.store(T0 + 60, SeqCst);
    world.boot.store(66, SeqCst);
    let pruned = ledger.prune(1000).await.expect("pruned");
    assert_eq!((pruned.mark, pruned.deleted), (t(60), 1), "never above the clock");
    assert_eq!(ledger.spent(&soon.nonce).expect("read"), None);
    // The nonce is deleted, but the low-water mark shows that the authorization is expired.
    world.clock.store(T0, SeqCst);
    ledger.close().await.expect("closed");
    let ledger = world.open();
    let again = AuthorizationCore { id: core(3).id, ..soon };
    let stop = ledger.consume(consume_of(&ledger, again)).await;
    assert!(matches!(stop, Err(ConsumeStop::Expired { .. })), "{stop:?}");
    assert!(ledger.spent(&core(2).nonce).expect("read").is_some());
}

#[tokio::test]
async fn one_pruning_call_deletes_at_most_the_given_number_of_nonces() {
    let world = World::new();
    let ledger = world.sealed().await;
    for number in 0..10 {
        ledger.consume(consume_of(&ledger, core(number))).await.expect("consumed");
    }
    world.clock.store(T0 + 4000, SeqCst);
    world.boot.store(4000, SeqCst);
    let mut deleted = Vec::new();
    loop {
        let pruned = ledger.prune(4).await.expect("pruned");
        deleted.push(pruned.deleted);
        if pruned.done {
            break;
        }
    }
    assert_eq!(deleted, [4, 4, 2]);
}

#[tokio::test]
async fn pruning_compares_each_nonce_with_the_log() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    // One log entry spends four nonces. The last nonce expires later than the others.
    let mut late = consume_of(&ledger, AuthorizationCore { expires_at: t(9000), ..core(4) });
    (late.window.issued_at, late.window.not_before) = (t(0), t(0));
    let release = async {
        tokio::task::yield_now().await;
        commits.held.store(false, SeqCst);
    };
    let consume = |number| ledger.consume(consume_of(&ledger, core(number)));
    let (one, two, three, four, ()) = tokio::join!(consume(1), consume(2), consume(3), ledger.consume(late), release);
    first.await.expect("task").expect("refused");
    let places =
        [one, two, three, four].map(|consumed| consumed.map(|done| (done.index, done.item)).expect("consumed"));
    assert_eq!(places, [(2, 0), (2, 1), (2, 2), (2, 3)]);
    ledger.close().await.expect("closed");
    let (mut store, reads) = sqlite::open(&world.path()).expect("store");
    // According to the log, both the first and the second nonce are expired. The rows of the third and the fourth nonce
    // differ from the log.
    store.tamper("UPDATE nonce SET spent = spent + 64 WHERE spent & 63 = 2; UPDATE nonce SET expires_at = 0 WHERE spent & 63 = 3");
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), world.config()).expect("ledger");
    world.clock.store(T0 + 4000, SeqCst);
    world.boot.store(4000, SeqCst);
    let mut deleted = 0;
    loop {
        let pruned = ledger.prune(3).await.expect("pruned");
        deleted += pruned.deleted;
        if pruned.done {
            break;
        }
    }
    assert_eq!(deleted, 2);
    for (number, kept) in [(1, false), (2, false), (3, true), (4, true)] {
        assert_eq!(ledger.spent(&core(number).nonce).expect("read").is_some(), kept, "{number}");
    }
}

#[tokio::test]
async fn a_run_keeps_its_exclusive_lock_until_the_receipt_is_written() {
    let world = World::new();
    let ledger = world.sealed().await;
    let exclusive =
        |ledger: &Ledger, number| Consume { exclusive: Some("db".into()), ..consume_of(ledger, core(number)) };
    let (one, two) = tokio::join!(ledger.consume(exclusive(&ledger, 1)), ledger.consume(exclusive(&ledger, 2)));
    assert!(one.is_ok());
    assert_eq!(two, Err(ConsumeStop::ExclusiveBusy { holder: core(1).id }));
    ledger.close().await.expect("closed");
    let ledger = world.open();
    let busy = ledger.consume(exclusive(&ledger, 2)).await;
    assert_eq!(busy, Err(ConsumeStop::ExclusiveBusy { holder: core(1).id }), "also after a restart");
    assert!(ledger.consume(consume_of(&ledger, core(3))).await.is_ok());
    ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    assert!(ledger.consume(exclusive(&ledger, 2)).await.is_ok());
}

#[tokio::test]
async fn a_denial_stops_known_and_unknown_authorizations() {
    let world = World::new();
    let ledger = world.sealed().await;
    let denial = |number: u8, approver: &str| DenialWrite {
        authorization: core(number).digest,
        approver: approver.parse().expect("name"),
        envelope: format!("denial {number} {approver}").into_bytes(),
        at: t(1),
        ahead: number == 1,
    };
    let unknown = ledger.deny(denial(1, "alice")).await.expect("denied");
    assert_eq!((unknown.denied, unknown.running), (None, None));
    assert_eq!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::Denied));
    ledger.propose(new_proposal(2)).await.expect("proposed");
    let waiting = ledger.deny(denial(2, "alice")).await.expect("denied");
    assert_eq!((waiting.denied, status(&ledger, 2)), (Some(core(2).id), Some(StoredStatus::Denied)));
    let version = ledger.state().version;
    let again = ledger.deny(denial(2, "alice")).await.expect("denied");
    assert_eq!((again.leaf, ledger.state().version), (waiting.leaf, version), "no second leaf");
    ledger.consume(consume_of(&ledger, core(3))).await.expect("consumed");
    let running = ledger.deny(denial(3, "bob")).await.expect("denied");
    assert_eq!((running.denied, running.running), (None, Some(core(3).id)));
    assert_eq!(status(&ledger, 3), Some(StoredStatus::Running));
    assert_eq!(ledger.denials(&core(3).digest).expect("read")[0].leaf, running.leaf);
    assert_eq!(ledger.leaf(running.leaf).expect("read").expect("leaf").data, b"denial 3 bob");
}

#[tokio::test]
async fn only_denials_of_unknown_authorizations_are_limited_in_number() {
    let world = World::new();
    let ledger = world.sealed().await;
    let denial = |number: u32, approver: &str, at: Timestamp| DenialWrite {
        authorization: AuthorizationDigest::of(&number.to_be_bytes()),
        approver: approver.parse().expect("name"),
        envelope: number.to_be_bytes().to_vec(),
        at,
        ahead: true,
    };
    for number in 0..100 {
        ledger.deny(denial(number, "alice", t(i64::from(number)))).await.expect("kept");
    }
    let refused = ledger.deny(denial(100, "alice", t(200))).await;
    assert_eq!(refused, Err(WriteStop::TooManyAhead { most: 100, of_approver: true, wait_s: 86_200 }));
    // The limit does not apply to a repeated denial, to another approver, or to a known proposal.
    ledger.deny(denial(7, "alice", t(200))).await.expect("it is there already");
    ledger.deny(denial(100, "bob", t(200))).await.expect("another approver");
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let known = DenialWrite { authorization: core(1).digest, ..denial(0, "alice", t(200)) };
    assert_eq!(ledger.deny(known).await.expect("known").denied, Some(core(1).id));
    // The limit survives a restart. After a day, one more denial is accepted.
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert!(matches!(
        ledger.deny(denial(101, "alice", t(86_399))).await,
        Err(WriteStop::TooManyAhead { wait_s: 1, .. })
    ));
    ledger.deny(denial(101, "alice", t(86_400))).await.expect("room for one");
    let again = ledger.deny(denial(102, "alice", t(86_400))).await;
    assert_eq!(again, Err(WriteStop::TooManyAhead { most: 100, of_approver: true, wait_s: 1 }));
    // The second limit counts the denials of all approvers together.
    for number in 1000..1900 {
        let approver = format!("a{}", number / 50);
        drop(ledger.deny(denial(number, &approver, t(86_400))).await);
    }
    let of_all = ledger.deny(denial(2000, "zoe", t(86_400))).await;
    assert!(matches!(of_all, Err(WriteStop::TooManyAhead { most: 1000, of_approver: false, .. })), "{of_all:?}");
}

#[tokio::test]
async fn unsigned_proposals_are_limited_and_deleted_an_hour_after_their_window() {
    let mut world = World::new();
    world.limits = LedgerLimits { unsigned_of_proposer: 3, ..LedgerLimits::default() };
    let ledger = world.sealed().await;
    let end = |number: u8, to: StoredStatus| ProposalStep {
        proposal: core(number).id,
        from: Vec::new(),
        to,
        at: t(0),
        detail: Vec::new(),
    };
    // Proposals that were signed, denied or refused do not count and stay in the store.
    let signature = Signature {
        keyid: format!("SHA256:{}", "A".repeat(43)).parse().expect("key id"),
        person: "alice".parse().expect("name"),
        presence: Presence::Unknown,
        sig: vec![1; 64],
        at: t(0),
    };
    for (number, to) in [(1, StoredStatus::Cancelled), (2, StoredStatus::Denied), (3, StoredStatus::Expired)] {
        ledger.propose(new_proposal(number)).await.expect("proposed");
        if to != StoredStatus::Denied {
            ledger.sign(&core(number).id, vec![signature.clone()]).await.expect("signed");
        }
        ledger.advance(end(number, to)).await.expect("over");
    }
    for (number, to) in [(4, StoredStatus::Cancelled), (5, StoredStatus::Expired), (6, StoredStatus::Cancelled)] {
        assert_eq!(ledger.propose(new_proposal(number)).await, Ok(ProposeResult::New));
        ledger.advance(end(number, to)).await.expect("over");
    }
    let first = t(3600 + UNSIGNED_KEPT_S);
    assert_eq!(ledger.propose(new_proposal(7)).await, Ok(ProposeResult::TooManyKept { most: 3, until: first }));
    let other = AuthorizationCore { proposer: "other".parse().expect("name"), ..core(8) };
    assert_eq!(ledger.propose(NewProposal { core: other, ..new_proposal(8) }).await, Ok(ProposeResult::New));
    // A repeated proposal gets an answer even if the limit is reached.
    assert!(matches!(ledger.propose(new_proposal(4)).await, Ok(ProposeResult::Same(_))));
    let at = |seconds: i64| {
        world.clock.store(T0 + seconds, SeqCst);
        world.boot.store(seconds as u64, SeqCst);
    };
    let standing = |ledger: &Ledger| (1..=6).map(|number| status(ledger, number)).collect::<Vec<_>>();
    let before = standing(&ledger);
    at(3600 + UNSIGNED_KEPT_S - 1);
    ledger.prune(10).await.expect("pruned");
    ledger.retire(Retention::DEFAULT, 10).await.expect("retired");
    assert_eq!(standing(&ledger), before, "one second too early");
    at(3600 + UNSIGNED_KEPT_S);
    ledger.prune(10).await.expect("pruned");
    assert_eq!(ledger.retire(Retention::DEFAULT, 2).await.expect("retired").deleted, 2, "some at a time");
    while ledger.retire(Retention::DEFAULT, 2).await.expect("retired").deleted > 0 {}
    assert_eq!(standing(&ledger)[..3], before[..3], "signed and denied proposals are kept");
    assert_eq!(standing(&ledger)[3..], [None, None, None]);
    assert_eq!(ledger.payload(&core(4).id).expect("read"), None);
    let late = NewProposal {
        core: AuthorizationCore { expires_at: t(20_000), ..core(7) },
        created_at: t(3600 + UNSIGNED_KEPT_S),
        ..new_proposal(7)
    };
    assert_eq!(ledger.propose(late).await, Ok(ProposeResult::New));
}

#[tokio::test]
async fn a_repeated_proposal_is_recognized_by_its_nonce_or_by_its_content() {
    let mut world = World::new();
    world.limits = LedgerLimits { of_proposer: 3, of_all: 4, ..LedgerLimits::default() };
    let ledger = world.sealed().await;
    assert_eq!(ledger.propose(new_proposal(1)).await, Ok(ProposeResult::New));
    let Ok(ProposeResult::Same(same)) =
        ledger.propose(NewProposal { core: AuthorizationCore { id: core(9).id, ..core(1) }, ..new_proposal(1) }).await
    else {
        panic!("same nonce and body")
    };
    assert_eq!((same.core.id, same.status), (core(1).id, StoredStatus::Pending));
    let other_body =
        NewProposal { request: [9; 32], core: AuthorizationCore { id: core(9).id, ..core(1) }, ..new_proposal(1) };
    assert!(matches!(ledger.propose(other_body).await, Ok(ProposeResult::Conflict(_))));
    let stranger = AuthorizationCore { id: core(9).id, proposer: "other".parse().expect("name"), ..core(1) };
    let other_proposer = NewProposal { core: stranger, ..new_proposal(1) };
    assert!(matches!(ledger.propose(other_proposer).await, Ok(ProposeResult::Conflict(_))));

    let anonymous = |number: u8| NewProposal { chosen_nonce: false, ..new_proposal(number) };
    assert_eq!(ledger.propose(anonymous(2)).await, Ok(ProposeResult::New));
    let repeated =
        NewProposal { core: AuthorizationCore { params_digest: core(2).params_digest, ..core(8) }, ..anonymous(8) };
    assert!(
        matches!(ledger.propose(repeated.clone()).await, Ok(ProposeResult::Same(same)) if same.core.id == core(2).id)
    );
    let later = NewProposal { created_at: t(3600), ..repeated };
    assert_eq!(
        ledger.propose(later).await,
        Ok(ProposeResult::New),
        "an overdue proposal does not count as the same proposal"
    );

    let one_more = ledger.propose(new_proposal(4)).await;
    assert_eq!(one_more, Ok(ProposeResult::TooMany { most: 3, of_proposer: true }));
    let by = |number, name: &str| {
        let proposer = name.parse().expect("name");
        NewProposal { core: AuthorizationCore { proposer, ..core(number) }, ..new_proposal(number) }
    };
    assert_eq!(ledger.propose(by(4, "b")).await, Ok(ProposeResult::New));
    assert_eq!(ledger.propose(by(6, "b")).await, Ok(ProposeResult::TooMany { most: 4, of_proposer: false }));
    assert_eq!(ledger.expire(t(3600)).await.expect("expired").len(), 4);
    assert_eq!(status(&ledger, 1), Some(StoredStatus::Expired));
    assert_eq!(ledger.propose(by(6, "b")).await, Ok(ProposeResult::New));

    // Until a spent nonce is pruned, the nonce leads to its proposal.
    run_whole(&ledger, 7).await;
    let spent = NewProposal { core: AuthorizationCore { id: core(10).id, ..core(7) }, ..new_proposal(7) };
    assert!(matches!(ledger.propose(spent).await, Ok(ProposeResult::Conflict(there)) if there.core.id == core(7).id));
}

#[tokio::test]
async fn the_status_of_a_proposal_only_moves_forward() {
    let world = World::new();
    let ledger = world.sealed().await;
    let to = |to| ProposalStep { proposal: core(1).id, from: Vec::new(), to, at: t(2), detail: b"why".to_vec() };
    assert_eq!(ledger.advance(to(StoredStatus::Approved)).await, Err(AdvanceStop::Unknown));
    ledger.propose(new_proposal(1)).await.expect("proposed");
    for never in [StoredStatus::Running, StoredStatus::Finished, StoredStatus::Pending] {
        assert_eq!(ledger.advance(to(never)).await, Err(AdvanceStop::WrongState(StoredStatus::Pending)));
    }
    let only_approved = ProposalStep { from: vec![StoredStatus::Approved], ..to(StoredStatus::Refused) };
    assert_eq!(ledger.advance(only_approved).await, Err(AdvanceStop::WrongState(StoredStatus::Pending)));
    assert_eq!(ledger.advance(to(StoredStatus::Approved)).await, Ok(StoredStatus::Pending));
    assert_eq!(ledger.finish(finish_of(&core(1).id)).await, Err(FinishStop::NotRunning(Some(StoredStatus::Approved))));
    assert_eq!(ledger.finish(finish_of(&core(2).id)).await, Err(FinishStop::NotRunning(None)));
    let consumed = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(ledger.advance(to(StoredStatus::Cancelled)).await, Err(AdvanceStop::WrongState(StoredStatus::Running)));
    let receipt = ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    let twice = ledger.finish(finish_of(&core(1).id)).await;
    assert_eq!(twice, Err(FinishStop::Finished { receipt: receipt.index }), "one consumption, one receipt");
    let row = ledger.proposal(&core(1).id).expect("read").expect("row");
    assert_eq!(
        (row.status, row.receipt, row.consumption),
        (StoredStatus::Finished, Some(receipt.index), Some((consumed.index, 0)))
    );
    assert_eq!(
        (row.created_at, row.approved_at, row.started_at, row.ended_at),
        (t(0), Some(t(2)), Some(t(0)), Some(t(1)))
    );
    assert_eq!(row.detail.as_deref(), Some(&b"succeeded"[..]));
    for (state, stop) in [
        (StoredStatus::Cancelled, 3),
        (StoredStatus::Refused, 4),
        (StoredStatus::Denied, 5),
        (StoredStatus::Expired, 6),
    ] {
        ledger.propose(new_proposal(stop)).await.expect("proposed");
        ledger.advance(ProposalStep { proposal: core(stop).id, ..to(state) }).await.expect("moved");
        let late = ledger.consume(consume_of(&ledger, core(stop))).await;
        assert_eq!(late, Err(ConsumeStop::WrongState(state)));
    }
    let forged = AuthorizationCore { digest: AuthorizationDigest::of(b"other"), nonce: core(9).nonce, ..core(3) };
    assert_eq!(ledger.consume(consume_of(&ledger, forged)).await, Err(ConsumeStop::OtherAuthorization));
    check_laws(&ledger);
}

#[tokio::test]
async fn the_payload_is_readable_in_every_status_of_a_proposal() {
    let world = World::new();
    let ledger = world.sealed().await;
    let id = core(1).id;
    let payload: Arc<[u8]> = id.as_str().as_bytes().into();
    let new = NewProposal { payload: Arc::clone(&payload), ..new_proposal(1) };
    ledger.propose(new).await.expect("proposed");
    assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
    assert_eq!(ledger.proposal_of(&core(1).digest).expect("read").map(|row| row.core), Some(core(1)));
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
    assert_eq!(ledger.proposal_of(&core(1).digest).expect("read").map(|row| row.status), Some(StoredStatus::Running));
    let [unfinished] = &ledger.unfinished().expect("read")[..] else { panic!("one") };
    assert_eq!((&unfinished.proposal, &*unfinished.decision), (&id, &b"decision"[..]));
    assert_eq!(unfinished.envelope, envelope_of(&payload));
    ledger.finish(finish_of(&id)).await.expect("finished");
    assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
    assert_eq!(ledger.payload(&core(2).id), Ok(None));
}

#[tokio::test]
async fn one_signature_for_each_key_is_stored_in_order_of_arrival() {
    let world = World::new();
    let ledger = world.sealed().await;
    let signature = |seed: u8, at| Signature {
        keyid: SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "").expect("key").keyid(),
        person: format!("p{seed}").parse().expect("name"),
        presence: if seed == 2 { Presence::Touched } else { Presence::Unknown },
        sig: vec![seed; 64],
        at: t(at),
    };
    assert_eq!(ledger.sign(&core(1).id, Vec::new()).await, Err(AdvanceStop::Unknown));
    ledger.propose(new_proposal(1)).await.expect("proposed");
    assert_eq!(ledger.sign(&core(1).id, vec![signature(2, 1)]).await, Ok(vec![signature(2, 1)]));
    let again = vec![Signature { sig: vec![9], ..signature(2, 5) }, signature(1, 5)];
    let all = vec![signature(2, 1), signature(1, 5)];
    assert_eq!(ledger.sign(&core(1).id, again).await.as_ref(), Ok(&all));
    assert_eq!(ledger.signatures(&core(1).id).as_ref(), Ok(&all));
    run_whole(&ledger, 1).await;
    assert_eq!(ledger.sign(&core(1).id, all).await, Err(AdvanceStop::WrongState(StoredStatus::Finished)));
}

#[tokio::test]
async fn lists_of_proposals_are_filtered_and_paged_with_the_newest_first() {
    let world = World::new();
    let ledger = world.sealed().await;
    for number in 1..=5 {
        ledger.propose(new_proposal(number)).await.expect("proposed");
    }
    run_whole(&ledger, 2).await;
    ledger.consume(consume_of(&ledger, core(4))).await.expect("consumed");
    let list = |filter: ProposalQuery| {
        let page = ledger.proposals(&filter).expect("list");
        (page.proposals.iter().map(|row| row.core.id.clone()).collect::<Vec<_>>(), page.next)
    };
    let ids = |numbers: &[u8]| numbers.iter().map(|number| core(*number).id).collect::<Vec<_>>();
    let all = ProposalQuery { limit: 10, ..ProposalQuery::default() };
    assert_eq!(list(all.clone()), (ids(&[5, 4, 3, 2, 1]), None));
    let (first, next) = list(ProposalQuery { limit: 2, ..all.clone() });
    assert_eq!((first, next.clone()), (ids(&[5, 4]), Some(core(4).id)));
    assert_eq!(list(ProposalQuery { before: next, ..all.clone() }), (ids(&[3, 2, 1]), None));
    for (status, found) in [
        (StoredStatus::Pending, &[5, 3, 1][..]),
        (StoredStatus::Running, &[4]),
        (StoredStatus::Finished, &[2]),
        (StoredStatus::Denied, &[]),
    ] {
        assert_eq!(list(ProposalQuery { statuses: vec![status], ..all.clone() }), (ids(found), None));
    }
    assert_eq!(list(ProposalQuery { step: Some("web:stop".parse().expect("ref")), ..all.clone() }).0, ids(&[]));
    assert_eq!(list(ProposalQuery { proposer: Some("agent".parse().expect("name")), limit: 1, ..all }).0, ids(&[5]));
}

#[tokio::test]
async fn tokens_change_only_with_a_new_seal_and_a_token_name_is_never_reused() {
    let world = World::new();
    let ledger = world.sealed().await;
    let name: Name = "ci".parse().expect("name");
    let token = Token {
        name: name.clone(),
        secret: [7; 32],
        owners: vec!["alice".parse().expect("name")],
        scopes: vec![Scope::Propose, Scope::Read],
        patterns: vec!["web:*".to_owned()],
        created_at: t(0),
        expires_at: Some(t(9)),
        revoked_at: None,
    };
    let add = TokenChange::Add(token.clone());
    let sealed = SealWrite { tokens: vec![add.clone()], ..seal_write(&ledger, 2) };
    ledger.seal(sealed).await.expect("seal");
    assert_eq!(ledger.token(&[7; 32]), Ok(Some(token.clone())));
    assert!(!format!("{token:?}").contains("7, 7"), "the hash of a secret is not printed");
    let revoke = TokenChange::Revoke { name: name.clone(), at: t(5) };
    ledger.seal(SealWrite { tokens: vec![revoke], ..seal_write(&ledger, 3) }).await.expect("seal");
    assert_eq!(ledger.tokens().expect("read")[0].revoked_at, Some(t(5)));
    let other = TokenChange::Add(Token { name: "b".parse().expect("name"), secret: [8; 32], ..token });
    for tokens in [vec![other.clone(), add], vec![other.clone(), other]] {
        let before = ledger.state();
        let stop = ledger.seal(SealWrite { tokens, ..seal_write(&ledger, 4) }).await;
        assert!(matches!(stop, Err(WriteStop::Token(_))), "{stop:?}");
        assert_eq!((ledger.state(), ledger.tokens().expect("read").len()), (before, 1), "nothing half done");
    }
    let nobody = TokenChange::Revoke { name: "nobody".parse().expect("name"), at: t(5) };
    let stop = ledger.seal(SealWrite { tokens: vec![nobody], ..seal_write(&ledger, 4) }).await;
    assert!(matches!(stop, Err(WriteStop::Token(_))));
}

#[tokio::test]
async fn each_seal_names_the_previous_seal_and_the_digest_of_the_first_seal_is_the_boundary_id() {
    let world = World::new();
    let ledger = world.open();
    assert_eq!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::NoSeal));
    assert_eq!(ledger.refuse(b"no".to_vec(), t(0)).await, Err(WriteStop::NoSeal));
    assert_eq!((ledger.checkpoint(), ledger.origin()), (Ok(None), None));
    let sealed = seal(&ledger, 1).await.expect("seal");
    assert_eq!((sealed.leaf.index, ledger.state().boundary), (0, Some(SealDigest::of(&[1]))));
    let fork = SealWrite { previous: None, ..seal_write(&ledger, 2) };
    assert_eq!(ledger.seal(fork).await, Err(WriteStop::Moved));
    let large = SealWrite { envelope: vec![0; 65_536], ..seal_write(&ledger, 2) };
    assert_eq!(ledger.seal(large).await, Err(WriteStop::TooLarge { bytes: 65_536 }));
    seal(&ledger, 2).await.expect("seal");
    assert_eq!(ledger.state().boundary, Some(SealDigest::of(&[1])));
    let seals: Vec<_> = ledger.seals().expect("read").into_iter().map(|seal| (seal.index, seal.digest)).collect();
    assert_eq!(seals, [(0, SealDigest::of(&[1])), (1, SealDigest::of(&[2]))]);
    assert_eq!(ledger.blob(&BlobDigest::of(&[2])), Ok(Some(vec![2])));
}

#[tokio::test]
async fn ranges_of_outputs_are_read_from_rows_and_from_files() {
    let world = World::new();
    let ledger = world.sealed().await;
    let large: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let (small_name, large_name) = (Blake3Digest::of(b"hello"), Blake3Digest::of(&large));
    let path = ledger.output_path(&large_name);
    std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    std::fs::write(&path, &large).expect("file");
    let outputs = vec![
        OutputRow { name: small_name, bytes: 5, data: Some(b"hello".to_vec()) },
        OutputRow { name: large_name, bytes: 200_000, data: None },
    ];
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    let finish = Finish {
        outputs: outputs.clone(),
        order: Some(vec![1, 2]),
        blobs: vec![(BlobDigest::of(b"[]"), b"[]".to_vec())],
        ..finish_of(&core(1).id)
    };
    ledger.finish(finish).await.expect("finished");
    ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    ledger.finish(Finish { outputs, ..finish_of(&core(2).id) }).await.expect("the same output twice");
    assert_eq!(ledger.output(&small_name, 1..3), Ok(Some(b"el".to_vec())));
    assert_eq!(ledger.output(&small_name, 4..900), Ok(Some(b"o".to_vec())));
    assert_eq!(ledger.output(&small_name, 9..10), Ok(Some(Vec::new())));
    assert_eq!(ledger.output(&large_name, 199_999..u64::MAX), Ok(Some(vec![large[199_999]])));
    assert_eq!(ledger.output(&Blake3Digest::of(b""), 0..1), Ok(None));
    assert_eq!(ledger.output_size(&large_name), Ok(Some(200_000)));
    assert_eq!(ledger.output_order(&core(1).id), Ok(Some(vec![1, 2])));
    assert_eq!(ledger.runs_with_output(&small_name, 9), Ok(vec![core(2).id, core(1).id]));
    assert_eq!(ledger.blob(&BlobDigest::of(b"[]")), Ok(Some(b"[]".to_vec())));
    assert!(ledger.room(world.directory.path()).expect("room") > 0);
}

#[tokio::test]
async fn every_proof_verifies_at_every_size_and_after_a_restart() {
    let world = World::new();
    let ledger = world.sealed().await;
    let mut hashes = vec![merkle::leaf_hash(b"seal 1")];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..599_u32 {
        let ledger = ledger.clone();
        tasks.spawn(async move { ledger.refuse(number.to_be_bytes().to_vec(), t(0)).await.expect("leaf") });
    }
    let mut leaves = tasks.join_all().await;
    leaves.sort_unstable_by_key(|leaf| leaf.index);
    hashes.extend(leaves.iter().map(|leaf| *leaf.hash.as_bytes()));
    let check = |ledger: &Ledger, hashes: &[Hash]| {
        let size = hashes.len() as u64;
        let sizes = [1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 599, 600].into_iter().filter(|&n| n <= size);
        for old in sizes {
            let root = merkle::root(&hashes[..old as usize]);
            assert_eq!(ledger.root_at(old), Ok(Some(root)));
            for index in [0, 1, 2, 127, 254, 255, 256, 300, 511, 512, 598, 599].into_iter().filter(|&n| n < old) {
                let path = ledger.inclusion(index, old).expect("read").expect("path");
                merkle::verify_inclusion(&hashes[index as usize], index, old, &path, &root)
                    .map(drop)
                    .expect("included");
            }
            let whole = merkle::root(hashes);
            let path = ledger.consistency(old, size).expect("read").expect("path");
            merkle::verify_consistency(old, &root, size, &whole, &path).map(drop).expect("consistent");
        }
        assert_eq!(ledger.inclusion(size, size), Ok(None));
        assert_eq!(ledger.inclusion(0, size + 1), Ok(None));
        assert_eq!(ledger.consistency(1, size + 1), Ok(None));
    };
    check(&ledger, &hashes);
    let tile = |ledger: &Ledger, path: &str| ledger.tile(&TilePath::parse(path).expect("path")).expect("read");
    for ledger in [ledger.clone(), {
        ledger.close().await.expect("closed");
        world.open()
    }] {
        check(&ledger, &hashes);
        assert_eq!(tile(&ledger, "tile/0/000").as_deref(), Some(hashes[..256].as_flattened()));
        assert_eq!(tile(&ledger, "tile/0/000.p/7").as_deref(), Some(hashes[..7].as_flattened()), "of an older tree");
        assert_eq!(tile(&ledger, "tile/0/002.p/88").as_deref(), Some(hashes[512..].as_flattened()));
        assert_eq!(tile(&ledger, "tile/0/002.p/89"), None);
        let above = [merkle::root(&hashes[..256]), merkle::root(&hashes[256..512])];
        assert_eq!(tile(&ledger, "tile/1/000.p/2").as_deref(), Some(above.as_flattened()));
        assert_eq!(tile(&ledger, "tile/1/000"), None);
        let entries = tile(&ledger, "tile/entries/002.p/88").expect("entries");
        let entries = merkle::split_entries(&entries).expect("whole");
        assert!(entries.iter().map(|entry| merkle::leaf_hash(entry)).eq(hashes[512..].iter().copied()));
    }
    let ledger = world.open_after_close().await;
    seal(&ledger, 2).await.expect("goes on");
    hashes.push(merkle::leaf_hash(b"seal 2"));
    check(&ledger, &hashes);
}

impl World {
    /// Opens the store, and tries again until the previous owner releases the lock.
    async fn open_after_close(&self) -> Ledger {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match sqlite::open(&self.path()) {
                Ok((store, reads)) => {
                    return Ledger::open(Box::new(store), Arc::new(reads), self.config()).expect("ledger");
                }
                Err(fault) => assert!(std::time::Instant::now() < deadline, "{fault}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_same_database_rows_always_result_in_the_same_checkpoint() {
    let world = World::new();
    let ledger = world.sealed().await;
    let early = ledger.checkpoint().expect("read").expect("signed");
    assert_eq!(early, ledger.checkpoint().expect("read").expect("signed"));
    assert_eq!(ledger.recorded_checkpoint(), Ok(None), "signing a checkpoint causes no commit");
    for number in 0..5 {
        run_whole(&ledger, number).await;
    }
    assert_eq!(ledger.recorded_checkpoint(), Ok(Some(early.clone())), "the next batch records the checkpoint");
    let late = ledger.checkpoint().expect("read").expect("signed");
    assert_eq!(ledger.checkpoint_at(early.size).expect("read"), Some(early.clone()), "the same bytes again");
    assert_eq!(ledger.checkpoint_at(late.size + 1), Ok(None));
    let parsed = note::Note::parse(&late.note).expect("note");
    let origin = ledger.origin().expect("sealed");
    assert_eq!(origin, format!("test/{}", &SealDigest::of(&[1]).hex()[..16]));
    let text = note::verify_note(&parsed, &origin, &SecretKey::from_seed([3; 32]).public()).expect("verified");
    let checkpoint = Checkpoint::parse(text.as_str()).expect("checkpoint");
    assert_eq!((checkpoint.size, checkpoint.root), (late.size, late.root));
}

#[tokio::test]
async fn a_second_root_hash_for_the_same_log_size_ends_the_process() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.checkpoint().expect("read");
    seal(&ledger, 2).await.expect("recorded");
    let forked = CheckpointRow { size: 1, root: [9; 32], note: String::new() };
    ledger.shared.unrecorded.lock().expect("lock").push(forked);
    let stop = seal(&ledger, 3).await;
    assert!(matches!(stop, Err(WriteStop::Fault(StoreFault::Broken { .. }))), "{stop:?}");
    assert_eq!(world.fatal.lock().expect("lock").len(), 1);
    assert_eq!(seal(&ledger, 3).await, Err(WriteStop::Fault(StoreFault::Closed)));
    let ledger = world.open_after_close().await;
    assert_eq!(ledger.state().size, 2, "nothing of the batch is stored");
}

#[tokio::test]
async fn a_checkpoint_is_made_from_rows_that_were_read_back_after_the_commit() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let before = ledger.checkpoint().expect("read").expect("signed");
    // During a commit, readers and checkpoints still see the log without the batch.
    let asking = commits.hold(&ledger, |ledger| async move { seal(&ledger, 2).await }).await;
    assert_eq!(ledger.checkpoint(), Ok(Some(before.clone())));
    commits.held.store(false, SeqCst);
    asking.await.expect("joined").expect("sealed");
    assert_eq!(ledger.checkpoint().expect("read").expect("signed").size, 2);
    // If the stored leaf hashes differ from the written hashes, the ledger signs nothing and ends the process.
    commits.lies.store(true, SeqCst);
    let stop = seal(&ledger, 3).await;
    assert!(matches!(stop, Err(WriteStop::Fault(StoreFault::Broken { .. }))), "{stop:?}");
    assert_eq!(world.fatal.lock().expect("lock").len(), 1);
    assert_eq!(ledger.state().size, 2, "readers see nothing of the batch");
}

#[tokio::test]
async fn a_log_that_does_not_match_its_own_checkpoint_is_not_opened() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.checkpoint().expect("read");
    seal(&ledger, 2).await.expect("recorded");
    ledger.close().await.expect("closed");
    let tamper = |sql: &str| {
        let (mut store, _) = sqlite::open(&world.path()).expect("store");
        store.tamper(sql);
    };
    // The ledger recorded the checkpoint at size 2 when the ledger was closed.
    tamper("DELETE FROM checkpoint WHERE size = 1; UPDATE checkpoint SET size = 9");
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    let opened = Ledger::open(Box::new(store), Arc::new(reads), world.config());
    assert!(matches!(opened.err(), Some(StoreFault::Unusable { message }) if message.contains("checkpoint at 9")));
    tamper("UPDATE checkpoint SET size = 1; UPDATE leaf SET hash = zeroblob(32) WHERE idx = 0");
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    let opened = Ledger::open(Box::new(store), Arc::new(reads), world.config());
    assert!(matches!(opened.err(), Some(StoreFault::Unusable { .. })));
}

#[tokio::test]
async fn a_second_process_is_refused_and_the_message_names_the_first_process() {
    let world = World::new();
    let ledger = world.sealed().await;
    let Err(StoreFault::Unusable { message }) = sqlite::open(&world.path()) else { panic!("opened twice") };
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains("countersign.db.lock"), "{message}");
    ledger.close().await.expect("closed");
    assert_eq!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::Fault(StoreFault::Closed)));
    assert!(sqlite::open(&world.path()).is_ok());
}

#[test]
fn a_store_is_refused_if_other_users_can_access_its_files_or_another_program_wrote_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let message = |world: &World| match sqlite::open(&world.path()) {
        Err(StoreFault::Unusable { message }) => message,
        Err(fault) => panic!("{fault}"),
        Ok(_) => panic!("opened"),
    };
    let world = World::new();
    drop(sqlite::open(&world.path()).expect("store"));
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let directory = world.path().parent().expect("parent").to_owned();
    assert_eq!((mode(&directory), mode(&world.path()), mode(&lock::lock_path(&world.path()))), (0o700, 0o600, 0o600));
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    set(&directory, 0o750);
    assert!(message(&world).contains("chmod 700"));
    set(&directory, 0o700);
    set(&world.path(), 0o640);
    assert!(message(&world).contains("chmod 600"));
    set(&world.path(), 0o600);
    let (mut store, _) = sqlite::open(&world.path()).expect("store");
    store.tamper("PRAGMA user_version = 1000");
    drop(store);
    assert!(message(&world).contains("schema 1000"));
    let (foreign, garbage) = (World::new(), World::new());
    let (mut store, _) = sqlite::open(&foreign.path()).expect("store");
    store.tamper("PRAGMA application_id = 7");
    drop(store);
    assert!(message(&foreign).contains("another program"));
    drop(sqlite::open(&garbage.path()).expect("store"));
    std::fs::write(garbage.path(), [7; 9000]).expect("garbage");
    assert!(message(&garbage).contains("no store"));
}

#[tokio::test]
async fn a_failed_commit_stores_nothing_and_all_requests_of_its_batch_fail() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    // While the test delays the commit of one batch, the next requests form another batch.
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    *commits.next.lock().expect("lock") = [None, Some(StoreFault::Full { during: "test" })].into();
    let release = async {
        tokio::task::yield_now().await;
        commits.held.store(false, SeqCst);
    };
    let (one, two, three, ()) = tokio::join!(
        ledger.consume(Consume { exclusive: Some("x".into()), ..consume_of(&ledger, core(1)) }),
        ledger.consume(consume_of(&ledger, core(2))),
        ledger.refuse(b"no".to_vec(), t(0)),
        release,
    );
    assert_eq!(first.await.expect("task").map(|leaf| leaf.index), Ok(1));
    assert_eq!(one.clone().err(), Some(ConsumeStop::Fault(StoreFault::Full { during: "test" })));
    assert_eq!((two.err(), three.is_err()), (one.err(), true));
    assert_eq!((ledger.state().size, ledger.spent(&core(1).nonce)), (2, Ok(None)));
    assert_eq!(status(&ledger, 1), None);
    // The free lock and the growing tree show that the state in memory matches the database.
    let consume = Consume { exclusive: Some("x".into()), ..consume_of(&ledger, core(1)) };
    ledger.consume(consume).await.expect("the request succeeds after the disk has space");
    check_laws(&ledger);
    assert!(world.fatal.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_write_that_the_database_rejects_does_not_undo_other_requests_of_its_batch() {
    let world = World::new();
    world.sealed().await.close().await.expect("closed");
    let (mut store, reads) = sqlite::open(&world.path()).expect("store");
    // Temporary triggers of this connection reject the second run, the end of the fourth run, and one denial. Triggers
    // in the database file are disabled.
    let id = |number: u8| core(number).id.as_str()[4..].replace('-', "");
    store.tamper(&format!(
        "CREATE TEMP TRIGGER a BEFORE INSERT ON crossing WHEN hex(NEW.proposal) = upper('{}') BEGIN SELECT RAISE(ABORT, 'no'); END;
         CREATE TEMP TRIGGER b BEFORE UPDATE ON proposal WHEN NEW.status = 1 AND hex(NEW.id) = upper('{}') \
         BEGIN SELECT RAISE(ABORT, 'no'); END;
         CREATE TEMP TRIGGER c BEFORE INSERT ON denial WHEN NEW.approver = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END;",
        id(2),
        id(4)
    ));
    let commits = Arc::<Commits>::default();
    let failing = Failing { store, commits: Arc::clone(&commits) };
    let ledger = Ledger::open(Box::new(failing), Arc::new(reads), world.config()).expect("ledger");
    for number in [4, 5] {
        ledger.consume(consume_of(&ledger, core(number))).await.expect("consumed");
    }
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    let deny = |approver: &str| DenialWrite {
        authorization: core(9).digest,
        approver: approver.parse().expect("name"),
        envelope: vec![9],
        at: t(0),
        ahead: false,
    };
    let release = async {
        tokio::task::yield_now().await;
        commits.held.store(false, SeqCst);
    };
    let locked = |number| Consume { exclusive: Some("x".into()), ..consume_of(&ledger, core(number)) };
    let (one, two, three, four, five, bad, refused, ()) = tokio::join!(
        ledger.consume(consume_of(&ledger, core(1))),
        ledger.consume(locked(2)),
        ledger.consume(consume_of(&ledger, core(3))),
        ledger.finish(finish_of(&core(4).id)),
        ledger.finish(finish_of(&core(5).id)),
        ledger.deny(deny("bad")),
        ledger.refuse(b"kept".to_vec(), t(0)),
        release,
    );
    first.await.expect("task").expect("refused");
    assert!(matches!(two, Err(ConsumeStop::Fault(StoreFault::Database { .. }))), "{two:?}");
    assert!(matches!(four, Err(FinishStop::Fault(StoreFault::Database { .. }))), "{four:?}");
    assert!(matches!(bad, Err(WriteStop::Fault(StoreFault::Database { .. }))), "{bad:?}");
    let (one, three) = (one.expect("consumed"), three.expect("consumed"));
    let places = [refused.expect("refused").index, five.expect("finished").index, one.index, three.index];
    assert_eq!(places, [4, 5, 6, 7], "the leaves are in order and without a gap");
    assert_eq!((status(&ledger, 2), status(&ledger, 4)), (None, Some(StoredStatus::Running)));
    // The exclusive lock of the second run is free again, and the tree matches the rows.
    ledger.consume(locked(6)).await.expect("consumed");
    check_laws(&ledger);
    assert!(world.fatal.lock().expect("lock").is_empty());
    ledger.close().await.expect("closed");
    check_laws(&world.open());
}

#[tokio::test]
async fn retention_uses_the_low_water_mark_and_deletes_no_proposal_that_could_still_run() {
    let world = World::new();
    let ledger = world.sealed().await;
    let kept = Retention { outputs_s: 100, proposals_s: 100 };
    let end = |number: u8| ProposalStep {
        proposal: core(number).id,
        from: Vec::new(),
        to: StoredStatus::Cancelled,
        at: t(0),
        detail: Vec::new(),
    };
    for number in [1, 2, 3] {
        ledger.propose(new_proposal(number)).await.expect("proposed");
    }
    ledger.advance(end(1)).await.expect("cancelled");
    ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    let output = OutputRow { name: Blake3Digest::of(b"out"), bytes: 3, data: Some(b"out".to_vec()) };
    let large = OutputRow { name: Blake3Digest::of(b"large"), bytes: 70_000, data: None };
    let finish = Finish { outputs: vec![output.clone(), large.clone()], ..finish_of(&core(2).id) };
    ledger.finish(finish).await.expect("finished");
    // If the clock leaps a year ahead, nothing is deleted, because the low-water mark follows the time since boot.
    world.clock.fetch_add(365 * 86_400, SeqCst);
    ledger.prune(10).await.expect("pruned");
    assert_eq!(ledger.retire(kept, 10).await.expect("retired").deleted, 0);
    world.clock.store(T0 + 200, SeqCst);
    world.boot.store(200, SeqCst);
    ledger.prune(10).await.expect("pruned");
    let retired = ledger.retire(kept, 10).await.expect("retired");
    assert_eq!(retired.files, [large.name], "the result names the files of deleted rows");
    assert_eq!(ledger.output_size(&output.name), Ok(None));
    assert_eq!(
        ledger.runs_with_output(&output.name, 9),
        Ok(vec![core(2).id]),
        "the store still knows the run of a deleted output"
    );
    // The cancelled proposal is old, but its window is open. Only the row of the proposal prevents a second run.
    assert_eq!(status(&ledger, 1), Some(StoredStatus::Cancelled));
    let again = ledger.consume(consume_of(&ledger, core(1))).await;
    assert_eq!(again, Err(ConsumeStop::WrongState(StoredStatus::Cancelled)));
    world.clock.store(T0 + 3601, SeqCst);
    world.boot.store(3601, SeqCst);
    ledger.prune(10).await.expect("pruned");
    ledger.retire(kept, 10).await.expect("retired");
    assert_eq!(status(&ledger, 1), None);
    let again = ledger.consume(consume_of(&ledger, core(1))).await;
    assert!(matches!(again, Err(ConsumeStop::Expired { .. })), "{again:?}");
    assert_eq!((status(&ledger, 2), status(&ledger, 3)), (Some(StoredStatus::Finished), Some(StoredStatus::Pending)));
    assert!(ledger.payload(&core(3).id).expect("read").is_some());
    // Repeated calls with a small limit reach all rows and then begin at the first row again.
    for _ in 0..9 {
        ledger.retire(kept, 1).await.expect("retired");
    }
    assert_eq!(status(&ledger, 2), Some(StoredStatus::Finished));
}

#[tokio::test]
async fn a_store_that_lost_the_row_of_an_unexpired_nonce_is_not_opened() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    ledger.close().await.expect("closed");
    drop(ledger);
    let (mut store, _) = sqlite::open(&world.path()).expect("store");
    store.tamper("DELETE FROM nonce");
    drop(store);
    let refused = sqlite::open(&world.path()).err().expect("refused").to_string();
    assert!(refused.contains("could run again") && refused.contains("store restore"), "{refused}");
    // A missing row is no problem if the nonce expired before the low-water mark. The program corrects the stored count
    // of nonces.
    let other = World::new();
    let ledger = other.sealed().await;
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    ledger.close().await.expect("closed");
    drop(ledger);
    let (mut store, _) = sqlite::open(&other.path()).expect("store");
    store.tamper(&format!("DELETE FROM nonce; UPDATE state SET mark = {}", T0 + 3600));
    drop(store);
    drop(sqlite::open(&other.path()).expect("opened"));
    drop(sqlite::open(&other.path()).expect("opened again"));
}

#[tokio::test]
async fn after_a_failed_sync_the_writer_ends_without_another_attempt() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let broken = StoreFault::Broken { during: "test", message: "fsync".to_owned() };
    *commits.next.lock().expect("lock") = [Some(broken.clone())].into();
    let stop = ledger.consume(consume_of(&ledger, core(1))).await;
    assert_eq!(stop, Err(ConsumeStop::Fault(broken.clone())));
    assert_eq!(*world.fatal.lock().expect("lock"), [broken], "on_fatal is called before the answers");
    let later = ledger.consume(consume_of(&ledger, core(2))).await;
    assert_eq!(later, Err(ConsumeStop::Fault(StoreFault::Closed)));
}

#[tokio::test]
async fn a_full_disk_loses_no_answered_request() {
    let world = World::new();
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    store.limit_pages(60);
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), world.config()).expect("ledger");
    seal(&ledger, 1).await.expect("seal");
    let mut kept = 0_u8;
    let fault = loop {
        let data = vec![kept; 8000];
        match ledger.refuse(data, t(0)).await {
            Ok(leaf) => kept = u8::try_from(leaf.index).expect("few"),
            Err(WriteStop::Fault(fault)) => break fault,
            Err(stop) => panic!("{stop}"),
        }
    };
    assert!(matches!(fault, StoreFault::Full { .. }), "{fault:?}");
    assert!(kept > 5);
    assert_eq!(ledger.state().size, u64::from(kept) + 1);
    check_laws(&ledger);
    assert!(world.fatal.lock().expect("lock").is_empty());
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Propose(u8),
    Consume(u8, bool),
    Finish(u8),
    Deny(u8),
    Advance(u8, StoredStatus),
    Expire(i64),
    Seal,
    Prune,
    Retire(i64),
    Clock(i64),
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let number = 0..5_u8;
    let op = prop_oneof![
        4 => number.clone().prop_map(Op::Propose),
        6 => (number.clone(), any::<bool>()).prop_map(|(n, exclusive)| Op::Consume(n, exclusive)),
        4 => number.clone().prop_map(Op::Finish),
        1 => number.clone().prop_map(Op::Deny),
        4 => (number, proptest::sample::select(&StoredStatus::ALL)).prop_map(|(n, status)| Op::Advance(n, status)),
        1 => (0..8000_i64).prop_map(Op::Expire),
        1 => Just(Op::Seal),
        1 => Just(Op::Prune),
        1 => (0..8000_i64).prop_map(Op::Retire),
        1 => (-50..50_i64).prop_map(Op::Clock),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..30)
}

#[tokio::test]
async fn r7_after_a_large_jump_of_the_clock_no_entry_is_written_and_no_proposal_expires() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let before = ledger.state();
    // The clock leaps ahead by a year while only two minutes pass.
    world.clock.store(T0 + 31_536_000, SeqCst);
    world.boot.fetch_add(120, SeqCst);
    assert!(matches!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::ClockAhead { .. })));
    assert!(matches!(seal(&ledger, 2).await, Err(WriteStop::ClockAhead { .. })));
    assert!(matches!(ledger.refuse(b"no".to_vec(), ledger.now()).await, Err(WriteStop::ClockAhead { .. })));
    assert_eq!(ledger.expire(ledger.now()).await.expect("asked"), []);
    assert!(ledger.clock_ahead().is_some_and(|why| why.contains("31535880 s ahead")));
    let denial = DenialWrite {
        authorization: core(2).digest,
        approver: "bob".parse().expect("name"),
        envelope: b"no".to_vec(),
        at: ledger.now(),
        ahead: false,
    };
    ledger.deny(denial).await.expect("the time of a denial does not change the time of the log");
    assert_eq!(ledger.state().last_at, before.last_at);
    // After the clock is corrected, requests succeed again.
    world.clock.store(T0 + 120, SeqCst);
    assert_eq!(ledger.clock_trouble(), None);
    ledger.consume(consume_of(&ledger, core(1))).await.expect("it runs");
    // The ledger accepts the value of the clock at the start.
    ledger.close().await.expect("closed");
    world.clock.store(T0 + 31_536_000, SeqCst);
    let ledger = world.open();
    seal(&ledger, 3).await.expect("a seal");
    world.clock.store(T0 + 200, SeqCst);
    assert!(ledger.clock_trouble().is_some_and(|why| why.contains("31535800 s behind the boundary's own time")));
}

#[tokio::test]
async fn r7_while_the_clock_is_behind_the_time_advances_with_boot_time() {
    let world = World::new();
    let ledger = world.sealed().await;
    world.clock.store(T0 - 40 * 86_400, SeqCst);
    world.boot.store(80, SeqCst);
    assert_eq!(ledger.now(), t(70), "the time advances by seven eighths of the time since boot");
    // A consumption does not change the boundary's time.
    let first = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(first.at, t(70));
    let short = AuthorizationCore { expires_at: t(75), ..core(2) };
    world.boot.store(88, SeqCst);
    let stop = ConsumeStop::Expired { at: t(77), expires_at: t(75) };
    assert_eq!(ledger.consume(consume_of(&ledger, short.clone())).await, Err(stop), "its window ends");
    // An expired authorization stays expired after a restart.
    assert_eq!(ledger.prune(10).await.expect("pruned").mark, t(77));
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert_eq!(ledger.now(), t(77));
    assert!(matches!(ledger.consume(consume_of(&ledger, short)).await, Err(ConsumeStop::Expired { .. })));
    assert!(ledger.clock_trouble().is_some_and(|why| why.contains("set the system clock right")));
    // The corrected clock is ahead of the log again, but this correction does not count as a leap.
    world.clock.store(T0 + 88, SeqCst);
    assert_eq!((ledger.now(), ledger.clock_trouble()), (t(88), None));
    check_laws(&ledger);
}

#[tokio::test]
async fn an_implausible_low_water_mark_does_not_change_the_current_time() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.close().await.expect("closed");
    drop(ledger);
    let (mut store, _) = world.store();
    store.tamper(&format!("UPDATE state SET mark = {}", T0 + 400 * 86_400));
    drop(store);
    let ledger = world.open();
    assert_eq!(ledger.now(), t(0));
    assert!(ledger.clock_trouble().is_some_and(|why| why.contains("changed by hand")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_of_requests_moves_a_status_back_or_spends_a_nonce_twice(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let world = World::new();
            let mut ledger = world.sealed().await;
            let mut before: [Option<StoredStatus>; 5] = [None; 5];
            let mut number = 1_u8;
            for op in ops {
                match op {
                    Op::Propose(n) => drop(ledger.propose(new_proposal(n)).await.expect("answer")),
                    Op::Consume(n, exclusive) => {
                        let exclusive = exclusive.then(|| "x".into());
                        drop(ledger.consume(Consume { exclusive, ..consume_of(&ledger, core(n)) }).await);
                    }
                    Op::Finish(n) => drop(ledger.finish(finish_of(&core(n).id)).await),
                    Op::Deny(n) => {
                        let approver = "alice".parse().expect("name");
                        let denial = DenialWrite { authorization: core(n).digest, approver, envelope: vec![n], at: t(0), ahead: false };
                        ledger.deny(denial).await.expect("denied");
                    }
                    Op::Advance(n, to) => {
                        let advance = ProposalStep { proposal: core(n).id, from: Vec::new(), to, at: t(0), detail: Vec::new() };
                        drop(ledger.advance(advance).await);
                    }
                    Op::Expire(at) => drop(ledger.expire(t(at)).await.expect("expired")),
                    Op::Seal => {
                        number += 1;
                        seal(&ledger, number).await.expect("sealed");
                    }
                    Op::Prune => drop(ledger.prune(100).await.expect("pruned")),
                    Op::Retire(age) => {
                        let retention = Retention { outputs_s: age, proposals_s: age };
                        ledger.retire(retention, 100).await.expect("retired");
                    }
                    Op::Clock(by) => drop(world.clock.fetch_add(by, SeqCst)),
                    Op::Reopen => {
                        ledger.close().await.expect("closed");
                        ledger = world.open();
                    }
                }
                for (n, before) in (0..).zip(&mut before) {
                    let now = status(&ledger, n);
                    match (*before, now) {
                        (Some(from), Some(to)) => assert!(
                            from == to || from.may_become(to),
                            "{from} became {to} by {op:?}"
                        ),
                        (Some(_), None) => panic!("a row is gone"),
                        (None, _) => {}
                    }
                    *before = now;
                }
            }
            check_laws(&ledger);
        });
    }
}

/// Runs one action of each kind in a child process, which is killed at a crash point.
async fn child(directory: &Path) {
    let world = World { directory: tempfile::tempdir().expect("unused"), ..World::new() };
    let path = directory.join("data").join("countersign.db");
    let (store, reads) = sqlite::open(&path).expect("store");
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), world.config()).expect("ledger");
    seal(&ledger, 1).await.expect("seal");
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let advance = ProposalStep {
        proposal: core(1).id,
        from: Vec::new(),
        to: StoredStatus::Approved,
        at: t(0),
        detail: Vec::new(),
    };
    ledger.advance(advance).await.expect("approved");
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    let denial = DenialWrite {
        authorization: core(9).digest,
        approver: "a".parse().expect("name"),
        envelope: vec![9],
        at: t(0),
        ahead: false,
    };
    ledger.deny(denial).await.expect("denied");
    ledger.refuse(b"no".to_vec(), t(0)).await.expect("refused");
    ledger.prune(10).await.expect("pruned");
    ledger.retire(Retention::DEFAULT, 10).await.expect("retired");
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_commit_leaves_a_consistent_store() {
    const HOME: &str = "COUNTERSIGN_TEST_CHILD";
    if let Some(directory) = std::env::var_os(HOME) {
        child(Path::new(&directory)).await;
        return;
    }
    for point in crate::store::crash_points::POINTS {
        let world = World::new();
        let me = std::env::current_exe().expect("this test");
        let status = std::process::Command::new(me)
            .args(["--exact", "store::ledger::tests::a_process_that_is_killed_at_any_commit_leaves_a_consistent_store"])
            .env(HOME, world.directory.path())
            .env("COUNTERSIGN_FAULT", point)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("child");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}: {status}");
        let ledger = world.open();
        check_laws(&ledger);
        let (size, state) = (ledger.state().size, self::status(&ledger, 1));
        let expected = match *point {
            "before-seal-commit" => (0, None),
            "after-seal-commit" | "before-proposal-commit" => (1, None),
            "after-proposal-commit" | "before-advance-commit" => (1, Some(StoredStatus::Pending)),
            "after-advance-commit" | "before-consume-commit" => (1, Some(StoredStatus::Approved)),
            "after-consume-commit" | "before-receipt-commit" => (2, Some(StoredStatus::Running)),
            "after-receipt-commit" | "before-denial-commit" => (3, Some(StoredStatus::Finished)),
            "after-denial-commit" | "before-refusal-commit" => (4, Some(StoredStatus::Finished)),
            _ => (5, Some(StoredStatus::Finished)),
        };
        assert_eq!((size, state), expected, "{point}");
        if state == Some(StoredStatus::Running) {
            let spent = ledger.consume(consume_of(&ledger, core(1))).await;
            assert!(matches!(spent, Err(ConsumeStop::Replayed(_))), "{point}: {spent:?}");
            ledger.finish(finish_of(&core(1).id)).await.expect("recovery closes it");
        }
    }
}

/// Controls the commits of a test store. A test can delay a commit or let the commit fail.
#[derive(Default)]
struct Commits {
    held: std::sync::atomic::AtomicBool,
    waiting: std::sync::atomic::AtomicBool,
    next: Mutex<std::collections::VecDeque<Option<StoreFault>>>,
    /// If true, the store returns wrong leaf hashes.
    lies: std::sync::atomic::AtomicBool,
}

impl Commits {
    /// Sends a request and returns while the request's commit is delayed. Requests that arrive before the delayed
    /// commit ends form one batch.
    async fn hold<T, F>(&self, ledger: &Ledger, ask: impl FnOnce(Ledger) -> F) -> tokio::task::JoinHandle<T>
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

struct Failing {
    store: sqlite::SqliteStore,
    commits: Arc<Commits>,
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
