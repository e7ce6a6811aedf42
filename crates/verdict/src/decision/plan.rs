//! Question: may the run carry out this plan?

use documents::{
    Code, ContentDigest, ParamsDigest, PlanReference, Status, StepPlan, StepRef, Timestamp,
};

/// What the receipt of a plan states.
#[derive(Clone)]
pub struct PlanFacts {
    /// Digest of the receipt's payload.
    pub receipt: ContentDigest,
    /// The step that ran.
    pub step: StepRef,
    /// Digest of the parameters of that run.
    pub params: ParamsDigest,
    /// SHA-256 of the recorded standard output of that run.
    pub output: ContentDigest,
    /// How the run ended.
    pub status: Status,
    /// When the run ended.
    pub finished_at: Timestamp,
}

/// The run that carries out a plan.
pub struct PlannedRun<'a> {
    /// The plan that the step asks for.
    pub asked: &'a StepPlan,
    /// The plan that the approvers signed.
    pub signed: &'a PlanReference,
    /// Digest of the run's parameters.
    pub params: ParamsDigest,
    /// When the nonce of the run is spent.
    pub at: Timestamp,
}

/// Proof that the run may carry out the plan. Only [`check_plan`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct PlanFits(());

/// Checks the receipt of a plan against the run that carries out the plan.
///
/// # Errors
/// Returns the first rule that the plan breaks.
pub fn check_plan(run: &PlannedRun<'_>, plan: &PlanFacts) -> Result<PlanFits, PlanError> {
    let error = if plan.receipt != run.signed.receipt {
        PlanError::OtherReceipt {
            signed: run.signed.receipt,
            found: plan.receipt,
        }
    } else if plan.output != run.signed.output {
        PlanError::OtherOutput {
            signed: run.signed.output,
            found: plan.output,
        }
    } else if plan.step != run.asked.step {
        PlanError::OtherStep {
            asked: run.asked.step.clone(),
            found: plan.step.clone(),
        }
    } else if plan.status != Status::Succeeded {
        PlanError::NotSucceeded {
            status: plan.status,
        }
    } else if plan.params != run.params {
        PlanError::OtherParams
    } else if plan.finished_at > run.at {
        PlanError::Later {
            finished_at: plan.finished_at,
            at: run.at,
        }
    } else if run.at > plan.finished_at.plus_seconds(run.asked.max_age_s) {
        PlanError::TooOld {
            finished_at: plan.finished_at,
            at: run.at,
            max_age_s: run.asked.max_age_s,
        }
    } else {
        return Ok(PlanFits(()));
    };
    Err(error)
}

/// The reason why a run may not carry out a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The approvers signed another receipt.
    #[error("the approvers signed the plan with the receipt {signed}, but the receipt is {found}")]
    OtherReceipt {
        /// The signed receipt.
        signed: ContentDigest,
        /// The receipt of the plan.
        found: ContentDigest,
    },
    /// The approvers signed another output.
    #[error(
        "the approvers signed the plan with the output {signed}, but its recorded output is {found}"
    )]
    OtherOutput {
        /// The signed output.
        signed: ContentDigest,
        /// The output of the plan.
        found: ContentDigest,
    },
    /// The plan is the run of another step.
    #[error("the plan must be a run of {asked}, but it is one of {found}")]
    OtherStep {
        /// The step that the definition names.
        asked: StepRef,
        /// The step of the plan.
        found: StepRef,
    },
    /// The plan did not succeed.
    #[error("the plan did not succeed: its outcome is {status}")]
    NotSucceeded {
        /// How the plan ended.
        status: Status,
    },
    /// The plan was made for other parameters.
    #[error("the plan was made for other parameters than the parameters of the run")]
    OtherParams,
    /// The plan ended after the nonce of the run was spent.
    #[error("the plan ended at {finished_at}, after the nonce of the run was spent at {at}")]
    Later {
        /// End of the plan.
        finished_at: Timestamp,
        /// Time of the run.
        at: Timestamp,
    },
    /// The plan is too old.
    #[error(
        "the plan ended at {finished_at}, more than {max_age_s} seconds before the nonce of the run was spent at \
         {at}: make a new plan"
    )]
    TooOld {
        /// End of the plan.
        finished_at: Timestamp,
        /// Time of the run.
        at: Timestamp,
        /// Maximum age in seconds.
        max_age_s: u64,
    },
}

impl PlanError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::TooOld { .. } => Code::Expired,
            _ => Code::ContextChanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_successful_plan_of_the_named_step_for_the_same_parameters_is_carried_out() {
        let digest = |text: &str| ContentDigest::of(text.as_bytes());
        let asked = StepPlan {
            step: "tf:plan".parse().expect("a ref"),
            max_age_s: 600,
        };
        let signed = PlanReference {
            receipt: digest("receipt"),
            output: digest("output"),
        };
        let params = ParamsDigest::of(b"{}");
        let run = PlannedRun {
            asked: &asked,
            signed: &signed,
            params,
            at: Timestamp::from_unix(1000),
        };
        let plan = PlanFacts {
            receipt: signed.receipt,
            step: asked.step.clone(),
            params,
            output: signed.output,
            status: Status::Succeeded,
            finished_at: Timestamp::from_unix(400),
        };
        assert!(check_plan(&run, &plan).is_ok());
        let refused = |change: fn(&mut PlanFacts)| {
            let mut other = plan.clone();
            change(&mut other);
            check_plan(&run, &other).expect_err("another plan")
        };
        assert!(matches!(
            refused(|p| p.receipt = ContentDigest::of(b"x")),
            PlanError::OtherReceipt { .. }
        ));
        assert!(matches!(
            refused(|p| p.output = ContentDigest::of(b"x")),
            PlanError::OtherOutput { .. }
        ));
        assert!(matches!(
            refused(|p| p.step = "tf:show".parse().expect("ref")),
            PlanError::OtherStep { .. }
        ));
        assert!(matches!(
            refused(|p| p.status = Status::Warned),
            PlanError::NotSucceeded { .. }
        ));
        assert!(matches!(
            refused(|p| p.params = ParamsDigest::of(b"x")),
            PlanError::OtherParams
        ));
        assert!(matches!(
            refused(|p| p.finished_at = Timestamp::from_unix(1001)),
            PlanError::Later { .. }
        ));
        let old = refused(|p| p.finished_at = Timestamp::from_unix(399));
        assert_eq!(
            (old.code(), matches!(old, PlanError::TooOld { .. })),
            (Code::Expired, true)
        );
    }
}
