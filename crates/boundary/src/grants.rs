//! Standing grants: drafts, their signatures, and the grants of the log.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    Caller, MOST_TRIES, Proposals, changes_too_often, check_again, fail, fail_at, not_logged,
    unknown_step,
};
use crossing::{Refusal, RequestResult, Sealed, fault, profile_on_host, refused};
use documents::{
    Base64, Code, ContentDigest, Envelope, EnvelopeSignature, Grant, GrantId, GrantedSession,
    GrantedStep, Grantee, KeyGrantee, KeyId, Name, Scope, SealedToken, Signed, StepRef, Timestamp,
    TokenGrantee, Verified,
};
use store::{ConsumeStop, GrantWrite, StoredGrant, WriteStop};
use verdict::{
    EligibleApprovers, GrantError, NotCounted, PreparedGrant, RevocableGrant, Tokens, check_usable,
    count_unrevoked, judge_excluded, quorum, revocable,
};
use wire::{
    ApprovalsView, DraftGrantee, DraftTerms, GrantList, GrantStatus, GrantView, RefusalView,
};

/// Maximum number of grants in a list.
pub const MOST_LISTED: usize = 1000;
/// Advice about a grant that needs more approvals than people can give.
const ENOUGH_SIGNERS: &str =
    "let another person or token draft the grant, or add approvers to the roster";

impl Proposals {
    /// Drafts a grant with the definitions, permissions and sandboxes that are sealed now.
    ///
    /// # Errors
    /// Returns `unknown-step`, `policy-denied`, `not-grantable`, `not-granted` and other reasons why the grant could
    /// never be used, and `rate-limited` if too many drafts wait.
    pub async fn draft_grant(
        &self,
        caller: &Caller,
        terms: DraftTerms,
    ) -> RequestResult<GrantView> {
        let (sealed, now) = (self.crossing.state(), self.crossing.now());
        let proposer = demand_drafter(caller, &sealed, None)?.clone();
        let _ = self.crossing.demand_clock()?;
        self.crossing.capacity().demand_disk()?;
        let _ = self
            .crossing
            .check_not_revoked(&sealed, [&proposer, &proposer])?;
        let mut steps = Vec::with_capacity(terms.steps.len());
        for one in terms.steps {
            demand_drafter(caller, &sealed, Some(&one.step))?;
            let Some((step, held)) = sealed.step(&one.step) else {
                return Err(unknown_step(caller, &sealed, &one.step)
                    .at("/draft/steps", "not registered")
                    .into());
            };
            let permissions = held
                .asked()
                .clone()
                .map_err(|denied| Refusal::new(Code::PolicyDenied, denied.to_string()))?;
            let (digest, sandbox) = (step.digest, profile_on_host(held)?);
            steps.push(GrantedStep {
                reference: one.step,
                digest,
                params: one.params,
                permissions,
                sandbox,
            });
        }
        steps.sort_by(|one, other| one.reference.cmp(&other.reference));
        let mut artifacts = terms.artifacts;
        artifacts.sort_by(|one, other| one.name.cmp(&other.name));
        let (millis, random) = ((self.surroundings.millis)(), self.surroundings.bytes());
        let grant = Grant {
            boundary: sealed.boundary.clone(),
            grant: GrantId::new(millis, random),
            grantee: grantee_of(terms.grantee, &sealed, |token| {
                token.expires_at.is_none_or(|end| now < end)
                    && self.crossing.revoked().now().token(&token.name).is_none()
            })?,
            steps,
            max_uses: terms.max_uses,
            rate: terms.rate,
            session: terms.session.unwrap_or(GrantedSession::None),
            artifacts,
            proposer,
            reason: terms.reason,
            issued_at: now,
            not_before: now,
            expires_at: now.plus(terms.expires_in_s),
        };
        let payload = grant.into_statement().to_payload()?;
        self.take_grant(&Envelope::new(&payload, Vec::new())).await
    }

    /// Accepts a grant that was made elsewhere, with its signatures.
    ///
    /// # Errors
    /// Returns the errors of [`Self::draft_grant`], `bad-signature` and `self-approval`.
    pub async fn submit_grant(
        &self,
        caller: &Caller,
        envelope: &Envelope,
    ) -> RequestResult<GrantView> {
        caller.demand(Scope::Propose, None)?;
        let _ = self.crossing.demand_clock()?;
        let sealed = self.crossing.state();
        let signed = Signed::<Grant>::from_envelope(envelope, Base64::Lenient)?;
        let signed = signed.verify(|keyid| sealed.roster.key(keyid));
        let signed = signed.map_err(|error| sealed.unverified(error))?;
        for step in &signed.predicate().steps {
            caller.demand(Scope::Propose, Some(&step.reference))?;
        }
        // If no step of the grant is registered, `take_grant` below refuses the grant.
        if signed
            .predicate()
            .steps
            .iter()
            .any(|step| sealed.step(&step.reference).is_some())
        {
            for signature in signed.signatures() {
                self.check_signer(&signed, &signature.keyid, &sealed)?;
            }
        }
        self.take_grant(envelope).await
    }

    /// Adds signatures to a draft. With enough signatures, the grant is logged.
    ///
    /// # Errors
    /// Returns `not-found`, `unknown-signer`, `bad-signature`, `not-permitted-signer`, `self-approval`, `wrong-state`
    /// if the grant is in the log, or the refusal that `charge` returns for the key of a new, verified signature.
    pub async fn sign_grant(
        &self,
        id: &GrantId,
        signatures: &[EnvelopeSignature],
        charge: impl Fn(&KeyId) -> RequestResult + Send + Sync,
    ) -> RequestResult<GrantView> {
        let _ = self.crossing.demand_clock()?;
        let _one_at_a_time = self.one_grant.lock().await;
        let (sealed, stored) = (self.crossing.state(), self.grant_row(id)?);
        if stored.leaf.is_some() {
            return fail(
                Code::WrongState,
                format!("the grant {id} is in the log already"),
            );
        }
        if stored.expires_at <= self.crossing.now() {
            return fail(
                Code::WrongState,
                format!("the draft {id} has ended, or was taken back"),
            );
        }
        let mut envelope = envelope_of(&stored)?;
        let payload = Base64::Lenient.decode("/payload", &envelope.payload)?;
        let new = Signed::<Grant>::from_parts(&payload, signatures, Base64::Lenient)?;
        if new.signature_count() == 0 {
            return fail_at(
                Code::Malformed,
                "send at least one signature",
                "/signatures",
                "empty",
            );
        }
        let new = new
            .verify_draft(|keyid| sealed.roster.key(keyid))
            .map_err(|error| sealed.unverified(error))?;
        let known: Vec<KeyId> = envelope
            .signatures
            .iter()
            .map(|signature| signature.keyid)
            .collect();
        let fresh = new
            .signatures()
            .iter()
            .filter(|signature| !known.contains(&signature.keyid));
        for signature in fresh {
            self.check_signer(&new, &signature.keyid, &sealed)?;
            charge(&signature.keyid)?;
            envelope
                .signatures
                .push(EnvelopeSignature::new(signature.keyid, &signature.sig));
        }
        envelope.signatures.sort_by_key(|signature| signature.keyid);
        self.take_locked(&envelope, Some(stored)).await
    }

    /// Ends a draft: its proposer takes it back, or an operator ends it.
    ///
    /// # Errors
    /// Returns `not-found`, `forbidden`, or `wrong-state` for a grant of the log, which only a revocation ends.
    pub async fn withdraw_grant(&self, caller: &Caller, id: &GrantId) -> RequestResult<GrantView> {
        let _one_at_a_time = self.one_grant.lock().await;
        let (stored, now) = (self.grant_row(id)?, self.crossing.now());
        let view = self.grant(caller, id)?;
        if caller.name() != Some(&stored.proposer) {
            for step in &view.grant.steps {
                caller.demand(Scope::Operate, Some(&step.reference))?;
            }
        }
        if stored.leaf.is_some() {
            return fail(
                Code::WrongState,
                format!(
                    "the grant {id} is in the log, so only a revocation ends it: countersign revoke {id}"
                ),
            );
        }
        let grant = StoredGrant {
            expires_at: stored.expires_at.min(now),
            ..stored
        };
        let write = GrantWrite {
            grant,
            checked: None,
            at: now,
        };
        let stored = self.ledger.put_grant(write).await;
        let stored = stored.map_err(|stop| match stop {
            WriteStop::GrantTaken | WriteStop::TooManyDrafts { .. } => no_grant(id).into(),
            stop => not_logged(stop),
        })?;
        self.grant_view(&stored)
    }

    /// Returns the drafts and grants that the caller may see.
    ///
    /// # Errors
    /// Returns `unauthenticated` for a caller without a name.
    pub fn grants(&self, caller: &Caller) -> RequestResult<GrantList> {
        caller.demand_name()?;
        let rows = self.ledger.grants(self.crossing.now(), MOST_LISTED)?;
        let views = rows.iter().map(|row| self.grant_view(row));
        let visible = |view: &Result<GrantView, _>| {
            view.as_ref().map_or(true, |view| sees(caller, &view.grant))
        };
        Ok(GrantList {
            grants: views.filter(visible).collect::<Result<_, _>>()?,
        })
    }

    /// Returns a grant.
    ///
    /// # Errors
    /// Returns `not-found` if there is no such grant, or the caller may not see it.
    pub fn grant(&self, caller: &Caller, id: &GrantId) -> RequestResult<GrantView> {
        let view = self.grant_view(&self.grant_row(id)?)?;
        if sees(caller, &view.grant) {
            Ok(view)
        } else {
            Err(no_grant(id).into())
        }
    }

    /// Returns the grant under which a run is proposed. The crossing decides whether the grant covers the run.
    ///
    /// # Errors
    /// Returns `malformed` without a nonce, and `not-granted` if the log has no such grant.
    pub fn grant_in_use(
        &self,
        id: &GrantId,
        has_nonce: bool,
        sealed: &Sealed,
    ) -> RequestResult<Arc<PreparedGrant>> {
        if !has_nonce {
            return fail_at(
                Code::Malformed,
                "a run under a grant needs a nonce, so that a repeated request is the same run",
                "/nonce",
                "missing",
            );
        }
        let unknown = || {
            let detail = format!("the log has no grant {id}");
            Refusal::new(Code::NotGranted, detail).at("/grant", "unknown")
        };
        let stored = self.ledger.grant(id)?;
        let stored = stored.filter(|stored| stored.leaf.is_some());
        let stored = stored.ok_or_else(unknown)?;
        let grant = self.crossing.logged_grant(&stored.digest, sealed)?;
        if grant.document().predicate().grant != *id {
            return Err(unknown().into());
        }
        Ok(grant)
    }

    async fn take_grant(&self, envelope: &Envelope) -> RequestResult<GrantView> {
        let _one_at_a_time = self.one_grant.lock().await;
        self.take_locked(envelope, None).await
    }

    /// Stores a grant, and logs it if enough people signed. The caller holds the lock.
    async fn take_locked(
        &self,
        envelope: &Envelope,
        known: Option<StoredGrant>,
    ) -> RequestResult<GrantView> {
        for _ in 0..MOST_TRIES {
            let (checked, sealed) = self.state_to_check();
            let prepared = self.crossing.verified_draft(envelope, &sealed)?;
            let (grant, terms) = (prepared.document(), prepared.document().predicate());
            for (index, step) in terms.steps.iter().enumerate() {
                if let Some((_, held)) = sealed.step(&step.reference) {
                    check_usable(terms, index, held.hashed.definition())
                        .map_err(|error| refused(&error))?;
                }
            }
            let at = self.crossing.now().max(terms.not_before);
            let met = match self.crossing.stands_or_why(&prepared, &sealed, at) {
                Ok(_) => true,
                Err(why) if matches!(why.1, Some(GrantError::Quorum { .. })) => {
                    let excluded =
                        judge_excluded(terms, Tokens::Sealed(&sealed.tokens, at), &sealed.roster);
                    let (excluded, revoked) = (
                        excluded.map_err(|error| refused(&error))?,
                        self.crossing.revoked(),
                    );
                    let eligible =
                        EligibleApprovers::of(&sealed.roster, |keyid| revoked.has_key(keyid));
                    for (_, held) in terms
                        .steps
                        .iter()
                        .filter_map(|step| sealed.step(&step.reference))
                    {
                        let rules = held.rules.of_grant();
                        let reach =
                            eligible.check_reach(&rules, |name| excluded.contains(name), at, None);
                        reach.map_err(|out| {
                            Refusal::new(Code::QuorumMissing, format!("{out}; {ENOUGH_SIGNERS}"))
                        })?;
                    }
                    false
                }
                Err(why) => return Err(why.0.into()),
            };
            // The log gets only the signatures of approvers in force.
            let logged = grant.envelope(|_| true);
            let kept = if met { &logged } else { envelope };
            let row = StoredGrant {
                id: terms.grant.clone(),
                digest: ContentDigest::from_bytes(grant.digest()),
                envelope: kept.to_canonical().map_err(fault)?.into(),
                proposer: terms.proposer.clone(),
                created_at: known
                    .as_ref()
                    .map_or_else(|| self.crossing.now(), |known| known.created_at),
                expires_at: terms.expires_at,
                leaf: None,
            };
            let write = GrantWrite {
                grant: row,
                checked: met.then_some(checked),
                at: self.crossing.now(),
            };
            match self.ledger.put_grant(write).await {
                Ok(stored) => {
                    if stored.leaf.is_some() {
                        tracing::info!(grant = %stored.id, "a standing grant is in force");
                    }
                    return self.grant_view(&stored);
                }
                Err(stop) => check_again(stop).await?,
            }
        }
        Err(changes_too_often())
    }

    /// Checks that the signature of a person counts for a step of the grant.
    fn check_signer(
        &self,
        grant: &Verified<Grant>,
        keyid: &KeyId,
        sealed: &Sealed,
    ) -> RequestResult {
        let (terms, now, revoked) = (
            grant.predicate(),
            self.crossing.now(),
            self.crossing.revoked(),
        );
        let tokens = Tokens::Sealed(&sealed.tokens, now);
        let excluded =
            judge_excluded(terms, tokens, &sealed.roster).map_err(|error| refused(&error))?;
        let own: Vec<_> = grant
            .signatures()
            .iter()
            .filter(|one| one.keyid == *keyid)
            .cloned()
            .collect();
        let mut why = None;
        for step in &terms.steps {
            let Some((_, held)) = sealed.step(&step.reference) else {
                continue;
            };
            let rules = held.rules.of_grant();
            let is_revoked = |keyid: &KeyId| revoked.has_key(keyid);
            let count = count_unrevoked(&own, &sealed.roster, &excluded, &rules, now, is_revoked);
            match count.uncounted().first() {
                None => return Ok(()),
                Some(uncounted) => {
                    let code = if uncounted.why == NotCounted::Excluded {
                        Code::SelfApproval
                    } else {
                        Code::NotPermittedSigner
                    };
                    why = Some(Refusal::new(code, uncounted.to_string()));
                }
            }
        }
        Err(why.unwrap_or_else(|| no_grant(&terms.grant)).into())
    }

    /// Returns the people who may revoke a grant of the log.
    pub fn revocable_grant(
        &self,
        digest: &ContentDigest,
        sealed: &Sealed,
    ) -> Option<RevocableGrant> {
        let grant = self.crossing.logged_grant(digest, sealed).ok()?;
        Some(revocable(grant.document().predicate(), |reference| {
            sealed.step(reference).map(|(_, held)| held)
        }))
    }

    fn grant_row(&self, id: &GrantId) -> RequestResult<StoredGrant> {
        self.ledger.grant(id)?.ok_or_else(|| no_grant(id).into())
    }

    pub fn grant_view(&self, row: &StoredGrant) -> RequestResult<GrantView> {
        let (sealed, now) = (self.crossing.state(), self.crossing.now());
        let prepared = self.crossing.read_grant(row, &sealed)?;
        let (grant, terms) = (prepared.document(), prepared.document().predicate().clone());
        let newest = self.ledger.grant_uses(&row.digest, 1)?.first().copied();
        let uses = newest.map_or(0, |newest| newest.number);
        let why = match newest {
            Some(newest) if newest.paused => Some(Refusal::new(
                Code::GrantPaused,
                ConsumeStop::GrantPaused.to_string(),
            )),
            _ => self.why_ended(row, &prepared, uses, &sealed, now),
        };
        let status = match (&why, row.leaf) {
            (Some(_), _) => GrantStatus::Unusable,
            (None, None) => GrantStatus::Pending,
            (None, Some(_)) => GrantStatus::Active,
        };
        Ok(GrantView {
            id: row.id.clone(),
            status,
            digest: row.digest,
            payload: STANDARD.encode(grant.payload()),
            approvals: self.grant_approvals(grant, &sealed, now),
            grant: terms,
            created_at: row.created_at,
            index: row.leaf,
            uses,
            last_use_at: newest.map(|newest| newest.at),
            why: why.map(|refusal| RefusalView::new(refusal.code, &refusal.detail)),
        })
    }

    /// Returns the reason why the grant can't be used, or `None` if the grant can be used. For a draft, missing
    /// signatures are no such reason.
    fn why_ended(
        &self,
        row: &StoredGrant,
        grant: &PreparedGrant,
        uses: u64,
        sealed: &Sealed,
        now: Timestamp,
    ) -> Option<Refusal> {
        let (most, until) = (
            grant.document().predicate().max_uses,
            grant.document().predicate().expires_at,
        );
        if row.leaf.is_none() && row.expires_at < until {
            return Some(Refusal::new(Code::Expired, "the draft was taken back"));
        }
        if uses >= most {
            return Some(Refusal::new(
                Code::GrantExhausted,
                format!("all {most} uses are spent"),
            ));
        }
        match self.crossing.stands_or_why(grant, sealed, now) {
            Ok(_) => None,
            Err(why) if row.leaf.is_none() && matches!(why.1, Some(GrantError::Quorum { .. })) => {
                None
            }
            Err(why) => Some(why.0),
        }
    }

    /// Returns the approvals of a grant. A signature is needed if at least one step of the grant needs it.
    fn grant_approvals(
        &self,
        grant: &Verified<Grant>,
        sealed: &Sealed,
        now: Timestamp,
    ) -> ApprovalsView {
        let (terms, revoked) = (grant.predicate(), self.crossing.revoked());
        let excluded =
            judge_excluded(terms, Tokens::Sealed(&sealed.tokens, now), &sealed.roster).ok();
        let mut view = ApprovalsView {
            excluded: excluded
                .iter()
                .flat_map(verdict::ExcludedSigners::names)
                .collect(),
            ..ApprovalsView::default()
        };
        let (mut approvers, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for step in &terms.steps {
            let (Some((_, held)), Some(excluded)) = (sealed.step(&step.reference), &excluded)
            else {
                continue;
            };
            let rules = held.rules.of_grant();
            let is_revoked = |keyid: &KeyId| revoked.has_key(keyid);
            let count = count_unrevoked(
                grant.signatures(),
                &sealed.roster,
                excluded,
                &rules,
                now,
                is_revoked,
            );
            let progress = quorum::progress(&rules, &count);
            view.required = view.required.max(progress.required);
            approvers.extend(progress.approvers);
            missing.extend(progress.missing_from);
            for rule in held.approvals.iter() {
                if !view.rules.contains(rule) {
                    view.rules.push(rule.clone());
                }
            }
        }
        view.have = approvers.len() as u64;
        view.approvers = approvers.into_iter().collect();
        view.missing = missing.into_iter().collect();
        view
    }
}

/// Returns the grantee of a draft, with the credential of a token. `is_valid` is false for a token that has ended or is
/// revoked.
fn grantee_of(
    asked: DraftGrantee,
    sealed: &Sealed,
    is_valid: impl Fn(&SealedToken) -> bool,
) -> RequestResult<Grantee> {
    match (asked.name, asked.key, asked.token) {
        (Some(name), Some(key), None) => Ok(Grantee::Key(KeyGrantee { name, key })),
        (None, None, Some(token)) => {
            let found = sealed.tokens.iter().find(|sealed| sealed.name == token);
            let found = found.filter(|found| is_valid(found));
            let credential = found.map(|sealed| sealed.credential).ok_or_else(|| {
                let detail =
                    format!("there is no valid token {token}: name a token, or a proposer with its key (--grantee-key)");
                Refusal::new(Code::UnknownSigner, detail).at("/draft/grantee/token", "unknown")
            })?;
            Ok(Grantee::Token(TokenGrantee { token, credential }))
        }
        _ => {
            let detail = "expected `name` and `key` of a proposer, or `token`";
            Err(Refusal::malformed("/draft/grantee", detail).into())
        }
    }
}

/// Returns the name of a caller who may draft grants: a proposer, or an approver of the roster.
fn demand_drafter<'c>(
    caller: &'c Caller,
    sealed: &Sealed,
    step: Option<&StepRef>,
) -> RequestResult<&'c Name> {
    match caller
        .name()
        .filter(|name| sealed.roster.approver(name).is_some())
    {
        Some(name) => Ok(name),
        None => caller.demand(Scope::Propose, step),
    }
}

fn sees(caller: &Caller, grant: &Grant) -> bool {
    let named = caller
        .name()
        .is_some_and(|name| *name == grant.proposer || name == grant.grantee.name());
    named
        || grant
            .steps
            .iter()
            .all(|step| caller.may_see(&grant.proposer, &step.reference))
}

fn envelope_of(stored: &StoredGrant) -> RequestResult<Envelope> {
    documents::parse_as(&stored.envelope, stored.envelope.len()).map_err(fault)
}

fn no_grant(id: &GrantId) -> Refusal {
    Refusal::new(
        Code::NotFound,
        format!("there is no grant {id}, or this caller has no access to it"),
    )
}
