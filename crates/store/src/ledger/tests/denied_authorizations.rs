//! Denials of known and of unknown authorizations.

use crate::{
    ConsumeStop, DenialWrite, ProposalStatus, WriteStop,
    ledger::tests::{World, consume_of, core, new_proposal, status, t},
};
use documents::{AuthorizationDigest, Timestamp};

#[tokio::test]
async fn a_denial_stops_known_and_unknown_authorizations() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let denial = |number: u8, approver: &str| DenialWrite {
            authorization: core(number).digest,
            checked: ledger.checked_state(),
            approver: approver.parse().expect("name"),
            envelope: format!("denial {number} {approver}").into_bytes(),
            at: t(1),
            ahead: number == 1,
        };
        let unknown = ledger.deny(denial(1, "alice")).await.expect("denied");
        assert_eq!((unknown.denied, unknown.running), (None, None));
        assert_eq!(
            ledger.consume(consume_of(&ledger, core(1))).await,
            Err(ConsumeStop::Denied)
        );
        ledger.propose(new_proposal(2)).await.expect("proposed");
        let waiting = ledger.deny(denial(2, "alice")).await.expect("denied");
        assert_eq!(
            (waiting.denied, status(&ledger, 2)),
            (Some(core(2).id), Some(ProposalStatus::Denied))
        );
        let version = ledger.state().version;
        let again = ledger.deny(denial(2, "alice")).await.expect("denied");
        assert_eq!(
            (again.leaf, ledger.state().version),
            (waiting.leaf, version),
            "no second leaf"
        );
        ledger
            .consume(consume_of(&ledger, core(3)))
            .await
            .expect("consumed");
        let running = ledger.deny(denial(3, "bob")).await.expect("denied");
        assert_eq!((running.denied, running.running), (None, Some(core(3).id)));
        assert_eq!(status(&ledger, 3), Some(ProposalStatus::Running));
        assert_eq!(
            ledger.reads().denials(&core(3).digest).expect("read")[0].leaf,
            running.leaf
        );
        assert_eq!(
            ledger.leaf(running.leaf).expect("read").expect("leaf").data,
            b"denial 3 bob"
        );
    }
}

#[tokio::test]
async fn only_denials_of_unknown_authorizations_are_limited_in_number() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let denial = |number: u32, approver: &str, at: Timestamp| DenialWrite {
            authorization: AuthorizationDigest::of(&number.to_be_bytes()),
            checked: ledger.checked_state(),
            approver: approver.parse().expect("name"),
            envelope: number.to_be_bytes().to_vec(),
            at,
            ahead: true,
        };
        for number in 0..100 {
            ledger
                .deny(denial(number, "alice", t(i64::from(number))))
                .await
                .expect("kept");
        }
        let refused = ledger.deny(denial(100, "alice", t(200))).await;
        assert_eq!(
            refused,
            Err(WriteStop::TooManyAhead {
                most: 100,
                of_approver: true,
                wait_s: 86_200
            })
        );
        // The limit does not apply to a repeated denial, to another approver, or to a known proposal.
        ledger
            .deny(denial(7, "alice", t(200)))
            .await
            .expect("it is there already");
        ledger
            .deny(denial(100, "bob", t(200)))
            .await
            .expect("another approver");
        ledger.propose(new_proposal(1)).await.expect("proposed");
        let known = DenialWrite {
            authorization: core(1).digest,
            ..denial(0, "alice", t(200))
        };
        assert_eq!(
            ledger.deny(known).await.expect("known").denied,
            Some(core(1).id)
        );
        // The limit survives a restart. After a day, another denial is accepted.
        ledger.close().await.expect("closed");
        let ledger = world.open();
        assert!(matches!(
            ledger.deny(denial(101, "alice", t(86_399))).await,
            Err(WriteStop::TooManyAhead { wait_s: 1, .. })
        ));
        ledger
            .deny(denial(101, "alice", t(86_400)))
            .await
            .expect("room for one");
        let again = ledger.deny(denial(102, "alice", t(86_400))).await;
        assert_eq!(
            again,
            Err(WriteStop::TooManyAhead {
                most: 100,
                of_approver: true,
                wait_s: 1
            })
        );
        // The second limit counts the denials of all approvers together.
        for number in 1000..1900 {
            let approver = format!("a{}", number / 50);
            drop(ledger.deny(denial(number, &approver, t(86_400))).await);
        }
        let of_all = ledger.deny(denial(2000, "zoe", t(86_400))).await;
        assert!(
            matches!(
                of_all,
                Err(WriteStop::TooManyAhead {
                    most: 1000,
                    of_approver: false,
                    ..
                })
            ),
            "{of_all:?}"
        );
    }
}
