//! Keeps the results of a run, after its processes have ended.
//!
//! The file also makes the output and the files of a run durable, and waits for free disk space or the database server.

use std::{io, sync::Arc, time::Duration};

use crate::{
    Closing, Crossing, KeptResults, Outputs, Patience, RecordedRows, RecordedRun,
    carried::kept_results::kept_results, outcome_of,
};
use documents::{SessionUse, Status};
use sandbox::{End, Report, RunResults, SecretMasks, SessionTree};

/// Maximum size of the files that a session keeps, in bytes.
const MAX_SESSION_BYTES: u64 = 128 << 20;

impl Crossing {
    /// Reads what a run left, and puts the state of its session in force. The processes of the run have ended.
    pub(super) async fn keep_results(
        &self,
        report: &mut Report,
        closing: &mut Closing,
        masks: Option<Arc<SecretMasks>>,
    ) -> KeptResults {
        let (claim, results) = (closing.session.take(), report.results.take());
        if claim.is_none() && results.is_none() {
            // Most runs leave nothing, so no other thread is woken for them.
            return KeptResults::default();
        }
        let outcome = outcome_of(&report.end);
        // A shell that gets a signal may still write its state, but the step did not finish.
        let ended = matches!(report.end, End::Exited(_));
        let (step, authorization, at) = (
            closing.basis.step.reference.clone(),
            closing.claim.authorization.digest,
            self.now(),
        );
        let given = closing.given.clone();
        let read = tokio::task::spawn_blocking(move || {
            let holds_secret =
                |bytes: &[u8]| masks.as_ref().is_some_and(|masks| masks.contains(bytes));
            let session = claim.map(|claim| {
                let results = results
                    .as_ref()
                    .filter(|_| given.session == SessionUse::Write);
                let captured = results
                    .and_then(RunResults::session_state)
                    .filter(|_| ended && given.writes_state);
                let (tree, too_large) = results.map_or((None, None), |results| {
                    kept_tree(results, masks.is_some(), &holds_secret)
                });
                let (work, mut notes) = (tree.as_ref().map(|(tree, _)| &**tree), Vec::new());
                let state = captured
                    .map(|captured| claim.state_after(&captured, work, &given, &mut notes))
                    .transpose();
                let mut state = state.unwrap_or_else(|error| {
                    notes.push(format!("the state of the session did not change: {error}"));
                    None
                });
                if let Some(state) = &mut state {
                    state
                        .env
                        .retain(|name, value| !holds_secret(name) && !holds_secret(value));
                    state.cwd = state.cwd.take().filter(|cwd| !holds_secret(cwd));
                }
                notes.extend(too_large);
                (claim.settle(state, tree, &authorization, &step, at), notes)
            });
            let succeeded = matches!(outcome.status, Status::Succeeded | Status::Warned);
            let kept = results
                .filter(|_| succeeded)
                .map(|results| kept_results(&results, &given.outputs, &holds_secret));
            (session, kept.unwrap_or_default())
        });
        match read.await {
            Ok((session, mut kept)) => {
                if let Some((change, notes)) = session {
                    closing.change = Some(change);
                    kept.notes.extend(notes);
                }
                kept
            }
            Err(error) => {
                tracing::error!(proposal = %closing.basis.proposal, "the results of the run are lost: {error}");
                KeptResults::default()
            }
        }
    }
}

/// Returns the files that a session keeps with their size in bytes, or a note that says why the session keeps no files.
/// The files are in the memory of the host.
fn kept_tree(
    results: &RunResults,
    has_secrets: bool,
    holds_secret: &dyn Fn(&[u8]) -> bool,
) -> (Option<(Arc<SessionTree>, u64)>, Option<String>) {
    let stays = |why: String| {
        (
            None,
            Some(format!("the files of the session did not change: {why}")),
        )
    };
    let Some(tree) = results.work() else {
        return (None, None);
    };
    let bytes = match tree.bytes() {
        Ok(bytes) if bytes <= MAX_SESSION_BYTES => bytes,
        Ok(bytes) => {
            return stays(format!(
                "they need {bytes} bytes, and a session keeps at most {MAX_SESSION_BYTES} bytes"
            ));
        }
        Err(error) => return stays(error.to_string()),
    };
    match if has_secrets {
        tree.contains(holds_secret)
    } else {
        Ok(false)
    } {
        Ok(false) => (Some((tree.clone(), bytes)), None),
        Ok(true) => stays("one of them contains a secret of the run".to_owned()),
        Err(error) => stays(error.to_string()),
    }
}

/// Maximum number of attempts to write output after a failure other than a full disk, for example if the process has no
/// free descriptors.
const OUTPUT_TRIES: usize = 3;
const OUTPUT_PAUSE: Duration = Duration::from_millis(200);

impl Crossing {
    /// Makes the output of a run durable. If the disk is full or the database server does not answer, the boundary waits.
    /// After another failure, the boundary drops the output. The receipt still states the end of the run and the digests of the
    /// output.
    pub(super) async fn keep_output(&self, run: &RecordedRun) -> RecordedRows {
        let RecordedRun {
            output,
            recording,
            kept: results,
        } = run;
        if Outputs::is_inline(output)
            && results.files.is_empty()
            && let Ok(kept) = self.outputs.keep(output, recording, results, |name: &_| {
                self.ledger.output_path(name)
            })
        {
            return kept;
        }
        let mut patience = Patience::default();
        let mut tries = 0;
        loop {
            let (outputs, ledger) = (self.outputs.clone(), self.ledger.clone());
            let (copied, shared, results) = (output.clone(), recording.shared(), results.clone());
            let kept = tokio::task::spawn_blocking(move || {
                outputs.keep(&copied, &shared, &results, |name: &_| {
                    ledger.output_path(name)
                })
            });
            let error = match kept.await {
                Ok(Ok(kept)) => return kept,
                Ok(Err(error)) => error,
                Err(error) => io::Error::other(error),
            };
            let proposal = &recording.proposal;
            if can_pass(&error) && patience.is_left(&self.capacity) {
                patience.wait(proposal, &error).await;
                continue;
            }
            tries += 1;
            if tries == OUTPUT_TRIES {
                tracing::error!(%proposal, "the output of the run is lost, but the receipt will be written: {error}");
                return RecordedRows::default();
            }
            tokio::time::sleep(OUTPUT_PAUSE).await;
        }
    }
}

/// Returns true if the disk is full or the database server does not answer.
fn can_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{NotConnected, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | NotConnected)
}
