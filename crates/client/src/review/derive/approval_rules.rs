//! The approval rules of a run, normally and in an emergency.

use crate::review::derived::{Derived, EmergencyApproval, ReviewFinding};
use documents::record::authorization::Authorization;
use documents::record::step_definition::Approvals;
use judgement::decision::emergency::rules_of_run;
use judgement::decision::quorum_rules::QuorumRules;
use judgement::policy::ruling::Ruling;

const EMERGENCY: &str = "policy permits this emergency";

impl Derived {
    /// Finds the approval rules of the run, and checks that policy permits an emergency.
    pub(super) fn approval_rules(&mut self, signed: &Authorization, ruling: &Ruling, of_step: &Approvals) {
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        self.passkeys = ruling.passkeys;
        let normally = rules("policy asks", of_policy, of_step);
        if signed.emergency.is_none() {
            self.rules = normally;
            return;
        }
        let permitted = QuorumRules::combine(of_policy, of_step).map_err(|error| error.to_string()).and_then(|usual| {
            rules_of_run(signed, &usual, ruling, of_step).map(drop).map_err(|error| error.to_string())
        });
        self.note(EMERGENCY, permitted.map_or_else(ReviewFinding::Fails, |()| ReviewFinding::Holds));
        if let Some(rule) = &ruling.emergency {
            self.rules = rules("in an emergency, policy asks", Some(&rule.value.approvals()), of_step);
            self.emergency = Some(EmergencyApproval { rule: rule.value.clone(), normally });
        }
    }
}

/// Returns the rule of policy and the rule of the step. A step without groups uses the groups of policy.
fn rules(asks: &'static str, policy: Option<&Approvals>, step: &Approvals) -> Vec<(&'static str, Approvals)> {
    let own = match policy {
        Some(policy) if step.from.is_empty() => {
            Approvals { required: step.required, from: policy.from.clone(), each: step.each }
        }
        _ => step.clone(),
    };
    policy.cloned().map(|rule| (asks, rule)).into_iter().chain([("the step asks", own)]).collect()
}
