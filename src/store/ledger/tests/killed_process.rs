//! A process that is killed at each crash point of the store.

use std::path::Path;
use std::sync::Arc;

use crate::store::crash_points::POINTS;
use crate::store::ledger::Ledger;
use crate::store::ledger::tests::{World, check_laws, consume_of, core, finish_of, new_proposal, seal, status, t};
use crate::store::retention::Retention;
use crate::store::sqlite;
use crate::store::stored_denial::DenialWrite;
use crate::store::stored_proposal::ProposalStep;
use crate::store::stored_run::ConsumeStop;
use crate::store::stored_status::StoredStatus;

/// Runs one action of each kind in a child process, which is killed at a crash point.
async fn child(directory: &Path) {
    let world = World { directory: tempfile::tempdir().expect("unused"), ..World::new() };
    let path = directory.join("data").join("countersign.db");
    let (store, reads) = sqlite::open(&path).expect("store");
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), world.config()).expect("ledger");
    seal(&ledger, 1).await.expect("seal");
    ledger.propose(new_proposal(1)).await.expect("proposed");
    let advance = ProposalStep {
        proposal: core(1).id,
        from: Vec::new(),
        to: StoredStatus::Approved,
        at: t(0),
        detail: Vec::new(),
    };
    ledger.advance(advance).await.expect("approved");
    ledger.consume(consume_of(&ledger, core(1))).await.expect("consumed");
    ledger.finish(finish_of(&core(1).id)).await.expect("finished");
    let denial = DenialWrite {
        authorization: core(9).digest,
        approver: "a".parse().expect("name"),
        envelope: vec![9],
        at: t(0),
        ahead: false,
    };
    ledger.deny(denial).await.expect("denied");
    ledger.refuse(b"no".to_vec(), t(0)).await.expect("refused");
    ledger.prune(10).await.expect("pruned");
    ledger.retire(Retention::DEFAULT, 10).await.expect("retired");
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_commit_leaves_a_consistent_store() {
    const HOME: &str = "COUNTERSIGN_TEST_CHILD";
    if let Some(directory) = std::env::var_os(HOME) {
        child(Path::new(&directory)).await;
        return;
    }
    for point in POINTS {
        let world = World::new();
        let me = std::env::current_exe().expect("this test");
        let status = std::process::Command::new(me)
            .arg("--exact")
            .arg(concat!(
                "store::ledger::tests::killed_process::",
                "a_process_that_is_killed_at_any_commit_leaves_a_consistent_store"
            ))
            .env(HOME, world.directory.path())
            .env("COUNTERSIGN_FAULT", point)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("child");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}: {status}");
        let ledger = world.open();
        check_laws(&ledger);
        let (size, state) = (ledger.state().size, self::status(&ledger, 1));
        let expected = match *point {
            "before-seal-commit" => (0, None),
            "after-seal-commit" | "before-proposal-commit" => (1, None),
            "after-proposal-commit" | "before-advance-commit" => (1, Some(StoredStatus::Pending)),
            "after-advance-commit" | "before-consume-commit" => (1, Some(StoredStatus::Approved)),
            "after-consume-commit" | "before-receipt-commit" => (2, Some(StoredStatus::Running)),
            "after-receipt-commit" | "before-denial-commit" => (3, Some(StoredStatus::Finished)),
            "after-denial-commit" | "before-refusal-commit" => (4, Some(StoredStatus::Finished)),
            _ => (5, Some(StoredStatus::Finished)),
        };
        assert_eq!((size, state), expected, "{point}");
        if state == Some(StoredStatus::Running) {
            let spent = ledger.consume(consume_of(&ledger, core(1))).await;
            assert!(matches!(spent, Err(ConsumeStop::Replayed(_))), "{point}: {spent:?}");
            ledger.finish(finish_of(&core(1).id)).await.expect("recovery closes it");
        }
    }
}
