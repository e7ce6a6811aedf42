//! Stores that the program refuses to open: stores in use, with unsafe files, or without the row of a nonce.

use std::path::Path;

use crate::store::fault::StoreFault;
use crate::store::ledger::tests::{T0, World, consume_of, core, finish_of};
use crate::store::{lock, sqlite};

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
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let directory = world.path().parent().expect("parent").to_owned();
    assert_eq!((mode(&directory), mode(&world.path()), mode(&lock::lock_path(&world.path()))), (0o700, 0o600, 0o600));
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    set(&directory, 0o750);
    assert!(message(&world).contains("chmod 700"));
    set(&directory, 0o700);
    set(&world.path(), 0o640);
    assert!(message(&world).contains("chmod 600"));
    set(&world.path(), 0o600);
    let (mut store, _) = sqlite::open(&world.path()).expect("store");
    store.tamper("PRAGMA user_version = 1000");
    drop(store);
    assert!(message(&world).contains("schema 1000"));
    let (foreign, garbage) = (World::new(), World::new());
    let (mut store, _) = sqlite::open(&foreign.path()).expect("store");
    store.tamper("PRAGMA application_id = 7");
    drop(store);
    assert!(message(&foreign).contains("another program"));
    drop(sqlite::open(&garbage.path()).expect("store"));
    std::fs::write(garbage.path(), [7; 9000]).expect("garbage");
    assert!(message(&garbage).contains("can't be opened"));
}

#[tokio::test]
async fn a_store_that_lost_the_row_of_an_unexpired_nonce_is_not_opened() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
        ledger.finish(finish_of(&ledger, &core(1).id)).await.expect("finished");
        ledger.close().await.expect("closed");
        drop(ledger);
        world.tamper("DELETE FROM nonce");
        let refused = world.try_open().err().expect("refused").to_string();
        assert!(refused.contains("could run again") && refused.contains("store restore"), "{refused}");
        // A missing row is no problem if the nonce expired before the low-water mark. The program corrects the stored count
        // of nonces.
        let other = world.beside();
        let ledger = other.sealed().await;
        ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
        ledger.finish(finish_of(&ledger, &core(1).id)).await.expect("finished");
        ledger.close().await.expect("closed");
        drop(ledger);
        other.tamper(&format!("DELETE FROM nonce; UPDATE state SET mark = {}", T0 + 3600));
        drop(other.store());
        drop(other.store());
    }
}
