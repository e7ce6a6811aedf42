//! Housekeeping: the periodic work of the service.
//!
//! [`DelayedRuns`] has the reasons why approved runs have not begun. A reason is the latest refusal of an attempt to
//! start the run. The reasons are stored only in memory. After a restart, the next attempt to start the run stores its
//! reason again.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{DataGrowth, Health, NoteSource, RefusalLog};
use crossing::{ArtifactStore, Changes, Crossing, Outputs, Refusal, RunsInProgress, Sessions};
use documents::{Blake3Digest, Code, ProposalId, locked};
use store::{Ledger, Retention, StoreResult};
use wire::RefusalView;

/// Interval between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(20);
/// Minimum interval between two rounds, for retention times of a few seconds.
const OFTENEST_HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Maximum number of outputs and proposals that one round deletes.
const RETIRE_AT_ONCE: usize = 500;
const RETIRE_PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of nonces that one round examines. A larger transaction would delay runs.
const PRUNE_AT_ONCE: usize = 1000;

/// Periodic work of the service.
pub struct Housekeeping {
    /// The crossing.
    pub crossing: Arc<Crossing>,
    /// The store.
    pub ledger: Ledger,
    /// The runs in progress.
    pub live: Arc<RunsInProgress>,
    /// Wakes the tasks that wait for a change of a proposal.
    pub changes: Arc<Changes>,
    /// The directory of large outputs.
    pub outputs: Outputs,
    /// The uploaded files.
    pub artifacts: ArtifactStore,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The log of refusals.
    pub refusals: Arc<RefusalLog>,
    /// The times for which data that is not evidence is stored.
    pub retention: Retention,
    /// The sizes of the data in the last days.
    pub growth: Arc<DataGrowth>,
    /// The health report, which says why old log entries are not packed.
    pub health: Arc<Health>,
}

impl Housekeeping {
    /// Repeats the periodic work until the service ends: marks expired proposals, removes old nonces, deletes data
    /// after its retention time and summarises refusals.
    pub async fn keep_house(self: Arc<Self>) {
        let shortest = self
            .retention
            .outputs_s
            .min(self.retention.proposals_s)
            .min(self.retention.pack_s);
        let often = Duration::from_secs(u64::try_from(shortest / 2).unwrap_or(0))
            .max(OFTENEST_HOUSEKEEPING);
        let every = HOUSEKEEPING.min(often);
        tokio::join!(self.clone().keep_tidy(every), self.keep_packed(every));
    }

    async fn keep_tidy(self: Arc<Self>, every: Duration) {
        let mut every = tokio::time::interval(every);
        // Delete unused files in a separate task, because there may be many files.
        let sweeping = self.clone();
        tokio::spawn(async move { sweeping.sweep_outputs().await });
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.crossing.capacity().log_disk();
            if let Err(error) = self.tidy().await {
                tracing::error!("housekeeping: {error}");
            }
            self.refusals.summarise_refusals().await;
            if let Err(error) = self.measure_data().await {
                tracing::warn!("the size of the data can't be stored: {error}");
            }
        }
    }

    /// Packs old log entries. The pauses are so long that packing takes a tenth of the time of one processor core.
    /// Nothing is packed on an almost full disk, whose remaining space is for the current runs.
    async fn keep_packed(&self, every: Duration) {
        loop {
            if self.crossing.capacity().disk_trouble().is_some() {
                tokio::time::sleep(every).await;
                continue;
            }
            let began = tokio::time::Instant::now();
            let packed = self.ledger.pack(self.retention.pack_s).await;
            let failed = packed.as_ref().err().map(ToString::to_string);
            self.health.set(NoteSource::Packing, failed);
            let pause = match packed {
                Ok(true) => began.elapsed() * 9,
                Ok(false) => every,
                Err(error) => {
                    tracing::error!("housekeeping: {error}");
                    HOUSEKEEPING
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Stores the size of the data, if the next size is due and the clock is right.
    async fn measure_data(&self) -> io::Result<()> {
        let now = self.crossing.now();
        if !self.growth.is_due(now) || self.ledger.clock_trouble().is_some() {
            return Ok(());
        }
        let (ledger, growth) = (self.ledger.clone(), self.growth.clone());
        let (outputs, artifacts) = (self.outputs.clone(), self.artifacts.clone());
        let measured = tokio::task::spawn_blocking(move || {
            let bytes = ledger.bytes().map_err(io::Error::other)?;
            growth.add(
                now,
                bytes
                    .saturating_add(outputs.bytes())
                    .saturating_add(artifacts.bytes()),
            )
        });
        measured.await.map_err(io::Error::other)?
    }

    async fn tidy(&self) -> StoreResult {
        for id in self.sessions.expire() {
            tracing::info!(session = %id, "the session is over: no run and no proposal used it for too long");
        }
        let (artifacts, now) = (self.artifacts.clone(), self.crossing.now());
        match tokio::task::spawn_blocking(move || artifacts.retire(now)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(deleted)) => tracing::debug!(deleted, "the retention of artifacts has ended"),
            Ok(Err(error)) => tracing::error!("housekeeping: artifacts: {error}"),
            Err(error) => tracing::error!("housekeeping: artifacts: {error}"),
        }
        loop {
            let expired = self.ledger.expire(self.crossing.now()).await?;
            if expired.is_empty() {
                break;
            }
            expired.iter().for_each(|id| self.changes.notify(id));
        }
        if let Some(trouble) = self.ledger.clock_trouble() {
            tracing::error!("{trouble}");
        }
        self.prune().await?;
        self.retire().await
    }

    /// Removes expired nonces, in small rounds with pauses so that runs can write to the store. Each round removes at
    /// most `PRUNE_AT_ONCE` nonces. After a round that removes fewer, the function returns.
    async fn prune(&self) -> StoreResult {
        loop {
            let pruned = self.ledger.prune(PRUNE_AT_ONCE).await?;
            if pruned.deleted > 0 {
                tracing::debug!(deleted = pruned.deleted, mark = %pruned.mark, "pruned nonces");
            }
            if pruned.deleted < PRUNE_AT_ONCE {
                if pruned.ahead_s > JUMP_S {
                    tracing::warn!(
                        seconds = pruned.ahead_s,
                        "the clock is ahead of the low-water mark: the removal of old nonces waits until the clock is right"
                    );
                }
                return Ok(());
            }
            tokio::time::sleep(RETIRE_PAUSE).await;
        }
    }

    /// Deletes data after its retention time, in small rounds with pauses so that runs can write to the store.
    async fn retire(&self) -> StoreResult {
        loop {
            let retired = self.ledger.retire(self.retention, RETIRE_AT_ONCE).await?;
            // The deletion of the rows is durable. A crash at this point leaves files that no row names, and the next
            // start deletes these files.
            self.remove_files(retired.files).await;
            if retired.deleted == 0 {
                return Ok(());
            }
            tracing::debug!(deleted = retired.deleted, "retention has ended");
            tokio::time::sleep(RETIRE_PAUSE).await;
        }
    }

    /// Removes the output files that no row names. A crash after the write of a file and before the write of its row
    /// leaves such a file.
    async fn sweep_outputs(&self) {
        let outputs = self.outputs.clone();
        let names = tokio::task::spawn_blocking(move || outputs.names())
            .await
            .unwrap_or_default();
        self.remove_files(names).await;
    }

    async fn remove_files(&self, names: Vec<Blake3Digest>) {
        if names.is_empty() {
            return;
        }
        let (outputs, ledger) = (self.outputs.clone(), self.ledger.clone());
        let removed = tokio::task::spawn_blocking(move || {
            for name in names {
                let named = || {
                    ledger
                        .output_size(&name)
                        .map(|size| size.is_some())
                        .map_err(io::Error::other)
                };
                outputs.remove(&name, &ledger.output_path(&name), named)?;
            }
            Ok::<_, io::Error>(())
        });
        // If one file can't be removed, continue with the next file.
        if let Err(error) = removed.await.map_err(io::Error::other).flatten() {
            tracing::error!("an output whose retention has ended can't be deleted: {error}");
        }
    }

    /// Refuses new runs from this call on. Runs in progress that have not ended after the time `grace` are cancelled.
    pub async fn end_runs(&self, grace: Duration) {
        self.crossing.capacity().close();
        let deadline = tokio::time::Instant::now() + grace;
        while self.crossing.capacity().is_running() && tokio::time::Instant::now() < deadline {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
        while self.crossing.capacity().is_running() {
            // Repeat the cancellation, because a run whose nonce was just spent may begin later.
            self.live.cancel_all();
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
    }

    /// Ends all runs and closes the store.
    pub async fn drain(&self, grace: Duration) {
        self.end_runs(grace).await;
        self.refusals.close_refusals().await;
        if let Err(error) = self.ledger.close().await {
            tracing::error!("closing the store: {error}");
        }
    }
}

/// Minimum difference in seconds between the clock and the low-water mark at which the operator gets a warning.
const JUMP_S: i64 = 86_400;

/// The latest refusal of each approved run that has not begun. A proposal has at most one refusal here.
#[derive(Default)]
pub struct DelayedRuns(Mutex<HashMap<ProposalId, RefusalView>>);

impl DelayedRuns {
    /// Stores the refusal of an attempt to start a run. Returns true if this refusal differs from the previous refusal.
    pub fn keep(&self, id: &ProposalId, refused: &Refusal) -> bool {
        let why = RefusalView::new(refused.code, &refused.detail);
        locked(&self.0).insert(id.clone(), why.clone()) != Some(why)
    }

    /// Returns the latest refusal of an attempt to start the run.
    pub fn of(&self, id: &ProposalId) -> Option<RefusalView> {
        locked(&self.0).get(id).cloned()
    }

    /// Counts the delayed runs for which `still` returns true, by the code of the refusal. The result contains each
    /// code of `codes`.
    pub fn count(&self, codes: &[Code], still: impl Fn(&ProposalId) -> bool) -> Vec<(Code, u64)> {
        let mut counts: Vec<(Code, u64)> = codes.iter().map(|code| (*code, 0)).collect();
        for (id, why) in locked(&self.0).iter() {
            if let Some((_, count)) = counts.iter_mut().find(|(code, _)| *code == why.code)
                && still(id)
            {
                *count += 1;
            }
        }
        counts
    }

    /// Removes the stored refusal of a run that the boundary no longer tries to start.
    pub fn forget(&self, id: &ProposalId) {
        locked(&self.0).remove(id);
    }
}
