//! What a proposal names besides its step and its parameters: uploaded files, and the receipt of a plan.

use crate::{Caller, Proposals, fail_at};
use crossing::{PLAN_ARTIFACT, PlanRun, Refusal, RequestResult};
use documents::{
    Artifact, Artifacts, Code, Malformed, Name, ParamsDigest, PlanReference, ReceiptId,
    StepDefinition, Timestamp,
};
use wire::ProposedArtifact;

impl Proposals {
    /// Returns the artifacts of a proposal, which the proposer must have uploaded.
    pub fn proposed_artifacts(
        &self,
        proposer: &Name,
        given: &[ProposedArtifact],
    ) -> RequestResult<Option<Artifacts>> {
        let mut found = Vec::new();
        for (at, one) in given.iter().enumerate() {
            let stored = self.artifacts.size(proposer, &one.digest)?;
            let Some(bytes) = stored else {
                return fail_at(
                    Code::NotFound,
                    format!(
                        "{proposer} has not uploaded {}: upload the file, then propose again",
                        one.digest
                    ),
                    format!("/artifacts/{at}/digest"),
                    "not stored",
                );
            };
            if one.name.as_str() == PLAN_ARTIFACT {
                return Err(Refusal::malformed(
                    format!("/artifacts/{at}/name"),
                    format!(
                        "{PLAN_ARTIFACT:?} is the name of the plan's output: choose another name"
                    ),
                )
                .into());
            }
            found.push(Artifact {
                name: one.name.clone(),
                digest: one.digest,
                bytes,
            });
        }
        found.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        let artifacts = (!found.is_empty()).then_some(Artifacts(found));
        if let Some(artifacts) = &artifacts {
            artifacts.check().map_err(|error| Malformed {
                pointer: format!("/artifacts{}", error.pointer),
                ..error
            })?;
        }
        Ok(artifacts)
    }

    /// Returns the plan of a proposal, whose receipt the caller must be allowed to see.
    pub fn proposed_plan(
        &self,
        caller: &Caller,
        step: &StepDefinition,
        given: Option<&ReceiptId>,
        params: &ParamsDigest,
        now: Timestamp,
    ) -> RequestResult<Option<PlanReference>> {
        let (plan, receipt) = match (&step.plan, given) {
            (None, None) => return Ok(None),
            (Some(plan), Some(receipt)) => (plan, receipt),
            (Some(plan), None) => {
                let detail = format!(
                    "{} applies a plan: run {} with the same parameters, then propose with its receipt as `plan`",
                    step.reference, plan.step
                );
                return fail_at(Code::Malformed, detail, "/plan", "missing");
            }
            (None, Some(_)) => {
                return fail_at(
                    Code::Malformed,
                    format!("{} applies no plan: leave the plan out", step.reference),
                    "/plan",
                    "not used by this step",
                );
            }
        };
        let row = self.visible(caller, &receipt.proposal())?;
        let run = PlanRun::of(&self.ledger, &row)?.ok_or_else(|| {
            Refusal::new(
                Code::WrongState,
                format!("{receipt}: its run has no receipt yet"),
            )
            .at("/plan", "not finished")
        })?;
        let reference = run.reference();
        run.check(plan, &reference, *params, now)
            .map_err(|refusal| refusal.at("/plan", "can't be carried out"))?;
        Ok(Some(reference))
    }
}
