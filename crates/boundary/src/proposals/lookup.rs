//! Finds proposals, and decides who may see them.

use std::borrow::Cow;

use crate::{
    Caller, Proposals,
    proposals::{excluded, not_found, span, stored_refusal},
    wrong_state,
};
use crossing::{Refusal, RequestResult, Sealed, Stopped, log_about, refusal_of};
use documents::{Authorization, Code, MAX_WINDOW_S, ProposalId, Statement, Timestamp};
use store::{Proposal, ProposalStatus, UNSIGNED_KEPT_S};
use verdict::{ExcludedSigners, Objection, StepInForce, check_place};

impl Proposals {
    pub fn payload(&self, id: &ProposalId) -> RequestResult<Vec<u8>> {
        self.ledger.payload(id)?.ok_or_else(|| not_found(id).into())
    }

    pub fn statement(&self, id: &ProposalId) -> RequestResult<Statement<Authorization>> {
        // The boundary wrote this payload, so it is trusted without a check of the signatures.
        Ok(Statement::from_payload(&self.payload(id)?)?)
    }

    pub fn row(&self, id: &ProposalId) -> RequestResult<Proposal> {
        let row = self.ledger.proposal(id)?.ok_or_else(|| self.missing(id))?;
        log_about(&row.core.id, &row.core.step);
        Ok(row)
    }

    /// Returns the refusal for a proposal that has no row in the store. A proposal's id begins with the end of its
    /// window, which began at most [`MAX_WINDOW_S`] earlier. From this time, the boundary can tell whether the proposal may
    /// have been deleted after its retention time. The refusal never states that a proposal existed, because the caller
    /// may not be allowed to know.
    pub fn missing(&self, id: &ProposalId) -> Refusal {
        let end = id.end();
        let signed_kept_s = (self.retention.proposals_s - MAX_WINDOW_S).max(0);
        let kept_s = signed_kept_s.min(UNSIGNED_KEPT_S);
        let began = self.ledger.leaf(0).ok().flatten().map(|leaf| leaf.at);
        if began.is_none_or(|began| end < began) || end.plus(kept_s) > self.crossing.now() {
            return not_found(id);
        }
        let detail = format!(
            "the boundary has no proposal {id}: an unsigned proposal is deleted an hour after its window, and any \
             other proposal that never ran is deleted {} after its end; the log contains all signed documents about \
             the proposal",
            span(self.retention.proposals_s)
        );
        Refusal::gone(detail)
    }

    pub fn visible(&self, caller: &Caller, id: &ProposalId) -> RequestResult<Proposal> {
        let row = self.row(id)?;
        if caller.may_see(&row.core.proposer, &row.core.step) {
            Ok(row)
        } else {
            caller.demand_name()?;
            // A caller who may not see the proposal must not learn whether the proposal exists.
            Err(not_found(id).into())
        }
    }

    /// Returns the current rule of the statement's step, and the people whose signatures can't count.
    pub fn quorum_of<'s>(
        &self,
        sealed: &'s Sealed,
        signed: &Authorization,
    ) -> RequestResult<(Cow<'s, StepInForce>, ExcludedSigners)> {
        let about =
            |objection: Objection| Stopped::from(refusal_of(objection).about(&signed.proposal));
        let here = &sealed.boundary;
        let _ = check_place(&signed.boundary, here).map_err(|error| about(error.into()))?;
        let _ = self
            .crossing
            .check_not_revoked(sealed, [&signed.proposer, &signed.proposer])?;
        let (_, held) = sealed
            .signed_step(signed)
            .map_err(|error| about(error.into()))?;
        let _ = verdict::check_step(signed, &held.hashed).map_err(|error| about(error.into()))?;
        let excluded = excluded(&signed.proposer, sealed, self.crossing.now())
            .map_err(|refusal| refusal.about(&signed.proposal))?;
        let held = held.for_run(signed).map_err(|error| about(error.into()))?;
        Ok((held, excluded))
    }

    pub fn demand_waiting(&self, row: &Proposal, now: Timestamp) -> RequestResult {
        let refusal = match row.status {
            status if status.waits() && now >= row.core.expires_at => Refusal::new(
                Code::Expired,
                format!(
                    "the proposal expired at {}: propose the step again",
                    row.core.expires_at
                ),
            ),
            ProposalStatus::Pending => return Ok(()),
            ProposalStatus::Expired => Refusal::new(
                Code::Expired,
                "the proposal has expired: propose the step again",
            ),
            ProposalStatus::Denied => Refusal::new(Code::Denied, "an approver denied the proposal"),
            ProposalStatus::Refused => stored_refusal(row).map_or_else(
                || wrong_state(row),
                |why| Refusal::new(why.code, why.detail),
            ),
            _ => wrong_state(row),
        };
        Err(refusal.about(&row.core.id).into())
    }
}
