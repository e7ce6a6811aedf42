//! Writes about proposals: new proposals, their signatures, and changes of their status.

use crate::store::fault::StoreFault;
use crate::store::open_proposals::StatusChange;
use crate::store::retention::UNSIGNED_KEPT_S;
use crate::store::stored_proposal::{AdvanceStop, NewProposal, ProposalStep, ProposeResult, Signature};
use crate::store::stored_status::StoredStatus;
use crate::store::writer::Writer;
use documents::record::ident::ProposalId;
use documents::record::validity::Timestamp;

/// Maximum number of proposals that one call marks as expired, so that runs do not wait for long.
const MAX_EXPIRED: usize = 256;

impl Writer {
    pub(super) fn propose(&mut self, new: &NewProposal) -> Result<ProposeResult, StoreFault> {
        let precedent = self.store.precedent(new)?;
        if let Some(taken) = precedent.taken {
            let same = taken.request == Some(new.request)
                && taken.core.proposer == new.core.proposer
                && taken.core.nonce == new.core.nonce;
            return Ok(if same {
                ProposeResult::Same(Box::new(taken))
            } else {
                ProposeResult::Conflict(Box::new(taken))
            });
        }
        if let Some(identical) = precedent.identical {
            return Ok(ProposeResult::Same(Box::new(identical)));
        }
        let limits = self.config.limits;
        if precedent.unsigned >= limits.unsigned_of_proposer
            && let Some(first) = precedent.unsigned_first
        {
            let until = first.plus(UNSIGNED_KEPT_S);
            return Ok(ProposeResult::TooManyKept { most: limits.unsigned_of_proposer, until });
        }
        if precedent.of_proposer >= limits.of_proposer {
            return Ok(ProposeResult::TooMany { most: limits.of_proposer, of_proposer: true });
        }
        if precedent.of_all >= limits.of_all {
            return Ok(ProposeResult::TooMany { most: limits.of_all, of_proposer: false });
        }
        self.store.put_proposal(new)?;
        self.changed(&new.core.id, StoredStatus::Pending, new.created_at);
        Ok(ProposeResult::New)
    }

    /// Notes a change of a status, which is counted after the commit.
    pub(super) fn changed(&mut self, proposal: &ProposalId, to: StoredStatus, at: Timestamp) {
        self.changes.push(StatusChange { proposal: proposal.clone(), to, at });
    }

    pub(super) fn expire(&mut self, now: Timestamp) -> Result<Vec<ProposalId>, StoreFault> {
        let expired = self.store.expire(now, MAX_EXPIRED)?;
        for id in &expired {
            self.changed(id, StoredStatus::Expired, now);
        }
        Ok(expired)
    }

    fn standing(&mut self, id: &ProposalId) -> Result<Option<StoredStatus>, StoreFault> {
        let mut standings = self.store.standings(&[id])?;
        Ok(standings.pop().flatten().map(|standing| standing.status))
    }

    pub(super) fn sign(
        &mut self,
        id: &ProposalId,
        signatures: &[Signature],
    ) -> Result<Result<Vec<Signature>, AdvanceStop>, StoreFault> {
        match self.standing(id)? {
            None => Ok(Err(AdvanceStop::Unknown)),
            Some(status) if !status.waits() => Ok(Err(AdvanceStop::WrongState(status))),
            Some(_) => self.store.sign(id, signatures).map(Ok),
        }
    }

    pub(super) fn advance(&mut self, advance: &ProposalStep) -> Result<Result<StoredStatus, AdvanceStop>, StoreFault> {
        let Some(status) = self.standing(&advance.proposal)? else { return Ok(Err(AdvanceStop::Unknown)) };
        let asked = advance.from.is_empty() || advance.from.contains(&status);
        // Only `consume` can start a run, and only `finish` can end a run.
        let elsewhere = matches!(advance.to, StoredStatus::Running | StoredStatus::Finished);
        if !asked || elsewhere || !status.may_become(advance.to) {
            return Ok(Err(AdvanceStop::WrongState(status)));
        }
        self.store.advance(&advance.proposal, advance.to, advance.at, &advance.detail)?;
        self.changed(&advance.proposal, advance.to, advance.at);
        if advance.to == StoredStatus::Cancelled {
            self.head.version += 1;
        }
        Ok(Ok(status))
    }
}
