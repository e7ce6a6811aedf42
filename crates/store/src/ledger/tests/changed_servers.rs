//! Database servers that restarted, lost batches, or have another clock. The test store imitates such servers.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{
    ConsumeStop, Finish, FinishStop, StoreFault,
    ledger::tests::{World, consume_of, core, finish_of, seal, t},
};
use documents::LeafHash;

#[tokio::test]
async fn a_batch_is_decided_again_before_its_runs_start_if_the_server_changed_meanwhile() {
    for lost in [false, true] {
        let world = World::new();
        let (ledger, commits) = world.open_failing_with(|commits| {
            let commits = commits.clone();
            Some(Arc::new(move |_: &_| {
                // The server changes while the checkpoint of the first run is stored.
                commits.server_changes.fetch_max(1, SeqCst);
                Ok(())
            }))
        });
        seal(&ledger, 1).await.expect("seal");
        assert_eq!(commits.doubted.load(SeqCst), 0);
        commits.lost.store(lost, SeqCst);
        let consumed = ledger.consume(consume_of(&ledger, core(1))).await;
        assert_eq!((commits.doubted.load(SeqCst), consumed.is_err()), (1, lost));
        assert_eq!(
            world.fatal.lock().expect("lock").len(),
            usize::from(lost),
            "a lost batch ends the process"
        );
        if !lost {
            ledger
                .consume(consume_of(&ledger, core(2)))
                .await
                .expect("consumed");
            assert_eq!(
                commits.doubted.load(SeqCst),
                1,
                "nothing changed since the first run"
            );
        }
    }
}

#[tokio::test]
async fn after_a_change_of_the_server_a_receipt_closes_only_the_run_of_its_own_consumption() {
    let (ledger, commits) = World::new().open_failing();
    seal(&ledger, 1).await.expect("seal");
    ledger
        .consume(consume_of(&ledger, core(1)))
        .await
        .expect("consumed");
    let other = Finish {
        leaf: LeafHash::from_bytes([7; 32]),
        ..finish_of(&ledger, &core(1).id)
    };
    commits.server_changes.store(1, SeqCst);
    assert_eq!(ledger.finish(other).await, Err(FinishStop::OtherRun));
    ledger
        .finish(finish_of(&ledger, &core(1).id))
        .await
        .expect("finished");
}

#[tokio::test]
async fn nothing_is_consumed_while_the_clock_differs_from_the_clock_of_the_server_by_more_than_five_seconds()
 {
    let (ledger, commits) = World::new().open_failing();
    seal(&ledger, 1).await.expect("seal");
    let now = ledger.now();
    for (number, seconds) in [(1, 5), (2, -5), (3, 6), (4, -6)] {
        *commits.server_clock.lock().expect("lock") = Some(now.plus(-seconds));
        let consumed = ledger.consume(consume_of(&ledger, core(number))).await;
        if seconds.abs() == 5 {
            consumed.expect("consumed");
            assert_eq!(ledger.clock_trouble(), None);
        } else {
            assert_eq!(consumed, Err(ConsumeStop::ClocksDiffer { seconds }));
            let why = ledger.clock_trouble().expect("trouble");
            assert!(why.contains("differ by 6 s"), "{why}");
            assert_eq!(ledger.reads().spent(&core(number).nonce), Ok(None));
        }
    }
    assert!(ledger.state().last_at >= t(0));
}

#[tokio::test]
async fn what_another_writer_committed_is_shown_only_after_a_commit_of_this_writer() {
    for world in World::on_each_engine()
        .into_iter()
        .filter(|world| world.server.is_some())
    {
        let one = world.sealed().await;
        let (two, commits) = world.open_failing();
        one.consume(consume_of(&one, core(1)))
            .await
            .expect("consumed");
        // A read that fails on the way changes nothing.
        world.tamper("REVOKE SELECT ON leaf FROM service; GRANT SELECT (idx, kind, at, hash) ON leaf TO service");
        let unread = two.consume(consume_of(&two, core(1))).await;
        assert!(
            matches!(&unread, Err(ConsumeStop::Fault(fault)) if !fault.is_fatal()),
            "{unread:?}"
        );
        world.tamper("GRANT SELECT ON leaf TO service");
        // A restarted server shows this entry, although its replicas may not have it.
        let fault = StoreFault::Unreachable {
            message: "the replicas do not answer".to_owned(),
        };
        commits.next.lock().expect("lock").push_back(Some(fault));
        let replayed = two.consume(consume_of(&two, core(1))).await;
        assert!(
            matches!(replayed, Err(ConsumeStop::Fault(_))),
            "the answer waits for a commit: {replayed:?}"
        );
        assert_eq!((two.state().size, two.open_proposals().running), (1, 0));
        let replayed = two.consume(consume_of(&two, core(1))).await;
        assert!(
            matches!(replayed, Err(ConsumeStop::Replayed(_))),
            "{replayed:?}"
        );
        assert_eq!((two.state().size, two.open_proposals().running), (3, 1));
        let (old, new) = (two.state().size, one.state().size);
        assert_eq!(
            two.root_at(old).expect("root"),
            one.root_at(new).expect("root")
        );
    }
}

#[tokio::test]
async fn an_idle_log_records_its_newest_checkpoint() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let signed = ledger.checkpoint().expect("signed");
        assert_eq!(ledger.reads().checkpoint(), Ok(None));
        ledger.ping().await.expect("recorded");
        assert_eq!(ledger.reads().checkpoint(), Ok(signed));
    }
}
