//! Checks the plan of a run in a bundle.

use crate::{
    BundleReport, CheckStop, LogProofs, PlanFacts, PlannedRun, SealedRoster,
    audit::check_ledger::{ensure, failed},
    check_plan,
};
use documents::{
    Authorization, Base64, Bundle, Consumption, ContentDigest, ParamsDigest, StepDefinition,
    TlogProof, canonical,
};

/// The run of a bundle, which may carry out a plan.
pub struct RunOfPlan<'a> {
    pub bundle: &'a Bundle,
    pub sealed: &'a SealedRoster<'a>,
    pub log: &'a LogProofs,
    pub consumption: &'a Consumption,
    pub authorization: &'a Authorization,
    pub step: &'a StepDefinition,
}

impl RunOfPlan<'_> {
    /// Checks the bundle of the plan, of which `report` is the report, and then the plan itself.
    pub fn check(&self, report: Option<&BundleReport>) -> Result<((), String), CheckStop> {
        let (asked, signed) = match (&self.step.plan, &self.authorization.plan) {
            (Some(asked), Some(signed)) => (asked, signed),
            _ => {
                ensure(self.bundle.plan.is_none(), || {
                    "the bundle contains a plan, but the authorization names none".to_owned()
                })?;
                return Ok(((), "the step has no plan".to_owned()));
            }
        };
        let missing = || {
            failed(
                "the authorization names a plan, but the bundle does not contain the bundle of this plan",
            )
        };
        let plan = self.bundle.plan.as_deref().ok_or_else(missing)?;
        let report = report.ok_or_else(missing)?;
        check_verified(report)?;
        let facts = self.facts(plan, report)?;
        let params = self.authorization.params_digest().map_err(failed)?;
        let run = PlannedRun {
            asked,
            signed,
            params,
            at: self.consumption.at,
        };
        let _fits = check_plan(&run, &facts).map_err(failed)?;
        Ok((
            (),
            format!(
                "{} with the receipt {}, ended at {}",
                facts.step, facts.receipt, facts.finished_at
            ),
        ))
    }

    /// Returns what the plan's receipt states, if the plan belongs to this log and comes before the run.
    fn facts(&self, plan: &Bundle, report: &BundleReport) -> Result<PlanFacts, CheckStop> {
        let unread = || failed("the bundle of the plan states no facts");
        let facts = report.facts.as_deref().ok_or_else(unread)?;
        let approved = facts.approved.as_ref().ok_or_else(unread)?;
        ensure(facts.boundary.id == self.sealed.id, || {
            format!(
                "the plan belongs to another boundary, {}",
                facts.boundary.id
            )
        })?;
        let place = TlogProof::parse(&plan.proofs.receipt)
            .map_err(failed)?
            .index;
        ensure(place < self.log.consumption.index, || {
            format!(
                "the receipt of the plan is entry {place}, but the nonce of the run was spent at entry {}",
                self.log.consumption.index
            )
        })?;
        let receipt = Base64::Strict
            .decode("/plan/receipt/payload", &plan.receipt.payload)
            .map_err(failed)?;
        Ok(PlanFacts {
            receipt: ContentDigest::of(&receipt),
            step: approved.step.clone(),
            params: ParamsDigest::of(&canonical::to_canonical(&approved.params)),
            output: facts.output.stdout.sha256,
            status: facts.outcome.status,
            finished_at: facts.finished_at,
        })
    }
}

/// Returns the first reason why the bundle of the plan is not verified.
fn check_verified(report: &BundleReport) -> Result<(), CheckStop> {
    match report.failed().next() {
        Some(check) => Err(failed(format!(
            "the bundle of the plan: {}: {}",
            check.name, check.detail
        ))),
        None => ensure(report.verified, || {
            "the bundle of the plan is not verified".to_owned()
        }),
    }
}
