//! Standing grants: drafts, grants of the log, and the claims of their uses.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{
    CheckedState, Consume, ConsumeStop, Finish, GrantClaim, GrantWrite, Ledger, Spender,
    SpentNonce, SpentUse, StoredGrant, WriteStop,
    ledger::tests::{T0, World, consume_of, core, envelope_of, finish_of, t},
};
use documents::{ContentDigest, GrantId};

fn draft(number: u8) -> StoredGrant {
    let payload = [number; 30];
    StoredGrant {
        id: GrantId::new(1_800_000_000_000 + u64::from(number), [number; 10]),
        digest: ContentDigest::of(&payload),
        envelope: Arc::from(envelope_of(&payload)),
        proposer: "robot".parse().expect("name"),
        created_at: t(0),
        expires_at: t(3600),
        leaf: None,
    }
}

async fn put(
    ledger: &Ledger,
    number: u8,
    checked: Option<CheckedState>,
) -> Result<StoredGrant, WriteStop> {
    ledger
        .put_grant(GrantWrite {
            grant: draft(number),
            checked,
            at: ledger.now(),
        })
        .await
}

pub async fn active(ledger: &Ledger, number: u8) -> StoredGrant {
    put(ledger, number, Some(ledger.checked_state()))
        .await
        .expect("logged")
}

/// Starts the run `number` as a use of a grant.
pub async fn spend(
    ledger: &Spender,
    number: u8,
    grant: u8,
    max_uses: u64,
    rate: Option<(u64, u64)>,
) -> Result<SpentNonce, ConsumeStop> {
    ledger
        .consume(use_of(ledger, number, grant, max_uses, rate))
        .await
}

pub fn use_of(
    ledger: &Ledger,
    number: u8,
    grant: u8,
    max_uses: u64,
    rate: Option<(u64, u64)>,
) -> Consume {
    let claim = GrantClaim {
        grant: draft(grant).digest,
        max_uses,
        rate,
    };
    Consume {
        claim: Some(claim),
        ..consume_of(ledger, core(number))
    }
}

fn numbers(ledger: &Ledger, grant: u8) -> Vec<u64> {
    let uses = ledger
        .reads()
        .grant_uses(&draft(grant).digest, 10)
        .expect("read");
    uses.iter().map(|one: &SpentUse| one.number).collect()
}

#[tokio::test]
async fn a_draft_becomes_a_grant_of_the_log_only_in_the_state_that_was_checked() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        assert_eq!(put(&ledger, 1, None).await, Ok(draft(1)));
        assert_eq!(ledger.reads().grants(t(0), 10), Ok(vec![draft(1)]));
        let moved = CheckedState {
            revocations: 1,
            ..ledger.checked_state()
        };
        assert_eq!(put(&ledger, 1, Some(moved)).await, Err(WriteStop::Moved));
        let other = StoredGrant {
            digest: ContentDigest::of(b"other"),
            ..draft(1)
        };
        let taken = ledger
            .put_grant(GrantWrite {
                grant: other,
                checked: None,
                at: ledger.now(),
            })
            .await;
        assert_eq!(taken, Err(WriteStop::GrantTaken));
        let version = ledger.state().version;
        let logged = active(&ledger, 1).await;
        assert_eq!(
            (logged.leaf, ledger.state().version),
            (Some(1), version + 1)
        );
        assert_eq!(
            (active(&ledger, 1).await, ledger.state().size),
            (logged.clone(), 2),
            "logged once"
        );
        ledger.close().await.expect("closed");
        drop(ledger);
        assert_eq!(
            world.open().reads().grant_of(&logged.digest),
            Ok(Some(logged)),
            "after a start"
        );
    }
}

#[tokio::test]
async fn one_proposer_cannot_take_the_places_of_all_drafts() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        for number in 1..=20 {
            put(&ledger, number, None).await.expect("a draft");
        }
        assert_eq!(
            put(&ledger, 21, None).await,
            Err(WriteStop::TooManyDrafts { most: 20 })
        );
        let other = StoredGrant {
            proposer: "other".parse().expect("name"),
            ..draft(22)
        };
        let stored = ledger
            .put_grant(GrantWrite {
                grant: other.clone(),
                checked: None,
                at: ledger.now(),
            })
            .await;
        assert_eq!(stored, Ok(other));
        // A draft that becomes a grant leaves its place.
        let _ = active(&ledger, 1).await;
        assert!(put(&ledger, 21, None).await.is_ok());
    }
}

#[tokio::test]
async fn uses_of_a_grant_are_numbered_and_limited_also_within_one_commit() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let _ = active(&ledger, 1).await;
        let rate = Some((2, 60));
        let (one, two, three) = tokio::join!(
            spend(&ledger, 1, 1, 3, rate),
            spend(&ledger, 2, 1, 3, rate),
            spend(&ledger, 3, 1, 3, rate)
        );
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(
            three.err(),
            Some(ConsumeStop::GrantRate {
                most: 2,
                seconds: 60,
                wait_s: 60
            })
        );
        assert_eq!(numbers(&ledger, 1), [2, 1]);
        world.clock.store(T0 + 60, SeqCst);
        world.boot.store(60, SeqCst);
        assert!(spend(&ledger, 3, 1, 3, rate).await.is_ok());
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        assert_eq!(
            spend(&ledger, 4, 1, 3, None).await.err(),
            Some(ConsumeStop::GrantExhausted { most: 3 })
        );
        assert_eq!(numbers(&ledger, 1), [3, 2, 1]);
    }
}

#[tokio::test]
async fn the_rate_counts_stored_uses_and_those_of_the_same_commit() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let _ = active(&ledger, 1).await;
        let rate = Some((3, 60));
        let reach = |seconds: u8| {
            world.clock.store(T0 + i64::from(seconds), SeqCst);
            world.boot.store(seconds.into(), SeqCst);
        };
        for (number, seconds) in [(1, 0), (2, 10)] {
            reach(seconds);
            assert!(spend(&ledger, number, 1, 100_000, rate).await.is_ok());
        }
        // At each time, one use of three has place: the oldest of the three uses before the second is too new.
        for (numbers, seconds, wait_s) in [
            ([3, 4, 5], 20, 40),
            ([4, 5, 6], 60, 10),
            ([5, 6, 7], 70, 10),
        ] {
            reach(seconds);
            let ends = tokio::join!(
                spend(&ledger, numbers[0], 1, 100_000, rate),
                spend(&ledger, numbers[1], 1, 100_000, rate),
                spend(&ledger, numbers[2], 1, 100_000, rate)
            );
            let stop = Some(ConsumeStop::GrantRate {
                most: 3,
                seconds: 60,
                wait_s,
            });
            assert!(ends.0.is_ok(), "{seconds}");
            assert_eq!((ends.1.err(), ends.2.err()), (stop.clone(), stop));
        }
        assert_eq!(numbers(&ledger, 1), [5, 4, 3, 2, 1]);
    }
}

#[tokio::test]
async fn a_run_with_an_unknown_end_pauses_its_grant_from_the_commit_of_its_receipt_on() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let (paused, other) = (active(&ledger, 1).await, active(&ledger, 2).await);
        for number in [1, 2] {
            spend(&ledger, number, number, 5, None)
                .await
                .expect("consumed");
        }
        let end = Finish {
            unknown: true,
            grant: Some(paused.digest),
            ..finish_of(&ledger, &core(1).id)
        };
        // The receipt and the next use may come in one commit.
        let (ended, next) = tokio::join!(ledger.finish(end), spend(&ledger, 3, 1, 5, None));
        assert!(ended.is_ok());
        assert_eq!(next.err(), Some(ConsumeStop::GrantPaused));
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        assert_eq!(
            spend(&ledger, 4, 1, 5, None).await.err(),
            Some(ConsumeStop::GrantPaused)
        );
        assert!(spend(&ledger, 5, 2, 5, None).await.is_ok());
        let is_paused = |grant: &StoredGrant| {
            ledger
                .reads()
                .grant_uses(&grant.digest, 1)
                .expect("read")
                .remove(0)
                .paused
        };
        assert_eq!((is_paused(&paused), is_paused(&other)), (true, false));
    }
}
