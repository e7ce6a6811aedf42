//! Question: which approval rules must the signatures of a run meet, and may the run be an emergency?

use crate::{QuorumRules, RuleError};
use documents::{Approvals, Authorization, Code, StepRef};
use reading::Ruling;

/// Returns the approval rules for a run. Without an emergency, these are `rules`: the rule `approvals` of policy and
/// the rule of the step. In an emergency, the rule `emergency` of policy takes the place of the rule `approvals`. The
/// rule of the step always applies.
///
/// # Errors
/// Returns an error if policy permits no emergency for the step, or if the window of the run is longer than policy
/// permits in an emergency.
pub fn rules_of_run(
    signed: &Authorization,
    rules: QuorumRules,
    ruling: &Ruling,
    of_step: &Approvals,
) -> Result<QuorumRules, EmergencyError> {
    if signed.emergency.is_none() {
        return Ok(rules);
    }
    let window_s = signed.expires_at.unix() - signed.issued_at.unix();
    rules_of_emergency(&signed.step.reference, window_s, ruling, of_step)
}

/// Returns the approval rules for an emergency of `window_s` seconds.
///
/// # Errors
/// Returns the errors of [`rules_of_run`].
pub fn rules_of_emergency(
    step: &StepRef,
    window_s: i64,
    ruling: &Ruling,
    of_step: &Approvals,
) -> Result<QuorumRules, EmergencyError> {
    let rule = ruling.emergency.as_ref();
    let rule = &rule
        .ok_or_else(|| EmergencyError::NotPermitted { step: step.clone() })?
        .value;
    let most_s = rule.max_window_s;
    if u64::try_from(window_s).is_ok_and(|window_s| window_s > most_s) {
        return Err(EmergencyError::TooLong {
            step: step.clone(),
            window_s,
            most_s,
        });
    }
    let rules =
        QuorumRules::combine(Some(&rule.approvals()), of_step).map_err(EmergencyError::Rules)?;
    Ok(rules.with_passkeys(ruling.passkeys))
}

/// Reason why a run may not be an emergency.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    /// Policy has no rule `emergency` for the step.
    #[error("policy permits no emergency for {step}: propose the step without an emergency")]
    NotPermitted {
        /// The step.
        step: StepRef,
    },
    /// The window is longer than policy permits in an emergency.
    #[error(
        "an emergency of {step} may last {most_s} s from its issue, but this one lasts {window_s} s: propose it with \
         a shorter window"
    )]
    TooLong {
        /// The step.
        step: StepRef,
        /// Seconds from the issue to the end of the authorization.
        window_s: i64,
        /// Maximum number of seconds.
        most_s: u64,
    },
    /// The rules of the step can't be met.
    #[error(transparent)]
    Rules(RuleError),
}

impl EmergencyError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::PolicyDenied
    }
}
