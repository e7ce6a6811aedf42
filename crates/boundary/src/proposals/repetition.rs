//! Decides whether a call repeats an earlier proposal, so that a repeated call causes no second run.

use crate::{Caller, Proposals};
use crossing::{Refusal, RequestResult, fault};
use documents::{Authorization, Code, Nonce, ProposalId, Timestamp, canonical, sha256};
use store::{
    MOST_COMPARED, NewProposal, Proposal, ProposalQuery, ProposalStatus, ProposeResult, RunOutcome,
    RunQuery,
};
use wire::{ProposalView, SameRun};

/// Seconds for which approvers of a run still see that the same run succeeded or was denied.
const RECENT_S: i64 = 3600;
/// Maximum number of open proposals that are compared with a proposal that an approver reads.
const MOST_OPEN: usize = 1000;
/// Maximum number of denied proposals that are compared.
const MOST_DENIED: usize = 100;
/// Maximum number of open and denied proposals of the same run that an approver sees.
const MOST_NAMED: usize = 4;

impl Proposals {
    /// Returns the digest of everything that people would sign, except the id, the nonce, the times and the reason.
    pub fn digest_of_run(asked: &Authorization) -> RequestResult<[u8; 32]> {
        let never = Timestamp::from_unix(0);
        let run = Authorization {
            proposal: ProposalId::new(0, [0; 10]),
            nonce: Nonce::new(never, [0; 16]),
            reason: String::new(),
            issued_at: never,
            not_before: never,
            expires_at: never,
            ..asked.clone()
        };
        canonical::canonical_of(&run)
            .map(|bytes| sha256(&bytes))
            .map_err(fault)
    }

    /// Returns the earlier proposal that a call repeats.
    pub fn earlier(&self, new: &NewProposal) -> RequestResult<Option<ProposalId>> {
        let newest = ProposalQuery {
            proposer: Some(new.core.proposer.clone()),
            limit: MOST_COMPARED,
            ..ProposalQuery::default()
        };
        let found = self.ledger.proposals(&newest)?.proposals;
        Ok(new.repeated(found).map(|earlier| earlier.core.id))
    }

    /// Returns the answer to a call that repeats this proposal, and false.
    pub fn repeated(
        &self,
        caller: &Caller,
        id: &ProposalId,
        reason: &str,
    ) -> RequestResult<(ProposalView, bool)> {
        let view = self.view_for(caller, &self.row(id)?)?;
        Ok((
            ProposalView {
                existing: true,
                reason_not_taken: view.reason != reason,
                ..view
            },
            false,
        ))
    }

    /// Returns the answer to a call that asked for `asked`, and true if the proposal is new.
    pub fn answer_to(
        &self,
        caller: &Caller,
        result: ProposeResult,
        asked: &Authorization,
        now: Timestamp,
    ) -> RequestResult<(ProposalView, bool)> {
        match result {
            ProposeResult::New => Ok((self.view_for(caller, &self.row(&asked.proposal)?)?, true)),
            ProposeResult::Same(row) => self.repeated(caller, &row.core.id, &asked.reason),
            // If the seal or the state of the session has changed since, the same call leads to another statement.
            ProposeResult::Conflict(row) if self.is_same_call(&row, asked) => {
                self.repeated(caller, &row.core.id, &asked.reason)
            }
            ProposeResult::Conflict(row) => Err(other_nonce(caller, &row).into()),
            ProposeResult::TooManyKept { most, until } => {
                Err(too_many_kept(most, until, now).into())
            }
            ProposeResult::TooMany {
                most,
                of_proposer: true,
            } => {
                let detail = format!(
                    "{most} of your proposals already wait for approval: try again when some have \
                     ended, or cancel some"
                );
                Err(Refusal::new(Code::RateLimited, detail)
                    .retry_after(30)
                    .into())
            }
            ProposeResult::TooMany {
                most,
                of_proposer: false,
            } => Err(Refusal::new(
                Code::Busy,
                format!("{most} proposals already wait for approval: try again later"),
            )
            .retry_after(30)
            .into()),
        }
    }

    /// Returns the other proposals that ask for the same run as the waiting proposal `row`: the same step, parameters,
    /// session, files and plan. For the proposer, the list is empty. The first call stores the open and the recently
    /// denied proposals in `known`, for the next calls.
    pub fn same_runs(
        &self,
        caller: &Caller,
        row: &Proposal,
        known: &mut Option<Vec<Proposal>>,
    ) -> RequestResult<Vec<SameRun>> {
        let (core, now) = (&row.core, self.crossing.now());
        if !row.status.waits() || caller.name().is_none_or(|name| *name == core.proposer) {
            return Ok(Vec::new());
        }
        let known = match known {
            Some(known) => known,
            None => {
                let statuses = vec![
                    ProposalStatus::Pending,
                    ProposalStatus::Approved,
                    ProposalStatus::Running,
                ];
                let query = ProposalQuery {
                    statuses,
                    limit: MOST_OPEN,
                    ..ProposalQuery::default()
                };
                let mut found = self.ledger.proposals(&query)?.proposals;
                let statuses = vec![ProposalStatus::Denied];
                let query = ProposalQuery {
                    statuses,
                    limit: MOST_DENIED,
                    ..ProposalQuery::default()
                };
                let is_recent =
                    |other: &Proposal| other.ended_at.is_some_and(|at| at > now.plus(-RECENT_S));
                found.extend(
                    self.ledger
                        .proposals(&query)?
                        .proposals
                        .into_iter()
                        .filter(is_recent),
                );
                known.insert(found)
            }
        };
        let succeeded = self.ledger.runs(&RunQuery {
            step: core.step.clone(),
            outcome: RunOutcome::Succeeded,
            params: Some(core.params_digest),
            proposer: None,
            ended: (now.plus(-RECENT_S), now),
            skip: 0,
            limit: 1,
        })?;
        let is_of_step = |other: &&Proposal| {
            let is_over = other.status.waits() && now >= other.core.expires_at;
            let is_same = other.core.step_digest == core.step_digest
                && other.core.params_digest == core.params_digest;
            is_same
                && !is_over
                && other.core.id != core.id
                && caller.may_see(&other.core.proposer, &other.core.step)
        };
        let others: Vec<&Proposal> = known.iter().filter(is_of_step).take(MOST_NAMED).collect();
        let mut found = Vec::new();
        for other in others
            .into_iter()
            .chain(succeeded.iter().filter(is_of_step))
        {
            let (own, signed) = (self.statement(&core.id)?, self.statement(&other.core.id)?);
            if has_same_inputs(&own.predicate, &signed.predicate) {
                found.push(SameRun {
                    proposal: other.core.id.clone(),
                    status: other.status,
                    ended_at: other.ended_at,
                });
            }
        }
        Ok(found)
    }

    /// Returns true if `row`, which has the same nonce, came from an equal call of `propose`. A submitted statement
    /// came from no call of `propose`.
    fn is_same_call(&self, row: &Proposal, asked: &Authorization) -> bool {
        row.request.is_some()
            && self.statement(&row.core.id).is_ok_and(|stored| {
                let stored = &stored.predicate;
                stored.proposer == asked.proposer
                    && stored.step.reference == asked.step.reference
                    && stored.params == asked.params
                    && has_same_inputs(stored, asked)
                    && stored.grant == asked.grant
                    && stored.by == asked.by
                    && stored.emergency == asked.emergency
            })
    }
}

fn has_same_inputs(one: &Authorization, other: &Authorization) -> bool {
    let session = |of: &Authorization| of.session.as_ref().map(|session| session.id.clone());
    session(one) == session(other) && one.artifacts == other.artifacts && one.plan == other.plan
}

/// Returns the refusal of a proposal whose nonce another proposal has.
fn other_nonce(caller: &Caller, row: &Proposal) -> Refusal {
    let mut refusal = Refusal::new(
        Code::NonceReplayed,
        "another proposal has this nonce: leave the nonce out, or make a new nonce",
    )
    .at("/nonce", "used by another proposal");
    if caller.may_see(&row.core.proposer, &row.core.step) {
        refusal = refusal.about(&row.core.id);
        refusal.receipt = row.receipt.as_ref().map(|_| row.core.id.receipt());
    }
    refusal
}

/// Returns the refusal of a proposal whose proposer has too many stored proposals that ended without a signature.
fn too_many_kept(most: u64, until: Timestamp, now: Timestamp) -> Refusal {
    let wait = u64::try_from(until.unix().saturating_sub(now.unix()))
        .unwrap_or(0)
        .max(1);
    let detail = format!(
        "{most} of your proposals were cancelled, refused or expired without a signature, and each stays stored for an hour after its window: the first is deleted in {wait} s: try again after this time"
    );
    Refusal::new(Code::RateLimited, detail).retry_after(wait)
}
