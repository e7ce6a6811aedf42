//! Stores that the program refuses to open: stores in use, with unsafe files, or without the row of a nonce.

use std::path::Path;

use crate::{
    ConsumeStop, DenialWrite, Ledger, StoreFault,
    ledger::tests::{T0, World, consume_of, core, run_whole, t},
    lock, sqlite,
};
use documents::{
    BoundaryRef, Denial, Envelope, EnvelopeSignature, PAYLOAD_TYPE, SealDigest, SecretKey, SshKey,
    pae,
};

#[test]
fn a_store_is_refused_if_other_users_can_access_its_files_or_another_program_wrote_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let message = |world: &World| match sqlite::open(&world.path()) {
        Err(StoreFault::Unusable { message }) => message,
        Err(fault) => panic!("{fault}"),
        Ok(_) => panic!("opened"),
    };
    let world = World::new();
    drop(sqlite::open(&world.path()).expect("store"));
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("metadata")
            .permissions()
            .mode()
            & 0o777
    };
    let directory = world.path().parent().expect("parent").to_owned();
    assert_eq!(
        (
            mode(&directory),
            mode(&world.path()),
            mode(&lock::lock_path(&world.path()))
        ),
        (0o700, 0o600, 0o600)
    );
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode")
    };
    set(&directory, 0o750);
    assert!(message(&world).contains("chmod 700"));
    set(&directory, 0o700);
    set(&world.path(), 0o640);
    assert!(message(&world).contains("chmod 600"));
    set(&world.path(), 0o600);
    sqlite::tamper(&world.path(), "PRAGMA user_version = 1000");
    assert!(message(&world).contains("schema 1000"));
    let (foreign, garbage) = (World::new(), World::new());
    drop(sqlite::open(&foreign.path()).expect("store"));
    sqlite::tamper(&foreign.path(), "PRAGMA application_id = 7");
    assert!(message(&foreign).contains("another program"));
    drop(sqlite::open(&garbage.path()).expect("store"));
    std::fs::write(garbage.path(), [7; 9000]).expect("garbage");
    assert!(message(&garbage).contains("can't be opened"));
}

#[tokio::test]
async fn a_store_that_lost_the_row_of_an_unexpired_nonce_is_not_opened() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        run_whole(&ledger, 1).await;
        ledger.close().await.expect("closed");
        drop(ledger);
        world.tamper("DELETE FROM nonce");
        let refused = world.refused();
        assert!(
            refused.contains("could run again") && refused.contains("store restore"),
            "{refused}"
        );
        // A missing row is no problem if the nonce expired before the low-water mark. The program corrects the stored count
        // of nonces.
        world.tamper(&format!("UPDATE state SET mark = {}", T0 + 3600));
        world.open().close().await.expect("closed");
        drop(world.open());
    }
}

#[tokio::test]
async fn a_spent_nonce_is_not_forgotten_if_the_bytes_of_its_consumption_were_changed_too() {
    // With 300 more entries, the consumption is below a complete tile, which the start does not need for the tree.
    let worlds = |more| {
        World::on_each_engine()
            .into_iter()
            .map(move |world| (world, more))
    };
    for (world, more) in worlds(300).chain(worlds(0)) {
        let ledger = world.sealed().await;
        let (consumed, _) = run_whole(&ledger, 1).await;
        for number in 0..more {
            ledger
                .refuse(format!("refusal {number}").into_bytes(), t(0))
                .await
                .expect("refused");
        }
        ledger.close().await.expect("closed");
        drop(ledger);
        let index = consumed.index;
        world.tamper(&format!(
            "DELETE FROM nonce; DELETE FROM proposal; UPDATE leaf SET data = (SELECT data FROM leaf WHERE idx = 0) WHERE idx = {index}"
        ));
        let refused = world.refused();
        assert!(
            refused.contains("do not match the tree") && refused.contains("could run again"),
            "{refused}"
        );
    }
}

/// A denial of an authorization, as an approver sends it.
fn denial(ledger: &Ledger, number: u8) -> DenialWrite {
    let boundary = BoundaryRef {
        name: "test".parse().expect("name"),
        id: SealDigest::of(b"seal"),
        epoch: "0".repeat(32).parse().expect("epoch"),
    };
    let denial = Denial {
        boundary,
        reason: "no".to_owned(),
    }
    .of(core(number).digest);
    let (payload, key) = (
        denial.to_payload().expect("payload"),
        SecretKey::from_seed([4; 32]),
    );
    let keyid = SshKey::from_public(key.public(), "").expect("key").keyid();
    let signature = EnvelopeSignature::new(keyid, &key.sign(&pae(PAYLOAD_TYPE, &payload)));
    DenialWrite {
        authorization: core(number).digest,
        checked: ledger.checked_state(),
        approver: "alice".parse().expect("name"),
        envelope: Envelope::new(&payload, vec![signature])
            .to_canonical()
            .expect("envelope"),
        at: t(0),
        ahead: true,
    }
}

#[tokio::test]
async fn a_denied_authorization_never_runs_although_the_row_of_its_denial_was_deleted() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.deny(denial(&ledger, 1)).await.expect("denied");
        ledger.close().await.expect("closed");
        drop(ledger);
        let ledger = world.open();
        ledger.deny(denial(&ledger, 2)).await.expect("denied");
        world.tamper("DELETE FROM denial");
        for number in [1, 2] {
            let refused = ledger.consume(consume_of(&ledger, core(number))).await;
            assert_eq!(refused, Err(ConsumeStop::Denied), "{number}");
        }
        ledger
            .consume(consume_of(&ledger, core(3)))
            .await
            .expect("consumed");
        ledger.close().await.expect("closed");
        drop(ledger);
        let refused = world.refused();
        assert!(
            refused.contains("is denied, but the denial has no row"),
            "{refused}"
        );
    }
}
