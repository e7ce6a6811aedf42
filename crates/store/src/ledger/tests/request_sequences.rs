//! Random sequences of requests. The rules of the store must hold after each sequence.

use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use crate::{
    Consume, DenialWrite, ProposalStatus, ProposalStep, Retention,
    ledger::tests::{
        World, check_laws, consume_of, core, finish_of, new_proposal, seal, status, t,
    },
    stored::may_become,
};

#[derive(Debug, Clone, Copy)]
enum Op {
    Propose(u8),
    Consume(u8, bool),
    Finish(u8),
    Deny(u8),
    Advance(u8, ProposalStatus),
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
        4 => (number, proptest::sample::select(&ProposalStatus::ALL)).prop_map(|(n, status)| Op::Advance(n, status)),
        1 => (0..8000_i64).prop_map(Op::Expire),
        1 => Just(Op::Seal),
        1 => Just(Op::Prune),
        1 => (0..8000_i64).prop_map(Op::Retire),
        1 => (-50..50_i64).prop_map(Op::Clock),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_of_requests_moves_a_status_back_or_spends_a_nonce_twice(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            for world in World::on_each_engine() {
            let mut ledger = world.sealed().await;
            let mut before: [Option<ProposalStatus>; 5] = [None; 5];
            let mut number = 1_u8;
            for op in ops.clone() {
                match op {
                    Op::Propose(n) => drop(ledger.propose(new_proposal(n)).await.expect("answer")),
                    Op::Consume(n, exclusive) => {
                        let exclusive = exclusive.then(|| "x".into());
                        drop(ledger.consume(Consume { exclusive, ..consume_of(&ledger, core(n)) }).await);
                    }
                    Op::Finish(n) => drop(ledger.finish(finish_of(&ledger, &core(n).id)).await),
                    Op::Deny(n) => {
                        let approver = "alice".parse().expect("name");
                        let checked = ledger.checked_state();
                        let denial = DenialWrite { authorization: core(n).digest, checked, approver, envelope: vec![n], at: t(0), ahead: false };
                        ledger.deny(denial).await.expect("denied");
                    }
                    Op::Advance(n, to) => {
                        let advance = ProposalStep { proposal: core(n).id, from: Vec::new(), to, at: t(0), detail: Vec::new() };
                        drop(ledger.advance(advance).await);
                    }
                    Op::Expire(at) => drop(ledger.expire(t(at)).await.expect("expired")),
                    Op::Seal => {
                        number += 1;
                        seal(&ledger, number).await.expect("sealed");
                    }
                    Op::Prune => drop(ledger.prune(100).await.expect("pruned")),
                    Op::Retire(age) => {
                        let retention = Retention { outputs_s: age, proposals_s: age, pack_s: age };
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
                            from == to || may_become(from, to),
                            "{from} became {to} by {op:?}"
                        ),
                        (Some(_), None) => panic!("a row is gone"),
                        (None, _) => {}
                    }
                    *before = now;
                }
            }
            check_laws(&ledger);
            }
        });
    }
}
