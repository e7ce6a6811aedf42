//! Callers create, sign, cancel and wait for proposals.

use judgement::decision::step::StepError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::boundary::delayed_runs::DelayedRuns;
use crate::boundary::health::of_owners;
use crate::boundary::refusal_log::RefusalLog;
use crate::carried::artifact_store::ArtifactStore;
use crate::carried::capacity::Permit;
use crate::carried::live::RunsInProgress;
use crate::carried::secret_permits;
use crate::carried::sessions::{Sessions, session_user};
use crate::crossing::changes::Changes;
use crate::crossing::cross::Crossing;
use crate::crossing::host_profile::profile_on_host;
use crate::crossing::log_span::log_about;
use crate::crossing::stage::{CrossingRequest, Receipted};
use crate::seal::caller::Caller;
use crate::seal::refusal::{Refusal, Stopped, fault, unverified};
use crate::seal::sealed::Sealed;
use crate::seal::surroundings::Surroundings;
use crate::store::ledger::Ledger;
use crate::store::retention::{Retention, UNSIGNED_KEPT_S};
use crate::store::stored_proposal::{
    AdvanceStop, AuthorizationCore, NewProposal, Proposal, ProposalStep, ProposeResult, Signature,
};
use crate::store::stored_status::StoredStatus;
use documents::crypto::digest::{AuthorizationDigest, InputDigest, StepDigest, sha256};
use documents::crypto::key_id::KeyId;
use documents::crypto::{canonical, json};
use documents::record::authorization::{Authorization, StepReference};
use documents::record::code::Code;
use documents::record::document::Statement;
use documents::record::envelope::{Base64, Envelope, EnvelopeSignature, Signed, VerifiedSignature};
use documents::record::ident::{Name, Nonce, ProposalId, StepRef};
use documents::record::later_words::SessionId;
use documents::record::token::Scope;
use documents::record::validity::{DEFAULT_WINDOW_S, MAX_WINDOW_S, Timestamp};
use documents::yaml::nearest;
use judgement::decision::exclusion::{self, ExcludedSigners, Tokens};
use judgement::decision::in_force::StepInForce;
use judgement::decision::place::check_place;
use judgement::decision::quorum;
use judgement::decision::reach::EligibleApprovers;
use judgement::decision::signature_count::{self, NotCounted};
use sandbox::Sandbox;
use wire::api::view::{ProposalStatus, ProposalView, Propose, RefusalView};

/// Maximum time that one call waits.
const MOST_WAIT: Duration = Duration::from_secs(55);

/// Accepts proposals, signatures, denials and cancellations. Starts approved runs.
pub struct Proposals {
    pub(super) crossing: Arc<Crossing>,
    pub(super) ledger: Ledger,
    pub(super) live: Arc<RunsInProgress>,
    pub(super) changes: Arc<Changes>,
    pub(super) held_up: DelayedRuns,
    sandbox: Arc<dyn Sandbox>,
    refusals: Arc<RefusalLog>,
    retention: Retention,
    surroundings: Surroundings,
    pub(super) sessions: Arc<Sessions>,
    /// Proposals of each session, until the session ends or changes.
    pub(super) in_sessions: Mutex<BTreeMap<SessionId, Vec<ProposalId>>>,
    pub(super) artifacts: ArtifactStore,
}

/// Parts from which [`Proposals`] is built.
pub struct ProposalsParts {
    /// The crossing.
    pub crossing: Arc<Crossing>,
    /// The store.
    pub ledger: Ledger,
    /// The runs in progress.
    pub live: Arc<RunsInProgress>,
    /// Wakes the tasks that wait for a change of a proposal.
    pub changes: Arc<Changes>,
    /// The sandbox, which can tell whether this host can run a step.
    pub sandbox: Arc<dyn Sandbox>,
    /// The log of refusals.
    pub refusals: Arc<RefusalLog>,
    /// The times for which data that is not evidence is stored.
    pub retention: Retention,
    /// Time and randomness.
    pub surroundings: Surroundings,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The uploaded files.
    pub artifacts: ArtifactStore,
}

impl Proposals {
    /// Builds the value from its parts.
    #[must_use]
    pub fn new(parts: ProposalsParts) -> Self {
        let ProposalsParts {
            crossing,
            ledger,
            live,
            changes,
            sandbox,
            refusals,
            retention,
            surroundings,
            sessions,
            artifacts,
        } = parts;
        let (held_up, in_sessions) = (DelayedRuns::default(), Mutex::default());
        Self {
            crossing,
            ledger,
            live,
            changes,
            held_up,
            sandbox,
            refusals,
            retention,
            surroundings,
            sessions,
            in_sessions,
            artifacts,
        }
    }

    /// Creates a statement that approvers can sign, unless the same statement already exists. Returns the proposal, and
    /// true if the statement is new.
    ///
    /// # Errors
    /// Returns `unknown-step`, `step-changed`, `policy-denied`, `invalid-params`, `nonce-replayed` if the nonce was
    /// already used with another body, or `rate-limited` if too many proposals of this proposer wait.
    pub async fn propose(self: &Arc<Self>, caller: &Caller, body: Propose) -> Result<(ProposalView, bool), Stopped> {
        let request = canonical::canonical_of(&body).map_err(|e| fault(&e))?;
        let outcome = self.take_in(caller, body, sha256(&request)).await;
        if let (Err(stopped), Some(name)) = (&outcome, caller.name()) {
            self.refusals.note_refusal(Some(name.as_str()), stopped, InputDigest::of(&request));
        }
        outcome
    }

    async fn take_in(
        &self,
        caller: &Caller,
        body: Propose,
        request: [u8; 32],
    ) -> Result<(ProposalView, bool), Stopped> {
        let (reference, insisted) = parse_step(&body.step)?;
        let proposer = caller.demand(Scope::Propose, Some(&reference))?.clone();
        let _ = self.crossing.demand_clock()?;
        self.crossing.capacity().demand_disk()?;
        let sealed = self.crossing.state();
        let Some((step, held)) = sealed.step(&reference) else {
            return Err(unknown_step(caller, &sealed, &reference).at("/step", "not registered").into());
        };
        if let Some(insisted) = insisted.filter(|insisted| *insisted != step.digest) {
            let detail = format!(
                "{reference} is sealed with the digest {}, not {insisted}: check what changed, then propose the \
                 sealed definition",
                step.digest
            );
            return Err(Refusal::new(Code::StepChanged, detail).at("/step", "another definition is sealed").into());
        }
        // The errors about a secret parameter do not repeat its value, because it may be the secret itself.
        let params = step.schema.complete(body.params).map_err(|errors| {
            let detail = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let refusal = Refusal::new(Code::InvalidParams, detail);
            errors
                .iter()
                .fold(refusal, |refusal, error| refusal.at(format!("/params{}", error.pointer), error.message.clone()))
        })?;
        let secrets = self.crossing.secrets().check(&step.definition, params.value())?;
        let held = &*held.filled(params.value()).map_err(not_filled)?;
        // A `deny` in the policy is final: no signature can allow the run. Refuse the proposal before approvers sign
        // it.
        let permissions =
            held.asked().clone().map_err(|denied| Refusal::new(Code::PolicyDenied, denied.to_string()))?;
        let window = body.expires_in_s.unwrap_or(DEFAULT_WINDOW_S);
        if !(1..=MAX_WINDOW_S).contains(&window) {
            let detail = format!("expected 1 to {MAX_WINDOW_S} seconds");
            return Err(Refusal::new(Code::Malformed, detail.clone()).at("/expires_in_s", detail).into());
        }
        let millis = (self.surroundings.millis)();
        let now = self.crossing.now();
        let sandbox = profile_on_host(held)?;
        // A proposal can't run after the end of its token, so its window ends at this time at the latest.
        let expires_at = sealed.tokens.ends([&proposer, &proposer]).into_iter().fold(now.plus(window), Timestamp::min);
        self.demand_future(&sealed, held, &proposer, now, expires_at)?;
        if secrets.iter().any(|secret| secret.as_file)
            && let Ok(prepared) = self.sandbox.check(&sandbox)
        {
            secret_permits::check_own_root(&secrets, prepared.has_own_root())?;
        }
        let session =
            self.sessions.reference(body.session.as_ref(), &step.definition, &session_user(&sealed, &proposer))?;
        let artifacts = self.proposed_artifacts(&proposer, &body.artifacts)?;
        let plan = self.proposed_plan(caller, &step.definition, body.plan.as_ref(), &params.digest(), now)?;
        // The state of a session and uploaded files can differ between two proposals with equal parameters.
        let chosen_nonce = body.nonce.is_some() || session.is_some() || artifacts.is_some() || plan.is_some();
        let authorization = Authorization {
            boundary: sealed.boundary.clone(),
            proposal: ProposalId::new(millis, self.surroundings.bytes()),
            nonce: body.nonce.unwrap_or_else(|| Nonce::new(millis, self.surroundings.bytes())),
            step: StepReference { reference, digest: step.digest },
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
        };
        let payload = authorization.clone().into_statement()?.to_payload().map_err(|error| {
            // A pointer into the statement begins with `/predicate`. A pointer into the request body does not.
            let pointer = error.pointer.strip_prefix("/predicate").unwrap_or(&error.pointer).to_owned();
            Refusal::from(documents::record::malformed::Malformed { pointer, ..error })
        })?;
        let new = NewProposal {
            core: core_of(&authorization, &payload)?,
            payload: payload.into(),
            request,
            chosen_nonce,
            created_at: now,
        };
        let Authorization { proposal: id, session, .. } = authorization;
        match self.ledger.propose(new).await? {
            ProposeResult::New => {
                if session.is_some() || self.crossing.state().digest != sealed.digest {
                    self.end_if_overtaken(&id, session).await;
                }
                Ok((self.view_for(caller, &self.row(&id)?)?, true))
            }
            ProposeResult::Same(row) => Ok((ProposalView { existing: true, ..self.view_for(caller, &row)? }, false)),
            ProposeResult::Conflict(row) => {
                let mut refusal = Refusal::new(
                    Code::NonceReplayed,
                    "another proposal has this nonce: leave the nonce out, or make a new nonce",
                )
                .at("/nonce", "used by another proposal");
                if caller.may_see(&row.core.proposer, &row.core.step) {
                    refusal = refusal.about(&row.core.id);
                    refusal.receipt = row.receipt.map(|_| row.core.id.receipt());
                }
                Err(refusal.into())
            }
            ProposeResult::TooManyKept { most, until } => {
                let wait = u64::try_from(until.unix().saturating_sub(now.unix())).unwrap_or(0).max(1);
                let detail = format!(
                    "{most} of your proposals were cancelled, refused or expired without a signature, and each stays stored \
                     for an hour after its window: the first is deleted in {wait} s: try again after this time"
                );
                Err(Refusal::new(Code::RateLimited, detail).retry_after(wait).into())
            }
            ProposeResult::TooMany { most, of_proposer: true } => {
                let detail = format!(
                    "{most} of your proposals already wait for approval: try again when some have \
                     ended, or cancel some"
                );
                Err(Refusal::new(Code::RateLimited, detail).retry_after(30).into())
            }
            ProposeResult::TooMany { most, of_proposer: false } => {
                Err(Refusal::new(Code::Busy, format!("{most} proposals already wait for approval: try again later"))
                    .retry_after(30)
                    .into())
            }
        }
    }

    /// Refuses proposals whose signatures would have no effect, because this host can't run the step or the quorum
    /// can't be met. A missing path or user of the host is accepted, because the path or the user may exist before the
    /// window ends.
    pub(super) fn demand_future(
        &self,
        sealed: &Sealed,
        held: &StepInForce,
        proposer: &Name,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Stopped> {
        if let Err(unavailable) = self.sandbox.check(&held.profile)
            && unavailable.is_of_the_host()
        {
            return Err(Refusal::new(Code::SandboxUnavailable, unavailable.to_string()).into());
        }
        let excluded = exclusion::judge(proposer, proposer, Tokens::Sealed(&sealed.tokens, now), &sealed.roster)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let reach = EligibleApprovers::of(&sealed.roster).check_reach(
            &held.rules,
            |name| excluded.contains(name),
            now,
            Some(until),
        );
        reach.map_err(|out| {
            Refusal::new(Code::QuorumMissing, format!("{out}; {}", of_owners(&excluded, proposer))).into()
        })
    }

    /// Returns the number of approved runs that can't start now, for each code of `codes`.
    pub(super) fn held_up(&self, codes: &[Code]) -> Vec<(Code, u64)> {
        // A run that has begun keeps its last reason in memory until the run has ended.
        self.held_up.count(codes, |id| self.ledger.waits_to_run(id))
    }

    /// Returns the current view of a proposal.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see it.
    pub fn proposal(&self, caller: &Caller, id: &ProposalId) -> Result<ProposalView, Stopped> {
        self.view_for(caller, &self.visible(caller, id)?)
    }

    /// Waits until the status of the proposal changes, but at most for the time `up_to`. Then returns the view of the
    /// proposal. The end of the waiting time is not a denial.
    ///
    /// # Errors
    /// Returns `not-found` if the proposal does not exist or the caller may not see it.
    pub async fn wait(&self, caller: &Caller, id: &ProposalId, up_to: Duration) -> Result<ProposalView, Stopped> {
        let mut changes = self.changes.watch(id);
        let before = self.visible(caller, id)?;
        let deadline = tokio::time::Instant::now() + up_to.min(MOST_WAIT);
        loop {
            let row = self.visible(caller, id)?;
            if row.status != before.status || is_over(row.status) {
                return self.view_for(caller, &row);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.view_for(caller, &row),
            }
        }
    }

    /// Accepts signatures over the statement of a proposal. If the signatures complete the quorum, the run starts.
    ///
    /// # Errors
    /// Returns `unknown-signer`, `bad-signature`, `self-approval`, `not-permitted-signer`, or the refusal that `charge`
    /// returns for the key of a new, verified signature. After an error, the boundary stores no signature of this call.
    pub async fn sign(
        self: &Arc<Self>,
        id: &ProposalId,
        signatures: &[EnvelopeSignature],
        charge: impl Fn(&KeyId) -> Result<(), Stopped> + Send + Sync,
    ) -> Result<ProposalView, Stopped> {
        let row = self.row(id)?;
        let payload = self.payload(id)?;
        let sealed = self.crossing.state();
        let signed = Signed::<Authorization>::from_parts(&payload, signatures, Base64::Lenient)?;
        if signed.signature_count() == 0 {
            return Err(Refusal::new(Code::Malformed, "send at least one signature").at("/signatures", "empty").into());
        }
        let document =
            signed.verify(|keyid| sealed.roster.key(keyid)).map_err(|error| unverified(error, &sealed.rosters))?;
        // After this check, the caller is known to hold a key of the roster, so refusals are logged.
        let outcome = self.sign_verified(&row, document.predicate(), document.signatures(), &sealed, charge).await;
        if let Err(stopped) = &outcome {
            let principal = document.signatures().first().map(|signature| signature.keyid.to_string());
            self.refusals.note_refusal(principal.as_deref(), stopped, InputDigest::of(&payload));
        }
        outcome
    }

    async fn sign_verified(
        self: &Arc<Self>,
        row: &Proposal,
        authorization: &Authorization,
        new: &[VerifiedSignature],
        sealed: &Arc<Sealed>,
        charge: impl Fn(&KeyId) -> Result<(), Stopped> + Send + Sync,
    ) -> Result<ProposalView, Stopped> {
        let id = &row.core.id;
        let now = self.crossing.now();
        let _ = self.crossing.demand_clock()?;
        self.demand_waiting(row, now)?;
        let (held, excluded) = self.quorum_of(sealed, authorization)?;
        let stored = self.ledger.signatures(id).map_err(|e| fault(&e))?;
        let all: Vec<_> = stored.iter().map(verified_of).chain(new.iter().cloned()).collect();
        let count = signature_count::count(&all, &sealed.roster, &excluded, &held.rules, now);
        let known = |signature: &VerifiedSignature| stored.iter().any(|stored| stored.keyid == signature.keyid);
        if let Some(uncounted) =
            count.uncounted().iter().find(|one| new.iter().any(|new| new.keyid == one.keyid && !known(new)))
        {
            let code =
                if uncounted.why == NotCounted::Excluded { Code::SelfApproval } else { Code::NotPermittedSigner };
            return Err(Refusal::new(code, uncounted.to_string()).about(id).into());
        }
        let fresh: Vec<_> = new
            .iter()
            .filter(|signature| !known(signature))
            .filter_map(|signature| {
                let person = sealed.roster.approver_of(&signature.keyid)?.0.name.clone();
                let (presence, sig) = (signature.presence, signature.sig.clone());
                Some(Signature { keyid: signature.keyid, person, presence, sig, at: now })
            })
            .collect();
        if !fresh.is_empty() {
            // Charge a key only for its own new signatures. Otherwise another caller could use up the limit of the key
            // with invalid or repeated signatures.
            fresh.iter().try_for_each(|signature| charge(&signature.keyid))?;
            self.ledger.sign(id, fresh).await.map_err(|stop| advance_refused(stop, id))?;
            self.changes.notify(id);
        }
        self.start_if_met(id, quorum::progress(&held.rules, &count).missing == 0).await?;
        self.view(&self.row(id)?)
    }

    /// Cancels a proposal or ends its run. Only the proposer and operators may cancel a proposal.
    ///
    /// # Errors
    /// Returns `not-found`, `forbidden`, or `wrong-state` if the proposal is over.
    pub async fn cancel(&self, caller: &Caller, id: &ProposalId) -> Result<ProposalView, Stopped> {
        let row = self.visible(caller, id)?;
        if caller.name() != Some(&row.core.proposer) {
            let _ = caller.demand(Scope::Operate, Some(&row.core.step))?;
        }
        match row.status {
            StoredStatus::Running => {
                if !self.stop_run(id)? {
                    return Err(wrong_state(&self.row(id)?).into());
                }
            }
            _ => {
                let by = caller.name().map_or_else(String::new, ToString::to_string);
                let detail = detail(Code::WrongState, &format!("taken back by {by}"))?;
                let now = self.crossing.now();
                let advance = ProposalStep {
                    proposal: id.clone(),
                    from: Vec::new(),
                    to: StoredStatus::Cancelled,
                    at: now,
                    detail,
                };
                match self.ledger.advance(advance).await {
                    Ok(_) => {}
                    // The run began after the proposal was read.
                    Err(AdvanceStop::WrongState(StoredStatus::Running)) => {
                        let _ = self.stop_run(id)?;
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
    pub(super) fn stop_run(&self, id: &ProposalId) -> Result<bool, Stopped> {
        self.live.stop(id);
        let running = self.row(id)?.status == StoredStatus::Running;
        if !running {
            self.live.forget(id);
        }
        Ok(running)
    }

    /// Sends a complete envelope, which was signed elsewhere, to the crossing. Callers must await this future in a
    /// separate task, because a client may disconnect. If the future is dropped after the nonce is spent, only the next
    /// start of the service writes the receipt.
    ///
    /// # Errors
    /// Returns the first refusal of the crossing.
    pub async fn submit(
        self: &Arc<Self>,
        caller: &Caller,
        envelope: Envelope,
        permit: Permit,
    ) -> Result<Receipted, Stopped> {
        let handed_in_by = caller.demand(Scope::Propose, None)?.clone();
        let payload = envelope.payload.clone();
        let request = CrossingRequest { envelope, handed_in_by: handed_in_by.clone() };
        let done = self.crossing.cross(request, Some(permit)).await;
        if let Err(stopped) = &done
            && let Ok(payload) = Base64::Lenient.decode("", &payload)
        {
            self.refusals.note_refusal(Some(handed_in_by.as_str()), stopped, InputDigest::of(&payload));
        }
        done.map_err(|stopped| self.without_hidden_links(caller, stopped))
    }

    /// Removes the links to proposals and receipts that the caller may not see.
    fn without_hidden_links(&self, caller: &Caller, stopped: Stopped) -> Stopped {
        let Stopped::Refused(mut refusal) = stopped else { return stopped };
        if let Some(id) = &refusal.proposal {
            let visible = self
                .ledger
                .proposal(id)
                .ok()
                .flatten()
                .is_some_and(|row| caller.may_see(&row.core.proposer, &row.core.step));
            if !visible {
                refusal.proposal = None;
                refusal.receipt = None;
            }
        }
        Stopped::Refused(refusal)
    }

    pub(super) fn payload(&self, id: &ProposalId) -> Result<Vec<u8>, Stopped> {
        self.ledger.payload(id).map_err(|e| fault(&e))?.ok_or_else(|| not_found(id).into())
    }

    pub(super) fn statement(&self, id: &ProposalId) -> Result<Statement<Authorization>, Stopped> {
        // The boundary wrote this payload, so it is trusted without a check of the signatures.
        Ok(Statement::from_payload(&self.payload(id)?)?)
    }

    pub(super) fn row(&self, id: &ProposalId) -> Result<Proposal, Stopped> {
        let row = self.ledger.proposal(id).map_err(|e| fault(&e))?.ok_or_else(|| self.missing(id))?;
        log_about(&row.core.id, &row.core.step);
        Ok(row)
    }

    /// Returns the refusal for a proposal that has no row in the store. A proposal's id begins with the time of its
    /// creation. From this time, the boundary can tell whether the proposal may have been deleted after its retention
    /// time. The refusal never states that a proposal existed, because the caller may not be allowed to know.
    fn missing(&self, id: &ProposalId) -> Refusal {
        let made = Timestamp::from_unix(i64::try_from(id.millis() / 1000).unwrap_or(i64::MAX));
        let kept_s = self.retention.proposals_s.min(UNSIGNED_KEPT_S);
        let began = self.ledger.leaf(0).ok().flatten().map(|leaf| leaf.at);
        if began.is_none_or(|began| made < began) || made.plus(kept_s) > self.crossing.now() {
            return not_found(id);
        }
        let detail = format!(
            "the boundary has no proposal {id}: an unsigned proposal is deleted an hour after its window, and any \
             other proposal that never ran is deleted {} after its end; the log contains all signed documents about \
             the proposal",
            span(self.retention.proposals_s)
        );
        Refusal::gone(detail)
    }

    pub(super) fn visible(&self, caller: &Caller, id: &ProposalId) -> Result<Proposal, Stopped> {
        let row = self.row(id)?;
        if caller.may_see(&row.core.proposer, &row.core.step) {
            Ok(row)
        } else if caller.name().is_none() {
            Err(Refusal::new(Code::Unauthenticated, "send Authorization: Bearer cst_...").into())
        } else {
            // A caller who may not see the proposal must not learn whether the proposal exists.
            Err(not_found(id).into())
        }
    }

    /// Returns the current rule of the statement's step, and the people whose signatures can't count.
    pub(super) fn quorum_of<'s>(
        &self,
        sealed: &'s Sealed,
        signed: &Authorization,
    ) -> Result<(&'s judgement::decision::in_force::StepInForce, ExcludedSigners), Stopped> {
        let here = &sealed.boundary;
        let _ = check_place(&signed.boundary, &here.name, &here.id, &here.epoch)
            .map_err(|error| Refusal::new(error.code(), error.to_string()).about(&signed.proposal))?;
        let (_, held) = sealed
            .signed_step(signed)
            .map_err(|error| Refusal::new(error.code(), error.to_string()).about(&signed.proposal))?;
        let _ = judgement::decision::step::check_step(signed, &held.hashed)
            .map_err(|error| Refusal::new(error.code(), error.to_string()).about(&signed.proposal))?;
        let tokens = Tokens::Sealed(&sealed.tokens, self.crossing.now());
        let excluded = exclusion::judge(&signed.proposer, &signed.proposer, tokens, &sealed.roster)
            .map_err(|error| Refusal::new(error.code(), error.to_string()).about(&signed.proposal))?;
        Ok((held, excluded))
    }

    fn demand_waiting(&self, row: &Proposal, now: Timestamp) -> Result<(), Stopped> {
        if row.status.waits() && now >= row.core.expires_at {
            let detail = format!("the proposal expired at {}: propose the step again", row.core.expires_at);
            return Err(Refusal::new(Code::Expired, detail).about(&row.core.id).into());
        }
        match row.status {
            StoredStatus::Pending => Ok(()),
            StoredStatus::Expired => {
                Err(Refusal::new(Code::Expired, "the proposal has expired: propose the step again")
                    .about(&row.core.id)
                    .into())
            }
            StoredStatus::Denied => {
                Err(Refusal::new(Code::Denied, "an approver denied the proposal").about(&row.core.id).into())
            }
            StoredStatus::Refused => {
                let why = row.detail.as_ref().and_then(|why| json::parse_as::<RefusalView>(why, why.len()).ok());
                let refused = why.map_or_else(|| wrong_state(row), |why| Refusal::new(why.code, why.detail));
                Err(refused.about(&row.core.id).into())
            }
            _ => Err(wrong_state(row).into()),
        }
    }
}

/// Returns the refusal for an unknown step. The refusal suggests a similar step that the caller may see.
pub(super) fn unknown_step(caller: &Caller, sealed: &Sealed, reference: &StepRef) -> Refusal {
    let steps = sealed.registry.steps().map(|step| &step.definition.reference);
    let known: Vec<&str> =
        steps.filter(|step| caller.may_know(step)).map(StepRef::as_str).take(MOST_COMPARED).collect();
    let advice = match nearest(reference.as_str(), &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "see `countersign registry list`".to_owned(),
    };
    Refusal::new(Code::UnknownStep, format!("no step {reference} is registered; {advice}"))
}

/// Maximum number of steps with which an unknown name is compared, to limit the cost of a request.
const MOST_COMPARED: usize = 1000;

fn parse_step(text: &str) -> Result<(StepRef, Option<StepDigest>), Stopped> {
    let malformed = |detail: String| Stopped::from(Refusal::new(Code::Malformed, detail.clone()).at("/step", detail));
    let (reference, digest) = match text.split_once('@') {
        Some((reference, digest)) => (
            reference,
            Some(
                digest
                    .parse()
                    .map_err(|error: documents::crypto::digest::DigestFormatError| malformed(error.to_string()))?,
            ),
        ),
        None => (text, None),
    };
    let reference =
        reference.parse().map_err(|error: documents::record::ident::IdentError| malformed(error.to_string()))?;
    Ok((reference, digest))
}

fn core_of(authorization: &Authorization, payload: &[u8]) -> Result<AuthorizationCore, Stopped> {
    Ok(AuthorizationCore {
        id: authorization.proposal.clone(),
        digest: AuthorizationDigest::of(payload),
        nonce: authorization.nonce.clone(),
        step: authorization.step.reference.clone(),
        step_digest: authorization.step.digest,
        params_digest: authorization.params_digest()?,
        proposer: authorization.proposer.clone(),
        expires_at: authorization.expires_at,
    })
}

/// Encodes the code and the text of a status.
pub(super) fn detail(code: Code, words: &str) -> Result<Vec<u8>, Stopped> {
    canonical::canonical_of(&RefusalView::new(code, words)).map_err(|e| fault(&e))
}

pub(super) fn verified_of(signature: &Signature) -> VerifiedSignature {
    VerifiedSignature { keyid: signature.keyid, presence: signature.presence, sig: signature.sig.clone() }
}

/// Formats a duration in the same form as the configuration file.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        whole if whole % 86_400 == 0 => format!("{} days", whole / 86_400),
        whole => format!("{whole} s"),
    }
}

fn not_found(id: &ProposalId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no proposal {id}, or this caller has no access to the proposal"))
}

pub(super) fn wrong_state(row: &Proposal) -> Refusal {
    let refusal = Refusal::new(Code::WrongState, format!("it is {} already", row.status)).about(&row.core.id);
    if row.receipt.is_some() { refusal.with_receipt(row.core.id.receipt()) } else { refusal }
}

fn advance_refused(stop: AdvanceStop, id: &ProposalId) -> Stopped {
    match stop {
        AdvanceStop::Unknown => not_found(id).into(),
        AdvanceStop::WrongState(_) => Refusal::new(Code::WrongState, stop.to_string()).about(id).into(),
        AdvanceStop::Fault(error) => error.into(),
    }
}

pub(super) const fn is_over(status: StoredStatus) -> bool {
    matches!(
        status,
        StoredStatus::Finished
            | StoredStatus::Denied
            | StoredStatus::Expired
            | StoredStatus::Cancelled
            | StoredStatus::Refused
    )
}

pub(super) const fn view_status(status: StoredStatus) -> ProposalStatus {
    match status {
        StoredStatus::Running => ProposalStatus::Running,
        StoredStatus::Finished => ProposalStatus::Finished,
        StoredStatus::Pending => ProposalStatus::Pending,
        StoredStatus::Approved => ProposalStatus::Approved,
        StoredStatus::Denied => ProposalStatus::Denied,
        StoredStatus::Expired => ProposalStatus::Expired,
        StoredStatus::Cancelled => ProposalStatus::Cancelled,
        StoredStatus::Refused => ProposalStatus::Refused,
    }
}

pub(super) const fn status_of(status: ProposalStatus) -> StoredStatus {
    match status {
        ProposalStatus::Running => StoredStatus::Running,
        ProposalStatus::Finished => StoredStatus::Finished,
        ProposalStatus::Pending => StoredStatus::Pending,
        ProposalStatus::Approved => StoredStatus::Approved,
        ProposalStatus::Denied => StoredStatus::Denied,
        ProposalStatus::Expired => StoredStatus::Expired,
        ProposalStatus::Cancelled => StoredStatus::Cancelled,
        ProposalStatus::Refused => StoredStatus::Refused,
    }
}

/// Refuses a proposal whose parameters can't be written into the script.
fn not_filled(error: StepError) -> Refusal {
    match &error {
        StepError::Parameter(at) if !at.parameter.is_empty() => {
            let pointer = format!("/params/{}", at.parameter);
            Refusal::new(Code::InvalidParams, error.to_string()).at(pointer, at.message.clone())
        }
        _ => Refusal::new(error.code(), error.to_string()),
    }
}
