//! Denials of a proposal, or of a statement that the boundary has not received yet.
//!
//! Revocations: signed statements that end a key, a token, a grant or an epoch. The revocation of an epoch is a freeze.

use std::{sync::Arc, time::Duration};

use crate::{
    Caller, Proposals, envelope_in, fail, fail_at, logged_documents::predicate,
    proposals::excluded, wrong_state,
};
use crossing::{Refusal, RequestResult, Sealed, Stopped, busy, fault, refusal_of};
use documents::{
    Authorization, AuthorizationDigest, Base64, BoundaryRef, Code, Denial, Envelope, KeyId, Name,
    ProposalId, Revocation, RevokedSubject, Signed, Statement, Timestamp, Verified, denied, joined,
    revoked,
};
use store::{
    CheckedState, DenialResult, DenialWrite, RevocationResult, RevocationWrite, StoredDenial,
    WriteStop,
};
use verdict::{
    RevocationContext, Tokens, check_may_revoke, check_place, exclusion, signing_program,
};
use wire::{DenialView, DenialsView, DeniedView, ProposalStatus, ProposalView, RevocationView};

impl Proposals {
    /// Accepts a denial of a proposal. If the step is already running, the denial ends the run.
    ///
    /// # Errors
    /// Returns `not-permitted-signer` if the signer is not allowed to approve the proposal, and `wrong-state` if the
    /// proposal is over.
    pub async fn deny(&self, id: &ProposalId, envelope: &Envelope) -> RequestResult<ProposalView> {
        let row = self.row(id)?;
        let (checked, sealed) = self.state_to_check();
        let document = self.verify_denial(envelope, &row.core.digest, &sealed)?;
        if row.status.has_ended() {
            return Err(wrong_state(&row).into());
        }
        let now = self.crossing.now();
        let statement = self.statement(id)?;
        let signed = &statement.predicate;
        if sealed.step(&signed.step.reference).is_none() {
            let detail = format!(
                "the step {} is no longer registered, so the proposal can't be denied: ask an operator to cancel \
                 the proposal",
                signed.step.reference
            );
            return Err(Refusal::new(Code::UnknownStep, detail).about(id).into());
        }
        let counted = self.who_denies(&document, signed, &sealed, now)?;
        self.keep_denial(&document, checked, row.core.digest, counted, (id, false))
            .await?;
        self.view(&self.row(id)?)
    }

    /// Accepts a denial of a statement that another program created and approvers signed elsewhere. After the denial,
    /// the statement never runs, even if the boundary has not received the statement. The caller must send the
    /// statement too, because it determines the window and the step. The rule of the step names the possible approvers.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::deny`], `expired` if the window of the statement is over, and
    /// `rate-limited` if too many denials arrived before their statements.
    pub async fn deny_statement(
        &self,
        envelope: &Envelope,
        payload: &[u8],
    ) -> RequestResult<DenialView> {
        let (checked, sealed) = self.state_to_check();
        let digest = AuthorizationDigest::of(payload);
        let document = self.verify_denial(envelope, &digest, &sealed)?;
        let statement = Statement::<Authorization>::from_payload(payload)?;
        let signed = &statement.predicate;
        check_here(&signed.boundary, &sealed)?;
        let id = &signed.proposal;
        let known = self
            .ledger
            .proposal(id)?
            .filter(|row| row.core.digest == digest);
        let now = self.crossing.now();
        match &known {
            Some(row) if row.status.has_ended() => return Err(wrong_state(row).into()),
            None if now >= signed.expires_at => {
                return fail(
                    Code::Expired,
                    format!(
                        "the window ended at {}, so the statement can't run any more",
                        signed.expires_at
                    ),
                );
            }
            _ => {}
        }
        let counted = self.who_denies(&document, signed, &sealed, now)?;
        let done = self
            .keep_denial(&document, checked, digest, counted, (id, known.is_none()))
            .await?;
        let row = self
            .ledger
            .proposal(id)?
            .filter(|row| row.core.digest == digest);
        let status: Option<ProposalStatus> = row.map(|row| row.status);
        Ok(DenialView {
            proposal: id.clone(),
            digest,
            index: done.leaf,
            status,
            kept_until: signed.expires_at,
        })
    }

    /// Returns the approvers who denied this statement, even if the boundary has not received the statement.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller does not have the scope `read` for all steps.
    pub fn denials(
        &self,
        caller: &Caller,
        digest: &AuthorizationDigest,
    ) -> RequestResult<DenialsView> {
        caller.demand_read_of_all("the denied statement may be of another step")?;
        Ok(DenialsView {
            digest: *digest,
            denials: self.denials_of(digest)?,
        })
    }

    /// Returns the denials of an authorization with the reasons in the signed documents.
    pub fn denials_of(&self, digest: &AuthorizationDigest) -> RequestResult<Vec<DeniedView>> {
        let stored = self.ledger.denials(digest)?;
        let view = |denied: StoredDenial| {
            let document: Denial = predicate(&envelope_in(&self.ledger, denied.leaf)?)?;
            Ok(DeniedView {
                approver: denied.approver,
                index: denied.leaf,
                at: denied.at,
                reason: document.reason,
            })
        };
        stored.into_iter().map(view).collect()
    }

    /// Returns the denial if keys of the roster signed it and the denied authorization is for this boundary.
    fn verify_denial(
        &self,
        envelope: &Envelope,
        digest: &AuthorizationDigest,
        sealed: &Sealed,
    ) -> RequestResult<Verified<Denial>> {
        let signed = Signed::<Denial>::from_envelope(envelope, Base64::Lenient)?;
        let document = signed
            .verify(|keyid| sealed.statement_key(keyid))
            .map_err(|error| sealed.unverified(error))?;
        let authorization = denied(document.statement())?;
        if authorization != *digest {
            let detail = format!(
                "the denial is for the authorization {authorization}, but this proposal has the \
                 authorization {digest}"
            );
            return fail_at(Code::Malformed, detail, "/payload", "another authorization");
        }
        check_here(&document.predicate().boundary, sealed)?;
        Ok(document)
    }

    /// Returns the approver who denies the statement and who could approve the statement under the current rule of the
    /// step. A changed definition of the step or an expired token of the proposer never prevents a denial. If the
    /// current registry does not contain the step, every approver may deny the statement, because the step could be
    /// registered again within the statement's window.
    fn who_denies(
        &self,
        document: &Verified<Denial>,
        signed: &Authorization,
        sealed: &Sealed,
        now: Timestamp,
    ) -> RequestResult<(Name, KeyId)> {
        let excluded = excluded(&signed.proposer, sealed, now)
            .or_else(|_| {
                let (proposer, tokens) = (&signed.proposer, Tokens::Unknown);
                exclusion::judge(proposer, proposer, tokens, &sealed.roster)
            })
            .map_err(|error| refusal_of(error).about(&signed.proposal))?;
        let refuse = |why: &str| {
            let detail = format!(
                "only a person who could approve the proposal can deny the proposal: {why}"
            );
            Stopped::from(Refusal::new(Code::NotPermittedSigner, detail).about(&signed.proposal))
        };
        let Some((_, held)) = sealed.step(&signed.step.reference) else {
            let revoked = self.crossing.revoked();
            let unrevoked = document
                .signatures()
                .iter()
                .filter(|signature| !revoked.has_key(&signature.keyid));
            let valid = unrevoked.into_iter().find_map(|signature| {
                let (approver, _) = sealed.roster.statement_approver(&signature.keyid)?;
                let _counts = signing_program(&signature.sig, sealed.policy.passkeys()).ok()?;
                let begun = approver.valid_after.is_none_or(|from| from <= now);
                let open = begun && approver.valid_before.is_none_or(|until| now < until);
                (open && !excluded.contains(&approver.name))
                    .then(|| (approver.name.clone(), signature.keyid))
            });
            return valid.ok_or_else(|| {
                refuse("the denial has no signature of a currently valid approver")
            });
        };
        let mut count = self.counted(document.signatures(), held, &excluded, sealed);
        // An approver of the emergency rule may also deny the emergency. If policy no longer has such a rule, `for_run`
        // fails, and approvers under the other rules can still deny.
        if count.counted().is_empty()
            && let Ok(of_run) = held.for_run(signed)
        {
            count = self.counted(document.signatures(), &of_run, &excluded, sealed);
        }
        match count.counted().first() {
            Some(counted) => Ok((counted.name.clone(), counted.keyid)),
            None => {
                let why = joined(count.uncounted(), "; ");
                Err(refuse(if why.is_empty() {
                    "the denial has no signature"
                } else {
                    &why
                }))
            }
        }
    }

    /// Logs the denial with its one valid signature, and stops a run of the denied statement.
    async fn keep_denial(
        &self,
        document: &Verified<Denial>,
        checked: CheckedState,
        authorization: AuthorizationDigest,
        (approver, keyid): (Name, KeyId),
        (id, ahead): (&ProposalId, bool),
    ) -> RequestResult<DenialResult> {
        let envelope = document
            .envelope(|other| *other == keyid)
            .to_canonical()
            .map_err(fault)?;
        let denial = DenialWrite {
            authorization,
            checked,
            approver,
            envelope,
            at: self.crossing.now(),
            ahead,
        };
        // The same commit logs the denial and increases the state version. If the quorum is met later, the boundary
        // finds the denial. If a verdict was made with the earlier state version, the boundary must repeat the verdict.
        let done = self.ledger.deny(denial).await.map_err(not_logged)?;
        if let Some(running) = &done.running {
            self.stop_run(running)?;
        }
        self.changes.notify(id);
        Ok(done)
    }
}

pub fn check_here(signed: &BoundaryRef, sealed: &Sealed) -> RequestResult {
    let here = &sealed.boundary;
    let _ = check_place(signed, here).map_err(refusal_of)?;
    Ok(())
}

/// Maximum number of attempts to check a statement under the state in force and to log it. An attempt fails if the
/// state in force changed after the check.
pub const MOST_TRIES: usize = 16;
/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(20);

impl Proposals {
    /// Logs a revocation, and ends the proposals that can no longer run. A freeze also stops all runs, unless policy
    /// lets runs finish. A second revocation of the same subject adds no log entry.
    ///
    /// # Errors
    /// Returns `unknown-signer`, `bad-signature`, `not-permitted-signer`, `wrong-boundary`, `revoked` for an earlier
    /// epoch or a revoked signer, `not-found` for a subject that is not in force, and `wrong-state` for the key with
    /// which this boundary signs.
    pub async fn revoke(self: &Arc<Self>, envelope: &Envelope) -> RequestResult<RevocationView> {
        let signed = Signed::<Revocation>::from_envelope(envelope, Base64::Lenient)?;
        let (subject, done) = self.log_revocation(&signed).await?;
        tracing::warn!(entry = done.leaf, "the {subject} is revoked");
        // No run starts after the commit of a freeze, so this list is complete. A repeated request also stops a run
        // that survived the first request.
        let frozen = matches!(subject, RevokedSubject::Epoch(_));
        let cancels = frozen && !self.crossing.state().policy.runs_finish_when_frozen();
        let running = if cancels {
            self.ledger.running_proposals()
        } else {
            Vec::new()
        };
        let mut stopped = 0;
        for id in &running {
            stopped += u64::from(self.stop_run(id)?);
        }
        // Only the first request compares all proposals, because every reader of the log can repeat a revocation.
        let ended = if done.existing {
            0
        } else {
            self.end_overtaken().await
        };
        Ok(RevocationView {
            subject,
            index: done.leaf,
            existing: done.existing,
            ended,
            stopped,
        })
    }

    async fn log_revocation(
        &self,
        signed: &Signed<Revocation>,
    ) -> RequestResult<(RevokedSubject, RevocationResult)> {
        for _ in 0..MOST_TRIES {
            let (checked, sealed) = self.state_to_check();
            let (subject, document) = self.check_revocation(signed, &sealed)?;
            let envelope = document
                .envelope(|_| true)
                .to_canonical()
                .map_err(fault)?
                .into();
            let token = sealed
                .tokens
                .iter()
                .map(|token| &token.name)
                .find(|name| RevokedSubject::token(name) == subject);
            let (token, at) = (token.cloned(), self.crossing.now());
            match self
                .ledger
                .revoke(RevocationWrite {
                    checked,
                    subject,
                    envelope,
                    token,
                    at,
                })
                .await
            {
                Ok(done) => return Ok((subject, done)),
                Err(stop) => check_again(stop).await?,
            }
        }
        Err(changes_too_often())
    }

    /// Returns the state in force for a check, and the values from which the writer notices a later change of this
    /// state.
    pub fn state_to_check(&self) -> (CheckedState, Arc<Sealed>) {
        // Read the number first, so that the writer notices every later change.
        let (revocations, sealed) = (self.ledger.revocations().len(), self.crossing.state());
        (
            CheckedState {
                seal: Some(sealed.digest),
                revocations,
            },
            sealed,
        )
    }

    /// Checks that the signer may revoke the subject under the state in force.
    fn check_revocation(
        &self,
        signed: &Signed<Revocation>,
        sealed: &Sealed,
    ) -> RequestResult<(RevokedSubject, Verified<Revocation>)> {
        let document = signed.clone().verify(|keyid| sealed.statement_key(keyid));
        let document = document.map_err(|error| sealed.unverified(error))?;
        let [signature] = document.signatures() else {
            return fail_at(
                Code::Malformed,
                "a revocation has exactly one signature",
                "/signatures",
                "expected exactly one",
            );
        };
        check_here(&document.predicate().boundary, sealed)?;
        let subject = revoked(document.statement())?;
        if subject == RevokedSubject::Key(self.crossing.keyid()) {
            let detail = "this boundary signs with the key, so nobody could verify its later receipts: freeze the boundary, \
                          give it another key of the roster, then revoke the key";
            return fail(Code::WrongState, detail);
        }
        // A revoked token is not in the next seal, but a repeated revocation of the token is no error.
        if self
            .ledger
            .revocations()
            .iter()
            .any(|known| known.subject == subject)
        {
            return Ok((subject, document));
        }
        if let RevokedSubject::Grant(digest) = &subject
            && let Some(grant) = self.ledger.reads().grant_of(digest)?
            && grant.expires_at <= self.crossing.now()
        {
            let detail = format!("the grant {} ended at {}", grant.id, grant.expires_at);
            return fail(Code::WrongState, detail);
        }
        let (known, epoch) = (self.crossing.revoked(), &sealed.boundary.epoch);
        let context = RevocationContext {
            roster: &sealed.roster,
            tokens: &sealed.tokens,
            epoch,
            passkeys: sealed.policy.passkeys(),
            revoked: known.now(),
            grant: &|digest| self.revocable_grant(digest, sealed),
        };
        let _ = check_may_revoke(subject, signature, context)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        Ok((subject, document))
    }
}

/// Handles the error of a write. If the state in force changed after the check, the function waits a moment and
/// returns, so that the caller checks again.
///
/// # Errors
/// Returns the refusal for any other error, because another check would not help.
pub async fn check_again(stop: WriteStop) -> RequestResult {
    if stop != WriteStop::Moved {
        return Err(not_logged(stop));
    }
    // The log contains a new seal shortly before this process uses the new state.
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// Returns the answer to a request whose write the store refused.
pub fn not_logged(stop: WriteStop) -> Stopped {
    let (code, wait_s) = match stop {
        // The state changed during the check. The caller can send the request again.
        WriteStop::Moved => (Code::Busy, Some(1)),
        WriteStop::ClockAhead { .. } => (Code::Busy, Some(60)),
        WriteStop::TooManyAhead { wait_s, .. } => (Code::RateLimited, Some(wait_s)),
        WriteStop::TooManyDrafts { .. } => (Code::RateLimited, Some(600)),
        WriteStop::TooLarge { .. } => (Code::TooLarge, None),
        WriteStop::Token(_) | WriteStop::GrantTaken => (Code::WrongState, None),
        WriteStop::Fault(error) => return error.into(),
        WriteStop::NoSeal | WriteStop::BackDated { .. } => return fault(stop),
    };
    let mut refusal = Refusal::new(code, stop.to_string());
    refusal.retry_after_s = wait_s;
    refusal.into()
}

/// Returns the refusal after [`MOST_TRIES`] checks.
pub fn changes_too_often() -> Stopped {
    busy("the state in force changes too often at this time").into()
}
