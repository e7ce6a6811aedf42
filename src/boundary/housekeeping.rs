//! Housekeeping: what goes on beside the runs, from the start to the end of the service.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::boundary::refusal_log::RefusalLog;
use crate::crossing::changes::Changes;
use crate::crossing::cross::Crossing;
use crate::crossing::live::Live;
use crate::crossing::outputs::Outputs;
use crate::crypto::digest::Blake3Digest;
use crate::store::ledger::Ledger;
use crate::store::message::Retention;

/// How often overdue proposals are marked, nonces pruned and refusals summed up.
const HOUSEKEEPING: Duration = Duration::from_secs(20);
/// How often at most, where something is kept for seconds only.
const OFTENEST_HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Outputs and proposals looked at in one round of retention, and the pause after one that deleted something.
const RETIRE_AT_ONCE: usize = 500;
const RETIRE_PAUSE: Duration = Duration::from_millis(20);
/// Nonces looked at in one round of pruning: never holds up a run.
const PRUNE_AT_ONCE: usize = 1000;

/// Housekeeping.
pub struct Housekeeping {
    /// The crossing.
    pub crossing: Arc<Crossing>,
    /// The store.
    pub ledger: Ledger,
    /// Runs that live.
    pub live: Arc<Live>,
    /// Who waits for a proposal to change.
    pub changes: Arc<Changes>,
    /// Large outputs.
    pub outputs: Outputs,
    /// Where refusals are logged.
    pub refusals: Arc<RefusalLog>,
    /// How long what is no evidence is kept.
    pub retention: Retention,
}

impl Housekeeping {
    /// Runs until the service ends: marks what is overdue, prunes nonces, deletes what its retention has ended, sums up
    /// refusals.
    pub async fn keep_house(self: Arc<Self>) {
        let shortest = self.retention.outputs_s.min(self.retention.proposals_s);
        let often = Duration::from_secs(u64::try_from(shortest / 2).unwrap_or(0)).max(OFTENEST_HOUSEKEEPING);
        let mut every = tokio::time::interval(HOUSEKEEPING.min(often));
        // Beside: there may be many.
        let sweeping = self.clone();
        tokio::spawn(async move {
            if let Err(error) = sweeping.sweep_outputs().await {
                tracing::error!("housekeeping: {error}");
            }
        });
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut full = false;
        loop {
            every.tick().await;
            // One line when it begins and one when it ends: the refusals in between are each caller's own.
            let trouble = self.crossing.capacity().disk_trouble();
            match (full, &trouble) {
                (false, Some(trouble)) => tracing::warn!("{trouble}"),
                (true, None) => tracing::info!("the disk of the store has room again: proposals are taken"),
                _ => {}
            }
            full = trouble.is_some();
            if let Err(error) = self.tidy().await {
                tracing::error!("housekeeping: {error}");
            }
            self.refusals.summarise_refusals().await;
        }
    }

    async fn tidy(&self) -> Result<(), crate::store::fault::Fault> {
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
        let pruned = self.ledger.prune(PRUNE_AT_ONCE).await?;
        if pruned.deleted > 0 {
            tracing::debug!(deleted = pruned.deleted, mark = %pruned.mark, "pruned nonces");
        }
        if pruned.ahead_s > JUMP_S {
            tracing::warn!(
                seconds = pruned.ahead_s,
                "the clock is ahead of the low-water mark: pruning waits, nothing else does"
            );
        }
        self.retire().await
    }

    /// Deletes what its retention has ended, some at a time and with pauses: runs come in between.
    async fn retire(&self) -> Result<(), crate::store::fault::Fault> {
        loop {
            let retired = self.ledger.retire(self.retention, RETIRE_AT_ONCE).await?;
            // The rows are gone, durably. A crash right here leaves files that no row names: the next start sweeps them.
            self.remove_files(retired.files).await?;
            if retired.deleted == 0 {
                return Ok(());
            }
            tracing::debug!(deleted = retired.deleted, "retention has ended");
            tokio::time::sleep(RETIRE_PAUSE).await;
        }
    }

    /// Removes the files that no row names: what a crash left between a file and its row.
    async fn sweep_outputs(&self) -> Result<(), crate::store::fault::Fault> {
        let outputs = self.outputs.clone();
        let names = tokio::task::spawn_blocking(move || outputs.names()).await.unwrap_or_default();
        self.remove_files(names).await
    }

    async fn remove_files(&self, names: Vec<Blake3Digest>) -> Result<(), crate::store::fault::Fault> {
        if names.is_empty() {
            return Ok(());
        }
        let (outputs, ledger) = (self.outputs.clone(), self.ledger.clone());
        let removed = tokio::task::spawn_blocking(move || {
            for name in names {
                let named = || ledger.output_size(&name).map(|size| size.is_some()).map_err(io::Error::other);
                outputs.remove(&name, &ledger.output_path(&name), named)?;
            }
            Ok::<_, io::Error>(())
        });
        let removed = removed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        // A file that can't be removed keeps nothing else from going.
        if let Err(error) = removed {
            tracing::error!("an output that is no longer kept can't be removed: {error}");
        }
        Ok(())
    }

    /// From now on `/ready` says that the service is ending, and nothing new is verified.
    pub fn begin_ending(&self) {
        self.crossing.capacity().close_verification();
    }

    /// Ends what lives: new runs are refused from now on, those that run may end within `grace`, then they are cancelled.
    pub async fn end_runs(&self, grace: Duration) {
        self.crossing.capacity().close();
        let deadline = tokio::time::Instant::now() + grace;
        while self.crossing.capacity().is_running() && tokio::time::Instant::now() < deadline {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
        while self.crossing.capacity().is_running() {
            // Again and again: one whose nonce was just spent begins only now.
            self.live.cancel_all();
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
    }

    /// Ends what lives, and closes the store.
    pub async fn drain(&self, grace: Duration) {
        self.end_runs(grace).await;
        self.refusals.close_refusals().await;
        if let Err(error) = self.ledger.close().await {
            tracing::error!("closing the store: {error}");
        }
    }
}

/// A clock this far ahead of the mark is worth a word to the operator.
const JUMP_S: i64 = 86_400;
