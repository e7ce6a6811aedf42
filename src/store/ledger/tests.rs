//! The ledger's laws, over real SQLite files.

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
use crate::store::message::{Core, LeafKind, OutputRow, Retention, TokenChange, UNSIGNED_KEPT_S, Window};
use crate::store::shared::{LedgerLimits, LogSigner};
use crate::store::{
    Candidate, Cut, DenialsAhead, FinishRow, LeafRow, Precedent, RunRow, Standing, Swept, TileRow, Walk, sqlite,
};

const T0: i64 = 1_800_000_000;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_unix(T0 + seconds)
}

/// A directory, a clock and a key; the store in it is opened as often as a test likes.
struct World {
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
    fatal: Arc<Mutex<Vec<Fault>>>,
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

    /// Other tests of this process start processes, which hold the lock of a store that was closed until they execute theirs.
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

async fn seal(ledger: &Ledger, number: u8) -> Result<Sealed, WriteStop> {
    ledger.seal(seal_write(ledger, number)).await
}

fn core(number: u8) -> Core {
    let id = ProposalId::new(1_800_000_000_000 + u64::from(number), [number; 10]);
    Core {
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

fn consume_of(ledger: &Ledger, core: Core) -> Consume {
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

async fn run_whole(ledger: &Ledger, number: u8) -> (Consumed, LeafRef) {
    let consumed = ledger.consume(consume_of(ledger, core(number))).await.expect("consumed");
    (consumed, ledger.finish(finish_of(&core(number).id)).await.expect("finished"))
}

fn status(ledger: &Ledger, number: u8) -> Option<Status> {
    ledger.proposal(&core(number).id).expect("read").map(|proposal| proposal.status)
}

/// The consumptions of the log, verified and read by the record room.
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

/// What must hold of any store at rest, however it came to be.
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
        let expected = if running.contains(proposal) { Status::Running } else { Status::Finished };
        assert_eq!(row.status, expected);
        assert_eq!(row.receipt.is_some(), expected == Status::Finished);
    }
    for proposal in &running {
        assert!(spent.values().any(|one| one == proposal), "nothing runs without a consumption");
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
    let replayed = ConsumeStop::Replayed(Spent { index: won.index, item: won.item, proposal: core(1).id });
    assert_eq!(results.iter().filter(|result| result.as_ref().err() == Some(&replayed)).count(), 63);
    assert_eq!(consumptions(&ledger).len(), 1);
    check_laws(&ledger);
}

#[tokio::test]
async fn a_large_group_has_leaves_of_at_most_sixteen_items() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    // All of these come while that one is being committed.
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
async fn a_spent_nonce_stays_spent_with_any_expiry_proposal_and_after_reopening() {
    let world = World::new();
    let ledger = world.sealed().await;
    let (consumed, _) = run_whole(&ledger, 1).await;
    let spent = Spent { index: consumed.index, item: consumed.item, proposal: core(1).id };
    let other = Core { nonce: core(1).nonce, expires_at: t(7200), ..core(2) };
    let mut consume = consume_of(&ledger, other);
    consume.window.issued_at = t(0);
    consume.window.not_before = t(0);
    assert_eq!(ledger.consume(consume.clone()).await, Err(ConsumeStop::Replayed(spent.clone())));
    seal(&ledger, 2).await.expect("seal");
    assert_eq!(ledger.consume(consume.clone()).await, Err(ConsumeStop::Replayed(spent.clone())), "rather than moved");
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert_eq!(ledger.consume(consume).await, Err(ConsumeStop::Replayed(spent)));
    assert_eq!(status(&ledger, 2), None, "no row of what was refused");
    check_laws(&ledger);
}

#[tokio::test]
async fn a_verdict_under_an_older_state_must_be_repeated() {
    let world = World::new();
    let ledger = world.sealed().await;
    let old = consume_of(&ledger, core(1));
    let sealed = seal(&ledger, 2).await.expect("seal");
    assert_eq!(sealed.version, old.version + 1);
    assert_eq!(ledger.consume(old.clone()).await, Err(ConsumeStop::Moved));
    let newer_version = Consume { version: sealed.version, ..old };
    assert_eq!(ledger.consume(newer_version).await, Err(ConsumeStop::Moved), "an old registry under a new version");
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
    let cancel = Advance {
        proposal: core(2).id,
        from: vec![Status::Pending],
        to: Status::Cancelled,
        at: t(0),
        detail: Vec::new(),
    };
    assert_eq!(ledger.advance(cancel).await, Ok(Status::Pending));
    assert_eq!(ledger.consume(before).await, Err(ConsumeStop::Moved), "a cancellation");
    assert!(ledger.consume(consume_of(&ledger, core(1))).await.is_ok());
}

#[tokio::test]
async fn the_time_of_the_ledger_decides_and_never_decreases() {
    let world = World::new();
    let ledger = world.sealed().await;
    world.clock.store(T0 + 100, SeqCst);
    let first = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(first.at, t(100));
    world.clock.store(T0 - 5000, SeqCst);
    let second = ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    assert_eq!(second.at, t(100), "the clock went back, the log does not");
    let short = Core { expires_at: t(100), ..core(3) };
    let stop = ConsumeStop::Expired { at: t(100), expires_at: t(100) };
    assert_eq!(ledger.consume(consume_of(&ledger, short)).await, Err(stop), "set back clocks revive nothing");
    assert_eq!(ledger.now(), t(100));
    let stale = SealWrite { at: t(99), ..seal_write(&ledger, 2) };
    assert_eq!(ledger.seal(stale).await, Err(WriteStop::BackDated { last: t(100) }));
    assert_eq!(ledger.refuse(b"no".to_vec(), t(99)).await, Err(WriteStop::BackDated { last: t(100) }));
    ledger.close().await.expect("closed");
    let ledger = world.open();
    let third = ledger.consume(consume_of(&ledger, core(4))).await.expect("consumed");
    assert_eq!(third.at, t(100), "also after a restart");
    let lying = Consume { core: Core { expires_at: t(1), ..core(5) }, ..consume_of(&ledger, core(5)) };
    assert_eq!(ledger.consume(lying).await, Err(ConsumeStop::BadWindow), "the kept expiry is the judged one");
    check_laws(&ledger);
}

#[tokio::test]
async fn the_low_water_mark_rises_only_with_boot_time_and_expired_windows_stay_expired() {
    let world = World::new();
    let ledger = world.sealed().await;
    let soon = Core { expires_at: t(60), ..core(1) };
    ledger.consume(consume_of(&ledger, soon.clone())).await.expect("consumed");
    ledger.consume(consume_of(&ledger, core(2))).await.expect("consumed");
    // A clock that jumps a year ahead prunes nothing.
    world.clock.store(T0 + 31_536_000, SeqCst);
    world.boot.store(10, SeqCst);
    let pruned = ledger.prune(1000).await.expect("pruned");
    assert_eq!((pruned.mark, pruned.deleted, pruned.done), (t(10), 0, true));
    assert_eq!(pruned.ahead_s, 31_536_000 - 10);
    // Set right again, the mark waits for the clock, and then goes with it.
    world.clock.store(T0 + 5, SeqCst);
    assert_eq!(ledger.prune(1000).await.expect("pruned").mark, t(10), "never falls");
    world.clock.store(T0 + 60, SeqCst);
    world.boot.store(66, SeqCst);
    let pruned = ledger.prune(1000).await.expect("pruned");
    assert_eq!((pruned.mark, pruned.deleted), (t(60), 1), "never above the clock");
    assert_eq!(ledger.spent(&soon.nonce).expect("read"), None);
    // Its nonce is forgotten; whatever the clock says, it is expired.
    world.clock.store(T0, SeqCst);
    ledger.close().await.expect("closed");
    let ledger = world.open();
    let again = Core { id: core(3).id, ..soon };
    let stop = ledger.consume(consume_of(&ledger, again)).await;
    assert!(matches!(stop, Err(ConsumeStop::Expired { .. })), "{stop:?}");
    assert!(ledger.spent(&core(2).nonce).expect("read").is_some());
}

#[tokio::test]
async fn pruning_works_in_small_steps() {
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
async fn pruning_follows_the_log_for_each_item_of_an_entry() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    // Four in one entry, the last of which ends later than the others.
    let mut late = consume_of(&ledger, Core { expires_at: t(9000), ..core(4) });
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
    // By the log the second goes with the first; the row of the third, and the fourth itself, say otherwise.
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
async fn exclusive_runs_exclude_each_other_until_the_receipt() {
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
async fn a_denial_stops_a_known_or_unknown_authorization() {
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
    assert_eq!((waiting.denied, status(&ledger, 2)), (Some(core(2).id), Some(Status::Denied)));
    let version = ledger.state().version;
    let again = ledger.deny(denial(2, "alice")).await.expect("denied");
    assert_eq!((again.leaf, ledger.state().version), (waiting.leaf, version), "no second leaf");
    ledger.consume(consume_of(&ledger, core(3))).await.expect("consumed");
    let running = ledger.deny(denial(3, "bob")).await.expect("denied");
    assert_eq!((running.denied, running.running), (None, Some(core(3).id)));
    assert_eq!(status(&ledger, 3), Some(Status::Running));
    assert_eq!(ledger.denials(&core(3).digest).expect("read")[0].leaf, running.leaf);
    assert_eq!(ledger.leaf(running.leaf).expect("read").expect("leaf").data, b"denial 3 bob");
}

#[tokio::test]
async fn denials_of_unknown_authorizations_are_limited_and_denials_of_proposals_are_not() {
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
    // The same one again, somebody else's, and one of a proposal that is there.
    ledger.deny(denial(7, "alice", t(200))).await.expect("it is there already");
    ledger.deny(denial(100, "bob", t(200))).await.expect("another approver");
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let known = DenialWrite { authorization: core(1).digest, ..denial(0, "alice", t(200)) };
    assert_eq!(ledger.deny(known).await.expect("known").denied, Some(core(1).id));
    // What was kept holds after a restart, the limit too; a day later there is room for one.
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert!(matches!(
        ledger.deny(denial(101, "alice", t(86_399))).await,
        Err(WriteStop::TooManyAhead { wait_s: 1, .. })
    ));
    ledger.deny(denial(101, "alice", t(86_400))).await.expect("room for one");
    let again = ledger.deny(denial(102, "alice", t(86_400))).await;
    assert_eq!(again, Err(WriteStop::TooManyAhead { most: 100, of_approver: true, wait_s: 1 }));
    // And of all approvers together.
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
    let end = |number: u8, to: Status| Advance {
        proposal: core(number).id,
        from: Vec::new(),
        to,
        at: t(0),
        detail: Vec::new(),
    };
    // Signed, denied and refused ones don't count and stay.
    let signature = Signature {
        keyid: format!("SHA256:{}", "A".repeat(43)).parse().expect("key id"),
        person: "alice".parse().expect("name"),
        presence: Presence::Unknown,
        sig: vec![1; 64],
        at: t(0),
    };
    for (number, to) in [(1, Status::Cancelled), (2, Status::Denied), (3, Status::Expired)] {
        ledger.propose(new_proposal(number)).await.expect("proposed");
        if to != Status::Denied {
            ledger.sign(&core(number).id, vec![signature.clone()]).await.expect("signed");
        }
        ledger.advance(end(number, to)).await.expect("over");
    }
    for (number, to) in [(4, Status::Cancelled), (5, Status::Expired), (6, Status::Cancelled)] {
        assert_eq!(ledger.propose(new_proposal(number)).await, Ok(Proposed::New));
        ledger.advance(end(number, to)).await.expect("over");
    }
    let first = t(3600 + UNSIGNED_KEPT_S);
    assert_eq!(ledger.propose(new_proposal(7)).await, Ok(Proposed::TooManyKept { most: 3, until: first }));
    let other = Core { proposer: "other".parse().expect("name"), ..core(8) };
    assert_eq!(ledger.propose(NewProposal { core: other, ..new_proposal(8) }).await, Ok(Proposed::New));
    // The same nonce again is answered with what there is, whatever the limit.
    assert!(matches!(ledger.propose(new_proposal(4)).await, Ok(Proposed::Same(_))));
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
    assert_eq!(standing(&ledger)[..3], before[..3], "what somebody signed or denied");
    assert_eq!(standing(&ledger)[3..], [None, None, None]);
    assert_eq!(ledger.payload(&core(4).id).expect("read"), None);
    let late = NewProposal {
        core: Core { expires_at: t(20_000), ..core(7) },
        created_at: t(3600 + UNSIGNED_KEPT_S),
        ..new_proposal(7)
    };
    assert_eq!(ledger.propose(late).await, Ok(Proposed::New));
}

#[tokio::test]
async fn proposals_are_idempotent_by_nonce_or_by_content() {
    let mut world = World::new();
    world.limits = LedgerLimits { of_proposer: 3, of_all: 4, ..LedgerLimits::default() };
    let ledger = world.sealed().await;
    assert_eq!(ledger.propose(new_proposal(1)).await, Ok(Proposed::New));
    let Ok(Proposed::Same(same)) =
        ledger.propose(NewProposal { core: Core { id: core(9).id, ..core(1) }, ..new_proposal(1) }).await
    else {
        panic!("same nonce and body")
    };
    assert_eq!((same.core.id, same.status), (core(1).id, Status::Pending));
    let other_body = NewProposal { request: [9; 32], core: Core { id: core(9).id, ..core(1) }, ..new_proposal(1) };
    assert!(matches!(ledger.propose(other_body).await, Ok(Proposed::Conflict(_))));
    let stranger = Core { id: core(9).id, proposer: "other".parse().expect("name"), ..core(1) };
    let other_proposer = NewProposal { core: stranger, ..new_proposal(1) };
    assert!(matches!(ledger.propose(other_proposer).await, Ok(Proposed::Conflict(_))));

    let anonymous = |number: u8| NewProposal { chosen_nonce: false, ..new_proposal(number) };
    assert_eq!(ledger.propose(anonymous(2)).await, Ok(Proposed::New));
    let repeated = NewProposal { core: Core { params_digest: core(2).params_digest, ..core(8) }, ..anonymous(8) };
    assert!(matches!(ledger.propose(repeated.clone()).await, Ok(Proposed::Same(same)) if same.core.id == core(2).id));
    let later = NewProposal { created_at: t(3600), ..repeated };
    assert_eq!(ledger.propose(later).await, Ok(Proposed::New), "an overdue one is not the same");

    let one_more = ledger.propose(new_proposal(4)).await;
    assert_eq!(one_more, Ok(Proposed::TooMany { most: 3, of_proposer: true }));
    let by = |number, name: &str| {
        let proposer = name.parse().expect("name");
        NewProposal { core: Core { proposer, ..core(number) }, ..new_proposal(number) }
    };
    assert_eq!(ledger.propose(by(4, "b")).await, Ok(Proposed::New));
    assert_eq!(ledger.propose(by(6, "b")).await, Ok(Proposed::TooMany { most: 4, of_proposer: false }));
    assert_eq!(ledger.expire(t(3600)).await.expect("expired").len(), 4);
    assert_eq!(status(&ledger, 1), Some(Status::Expired));
    assert_eq!(ledger.propose(by(6, "b")).await, Ok(Proposed::New));

    // A nonce that was spent is found again while it is kept.
    run_whole(&ledger, 7).await;
    let spent = NewProposal { core: Core { id: core(10).id, ..core(7) }, ..new_proposal(7) };
    assert!(matches!(ledger.propose(spent).await, Ok(Proposed::Conflict(there)) if there.core.id == core(7).id));
}

#[tokio::test]
async fn states_only_move_forward() {
    let world = World::new();
    let ledger = world.sealed().await;
    let to = |to| Advance { proposal: core(1).id, from: Vec::new(), to, at: t(2), detail: b"why".to_vec() };
    assert_eq!(ledger.advance(to(Status::Approved)).await, Err(AdvanceStop::Unknown));
    ledger.propose(new_proposal(1)).await.expect("proposed");
    for never in [Status::Running, Status::Finished, Status::Pending] {
        assert_eq!(ledger.advance(to(never)).await, Err(AdvanceStop::WrongState(Status::Pending)));
    }
    let only_approved = Advance { from: vec![Status::Approved], ..to(Status::Refused) };
    assert_eq!(ledger.advance(only_approved).await, Err(AdvanceStop::WrongState(Status::Pending)));
    assert_eq!(ledger.advance(to(Status::Approved)).await, Ok(Status::Pending));
    assert_eq!(ledger.finish(finish_of(&core(1).id)).await, Err(FinishStop::NotRunning(Some(Status::Approved))));
    assert_eq!(ledger.finish(finish_of(&core(2).id)).await, Err(FinishStop::NotRunning(None)));
    let consumed = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(ledger.advance(to(Status::Cancelled)).await, Err(AdvanceStop::WrongState(Status::Running)));
    let receipt = ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    let twice = ledger.finish(finish_of(&core(1).id)).await;
    assert_eq!(twice, Err(FinishStop::Finished { receipt: receipt.index }), "one consumption, one receipt");
    let row = ledger.proposal(&core(1).id).expect("read").expect("row");
    assert_eq!(
        (row.status, row.receipt, row.consumption),
        (Status::Finished, Some(receipt.index), Some((consumed.index, 0)))
    );
    assert_eq!(
        (row.created_at, row.approved_at, row.started_at, row.ended_at),
        (t(0), Some(t(2)), Some(t(0)), Some(t(1)))
    );
    assert_eq!(row.detail.as_deref(), Some(&b"succeeded"[..]));
    for (state, stop) in [(Status::Cancelled, 3), (Status::Refused, 4), (Status::Denied, 5), (Status::Expired, 6)] {
        ledger.propose(new_proposal(stop)).await.expect("proposed");
        ledger.advance(Advance { proposal: core(stop).id, ..to(state) }).await.expect("moved");
        let late = ledger.consume(consume_of(&ledger, core(stop))).await;
        assert_eq!(late, Err(ConsumeStop::WrongState(state)));
    }
    let forged = Core { digest: AuthorizationDigest::of(b"other"), nonce: core(9).nonce, ..core(3) };
    assert_eq!(ledger.consume(consume_of(&ledger, forged)).await, Err(ConsumeStop::OtherAuthorization));
    check_laws(&ledger);
}

#[tokio::test]
async fn the_bytes_to_sign_are_found_in_every_state_of_a_proposal() {
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
    assert_eq!(ledger.proposal_of(&core(1).digest).expect("read").map(|row| row.status), Some(Status::Running));
    let [unfinished] = &ledger.unfinished().expect("read")[..] else { panic!("one") };
    assert_eq!((&unfinished.proposal, &*unfinished.decision), (&id, &b"decision"[..]));
    assert_eq!(unfinished.envelope, envelope_of(&payload));
    ledger.finish(finish_of(&id)).await.expect("finished");
    assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
    assert_eq!(ledger.payload(&core(2).id), Ok(None));
}

#[tokio::test]
async fn one_signature_per_key_is_stored_in_order_of_arrival() {
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
    assert_eq!(ledger.sign(&core(1).id, all).await, Err(AdvanceStop::WrongState(Status::Finished)));
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let world = World::new();
    let ledger = world.sealed().await;
    for number in 1..=5 {
        ledger.propose(new_proposal(number)).await.expect("proposed");
    }
    run_whole(&ledger, 2).await;
    ledger.consume(consume_of(&ledger, core(4))).await.expect("consumed");
    let list = |filter: Filter| {
        let page = ledger.proposals(&filter).expect("list");
        (page.proposals.iter().map(|row| row.core.id.clone()).collect::<Vec<_>>(), page.next)
    };
    let ids = |numbers: &[u8]| numbers.iter().map(|number| core(*number).id).collect::<Vec<_>>();
    let all = Filter { limit: 10, ..Filter::default() };
    assert_eq!(list(all.clone()), (ids(&[5, 4, 3, 2, 1]), None));
    let (first, next) = list(Filter { limit: 2, ..all.clone() });
    assert_eq!((first, next.clone()), (ids(&[5, 4]), Some(core(4).id)));
    assert_eq!(list(Filter { before: next, ..all.clone() }), (ids(&[3, 2, 1]), None));
    for (status, found) in
        [(Status::Pending, &[5, 3, 1][..]), (Status::Running, &[4]), (Status::Finished, &[2]), (Status::Denied, &[])]
    {
        assert_eq!(list(Filter { statuses: vec![status], ..all.clone() }), (ids(found), None));
    }
    assert_eq!(list(Filter { step: Some("web:stop".parse().expect("ref")), ..all.clone() }).0, ids(&[]));
    assert_eq!(list(Filter { proposer: Some("agent".parse().expect("name")), limit: 1, ..all }).0, ids(&[5]));
}

#[tokio::test]
async fn tokens_change_only_with_a_seal_and_names_are_never_used_twice() {
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
    assert!(!format!("{token:?}").contains("7, 7"), "a secret's hash is not printed");
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
async fn seals_follow_each_other_and_the_first_names_the_boundary() {
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
async fn outputs_are_read_in_ranges_from_rows_and_files() {
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
async fn every_proof_at_every_size_verifies_also_after_reopening() {
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
    /// Opens the store as soon as whoever had it lets it go.
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
async fn a_checkpoint_is_a_pure_function_of_the_rows() {
    let world = World::new();
    let ledger = world.sealed().await;
    let early = ledger.checkpoint().expect("read").expect("signed");
    assert_eq!(early, ledger.checkpoint().expect("read").expect("signed"));
    assert_eq!(ledger.recorded_checkpoint(), Ok(None), "no commit of its own");
    for number in 0..5 {
        run_whole(&ledger, number).await;
    }
    assert_eq!(ledger.recorded_checkpoint(), Ok(Some(early.clone())), "recorded with the next batch");
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
async fn a_second_root_for_a_size_ends_the_process() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.checkpoint().expect("read");
    seal(&ledger, 2).await.expect("recorded");
    let forked = CheckpointRow { size: 1, root: [9; 32], note: String::new() };
    ledger.shared.unrecorded.lock().expect("lock").push(forked);
    let stop = seal(&ledger, 3).await;
    assert!(matches!(stop, Err(WriteStop::Fault(Fault::Broken { .. }))), "{stop:?}");
    assert_eq!(world.fatal.lock().expect("lock").len(), 1);
    assert_eq!(seal(&ledger, 3).await, Err(WriteStop::Fault(Fault::Closed)));
    let ledger = world.open_after_close().await;
    assert_eq!(ledger.state().size, 2, "nothing of it is stored");
}

#[tokio::test]
async fn a_checkpoint_is_made_from_rows_read_back_after_their_commit() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let before = ledger.checkpoint().expect("read").expect("signed");
    // While the commit is under way the log is as it was, also for who signs its head.
    let asking = commits.hold(&ledger, |ledger| async move { seal(&ledger, 2).await }).await;
    assert_eq!(ledger.checkpoint(), Ok(Some(before.clone())));
    commits.held.store(false, SeqCst);
    asking.await.expect("joined").expect("sealed");
    assert_eq!(ledger.checkpoint().expect("read").expect("signed").size, 2);
    // What is read back as something else than was written is never signed: the process ends.
    commits.lies.store(true, SeqCst);
    let stop = seal(&ledger, 3).await;
    assert!(matches!(stop, Err(WriteStop::Fault(Fault::Broken { .. }))), "{stop:?}");
    assert_eq!(world.fatal.lock().expect("lock").len(), 1);
    assert_eq!(ledger.state().size, 2, "nothing of it was shown");
}

#[tokio::test]
async fn a_log_that_contradicts_its_own_checkpoint_is_not_opened() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.checkpoint().expect("read");
    seal(&ledger, 2).await.expect("recorded");
    ledger.close().await.expect("closed");
    let tamper = |sql: &str| {
        let (mut store, _) = sqlite::open(&world.path()).expect("store");
        store.tamper(sql);
    };
    // The head was recorded when it was closed.
    tamper("DELETE FROM checkpoint WHERE size = 1; UPDATE checkpoint SET size = 9");
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    let opened = Ledger::open(Box::new(store), Arc::new(reads), world.config());
    assert!(matches!(opened.err(), Some(Fault::Unusable { message }) if message.contains("checkpoint at 9")));
    tamper("UPDATE checkpoint SET size = 1; UPDATE leaf SET hash = zeroblob(32) WHERE idx = 0");
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    let opened = Ledger::open(Box::new(store), Arc::new(reads), world.config());
    assert!(matches!(opened.err(), Some(Fault::Unusable { .. })));
}

#[tokio::test]
async fn only_one_process_opens_a_store_and_the_refusal_names_it() {
    let world = World::new();
    let ledger = world.sealed().await;
    let Err(Fault::Unusable { message }) = sqlite::open(&world.path()) else { panic!("opened twice") };
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains("countersign.db.lock"), "{message}");
    ledger.close().await.expect("closed");
    assert_eq!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::Fault(Fault::Closed)));
    assert!(sqlite::open(&world.path()).is_ok());
}

#[test]
fn a_store_that_is_unprotected_or_newer_or_foreign_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let message = |world: &World| match sqlite::open(&world.path()) {
        Err(Fault::Unusable { message }) => message,
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
async fn a_failed_commit_fails_its_whole_batch_and_stores_nothing() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    // While one batch is held in its commit, the next one gathers.
    let first = commits.hold(&ledger, |ledger| async move { ledger.refuse(b"first".to_vec(), t(0)).await }).await;
    *commits.next.lock().expect("lock") = [None, Some(Fault::Full { during: "test" })].into();
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
    assert_eq!(one.clone().err(), Some(ConsumeStop::Fault(Fault::Full { during: "test" })));
    assert_eq!((two.err(), three.is_err()), (one.err(), true));
    assert_eq!((ledger.state().size, ledger.spent(&core(1).nonce)), (2, Ok(None)));
    assert_eq!(status(&ledger, 1), None);
    // Memory is as the store: the lock is free, the tree goes on.
    let consume = Consume { exclusive: Some("x".into()), ..consume_of(&ledger, core(1)) };
    ledger.consume(consume).await.expect("consumed once there is room");
    check_laws(&ledger);
    assert!(world.fatal.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_request_that_the_database_refuses_does_not_fail_its_batch() {
    let world = World::new();
    world.sealed().await.close().await.expect("closed");
    let (mut store, reads) = sqlite::open(&world.path()).expect("store");
    // Constraints that the writer can't foresee: of the second run, of the fourth's end, of one denial. They are this
    // connection's own, since those of the database are off.
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
    assert!(matches!(two, Err(ConsumeStop::Fault(Fault::Database { .. }))), "{two:?}");
    assert!(matches!(four, Err(FinishStop::Fault(Fault::Database { .. }))), "{four:?}");
    assert!(matches!(bad, Err(WriteStop::Fault(Fault::Database { .. }))), "{bad:?}");
    let (one, three) = (one.expect("consumed"), three.expect("consumed"));
    let places = [refused.expect("refused").index, five.expect("finished").index, one.index, three.index];
    assert_eq!(places, [4, 5, 6, 7], "each by itself, in order, without a gap");
    assert_eq!((status(&ledger, 2), status(&ledger, 4)), (None, Some(Status::Running)));
    // The lock that the second took is free again, and the tree is that of the rows.
    ledger.consume(locked(6)).await.expect("consumed");
    check_laws(&ledger);
    assert!(world.fatal.lock().expect("lock").is_empty());
    ledger.close().await.expect("closed");
    check_laws(&world.open());
}

#[tokio::test]
async fn retention_deletes_old_rows_by_the_mark_and_no_proposal_that_can_still_run() {
    let world = World::new();
    let ledger = world.sealed().await;
    let kept = Retention { outputs_s: 100, proposals_s: 100 };
    let end = |number: u8| Advance {
        proposal: core(number).id,
        from: Vec::new(),
        to: Status::Cancelled,
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
    // A clock that leaps a year ahead deletes nothing: the mark follows the time that went by.
    world.clock.fetch_add(365 * 86_400, SeqCst);
    ledger.prune(10).await.expect("pruned");
    assert_eq!(ledger.retire(kept, 10).await.expect("retired").deleted, 0);
    world.clock.store(T0 + 200, SeqCst);
    world.boot.store(200, SeqCst);
    ledger.prune(10).await.expect("pruned");
    let retired = ledger.retire(kept, 10).await.expect("retired");
    assert_eq!(retired.files, [large.name], "files are named once their rows are gone");
    assert_eq!(ledger.output_size(&output.name), Ok(None));
    assert_eq!(ledger.runs_with_output(&output.name, 9), Ok(vec![core(2).id]), "who may ask is known still");
    // Cancelled, old enough, and its window is open: only its row says that it must not run.
    assert_eq!(status(&ledger, 1), Some(Status::Cancelled));
    let again = ledger.consume(consume_of(&ledger, core(1))).await;
    assert_eq!(again, Err(ConsumeStop::WrongState(Status::Cancelled)));
    world.clock.store(T0 + 3601, SeqCst);
    world.boot.store(3601, SeqCst);
    ledger.prune(10).await.expect("pruned");
    ledger.retire(kept, 10).await.expect("retired");
    assert_eq!(status(&ledger, 1), None);
    let again = ledger.consume(consume_of(&ledger, core(1))).await;
    assert!(matches!(again, Err(ConsumeStop::Expired { .. })), "{again:?}");
    assert_eq!((status(&ledger, 2), status(&ledger, 3)), (Some(Status::Finished), Some(Status::Pending)));
    assert!(ledger.payload(&core(3).id).expect("read").is_some());
    // Small steps come by everything, and begin again.
    for _ in 0..9 {
        ledger.retire(kept, 1).await.expect("retired");
    }
    assert_eq!(status(&ledger, 2), Some(Status::Finished));
}

#[tokio::test]
async fn a_missing_nonce_row_keeps_the_store_closed_until_the_nonce_expires() {
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
    // A row that had expired by the mark is no reason: nothing can come of it, and the count is mended.
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
async fn a_failed_sync_is_never_retried() {
    let world = World::new();
    let (ledger, commits) = world.open_failing();
    seal(&ledger, 1).await.expect("seal");
    let broken = Fault::Broken { during: "test", message: "fsync".to_owned() };
    *commits.next.lock().expect("lock") = [Some(broken.clone())].into();
    let stop = ledger.consume(consume_of(&ledger, core(1))).await;
    assert_eq!(stop, Err(ConsumeStop::Fault(broken.clone())));
    assert_eq!(*world.fatal.lock().expect("lock"), [broken], "told before anybody was answered");
    let later = ledger.consume(consume_of(&ledger, core(2))).await;
    assert_eq!(later, Err(ConsumeStop::Fault(Fault::Closed)));
}

#[tokio::test]
async fn a_full_disk_loses_no_acknowledged_request() {
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
    assert!(matches!(fault, Fault::Full { .. }), "{fault:?}");
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
    Advance(u8, Status),
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
        4 => (number, proptest::sample::select(&Status::ALL)).prop_map(|(n, status)| Op::Advance(n, status)),
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
async fn r7_a_clock_that_jumps_ahead_in_a_running_service_changes_no_date_and_expires_nothing() {
    let world = World::new();
    let ledger = world.sealed().await;
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let before = ledger.state();
    // A year, while two minutes went by.
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
    ledger.deny(denial).await.expect("a denial states no time that the log goes by");
    assert_eq!(ledger.state().last_at, before.last_at);
    // Set right, everything goes on.
    world.clock.store(T0 + 120, SeqCst);
    assert_eq!(ledger.clock_trouble(), None);
    ledger.consume(consume_of(&ledger, core(1))).await.expect("it runs");
    // What it says at a start is taken as it is.
    ledger.close().await.expect("closed");
    world.clock.store(T0 + 31_536_000, SeqCst);
    let ledger = world.open();
    seal(&ledger, 3).await.expect("a seal");
    world.clock.store(T0 + 200, SeqCst);
    assert!(ledger.clock_trouble().is_some_and(|why| why.contains("31535800 s behind the boundary's own time")));
}

#[tokio::test]
async fn r7_time_follows_boot_time_while_the_clock_is_behind_and_never_decreases() {
    let world = World::new();
    let ledger = world.sealed().await;
    world.clock.store(T0 - 40 * 86_400, SeqCst);
    world.boot.store(80, SeqCst);
    assert_eq!(ledger.now(), t(70), "seven eighths of the time since boot");
    // A leaf in between takes nothing away from it.
    let first = ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    assert_eq!(first.at, t(70));
    let short = Core { expires_at: t(75), ..core(2) };
    world.boot.store(88, SeqCst);
    let stop = ConsumeStop::Expired { at: t(77), expires_at: t(75) };
    assert_eq!(ledger.consume(consume_of(&ledger, short.clone())).await, Err(stop), "its window ends");
    // What has ended stays ended after a start.
    assert_eq!(ledger.prune(10).await.expect("pruned").mark, t(77));
    ledger.close().await.expect("closed");
    let ledger = world.open();
    assert_eq!(ledger.now(), t(77));
    assert!(matches!(ledger.consume(consume_of(&ledger, short)).await, Err(ConsumeStop::Expired { .. })));
    assert!(ledger.clock_trouble().is_some_and(|why| why.contains("set the system clock right")));
    // The clock is set right, and leads again; that is no leap.
    world.clock.store(T0 + 88, SeqCst);
    assert_eq!((ledger.now(), ledger.clock_trouble()), (t(88), None));
    check_laws(&ledger);
}

#[tokio::test]
async fn an_unexplained_mark_changes_no_date() {
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
    fn random_requests_move_states_forward_and_spend_each_nonce_once(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let world = World::new();
            let mut ledger = world.sealed().await;
            let mut before: [Option<Status>; 5] = [None; 5];
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
                        let advance = Advance { proposal: core(n).id, from: Vec::new(), to, at: t(0), detail: Vec::new() };
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

/// What the child of the test below does until it is killed.
async fn child(directory: &Path) {
    let world = World { directory: tempfile::tempdir().expect("unused"), ..World::new() };
    let path = directory.join("data").join("countersign.db");
    let (store, reads) = sqlite::open(&path).expect("store");
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), world.config()).expect("ledger");
    seal(&ledger, 1).await.expect("seal");
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let advance =
        Advance { proposal: core(1).id, from: Vec::new(), to: Status::Approved, at: t(0), detail: Vec::new() };
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
async fn the_store_is_consistent_after_a_kill_at_any_commit() {
    const HOME: &str = "COUNTERSIGN_TEST_CHILD";
    if let Some(directory) = std::env::var_os(HOME) {
        child(Path::new(&directory)).await;
        return;
    }
    for point in crate::store::crash_points::POINTS {
        let world = World::new();
        let me = std::env::current_exe().expect("this test");
        let status = std::process::Command::new(me)
            .args(["--exact", "store::ledger::tests::the_store_is_consistent_after_a_kill_at_any_commit"])
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
            "after-proposal-commit" | "before-advance-commit" => (1, Some(Status::Pending)),
            "after-advance-commit" | "before-consume-commit" => (1, Some(Status::Approved)),
            "after-consume-commit" | "before-receipt-commit" => (2, Some(Status::Running)),
            "after-receipt-commit" | "before-denial-commit" => (3, Some(Status::Finished)),
            "after-denial-commit" | "before-refusal-commit" => (4, Some(Status::Finished)),
            _ => (5, Some(Status::Finished)),
        };
        assert_eq!((size, state), expected, "{point}");
        if state == Some(Status::Running) {
            let spent = ledger.consume(consume_of(&ledger, core(1))).await;
            assert!(matches!(spent, Err(ConsumeStop::Replayed(_))), "{point}: {spent:?}");
            ledger.finish(finish_of(&core(1).id)).await.expect("recovery closes it");
        }
    }
}

/// What commits of a store do: wait while held, and fail where told.
#[derive(Default)]
struct Commits {
    held: std::sync::atomic::AtomicBool,
    waiting: std::sync::atomic::AtomicBool,
    next: Mutex<std::collections::VecDeque<Option<Fault>>>,
    /// Leaf hashes are read back as something else.
    lies: std::sync::atomic::AtomicBool,
}

impl Commits {
    /// Asks for something and gives it once its commit is held: what is asked before it is let go comes into one batch.
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
    fn commit(&mut self) -> Result<(), Fault> {
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

    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, Fault> {
        let mut hashes = self.store.leaf_hashes(range)?;
        if self.commits.lies.load(SeqCst) {
            hashes.iter_mut().for_each(|hash| hash[0] ^= 1);
        }
        Ok(hashes)
    }

    pass_on! {
        fn begin(&mut self) -> Result<(), Fault>;
        fn maintain(&mut self) -> Result<(), Fault>;
        fn settle(&mut self) -> Result<(), Fault>;
        fn head(&mut self) -> Result<Head, Fault>;
        fn set_head(&mut self, head: &Head) -> Result<(), Fault>;
        fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, Fault>;
        fn candidates(&mut self, requests: &[&Core]) -> Result<Vec<Candidate>, Fault>;
        fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<Standing>>, Fault>;
        fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), Fault>;
        fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), Fault>;
        fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), Fault>;
        fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), Fault>;
        fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), Fault>;
        fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, Fault>;
        fn precedent(&mut self, new: &NewProposal) -> Result<Precedent, Fault>;
        fn put_proposal(&mut self, new: &NewProposal) -> Result<(), Fault>;
        fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, Fault>;
        fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, Fault>;
        fn deny(&mut self, authorization: &AuthorizationDigest, denial: &Denied, ahead: bool) -> Result<(), Fault>;
        fn denials_ahead(&mut self, approver: &Name, since: Timestamp) -> Result<DenialsAhead, Fault>;
        fn unfinished_of(&mut self, authorization: &AuthorizationDigest) -> Result<Option<(ProposalId, Standing)>, Fault>;
        fn advance(&mut self, proposal: &ProposalId, to: Status, at: Timestamp, detail: &Vec<u8>) -> Result<(), Fault>;
        fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, Fault>;
        fn save(&mut self) -> Result<(), Fault>;
        fn keep(&mut self) -> Result<(), Fault>;
        fn undo(&mut self) -> Result<(), Fault>;
        fn retire(&mut self, cut: Cut, walk: Walk, limit: usize) -> Result<Retired, Fault>;
        fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<Swept, Fault>;
        fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, Fault>;
    }
}
