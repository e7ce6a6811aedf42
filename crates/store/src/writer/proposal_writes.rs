//! Writes about proposals: new proposals, their signatures, and changes of their status.

use crate::{
    AdvanceStop, Batch, EventWrite, NewProposal, Proposal, ProposalPrecedent, ProposalStep,
    ProposeResult, Signature, StepRow, StoreFault, StoredStatus, UNSIGNED_KEPT_S, Writer,
    batch::SignatureRow, rare_changes::expire,
};
use documents::{ProposalId, Timestamp};

/// Maximum number of proposals that one call marks as expired, so that runs do not wait for long.
const MAX_EXPIRED: usize = 256;

impl Writer {
    pub(super) fn propose<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        new: &'m NewProposal,
        precedent: ProposalPrecedent,
    ) -> ProposeResult {
        let earlier = &batch.writes.proposals;
        let taken = precedent.taken.or_else(|| {
            let taken = |earlier: &&&NewProposal| {
                earlier.core.id == new.core.id
                    || new.chosen_nonce && earlier.core.nonce == new.core.nonce
            };
            earlier
                .iter()
                .find(taken)
                .map(|earlier| earlier.as_pending())
        });
        if let Some(taken) = taken {
            let same = taken.request == Some(new.request)
                && taken.core.proposer == new.core.proposer
                && taken.core.nonce == new.core.nonce;
            return if same {
                ProposeResult::Same(Box::new(taken))
            } else {
                ProposeResult::Conflict(Box::new(taken))
            };
        }
        let of_batch = earlier
            .iter()
            .rev()
            .filter(|earlier| earlier.core.proposer == new.core.proposer);
        let newest = of_batch
            .map(|earlier| earlier.as_pending())
            .chain(precedent.newest)
            .map(|found| {
                match batch
                    .states
                    .get(&found.core.id)
                    .filter(|state| state.status != found.status)
                {
                    // This batch changed the status.
                    Some(state) => Proposal {
                        status: state.status,
                        ended_at: Some(new.created_at),
                        ..found
                    },
                    None => found,
                }
            });
        if let Some(repeated) = new.repeated(newest) {
            return ProposeResult::Same(Box::new(repeated));
        }
        let of_proposer = earlier
            .iter()
            .filter(|earlier| earlier.core.proposer == new.core.proposer)
            .count() as u64;
        let of_all = earlier.len() as u64;
        let limits = self.config.limits;
        if precedent.unsigned >= limits.unsigned_of_proposer
            && let Some(first) = precedent.unsigned_first
        {
            let until = first.plus(UNSIGNED_KEPT_S);
            return ProposeResult::TooManyKept {
                most: limits.unsigned_of_proposer,
                until,
            };
        }
        if precedent.of_proposer + of_proposer >= limits.of_proposer {
            return ProposeResult::TooMany {
                most: limits.of_proposer,
                of_proposer: true,
            };
        }
        if precedent.of_all + of_all >= limits.of_all {
            return ProposeResult::TooMany {
                most: limits.of_all,
                of_proposer: false,
            };
        }
        batch.writes.proposals.push(new);
        batch.changed(&new.core.id, StoredStatus::Pending, new.created_at);
        ProposeResult::New
    }

    pub(super) fn expire(
        &mut self,
        batch: &mut Batch<'_>,
        now: Timestamp,
    ) -> Result<Vec<ProposalId>, StoreFault> {
        let expired = expire(self.store.batch()?, now, MAX_EXPIRED)?;
        batch.stepped |= !expired.is_empty();
        for id in &expired {
            batch.changed(id, StoredStatus::Expired, now);
        }
        Ok(expired)
    }

    pub(super) fn advance<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        advance: &'m ProposalStep,
    ) -> Result<StoredStatus, AdvanceStop> {
        let status = batch
            .states
            .get(&advance.proposal)
            .ok_or(AdvanceStop::Unknown)?
            .status;
        let asked = advance.from.is_empty() || advance.from.contains(&status);
        // Only `consume` can start a run, and only `finish` can end a run.
        let elsewhere = matches!(advance.to, StoredStatus::Running | StoredStatus::Finished);
        if !asked || elsewhere || !status.may_become(advance.to) {
            return Err(AdvanceStop::WrongState(status));
        }
        let ProposalStep {
            proposal,
            to,
            at,
            detail,
            ..
        } = advance;
        batch.writes.steps.push(StepRow {
            proposal: proposal.clone(),
            to: *to,
            at: *at,
            detail,
        });
        batch.changed(proposal, *to, *at);
        if *to == StoredStatus::Cancelled {
            self.head.version += 1;
        }
        Ok(status)
    }
}

impl<'m> Batch<'m> {
    /// Adds new signatures to the `stored` ones, at most one for each key. A signature of a person makes an event. Returns all
    /// signatures of the proposal.
    pub(super) fn sign(
        &mut self,
        id: &'m ProposalId,
        new: &'m [Signature],
        by_people: bool,
        mut stored: Vec<Signature>,
    ) -> Result<Vec<Signature>, AdvanceStop> {
        let status = self.states.get(id).ok_or(AdvanceStop::Unknown)?.status;
        if !status.waits() {
            return Err(AdvanceStop::WrongState(status));
        }
        let earlier = self
            .writes
            .signatures
            .iter()
            .filter(|row| row.proposal == id);
        stored.extend(earlier.map(|row| row.signature.clone()));
        for signature in new {
            if stored.iter().all(|stored| stored.keyid != signature.keyid) {
                self.writes.signatures.push(SignatureRow {
                    proposal: id,
                    number: stored.len(),
                    signature,
                });
                if by_people {
                    self.event(
                        signature.at,
                        EventWrite::signed(id, &signature.person, &signature.keyid),
                    );
                }
                stored.push(signature.clone());
            }
        }
        Ok(stored)
    }
}
