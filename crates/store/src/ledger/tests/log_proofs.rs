//! Proofs, tiles and checkpoints of the log.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    CheckpointRow, Ledger, StoreFault, WriteStop,
    ledger::tests::{World, run_whole, seal, t},
};
use documents::{Checkpoint, Hash, SealDigest, SecretKey, TilePath, merkle, note, split_entries};

#[tokio::test]
async fn every_proof_verifies_at_every_size_and_after_a_restart() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let mut hashes = vec![merkle::leaf_hash(b"seal 1")];
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..599_u32 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                ledger
                    .refuse(number.to_be_bytes().to_vec(), t(0))
                    .await
                    .expect("leaf")
            });
        }
        let mut leaves = tasks.join_all().await;
        leaves.sort_unstable_by_key(|leaf| leaf.index);
        hashes.extend(leaves.iter().map(|leaf| *leaf.hash.as_bytes()));
        let check = |ledger: &Ledger, hashes: &[Hash]| {
            let size = hashes.len() as u64;
            let sizes = [1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 599, 600]
                .into_iter()
                .filter(|&n| n <= size);
            for old in sizes {
                let root = merkle::root(&hashes[..old as usize]);
                assert_eq!(ledger.root_at(old), Ok(Some(root)));
                for index in [0, 1, 2, 127, 254, 255, 256, 300, 511, 512, 598, 599]
                    .into_iter()
                    .filter(|&n| n < old)
                {
                    let path = ledger.inclusion(index, old).expect("read").expect("path");
                    merkle::verify_inclusion(&hashes[index as usize], index, old, &path, &root)
                        .map(drop)
                        .expect("included");
                }
                let whole = merkle::root(hashes);
                let path = ledger.consistency(old, size).expect("read").expect("path");
                merkle::verify_consistency(old, &root, size, &whole, &path)
                    .map(drop)
                    .expect("consistent");
            }
            assert_eq!(ledger.inclusion(size, size), Ok(None));
            assert_eq!(ledger.inclusion(0, size + 1), Ok(None));
            assert_eq!(ledger.consistency(1, size + 1), Ok(None));
        };
        check(&ledger, &hashes);
        let tile = |ledger: &Ledger, path: &str| {
            ledger
                .tile(&TilePath::parse(path).expect("path"))
                .expect("read")
        };
        for ledger in [ledger.clone(), {
            ledger.close().await.expect("closed");
            world.open().ledger()
        }] {
            check(&ledger, &hashes);
            assert_eq!(
                tile(&ledger, "tile/0/000").as_deref(),
                Some(hashes[..256].as_flattened())
            );
            assert_eq!(
                tile(&ledger, "tile/0/000.p/7").as_deref(),
                Some(hashes[..7].as_flattened()),
                "of an older tree"
            );
            assert_eq!(
                tile(&ledger, "tile/0/002.p/88").as_deref(),
                Some(hashes[512..].as_flattened())
            );
            assert_eq!(tile(&ledger, "tile/0/002.p/89"), None);
            let above = [
                merkle::root(&hashes[..256]),
                merkle::root(&hashes[256..512]),
            ];
            assert_eq!(
                tile(&ledger, "tile/1/000.p/2").as_deref(),
                Some(above.as_flattened())
            );
            assert_eq!(tile(&ledger, "tile/1/000"), None);
            let entries = tile(&ledger, "tile/entries/002.p/88").expect("entries");
            let entries = split_entries(&entries).expect("whole");
            assert!(
                entries
                    .iter()
                    .map(|entry| merkle::leaf_hash(entry))
                    .eq(hashes[512..].iter().copied())
            );
        }
        let ledger = world.open_after_close().await;
        seal(&ledger, 2).await.expect("goes on");
        hashes.push(merkle::leaf_hash(b"seal 2"));
        check(&ledger, &hashes);
    }
}

#[tokio::test]
async fn the_same_database_rows_always_result_in_the_same_checkpoint() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let early = ledger.checkpoint().expect("read").expect("signed");
        assert_eq!(early, ledger.checkpoint().expect("read").expect("signed"));
        assert_eq!(
            ledger.reads().checkpoint(),
            Ok(None),
            "signing a checkpoint causes no commit"
        );
        for number in 0..5 {
            run_whole(&ledger, number).await;
        }
        assert_eq!(
            ledger.reads().checkpoint(),
            Ok(Some(early.clone())),
            "the next batch records the checkpoint"
        );
        let late = ledger.checkpoint().expect("read").expect("signed");
        assert_eq!(
            ledger.checkpoint_at(early.size).expect("read"),
            Some(early.clone()),
            "the same bytes again"
        );
        assert_eq!(ledger.checkpoint_at(late.size + 1), Ok(None));
        let parsed = note::Note::parse(&late.note).expect("note");
        let origin = ledger.origin().expect("sealed");
        assert_eq!(
            origin,
            format!("test/{}", &SealDigest::of(&[1]).hex()[..16])
        );
        let text = note::verify_note(&parsed, &origin, &SecretKey::from_seed([3; 32]).public())
            .expect("verified");
        let checkpoint = Checkpoint::parse(text.as_str()).expect("checkpoint");
        assert_eq!((checkpoint.size, checkpoint.root), (late.size, late.root));
    }
}

#[tokio::test]
async fn a_second_root_hash_for_the_same_log_size_ends_the_process() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.checkpoint().expect("read");
        seal(&ledger, 2).await.expect("recorded");
        let forked = CheckpointRow {
            size: 1,
            root: [9; 32],
            note: String::new(),
        };
        ledger.shared.unrecorded.lock().expect("lock").push(forked);
        let stop = seal(&ledger, 3).await;
        assert!(
            matches!(stop, Err(WriteStop::Fault(StoreFault::Broken { .. }))),
            "{stop:?}"
        );
        assert_eq!(world.fatal.lock().expect("lock").len(), 1);
        assert_eq!(
            seal(&ledger, 3).await,
            Err(WriteStop::Fault(StoreFault::Closed))
        );
        let ledger = world.open_after_close().await;
        assert_eq!(ledger.state().size, 2, "nothing of the batch is stored");
    }
}

#[tokio::test]
async fn a_checkpoint_is_made_from_rows_that_were_read_back_after_the_commit() {
    for world in World::on_each_engine() {
        let (ledger, commits) = world.open_failing();
        seal(&ledger, 1).await.expect("seal");
        let before = ledger.checkpoint().expect("read").expect("signed");
        // During a commit, readers and checkpoints see the log without the batch.
        let asking = commits
            .hold(&ledger, |ledger| async move { seal(&ledger, 2).await })
            .await;
        assert_eq!(ledger.checkpoint(), Ok(Some(before.clone())));
        commits.held.store(false, SeqCst);
        asking.await.expect("joined").expect("sealed");
        assert_eq!(ledger.checkpoint().expect("read").expect("signed").size, 2);
        // If the stored leaf hashes differ from the written hashes, the ledger signs nothing and ends the process.
        commits.lies.store(true, SeqCst);
        let stop = seal(&ledger, 3).await;
        assert!(
            matches!(stop, Err(WriteStop::Fault(StoreFault::Broken { .. }))),
            "{stop:?}"
        );
        assert_eq!(world.fatal.lock().expect("lock").len(), 1);
        assert_eq!(ledger.state().size, 2, "readers see nothing of the batch");
    }
}

#[tokio::test]
async fn a_log_that_does_not_match_its_own_checkpoint_is_not_opened() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        ledger.checkpoint().expect("read");
        seal(&ledger, 2).await.expect("recorded");
        ledger.close().await.expect("closed");
        // The checkpoint at size 2 was recorded when the ledger was closed.
        world.tamper("DELETE FROM checkpoint WHERE size = 1; UPDATE checkpoint SET size = 9");
        let (store, reads) = world.store();
        let opened = Ledger::open(store, reads, world.config());
        assert!(
            matches!(opened.err(), Some(StoreFault::Unusable { message }) if message.contains("checkpoint at 9"))
        );
        world.tamper("UPDATE checkpoint SET size = 1; UPDATE leaf SET hash = (SELECT hash FROM leaf WHERE idx = 1) WHERE idx = 0");
        // PostgreSQL compares the entries with their hashes when the store is opened.
        let opened = world
            .try_open()
            .and_then(|(store, reads)| Ledger::open(store, reads, world.config()));
        assert!(opened.is_err_and(|fault| matches!(fault, StoreFault::Unusable { .. })));
    }
}
