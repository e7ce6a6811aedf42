//! What a run gets besides its script and parameters: the state of its session, its artifacts and its plan.

use tokio::task::block_in_place;

use crate::{
    Admitted, Crossing, PlanRun, Refusal, RequestResult, RunInputs, Stopped, session_user,
};
use documents::Code;

impl Crossing {
    /// Finds the inputs that an authorization binds, before its nonce is spent.
    ///
    /// # Errors
    /// Returns `forbidden` if the submitter is not the proposer and has no owner in common with the proposer,
    /// `session-stale`, `context-changed` for a plan, and `sandbox-unavailable` for an artifact or an output that is no
    /// longer stored. Returns `nonce-replayed` instead, if the nonce is already spent.
    pub(super) fn run_inputs(&self, admitted: &Admitted) -> RequestResult<RunInputs> {
        let verified = &admitted.verified;
        let (sealed, handed_in_by) = (&verified.sealed, &verified.accepted.handed_in_by);
        let signed = verified.document.predicate();
        let has_inputs =
            signed.session.is_some() || signed.artifacts.is_some() || signed.plan.is_some();
        let replayed = || match self.ledger.reads().spent(&signed.nonce) {
            Ok(spent) => spent.map(|spent| self.replayed(&spent)),
            Err(error) => Some(error.into()),
        };
        // A replay must not read large files again.
        if has_inputs && let Some(stopped) = replayed() {
            return Err(stopped);
        }
        // A statement can name any proposer, so the name alone gives no access to the data of this proposer.
        let submitter = session_user(sealed, handed_in_by);
        let is_open = signed
            .session
            .as_ref()
            .is_none_or(|session| self.sessions.is_open_to(&session.id, &submitter));
        let proposer = &signed.proposer;
        let may_use = handed_in_by == proposer
            || (is_open && session_user(sealed, proposer).shares_with(&submitter));
        if has_inputs && !may_use {
            let detail = format!(
                "the statement names a session, an uploaded file or a plan of {proposer}, which {handed_in_by} may not use: \
                 send the statement with a token of the proposer or of the same owner"
            );
            return Err(Refusal::new(Code::Forbidden, detail)
                .about(&signed.proposal)
                .into());
        }
        self.find_inputs(admitted).map_err(|stopped| match stopped {
            // If the nonce was spent meanwhile, report the replay instead, because that run also changes the session.
            Stopped::Refused(refusal) => {
                replayed().unwrap_or_else(|| refusal.about(&signed.proposal).into())
            }
            stopped => stopped,
        })
    }

    fn find_inputs(&self, admitted: &Admitted) -> RequestResult<RunInputs> {
        let Admitted { verified, checks } = admitted;
        let (sealed, signed) = (&verified.sealed, verified.document.predicate());
        let (step, now) = (checks.step.step().definition(), checks.window.at());
        let params = checks.parameters.params().digest();
        let user = session_user(sealed, &signed.proposer);
        let session = signed
            .session
            .as_ref()
            .map(|session| {
                self.sessions
                    .admit(session, step, &user, signed.sandbox.limits.disk_bytes)
            })
            .transpose()?;
        let mut plan_ends = None;
        let mut files = self
            .artifacts
            .planned(&signed.proposer, signed.artifacts.as_ref())?;
        if let (Some(plan), Some(reference)) = (&step.plan, &signed.plan) {
            let found = block_in_place(|| PlanRun::find(&self.ledger, plan, signed, &params, now))?;
            let found =
                found.filter(|run| sealed.may_see(&signed.proposer, &run.proposer, &plan.step));
            let run = found.ok_or_else(|| {
                let detail = format!(
                    "no run of {} with these parameters has the signed receipt: run {} again, then propose with its \
                     receipt",
                    plan.step, plan.step
                );
                Refusal::new(Code::ContextChanged, detail)
            })?;
            run.check(plan, reference, params, now)?;
            files.push(block_in_place(|| run.input(&self.ledger))?);
            plan_ends = Some(run.ends_at(plan));
        }
        Ok(RunInputs {
            files,
            session,
            plan_ends,
        })
    }
}
