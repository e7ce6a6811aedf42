//! A nonce is spent once: repeated requests, batches, state versions and exclusive locks.

use std::{sync::atomic::Ordering::SeqCst, task::Poll};

use crate::{
    AuthorizationCore, Consume, ConsumeStop, DenialWrite, Ledger, NonceUse, ProposalStatus,
    ProposalStep,
    ledger::tests::{
        World, check_laws, consume_of, consumptions, core, finish_of, new_proposal, run_whole,
        seal, status, t,
    },
};

#[tokio::test]
async fn consumptions_of_a_large_batch_have_at_most_sixteen_items() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        let first = commits
            .hold(&ledger, |ledger| async move {
                ledger.refuse(b"first".to_vec(), t(0)).await
            })
            .await;
        // The 40 requests arrive while the first batch is being committed.
        let mut asked: Vec<_> = (0..40)
            .map(|number| Box::pin(ledger.consume(consume_of(&ledger, core(number)))))
            .collect();
        for asking in &mut asked {
            let waits = |context: &mut std::task::Context<'_>| {
                Poll::Ready(asking.as_mut().poll(context).is_pending())
            };
            assert!(std::future::poll_fn(waits).await);
        }
        commits.held.store(false, SeqCst);
        let first = first.await.expect("joined").expect("refused").index;
        for (number, asking) in (0..).zip(asked) {
            let consumed = asking.await.expect("consumed");
            // Each consumption is directly after its authorizations.
            let (before, item) = (first + 1 + number / 16 * 17, number % 16);
            let items = if number < 32 { 16 } else { 8 };
            assert_eq!(
                (consumed.index, u64::from(consumed.item)),
                (before + items, item),
                "number {number}"
            );
            assert_eq!(consumed.authorization.index, before + item);
            assert_eq!(
                ledger
                    .leaf(before + item)
                    .expect("read")
                    .expect("an entry")
                    .data,
                *consumed.signed
            );
            let entry = ledger
                .leaf(consumed.index)
                .expect("read")
                .expect("an entry");
            assert_eq!(*consumed.data, *entry.data);
        }
        let sizes: Vec<_> = consumptions(&ledger)
            .iter()
            .map(|(_, leaf)| leaf.predicate.spent.len())
            .collect();
        assert_eq!(sizes, [16, 16, 8]);
        check_laws(&ledger);
    }
}

#[tokio::test]
async fn a_spent_nonce_stays_spent_with_another_expiry_or_another_proposal_or_after_a_restart() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let (consumed, _) = run_whole(&ledger, 1).await;
        let spent = NonceUse {
            index: consumed.index,
            item: consumed.item,
            proposal: core(1).id,
        };
        let other = AuthorizationCore {
            nonce: core(1).nonce,
            expires_at: t(7200),
            ..core(2)
        };
        let mut consume = consume_of(&ledger, other);
        consume.window.issued_at = t(0);
        consume.window.not_before = t(0);
        assert_eq!(
            ledger.consume(consume.clone()).await,
            Err(ConsumeStop::Replayed(spent.clone()))
        );
        seal(&ledger, 2).await.expect("seal");
        assert_eq!(
            ledger.consume(consume.clone()).await,
            Err(ConsumeStop::Replayed(spent.clone())),
            "rather than moved"
        );
        ledger.close().await.expect("closed");
        let ledger = world.open();
        assert_eq!(
            ledger.consume(consume).await,
            Err(ConsumeStop::Replayed(spent))
        );
        assert_eq!(status(&ledger, 2), None, "a refused request has no row");
        check_laws(&ledger);
    }
}

#[tokio::test]
async fn a_consumption_under_an_outdated_state_version_is_refused() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let old = consume_of(&ledger, core(1));
        seal(&ledger, 2).await.expect("seal");
        let version = ledger.state().version;
        assert_eq!(version, old.version + 1);
        assert_eq!(ledger.consume(old.clone()).await, Err(ConsumeStop::Moved));
        let newer_version = Consume { version, ..old };
        assert_eq!(
            ledger.consume(newer_version).await,
            Err(ConsumeStop::Moved),
            "an old seal with a new version is refused"
        );
        let before = consume_of(&ledger, core(1));
        let denial = DenialWrite {
            authorization: core(9).digest,
            checked: ledger.checked_state(),
            approver: "alice".parse().expect("name"),
            envelope: b"denial".to_vec(),
            at: t(0),
            ahead: false,
        };
        ledger.deny(denial).await.expect("denied");
        assert_eq!(
            ledger.consume(before).await,
            Err(ConsumeStop::Moved),
            "a denial of whatever"
        );
        ledger.propose(new_proposal(2)).await.expect("proposed");
        let before = consume_of(&ledger, core(1));
        let cancel = ProposalStep {
            proposal: core(2).id,
            from: vec![ProposalStatus::Pending],
            to: ProposalStatus::Cancelled,
            at: t(0),
            detail: Vec::new(),
        };
        assert_eq!(ledger.advance(cancel).await, Ok(ProposalStatus::Pending));
        assert_eq!(
            ledger.consume(before).await,
            Err(ConsumeStop::Moved),
            "a cancellation"
        );
        assert!(ledger.consume(consume_of(&ledger, core(1))).await.is_ok());
    }
}

#[tokio::test]
async fn a_run_keeps_its_exclusive_lock_until_the_receipt_is_written() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let exclusive = |ledger: &Ledger, number| Consume {
            exclusive: Some("db".into()),
            ..consume_of(ledger, core(number))
        };
        let (one, two) = tokio::join!(
            ledger.consume(exclusive(&ledger, 1)),
            ledger.consume(exclusive(&ledger, 2))
        );
        assert!(one.is_ok());
        assert_eq!(two, Err(ConsumeStop::ExclusiveBusy { holder: core(1).id }));
        ledger.close().await.expect("closed");
        let ledger = world.open();
        let busy = ledger.consume(exclusive(&ledger, 2)).await;
        assert_eq!(
            busy,
            Err(ConsumeStop::ExclusiveBusy { holder: core(1).id }),
            "also after a restart"
        );
        assert!(ledger.consume(consume_of(&ledger, core(3))).await.is_ok());
        ledger
            .finish(finish_of(&ledger, &core(1).id))
            .await
            .expect("finished");
        assert!(ledger.consume(exclusive(&ledger, 2)).await.is_ok());
    }
}
