//! Outputs in rows and in files, and the deletion of rows after their retention.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    ConsumeStop, Finish, Ledger, OutputRow, ProposalStatus, ProposalStep, Retention,
    ledger::tests::{T0, World, consume_of, core, finish_of, new_proposal, status, t},
};
use documents::{Blake3Digest, BlobDigest, ProposalId};

/// Returns the runs with an output, the newest first, one with each read.
fn runs_of(ledger: &Ledger, name: &Blake3Digest) -> Vec<ProposalId> {
    let mut found: Vec<ProposalId> = Vec::new();
    while let Some(run) = ledger
        .reads()
        .runs_with_output(name, found.last(), 1)
        .expect("read")
        .pop()
    {
        assert_eq!((run.proposer, run.step), (core(1).proposer, core(1).step));
        found.push(run.proposal);
    }
    found
}

#[tokio::test]
async fn ranges_of_outputs_are_read_from_rows_and_from_files() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let large: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let (small_name, large_name) = (Blake3Digest::of(b"hello"), Blake3Digest::of(&large));
        if let Some(objects) = ledger.objects() {
            objects
                .keep(large_name.as_bytes(), &|to| {
                    large.chunks(70_000).try_for_each(&mut *to)
                })
                .expect("kept");
        } else {
            let path = ledger.output_path(&large_name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(&path, &large).expect("file");
        }
        let outputs = vec![
            OutputRow {
                name: small_name,
                bytes: 5,
                data: Some(b"hello".to_vec()),
            },
            OutputRow {
                name: large_name,
                bytes: 200_000,
                data: None,
            },
        ];
        ledger
            .consume(consume_of(&ledger, core(1)))
            .await
            .expect("consumed");
        let finish = Finish {
            outputs: outputs.clone(),
            order: Some(vec![1, 2]),
            blobs: vec![(BlobDigest::of(b"[]"), b"[]".to_vec())],
            ..finish_of(&ledger, &core(1).id)
        };
        ledger.finish(finish).await.expect("finished");
        ledger
            .consume(consume_of(&ledger, core(2)))
            .await
            .expect("consumed");
        ledger
            .finish(Finish {
                outputs,
                ..finish_of(&ledger, &core(2).id)
            })
            .await
            .expect("the same output twice");
        assert_eq!(ledger.output(&small_name, 1..3), Ok(Some(b"el".to_vec())));
        assert_eq!(ledger.output(&small_name, 4..900), Ok(Some(b"o".to_vec())));
        assert_eq!(ledger.output(&small_name, 9..10), Ok(Some(Vec::new())));
        assert_eq!(
            ledger.output(&large_name, 199_999..u64::MAX),
            Ok(Some(vec![large[199_999]]))
        );
        assert_eq!(ledger.output(&Blake3Digest::of(b""), 0..1), Ok(None));
        assert_eq!(ledger.output_size(&large_name), Ok(Some(200_000)));
        assert_eq!(
            ledger.reads().output_order(&core(1).id),
            Ok(Some(vec![1, 2]))
        );
        assert_eq!(runs_of(&ledger, &small_name), vec![core(2).id, core(1).id]);
        assert_eq!(
            ledger.reads().blob(&BlobDigest::of(b"[]")),
            Ok(Some(b"[]".to_vec()))
        );
    }
}

#[tokio::test]
async fn retention_uses_the_low_water_mark_and_deletes_no_proposal_that_could_still_run() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let kept = Retention {
            outputs_s: 100,
            proposals_s: 100,
            pack_s: 100,
        };
        let end = |number: u8| ProposalStep {
            proposal: core(number).id,
            from: Vec::new(),
            to: ProposalStatus::Cancelled,
            at: t(0),
            detail: Vec::new(),
        };
        for number in [1, 2, 3] {
            ledger
                .propose(new_proposal(number))
                .await
                .expect("proposed");
        }
        ledger.advance(end(1)).await.expect("cancelled");
        ledger
            .consume(consume_of(&ledger, core(2)))
            .await
            .expect("consumed");
        let output = OutputRow {
            name: Blake3Digest::of(b"out"),
            bytes: 3,
            data: Some(b"out".to_vec()),
        };
        let large = OutputRow {
            name: Blake3Digest::of(b"large"),
            bytes: 70_000,
            data: None,
        };
        let finish = Finish {
            outputs: vec![output.clone(), large.clone()],
            ..finish_of(&ledger, &core(2).id)
        };
        ledger.finish(finish).await.expect("finished");
        // On a database server, a batch records no output whose pieces are missing.
        let recorded = ledger.objects().is_none().then_some(70_000);
        assert_eq!(ledger.output_size(&large.name), Ok(recorded));
        // A leap of the clock by a year deletes nothing, because the low-water mark follows the time since boot.
        world.clock.fetch_add(365 * 86_400, SeqCst);
        ledger.prune(10).await.expect("pruned");
        assert_eq!(ledger.retire(kept, 10).await.expect("retired").deleted, 0);
        world.clock.store(T0 + 200, SeqCst);
        world.boot.store(200, SeqCst);
        ledger.prune(10).await.expect("pruned");
        let retired = ledger.retire(kept, 10).await.expect("retired");
        let files = recorded.map(|_| large.name).into_iter().collect::<Vec<_>>();
        assert_eq!(
            retired.files, files,
            "the result names the files of deleted rows"
        );
        assert_eq!(ledger.output_size(&output.name), Ok(None));
        let known = runs_of(&ledger, &output.name);
        assert_eq!(
            known,
            [core(2).id],
            "the store still knows the run of a deleted output"
        );
        // The cancelled proposal is old, but its window is open, and only its row prevents a second run.
        assert_eq!(status(&ledger, 1), Some(ProposalStatus::Cancelled));
        let again = ledger.consume(consume_of(&ledger, core(1))).await;
        assert_eq!(
            again,
            Err(ConsumeStop::WrongState(ProposalStatus::Cancelled))
        );
        world.clock.store(T0 + 3601, SeqCst);
        world.boot.store(3601, SeqCst);
        ledger.prune(10).await.expect("pruned");
        ledger.retire(kept, 10).await.expect("retired");
        assert_eq!(status(&ledger, 1), None);
        let again = ledger.consume(consume_of(&ledger, core(1))).await;
        assert!(
            matches!(again, Err(ConsumeStop::Expired { .. })),
            "{again:?}"
        );
        assert_eq!(
            (status(&ledger, 2), status(&ledger, 3)),
            (
                Some(ProposalStatus::Finished),
                Some(ProposalStatus::Pending)
            )
        );
        assert!(ledger.payload(&core(3).id).expect("read").is_some());
        // Repeated calls with a small limit reach all rows and then start again.
        for _ in 0..9 {
            ledger.retire(kept, 1).await.expect("retired");
        }
        assert_eq!(status(&ledger, 2), Some(ProposalStatus::Finished));
    }
}
