//! Proposals: limits, repeated requests, statuses, payloads, signatures and lists.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{
    AdvanceStop, AuthorizationCore, Consume, ConsumeStop, Finish, FinishStop, Ledger, LedgerLimits,
    NewProposal, ProposalStatus, ProposalStep, ProposeResult, Retention, Signature, StoreResult,
    UNSIGNED_KEPT_S,
    ledger::tests::{
        T0, World, check_laws, consume_of, core, core_until, envelope_of, finish_of, millis,
        new_proposal, run_whole, status, t,
    },
};
use documents::{AuthorizationDigest, BlobDigest, Presence, SecretKey, SshKey};

const KEPT_90_DAYS: Retention = Retention {
    outputs_s: 90 * 86_400,
    proposals_s: 90 * 86_400,
    pack_s: 90 * 86_400,
};

#[tokio::test]
async fn unsigned_proposals_are_limited_and_deleted_an_hour_after_their_window() {
    for mut world in World::on_each_engine() {
        world.limits = LedgerLimits {
            unsigned_of_proposer: 3,
            ..LedgerLimits::default()
        };
        let ledger = world.sealed().await;
        let end = |number: u8, to: ProposalStatus| ProposalStep {
            proposal: core(number).id,
            from: Vec::new(),
            to,
            at: t(0),
            detail: Vec::new(),
        };
        // Signed and denied proposals do not count and stay in the store.
        let signature = Signature {
            keyid: format!("SHA256:{}", "A".repeat(43))
                .parse()
                .expect("key id"),
            person: "alice".parse().expect("name"),
            presence: Presence::Unknown,
            sig: vec![1; 64],
            at: t(0),
        };
        for (number, to) in [
            (1, ProposalStatus::Cancelled),
            (2, ProposalStatus::Denied),
            (3, ProposalStatus::Expired),
        ] {
            ledger
                .propose(new_proposal(number))
                .await
                .expect("proposed");
            if to != ProposalStatus::Denied {
                ledger
                    .sign(&core(number).id, vec![signature.clone()])
                    .await
                    .expect("signed");
            }
            ledger.advance(end(number, to)).await.expect("over");
        }
        for (number, to) in [
            (4, ProposalStatus::Cancelled),
            (5, ProposalStatus::Expired),
            (6, ProposalStatus::Refused),
        ] {
            assert_eq!(
                ledger.propose(new_proposal(number)).await,
                Ok(ProposeResult::New)
            );
            ledger.advance(end(number, to)).await.expect("over");
        }
        let first = t(3600 + UNSIGNED_KEPT_S);
        assert_eq!(
            ledger.propose(new_proposal(7)).await,
            Ok(ProposeResult::TooManyKept {
                most: 3,
                until: first
            })
        );
        let other = AuthorizationCore {
            proposer: "other".parse().expect("name"),
            ..core(8)
        };
        assert_eq!(
            ledger
                .propose(NewProposal {
                    core: other,
                    ..new_proposal(8)
                })
                .await,
            Ok(ProposeResult::New)
        );
        // A repeated proposal gets an answer even if the limit is reached.
        assert!(matches!(
            ledger.propose(new_proposal(4)).await,
            Ok(ProposeResult::Same(_))
        ));
        let at = |seconds: i64| {
            world.clock.store(T0 + seconds, SeqCst);
            world.boot.store(seconds as u64, SeqCst);
        };
        let standing = |ledger: &Ledger| {
            (1..=6)
                .map(|number| status(ledger, number))
                .collect::<Vec<_>>()
        };
        let before = standing(&ledger);
        at(3600 + UNSIGNED_KEPT_S - 1);
        ledger.prune(10).await.expect("pruned");
        ledger.retire(KEPT_90_DAYS, 10).await.expect("retired");
        assert_eq!(standing(&ledger), before, "one second too early");
        at(3600 + UNSIGNED_KEPT_S);
        ledger.prune(10).await.expect("pruned");
        assert_eq!(
            ledger
                .retire(KEPT_90_DAYS, 2)
                .await
                .expect("retired")
                .deleted,
            2,
            "some at a time"
        );
        while ledger
            .retire(KEPT_90_DAYS, 2)
            .await
            .expect("retired")
            .deleted
            > 0
        {}
        assert_eq!(
            standing(&ledger)[..3],
            before[..3],
            "signed and denied proposals are kept"
        );
        assert_eq!(standing(&ledger)[3..], [None, None, None]);
        assert_eq!(ledger.payload(&core(4).id).expect("read"), None);
        let late = NewProposal {
            core: core_until(7, t(20_000)),
            created_ms: millis(t(3600 + UNSIGNED_KEPT_S)),
            ..new_proposal(7)
        };
        assert_eq!(ledger.propose(late).await, Ok(ProposeResult::New));
    }
}

#[tokio::test]
async fn a_repeated_proposal_is_recognized_by_its_nonce_or_by_its_content() {
    for mut world in World::on_each_engine() {
        world.limits = LedgerLimits {
            of_proposer: 3,
            of_all: 4,
            ..LedgerLimits::default()
        };
        let ledger = world.sealed().await;
        assert_eq!(
            ledger.propose(new_proposal(1)).await,
            Ok(ProposeResult::New)
        );
        let Ok(ProposeResult::Same(same)) = ledger
            .propose(NewProposal {
                core: AuthorizationCore {
                    id: core(9).id,
                    ..core(1)
                },
                ..new_proposal(1)
            })
            .await
        else {
            panic!("same nonce and body")
        };
        assert_eq!(
            (same.core.id, same.status),
            (core(1).id, ProposalStatus::Pending)
        );
        let other_body = NewProposal {
            request: [9; 32],
            core: AuthorizationCore {
                id: core(9).id,
                ..core(1)
            },
            ..new_proposal(1)
        };
        assert!(matches!(
            ledger.propose(other_body).await,
            Ok(ProposeResult::Conflict(_))
        ));
        let stranger = AuthorizationCore {
            id: core(9).id,
            proposer: "other".parse().expect("name"),
            ..core(1)
        };
        let other_proposer = NewProposal {
            core: stranger,
            ..new_proposal(1)
        };
        assert!(matches!(
            ledger.propose(other_proposer).await,
            Ok(ProposeResult::Conflict(_))
        ));

        let anonymous = |number: u8| NewProposal {
            chosen_nonce: false,
            may_repeat: true,
            ..new_proposal(number)
        };
        assert_eq!(ledger.propose(anonymous(2)).await, Ok(ProposeResult::New));
        let repeated = NewProposal {
            core: AuthorizationCore {
                params_digest: core(2).params_digest,
                ..core(8)
            },
            request: anonymous(2).request,
            ..anonymous(8)
        };
        assert!(
            matches!(ledger.propose(repeated.clone()).await, Ok(ProposeResult::Same(same)) if same.core.id == core(2).id)
        );
        let later = NewProposal {
            created_ms: millis(t(3600)),
            ..repeated
        };
        assert_eq!(
            ledger.propose(later).await,
            Ok(ProposeResult::New),
            "an overdue proposal does not count as the same proposal"
        );

        let one_more = ledger.propose(new_proposal(4)).await;
        assert_eq!(
            one_more,
            Ok(ProposeResult::TooMany {
                most: 3,
                of_proposer: true
            })
        );
        let by = |number, name: &str| {
            let proposer = name.parse().expect("name");
            NewProposal {
                core: AuthorizationCore {
                    proposer,
                    ..core(number)
                },
                ..new_proposal(number)
            }
        };
        assert_eq!(ledger.propose(by(4, "b")).await, Ok(ProposeResult::New));
        assert_eq!(
            ledger.propose(by(6, "b")).await,
            Ok(ProposeResult::TooMany {
                most: 4,
                of_proposer: false
            })
        );
        assert_eq!(ledger.expire(t(3600)).await.expect("expired").len(), 4);
        assert_eq!(status(&ledger, 1), Some(ProposalStatus::Expired));
        assert_eq!(ledger.propose(by(6, "b")).await, Ok(ProposeResult::New));

        // A spent nonce leads to its proposal until the nonce is pruned.
        run_whole(&ledger, 7).await;
        let spent = NewProposal {
            core: AuthorizationCore {
                id: core(10).id,
                ..core(7)
            },
            ..new_proposal(7)
        };
        assert!(
            matches!(ledger.propose(spent).await, Ok(ProposeResult::Conflict(there)) if there.core.id == core(7).id)
        );
    }
}

#[tokio::test]
async fn a_call_repeats_an_ended_run_for_ten_minutes_and_never_an_expired_or_refused_proposal() {
    for (to, ends_at, until) in [
        (ProposalStatus::Denied, 2, Some(602)),
        (ProposalStatus::Cancelled, 2, Some(602)),
        (ProposalStatus::Finished, 1, Some(601)),
        (ProposalStatus::Expired, 2, None),
        (ProposalStatus::Refused, 2, None),
    ] {
        for world in World::on_each_engine() {
            let ledger = world.sealed().await;
            let same = |number: u8, at: i64| NewProposal {
                core: AuthorizationCore {
                    params_digest: core(1).params_digest,
                    ..core_until(number, t(9000))
                },
                request: [1; 32],
                chosen_nonce: false,
                may_repeat: true,
                created_ms: millis(t(at)),
                ..new_proposal(number)
            };
            assert_eq!(
                ledger.propose(new_proposal(1)).await,
                Ok(ProposeResult::New)
            );
            if to == ProposalStatus::Finished {
                run_whole(&ledger, 1).await;
            } else {
                let step = ProposalStep {
                    proposal: core(1).id,
                    from: Vec::new(),
                    to,
                    at: t(ends_at),
                    detail: b"why".to_vec(),
                };
                ledger.advance(step).await.expect("moved");
            }
            let is_first = |result: &StoreResult<ProposeResult>| matches!(result, Ok(ProposeResult::Same(row)) if row.core.id == core(1).id);
            if let Some(until) = until {
                assert!(is_first(&ledger.propose(same(2, until - 1)).await), "{to}");
                // A proposal of another proposer, of the same step in another session, or handed in changes nothing.
                let proposer = "other".parse().expect("name");
                let other = NewProposal {
                    core: AuthorizationCore {
                        proposer,
                        ..same(3, 2).core
                    },
                    ..same(3, 2)
                };
                assert_eq!(ledger.propose(other).await, Ok(ProposeResult::New));
                let in_session = NewProposal {
                    request: [7; 32],
                    ..same(4, 2)
                };
                assert_eq!(ledger.propose(in_session).await, Ok(ProposeResult::New));
                assert!(is_first(&ledger.propose(same(5, until - 1)).await), "{to}");
            }
            assert_eq!(
                ledger.propose(same(6, until.unwrap_or(3))).await,
                Ok(ProposeResult::New),
                "{to}"
            );
        }
    }
}

#[tokio::test]
async fn the_status_of_a_proposal_only_moves_forward() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let to = |to| ProposalStep {
            proposal: core(1).id,
            from: Vec::new(),
            to,
            at: t(2),
            detail: b"why".to_vec(),
        };
        assert_eq!(
            ledger.advance(to(ProposalStatus::Approved)).await,
            Err(AdvanceStop::Unknown)
        );
        ledger.propose(new_proposal(1)).await.expect("proposed");
        for never in [
            ProposalStatus::Running,
            ProposalStatus::Finished,
            ProposalStatus::Pending,
        ] {
            assert_eq!(
                ledger.advance(to(never)).await,
                Err(AdvanceStop::WrongState(ProposalStatus::Pending))
            );
        }
        let only_approved = ProposalStep {
            from: vec![ProposalStatus::Approved],
            ..to(ProposalStatus::Refused)
        };
        assert_eq!(
            ledger.advance(only_approved).await,
            Err(AdvanceStop::WrongState(ProposalStatus::Pending))
        );
        assert_eq!(
            ledger.advance(to(ProposalStatus::Approved)).await,
            Ok(ProposalStatus::Pending)
        );
        assert_eq!(
            ledger.finish(finish_of(&ledger, &core(1).id)).await,
            Err(FinishStop::NotRunning(Some(ProposalStatus::Approved)))
        );
        assert_eq!(
            ledger.finish(finish_of(&ledger, &core(2).id)).await,
            Err(FinishStop::NotRunning(None))
        );
        let consumed = ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        assert_eq!(
            ledger.advance(to(ProposalStatus::Cancelled)).await,
            Err(AdvanceStop::WrongState(ProposalStatus::Running))
        );
        let other = Finish {
            consumption: (consumed.index, consumed.item + 1),
            ..finish_of(&ledger, &core(1).id)
        };
        assert_eq!(ledger.finish(other).await, Err(FinishStop::OtherRun));
        let receipt = ledger
            .finish(finish_of(&ledger, &core(1).id))
            .await
            .expect("finished");
        let twice = ledger.finish(finish_of(&ledger, &core(1).id)).await;
        assert_eq!(
            twice,
            Err(FinishStop::Finished {
                receipt: receipt.index
            }),
            "one consumption, one receipt"
        );
        let row = ledger.proposal(&core(1).id).expect("read").expect("row");
        assert_eq!(
            (row.status, row.receipt, row.consumption),
            (
                ProposalStatus::Finished,
                Some(receipt.index),
                Some((consumed.index, 0))
            )
        );
        assert_eq!(
            (
                row.created_at(),
                row.approved_at,
                row.started_at,
                row.ended_at
            ),
            (t(0), Some(t(2)), Some(t(0)), Some(t(1)))
        );
        assert_eq!(row.detail.as_deref(), Some(&b"succeeded"[..]));
        for (state, stop) in [
            (ProposalStatus::Cancelled, 3),
            (ProposalStatus::Refused, 4),
            (ProposalStatus::Denied, 5),
            (ProposalStatus::Expired, 6),
        ] {
            ledger.propose(new_proposal(stop)).await.expect("proposed");
            ledger
                .advance(ProposalStep {
                    proposal: core(stop).id,
                    ..to(state)
                })
                .await
                .expect("moved");
            let late = ledger.consume(consume_of(&ledger, core(stop))).await;
            assert_eq!(late, Err(ConsumeStop::WrongState(state)));
        }
        let forged = AuthorizationCore {
            digest: AuthorizationDigest::of(b"other"),
            nonce: core(9).nonce,
            ..core(3)
        };
        assert_eq!(
            ledger.consume(consume_of(&ledger, forged)).await,
            Err(ConsumeStop::OtherAuthorization)
        );
        check_laws(&ledger);
    }
}

#[tokio::test]
async fn the_payload_is_readable_in_every_status_of_a_proposal() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let id = core(1).id;
        let payload: Arc<[u8]> = id.as_str().as_bytes().into();
        let new = NewProposal {
            payload: Arc::clone(&payload),
            ..new_proposal(1)
        };
        ledger.propose(new).await.expect("proposed");
        assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
        assert_eq!(
            ledger.proposal(&id).expect("read").map(|row| row.core),
            Some(core(1))
        );
        ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
        assert_eq!(
            ledger.proposal(&id).expect("read").map(|row| row.status),
            Some(ProposalStatus::Running)
        );
        let [unfinished] = &ledger.reads().unfinished().expect("read")[..] else {
            panic!("one")
        };
        assert_eq!(unfinished.proposal, id);
        let row = ledger.proposal(&id).expect("read").expect("a row");
        let signed = ledger.leaf(row.authorization.expect("logged"));
        let signed = signed.expect("read").expect("an entry");
        assert_eq!(signed.data, envelope_of(&payload));
        ledger
            .finish(finish_of(&ledger, &id))
            .await
            .expect("finished");
        assert_eq!(ledger.payload(&id), Ok(Some(payload.to_vec())));
        assert_eq!(ledger.payload(&core(2).id), Ok(None));
    }
}

#[tokio::test]
async fn a_list_of_programs_becomes_a_blob_with_its_first_run_and_goes_with_every_other_proposal() {
    const DAY: i64 = 86_400;
    let list = |number: u8| -> Arc<[u8]> { vec![number; 100].into() };
    let digest = |number: u8| BlobDigest::of(&list(number));
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let waits = |number: u8| ledger.reads().waiting_programs(&core(number).id);
        let blob = |number: u8| ledger.reads().blob(&digest(number)).expect("read");
        for number in 1..=6 {
            // The last two proposals have the same list.
            let programs = Some(list(number.min(5)));
            let new = NewProposal {
                programs: programs.clone(),
                ..new_proposal(number)
            };
            ledger.propose(new).await.expect("proposed");
            assert_eq!(waits(number), Ok(programs.map(|list| list.to_vec())));
            assert_eq!(blob(number.min(5)), None, "nothing ran");
        }
        for (number, to) in [
            (1, ProposalStatus::Cancelled),
            (2, ProposalStatus::Expired),
            (3, ProposalStatus::Refused),
            (4, ProposalStatus::Denied),
        ] {
            let step = ProposalStep {
                proposal: core(number).id,
                from: Vec::new(),
                to,
                at: t(0),
                detail: Vec::new(),
            };
            ledger.advance(step).await.expect("ended");
        }
        for number in [5, 6] {
            let request = Consume {
                programs: Some((digest(5), list(5).to_vec())),
                ..consume_of(&ledger, core(number))
            };
            ledger.consume(request).await.expect("consumed");
            assert_eq!(blob(5), Some(list(5).to_vec()));
            assert_eq!(waits(number), Ok(None), "the list is kept once");
            let end = finish_of(&ledger, &core(number).id);
            ledger.finish(end).await.expect("finished");
        }
        let retention = Retention {
            outputs_s: DAY,
            proposals_s: DAY,
            pack_s: 90 * DAY,
        };
        world.clock.store(T0 + 3 * DAY, SeqCst);
        world.boot.store(3 * DAY as u64, SeqCst);
        ledger.prune(10).await.expect("pruned");
        while ledger.retire(retention, 10).await.expect("retired").deleted > 0 {}
        for number in 1..=4 {
            assert_eq!(status(&ledger, number), None);
            assert_eq!(ledger.payload(&core(number).id), Ok(None));
            assert_eq!((waits(number), blob(number)), (Ok(None), None));
        }
        assert_eq!(blob(5), Some(list(5).to_vec()), "the log names the list");
    }
}

#[tokio::test]
async fn one_signature_for_each_key_is_stored_in_order_of_arrival() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let signature = |seed: u8, at| Signature {
            keyid: SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "")
                .expect("key")
                .keyid(),
            person: format!("p{seed}").parse().expect("name"),
            presence: if seed == 2 {
                Presence::Touched
            } else {
                Presence::Unknown
            },
            sig: vec![seed; 64],
            at: t(at),
        };
        assert_eq!(
            ledger.sign(&core(1).id, Vec::new()).await,
            Err(AdvanceStop::Unknown)
        );
        ledger.propose(new_proposal(1)).await.expect("proposed");
        assert_eq!(
            ledger.sign(&core(1).id, vec![signature(2, 1)]).await,
            Ok(vec![signature(2, 1)])
        );
        let again = vec![
            Signature {
                sig: vec![9],
                ..signature(2, 5)
            },
            signature(1, 5),
        ];
        let all = vec![signature(2, 1), signature(1, 5)];
        assert_eq!(ledger.sign(&core(1).id, again).await.as_ref(), Ok(&all));
        assert_eq!(ledger.signatures(&core(1).id).as_ref(), Ok(&all));
        run_whole(&ledger, 1).await;
        assert_eq!(
            ledger.sign(&core(1).id, all).await,
            Err(AdvanceStop::WrongState(ProposalStatus::Finished))
        );
    }
}
