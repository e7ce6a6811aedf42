//! Follows the states of the sessions and the receipts of plans in a log, and checks the plan of a run in a bundle.
//!
//! The audit remembers the receipt of a plan until no run can carry out the plan any more.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    BundleReport, CheckStop, LogProofs, PlanFacts, PlannedRun, SealedRoster,
    audit::check_ledger::{ensure, failed},
    check_plan,
};
use documents::{
    Authorization, Base64, Bundle, Consumption, ContentDigest, MAX_PLAN_AGE_S, MAX_SESSION_S,
    MAX_WINDOW_S, ParamsDigest, SKEW_S, SessionChange, SessionId, SessionReference, Status,
    StepDefinition, StepRef, Timestamp, TlogProof, canonical,
};

/// The last state of each session, and the run that uses the session.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KeptSessions")]
pub struct SessionChains(BTreeMap<SessionId, SessionEnd>);

/// Last entries of one session.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptSession")]
pub struct SessionEnd {
    /// State that the last receipt states.
    state: Option<ContentDigest>,
    /// Log entry and item of the last consumption, if it has no receipt yet.
    open: Option<(u64, u64)>,
}

impl SessionChains {
    /// Returns true if the log contains no session.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if an earlier consumption has the session.
    pub(crate) fn has(&self, id: &SessionId) -> bool {
        self.0.contains_key(id)
    }

    /// Drops each session a day after its end, unless a run of it has no receipt.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.0
            .retain(|id, last| last.open.is_some() || now < id.end().plus(MAX_WINDOW_S));
    }

    /// Follows a consumption at `at`. Returns the reason why the session could not be used then.
    pub(crate) fn consume(
        &mut self,
        place: (u64, u64),
        session: &SessionReference,
        at: Timestamp,
    ) -> Option<String> {
        let SessionReference { id, state } = session;
        if id.end() > at.plus(MAX_SESSION_S + SKEW_S) {
            return Some(format!("the session {id} ends too late, at {}", id.end()));
        }
        let end = self.0.entry(id.clone()).or_default();
        let before = end.open.replace(place);
        if let Some((entry, item)) = before {
            return Some(format!(
                "the session {id} was in use: item {item} of entry {entry} uses the session and had no receipt yet"
            ));
        }
        let left = end.state.filter(|left| left != state)?;
        Some(format!(
            "the run used the session {id} at the state {state}, but the run before left the state {left}"
        ))
    }

    /// Follows the receipt of a consumption.
    pub(crate) fn close(
        &mut self,
        place: (u64, u64),
        session: &SessionReference,
        change: Option<&SessionChange>,
    ) {
        let Some(end) = self.0.get_mut(&session.id) else {
            return;
        };
        end.open = end.open.filter(|open| *open != place);
        end.state = change.map(|change| change.after).or(end.state);
    }
}

/// Receipts of plans, by the digest of their payloads.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KeptPlans")]
pub struct PlanReceipts(BTreeMap<ContentDigest, SavedPlan>);

/// The receipt of a plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptPlan")]
pub struct SavedPlan {
    /// Index of its log entry.
    pub(super) entry: u64,
    pub(super) step: StepRef,
    pub(super) params: ParamsDigest,
    pub(super) output: ContentDigest,
    pub(super) status: Status,
    pub(super) finished_at: Timestamp,
}

impl PlanReceipts {
    /// Returns true if no plan can be carried out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, receipt: ContentDigest, plan: SavedPlan) {
        self.0.entry(receipt).or_insert(plan);
    }

    /// Drops the plans that are too old for every run from `since` on.
    pub(crate) fn forget(&mut self, since: Timestamp) {
        self.0
            .retain(|_, plan| plan.finished_at.plus_seconds(MAX_PLAN_AGE_S) >= since);
    }

    /// Returns the reason why the run whose nonce was spent at the entry `consumed` could not carry out its plan.
    pub(crate) fn flaw(&self, run: &PlannedRun<'_>, consumed: u64) -> Option<String> {
        let receipt = run.signed.receipt;
        let Some(plan) = self.0.get(&receipt).filter(|plan| plan.entry < consumed) else {
            return Some(format!(
                "no receipt before the consumption is the receipt {receipt} of the plan"
            ));
        };
        let facts = PlanFacts {
            receipt,
            step: plan.step.clone(),
            params: plan.params,
            output: plan.output,
            status: plan.status,
            finished_at: plan.finished_at,
        };
        check_plan(run, &facts).err().map(|error| error.to_string())
    }
}

/// Checks the plan of the run in a bundle: first `report`, the report about the bundle of the plan, then the plan
/// itself. The plan must belong to this log and come before the run.
pub fn check_plan_of_run(
    bundle: &Bundle,
    sealed: &SealedRoster<'_>,
    log: &LogProofs,
    consumption: &Consumption,
    authorization: &Authorization,
    step: &StepDefinition,
    report: Option<&BundleReport>,
) -> Result<String, CheckStop> {
    let (asked, signed) = match (&step.plan, &authorization.plan) {
        (Some(asked), Some(signed)) => (asked, signed),
        _ => {
            ensure(
                bundle.plan.is_none(),
                || "the bundle contains a plan, but the authorization names none",
            )?;
            return Ok("the step has no plan".to_owned());
        }
    };
    let missing = || {
        failed(
            "the authorization names a plan, but the bundle does not contain the bundle of this plan",
        )
    };
    let plan = bundle.plan.as_deref().ok_or_else(missing)?;
    let report = report.ok_or_else(missing)?;
    check_verified(report)?;
    let unread = || failed("the bundle of the plan states no facts");
    let facts = report.facts.as_deref().ok_or_else(unread)?;
    let approved = facts.approved.as_ref().ok_or_else(unread)?;
    ensure(facts.boundary.id == sealed.boundary.id, || {
        format!(
            "the plan belongs to another boundary, {}",
            facts.boundary.id
        )
    })?;
    let place = TlogProof::parse(&plan.proofs.receipt)?.index;
    ensure(place < log.consumption.index, || {
        format!(
            "the receipt of the plan is entry {place}, but the nonce of the run was spent at entry {}",
            log.consumption.index
        )
    })?;
    let receipt = Base64::Strict.decode("/plan/receipt/payload", &plan.receipt.payload)?;
    let facts = PlanFacts {
        receipt: ContentDigest::of(&receipt),
        step: approved.step.clone(),
        params: ParamsDigest::of(&canonical::to_canonical(&approved.params)),
        output: facts.output.stdout.sha256,
        status: facts.outcome.status,
        finished_at: facts.finished_at,
    };
    let run = PlannedRun {
        asked,
        signed,
        params: authorization.params_digest()?,
        at: consumption.at,
    };
    let _fits = check_plan(&run, &facts)?;
    Ok(format!(
        "{} with the receipt {}, ended at {}",
        facts.step, facts.receipt, facts.finished_at
    ))
}

/// Returns the first reason why the bundle of the plan is not verified.
fn check_verified(report: &BundleReport) -> Result<(), CheckStop> {
    match report.failed().next() {
        Some(check) => Err(failed(format!(
            "the bundle of the plan: {}: {}",
            check.name, check.detail
        ))),
        None => ensure(report.verified, || "the bundle of the plan is not verified"),
    }
}
