//! Emergencies, runs with an unknown end, and their reviews.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use serde_json::{Value, json};

use crate::{
    CheckedState, Consume, ConsumeStop, EntryEvent, EventFact, Finish, LeafRef, Ledger, OwedReview,
    Retention, ReviewWrite, Spender, SpentNonce, StoreFault, StoreScope, StoredGrant, StoredReview,
    WriteStop,
    ledger::tests::{
        World, consume_of, core, envelope_of, finish_of,
        grants::{active, spend, use_of},
        seal, t,
    },
    sqlite,
};
use documents::{
    BoundaryRef, ContentDigest, LeafKind, ObservedEnd, ReviewStatement, ReviewVerdict, Statement,
    Subject, canonical_of, hex, sha256,
};

fn emergency_of(ledger: &Ledger, number: u8, most: u64) -> Consume {
    Consume {
        emergency: Some(most),
        ..consume_of(ledger, core(number))
    }
}

async fn emergency(ledger: &Spender, number: u8, most: u64) -> Result<SpentNonce, ConsumeStop> {
    ledger.consume(emergency_of(ledger, number, most)).await
}

fn unreviewed(most: u64, open: &[u8]) -> Option<ConsumeStop> {
    Some(ConsumeStop::Unreviewed {
        most,
        open: open.iter().map(|number| core(*number).id).collect(),
    })
}

/// Ends a run with an unknown end, and returns the leaf of its receipt.
async fn lose(ledger: &Spender, number: u8, grant: Option<&StoredGrant>) -> u64 {
    let grant = grant.map(|grant| grant.digest);
    let end = Finish {
        unknown: true,
        grant,
        ..finish_of(ledger, &core(number).id)
    };
    ledger.finish(end).await.expect("finished").index
}

fn owed(ledger: &Ledger, number: u8) -> OwedReview {
    ledger
        .reads()
        .owed(&core(number).id)
        .expect("read")
        .expect("a row")
}

/// Returns a review that closes and settles nothing.
fn review_of(ledger: &Ledger, number: u8, receipt: u64) -> ReviewWrite {
    ReviewWrite {
        envelope: Arc::from(envelope_of(&[number; 20])),
        review: StoredReview {
            leaf: 0,
            receipt,
            reviewer: "dana".parse().expect("name"),
            verdict: ReviewVerdict::Accepted,
            observed: None,
            counts_for_review: true,
            counts_for_settle: false,
            proposal: core(number).id,
        },
        closes: false,
        settles: None,
        checked: ledger.checked_state(),
        version: ledger.state().version,
        at: ledger.now(),
    }
}

async fn close(ledger: &Ledger, number: u8, receipt: u64) -> Result<LeafRef, WriteStop> {
    ledger
        .review(ReviewWrite {
            closes: true,
            ..review_of(ledger, number, receipt)
        })
        .await
}

async fn settle(ledger: &Ledger, number: u8, receipt: u64) -> LeafRef {
    ledger
        .review(ReviewWrite {
            settles: Some(true),
            ..review_of(ledger, number, receipt)
        })
        .await
        .expect("logged")
}

#[tokio::test]
async fn the_number_of_emergencies_with_an_open_review_is_limited_also_within_one_commit() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        let release = async {
            tokio::task::yield_now().await;
            commits.held.store(false, SeqCst);
        };
        let (one, two, three, normal, ()) = tokio::join!(
            emergency(&ledger, 1, 2),
            emergency(&ledger, 2, 2),
            emergency(&ledger, 3, 2),
            ledger.consume(consume_of(&ledger, core(4))),
            release
        );
        first.await.expect("task").expect("refused");
        let places = [
            one.expect("consumed"),
            two.expect("consumed"),
            normal.expect("no emergency"),
        ];
        assert_eq!(places.map(|spent| spent.index), [5; 3], "one commit");
        assert_eq!(three.err(), unreviewed(2, &[1, 2]));
        // A run that ended is still open, and a restart finds the same runs.
        let receipt = ledger
            .finish(finish_of(&ledger, &core(1).id))
            .await
            .expect("finished")
            .index;
        ledger
            .finish(finish_of(&ledger, &core(4).id))
            .await
            .expect("finished");
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        assert_eq!(emergency(&ledger, 3, 2).await.err(), unreviewed(2, &[1, 2]));
        let row = owed(&ledger, 1);
        assert!(
            (row.receipt, row.is_open(), row.is_unsettled()) == (Some(receipt), true, false),
            "{row:?}"
        );
        assert_eq!(
            (owed(&ledger, 2).receipt, ledger.reads().owed(&core(4).id)),
            (None, Ok(None))
        );
        let leaf = close(&ledger, 1, receipt).await.expect("logged").index;
        assert_eq!(
            (owed(&ledger, 1).reviewed, owed(&ledger, 1).is_open()),
            (Some(leaf), false)
        );
        emergency(&ledger, 3, 2).await.expect("a review made room");
        assert_eq!(emergency(&ledger, 5, 2).await.err(), unreviewed(2, &[2, 3]));
        let open = |limit| {
            ledger
                .reads()
                .owed_open(limit)
                .expect("read")
                .into_iter()
                .map(|row| row.proposal)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (open(9), open(1)),
            (vec![core(3).id, core(2).id], vec![core(3).id])
        );
    }
}

#[tokio::test]
async fn a_failed_commit_neither_opens_nor_closes_an_emergency() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        let fail = || {
            *commits.next.lock().expect("lock") = [Some(StoreFault::Full { during: "test" })].into()
        };
        fail();
        assert!(emergency(&ledger, 1, 1).await.is_err());
        assert_eq!(ledger.reads().owed(&core(1).id), Ok(None));
        emergency(&ledger, 2, 1).await.expect("nothing is open");
        let receipt = ledger
            .finish(finish_of(&ledger, &core(2).id))
            .await
            .expect("finished")
            .index;
        fail();
        assert!(matches!(
            close(&ledger, 2, receipt).await,
            Err(WriteStop::Fault(_))
        ));
        assert_eq!(emergency(&ledger, 3, 1).await.err(), unreviewed(1, &[2]));
        close(&ledger, 2, receipt).await.expect("logged");
        emergency(&ledger, 3, 1).await.expect("consumed");
    }
}

#[tokio::test]
async fn two_writers_count_the_same_emergencies() {
    for world in World::on_each_engine()
        .into_iter()
        .filter(|world| world.server.is_some())
    {
        let (one, two) = (world.sealed().await, world.open());
        emergency(&one, 1, 1).await.expect("consumed");
        assert_eq!(emergency(&two, 2, 1).await.err(), unreviewed(1, &[1]));
        let receipt = one
            .finish(finish_of(&one, &core(1).id))
            .await
            .expect("finished")
            .index;
        close(&two, 1, receipt).await.expect("logged");
        // The first request of the other writer meets the new state version.
        assert_eq!(emergency(&one, 2, 1).await.err(), Some(ConsumeStop::Moved));
        emergency(&one, 2, 1).await.expect("consumed");
    }
}

#[tokio::test]
async fn a_grant_pauses_until_each_run_with_an_unknown_end_is_settled() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let grant = active(&ledger, 1).await;
        for number in [1, 2] {
            spend(&ledger, number, 1, 9, None).await.expect("consumed");
        }
        let (one, two) = (
            lose(&ledger, 1, Some(&grant)).await,
            lose(&ledger, 2, Some(&grant)).await,
        );
        assert!(owed(&ledger, 2).is_unsettled() && !owed(&ledger, 2).is_open());
        assert_eq!(
            (owed(&ledger, 2).receipt, owed(&ledger, 2).grant),
            (Some(two), Some(grant.digest))
        );
        let leaf = settle(&ledger, 1, one).await;
        assert_eq!(
            (owed(&ledger, 1).settled, owed(&ledger, 1).is_unsettled()),
            (Some(leaf.index), false)
        );
        assert_eq!(
            spend(&ledger, 3, 1, 9, None).await.err(),
            Some(ConsumeStop::GrantPaused)
        );
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        assert_eq!(
            spend(&ledger, 3, 1, 9, None).await.err(),
            Some(ConsumeStop::GrantPaused)
        );
        let _ = settle(&ledger, 2, two).await;
        assert!(!ledger.reads().grant_uses(&grant.digest, 1).expect("read")[0].paused);
        spend(&ledger, 3, 1, 9, None)
            .await
            .expect("the grant does not pause any more");
        // An unknown end without a grant pauses nothing.
        emergency(&ledger, 4, 1).await.expect("consumed");
        let row = (lose(&ledger, 4, None).await, owed(&ledger, 4));
        assert!(
            row.1.is_open() && row.1.is_unsettled() && row.1.receipt == Some(row.0),
            "{row:?}"
        );
        assert!(spend(&ledger, 5, 1, 9, None).await.is_ok());
        ledger.close().await.expect("closed");
        drop(ledger);
        // A review that opens a settled end again pauses the grant. A use in the same commit is refused, because it was checked
        // in the state before the review.
        let (ledger, commits) = world.open_failing();
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        let open = ReviewWrite {
            settles: Some(false),
            ..review_of(&ledger, 1, one)
        };
        let release = async {
            tokio::task::yield_now().await;
            commits.held.store(false, SeqCst);
        };
        let (reviewed, used, ()) =
            tokio::join!(ledger.review(open), spend(&ledger, 6, 1, 9, None), release);
        first.await.expect("task").expect("refused");
        assert!(reviewed.is_ok() && owed(&ledger, 1).is_unsettled());
        assert_eq!(used.err(), Some(ConsumeStop::Moved));
        assert_eq!(
            spend(&ledger, 6, 1, 9, None).await.err(),
            Some(ConsumeStop::GrantPaused)
        );
    }
}

#[tokio::test]
async fn a_review_raises_the_state_version_and_is_logged_only_in_the_checked_state() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        let nothing = review_of(&ledger, 1, 0);
        assert_eq!(ledger.review(nothing).await, Err(WriteStop::NoSeal));
        seal(&ledger, 1).await.expect("seal");
        emergency(&ledger, 1, 1).await.expect("consumed");
        let receipt = lose(&ledger, 1, None).await;
        let moved = CheckedState {
            revocations: 1,
            ..ledger.checked_state()
        };
        let write = review_of(&ledger, 1, receipt);
        assert_eq!(
            ledger
                .review(ReviewWrite {
                    checked: moved,
                    ..write.clone()
                })
                .await,
            Err(WriteStop::Moved)
        );
        // The membership of the reviewer was checked for a time before the newest entry.
        let early = ledger.state().last_at.plus(-1);
        assert_eq!(
            ledger
                .review(ReviewWrite {
                    at: early,
                    ..write.clone()
                })
                .await,
            Err(WriteStop::Moved)
        );
        let large = ReviewWrite {
            envelope: vec![b' '; 1 << 17].into(),
            ..write.clone()
        };
        assert_eq!(
            ledger.review(large).await,
            Err(WriteStop::TooLarge { bytes: 1 << 17 })
        );
        let version = ledger.state().version;
        let leaf = ledger.review(write.clone()).await.expect("logged");
        assert_eq!((leaf.index, ledger.state().version), (4, version + 1));
        let stored = ledger.leaf(4).expect("read").expect("a leaf");
        assert_eq!(
            (stored.kind, &stored.data[..]),
            (LeafKind::Review, &*write.envelope)
        );
        let last = ledger
            .reads()
            .events(ledger.reads().newest_event().expect("read") - 1, 1)
            .expect("read")
            .remove(0);
        assert_eq!(last.what, EventFact::Entry(EntryEvent::Review, 4));
        assert!(owed(&ledger, 1).is_open(), "this review closes nothing");
        // The second of two reviews of one commit was counted without the first one.
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        let mut last = ReviewWrite {
            closes: true,
            settles: Some(true),
            version: ledger.state().version,
            ..write
        };
        last.review.verdict = ReviewVerdict::Rejected;
        last.review.observed = Some(ObservedEnd::Partly);
        (last.review.counts_for_review, last.review.counts_for_settle) = (false, true);
        let release = async {
            tokio::task::yield_now().await;
            commits.held.store(false, SeqCst);
        };
        let (one, two, ()) = tokio::join!(
            ledger.review(last.clone()),
            ledger.review(last.clone()),
            release
        );
        first.await.expect("task").expect("refused");
        assert_eq!(
            (one.expect("logged").index, two),
            (6, Err(WriteStop::Moved))
        );
        // The review that closed the run stays in the row. A later review can settle the end in another way, or open it again.
        last.version = ledger.state().version;
        assert_eq!(ledger.review(last.clone()).await.expect("logged").index, 7);
        let row = owed(&ledger, 1);
        assert_eq!(
            (row.reviewed, row.settled, ledger.reads().owed_open(9)),
            (Some(6), Some(7), Ok(Vec::new()))
        );
        let open = ReviewWrite {
            settles: Some(false),
            version: ledger.state().version,
            ..last.clone()
        };
        assert_eq!(ledger.review(open.clone()).await.expect("logged").index, 8);
        assert_eq!(
            (owed(&ledger, 1).reviewed, owed(&ledger, 1).settled),
            (Some(6), None)
        );
        let of = |leaf, write: &ReviewWrite| StoredReview {
            leaf,
            ..write.review.clone()
        };
        let expected = vec![
            of(4, &review_of(&ledger, 1, receipt)),
            of(6, &last),
            of(7, &last),
            of(8, &open),
        ];
        assert_eq!(ledger.reads().reviews_of(receipt), Ok(expected));
        assert_eq!(ledger.reads().reviews_of(receipt + 1), Ok(Vec::new()));
    }
}

/// Returns a golden document with a change.
fn golden(name: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let path = format!(
        "{}/../../tests/conformance/golden/valid/payload/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut value = serde_json::from_slice(&std::fs::read(path).expect("golden")).expect("json");
    change(&mut value);
    canonical_of(&value).expect("json")
}

/// Returns the payload of an authorization for the run `number`, with more fields.
fn authorization(number: u8, more: &[(&str, Value)]) -> Vec<u8> {
    golden("authorization", |value| {
        value["predicate"]["proposal"] = json!(core(number).id);
        value["predicate"]["nonce"] = json!(core(number).nonce);
        value["predicate"]["expires_at"] = json!(core(number).expires_at);
        more.iter()
            .for_each(|(name, field)| value["predicate"][name] = field.clone());
    })
}

/// Ends a run with a receipt that has the form of a real one, and returns its leaf and its payload.
async fn end(
    ledger: &Ledger,
    number: u8,
    spent: &SpentNonce,
    authorization: &[u8],
    unknown: bool,
) -> (u64, Vec<u8>) {
    let payload = golden("receipt", |value| {
        value["predicate"]["authorization"] = json!(spent.authorization);
        let digest = spent.authorization.digest;
        value["subject"][0]["digest"]["sha256"] = json!(hex(digest.as_bytes()));
        if unknown {
            value["predicate"]["outcome"] = json!({"status": "unknown"});
        }
    });
    let said: Value = serde_json::from_slice(authorization).expect("json");
    let grant = said["predicate"]["grant"]
        .as_str()
        .map(|digest| digest.parse().expect("digest"));
    let receipt = envelope_of(&payload).into();
    let end = Finish {
        unknown,
        grant,
        receipt,
        ..finish_of(ledger, &core(number).id)
    };
    (ledger.finish(end).await.expect("finished").index, payload)
}

/// Returns the review of a receipt, as a real document.
fn document(payload: &[u8], verdict: ReviewVerdict, observed: Option<ObservedEnd>) -> Arc<[u8]> {
    let said: Value = serde_json::from_slice(payload).expect("json");
    let envelope = &said["predicate"]["boundary"];
    let boundary = json!({"epoch": "e".repeat(32), "id": envelope["id"], "name": envelope["name"]});
    let boundary: BoundaryRef = serde_json::from_value(boundary).expect("boundary");
    let review = ReviewStatement {
        boundary,
        verdict,
        reason: "seen".to_owned(),
        observed,
    };
    let statement = Statement::new(review, vec![Subject::new("receipt", &sha256(payload))]);
    envelope_of(&statement.to_payload().expect("a review")).into()
}

#[tokio::test]
async fn a_check_finds_each_changed_row_of_reviews_and_of_runs_that_need_them() {
    let world = World::new();
    let ledger = world.sealed().await;
    let grant = active(&ledger, 1).await;
    // A closed emergency, a run of a grant with an unknown end, an emergency in progress, and a run without a review.
    let urgent = [("emergency", json!(true))];
    let (one, two, three) = (
        authorization(1, &urgent),
        authorization(2, &[("grant", json!(grant.digest))]),
        authorization(3, &urgent),
    );
    let four = authorization(4, &[]);
    let granted = use_of(&ledger, 2, 1, 9, None);
    let mut spent = Vec::new();
    for (consume, signed) in [
        (emergency_of(&ledger, 1, 9), &one),
        (granted, &two),
        (emergency_of(&ledger, 3, 9), &three),
        (consume_of(&ledger, core(4)), &four),
    ] {
        let consume = Consume {
            envelope: envelope_of(signed).into(),
            ..consume
        };
        spent.push(ledger.consume(consume).await.expect("consumed"));
    }
    let (first, first_payload) = end(&ledger, 1, &spent[0], &one, false).await;
    let (second, second_payload) = end(&ledger, 2, &spent[1], &two, true).await;
    let _ = end(&ledger, 4, &spent[3], &four, false).await;
    let envelope = document(&first_payload, ReviewVerdict::Accepted, None);
    let write = ReviewWrite {
        closes: true,
        envelope,
        ..review_of(&ledger, 1, first)
    };
    let closed = ledger.review(write).await.expect("logged").index;
    let envelope = document(
        &second_payload,
        ReviewVerdict::Rejected,
        Some(ObservedEnd::Failed),
    );
    let mut write = ReviewWrite {
        settles: Some(true),
        envelope,
        ..review_of(&ledger, 2, second)
    };
    (write.review.verdict, write.review.observed) =
        (ReviewVerdict::Rejected, Some(ObservedEnd::Failed));
    let settled = ledger.review(write).await.expect("logged").index;
    ledger.close().await.expect("closed");
    drop(ledger);
    let scope = StoreScope {
        name: "test".parse().expect("name"),
        outputs: world.directory.path().join("outputs"),
        retention: Retention {
            outputs_s: 1,
            proposals_s: 1,
            pack_s: 1,
        },
        now: t(0),
    };
    // Most of the documents of this test are made up, so only these two tables are as they must be.
    let defects = || -> Vec<String> {
        let report = sqlite::check::check(&world.path(), &scope, &mut |_, _| {}).expect("checked");
        let found = report.defects.into_iter().map(|defect| defect.to_string());
        found
            .filter(|defect| defect.contains("owed") || defect.contains("review"))
            .collect()
    };
    assert_eq!(defects(), Vec::<String>::new());
    let id = |number: u8| format!("X'{}'", core(number).id.as_str()[4..].replace('-', ""));
    let (of_one, of_two, of_three) = (id(1), id(2), id(3));
    let other = format!("X'{}'", hex(ContentDigest::of(b"other").as_bytes()));
    let changes = [
        format!("DELETE FROM owed WHERE proposal = {of_one}"),
        format!("DELETE FROM owed WHERE proposal = {of_two}"),
        format!("DELETE FROM owed WHERE proposal = {of_three}"),
        format!("UPDATE owed SET receipt = NULL WHERE proposal = {of_one}"),
        format!("UPDATE owed SET emergency = 0 WHERE proposal = {of_one}"),
        format!("UPDATE owed SET unknown = 0 WHERE proposal = {of_two}"),
        format!("UPDATE owed SET standing = NULL WHERE proposal = {of_two}"),
        format!("UPDATE owed SET standing = {other} WHERE proposal = {of_two}"),
        format!("UPDATE owed SET reviewed = {settled} WHERE proposal = {of_one}"),
        format!("UPDATE owed SET settled = {closed} WHERE proposal = {of_two}"),
        format!("UPDATE owed SET reviewed = {closed} WHERE proposal = {of_three}"),
        format!("INSERT INTO owed (proposal, emergency, unknown) VALUES ({}, 1, 0)", id(4)),
        format!("DELETE FROM review WHERE leaf = {closed}"),
        "INSERT INTO review SELECT 0, receipt, proposal, reviewer, accepted, observed, 1, 1 FROM review LIMIT 1"
            .to_owned(),
        format!("UPDATE review SET receipt = {second} WHERE leaf = {closed}"),
        format!("UPDATE review SET proposal = {of_two} WHERE leaf = {closed}"),
        format!("UPDATE review SET accepted = 0 WHERE leaf = {closed}"),
        format!("UPDATE review SET observed = 0 WHERE leaf = {settled}"),
        format!("UPDATE review SET observed = NULL WHERE leaf = {settled}"),
        format!("UPDATE review SET observed = 99 WHERE leaf = {settled}"),
        format!("UPDATE review SET reviewer = '' WHERE leaf = {settled}"),
    ];
    let kept = std::fs::read(world.path()).expect("store");
    for change in changes {
        world.tamper(&change);
        assert_ne!(defects(), Vec::<String>::new(), "{change}");
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", world.path().display()));
        }
        std::fs::write(world.path(), &kept).expect("restored");
    }
    assert_eq!(defects(), Vec::<String>::new());
}
