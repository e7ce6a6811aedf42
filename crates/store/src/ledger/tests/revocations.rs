//! Revocations: each subject once, after the checks of the caller only if nothing changed, and known to the next start.

use crate::{
    CheckedState, ConsumeStop, DenialWrite, Ledger, RevocationWrite, SealWrite, WriteStop,
    ledger::tests::{World, consume_of, core, seal, seal_write, t},
};
use documents::{BoundaryRef, Envelope, Name, Revocation, RevokedSubject, SealDigest};

fn name(number: u8) -> Name {
    format!("agent-{number}").parse().expect("a name")
}

/// The revocation of a token without a row.
fn revocation(checked: CheckedState, number: u8) -> RevocationWrite {
    let (id, epoch) = (
        SealDigest::of(b"seal"),
        "0".repeat(32).parse().expect("an epoch"),
    );
    let boundary = BoundaryRef {
        name: "test".parse().expect("a name"),
        id,
        epoch,
    };
    let subject = RevokedSubject::token(&name(number));
    let payload = Revocation {
        boundary,
        reason: String::new(),
    }
    .of(subject)
    .to_payload()
    .expect("a payload");
    let envelope = Envelope::new(&payload, Vec::new())
        .to_canonical()
        .expect("an envelope")
        .into();
    RevocationWrite {
        checked,
        subject,
        envelope,
        token: None,
        at: t(0),
    }
}

pub async fn revoke(ledger: &Ledger, number: u8) -> (u64, bool) {
    let done = ledger
        .revoke(revocation(ledger.checked_state(), number))
        .await
        .expect("revoked");
    (done.leaf, done.existing)
}

#[tokio::test]
async fn a_subject_is_revoked_once_and_every_verdict_before_is_repeated() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let (verdict, checked) = (consume_of(&ledger, core(1)), ledger.checked_state());
        let (leaf, existing) = revoke(&ledger, 1).await;
        assert!(!existing);
        assert_eq!(ledger.consume(verdict).await, Err(ConsumeStop::Moved));
        let denial = DenialWrite {
            authorization: core(9).digest,
            checked,
            approver: "alice".parse().expect("a name"),
            envelope: b"denial".to_vec(),
            at: t(0),
            ahead: false,
        };
        assert_eq!(
            ledger.deny(denial).await,
            Err(WriteStop::Moved),
            "the denial was checked before"
        );
        assert_eq!(
            ledger.revoke(revocation(checked, 2)).await,
            Err(WriteStop::Moved),
            "the other revocation too"
        );
        let made_before = SealWrite {
            checked,
            ..seal_write(&ledger, 3)
        };
        assert_eq!(
            ledger.seal(made_before).await,
            Err(WriteStop::Moved),
            "the seal was made before"
        );
        let size = ledger.state().size;
        assert_eq!(
            (revoke(&ledger, 1).await, ledger.state().size),
            ((leaf, true), size),
            "no second entry"
        );
        seal(&ledger, 2).await.expect("sealed");
        revoke(&ledger, 2).await;
        let before = ledger.revocations();
        assert_eq!(
            before.iter().map(|one| one.subject).collect::<Vec<_>>(),
            [1, 2].map(|n| RevokedSubject::token(&name(n)))
        );
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        assert_eq!(ledger.revocations(), before, "the next start knows them");
        ledger.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_start_refuses_a_store_that_hides_a_revocation_of_the_last_day() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        revoke(&ledger, 1).await;
        ledger.close().await.expect("closed");
        drop(ledger);
        world.tamper("UPDATE leaf SET kind = 5 WHERE kind = 6");
        let refused = world.refused();
        assert!(
            refused.contains(
                "is revoked, but the store marks the log entry of the revocation as another kind"
            ),
            "{refused}"
        );
    }
}
