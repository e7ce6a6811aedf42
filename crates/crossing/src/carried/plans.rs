//! Plans: runs whose recorded output another step applies.
//!
//! The authorization of a step with a plan binds the receipt of the plan's run and the digest of its standard output.
//! The step gets exactly this output as the artifact `plan`.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    sync::Arc,
};

use crate::{
    Refusal, RequestResult, Stopped, fault,
    seal::stored_documents::{StoredReceipt, unchecked_payload},
    stored_receipt,
};
use documents::{
    Authorization, Code, ContentDigest, MAX_WINDOW_S, Name, ParamsDigest, PlanReference,
    ProposalId, Receipt, SKEW_S, StepPlan, StepRef, Timestamp,
};
use sandbox::PlannedInput;
use store::{Ledger, Proposal, RunOutcome, RunQuery};
use verdict::{PlanFacts, PlannedRun, check_plan};

/// Name of the artifact with the output of the plan.
pub const PLAN_ARTIFACT: &str = "plan";
/// Number of runs that one page of the search has.
const PAGE: usize = 100;
/// Bytes that one read takes from the store.
const PIECE: u64 = 1 << 20;

/// A run whose receipt an authorization names as its plan.
pub struct PlanRun {
    /// The proposal of the run.
    pub proposal: ProposalId,
    /// The proposer of the run.
    pub proposer: Name,
    /// Digest of the payload of its receipt.
    pub digest: ContentDigest,
    /// Its receipt.
    pub receipt: Receipt,
    step: StepRef,
    params: ParamsDigest,
}

impl PlanRun {
    /// Returns the run of a proposal with its receipt, or `None` if the run has no receipt yet.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn of(ledger: &Ledger, row: &Proposal) -> RequestResult<Option<Self>> {
        let Some(StoredReceipt {
            payload, receipt, ..
        }) = stored_receipt(ledger, row)?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            proposal: row.core.id.clone(),
            proposer: row.core.proposer.clone(),
            digest: ContentDigest::of(&payload),
            receipt,
            step: row.core.step.clone(),
            params: row.core.params_digest,
        }))
    }

    /// Finds the run whose receipt `signed` names as its plan, among the successful runs of the plan's step with these
    /// parameters. The search reads only runs that ended by the time `until` and are not too old for the window of
    /// `signed`, newest first.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn find(
        ledger: &Ledger,
        plan: &StepPlan,
        signed: &Authorization,
        params: &ParamsDigest,
        until: Timestamp,
    ) -> RequestResult<Option<Self>> {
        let Some(PlanReference { receipt, .. }) = &signed.plan else {
            return Ok(None);
        };
        let age = i64::try_from(plan.max_age_s)
            .unwrap_or(i64::MAX)
            .saturating_add(MAX_WINDOW_S + SKEW_S);
        let mut query = RunQuery {
            step: plan.step.clone(),
            outcome: RunOutcome::Succeeded,
            params: Some(*params),
            proposer: None,
            ended: (signed.expires_at.plus(-age), until),
            skip: 0,
            limit: PAGE,
        };
        loop {
            let runs = ledger.runs(&query)?;
            for row in &runs {
                // Only the receipt with this digest is parsed.
                let payload = unchecked_payload(ledger, row)?;
                if payload.is_some_and(|payload| ContentDigest::of(&payload) == *receipt) {
                    return Self::of(ledger, row);
                }
            }
            if runs.len() < PAGE {
                return Ok(None);
            }
            query.skip += PAGE;
        }
    }

    /// Returns the reference for an authorization of `step`.
    pub fn reference(&self) -> PlanReference {
        PlanReference {
            receipt: self.digest,
            output: self.receipt.output.stdout.sha256,
        }
    }

    /// Checks that a run with these parameters may carry out this plan at the time `now`.
    ///
    /// # Errors
    /// Returns `expired` if the plan is too old, and `context-changed` if the plan is the run of another step, did not
    /// succeed or had other parameters, or if another receipt or output is signed.
    pub fn check(
        &self,
        asked: &StepPlan,
        signed: &PlanReference,
        params: ParamsDigest,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let facts = PlanFacts {
            receipt: self.digest,
            step: self.step.clone(),
            params: self.params,
            output: self.receipt.output.stdout.sha256,
            status: self.receipt.outcome.status,
            finished_at: self.receipt.finished_at,
        };
        let refuse = |code: Code, why: String| {
            let detail = format!(
                "{why}: run {} again, then propose with its receipt",
                asked.step
            );
            Err(Refusal::new(code, detail))
        };
        if self.receipt.output.stdout.truncated {
            return refuse(
                Code::ContextChanged,
                "the recorded output of the plan is not complete".to_owned(),
            );
        }
        match check_plan(
            &PlannedRun {
                asked,
                signed,
                params,
                at: now,
            },
            &facts,
        ) {
            Ok(_) => Ok(()),
            Err(error) => refuse(error.code(), error.to_string()),
        }
    }

    /// Returns the first time at which no run can carry out this plan.
    pub fn ends_at(&self, asked: &StepPlan) -> Timestamp {
        self.receipt
            .finished_at
            .plus_seconds(asked.max_age_s.saturating_add(1))
    }

    /// Returns the output of the plan as an input of the run.
    ///
    /// # Errors
    /// Returns `sandbox-unavailable` if the output is no longer stored.
    pub fn input(&self, ledger: &Ledger) -> RequestResult<PlannedInput> {
        let stream = &self.receipt.output.stdout;
        let gone = || {
            let detail = format!(
                "the output of the plan {} is no longer stored: run the plan again",
                self.proposal.receipt()
            );
            Stopped::from(Refusal::new(Code::SandboxUnavailable, detail))
        };
        let mut file: File = tempfile::tempfile().map_err(fault)?;
        let mut at = 0;
        while at < stream.recorded {
            let piece = ledger.output(&stream.blake3, at..stream.recorded.min(at + PIECE))?;
            let piece = piece.filter(|piece| !piece.is_empty()).ok_or_else(gone)?;
            file.write_all(&piece).map_err(fault)?;
            at += piece.len() as u64;
        }
        file.rewind().map_err(fault)?;
        let name = PLAN_ARTIFACT
            .parse()
            .map_err(|_| fault("the name of the plan's artifact is not valid"))?;
        Ok(PlannedInput {
            name,
            digest: stream.sha256,
            bytes: stream.recorded,
            file: Arc::new(file),
        })
    }
}
