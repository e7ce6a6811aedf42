//! Old log entries in packed tiles of an SQLite store.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    Ledger, Questions, Spender, Store as _, StoreFault, StoreScope,
    ledger::tests::{T0, World, check_laws, consume_of, core, revocations::revoke, run_whole, t},
    sqlite::{self, backup, check},
};
use documents::{Blake3Digest, TileKind, TilePath, Timestamp};

/// Age in seconds from which the entries of these tests are packed.
const AGE_S: i64 = 100;

/// Adds runs and refusals, so that the log has more than two full tiles.
async fn filled(world: &World) -> Spender {
    let ledger = world.sealed().await;
    for number in 1..5 {
        run_whole(&ledger, number).await;
    }
    revoke(&ledger, 1).await;
    let mut refusals = tokio::task::JoinSet::new();
    for number in 0..600 {
        let part = |part| Blake3Digest::of(format!("{number} {part}").as_bytes()).hex();
        let (ledger, words) = (ledger.clone(), (0..40).map(part).collect::<String>());
        refusals.spawn(async move { ledger.refuse(words.into_bytes(), t(1)).await });
    }
    while let Some(refused) = refusals.join_next().await {
        refused.expect("a task").expect("refused");
    }
    ledger
}

/// Moves clock, time since boot and low-water mark on.
async fn later(world: &World, ledger: &Ledger, seconds: i64) {
    world.clock.store(T0 + seconds, SeqCst);
    world.boot.store(seconds.unsigned_abs(), SeqCst);
    ledger.prune(10).await.expect("pruned");
}

async fn pack_all(ledger: &Ledger) -> usize {
    let mut tiles = 0;
    while ledger.pack(AGE_S).await.expect("packed") {
        tiles += 1;
    }
    tiles
}

/// Everything that leaves a ledger and needs the bytes of entries.
fn everything(ledger: &Ledger) -> Vec<Vec<u8>> {
    let size = ledger.state().size;
    let mut all: Vec<_> = (0..size)
        .map(|index| ledger.leaf(index).expect("read").expect("a leaf").data)
        .collect();
    for (kind, index) in [
        (TileKind::Entries, 0),
        (TileKind::Entries, 1),
        (TileKind::Hashes(0), 1),
    ] {
        all.extend(
            ledger
                .tile(&TilePath::new(kind, index, 256).expect("a path"))
                .expect("read"),
        );
    }
    all.push(
        ledger
            .tile(&TilePath::new(TileKind::Entries, 1, 77).expect("a path"))
            .expect("read")
            .expect("a tile"),
    );
    all.extend(ledger.reads().leaves(200..300).expect("read"));
    all.extend(
        ledger
            .reads()
            .refusals(Timestamp::from_unix(0), 10_000)
            .expect("read"),
    );
    all.extend((1..5).map(|number| {
        ledger
            .payload(&core(number).id)
            .expect("read")
            .expect("a payload")
    }));
    all
}

/// Number of entries whose rows have no bytes, and number of packed tiles.
fn packed(world: &World) -> (u64, u64) {
    let number = |sql: &str| sqlite::number(&world.path(), sql);
    (
        number("SELECT count(*) FROM leaf WHERE data = x''"),
        number("SELECT count(*) FROM packed"),
    )
}

/// Returns the defects of packed tiles that the check finds, each with its place. Many entries of these tests are no
/// documents, so the check names defects of the first tile only.
fn defects(world: &World) -> Vec<String> {
    let scope = StoreScope {
        name: "test".parse().expect("name"),
        outputs: world.config().outputs,
        retention: crate::backend::Retention {
            outputs_s: 1,
            proposals_s: 1,
            pack_s: 1,
        },
        now: t(0),
    };
    let report = check::check(&world.path(), &scope, &mut |_, _| {}).expect("a report");
    let of_tiles = report
        .defects
        .iter()
        .filter(|defect| defect.place.contains("packed"));
    of_tiles
        .map(|defect| format!("{}: {}", defect.place, defect.what))
        .collect()
}

#[tokio::test]
async fn packed_entries_have_the_same_bytes_for_each_reader() {
    let world = World::new();
    let ledger = filled(&world).await;
    let (before, revoked, size) = (
        everything(&ledger),
        ledger.revocations(),
        ledger.state().size as usize,
    );
    assert_eq!(pack_all(&ledger).await, 0, "the entries are new");
    later(&world, &ledger, AGE_S + 1).await;
    assert_eq!(pack_all(&ledger).await, 2, "only full tiles are packed");
    assert_eq!(packed(&world), (512, 2));
    assert!(everything(&ledger) == before);
    check_laws(&ledger);
    run_whole(&ledger, 9).await;
    assert!(everything(&ledger)[..size] == before[..size]);
    ledger.close().await.expect("closed");
    assert_eq!(defects(&world), Vec::<String>::new());
    let copy = world.directory.path().join("copy.db");
    backup::copy(&world.path(), &copy).expect("copied");
    let (reads, head) = sqlite::reads::at_rest(&copy).expect("a backup");
    let read =
        Ledger::at_rest(std::sync::Arc::new(reads), head, world.config(), None).expect("a ledger");
    assert!(everything(&read)[..size] == before[..size]);
    let again = world.open_after_close().await;
    assert_eq!(
        (again.revocations(), revoked.len()),
        (revoked.clone(), 1),
        "a start reads packed revocations"
    );
    assert!(everything(&again)[..size] == before[..size]);
    check_laws(&again);
}

#[tokio::test]
async fn a_clock_that_jumps_packs_nothing_too_early() {
    let world = World::new();
    let ledger = filled(&world).await;
    for days in [2, -2] {
        world.clock.store(T0 + days * 86_400, SeqCst);
        ledger.prune(10).await.expect("pruned");
        assert!(!ledger.pack(AGE_S).await.expect("packed"), "{days} days");
    }
    // The low-water mark alone is not enough either.
    later(&world, &ledger, AGE_S + 1).await;
    world.clock.store(T0 - 2 * 86_400, SeqCst);
    assert!(!ledger.pack(AGE_S).await.expect("packed"));
    world.clock.store(T0 + AGE_S + 1, SeqCst);
    assert!(ledger.pack(AGE_S).await.expect("packed"));
}

#[tokio::test]
async fn packing_goes_on_after_a_failed_commit_and_after_a_full_disk() {
    let world = World::new();
    drop(filled(&world).await);
    let (mut store, reads) = sqlite::open(&world.path()).expect("a store");
    let next = reads
        .packable(Timestamp::from_unix(i64::MAX))
        .expect("read")
        .expect("a tile");
    // The file may not grow, and it has no free page.
    store.limit_pages(1);
    store.begin(0, &Questions::default()).expect("begun");
    let full = store.pack(&next);
    assert!(matches!(full, Err(StoreFault::Full { .. })), "{full:?}");
    store.rollback();
    drop((store, reads));
    assert_eq!(packed(&world), (0, 0));
    let (ledger, commits) = world.open_failing();
    later(&world, &ledger, AGE_S + 1).await;
    let before = everything(&ledger);
    commits
        .next
        .lock()
        .expect("lock")
        .push_back(Some(StoreFault::Full { during: "test" }));
    assert_eq!(
        ledger.pack(AGE_S).await,
        Err(StoreFault::Full { during: "test" })
    );
    assert_eq!(packed(&world), (0, 0));
    assert!(everything(&ledger) == before);
    assert_eq!(pack_all(&ledger).await, 2);
    assert!(everything(&ledger) == before && world.fatal.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_packed_tile_is_a_batch_of_its_own() {
    let world = World::new();
    drop(filled(&world).await);
    let (ledger, commits) = world.open_failing();
    later(&world, &ledger, AGE_S + 1).await;
    let first = commits
        .hold(&ledger, |ledger| async move {
            ledger.refuse(b"first".to_vec(), t(1)).await
        })
        .await;
    // The next two requests wait together. The batch of the run succeeds, and then the batch of the tile fails.
    *commits.next.lock().expect("lock") =
        [None, None, Some(StoreFault::Full { during: "test" })].into();
    let packing = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.pack(AGE_S).await }
    });
    let running = ledger.consume(consume_of(&ledger, core(6)));
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        commits.held.store(false, SeqCst);
    };
    let (run, ()) = tokio::join!(running, release);
    run.expect("the run starts");
    assert_eq!(
        packing.await.expect("a task"),
        Err(StoreFault::Full { during: "test" })
    );
    first.await.expect("a task").expect("refused");
    assert_eq!(packed(&world), (0, 0));
}

#[tokio::test]
async fn a_damaged_packed_tile_is_named_and_not_served() {
    let world = World::new();
    let ledger = filled(&world).await;
    later(&world, &ledger, AGE_S + 1).await;
    pack_all(&ledger).await;
    ledger.close().await.expect("closed");
    let sound = std::fs::read(world.path()).expect("a file");
    let part = |from: &str| format!("UPDATE packed SET data = CAST({from} AS BLOB) WHERE tile = 0");
    let cases = [
        // A flipped bit in the last group.
        (
            part("substr(data, 1, length(data) - 100) || x'ff' || substr(data, length(data) - 98)"),
            "entry ",
            192,
        ),
        // The list of ends names another group, or no group.
        (
            part("substr(data, 1, 32) || substr(data, 37, 4) || substr(data, 37)"),
            "entry 0: its bytes",
            0,
        ),
        (
            part("substr(data, 1, 32) || x'ffffffff' || substr(data, 37)"),
            "entry 0: its bytes cannot be decompressed",
            0,
        ),
        // The row of another tile.
        (
            part("(SELECT data FROM packed WHERE tile = 1)"),
            "entry 0: its bytes do not have the hash of the entry",
            0,
        ),
        (part("x''"), "entry 0: its bytes cannot be decompressed", 0),
        (
            "DELETE FROM packed WHERE tile = 0".to_owned(),
            "entry 0: the row of the tile is missing",
            0,
        ),
    ];
    // The entries are the same, but the row has another digest.
    world.tamper(&part(&format!(
        "x'{}' || substr(data, 33)",
        "00".repeat(32)
    )));
    assert_eq!(
        defects(&world),
        ["packed tile 0: its bytes do not match its digest"]
    );
    for (statement, words, first) in cases {
        std::fs::write(world.path(), &sound).expect("a file");
        world.tamper(&statement);
        let found = defects(&world);
        let [named] = &found[..] else {
            panic!("{statement}: {found:?}")
        };
        assert!(
            named.starts_with("packed tile 0, log ") && named.contains(words),
            "{statement}: {named}"
        );
        let index = named
            .split([' ', ':'])
            .filter_map(|word| word.parse().ok())
            .next_back()
            .expect("an index");
        let (reads, _) = sqlite::reads::at_rest(&world.path()).expect("a store");
        let refused = reads.leaf(index).expect_err("a damaged entry").to_string();
        assert!(index >= first && refused.contains(named), "{refused}");
        assert!(
            reads
                .leaves(0..256)
                .expect_err("a damaged tile")
                .to_string()
                .contains(named)
        );
        assert_eq!(reads.leaves(256..512).expect("the other tile").len(), 256);
    }
}

#[tokio::test]
async fn a_damaged_entry_is_not_packed() {
    let world = World::new();
    let ledger = filled(&world).await;
    later(&world, &ledger, AGE_S + 1).await;
    world.tamper("UPDATE leaf SET data = CAST(data || ' ' AS BLOB) WHERE idx = 300");
    assert!(ledger.pack(AGE_S).await.expect("the first tile"));
    let refused = ledger
        .pack(AGE_S)
        .await
        .expect_err("a damaged entry")
        .to_string();
    assert!(
        refused.contains("the log entries 256 to 511 do not have their hashes"),
        "{refused}"
    );
    assert_eq!(packed(&world), (256, 1));
    assert!(
        world.fatal.lock().expect("lock").is_empty(),
        "the service goes on"
    );
}
