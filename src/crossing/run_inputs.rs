//! What a run gets besides its script and parameters: the state of its session, its artifacts and its plan.

use crate::crossing::cross::Crossing;
use crate::crossing::plans::{PlanRun, demanded_plan};
use crate::crossing::refusal::{Refusal, Stopped, fault};
use crate::crossing::sealed::Sealed;
use crate::crossing::sessions::session_user;
use crate::crossing::stage::RunInputs;
use crate::crypto::digest::ParamsDigest;
use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::record::step_definition::StepDefinition;
use crate::record::validity::Timestamp;

impl Crossing {
    /// Finds the inputs that an authorization binds, before its nonce is spent.
    ///
    /// # Errors
    /// Returns `session-stale`, `context-changed` for a plan, and `sandbox-unavailable` for an artifact or an output that
    /// is no longer stored. Returns `nonce-replayed` instead, if the nonce is already spent.
    pub(super) fn run_inputs(
        &self,
        sealed: &Sealed,
        signed: &Authorization,
        step: &StepDefinition,
        params: &ParamsDigest,
        now: Timestamp,
    ) -> Result<RunInputs, Stopped> {
        self.find_inputs(sealed, signed, step, params, now).map_err(|stopped| match stopped {
            // A run changes its session, so a replayed authorization is always stale too.
            Stopped::Refused(refusal) => match self.ledger.spent(&signed.nonce) {
                Ok(Some(spent)) => self.replayed(&spent),
                Ok(None) => refusal.about(&signed.proposal).into(),
                Err(error) => fault(&error),
            },
            stopped => stopped,
        })
    }

    fn find_inputs(
        &self,
        sealed: &Sealed,
        signed: &Authorization,
        step: &StepDefinition,
        params: &ParamsDigest,
        now: Timestamp,
    ) -> Result<RunInputs, Stopped> {
        let user = session_user(sealed, &signed.proposer);
        let session = signed
            .session
            .as_ref()
            .map(|session| self.sessions.admit(session, step, &user, signed.sandbox.limits.disk_bytes))
            .transpose()?;
        let mut plan_ends = None;
        let mut files = self.artifacts.planned(&signed.proposer, signed.artifacts.as_ref())?;
        if let (Some(plan), Some(reference)) = (demanded_plan(step, signed.plan.as_ref())?, &signed.plan) {
            let found = PlanRun::find(&self.ledger, plan, &reference.receipt, params)?;
            let run = found.ok_or_else(|| {
                let detail = format!(
                    "no run of {} with these parameters has the signed receipt: run {} again, then propose with its \
                     receipt",
                    plan.step, plan.step
                );
                Refusal::new(Code::ContextChanged, detail)
            })?;
            run.check(plan, reference, *params, now)?;
            files.push(run.input(&self.ledger)?);
            plan_ends = Some(run.ends_at(plan));
        }
        Ok(RunInputs { files, session, plan_ends })
    }
}
