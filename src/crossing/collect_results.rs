//! Collects what a run left, after its processes have ended.

use std::sync::Arc;

use crate::crossing::cross::{Crossing, outcome_of};
use crate::crossing::kept_results::{KeptResults, kept_results};
use crate::crossing::secret_masks::SecretMasks;
use crate::crossing::sessions::SessionResult;
use crate::crossing::stage::Closing;
use crate::record::receipt::Status;
use crate::record::step_definition::SessionUse;
use crate::sandbox::run_results::RunResults;
use crate::sandbox::{End, Report};

impl Crossing {
    /// Reads what a run left, and puts the state of its session in force. The processes of the run have ended.
    pub(super) async fn keep_results(
        &self,
        report: &mut Report,
        closing: &mut Closing,
        masks: Option<Arc<SecretMasks>>,
    ) -> KeptResults {
        let outcome = outcome_of(&report.end);
        let claim = closing.session.take();
        // A shell that gets a signal may still write its state, but the step did not come to its end.
        let ended = matches!(report.end, End::Exited(_));
        let (step, authorization, at) = (closing.basis.step.reference.clone(), closing.basis.authorization, self.now());
        let (results, given) = (report.results.take(), closing.given.clone());
        let read = tokio::task::spawn_blocking(move || {
            let holds_secret = |bytes: &[u8]| masks.as_ref().is_some_and(|masks| masks.contains(bytes));
            let session = claim.map(|claim| {
                let results = results.as_ref().filter(|_| given.session == SessionUse::Write);
                let captured = results.and_then(RunResults::session_state).filter(|_| ended);
                let tree = results.and_then(|results| results.work().cloned());
                let work = tree.as_ref().map(|tree| tree.path());
                let state = captured.map(|captured| claim.state_after(&captured, work, &given)).transpose();
                let note =
                    state.as_ref().err().map(|error| format!("the state of the session did not change: {error}"));
                let mut state = state.ok().flatten();
                if let Some(state) = &mut state {
                    state.env.retain(|_, value| !holds_secret(value));
                }
                (claim.settle(SessionResult { state, tree }, &authorization, &step, at), note)
            });
            let succeeded = matches!(outcome.status, Status::Succeeded | Status::Warned);
            let kept =
                results.filter(|_| succeeded).map(|results| kept_results(&results, &given.outputs, &holds_secret));
            (session, kept.unwrap_or_default())
        });
        match read.await {
            Ok((session, mut kept)) => {
                if let Some((change, note)) = session {
                    closing.change = Some(change);
                    kept.notes.extend(note);
                }
                kept
            }
            Err(error) => {
                tracing::error!(proposal = %closing.basis.proposal, "the results of the run are lost: {error}");
                KeptResults::default()
            }
        }
    }
}
