//! Two writers of one database, which SQLite does not allow.

use crate::{
    Consume, ConsumeStop,
    ledger::tests::{World, check_laws, consume_of, core, finish_of, seal},
};

#[tokio::test]
async fn two_writers_follow_one_log_and_spend_no_nonce_twice() {
    for world in World::on_each_engine()
        .into_iter()
        .filter(|world| world.server.is_some())
    {
        let (one, two) = (world.sealed().await, world.open());
        one.consume(consume_of(&one, core(1)))
            .await
            .expect("consumed");
        let replayed = two.consume(consume_of(&two, core(1))).await;
        assert!(
            matches!(replayed, Err(ConsumeStop::Replayed(_))),
            "{replayed:?}"
        );
        let locked = |ledger, number| Consume {
            exclusive: Some("x".into()),
            ..consume_of(ledger, core(number))
        };
        two.consume(locked(&two, 2)).await.expect("consumed");
        let busy = one.consume(locked(&one, 3)).await;
        assert!(
            matches!(busy, Err(ConsumeStop::ExclusiveBusy { .. })),
            "{busy:?}"
        );
        one.finish(finish_of(&one, &core(2).id))
            .await
            .expect("finished");
        two.consume(locked(&two, 3)).await.expect("consumed");
        seal(&two, 2).await.expect("sealed");
        let moved = one.consume(consume_of(&one, core(4))).await;
        assert!(matches!(moved, Err(ConsumeStop::Moved)), "{moved:?}");
        // Each request makes the writer read what the other one wrote.
        one.consume(consume_of(&one, core(4)))
            .await
            .expect("consumed under the new seal");
        assert!(two.consume(consume_of(&two, core(4))).await.is_err());
        assert_eq!(one.state().size, two.state().size);
        check_laws(&one);
        check_laws(&two);
    }
}

#[tokio::test]
async fn after_a_takeover_the_earlier_node_writes_nothing_but_the_receipts_of_its_runs() {
    for world in World::on_each_engine()
        .into_iter()
        .filter(|world| world.server.is_some())
    {
        let ledger = world.sealed().await;
        ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        ledger
            .consume(consume_of(&ledger, core(2)))
            .await
            .expect("consumed");
        world.tamper("UPDATE state SET term = term + 1");
        let refused = ledger.consume(consume_of(&ledger, core(3))).await;
        assert!(
            matches!(&refused, Err(ConsumeStop::Fault(fault)) if fault.is_unreachable()),
            "{refused:?}"
        );
        assert!(
            ledger
                .prune(100)
                .await
                .is_err_and(|fault| fault.is_unreachable())
        );
        assert!(seal(&ledger, 2).await.is_err());
        ledger
            .finish(finish_of(&ledger, &core(1).id))
            .await
            .expect("its receipt");
        ledger
            .finish(finish_of(&ledger, &core(2).id))
            .await
            .expect("its receipt");
        assert_eq!(
            ledger.state().size,
            7,
            "a seal, two authorizations with their consumptions, and two receipts"
        );
        check_laws(&ledger);
    }
}
