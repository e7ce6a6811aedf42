//! Remembers the receipts of plans until no run can carry them out any more.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PlanFacts, PlannedRun, check_plan};
use documents::{ContentDigest, MAX_GRANT_S, ParamsDigest, Status, StepRef, Timestamp};

/// Receipts of plans, by the digest of their payloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KeptPlans")]
pub struct PlanReceipts(BTreeMap<ContentDigest, SavedPlan>);

/// The receipt of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptPlan")]
pub struct SavedPlan {
    /// Index of its log entry.
    entry: u64,
    step: StepRef,
    params: ParamsDigest,
    output: ContentDigest,
    status: Status,
    finished_at: Timestamp,
}

impl PlanReceipts {
    /// Returns true if no plan can be carried out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, entry: u64, plan: PlanFacts) {
        let PlanFacts {
            receipt,
            step,
            params,
            output,
            status,
            finished_at,
        } = plan;
        self.0.entry(receipt).or_insert(SavedPlan {
            entry,
            step,
            params,
            output,
            status,
            finished_at,
        });
    }

    /// Drops the plans that are too old for every run from `since` on.
    pub(crate) fn forget(&mut self, since: Timestamp) {
        let most = i64::try_from(MAX_GRANT_S).unwrap_or(i64::MAX);
        self.0
            .retain(|_, plan| plan.finished_at.plus(most) >= since);
    }

    /// Returns the reason why the run whose nonce was spent at the entry `consumed` could not carry out its plan.
    pub(crate) fn flaw(&self, run: &PlannedRun<'_>, consumed: u64) -> Option<String> {
        let receipt = run.signed.receipt;
        let Some(plan) = self.0.get(&receipt).filter(|plan| plan.entry < consumed) else {
            return Some(format!(
                "no receipt before the consumption is the receipt {receipt} of the plan"
            ));
        };
        let SavedPlan {
            step,
            params,
            output,
            status,
            finished_at,
            ..
        } = plan.clone();
        let facts = PlanFacts {
            receipt,
            step,
            params,
            output,
            status,
            finished_at,
        };
        check_plan(run, &facts).err().map(|error| error.to_string())
    }
}
