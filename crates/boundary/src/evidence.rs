//! Read access to the registry, receipts, bundles, outputs and the log.
pub mod checkpoint_proofs;
pub mod earlier_seal;
mod outputs;

use std::sync::Arc;

use crate::{
    Caller, Health, Proposals, StepSearch, Witnessing, blob_text, earlier_seal,
    evidence::checkpoint_proofs::CheckpointProofs, leaf_data, logged_documents::predicate,
    manifest_of, proposals::with_near_steps, rosters_under, unknown_step,
};
use crossing::{
    BoundaryKey, BundleParts, BundleShare, Crossing, Receipted, Refusal, RequestResult, Sealed,
    Stopped, authorization_entry, fault, profile_on_host, refuse, stored_receipt,
};
use documents::{
    Authorization, BlobDigest, Code, Envelope, MEDIA_TYPE, ParamsDigest, Receipt, ReceiptId,
    RegistryLeaf, Scope, SessionUse, Statement, StepProof, StepRef, Timestamp, TlogProof,
    canonical, hex, json, merkle,
};
use store::{Ledger, Proposal, Retention, RunOutcome, RunQuery, end_detail};
use wire::{
    BoundaryView, LastSuccess, ReceiptView, RegistryPage, RegistryView, SealView, StepSummary,
    StepView,
};

/// Maximum number of successful runs of a step that the boundary counts.
const COUNTED_SUCCESSES: usize = 50;
/// Number of runs that one read returns if several runs recorded the same output. The search ends at the first run that
/// the caller may see.
const RUNS_OF_OUTPUT: usize = 1000;

/// The log that contains a receipt.
#[derive(Clone, Copy)]
pub enum Within<'a> {
    /// The boundary's own log, which grows and has a signed checkpoint for each new size.
    Own(&'a Ledger),
    /// A log that a restore closed and that the boundary's own log continues. The checkpoints of a closed log do not
    /// change.
    Closed(&'a Ledger),
}

impl<'a> Within<'a> {
    pub fn ledger(self) -> &'a Ledger {
        match self {
            Self::Own(ledger) | Self::Closed(ledger) => ledger,
        }
    }
}

/// Reads the evidence for callers. Changes no data.
pub struct Evidence {
    pub crossing: Arc<Crossing>,
    pub proposals: Arc<Proposals>,
    pub ledger: Ledger,
    /// Closed logs that the current log continues. Their receipts stay readable.
    pub closed: Vec<Ledger>,
    pub key: Arc<BoundaryKey>,
    pub witnesses: Arc<Witnessing>,
    pub health: Arc<Health>,
    pub proofs: CheckpointProofs,
    pub retention: Retention,
}

impl Evidence {
    /// Returns the seal in force and the steps that the caller may see, or one page of them.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name.
    pub fn registry_view(
        &self,
        caller: &Caller,
        search: Option<&StepSearch>,
    ) -> RequestResult<RegistryView> {
        caller.demand_name()?;
        let sealed = self.crossing.state();
        let mut steps: Vec<_> = sealed
            .registry
            .steps()
            .filter(|step| caller.may_know(&step.definition.reference))
            .collect();
        let visible_steps = steps.len() as u64;
        let page = search.map(|search| {
            let (found_steps, cursor) = search.page(&mut steps);
            RegistryPage {
                found_steps,
                visible_steps,
                cursor,
            }
        });
        let beyond = self.health.beyond_the_host();
        let steps = steps
            .into_iter()
            .map(|step| StepSummary {
                reference: step.definition.reference.clone(),
                digest: step.digest,
                title: step.definition.title.clone(),
                parameters: StepSummary::parameter_names(&step.definition.params),
                approvals: sealed
                    .step(&step.definition.reference)
                    .map(|(_, held)| held.approvals.to_vec())
                    .unwrap_or_default(),
                unavailable: beyond.get(&step.definition.reference).cloned(),
            })
            .collect();
        Ok(RegistryView {
            boundary: BoundaryView {
                name: sealed.boundary.name.clone(),
                id: sealed.boundary.id,
                epoch: sealed.boundary.epoch.clone(),
            },
            seal: self.seal_view(&sealed),
            frozen: self.health.frozen()?,
            steps,
            page,
        })
    }

    fn seal_view(&self, sealed: &Sealed) -> SealView {
        SealView {
            number: sealed.seal.number,
            digest: sealed.digest,
            index: sealed.index,
            at: sealed.seal.at,
            registry_root: sealed.seal.registry_root,
            registry: sealed.seal.registry,
            policy: sealed.seal.policy,
            builtins: sealed.seal.builtins,
            roster: sealed.seal.roster,
            rosters: sealed.seal.rosters,
            tokens: sealed.seal.tokens,
            configuration: sealed.seal.configuration,
            drift: self.health.notes(),
        }
    }

    /// Returns the versions of the roster from `first` to the version in force, as JSON in the form of a bundle.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller may not read the documents of the log.
    pub fn rosters(&self, caller: &Caller, first: u64) -> RequestResult<Vec<u8>> {
        caller.demand(Scope::Read, None)?;
        Ok(self.crossing.state().rosters.json_from(first)?)
    }

    /// Returns the whole definition of one step, with its rules in force.
    ///
    /// # Errors
    /// Returns `malformed` if the text is no reference, and `unknown-step` if the step does not exist or the caller may
    /// not see the step.
    pub fn step_view(
        &self,
        caller: &Caller,
        text: &str,
        params: Option<ParamsDigest>,
    ) -> RequestResult<StepView> {
        caller.demand_name()?;
        let sealed = self.crossing.state();
        let reference = &text.parse::<StepRef>().map_err(|error| {
            with_near_steps(
                refuse(Code::Malformed, error.to_string()),
                caller,
                &sealed,
                text,
            )
        })?;
        let known = caller.demand_known(reference);
        known.map_err(|stopped| with_near_steps(stopped, caller, &sealed, text))?;
        let found = sealed
            .step(reference)
            .filter(|_| caller.may_know(reference));
        let Some((step, held)) = found else {
            return Err(unknown_step(caller, &sealed, reference).into());
        };
        let definition = json::parse(&step.canonical(), step.size).map_err(fault)?;
        let sandbox = profile_on_host(held).unwrap_or_else(|_| (*held.profile).clone());
        Ok(StepView {
            reference: reference.clone(),
            digest: step.digest,
            definition,
            approvals: held.approvals.to_vec(),
            permissions: held.asked().clone().unwrap_or_default(),
            denied: held.asked().as_ref().err().map(ToString::to_string),
            programs: sandbox.listed().to_vec(),
            sandbox,
            session_variables: (step.definition.session != SessionUse::None)
                .then(|| sealed.carried_variables(held).listed()),
            last_success: self.last_success(caller, reference)?,
            unknown_end: match params {
                Some(params) => self.proposals.unknown_end(caller, reference, &params)?,
                None => None,
            },
        })
    }

    fn last_success(
        &self,
        caller: &Caller,
        reference: &StepRef,
    ) -> RequestResult<Option<LastSuccess>> {
        let sees_all =
            caller.may_step(Scope::Read, reference) || caller.may_step(Scope::Operate, reference);
        let query = RunQuery {
            step: reference.clone(),
            outcome: RunOutcome::Succeeded,
            params: None,
            proposer: caller.name().filter(|_| !sees_all).cloned(),
            ended: (Timestamp::from_unix(0), Timestamp::from_unix(i64::MAX)),
            skip: 0,
            limit: COUNTED_SUCCESSES,
        };
        let successes = self.ledger.runs(&query)?;
        let Some(row) = successes
            .first()
            .filter(|row| caller.may_see(&row.core.proposer, reference))
        else {
            return Ok(None);
        };
        let statement =
            Statement::<Authorization>::from_payload(&self.proposals.payload(&row.core.id)?)?;
        Ok(Some(LastSuccess {
            receipt: row.core.id.receipt(),
            digest: row.core.step_digest,
            params: statement.predicate.params,
            finished_at: row.ended_at.unwrap_or(row.created_at()),
            runs: successes.len() as u64,
        }))
    }

    /// Returns a receipt and the log that contains it.
    ///
    /// # Errors
    /// Returns `not-found` if the receipt does not exist or the caller may not see the receipt.
    pub fn receipt_in(
        &self,
        caller: &Caller,
        id: &ReceiptId,
    ) -> RequestResult<(ReceiptView, Within<'_>)> {
        let proposal = id.proposal();
        let mut found = None;
        for ledger in &self.closed {
            found = found.or(ledger
                .proposal(&proposal)?
                .map(|row| (row, Within::Closed(ledger))));
        }
        let seen = |row: &Proposal| caller.may_see(&row.core.proposer, &row.core.step);
        let (row, log) = match found.filter(|(row, _)| row.receipt.is_some() && seen(row)) {
            Some(found) => found,
            None => {
                let row = self
                    .proposals
                    .visible(caller, &proposal)
                    .map_err(|stopped| about_receipt(stopped, id))?;
                (row, Within::Own(&self.ledger))
            }
        };
        let Some(index) = row.receipt else {
            return Err(Refusal::new(
                Code::NotFound,
                format!("{} is {}: there is no receipt yet", row.core.id, row.status),
            )
            .about(&row.core.id)
            .into());
        };
        let found = stored_receipt(log.ledger(), &row)?
            .ok_or_else(|| fault(format!("log entry {index} is missing")))?;
        let signed = authorization_entry(log.ledger(), &found.receipt.authorization)?;
        let envelope = |entry: &[u8]| json::parse_as(entry, entry.len()).map_err(fault);
        Ok((
            ReceiptView {
                id: id.clone(),
                index,
                envelope: envelope(&found.entry)?,
                authorization: envelope(&signed)?,
                end_unknown_because: row.detail.as_deref().and_then(end_detail::why),
            },
            log,
        ))
    }

    /// Returns a receipt with everything that its verification needs, as JSON. The versions of the roster before `first` are left
    /// out.
    ///
    /// # Errors
    /// Returns `not-found` if the receipt does not exist or the caller may not see the receipt.
    pub fn bundle(
        &self,
        caller: &Caller,
        id: &ReceiptId,
        first: Option<u64>,
    ) -> RequestResult<Vec<u8>> {
        let (logged, log) = self.receipt_in(caller, id)?;
        let receipt: Receipt = predicate(&logged.envelope)?;
        let first = first.unwrap_or_else(|| self.crossing.state().bundles_from);
        let part = RosterPart::From(first);
        let bundle = self.stored_bundle(log, logged.index, &logged.envelope, &receipt, part)?;
        Ok(bundle.0)
    }

    /// Makes the bundle of a receipt of the log.
    pub fn stored_bundle(
        &self,
        log: Within<'_>,
        index: u64,
        envelope: &Envelope,
        receipt: &Receipt,
        part: RosterPart,
    ) -> RequestResult<(Vec<u8>, u64)> {
        let entry = authorization_entry(log.ledger(), &receipt.authorization)?;
        let envelope_of_run: Envelope = json::parse_as(&entry, entry.len()).map_err(fault)?;
        let authorization: Authorization = predicate(&envelope_of_run)?;
        let consumption = receipt.consumption.index;
        let parts = BundleParts {
            receipt: envelope.to_canonical().map_err(fault)?.into(),
            authorization: (receipt.authorization.index, entry.into()),
            consumption: (consumption, leaf_data(log.ledger(), consumption)?.into()),
            seal: receipt.seal,
            step: authorization.step,
            programs: authorization.sandbox.programs.map(BlobDigest::from),
            grant: authorization.grant,
        };
        self.assemble(log, index, &parts, receipt, part)
    }

    /// Returns the bundle of a run that just ended, for the caller that sent the envelope of the run.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn bundle_of(&self, receipted: &Receipted) -> RequestResult<Vec<u8>> {
        let bundle = self.assemble(
            Within::Own(&self.ledger),
            receipted.index,
            &receipted.parts,
            &receipted.statement,
            RosterPart::From(self.crossing.state().bundles_from),
        )?;
        Ok(bundle.0)
    }

    /// Builds a bundle as JSON from canonical parts. The boundary wrote these parts, so the function does not parse
    /// them. Also returns the version of the roster under which the run was.
    pub fn assemble(
        &self,
        log: Within<'_>,
        index: u64,
        parts: &BundleParts,
        receipt: &Receipt,
        part: RosterPart,
    ) -> RequestResult<(Vec<u8>, u64)> {
        let ledger = log.ledger();
        let sealed = self.crossing.state();
        let earlier = if sealed.digest == parts.seal {
            None
        } else {
            Some(earlier_seal(ledger, parts.seal)?)
        };
        let (seal_index, common) = match &earlier {
            None => (sealed.index, &sealed.bundled),
            Some(earlier) => (earlier.index, &earlier.bundled),
        };
        let (step, step_proof, may_apply_plan) =
            match (&earlier, sealed.step(&parts.step.reference)) {
                (None, Some((step, held))) => {
                    let text = String::from_utf8(step.canonical()).map_err(fault)?;
                    let proof = held.proof(&sealed.registry);
                    let proof = proof
                        .ok_or_else(|| fault("the step is not in the registry of its seal"))?;
                    let proof = String::from_utf8(canonical::canonical_of(&proof).map_err(fault)?);
                    (text, proof.map_err(fault)?, step.definition.plan.is_some())
                }
                (Some(earlier), _) => {
                    let proof = step_proof(&earlier.manifest, &parts.step.reference);
                    let proof = proof
                        .ok_or_else(|| fault("the step is not in the registry of its seal"))?;
                    let proof = serde_json::to_string(&proof).map_err(fault)?;
                    (
                        blob_text(ledger, *parts.step.digest.as_bytes())?,
                        proof,
                        true,
                    )
                }
                (None, None) => return Err(fault("the step is not in the sealed registry")),
            };
        // All proofs refer to the same checkpoint. This checkpoint includes the receipt, which is the last of the log
        // entries. A current checkpoint is used if the seal's roster contains the boundary's current key.
        // Otherwise an earlier checkpoint is used, which an earlier key signed.
        let uncovered = || fault(format!("no checkpoint covers log entry {index}"));
        let known_now = earlier
            .as_ref()
            .is_none_or(|earlier| earlier.seal.keys.contains(&self.key.keyid));
        let (size, checkpoint) = match log {
            Within::Own(_) if known_now => self.witnesses.head_over(index)?,
            Within::Own(own) => {
                let row = own.checkpoint_over(index)?.ok_or_else(uncovered)?;
                (row.size, self.witnesses.with_cosignatures(row))
            }
            Within::Closed(closed) => {
                // The first checkpoint that includes the receipt is used, because the boundary signed it with the key
                // that was valid at that time. If this checkpoint is missing, the last checkpoint of the closed log is
                // used.
                let first = closed.checkpoint_over(index)?;
                let row = first.map_or_else(|| closed.checkpoint(), |row| Ok(Some(row)))?;
                let row = row.ok_or_else(uncovered)?;
                (row.size, row.note)
            }
        };
        let proof = |index: u64| -> RequestResult<Arc<str>> {
            let hashes = ledger.inclusion(index, size)?;
            let hashes = hashes
                .ok_or_else(|| fault(format!("log entry {index} is beyond the checkpoint")))?;
            let text = TlogProof {
                index,
                hashes,
                checkpoint: checkpoint.clone(),
            }
            .to_string();
            serde_json::to_string(&text).map(Arc::from).map_err(fault)
        };
        let common_proof = |index: u64| match self.proofs.find(index, &checkpoint) {
            Some(proof) => Ok(proof),
            None => proof(index).inspect(|proof| self.proofs.keep(index, &checkpoint, proof)),
        };
        let BundleShare {
            seal,
            policy,
            builtins,
        } = common;
        let proofs = [
            proof(parts.authorization.0)?,
            common_proof(parts.consumption.0)?,
            proof(index)?,
            common_proof(seal_index)?,
        ];
        let manifest = match manifest_of(ledger, receipt)? {
            Some(manifest) => [br#","manifest":"#.to_vec(), manifest.to_canonical()?].concat(),
            None => Vec::new(),
        };
        // Read the plan only if the step can have one. Only the authorization states the plan, and parsing it would
        // take a tenth of the time of a crossing.
        let plan = if may_apply_plan {
            self.plan_bundle(log, receipt)?
        } else {
            None
        };
        let (plan, of_plan) = match plan {
            Some((plan, version)) => ([br#","plan":"#.to_vec(), plan].concat(), Some(version)),
            None => (Vec::new(), None),
        };
        let rosters = match &earlier {
            None => None,
            Some(earlier) => Some(rosters_under(
                ledger,
                (earlier.index, &earlier.seal),
                &sealed.rosters,
            )?),
        };
        let version = rosters.as_ref().unwrap_or(&sealed.rosters).last().version();
        // The plan names one of these versions.
        let from = |first: u64| first.min(of_plan.unwrap_or(first));
        let roster: Arc<[u8]> = match (part, rosters) {
            (RosterPart::Number, _) => version.to_string().into_bytes().into(),
            (RosterPart::From(first), None) => sealed.rosters_from(from(first))?,
            (RosterPart::From(first), Some(rosters)) => rosters.json_from(from(first))?.into(),
        };
        let programs = match parts.programs {
            Some(list) => {
                let list = blob_text(ledger, *list.as_bytes())?;
                [br#","programs":"#, list.as_bytes()].concat()
            }
            None => Vec::new(),
        };
        let (mut grant, mut grant_proof) = (Vec::new(), Vec::new());
        if let Some(digest) = &parts.grant {
            let missing = || fault(format!("the log has no grant {digest}"));
            let (index, envelope) = ledger
                .grant_of(digest)?
                .and_then(|row| Some((row.leaf?, row.envelope)))
                .ok_or_else(missing)?;
            grant = [br#","grant":"#, &envelope[..]].concat();
            grant_proof = [br#","grant":"#, common_proof(index)?.as_bytes()].concat();
        }
        let bundle = [
            &br#"{"authorization":"#[..],
            &parts.authorization.1,
            br#","builtins":"#,
            builtins.as_bytes(),
            br#","consumption":"#,
            &parts.consumption.1,
            &grant,
            &manifest,
            br#","mediaType":""#,
            MEDIA_TYPE.as_bytes(),
            br#"""#,
            &plan,
            br#","policy":"#,
            policy.as_bytes(),
            &programs,
            br#","proofs":{"authorization":"#,
            proofs[0].as_bytes(),
            br#","consumption":"#,
            proofs[1].as_bytes(),
            &grant_proof,
            br#","receipt":"#,
            proofs[2].as_bytes(),
            br#","seal":"#,
            proofs[3].as_bytes(),
            br#"},"receipt":"#,
            &parts.receipt,
            br#","roster":"#,
            &roster,
            br#","seal":"#,
            seal.as_bytes(),
            br#","step":"#,
            step.as_bytes(),
            br#","step_proof":"#,
            step_proof.as_bytes(),
            b"}",
        ];
        Ok((bundle.concat(), version))
    }
}

/// What a bundle says about the roster.
#[derive(Clone, Copy)]
pub enum RosterPart {
    /// The versions from this one to the version of the seal.
    From(u64),
    /// The number of the version of the seal, in the bundle of a plan.
    Number,
}

/// Returns the position of a step among the leaves of a sealed registry, with its proof.
fn step_proof(manifest: &[RegistryLeaf], step: &StepRef) -> Option<StepProof> {
    let index = manifest.iter().position(|leaf| leaf.reference == *step)?;
    let leaves: Option<Vec<_>> = manifest
        .iter()
        .map(|leaf| {
            canonical::canonical_of(leaf)
                .ok()
                .map(|bytes| merkle::leaf_hash(&bytes))
        })
        .collect();
    let leaves = leaves?;
    let (index, size) = (index as u64, leaves.len() as u64);
    let subtree = |level: u8, at: u64| -> Result<merkle::Hash, ()> {
        let (start, width) = ((at << level) as usize, 1_usize << level);
        leaves.get(start..start + width).map(merkle::root).ok_or(())
    };
    let hashes = merkle::inclusion_path(index, size, subtree).ok()??;
    Some(StepProof {
        index,
        size,
        hashes: hashes.iter().map(|hash| hex(hash)).collect(),
    })
}

fn about_receipt(stopped: Stopped, id: &ReceiptId) -> Stopped {
    match stopped {
        Stopped::Refused(refusal) if refusal.code == Code::NotFound => refuse(
            Code::NotFound,
            format!(
                "there is no receipt {id}, or this caller has no access to the \
                 receipt"
            ),
        ),
        stopped => stopped,
    }
}
