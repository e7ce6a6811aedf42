//! Failures of the database: commits, rejected writes, syncs and a full disk.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{
    Consume, ConsumeStop, DenialWrite, FinishStop, Ledger, ProposalStatus, StoreFault, WriteStop,
    ledger::tests::{World, check_laws, consume_of, core, finish_of, seal, status, t},
    sqlite,
};

#[tokio::test]
async fn a_failed_commit_stores_nothing_and_all_requests_of_its_batch_fail() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        // The commit of the first batch is delayed, so the next requests form a second batch.
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        *commits.next.lock().expect("lock") =
            [None, Some(StoreFault::Full { during: "test" })].into();
        let release = async {
            tokio::task::yield_now().await;
            commits.held.store(false, SeqCst);
        };
        let (one, two, three, ()) = tokio::join!(
            ledger.consume(Consume {
                exclusive: Some("x".into()),
                ..consume_of(&ledger, core(1))
            }),
            ledger.consume(consume_of(&ledger, core(2))),
            ledger.refuse(b"no".to_vec(), t(0)),
            release,
        );
        assert_eq!(first.await.expect("task").map(|leaf| leaf.index), Ok(1));
        assert_eq!(
            one.clone().err(),
            Some(ConsumeStop::Fault(StoreFault::Full { during: "test" }))
        );
        assert_eq!((two.err(), three.is_err()), (one.err(), true));
        assert_eq!(
            (ledger.state().size, ledger.reads().spent(&core(1).nonce)),
            (2, Ok(None))
        );
        assert_eq!(status(&ledger, 1), None);
        // The lock is free and the tree grows, so the state in memory matches the database.
        let consume = Consume {
            exclusive: Some("x".into()),
            ..consume_of(&ledger, core(1))
        };
        ledger
            .consume(consume)
            .await
            .expect("the request succeeds after the disk has space");
        check_laws(&ledger);
        assert!(world.fatal.lock().expect("lock").is_empty());
    }
}

#[tokio::test]
async fn a_write_that_the_database_rejects_does_not_undo_other_requests_of_its_batch() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        *commits.rejects.lock().expect("lock") = Some(|writes| {
            writes
                .starts
                .iter()
                .any(|run| run.request.core.id == core(2).id)
                || writes.ends.iter().any(|row| row.end.proposal == core(4).id)
                || writes
                    .denials
                    .iter()
                    .any(|row| row.denial.approver.as_str() == "bad")
        });
        for number in [4, 5] {
            ledger
                .consume(consume_of(&ledger, core(number)))
                .await
                .expect("consumed");
        }
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        let deny = |approver: &str| DenialWrite {
            authorization: core(9).digest,
            checked: ledger.checked_state(),
            approver: approver.parse().expect("name"),
            envelope: vec![9],
            at: t(0),
            ahead: false,
        };
        let release = async {
            tokio::task::yield_now().await;
            commits.held.store(false, SeqCst);
        };
        let locked = |number| Consume {
            exclusive: Some("x".into()),
            ..consume_of(&ledger, core(number))
        };
        let (one, two, three, four, five, bad, refused, ()) = tokio::join!(
            ledger.consume(consume_of(&ledger, core(1))),
            ledger.consume(locked(2)),
            ledger.consume(consume_of(&ledger, core(3))),
            ledger.finish(finish_of(&ledger, &core(4).id)),
            ledger.finish(finish_of(&ledger, &core(5).id)),
            ledger.deny(deny("bad")),
            ledger.refuse(b"kept".to_vec(), t(0)),
            release,
        );
        first.await.expect("task").expect("refused");
        assert!(
            matches!(two, Err(ConsumeStop::Fault(StoreFault::Database { .. }))),
            "{two:?}"
        );
        assert!(
            matches!(four, Err(FinishStop::Fault(StoreFault::Database { .. }))),
            "{four:?}"
        );
        assert!(
            matches!(bad, Err(WriteStop::Fault(StoreFault::Database { .. }))),
            "{bad:?}"
        );
        let (one, three) = (one.expect("consumed"), three.expect("consumed"));
        let mut places = [
            refused.expect("refused").index,
            five.expect("finished").index,
            one.authorization.index,
            one.index,
            three.authorization.index,
            three.index,
        ];
        places.sort_unstable();
        assert_eq!(places, [6, 7, 8, 9, 10, 11], "the leaves are without a gap");
        assert_eq!(
            (status(&ledger, 2), status(&ledger, 4)),
            (None, Some(ProposalStatus::Running))
        );
        // The second run's exclusive lock is free, and the tree matches the rows.
        ledger.consume(locked(6)).await.expect("consumed");
        check_laws(&ledger);
        assert!(world.fatal.lock().expect("lock").is_empty());
        ledger.close().await.expect("closed");
        check_laws(&world.open());
    }
}

#[tokio::test]
async fn after_a_failed_sync_the_writer_ends_without_another_attempt() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        let broken = StoreFault::Broken {
            during: "test",
            message: "fsync".to_owned(),
        };
        *commits.next.lock().expect("lock") = [Some(broken.clone())].into();
        let stop = ledger.consume(consume_of(&ledger, core(1))).await;
        assert_eq!(stop, Err(ConsumeStop::Fault(broken.clone())));
        assert_eq!(
            *world.fatal.lock().expect("lock"),
            [broken],
            "on_fatal is called before the answers"
        );
        let later = ledger.consume(consume_of(&ledger, core(2))).await;
        assert_eq!(later, Err(ConsumeStop::Fault(StoreFault::Closed)));
    }
}

#[tokio::test]
async fn a_full_disk_loses_no_answered_request() {
    let world = World::new();
    let (store, reads) = sqlite::open(&world.path()).expect("store");
    store.limit_pages(67);
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
