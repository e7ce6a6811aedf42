//! The views of proposals for the HTTP API and the commands, and the lists of proposals that match a filter.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Caller, Proposals, fail_at, proposals::stored_refusal, verified_of};
use crossing::{RequestResult, Sealed, fault, receipt_of};
use documents::{
    Authorization, Code, KeyId, Outcome, ParamsDigest, ProgramList, ProposalId, Scope, Statement,
    Status, StepRef, Timestamp, VerifiedSignature,
};
use store::{AuthorizationCore, Proposal, ProposalQuery, RunOutcome, RunQuery, end_detail};
use verdict::{ExcludedSigners, SignatureCount, StepInForce, quorum, signature_count};
use wire::{
    AdmittedJob, ApprovalsView, DeniedView, ProposalList, ProposalStatus, ProposalView,
    RefusalView, UnknownEnd,
};

impl Proposals {
    /// Builds the view of a proposal for a caller. The calling function must already have checked that the caller may
    /// see the proposal.
    pub fn view(&self, row: &Proposal) -> RequestResult<ProposalView> {
        let id = &row.core.id;
        // The row is not signed, so the outcome of a run comes from its receipt.
        let receipt = receipt_of(&self.ledger, row)?;
        let payload = self.payload(id)?;
        let statement = Statement::<Authorization>::from_payload(&payload)?;
        let signed = &statement.predicate;
        let sealed = self.crossing.state();
        let status = if receipt.is_some() {
            ProposalStatus::Finished
        } else if row.status.waits() && self.crossing.now() >= row.core.expires_at {
            ProposalStatus::Expired
        } else {
            row.status
        };
        let mut approvals = self.approvals(id, signed, &sealed)?;
        let (mut outcome, mut unknown, mut refusal) = (None::<Outcome>, None, None::<RefusalView>);
        let mut refused = Vec::new();
        let denials = match status {
            // A denial can also stop a run.
            ProposalStatus::Denied | ProposalStatus::Running | ProposalStatus::Finished => {
                self.denials_of(&row.core.digest)?
            }
            _ => Vec::new(),
        };
        let ended_at = receipt
            .as_ref()
            .map_or(row.ended_at, |receipt| Some(receipt.finished_at));
        match (status, receipt) {
            (ProposalStatus::Finished, None) => {
                let what = format!(
                    "{id} has ended, but its receipt is missing: run `countersign store check`"
                );
                return Err(fault(&what));
            }
            (_, Some(receipt)) => {
                refused = receipt.refused_parts();
                // Only the row has the reason why nobody saw the end.
                unknown = row
                    .detail
                    .as_deref()
                    .filter(|_| receipt.outcome.status == Status::Unknown);
                outcome = Some(receipt.outcome);
                if !denials.is_empty()
                    && outcome
                        .as_ref()
                        .is_some_and(|end| end.status == Status::Cancelled)
                {
                    refusal = Some(denied_by(&denials));
                }
                // The store has no signatures of a proposal that was submitted as a complete envelope, and those of an old
                // proposal were deleted. Then only the receipt names the approvers.
                if approvals.have == 0 {
                    let decision = receipt.decision;
                    approvals.have = decision.approvers.len() as u64;
                    approvals.approvers = decision.approvers;
                    approvals.excluded = decision.excluded;
                    approvals.missing.clear();
                }
            }
            (ProposalStatus::Denied, None) => refusal = Some(denied_by(&denials)),
            _ => refusal = stored_refusal(row),
        }
        Ok(ProposalView {
            id: id.clone(),
            status,
            next: next_after(status, !denials.is_empty())
                .map(str::to_owned)
                .collect(),
            step: signed.step.reference.clone(),
            step_digest: signed.step.digest,
            params: signed.params.clone(),
            params_digest: row.core.params_digest,
            proposer: signed.proposer.clone(),
            reason: signed.reason.clone(),
            digest: row.core.digest,
            payload: STANDARD.encode(&payload),
            programs: Vec::new(),
            emergency: signed.emergency.is_some(),
            approvals,
            created_at: row.created_at(),
            expires_at: signed.expires_at,
            ended_at,
            outcome,
            refused,
            receipt: row.receipt.map(|_| id.receipt()),
            refusal,
            admitted: self.job_of(&row.core)?,
            denials,
            end_unknown_because: unknown.and_then(end_detail::why),
            unknown_end: None,
            same_runs: Vec::new(),
            held_up: self
                .held_up
                .of(id)
                .filter(|_| status == ProposalStatus::Approved),
            existing: false,
            reason_not_taken: false,
        })
    }

    /// Builds the view of one proposal with its list of programs, which a proposal has until its run. Then the list is a
    /// blob of the log.
    pub fn whole_view(&self, caller: &Caller, row: &Proposal) -> RequestResult<ProposalView> {
        let (id, mut view) = (&row.core.id, self.view_for(caller, row)?);
        if let Some(named) = &self.statement(id)?.predicate.sandbox.programs {
            let list = match self.ledger.waiting_programs(id)? {
                Some(list) => Some(list),
                None => self.ledger.blob(&named.digest())?,
            };
            let list =
                list.ok_or_else(|| fault(format!("the list of programs of {id} is missing")))?;
            view.programs = ProgramList::parse(&list)?.programs().to_vec();
        }
        Ok(view)
    }

    /// Returns the job that made a proposal, if the token of the proposer has no secret.
    fn job_of(&self, core: &AuthorizationCore) -> RequestResult<Option<AdmittedJob>> {
        let tokens = self.ledger.tokens()?;
        let token = tokens.iter().find(|row| row.token.name == core.proposer);
        if token.is_none_or(|row| row.token.oidc.is_none()) {
            return Ok(None);
        }
        Ok(self
            .ledger
            .admitted(&core.id)?
            .and_then(|job| serde_json::from_str(&job).ok()))
    }

    /// Builds the view of a proposal for a caller who may see the proposal, with the other runs that this caller may
    /// see.
    pub fn view_for(&self, caller: &Caller, row: &Proposal) -> RequestResult<ProposalView> {
        self.view_beside(caller, row, &mut None)
    }

    /// Builds one of several views. The first call reads the open proposals into `open`, for the next calls.
    pub fn view_beside(
        &self,
        caller: &Caller,
        row: &Proposal,
        open: &mut Option<Vec<Proposal>>,
    ) -> RequestResult<ProposalView> {
        let unknown_end = match row.status.waits() {
            true => self.unknown_end(caller, &row.core.step, &row.core.params_digest)?,
            false => None,
        };
        Ok(ProposalView {
            unknown_end,
            same_runs: self.same_runs(caller, row, open)?,
            ..self.view(row)?
        })
    }

    /// Returns the last run of a step with these parameters, if nobody saw its end and no later run succeeded.
    pub fn unknown_end(
        &self,
        caller: &Caller,
        step: &StepRef,
        params: &ParamsDigest,
    ) -> RequestResult<Option<UnknownEnd>> {
        let newest = |outcome, since| {
            let query = RunQuery {
                step: step.clone(),
                outcome,
                params: Some(*params),
                proposer: None,
                ended: (since, Timestamp::from_unix(i64::MAX)),
                skip: 0,
                limit: 1,
            };
            self.ledger.runs(&query)
        };
        let unknown = newest(RunOutcome::Unknown, Timestamp::from_unix(0))?;
        let Some(row) = unknown
            .first()
            .filter(|row| caller.may_see(&row.core.proposer, step))
        else {
            return Ok(None);
        };
        let finished_at = row.ended_at.unwrap_or(row.created_at());
        // Times have only whole seconds, so the order of the log decides which receipt is later.
        let success = newest(RunOutcome::Succeeded, finished_at)?;
        let is_last = success
            .first()
            .is_none_or(|success| success.receipt < row.receipt);
        Ok(is_last.then(|| UnknownEnd {
            receipt: row.core.id.receipt(),
            finished_at,
        }))
    }

    fn approvals(
        &self,
        id: &ProposalId,
        signed: &Authorization,
        sealed: &Sealed,
    ) -> RequestResult<ApprovalsView> {
        // The seal in force contains another definition of the step, so the signed statement can't run any more and no
        // rule applies.
        let Ok((held, excluded)) = self.quorum_of(sealed, signed) else {
            return Ok(ApprovalsView::default());
        };
        // Approvers signed the grant, and nobody needs to sign this run except the grantee.
        if signed.grant.is_some() {
            return Ok(ApprovalsView {
                excluded: excluded.names(),
                ..ApprovalsView::default()
            });
        }
        let count = self.count(id, &held, &excluded, sealed)?;
        let progress = quorum::progress(&held.rules, &count);
        Ok(ApprovalsView {
            rules: held.approvals.to_vec(),
            required: progress.required,
            have: progress.have,
            approvers: progress.approvers,
            missing: progress.missing_from,
            by_passkey: count.by_passkey().cloned().collect(),
            own_program: progress.own_program,
            excluded: excluded.names(),
        })
    }

    /// Counts the stored signatures under the approval rules in force.
    pub fn count(
        &self,
        id: &ProposalId,
        held: &StepInForce,
        excluded: &ExcludedSigners,
        sealed: &Sealed,
    ) -> RequestResult<SignatureCount> {
        let stored = self.ledger.signatures(id)?;
        let signatures: Vec<_> = stored.iter().map(verified_of).collect();
        Ok(self.counted(&signatures, held, excluded, sealed))
    }

    /// Counts signatures under the approval rules in force, without those of revoked keys.
    pub fn counted(
        &self,
        signatures: &[VerifiedSignature],
        held: &StepInForce,
        excluded: &ExcludedSigners,
        sealed: &Sealed,
    ) -> SignatureCount {
        let (now, revoked) = (self.crossing.now(), self.crossing.revoked());
        let revoked = |keyid: &KeyId| revoked.has_key(keyid);
        signature_count::count_unrevoked(
            signatures,
            &sealed.roster,
            excluded,
            &held.rules,
            now,
            revoked,
        )
    }
}

/// Returns the words for the next possible actions of a caller. `is_denied` is true if the proposal has a denial, which
/// can also have stopped its run.
fn next_after(status: ProposalStatus, is_denied: bool) -> impl Iterator<Item = &'static str> {
    let words: &[&str] = match status {
        ProposalStatus::Pending => &["wait", "sign", "deny", "cancel"],
        ProposalStatus::Approved => &["wait", "deny", "cancel"],
        ProposalStatus::Running => &["wait", "events", "deny", "cancel"],
        ProposalStatus::Finished => &["receipt", "bundle", "events"],
        ProposalStatus::Denied => &[],
        ProposalStatus::Expired | ProposalStatus::Refused => &["propose-again"],
        ProposalStatus::Cancelled => &["propose-new"],
    };
    is_denied
        .then_some("read-denials")
        .into_iter()
        .chain(words.iter().copied())
}

/// Returns a refusal with the names of the approvers who denied the proposal. Their words are not part of the refusal,
/// so that no reader takes them for words of the boundary.
fn denied_by(denials: &[DeniedView]) -> RefusalView {
    let names: Vec<&str> = denials
        .iter()
        .map(|denial| denial.approver.as_str())
        .collect();
    RefusalView {
        code: Code::Denied,
        detail: format!("denied by {}", names.join(", ")),
    }
}

impl Proposals {
    /// Returns the proposals that the caller may see, newest first. With `all`, the function refuses a caller who may
    /// not see all proposals of the step.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, `malformed` for `all` without a step, and `forbidden` for
    /// `all` if the caller may see only some proposals of the step.
    pub fn list(
        &self,
        caller: &Caller,
        mut query: ProposalQuery,
        all: bool,
    ) -> RequestResult<ProposalList> {
        let name = caller.demand_name()?;
        if all {
            let Some(step) = &query.step else {
                return fail_at(
                    Code::Malformed,
                    "`all` needs `step`",
                    "/all",
                    "without `step`",
                );
            };
            if !caller.may_step(Scope::Operate, step) {
                caller.demand(Scope::Read, Some(step))?;
            }
        }
        // A caller without the scope `read` or `operate` sees only the caller's own proposals. The store selects these
        // proposals.
        if !caller.may(Scope::Read) && !caller.may(Scope::Operate) {
            let asked = query.proposer.replace(name.clone());
            if asked.is_some_and(|asked| asked != *name) {
                return Ok(ProposalList {
                    proposals: Vec::new(),
                    cursor: None,
                });
            }
        }
        let page = self.ledger.proposals(&query)?;
        let (mut proposals, mut open) = (Vec::with_capacity(page.proposals.len()), None);
        for row in page
            .proposals
            .iter()
            .filter(|row| caller.may_see(&row.core.proposer, &row.core.step))
        {
            let view = self.view_beside(caller, row, &mut open)?;
            // An expired proposal still has its old status in the store until the next housekeeping, so check the
            // status again.
            if query.statuses.is_empty() || query.statuses.contains(&view.status) {
                proposals.push(view);
            }
        }
        Ok(ProposalList {
            proposals,
            cursor: page.next.map(|(millis, id)| format!("{millis}.{id}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_actions_of_each_status_never_propose_after_a_denial() {
        for (status, words) in [
            (
                ProposalStatus::Pending,
                &["wait", "sign", "deny", "cancel"][..],
            ),
            (ProposalStatus::Approved, &["wait", "deny", "cancel"]),
            (
                ProposalStatus::Running,
                &["wait", "events", "deny", "cancel"],
            ),
            (ProposalStatus::Finished, &["receipt", "bundle", "events"]),
            (ProposalStatus::Denied, &[]),
            (ProposalStatus::Expired, &["propose-again"]),
            (ProposalStatus::Cancelled, &["propose-new"]),
            (ProposalStatus::Refused, &["propose-again"]),
        ] {
            assert_eq!(
                next_after(status, false).collect::<Vec<_>>(),
                words,
                "{status:?}"
            );
            let after_denial: Vec<_> = next_after(status, true).collect();
            assert_eq!(
                (after_denial[0], &after_denial[1..]),
                ("read-denials", words),
                "{status:?}"
            );
        }
        let denied: Vec<_> = next_after(ProposalStatus::Denied, true).collect();
        assert_eq!(denied, ["read-denials"]);
    }
}
