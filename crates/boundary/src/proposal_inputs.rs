//! Inputs that a proposal names: uploaded files and the receipt of a plan.

use std::fs::File;
use std::sync::Arc;

use crate::{Caller, Proposals};
use crossing::{PLAN_ARTIFACT, PlanRun, Refusal, Stopped};
use documents::{
    Artifact, ArtifactName, Artifacts, Code, Malformed, Name, ParamsDigest, PlanReference,
    ProposalId, ReceiptId, StepDefinition, Timestamp,
};
use wire::ProposedArtifact;

impl Proposals {
    /// Returns the artifacts of a proposal, which the proposer must have uploaded.
    pub(super) fn proposed_artifacts(
        &self,
        proposer: &Name,
        given: &[ProposedArtifact],
    ) -> Result<Option<Artifacts>, Stopped> {
        let mut found = Vec::new();
        for (at, one) in given.iter().enumerate() {
            let stored = self.artifacts.size(proposer, &one.digest)?;
            let Some(bytes) = stored else {
                let detail = format!(
                    "{proposer} has not uploaded {}: upload the file, then propose again",
                    one.digest
                );
                return Err(Refusal::new(Code::NotFound, detail)
                    .at(format!("/artifacts/{at}/digest"), "not stored")
                    .into());
            };
            if one.name.as_str() == PLAN_ARTIFACT {
                let detail = format!(
                    "{PLAN_ARTIFACT:?} is the name of the plan's output: choose another name"
                );
                return Err(Refusal::malformed(format!("/artifacts/{at}/name"), detail).into());
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
    pub(super) fn proposed_plan(
        &self,
        caller: &Caller,
        step: &StepDefinition,
        given: Option<&ReceiptId>,
        params: &ParamsDigest,
        now: Timestamp,
    ) -> Result<Option<PlanReference>, Stopped> {
        let (plan, receipt) = match (&step.plan, given) {
            (None, None) => return Ok(None),
            (Some(plan), Some(receipt)) => (plan, receipt),
            (Some(plan), None) => {
                let detail = format!(
                    "{} applies a plan: run {} with the same parameters, then propose with its receipt as `plan`",
                    step.reference, plan.step
                );
                return Err(Refusal::new(Code::Malformed, detail)
                    .at("/plan", "missing")
                    .into());
            }
            (None, Some(_)) => {
                let detail = format!("{} applies no plan: leave the plan out", step.reference);
                return Err(Refusal::new(Code::Malformed, detail)
                    .at("/plan", "not used by this step")
                    .into());
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

    /// Returns a file that the run of a proposal gets, with its size.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist, has no such file, or may not be seen by the caller.
    pub fn input(
        &self,
        caller: &Caller,
        id: &ProposalId,
        name: &ArtifactName,
    ) -> Result<(Arc<File>, u64), Stopped> {
        let row = self.visible(caller, id)?;
        let signed = self.statement(id)?.predicate;
        let none = || {
            Stopped::from(Refusal::new(
                Code::NotFound,
                format!("{id} has no file {name}, or it is deleted"),
            ))
        };
        let artifacts = signed.artifacts.iter().flat_map(|artifacts| &artifacts.0);
        let planned = if let Some(artifact) = artifacts.into_iter().find(|one| one.name == *name) {
            let one = Artifacts(vec![artifact.clone()]);
            self.artifacts
                .planned(&row.core.proposer, Some(&one))?
                .pop()
        } else if name.as_str() == PLAN_ARTIFACT && signed.plan.is_some() {
            let sealed = self.crossing.state();
            let step = sealed
                .step(&row.core.step)
                .and_then(|(step, _)| step.definition.plan.clone())
                .ok_or_else(none)?;
            let found = {
                let until = row.ended_at.unwrap_or_else(|| self.crossing.now());
                PlanRun::find(&self.ledger, &step, &signed, &row.core.params_digest, until)?
            };
            Some(found.ok_or_else(none)?.input(&self.ledger)?)
        } else {
            None
        };
        let planned = planned.ok_or_else(none)?;
        Ok((planned.file, planned.bytes))
    }
}
