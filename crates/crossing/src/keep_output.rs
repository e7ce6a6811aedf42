//! Makes the output and the files of a run durable, and waits for free disk space or the database server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Crossing, KeptResults, Outputs, Patience, RecordedOutput, RecordedRows, RunInProgress,
};

/// Maximum number of attempts to write output after a failure other than a full disk, for example if the process has no
/// free descriptors.
const OUTPUT_TRIES: usize = 3;
const OUTPUT_PAUSE: Duration = Duration::from_millis(200);

impl Crossing {
    /// Makes the output of a run durable. If the disk is full or the database server does not answer, the boundary waits.
    /// After another failure, the boundary drops the output. The receipt still states the end of the run and the digests of the
    /// output.
    pub(super) async fn keep_output(
        &self,
        recorded: &RecordedOutput,
        recording: &RunInProgress,
        results: &Arc<KeptResults>,
    ) -> RecordedRows {
        if Outputs::is_inline(recorded)
            && results.files.is_empty()
            && let Ok(kept) = self.outputs.keep(recorded, recording, results, |name: &_| {
                self.ledger.output_path(name)
            })
        {
            return kept;
        }
        let mut patience = Patience::default();
        let mut tries = 0;
        loop {
            let (outputs, ledger) = (self.outputs.clone(), self.ledger.clone());
            let (copied, shared, results) = (recorded.clone(), recording.shared(), results.clone());
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
            let proposal = recording.proposal();
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
