//! Runs under standing grants. If the server has the key of a grantee, `propose` uses a grant that covers the run, and
//! no person is asked. Otherwise people must sign the run, and the answer states the reason.
//!
//! The program that starts the server has the key, and stores each use, so that the use is known after a restart of the
//! server.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Answer, ApiRequest, BoundaryApi, GrantList, GrantNote, GrantStatus, GrantView, GranteeKey,
    PlannedUse, ProposalStatus, ProposalView, ProposeArgs, StepView, ToolCalls, ToolProblem,
    mcp::{
        run_evidence::ANOTHER_RUN,
        tool_calls::{AgentMachine, of_json, succeeded},
    },
};
use documents::{Authorization, Base64, GrantedSession, Statement};

/// Code of a run that the grant does not cover.
const NOT_GRANTED: &str = "not-granted";

impl<A: BoundaryApi> ToolCalls<A> {
    /// Runs the step under a grant of the server's key. Otherwise people must sign the run, and the note says why.
    pub(super) async fn try_grants(
        &self,
        args: &ProposeArgs,
    ) -> Answer<Result<(ProposalView, GrantNote), GrantNote>> {
        let Some(machine) = &self.machine else {
            return Ok(Err(GrantNote::None));
        };
        // If an earlier call with these arguments asked people and has no answer, this call must repeat that proposal
        // and not use a grant.
        let asked = machine.sent.is_unanswered(args, Instant::now());
        let Some(key) = machine.grantee.as_ref().filter(|_| !asked) else {
            return Ok(Err(GrantNote::None));
        };
        let planned = match key.planned(args) {
            Some(planned) => planned,
            None => match self.covering(key.as_ref(), args).await? {
                Ok((grant, schema)) => (machine.new_nonce)()
                    .and_then(|nonce| {
                        key.plan(
                            args,
                            PlannedUse {
                                grant,
                                schema,
                                nonce,
                            },
                        )
                    })
                    .map_err(|error| ToolProblem::not_proposed(&error))?,
                Err(note) => return Ok(Err(note)),
            },
        };
        // After a crash from here on, a repeated call finds the planned use, and continues with the same nonce.
        let tried = self.use_grant(machine, key, args, &planned).await?;
        if tried.is_err() {
            key.forget(args);
        }
        Ok(tried)
    }

    /// Records that the call has its answer, so that the same call is a new run. If the program is killed after this
    /// call and before it writes the answer, a repeated call makes a second run.
    pub fn forget_use(&self, args: &ProposeArgs) {
        if let Some(key) = self
            .machine
            .as_ref()
            .and_then(|machine| machine.grantee.as_ref())
        {
            key.forget(args);
        }
    }

    /// Returns the first grant to end among the grants that cover the run, and the schema of the parameters of the
    /// step.
    async fn covering(
        &self,
        key: &dyn GranteeKey,
        args: &ProposeArgs,
    ) -> Answer<Result<(GrantView, Value), GrantNote>> {
        let (mut schema, mut note) = (None, GrantNote::None);
        // The boundary lists the grants in the order of their ends.
        for view in self.read::<GrantList>("/v1/grants").await?.grants {
            let granted = view
                .grant
                .steps
                .iter()
                .find(|step| step.reference.as_str() == args.step);
            let ours = view.grant.grantee.key() == Some(&key.keyid())
                && view.status != GrantStatus::Pending;
            let Some(granted) = granted.filter(|_| ours) else {
                continue;
            };
            let schema = match &mut schema {
                Some(schema) => schema,
                None => {
                    let step: StepView = self.read(&format!("/v1/steps/{}", args.step)).await?;
                    schema.insert(step.definition["params"].clone())
                }
            };
            let covered = match &view.why {
                Some(why) => Err((why.code.word(), why.detail.clone())),
                None if args.session.is_some() && view.grant.session == GrantedSession::None => {
                    Err((NOT_GRANTED, "the grant permits no session".to_owned()))
                }
                None => key
                    .check_params(schema, &granted.params, &args.params)
                    .map_err(|why| (NOT_GRANTED, why)),
            };
            match covered {
                Ok(()) => return Ok(Ok((view, schema.clone()))),
                Err((code, why)) if matches!(note, GrantNote::None) => {
                    note = GrantNote::asked(&view, code, &why)
                }
                Err(_) => {}
            }
        }
        Ok(Err(note))
    }

    /// Proposes the run under the grant, and signs it. Both calls can be repeated.
    async fn use_grant(
        &self,
        machine: &AgentMachine,
        key: &Arc<dyn GranteeKey>,
        args: &ProposeArgs,
        planned: &PlannedUse,
    ) -> Answer<Result<(ProposalView, GrantNote), GrantNote>> {
        let PlannedUse {
            grant,
            schema,
            nonce,
        } = planned;
        let ask = |code: &str, why: &str| Ok(Err(GrantNote::asked(grant, code, why)));
        let mut view = match self.post_proposal(args, Some(nonce), Some(grant)).await {
            Err(problem) if problem.code() == NOT_GRANTED => {
                return ask(NOT_GRANTED, problem.detail());
            }
            // For any other problem, the boundary would refuse the run without the grant too, or gave no answer.
            made => made?,
        };
        let path = format!("/v1/proposals/{}", view.id);
        if view.status == ProposalStatus::Pending {
            view = match self.sign_use(machine, key, &view, schema).await {
                // An earlier request with the signature has already arrived.
                Err(problem) if problem.code() == "wrong-state" => self.proposal(&view.id).await?,
                Err(problem)
                    if problem.is_refusal() && !problem.may_pass() && problem.code() != "fault" =>
                {
                    // The signature of the grantee was refused, so this proposal would only wait until its window ends.
                    let _ = self
                        .send(ApiRequest::post(format!("{path}/cancellation"), None))
                        .await;
                    return ask(problem.code(), problem.detail());
                }
                signed => ProposalView {
                    existing: view.existing,
                    ..signed?
                },
            };
        }
        // A refused run has spent neither the use nor the nonce.
        match &view.refusal {
            Some(why)
                if matches!(
                    view.status,
                    ProposalStatus::Refused | ProposalStatus::Expired
                ) =>
            {
                ask(why.code.word(), &why.detail)
            }
            _ => {
                let (id, spent, most) = (&grant.id, grant.uses, grant.grant.max_uses);
                let words = format!(
                    "runs under standing grant {id} ({spent} of {most} uses were spent before); nobody is asked. "
                );
                Ok(Ok((view, GrantNote::Used(words))))
            }
        }
    }

    /// Signs the statement of the boundary if the statement is for the run that this call asked for.
    async fn sign_use(
        &self,
        machine: &AgentMachine,
        key: &Arc<dyn GranteeKey>,
        view: &ProposalView,
        schema: &Value,
    ) -> Answer<ProposalView> {
        let payload = Base64::Strict
            .decode("/payload", &view.payload)
            .map_err(ToolProblem::odd)?;
        let signed = Statement::<Authorization>::from_payload(&payload)
            .map_err(ToolProblem::odd)?
            .predicate;
        let differences = machine
            .sent
            .differences(&signed, schema, None, None)
            .join(", ");
        if signed.proposal != view.id || !differences.is_empty() {
            let detail = format!(
                "nothing was signed: the statement of the boundary is for another run ({differences})"
            );
            return Err(ToolProblem::new(
                ANOTHER_RUN,
                &detail,
                "do not rely on this boundary's answers, and tell the user",
            ));
        }
        let key = key.clone();
        let signature = tokio::task::spawn_blocking(move || key.sign(&payload))
            .await
            .map_err(|error| error.to_string());
        let signature = signature
            .flatten()
            .map_err(|error| ToolProblem::not_proposed(&error))?;
        let body = json!({"signatures": [signature]});
        let path = format!("/v1/proposals/{}/signatures", view.id);
        of_json(&succeeded(
            self.send(ApiRequest::post(path, Some(body))).await?,
        )?)
    }
}
