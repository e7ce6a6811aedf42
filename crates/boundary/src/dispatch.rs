//! Sends approved proposals to the crossing. The boundary repeats a failed attempt, even after a restart, until the
//! proposal has run or can no longer run.
//!
//! The queue contains bytes and signatures, but no verdicts (rule R4). If a person writes a row into the database by
//! hand, the boundary verifies the row like any other envelope and refuses an invalid row.

use std::{sync::Arc, time::Duration};

use tracing::Instrument as _;

use crate::{
    Proposals,
    proposals::{advance_refused, detail},
};
use crossing::{CrossingRequest, Refusal, RequestResult, Stopped, run_span};
use documents::{
    Authorization, Code, Envelope, EnvelopeSignature, InputDigest, MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES, ProposalId, Statement,
};
use store::{AdvanceStop, ProposalStatus, ProposalStep};
use verdict::quorum;

/// Interval between two attempts to start a run while no capacity is free. If another run ends earlier, the next
/// attempt begins at once.
const RETRY: Duration = Duration::from_secs(2);
/// Maximum interval between two attempts to start a run. After each fault, the interval grows up to this maximum.
const RAREST_RETRY: Duration = Duration::from_secs(60);

impl Proposals {
    /// Starts the run of a proposal whose quorum is met.
    pub async fn start_approved(self: &Arc<Self>, id: &ProposalId) -> RequestResult {
        let advance = ProposalStep {
            proposal: id.clone(),
            from: vec![ProposalStatus::Pending],
            to: ProposalStatus::Approved,
            at: self.crossing.now(),
            detail: Vec::new(),
        };
        match self.ledger.advance(advance).await {
            // The approval is durable. After a crash at this point, the proposal stays approved, and the next start
            // sends the proposal to the crossing.
            Ok(_) => {
                self.changes.notify(id);
                self.spawn_dispatch(id);
                Ok(())
            }
            // Another signature has completed the quorum, or an approver has denied the proposal, since the proposal
            // was read.
            Err(AdvanceStop::WrongState(_)) => Ok(()),
            Err(stop) => Err(advance_refused(stop, id)),
        }
    }

    /// Sends an approved proposal to the crossing. If no capacity is free or the sandbox is not available, the task
    /// waits, but only until the proposal expires.
    fn spawn_dispatch(self: &Arc<Self>, id: &ProposalId) {
        let (proposals, id) = (self.clone(), id.clone());
        let dispatch = async move {
            proposals.try_until_over(&id).await;
            proposals.held_up.forget(&id);
        };
        tokio::spawn(dispatch.instrument(run_span()));
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
                    // Until the nonce is spent, the proposal stays approved. After the nonce is spent, the proposal
                    // never runs again, and the next start writes its receipt.
                    if self.crossing.capacity().is_closed() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RAREST_RETRY);
                    continue;
                }
                Err(Stopped::Refused(refused)) => refused,
            };
            let first = told.replace(refused.code) != Some(refused.code);
            if refused.code.is_temporary() || refused.code == Code::SandboxUnavailable {
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

    async fn cross_stored(&self, id: &ProposalId) -> RequestResult<bool> {
        let row = self.row(id)?;
        if row.status != ProposalStatus::Approved {
            return Ok(false);
        }
        let payload = self.payload(id)?;
        let mut stored = self.ledger.signatures(id)?;
        // Remove the signatures of signers who are no longer in the roster. The remaining signatures may still meet the
        // quorum (rule R2).
        let sealed = self.crossing.state();
        stored.retain(|one| sealed.statement_key(&one.keyid).is_some());
        let bytes: usize = stored.iter().map(|one| one.sig.len()).sum();
        if stored.len() > MAX_SIGNATURES || bytes > MAX_SIGNATURE_BYTES {
            // The proposal has more signatures than an envelope may contain. Select only the signatures that the quorum
            // needs.
            let most = if bytes > MAX_SIGNATURE_BYTES {
                0
            } else {
                MAX_SIGNATURES
            };
            let signed = Statement::<Authorization>::from_payload(&payload)?.predicate;
            let (held, excluded) = self.quorum_of(&sealed, &signed)?;
            let kept = quorum::fewest(
                &held.rules,
                &self.count(id, &held, &excluded, &sealed)?,
                most,
            );
            stored.retain(|one| kept.contains(&one.keyid));
        }
        let signatures = stored
            .iter()
            .map(|one| EnvelopeSignature::new(one.keyid, &one.sig))
            .collect();
        let envelope = Envelope::new(&payload, signatures);
        let request = CrossingRequest {
            envelope,
            handed_in_by: row.core.proposer,
            stored: true,
        };
        let crossed = self.crossing.cross(request, None).await;
        crossed
            .map(|_| true)
            .inspect_err(|stopped| tracing::debug!(input = %InputDigest::of(&payload), "{stopped}"))
    }

    /// Ends an open proposal that was refused. The nonce is not spent.
    pub async fn end(&self, id: &ProposalId, refused: &Refusal) {
        let to = match refused.code {
            Code::Denied => ProposalStatus::Denied,
            Code::Expired => ProposalStatus::Expired,
            _ => ProposalStatus::Refused,
        };
        let Ok(detail) = detail(refused.code, &refused.detail) else {
            return;
        };
        let advance = ProposalStep {
            proposal: id.clone(),
            from: Vec::new(),
            to,
            at: self.crossing.now(),
            detail,
        };
        if let Err(AdvanceStop::Fault(error)) = self.ledger.advance(advance).await {
            tracing::error!(proposal = %id, "the refusal of this proposal could not be stored: {error}");
        }
        self.changes.notify(id);
    }

    /// Ends the proposals that can no longer run after a start of the service, and sends approved proposals to the
    /// crossing. This includes proposals whose quorum is met but which are not marked as approved.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub async fn resume(self: &Arc<Self>) -> RequestResult<usize> {
        let _ = self.end_overtaken().await;
        let waiting = self.ledger.waiting_proposals().into_iter();
        let (approved, pending): (Vec<_>, Vec<_>) =
            waiting.partition(|id| self.ledger.waits_to_run(id));
        approved.iter().for_each(|id| self.spawn_dispatch(id));
        let mut resumed = approved.len();
        for id in &pending {
            if self.quorum_is_met(id)? {
                self.start_approved(id).await?;
                resumed += 1;
            }
        }
        Ok(resumed)
    }

    fn quorum_is_met(&self, id: &ProposalId) -> RequestResult<bool> {
        let sealed = self.crossing.state();
        let Ok(statement) = Statement::<Authorization>::from_payload(&self.payload(id)?) else {
            return Ok(false);
        };
        let Ok((held, excluded)) = self.quorum_of(&sealed, &statement.predicate) else {
            return Ok(false);
        };
        if statement.predicate.grant.is_some() {
            return Ok(!self.ledger.signatures(id)?.is_empty());
        }
        let count = self.count(id, &held, &excluded, &sealed)?;
        Ok(quorum::progress(&held.rules, &count).missing == 0)
    }
}
