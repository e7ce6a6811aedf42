//! From a met quorum to the crossing: what is approved crosses, from the start, until it ran or may not run.
//!
//! The queue holds bytes and signatures, never verdicts (R4): a row that somebody wrote into the database by hand is
//! verified like any other envelope, and refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::boundary::Boundary;
use crate::boundary::proposals::detail;
use crate::boundary::refusal::{Refusal, Stopped, fault};
use crate::boundary::stage::Request;
use crate::crypto::digest::{Blake3Digest, InputDigest};
use crate::crypto::sshsig::MAX_SIGNATURE_BYTES;
use crate::decision::quorum;
use crate::record::authorization::Authorization;
use crate::record::document::Statement;
use crate::record::envelope::{Envelope, EnvelopeSignature, MAX_SIGNATURES};
use crate::record::ident::ProposalId;
use crate::record::refusal::Code;
use crate::store::message::{Advance, AdvanceStop, Filter, Status};

/// How long an approved proposal waits for room before it tries again, when no run ends earlier.
const RETRY: Duration = Duration::from_secs(2);
/// How rarely it is tried again at most after something broke.
const RAREST_RETRY: Duration = Duration::from_secs(60);
/// How often overdue proposals are marked, nonces pruned and refusals summed up.
const HOUSEKEEPING: Duration = Duration::from_secs(20);
/// How often at most, where something is kept for seconds only.
const OFTENEST_HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Outputs and proposals looked at in one round of retention, and the pause after one that deleted something.
const RETIRE_AT_ONCE: usize = 500;
const RETIRE_PAUSE: Duration = Duration::from_millis(20);
/// Nonces looked at in one round of pruning: never holds up a run.
const PRUNE_AT_ONCE: usize = 1000;

impl Boundary {
    /// Marks a proposal as approved and sends it across, when its quorum is met.
    pub(super) async fn start_if_met(self: &Arc<Self>, id: &ProposalId, met: bool) -> Result<(), Stopped> {
        if !met {
            return Ok(());
        }
        let at = self.now();
        let advance =
            Advance { proposal: id.clone(), from: vec![Status::Pending], to: Status::Approved, at, detail: Vec::new() };
        match self.ledger.advance(advance).await {
            // Approved, durably. A crash right here leaves it approved: the next start sends it across.
            Ok(_) => {
                self.changes.notify(id);
                let (boundary, id) = (self.clone(), id.clone());
                tokio::spawn(async move { boundary.dispatch(id).await });
                Ok(())
            }
            // Somebody else's signature completed it, or an approver denied it, in between.
            Err(AdvanceStop::WrongState(_)) => Ok(()),
            Err(AdvanceStop::Unknown) => Err(Refusal::new(Code::NotFound, format!("there is no proposal {id}")).into()),
            Err(AdvanceStop::Fault(error)) => Err(error.into()),
        }
    }

    /// Sends an approved proposal across; waits where there is no room or no sandbox, until it expires.
    async fn dispatch(self: Arc<Self>, id: ProposalId) {
        self.try_until_over(&id).await;
        self.held_up.forget(&id);
    }

    async fn try_until_over(&self, id: &ProposalId) {
        let mut pause = RETRY;
        let mut told = None;
        loop {
            let refused = match self.cross_stored(id).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::debug!(proposal = %id, "no longer approved");
                    return;
                }
                Err(Stopped::Fault(fault)) => {
                    self.held_up.forget(id);
                    tracing::error!(proposal = %id, fault = %fault.id, "the crossing broke");
                    // Before the claim it is approved still, and tried again, more and more rarely, until it expires.
                    // After it, it runs no second time: the next start writes its receipt.
                    if self.room.is_closed() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RAREST_RETRY);
                    continue;
                }
                Err(Stopped::Refused(refused)) => refused,
            };
            let first = told.replace(refused.code) != Some(refused.code);
            if matches!(refused.code, Code::Busy | Code::SandboxUnavailable) {
                if first {
                    tracing::warn!(proposal = %id, code = %refused.code, "approved and held up: {}", refused.detail);
                }
                if self.held_up.keep(id, &refused) {
                    self.changes.notify(id);
                }
                let _ = tokio::time::timeout(RETRY, self.changes.room()).await;
                continue;
            }
            tracing::info!(proposal = %id, code = %refused.code, "{}", refused.detail);
            self.end(id, &refused).await;
            return;
        }
    }

    /// Whether it crossed; not when it is no longer approved.
    async fn cross_stored(&self, id: &ProposalId) -> Result<bool, Stopped> {
        let row = self.row(id)?;
        if row.status != Status::Approved {
            return Ok(false);
        }
        let payload = self.payload(id)?;
        let mut stored = self.ledger.signatures(id).map_err(|e| fault(&e))?;
        // Who signed and is no longer in the roster does not count any more; who is left may still be enough (R2).
        let sealed = self.state();
        stored.retain(|one| sealed.roster.key(&one.keyid).is_some());
        let bytes: usize = stored.iter().map(|one| one.sig.len()).sum();
        if stored.len() > MAX_SIGNATURES || bytes > MAX_SIGNATURE_BYTES {
            // More signed than an envelope holds: enough of those who count.
            let most = if bytes > MAX_SIGNATURE_BYTES { 0 } else { MAX_SIGNATURES };
            let signed = Statement::<Authorization>::from_payload(&payload)?.predicate;
            let (held, excluded) = self.quorum_of(&sealed, &signed)?;
            let kept = quorum::fewest(&held.rules, &self.count(id, held, &excluded, &sealed)?, most);
            stored.retain(|one| kept.contains(&one.keyid));
        }
        let signatures = stored.iter().map(|one| EnvelopeSignature::new(one.keyid, &one.sig)).collect();
        let request =
            Request { envelope: Envelope::new(&payload, signatures), handed_in_by: row.core.proposer, caller: None };
        match self.cross(request, None).await {
            Ok(_) => Ok(true),
            Err(stopped) => {
                self.note_refused(&stopped, &payload);
                Err(stopped)
            }
        }
    }

    fn note_refused(&self, stopped: &Stopped, payload: &[u8]) {
        tracing::debug!(input = %InputDigest::of(payload), "{stopped}");
    }

    /// Refused after the quorum: over, with its nonce unspent.
    async fn end(&self, id: &ProposalId, refused: &Refusal) {
        let to = match refused.code {
            Code::Denied => Status::Denied,
            Code::Expired => Status::Expired,
            _ => Status::Refused,
        };
        let Ok(detail) = detail(refused.code, &refused.detail) else { return };
        let at = self.now();
        let advance = Advance { proposal: id.clone(), from: vec![Status::Approved], to, at, detail };
        if let Err(AdvanceStop::Fault(error)) = self.ledger.advance(advance).await {
            tracing::error!(proposal = %id, "its refusal could not be kept: {error}");
        }
        self.changes.notify(id);
    }

    /// After a start: sends across what was approved, and what has its quorum but was not marked so in time.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, Stopped> {
        let mut resumed = 0;
        for status in [Status::Approved, Status::Pending] {
            let mut before = None;
            loop {
                let filter = Filter { statuses: vec![status], before, limit: 100, ..Filter::default() };
                let page = self.ledger.proposals(&filter).map_err(|e| fault(&e))?;
                for row in &page.proposals {
                    let id = &row.core.id;
                    if status == Status::Approved {
                        let (boundary, id) = (self.clone(), id.clone());
                        tokio::spawn(async move { boundary.dispatch(id).await });
                        resumed += 1;
                    } else if self.quorum_is_met(id)? {
                        self.start_if_met(id, true).await?;
                        resumed += 1;
                    }
                }
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
        }
        Ok(resumed)
    }

    fn quorum_is_met(&self, id: &ProposalId) -> Result<bool, Stopped> {
        let sealed = self.state();
        let Ok(statement) = Statement::<Authorization>::from_payload(&self.payload(id)?) else { return Ok(false) };
        let Ok((held, excluded)) = self.quorum_of(&sealed, &statement.predicate) else { return Ok(false) };
        let count = self.count(id, held, &excluded, &sealed)?;
        Ok(quorum::progress(&held.rules, &count).missing == 0)
    }

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
            let trouble = self.disk_trouble();
            match (full, &trouble) {
                (false, Some(trouble)) => tracing::warn!("{trouble}"),
                (true, None) => tracing::info!("the disk of the store has room again: proposals are taken"),
                _ => {}
            }
            full = trouble.is_some();
            if let Err(error) = self.tidy().await {
                tracing::error!("housekeeping: {error}");
            }
            self.summarise_refusals().await;
        }
    }

    async fn tidy(&self) -> Result<(), crate::store::Fault> {
        loop {
            let expired = self.ledger.expire(self.now()).await?;
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
    async fn retire(&self) -> Result<(), crate::store::Fault> {
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
    async fn sweep_outputs(&self) -> Result<(), crate::store::Fault> {
        let outputs = self.outputs.clone();
        let names = tokio::task::spawn_blocking(move || outputs.names()).await.unwrap_or_default();
        self.remove_files(names).await
    }

    async fn remove_files(&self, names: Vec<Blake3Digest>) -> Result<(), crate::store::Fault> {
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
        self.crossings.close();
    }

    /// Ends what lives: new runs are refused from now on, those that run may end within `grace`, then they are cancelled.
    pub async fn end_runs(&self, grace: Duration) {
        self.room.close();
        self.crossings.close();
        let deadline = tokio::time::Instant::now() + grace;
        while self.is_running() && tokio::time::Instant::now() < deadline {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
        while self.is_running() {
            // Again and again: one whose nonce was just spent begins only now.
            self.live.cancel_all();
            let _ = tokio::time::timeout(Duration::from_millis(100), self.changes.room()).await;
        }
    }

    /// Ends what lives, and closes the store.
    pub async fn drain(&self, grace: Duration) {
        self.end_runs(grace).await;
        self.close_refusals().await;
        if let Err(error) = self.ledger.close().await {
            tracing::error!("closing the store: {error}");
        }
    }
}

/// A clock this far ahead of the mark is worth a word to the operator.
const JUMP_S: i64 = 86_400;
