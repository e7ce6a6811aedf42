//! Events: rows of the same commit as the change, with numbers that never return, and the positions of targets.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    Consume, EntryEvent, EventFact, Ledger, ProposalStatus, Retention, Signature, Telling,
    ToldTarget,
    ledger::tests::{T0, World, consume_of, core, new_proposal, run_whole, t},
};
use documents::Presence;

fn statuses(ledger: &Ledger, after: u64) -> Vec<(u64, Option<ProposalStatus>)> {
    let events = ledger.reads().events(after, 100).expect("read").into_iter();
    let of = |what: EventFact| match what {
        EventFact::Proposal(_, status) => Some(status),
        _ => None,
    };
    events.map(|event| (event.seq, of(event.what))).collect()
}

#[tokio::test]
async fn each_change_of_a_commit_has_one_event_in_its_order() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let news = ledger.event_news();
        let first = ledger.reads().events(0, 100).expect("read");
        assert!(
            matches!(first[..], [ref one] if one.what == EventFact::Entry(EntryEvent::Seal, 0)),
            "{first:?}"
        );
        let (one, two) = tokio::join!(
            ledger.propose(new_proposal(1)),
            ledger.propose(new_proposal(2))
        );
        assert!(one.is_ok() && two.is_ok() && news.has_changed().expect("open"));
        run_whole(&ledger, 1).await;
        // An envelope with all signatures has no proposal before its run.
        run_whole(&ledger, 3).await;
        let [pending, running, finished] = [
            ProposalStatus::Pending,
            ProposalStatus::Running,
            ProposalStatus::Finished,
        ];
        let expected = [pending, pending, running, finished, running, finished];
        let expected: Vec<_> = (2..).zip(expected.map(Some)).collect();
        assert_eq!(statuses(&ledger, 1), expected);
        assert_eq!(statuses(&ledger, 5), expected[4..]);
        assert_eq!(ledger.reads().newest_event(), Ok(7));
        let last = ledger.reads().events(6, 1).expect("read").remove(0);
        let core = core(3);
        assert_eq!(last.what, EventFact::Proposal(core.id, finished));
        assert_eq!(last.proposed, Some((core.step, core.proposer)));
        ledger.close().await.expect("closed");
        drop(ledger);
        assert_eq!(statuses(&world.open(), 1), expected, "after a start");
    }
}

#[tokio::test]
async fn each_new_signature_of_a_person_has_one_event_and_that_of_a_grantee_has_none() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let signature = |name: &str, letter: &str| Signature {
            keyid: format!("SHA256:{}", letter.repeat(43))
                .parse()
                .expect("key id"),
            person: name.parse().expect("name"),
            presence: Presence::Unknown,
            sig: vec![1; 64],
            at: t(0),
        };
        let (alice, bob, robot) = (
            signature("alice", "A"),
            signature("bob", "E"),
            signature("robot", "I"),
        );
        ledger.propose(new_proposal(1)).await.expect("proposed");
        ledger
            .sign(&core(1).id, vec![alice.clone()])
            .await
            .expect("signed");
        ledger
            .sign(&core(1).id, vec![alice.clone(), bob.clone()])
            .await
            .expect("signed");
        ledger.sign_use(&core(1).id, robot).await.expect("signed");
        // The signatures of a whole envelope arrive with the consumption.
        let signers = vec![(alice.person.clone(), alice.keyid)];
        ledger
            .consume(Consume {
                signers,
                ..consume_of(&ledger, core(3))
            })
            .await
            .expect("consumed");
        let signed = |number: u8, of: &Signature| {
            EventFact::Signed(core(number).id, of.person.clone(), of.keyid)
        };
        let check = |ledger: &Ledger| {
            let found: Vec<EventFact> = ledger
                .reads()
                .events(2, 100)
                .expect("read")
                .into_iter()
                .map(|one| one.what)
                .collect();
            assert_eq!(
                found[..3],
                [signed(1, &alice), signed(1, &bob), signed(3, &alice)]
            );
            assert!(
                matches!(
                    found[3..],
                    [EventFact::Proposal(_, ProposalStatus::Running)]
                ),
                "{found:?}"
            );
        };
        check(&ledger);
        ledger.close().await.expect("closed");
        drop(ledger);
        check(&world.open());
    }
}

#[tokio::test]
async fn a_number_is_never_given_twice_although_old_events_are_deleted() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.propose(new_proposal(1)).await.expect("proposed");
        run_whole(&ledger, 1).await;
        let kept = Retention {
            outputs_s: 86_400,
            proposals_s: 86_400,
            pack_s: 86_400,
        };
        let later = 30 * 86_400 + 10;
        for (seconds, left) in [(86_400, 4), (later, 1)] {
            world.clock.store(T0 + seconds, SeqCst);
            world
                .boot
                .store(u64::try_from(seconds).expect("positive"), SeqCst);
            ledger.prune(10).await.expect("pruned");
            for _ in 0..3 {
                ledger.retire(kept, 2).await.expect("retired");
            }
            assert_eq!(
                ledger.reads().events(0, 100).expect("read").len(),
                left,
                "after {seconds} s"
            );
        }
        let attention = vec![(t(later), "look".to_owned())];
        ledger
            .tell(Telling {
                targets: Vec::new(),
                attention,
            })
            .await
            .expect("told");
        let events = ledger.reads().events(0, 100).expect("read");
        assert_eq!(
            events.iter().map(|event| event.seq).collect::<Vec<_>>(),
            [4, 5]
        );
        assert_eq!(events[1].what, EventFact::Attention("look".to_owned()));
    }
}

#[tokio::test]
async fn the_last_position_of_each_target_counts() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let told = |name: &str, seq, given_up| ToldTarget {
            name: name.parse().expect("a name"),
            seq,
            given_up,
        };
        for targets in [
            vec![told("phone", 1, 0), told("chat", 7, 1)],
            vec![told("phone", 3, 0), told("phone", 9, 2)],
        ] {
            ledger
                .tell(Telling {
                    targets,
                    attention: Vec::new(),
                })
                .await
                .expect("told");
        }
        let expected = Ok(vec![told("chat", 7, 1), told("phone", 9, 2)]);
        assert_eq!(ledger.reads().told(), expected);
        ledger.close().await.expect("closed");
        drop(ledger);
        assert_eq!(world.open().reads().told(), expected, "after a start");
    }
}
