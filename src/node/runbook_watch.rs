//! Looks for changes of the runbooks while the service runs.

use std::time::Duration;

use crate::node::watchdog::every;
use boundary::Boundary;
use reading::RunbookDirectories;
use workbench::states_below;

/// What the service does after a runbook changed.
pub enum RunbookWatch {
    /// Seal the runbooks again.
    Seal,
    /// Tell the operator what differs from the seal.
    Tell,
}

/// Interval between two reads of the directories.
const EVERY: Duration = Duration::from_secs(1);
/// Maximum depth of a directory that is read. The loader of runbooks reads only directories of a lower depth.
const MAX_DEPTH: usize = 20;

/// Seals the runbooks after each change, or tells what differs. A change is complete if two reads find the same state,
/// because an editor may write a file in several steps. Runbooks that can't be sealed leave the old seal in force, and
/// the health report says why.
pub async fn keep_watching(boundary: Boundary, runbooks: RunbookDirectories, watch: RunbookWatch) {
    let mut every = every(EVERY);
    // The first read counts as a change, because a runbook may have changed since the seal.
    let (mut handled, mut before) = (None, None);
    loop {
        every.tick().await;
        let directories = runbooks.paths.clone();
        let look = move || {
            directories
                .iter()
                .flat_map(|directory| states_below(directory, MAX_DEPTH, usize::MAX, &[]))
                .collect::<Vec<_>>()
        };
        let Ok(now) = tokio::task::spawn_blocking(look).await else {
            continue;
        };
        let complete = before.as_ref() == Some(&now) && handled.as_ref() != Some(&now);
        before = Some(now);
        if !complete {
            continue;
        }
        handled.clone_from(&before);
        match watch {
            RunbookWatch::Seal => {
                if let Err(stopped) = boundary.sealing.reseal(runbooks.clone()).await {
                    tracing::error!("{stopped}");
                }
            }
            RunbookWatch::Tell => boundary.sealing.tell_differences(runbooks.clone()).await,
        }
    }
}
