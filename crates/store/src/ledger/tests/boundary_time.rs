//! The boundary's own time: windows, leaps of the clock, the low-water mark and the pruning of nonces.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    AuthorizationCore, Consume, ConsumeStop, DenialWrite, SealWrite, WriteStop,
    ledger::tests::{
        T0, World, check_laws, consume_of, core, core_until, new_proposal, run_whole, seal,
        seal_write, t,
    },
};

#[tokio::test]
async fn the_ledger_checks_windows_and_its_time_never_decreases() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        world.clock.store(T0 + 100, SeqCst);
        let first = ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        assert_eq!(first.at, t(100));
        world.clock.store(T0 - 5000, SeqCst);
        let second = ledger
            .consume(consume_of(&ledger, core(2)))
            .await
            .expect("consumed");
        assert_eq!(second.at, t(100), "the time of the log never decreases");
        let short = core_until(3, t(100));
        let stop = ConsumeStop::Expired {
            at: t(100),
            expires_at: t(100),
        };
        assert_eq!(
            ledger.consume(consume_of(&ledger, short)).await,
            Err(stop),
            "an expired authorization stays expired if the clock is set back"
        );
        assert_eq!(ledger.now(), t(100));
        let stale = SealWrite {
            at: t(99),
            ..seal_write(&ledger, 2)
        };
        assert_eq!(
            ledger.seal(stale).await,
            Err(WriteStop::BackDated { last: t(100) })
        );
        assert_eq!(
            ledger.refuse(b"no".to_vec(), t(99)).await,
            Err(WriteStop::BackDated { last: t(100) })
        );
        ledger.close().await.expect("closed");
        let ledger = world.open();
        let third = ledger
            .consume(consume_of(&ledger, core(4)))
            .await
            .expect("consumed");
        assert_eq!(third.at, t(100), "also after a restart");
        let lying = Consume {
            core: core_until(5, t(1)),
            ..consume_of(&ledger, core(5))
        };
        assert_eq!(
            ledger.consume(lying).await,
            Err(ConsumeStop::BadWindow),
            "the stored expiry and the checked expiry are equal"
        );
        check_laws(&ledger);
    }
}

#[tokio::test]
async fn the_low_water_mark_rises_with_boot_time_and_expired_nonces_stay_expired() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let soon = core_until(1, t(60));
        ledger
            .consume(consume_of(&ledger, soon.clone()))
            .await
            .expect("consumed");
        ledger
            .consume(consume_of(&ledger, core(2)))
            .await
            .expect("consumed");
        // If the clock jumps a year ahead, no nonce is pruned.
        world.clock.store(T0 + 31_536_000, SeqCst);
        world.boot.store(10, SeqCst);
        let pruned = ledger.prune(1000).await.expect("pruned");
        assert_eq!((pruned.mark, pruned.deleted), (t(10), 0));
        assert_eq!(pruned.ahead_s, 31_536_000 - 10);
        // After the clock is corrected, the low-water mark follows the clock.
        world.clock.store(T0 + 5, SeqCst);
        assert_eq!(
            ledger.prune(1000).await.expect("pruned").mark,
            t(10),
            "never falls"
        );
        world.clock.store(T0 + 60, SeqCst);
        world.boot.store(66, SeqCst);
        let pruned = ledger.prune(1000).await.expect("pruned");
        assert_eq!(
            (pruned.mark, pruned.deleted),
            (t(60), 1),
            "never above the clock"
        );
        assert_eq!(ledger.reads().spent(&soon.nonce).expect("read"), None);
        // The nonce is deleted, but the low-water mark shows that the authorization is expired.
        world.clock.store(T0, SeqCst);
        ledger.close().await.expect("closed");
        let ledger = world.open();
        let again = AuthorizationCore {
            id: core(3).id,
            ..soon
        };
        let stop = ledger.consume(consume_of(&ledger, again)).await;
        assert!(matches!(stop, Err(ConsumeStop::Expired { .. })), "{stop:?}");
        assert!(
            ledger
                .reads()
                .spent(&core(2).nonce)
                .expect("read")
                .is_some()
        );
    }
}

#[tokio::test]
async fn one_pruning_call_deletes_at_most_the_given_number_of_nonces() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        for number in 0..10 {
            ledger
                .consume(consume_of(&ledger, core(number)))
                .await
                .expect("consumed");
        }
        world.clock.store(T0 + 4000, SeqCst);
        world.boot.store(4000, SeqCst);
        let mut deleted = Vec::new();
        loop {
            let pruned = ledger.prune(4).await.expect("pruned");
            deleted.push(pruned.deleted);
            if pruned.deleted < 4 {
                break;
            }
        }
        assert_eq!(deleted, [4, 4, 2]);
    }
}

#[tokio::test]
async fn a_spent_nonce_whose_end_was_changed_by_hand_stays_spent() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        run_whole(&ledger, 1).await;
        world.tamper("UPDATE nonce SET nonce = substr(nonce, 1, 3); DELETE FROM proposal");
        assert_eq!(ledger.prune(100).await.expect("pruned").deleted, 1);
        assert_eq!(
            ledger.consume(consume_of(&ledger, core(1))).await,
            Err(ConsumeStop::RowLost)
        );
        ledger.close().await.expect("closed");
        drop(ledger);
        assert!(
            world
                .refused()
                .contains("is spent and has not expired, but it has no row")
        );
    }
}

#[tokio::test]
async fn r7_after_a_large_jump_of_the_clock_no_run_starts_and_no_entry_gets_its_date_and_no_proposal_expires()
 {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.propose(new_proposal(1)).await.expect("proposed");
        let before = ledger.state();
        // The clock leaps ahead by a year while only two minutes pass.
        world.clock.store(T0 + 31_536_000, SeqCst);
        world.boot.fetch_add(120, SeqCst);
        assert_eq!(
            ledger.now(),
            t(120),
            "the time continues with the time since boot"
        );
        assert!(matches!(
            ledger.consume(consume_of(&ledger, core(1))).await,
            Err(ConsumeStop::ClockAhead { .. })
        ));
        let leapt = t(31_536_000);
        let ahead = SealWrite {
            at: leapt,
            ..seal_write(&ledger, 2)
        };
        assert!(matches!(
            ledger.seal(ahead).await,
            Err(WriteStop::ClockAhead { .. })
        ));
        assert!(matches!(
            ledger.refuse(b"no".to_vec(), leapt).await,
            Err(WriteStop::ClockAhead { .. })
        ));
        assert_eq!(ledger.expire(ledger.now()).await.expect("asked"), []);
        assert!(
            ledger
                .clock_ahead()
                .is_some_and(|why| why.contains("31535880 s ahead"))
        );
        let denial = DenialWrite {
            authorization: core(2).digest,
            checked: ledger.checked_state(),
            approver: "bob".parse().expect("name"),
            envelope: b"no".to_vec(),
            at: ledger.now(),
            ahead: false,
        };
        ledger
            .deny(denial)
            .await
            .expect("the time of a denial does not change the time of the log");
        assert_eq!(ledger.state().last_at, before.last_at);
        // A token can still be revoked, which needs a seal.
        seal(&ledger, 2)
            .await
            .expect("a seal with the date of the boundary");
        assert_eq!(ledger.state().last_at, t(120));
        // After the clock is corrected, requests succeed again.
        world.clock.store(T0 + 120, SeqCst);
        assert_eq!(ledger.clock_trouble(), None);
        ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("it runs");
        // When the ledger is opened, it accepts any value of the clock, even a year after the last entry.
        ledger.close().await.expect("closed");
        world.clock.store(T0 + 31_536_000, SeqCst);
        let ledger = world.open();
        seal(&ledger, 3).await.expect("a seal");
        world.clock.store(T0 + 200, SeqCst);
        assert!(
            ledger
                .clock_trouble()
                .is_some_and(|why| why.contains("31535800 s behind the boundary's own time"))
        );
    }
}

#[tokio::test]
async fn r7_while_the_clock_is_behind_the_time_advances_with_boot_time() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        world.clock.store(T0 - 40 * 86_400, SeqCst);
        world.boot.store(80, SeqCst);
        assert_eq!(
            ledger.now(),
            t(70),
            "the time advances by seven eighths of the time since boot"
        );
        // A consumption does not change the boundary's time.
        let first = ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        assert_eq!(first.at, t(70));
        let short = core_until(2, t(75));
        world.boot.store(88, SeqCst);
        let stop = ConsumeStop::Expired {
            at: t(77),
            expires_at: t(75),
        };
        assert_eq!(
            ledger.consume(consume_of(&ledger, short.clone())).await,
            Err(stop),
            "its window ends"
        );
        // An expired authorization stays expired after a restart.
        assert_eq!(ledger.prune(10).await.expect("pruned").mark, t(77));
        ledger.close().await.expect("closed");
        let ledger = world.open();
        assert_eq!(ledger.now(), t(77));
        assert!(matches!(
            ledger.consume(consume_of(&ledger, short)).await,
            Err(ConsumeStop::Expired { .. })
        ));
        assert!(
            ledger
                .clock_trouble()
                .is_some_and(|why| why.contains("set the system clock right"))
        );
        // The corrected clock is ahead of the log again. Such a difference is not a leap.
        world.clock.store(T0 + 88, SeqCst);
        assert_eq!((ledger.now(), ledger.clock_trouble()), (t(88), None));
        check_laws(&ledger);
    }
}

#[tokio::test]
async fn an_implausible_low_water_mark_does_not_change_the_current_time() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.close().await.expect("closed");
        drop(ledger);
        world.tamper(&format!("UPDATE state SET mark = {}", T0 + 400 * 86_400));
        let ledger = world.open();
        assert_eq!(ledger.now(), t(0));
        assert!(
            ledger
                .clock_trouble()
                .is_some_and(|why| why.contains("changed by hand"))
        );
    }
}
