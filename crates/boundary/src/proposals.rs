//! Proposals: callers create, sign, cancel and wait for them.
//!
//! A proposal can name inputs: uploaded files and the receipt of a plan.
//!
//! An open proposal ends when it can no longer run, because its step, policy, proposer or session is gone. A new seal,
//! a revocation, a start of the service, and a change of a session can make a proposal impossible. The cost of the
//! search depends only on the number of open proposals.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Caller, RefusalLog, Surroundings, fail, fail_at, health::of_owners, housekeeping::DelayedRuns,
    step_search::near_steps,
};
use crossing::{
    ArtifactStore, Changes, Crossing, PLAN_ARTIFACT, PlanRun, Refusal, RequestResult,
    RunsInProgress, Sealed, Sessions, Stopped, fault, not_filled, profile_on_host, refusal_of,
    refuse, secret_permits, session_user,
};
use documents::{
    ArtifactName, Artifacts, Authorization, Code, ContentDigest, Emergency, Grantee, InputDigest,
    MAX_WINDOW_S, Malformed, Name, Nonce, Permission, ProposalId, Scope, SessionId,
    SessionReference, StepDigest, StepRef, StepReference, Timestamp, VerifiedSignature, canonical,
    joined, json, locked,
};
use sandbox::LinuxSandbox;
use store::{
    AdvanceStop, AuthorizationCore, Ledger, NewProposal, Proposal, ProposalStatus, ProposalStep,
    ProposeResult, Retention, Signature,
};
use verdict::{
    EligibleApprovers, ExcludedSigners, StepInForce, Tokens, check_permissions, check_profile,
    exclusion,
};
use wire::{ProposalView, Propose, RefusalView};

mod inputs;
mod lookup;
mod repetition;
mod signing;
mod window;

/// Maximum time that one call waits.
const MOST_WAIT: Duration = Duration::from_secs(55);

/// Accepts proposals, signatures, denials and cancellations. Starts approved runs.
pub struct Proposals {
    pub crossing: Arc<Crossing>,
    pub ledger: Ledger,
    pub live: Arc<RunsInProgress>,
    pub changes: Arc<Changes>,
    pub held_up: DelayedRuns,
    pub sandbox: Arc<LinuxSandbox>,
    pub refusals: Arc<RefusalLog>,
    pub retention: Retention,
    pub surroundings: Surroundings,
    /// Milliseconds of the newest proposal.
    pub newest_ms: AtomicU64,
    pub sessions: Arc<Sessions>,
    /// Proposals of each session, until the session ends or changes.
    pub in_sessions: Mutex<BTreeMap<SessionId, Vec<ProposalId>>>,
    pub artifacts: ArtifactStore,
    /// Held while signatures are added to a grant.
    pub one_grant: tokio::sync::Mutex<()>,
    /// Held while a review is checked and logged.
    pub one_review: tokio::sync::Mutex<()>,
}

impl Proposals {
    /// Creates a statement that approvers can sign, unless the call repeats an earlier proposal. Returns the proposal,
    /// and true if it is new.
    ///
    /// # Errors
    /// Returns `unknown-step`, `step-changed`, `policy-denied`, `invalid-params`, `nonce-replayed` if the nonce was
    /// already used for another run, or `rate-limited` if too many proposals of this proposer wait.
    pub async fn propose(
        self: &Arc<Self>,
        caller: &Caller,
        body: Propose,
    ) -> RequestResult<(ProposalView, bool)> {
        let request = canonical::canonical_of(&body).map_err(fault)?;
        let outcome = self.propose_alone(caller, body).await;
        if let (Err(stopped), Some(name)) = (&outcome, caller.name()) {
            self.refusals
                .note_refusal(Some(name.as_str()), stopped, InputDigest::of(&request));
        }
        outcome
    }

    /// Does the same as [`Self::propose`], and notes no refusal.
    async fn propose_alone(
        self: &Arc<Self>,
        caller: &Caller,
        body: Propose,
    ) -> RequestResult<(ProposalView, bool)> {
        let ((view, is_new), asked) = self.record(caller, body).await?;
        if asked.by.is_none() || view.status != ProposalStatus::Pending {
            return Ok((view, is_new));
        }
        let used = self.sign_for_token(&view.id, asked).await?;
        let view = ProposalView {
            existing: view.existing,
            reason_not_taken: view.reason_not_taken,
            ..used
        };
        Ok((view, is_new))
    }

    /// Stores the proposal, unless the call repeats an earlier proposal. Also returns what the call asks for.
    async fn record(
        &self,
        caller: &Caller,
        mut body: Propose,
    ) -> RequestResult<((ProposalView, bool), Authorization)> {
        let named = body.step.split('@').next().unwrap_or_default();
        let near = |stopped| with_near_steps(stopped, caller, &self.crossing.state(), named);
        let (reference, insisted) = parse_step(&body.step).map_err(near)?;
        let proposer = caller.demand(Scope::Propose, Some(&reference));
        let proposer = proposer.map_err(near)?.clone();
        let _ = self.crossing.demand_clock()?;
        self.crossing.capacity().demand_disk()?;
        let (sealed, revoked) = (self.crossing.state(), self.ledger.revocations());
        let _ = self
            .crossing
            .check_not_revoked(&sealed, [&proposer, &proposer])?;
        let Some((step, held)) = sealed.step(&reference) else {
            return Err(unknown_step(caller, &sealed, &reference)
                .at("/step", "not registered")
                .into());
        };
        check_digest(&reference, &step.digest, insisted)?;
        // The errors about a secret parameter do not repeat its value, because it may be the secret itself.
        let params = step.schema.complete(body.params.take()).map_err(|errors| {
            let detail = joined(&errors, "; ");
            let refusal = Refusal::new(Code::InvalidParams, detail);
            errors.iter().fold(refusal, |refusal, error| {
                refusal.at(format!("/params{}", error.pointer), error.message.clone())
            })
        })?;
        let admitted = caller.job_of(params.value())?;
        let secrets = self
            .crossing
            .secrets()
            .check(&step.definition, params.value())?;
        let held = &*held.filled(params.value()).map_err(not_filled)?;
        // A `deny` in the policy is final: no signature can allow the run. Refuse the proposal before approvers sign
        // it.
        let permissions = held
            .asked()
            .clone()
            .map_err(|denied| Refusal::new(Code::PolicyDenied, denied.to_string()))?;
        let now = self.crossing.now();
        let sandbox = profile_on_host(held)?;
        let grant = body
            .grant
            .as_ref()
            .map(|id| self.grant_in_use(id, body.nonce.is_some(), &sealed))
            .transpose()?;
        let terms = grant.as_ref().map(|grant| grant.document().predicate());
        let by = match terms.map(|terms| &terms.grantee) {
            Some(Grantee::Token(grantee)) => Some(caller.token_use(grantee)?),
            _ => None,
        };
        // A proposal can't run after the end of its token, its grant or its session.
        let ends = sealed
            .tokens
            .ends([&proposer, &proposer])
            .into_iter()
            // The crossing refuses a grant that has ended. The window of a statement must not be empty.
            .chain(terms.map(|terms| terms.expires_at.max(now.plus(1))))
            .chain(body.session.as_ref().map(SessionId::end));
        let latest = ends.fold(now.plus(MAX_WINDOW_S), Timestamp::min);
        let expires_at = window::end_of_window(&body, held, now, latest)?;
        let possible = if body.emergency {
            self.demand_emergency(&sealed, held, (&proposer, now, expires_at), grant.is_some())
        } else if grant.is_none() {
            self.demand_future(&sealed, held, &proposer, now, expires_at)
        } else {
            Ok(())
        };
        if secrets.iter().any(|secret| secret.as_file)
            && let Ok(prepared) = self.sandbox.check(&sandbox)
        {
            secret_permits::check_own_root(&secrets, prepared.has_own_root())?;
        }
        let session = self.sessions.reference(
            body.session.as_ref(),
            &step.definition,
            &session_user(&sealed, &proposer),
        )?;
        let artifacts = self.proposed_artifacts(&proposer, &body.artifacts)?;
        let plan = self.proposed_plan(
            caller,
            &step.definition,
            body.plan.as_ref(),
            &params.digest(),
            now,
        )?;
        let chosen_nonce = body.nonce.is_some();
        let authorization = Authorization {
            boundary: sealed.boundary.clone(),
            proposal: ProposalId::ending(expires_at, self.surroundings.bytes()),
            nonce: body
                .nonce
                .unwrap_or_else(|| Nonce::new(expires_at, self.surroundings.bytes())),
            step: StepReference {
                reference,
                digest: step.digest,
            },
            params: params.value().clone(),
            rendered: held.hashed.rendered(),
            permissions,
            sandbox,
            proposer,
            reason: body.reason,
            issued_at: now,
            not_before: now,
            expires_at,
            session,
            artifacts,
            plan,
            grant: grant
                .as_ref()
                .map(|grant| ContentDigest::from_bytes(grant.document().digest())),
            by,
            emergency: body.emergency.then(Emergency::yes),
        };
        let payload = payload_of(&authorization)?;
        let new = NewProposal {
            core: AuthorizationCore::of(&authorization, &payload)?,
            payload: payload.into(),
            programs: authorization
                .sandbox
                .programs
                .as_ref()
                .and_then(|list| Some(list.to_bytes()?.into())),
            request: Self::digest_of_run(&authorization)?,
            chosen_nonce,
            may_repeat: authorization.grant.is_none() && body.new.map_or(!chosen_nonce, |new| !new),
            created_ms: self.next_ms(now),
            admitted,
        };
        if let Err(stopped) = possible {
            // An earlier proposal of the same run can make a new one impossible, for example an emergency without its
            // review. In this case, the answer is the earlier proposal.
            let earlier = self.earlier(&new)?.ok_or(stopped)?;
            let repeated = self.repeated(caller, &earlier, &authorization.reason)?;
            return Ok((repeated, authorization));
        }
        let result = self.ledger.propose(new).await?;
        let Authorization {
            proposal: id,
            session,
            grant,
            ..
        } = &authorization;
        let changed = || {
            self.crossing.state().digest != sealed.digest || self.ledger.revocations() != revoked
        };
        if result == ProposeResult::New && (session.is_some() || grant.is_some() || changed()) {
            self.end_if_overtaken(id, session.clone()).await;
        }
        let answer = self.answer_to(caller, result, &authorization, now)?;
        Ok((answer, authorization))
    }

    /// Returns the milliseconds of a new proposal. They increase with each proposal, also while the boundary's own time is
    /// ahead of the wall clock.
    fn next_ms(&self, now: Timestamp) -> u64 {
        let at = self.surroundings.millis_of(now);
        let newest = &self.newest_ms;
        let last = newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(after(last, at))
        });
        last.map_or_else(|last| after(last, at), |last| after(last, at))
    }

    /// Refuses proposals whose signatures would have no effect, because this host can't run the step or the quorum
    /// can't be met. A missing path or user of the host is accepted, because the path or the user may exist before the
    /// window ends.
    pub fn demand_future(
        &self,
        sealed: &Sealed,
        held: &StepInForce,
        proposer: &Name,
        now: Timestamp,
        until: Timestamp,
    ) -> RequestResult {
        if let Err(unavailable) = self.sandbox.check(&held.profile)
            && unavailable.is_of_the_host()
        {
            return fail(Code::SandboxUnavailable, unavailable.to_string());
        }
        let excluded = excluded(proposer, sealed, now)?;
        let revoked = self.crossing.revoked();
        let reach = EligibleApprovers::of(&sealed.roster, |keyid| revoked.has_key(keyid))
            .check_reach(
                &held.rules,
                |name| excluded.contains(name),
                now,
                Some(until),
            );
        reach.map_err(|out| {
            refuse(
                Code::QuorumMissing,
                format!("{out}; {}", of_owners(&excluded, proposer)),
            )
        })
    }

    /// Returns the number of approved runs that can't start now, for each code of `codes`.
    pub fn held_up(&self, codes: &[Code]) -> Vec<(Code, u64)> {
        // A run that has begun keeps its last reason in memory until the run has ended, but no longer counts.
        self.held_up.count(codes, |id| self.ledger.waits_to_run(id))
    }

    /// Returns the current view of a proposal.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see it.
    pub fn proposal(&self, caller: &Caller, id: &ProposalId) -> RequestResult<ProposalView> {
        self.whole_view(caller, &self.visible(caller, id)?)
    }

    /// Waits until the status of the proposal changes, but at most for the time `up_to`. Then returns the view of the
    /// proposal. The end of the waiting time is not a denial.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see it.
    pub async fn wait(
        &self,
        caller: &Caller,
        id: &ProposalId,
        up_to: Duration,
    ) -> RequestResult<ProposalView> {
        let before = self.visible(caller, id)?;
        let row = self.after(id, before.status, up_to.min(MOST_WAIT)).await?;
        self.whole_view(caller, &row)
    }

    /// Waits until a proposal has another status or is over, at most for this time.
    pub async fn after(
        &self,
        id: &ProposalId,
        status: ProposalStatus,
        up_to: Duration,
    ) -> RequestResult<Proposal> {
        let mut changes = self.changes.watch(id);
        let deadline = tokio::time::Instant::now() + up_to;
        loop {
            let row = self.row(id)?;
            let is_known = row.status == status && !row.status.has_ended();
            if !is_known
                || !matches!(
                    tokio::time::timeout_at(deadline, changes.changed()).await,
                    Ok(Ok(()))
                )
            {
                return Ok(row);
            }
        }
    }

    /// Cancels a proposal or ends its run. Only the proposer and operators may cancel a proposal.
    ///
    /// # Errors
    /// Returns `not-found`, `forbidden`, or `wrong-state` if the proposal is over.
    pub async fn cancel(&self, caller: &Caller, id: &ProposalId) -> RequestResult<ProposalView> {
        let row = self.visible(caller, id)?;
        if caller.name() != Some(&row.core.proposer) {
            caller.demand(Scope::Operate, Some(&row.core.step))?;
        }
        match row.status {
            ProposalStatus::Running => {
                if !self.stop_run(id)? {
                    return Err(wrong_state(&self.row(id)?).into());
                }
            }
            _ => {
                let by = caller.name().map_or_else(String::new, ToString::to_string);
                let detail = detail(Code::WrongState, &format!("taken back by {by}"))?;
                let advance = ProposalStep {
                    proposal: id.clone(),
                    from: Vec::new(),
                    to: ProposalStatus::Cancelled,
                    at: self.crossing.now(),
                    detail,
                };
                match self.ledger.advance(advance).await {
                    Ok(_) => {}
                    // The run began after the proposal was read.
                    Err(AdvanceStop::WrongState(ProposalStatus::Running)) => {
                        self.stop_run(id)?;
                    }
                    Err(stop) => return Err(advance_refused(stop, id)),
                }
            }
        }
        self.changes.notify(id);
        self.view(&self.row(id)?)
    }

    /// Asks a run to stop, even if its nonce is spent and its process has not started. Returns false if the run is
    /// already over.
    pub fn stop_run(&self, id: &ProposalId) -> RequestResult<bool> {
        self.live.stop(id);
        let running = self.row(id)?.status == ProposalStatus::Running;
        if !running {
            self.live.forget(id);
        }
        Ok(running)
    }
}

/// Returns the people who can't approve a proposal of `proposer`.
pub fn excluded(
    proposer: &Name,
    sealed: &Sealed,
    now: Timestamp,
) -> Result<ExcludedSigners, Refusal> {
    let tokens = Tokens::Sealed(&sealed.tokens, now);
    exclusion::judge(proposer, proposer, tokens, &sealed.roster).map_err(refusal_of)
}

/// Checks that a step has the digest on which a call insists.
fn check_digest(
    step: &StepRef,
    sealed: &StepDigest,
    insisted: Option<StepDigest>,
) -> Result<(), Refusal> {
    let Some(insisted) = insisted.filter(|insisted| insisted != sealed) else {
        return Ok(());
    };
    let detail = format!(
        "{step} is sealed with the digest {sealed}, not {insisted}: check what changed, then propose the sealed definition"
    );
    fail_at(
        Code::StepChanged,
        detail,
        "/step",
        "another definition is sealed",
    )
}

/// Returns the payload of a new statement. The places of its errors are those in the body of the request.
fn payload_of(authorization: &Authorization) -> RequestResult<Vec<u8>> {
    let made = authorization.clone().into_statement()?.to_payload();
    Ok(made.map_err(|error| {
        // A pointer into the statement begins with `/predicate`. A pointer into the request body does not.
        let pointer = error
            .pointer
            .strip_prefix("/predicate")
            .unwrap_or(&error.pointer)
            .to_owned();
        Malformed { pointer, ..error }
    })?)
}

/// Returns the milliseconds after `last`, at `at` at the earliest, and in the second of `at`.
fn after(last: u64, at: u64) -> u64 {
    at.max(last + 1).min(at - at % 1000 + 999)
}

/// Returns the refusal for an unknown step. The refusal names near steps that the caller may see.
pub fn unknown_step(caller: &Caller, sealed: &Sealed, reference: &StepRef) -> Refusal {
    let advice = hint(caller, sealed, reference.as_str())
        .unwrap_or_else(|| "see `GET /v1/registry`".to_owned());
    Refusal::new(
        Code::UnknownStep,
        format!("no step {reference} is registered; {advice}"),
    )
}

/// Adds near steps to the refusal if the caller's token is for other steps, or if the text names only a runbook.
pub fn with_near_steps(stopped: Stopped, caller: &Caller, sealed: &Sealed, text: &str) -> Stopped {
    let Stopped::Refused(mut refusal) = stopped else {
        return stopped;
    };
    let is_near = match refusal.code {
        Code::Forbidden => caller.is_limited(),
        _ => !text.contains(':'),
    };
    if is_near && let Some(hint) = hint(caller, sealed, text) {
        refusal.detail = format!("{hint} {}", refusal.detail);
    }
    Stopped::Refused(refusal)
}

/// Returns a question that names the steps that a wrong reference may mean, among the steps that the caller may see.
fn hint(caller: &Caller, sealed: &Sealed, wrong: &str) -> Option<String> {
    let steps = sealed
        .registry
        .steps()
        .map(|step| &step.definition.reference);
    let near = near_steps(wrong, steps.filter(|step| caller.may_know(step)));
    let (last, before) = near.split_last()?;
    let or = if before.is_empty() { "" } else { " or " };
    Some(format!("did you mean {}{or}{last}?", joined(before, ", ")))
}

fn parse_step(text: &str) -> RequestResult<(StepRef, Option<StepDigest>)> {
    let malformed = |detail: String| Stopped::from(Refusal::malformed("/step", detail));
    let (reference, digest) = match text.split_once('@') {
        Some((reference, digest)) => (
            reference,
            Some(
                digest
                    .parse()
                    .map_err(|error: documents::DigestFormatError| malformed(error.to_string()))?,
            ),
        ),
        None => (text, None),
    };
    let reference = reference
        .parse()
        .map_err(|error: documents::IdentError| malformed(error.to_string()))?;
    Ok((reference, digest))
}

/// Encodes the code and the text of a status.
pub fn detail(code: Code, words: &str) -> RequestResult<Vec<u8>> {
    canonical::canonical_of(&RefusalView::new(code, words)).map_err(fault)
}

/// Decodes the code and the text of a status.
pub fn stored_refusal(row: &Proposal) -> Option<RefusalView> {
    let detail = row.detail.as_ref()?;
    json::parse_as(detail, detail.len()).ok()
}

pub fn verified_of(signature: &Signature) -> VerifiedSignature {
    VerifiedSignature {
        keyid: signature.keyid,
        presence: signature.presence,
        sig: signature.sig.clone(),
    }
}

/// Formats a duration in the same form as the configuration file.
pub fn span(seconds: i64) -> String {
    match seconds {
        whole if whole % 86_400 == 0 => format!("{} days", whole / 86_400),
        whole => format!("{whole} s"),
    }
}

fn not_found(id: &ProposalId) -> Refusal {
    Refusal::new(
        Code::NotFound,
        format!("there is no proposal {id}, or this caller has no access to the proposal"),
    )
}

pub fn wrong_state(row: &Proposal) -> Refusal {
    let refusal =
        Refusal::new(Code::WrongState, format!("it is {} already", row.status)).about(&row.core.id);
    if row.receipt.is_some() {
        refusal.with_receipt(row.core.id.receipt())
    } else {
        refusal
    }
}

pub fn advance_refused(stop: AdvanceStop, id: &ProposalId) -> Stopped {
    match stop {
        AdvanceStop::Unknown => not_found(id).into(),
        AdvanceStop::WrongState(_) => Refusal::new(Code::WrongState, stop.to_string())
            .about(id)
            .into(),
        AdvanceStop::Fault(error) => error.into(),
    }
}

impl Proposals {
    /// Returns a file that the run of a proposal gets, with its size.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist, has no such file, or may not be seen by the caller.
    pub fn input(
        &self,
        caller: &Caller,
        id: &ProposalId,
        name: &ArtifactName,
    ) -> RequestResult<(Arc<File>, u64)> {
        let row = self.visible(caller, id)?;
        let signed = self.statement(id)?.predicate;
        let none = || {
            refuse(
                Code::NotFound,
                format!("{id} has no file {name}, or it is deleted"),
            )
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

impl Proposals {
    /// Ends each open proposal that can no longer run. Returns their number.
    pub async fn end_overtaken(self: &Arc<Self>) -> u64 {
        self.end_overtaken_of(self.ledger.waiting_proposals()).await
    }

    /// Ends the proposals of each session that ends or changes, until the service ends.
    pub async fn follow_sessions(self: Arc<Self>) {
        loop {
            let changed = self.sessions.changed().await;
            // No proposal with the old state of the session can run any more, so each proposal is compared only once.
            let ids = changed
                .iter()
                .filter_map(|session| locked(&self.in_sessions).remove(session))
                .flatten()
                .collect();
            let _ = self.end_overtaken_of(ids).await;
        }
    }

    async fn end_overtaken_of(self: &Arc<Self>, ids: Vec<ProposalId>) -> u64 {
        let proposals = self.clone();
        // The lookup of programs reads the disk, so it must not block this thread.
        let search = move || {
            let found = ids
                .into_iter()
                .filter_map(|id| Some((proposals.why_impossible(&id)?, id)));
            found.collect::<Vec<_>>()
        };
        match tokio::task::spawn_blocking(search).await {
            Ok(found) => {
                let ended = found.len() as u64;
                for (refusal, id) in found {
                    self.end_as_impossible(&id, &refusal).await;
                }
                ended
            }
            Err(error) => {
                tracing::error!(
                    "the open proposals were not compared with the state in force: {error}"
                );
                0
            }
        }
    }

    /// Ends a new proposal that can no longer run: its grant does not cover it, or a new seal or the end of its session
    /// came before the commit of the proposal.
    pub async fn end_if_overtaken(&self, id: &ProposalId, session: Option<SessionReference>) {
        if let Some(session) = session {
            locked(&self.in_sessions)
                .entry(session.id)
                .or_default()
                .push(id.clone());
        }
        if let Some(refusal) = self.why_impossible(id) {
            self.end_as_impossible(id, &refusal).await;
        }
    }

    async fn end_as_impossible(&self, id: &ProposalId, refusal: &Refusal) {
        tracing::info!(proposal = %id, code = %refusal.code, "the proposal can no longer run: {}", refusal.detail);
        self.end(id, refusal).await;
    }

    /// Returns the refusal of a proposal that can no longer run under the state in force. A proposal that can't be
    /// read, or that the crossing would retry, stays open.
    fn why_impossible(&self, id: &ProposalId) -> Option<Refusal> {
        let signed = self.statement(id).ok()?.predicate;
        let waits = self
            .ledger
            .proposal(id)
            .ok()?
            .is_some_and(|row| row.status == ProposalStatus::Pending);
        match self.check_possible(&self.crossing.state(), &signed, waits) {
            Err(Stopped::Refused(refusal))
                if !refusal.code.is_temporary() && refusal.code != Code::SandboxUnavailable =>
            {
                Some(*refusal)
            }
            Ok(()) | Err(_) => None,
        }
    }

    /// Makes the checks of the crossing that depend neither on signatures nor on the window.
    ///
    /// For a proposal that waits for signatures, policy must also require each permission now. The crossing accepts
    /// more permissions than policy requires, because an earlier policy may have required them. But no approver's
    /// program signs a permission that policy no longer requires.
    fn check_possible(
        &self,
        sealed: &Sealed,
        signed: &Authorization,
        waits: bool,
    ) -> RequestResult {
        let (held, parties) = self.quorum_of(sealed, signed)?;
        let held = held.filled(&signed.params).map_err(refusal_of)?;
        let _ = check_permissions(held.asked(), &signed.permissions).map_err(refusal_of)?;
        let asks_for =
            |one: &Permission| held.asked().as_ref().is_ok_and(|asked| asked.contains(one));
        if let Some(one) = signed
            .permissions
            .iter()
            .find(|one| waits && !asks_for(one))
        {
            return fail(
                Code::ContextChanged,
                format!(
                    "policy no longer asks for {:?}, so nobody can sign this: propose again",
                    one.what
                ),
            );
        }
        let here = profile_on_host(&held)?;
        let _ = check_profile(&here, &signed.sandbox).map_err(refusal_of)?;
        if let Some(session) = &signed.session {
            self.sessions
                .check_state(session, &session_user(sealed, &signed.proposer))?;
        }
        if let Some(digest) = &signed.grant {
            return self.crossing.check_covered(
                digest,
                signed,
                sealed,
                &parties,
                self.crossing.now(),
            );
        }
        self.demand_future(
            sealed,
            &held,
            &signed.proposer,
            self.crossing.now(),
            signed.expires_at,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn proposals_of_one_second_keep_their_order_while_the_clock_stands_still() {
        let mut last = 0;
        for wanted in [5000, 5001, 5002] {
            last = after(last, 5000);
            assert_eq!(last, wanted);
        }
        assert_eq!(after(last, 5700), 5700, "the clock goes on");
        assert_eq!(after(5999, 5000), 5999, "a second has 1,000 places");
        assert_eq!(after(5999, 6000), 6000);
    }
}
