//! Lost connections, frozen writers, and two writers of one schema.

use std::time::{Duration, Instant};

use crate::{
    Commit, LeafRow, Questions, ServerSettings, Store as _, StoreFault, StoreHead, Writes,
    postgres::{
        self, PostgresStore,
        tests::{server, tamper},
    },
};
use documents::{LeafKind, Timestamp, merkle};

pub fn open(settings: &ServerSettings) -> PostgresStore {
    postgres::open(settings.clone(), None).expect("opened").0
}

fn leaf(byte: u8) -> LeafRow {
    let data = vec![byte; 40];
    LeafRow {
        kind: LeafKind::Refusal,
        at: Timestamp::from_unix(1),
        hash: merkle::leaf_hash(&data),
        data: data.into(),
    }
}

pub fn leaves(first: u64, byte: u8) -> Writes<'static> {
    Writes {
        first,
        leaves: vec![leaf(byte)],
        ..Writes::default()
    }
}

pub fn begin(store: &mut PostgresStore, size: u64) -> Option<StoreHead> {
    store
        .begin(size, &Questions::default())
        .expect("begun")
        .others
        .map(|others| others.head)
}

#[test]
fn no_leaf_is_written_twice() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let (mut one, mut two) = (open(&settings), open(&settings));
    begin(&mut one, 0);
    assert!(matches!(one.commit(&leaves(0, 1)), Commit::Done(hashes) if hashes == [leaf(1).hash]));
    begin(&mut two, 0);
    // Nothing of the batch is stored, and a receipt waits for its next attempt.
    let twice = Writes {
        first: 0,
        leaves: vec![leaf(9), leaf(8)],
        ..Writes::default()
    };
    assert!(matches!(two.commit(&twice), Commit::NotDone(fault) if fault.can_pass()));
    assert_eq!(two.head().expect("head").size, 1);
}

#[test]
fn a_log_that_became_shorter_ends_the_process() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let mut store = open(&settings);
    begin(&mut store, 0);
    assert!(matches!(store.commit(&leaves(0, 1)), Commit::Done(_)));
    tamper(&settings, "DELETE FROM leaf");
    let fault = store.begin(1, &Questions::default()).expect_err("refused");
    assert!(
        fault.is_fatal() && fault.to_string().contains("has 0 log entries"),
        "{fault}"
    );
}

#[test]
fn a_lost_idle_connection_is_opened_again() {
    let Some(server) = server() else { return };
    let settings = server.settings_of("service", &server.new_schema().schema, "lost");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'countersign:lost' \
               AND pid <> pg_backend_pid()";
    let (mut store, reads) = postgres::open(settings.clone(), None).expect("opened");
    reads.seals().expect("read");
    tamper(&settings, end);
    begin(&mut store, 0);
    assert!(matches!(store.commit(&leaves(0, 1)), Commit::Done(_)));
    reads.seals().expect("read with a new connection");
    // A connection that is lost between the two flights stores nothing.
    begin(&mut store, 1);
    tamper(&settings, end);
    std::thread::sleep(Duration::from_millis(100));
    let result = store.commit(&leaves(1, 2));
    let stored = match result {
        Commit::NotDone(StoreFault::Unreachable { .. }) => false,
        Commit::Unknown => store.settle().expect("settled"),
        other => panic!("{other:?}"),
    };
    assert!(!stored);
    assert_eq!(begin(&mut store, 1), None);
    assert!(matches!(store.commit(&leaves(1, 3)), Commit::Done(_)));
}

/// A node was frozen within a batch, so the server ended its connection, and another node wrote an entry.
#[test]
fn a_batch_whose_connection_is_lost_is_not_written_by_another_connection() {
    let Some(server) = server() else { return };
    let schema = server.new_schema().schema;
    let (settings, other) = (
        server.settings_of("service", &schema, "woken"),
        server.settings_of("service", &schema, "other"),
    );
    let (mut woken, mut other) = (open(&settings), open(&other));
    begin(&mut woken, 0);
    assert!(matches!(woken.commit(&leaves(0, 1)), Commit::Done(_)));
    for first in [false, true] {
        let size = other.head().expect("head").size;
        begin(&mut woken, 1);
        tamper(
            &settings,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'countersign:woken'",
        );
        let until = Instant::now() + Duration::from_secs(10);
        while woken.link().is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if first {
            begin(&mut other, 1);
            assert!(matches!(other.commit(&leaves(size, 2)), Commit::Done(_)));
        }
        // The writer compares the entry of a run before it writes the receipt.
        assert!(woken.leaf_hashes(0..1).is_err_and(|fault| fault.can_pass()));
        let written = woken.commit(&leaves(size, 3));
        assert!(
            matches!(&written, Commit::NotDone(fault) if fault.can_pass()),
            "{written:?}"
        );
        assert_eq!(
            woken.leaf_hashes(0..1).expect("read outside of the batch"),
            [leaf(1).hash]
        );
        assert_eq!(
            other.head().expect("head").size,
            size + u64::from(first),
            "nothing of the batch is stored"
        );
    }
    assert_eq!(begin(&mut woken, 1).map(|head| head.size), Some(2));
    assert!(
        matches!(woken.commit(&leaves(2, 3)), Commit::Done(_)),
        "the next attempt follows the other writer"
    );
}

#[test]
fn an_unknown_commit_is_settled_by_its_own_batch_and_a_commit_of_its_own() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    for committed in [true, false] {
        let mut store = open(&settings);
        let size = store.head().expect("head").size;
        begin(&mut store, size);
        if committed {
            assert!(matches!(store.commit(&leaves(size, 1)), Commit::Done(_)));
        } else {
            store.rollback();
        }
        // The answer to the commit is lost.
        let id = if committed {
            store.seen.id.clone().expect("a batch")
        } else {
            vec![7; 16]
        };
        let session = store.writer.as_ref().expect("writer").session.clone();
        store.seen = store.last.clone();
        store.unknown = Some(postgres::UnknownBatch {
            id,
            term: 0,
            session,
        });
        assert!(matches!(
            store.begin(size, &Questions::default()),
            Err(StoreFault::Unreachable { .. })
        ));
        let before = batches(&mut store);
        assert_eq!(store.settle().expect("settled"), committed);
        assert_eq!(
            batches(&mut store),
            before + 1,
            "settle commits a batch of its own"
        );
        assert_eq!(begin(&mut store, size + u64::from(committed)), None);
        store.rollback();
    }
}

fn batches(store: &mut PostgresStore) -> i64 {
    let link = &store.writer().expect("writer").link;
    link.value::<Option<i64>>("counting", "SELECT max(n) FROM batch", values![])
        .expect("a number")
        .unwrap_or(0)
}

#[test]
fn another_batch_between_a_lost_commit_and_its_settling_is_reported() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let (mut one, mut two) = (open(&settings), open(&settings));
    begin(&mut one, 0);
    let session = one.writer.as_ref().expect("writer").session.clone();
    one.unknown = Some(postgres::UnknownBatch {
        id: vec![7; 16],
        term: 0,
        session,
    });
    one.in_batch = false;
    // The first writer still holds the lock. `settle` ends its old connection.
    let waiting = std::thread::spawn(move || {
        begin(&mut two, 0);
        assert!(matches!(two.commit(&leaves(0, 5)), Commit::Done(_)));
    });
    std::thread::sleep(Duration::from_millis(200));
    // The connection stays open on this side, as after a cut of the network.
    std::mem::forget(one.writer.take());
    assert!(!one.settle().expect("settled"));
    waiting.join().expect("joined");
    assert_eq!(begin(&mut one, 0).map(|head| head.size), Some(1));
    one.rollback();
}

#[test]
fn a_frozen_writer_holds_others_up_for_some_seconds_only() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let (mut frozen, mut other) = (open(&settings), open(&settings));
    begin(&mut frozen, 0);
    // A statement each second keeps `idle_in_transaction_session_timeout` from ending this connection.
    let link = frozen.writer.take().expect("writer");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let talking = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_secs(1)).is_err() {
            drop(link.link.query("talking", "SELECT 1", values![]));
        }
    });
    let begun = Instant::now();
    begin(&mut other, 0);
    // A busy machine adds time to the 5 s of the lock.
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert!(matches!(other.commit(&leaves(0, 1)), Commit::Done(_)));
    stop.send(()).expect("sent");
    talking.join().expect("joined");
}

#[test]
fn after_a_takeover_a_batch_with_a_receipt_deletes_and_expires_nothing() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let mut store = open(&settings);
    tamper(&settings, "UPDATE state SET term = term + 1");
    let id = "prp_01890a5d-ac96-774b-bcce-b302099a8057"
        .parse()
        .expect("an id");
    let questions = Questions {
        proposals: vec![&id],
        ..Questions::default()
    };
    store
        .begin(0, &questions)
        .expect("the batch can have a receipt");
    // Every rare change needs this connection.
    assert!(store.batch().is_err_and(|fault| fault.is_unreachable()));
    assert!(
        matches!(store.commit(&leaves(0, 1)), Commit::NotDone(fault) if fault.is_unreachable()),
        "no receipt"
    );
}
