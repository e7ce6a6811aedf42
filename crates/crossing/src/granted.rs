//! Who allowed a run: its approvers, or the people who signed its standing grant.

use std::{cell::RefCell, sync::Arc};

use crate::{
    Crossing, Refusal, RequestResult, Sealed, VerifiedRequest, fault, profile_on_host,
    stage::AllowedRun,
};
use documents::{
    Authorization, Base64, Code, ContentDigest, Envelope, Grant, Name, Profile, Signed, StepRef,
    Timestamp, Verified, joined, json,
};
use reading::{EmergencyRule, WithOrigin};
use store::{GrantClaim, StoredGrant};
use verdict::{
    Authority, Covered, EligibleApprovers, ExcludedSigners, GrantContext, GrantError, Objection,
    PermissionsError, PreparedGrant, QuorumRules, Stands, StepInForce, Tokens, TrustedRoster,
    check_profile, covers, exclusion, quorum, signature_count, stands, verify_grant,
};

impl Crossing {
    /// Decides whether people allowed the run: the approvers who signed the run itself, or the people who signed the
    /// grant of the run. `here` is the sandbox of the run's step on this host.
    ///
    /// # Errors
    /// Returns the refusal of the first check that fails.
    pub(super) fn authority(
        &self,
        verified: &VerifiedRequest,
        held: &StepInForce,
        here: &Profile,
        now: Timestamp,
    ) -> RequestResult<AllowedRun> {
        let (document, sealed) = (&verified.document, &verified.sealed);
        let (id, proposer) = (
            &document.predicate().proposal,
            &document.predicate().proposer,
        );
        let about = |objection: Objection| Refusal::new(objection.code(), objection).about(id);
        let tokens = Tokens::Sealed(&sealed.tokens, now);
        let handed_in_by = &verified.accepted.handed_in_by;
        let parties = exclusion::judge(proposer, handed_in_by, tokens, &sealed.roster);
        let parties = parties.map_err(|error| about(error.into()))?;
        if document.predicate().by.is_some() && !verified.accepted.stored {
            let detail = "a run under a grant to a token begins with a proposal of this token: use `POST /v1/proposals`";
            return Err(Refusal::new(Code::NotGranted, detail).about(id).into());
        }
        if let Some(digest) = &document.predicate().grant {
            let (grant, covered) =
                self.covered(digest, document, sealed, &parties, Some(here), now)?;
            let terms = grant.document().predicate();
            let rate = terms.rate.as_ref().map(|rate| (rate.uses, rate.seconds));
            let claim = Some(GrantClaim {
                grant: *digest,
                max_uses: terms.max_uses,
                rate,
            });
            let excluded = covered.excluded().clone();
            let (authority, signers) = (Authority::Granted(covered), Vec::new());
            return Ok(AllowedRun {
                authority,
                excluded,
                claim,
                emergency: None,
                signers,
            });
        }
        let revoked = |keyid: &_| self.revoked().has_key(keyid);
        let held = held
            .for_run(document.predicate())
            .map_err(|error| about(error.into()))?;
        let (rules, roster) = (&held.rules, &sealed.roster);
        let count = signature_count::count_unrevoked(
            document.signatures(),
            roster,
            &parties,
            rules,
            now,
            revoked,
        );
        let met = quorum::decide(rules, &count).map_err(|error| about(error.into()))?;
        let rule = held
            .ruling
            .emergency
            .as_ref()
            .filter(|_| document.predicate().emergency.is_some());
        if let Some(WithOrigin { value: rule, .. }) = rule {
            let counts = |name: &Name| !parties.contains(name) && !met.approvers().contains(name);
            self.demand_reviewers(rule, roster, counts, 0, now)
                .map_err(|refusal| refusal.about(id))?;
        }
        let emergency = rule.map(|rule| rule.value.max_unreviewed);
        let authority = Authority::Signed(met);
        let mut signers = Vec::new();
        if !verified.accepted.stored {
            // A person who signed the stored proposal before gets a second message. To prevent this message, each
            // crossing would have to read the stored signatures.
            let counted = document
                .signatures()
                .iter()
                .filter(|signature| authority.keeps(&signature.keyid));
            signers.extend(counted.filter_map(|signature| {
                Some((
                    roster.statement_approver(&signature.keyid)?.0.name.clone(),
                    signature.keyid,
                ))
            }));
        }
        Ok(AllowedRun {
            authority,
            excluded: parties,
            claim: None,
            emergency,
            signers,
        })
    }

    /// Refuses an emergency that nobody could close afterwards, because this emergency would count against the limit
    /// for ever. `counts` returns true for the people whose reviews could count. `approving` is the number of these
    /// people who must sign the emergency first.
    ///
    /// # Errors
    /// Returns `quorum-missing` with the people who could review.
    pub fn demand_reviewers(
        &self,
        rule: &EmergencyRule,
        roster: &TrustedRoster,
        counts: impl Fn(&Name) -> bool,
        approving: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut needed = rule.review.approvals();
        needed.required += approving;
        let rules = QuorumRules::combine(None, &needed);
        let rules = rules.map_err(|error| Refusal::new(error.code(), error))?;
        let eligible = EligibleApprovers::of(roster, |keyid| self.revoked().has_key(keyid));
        let reach = eligible.check_reach(&rules, |name| !counts(name), now, None);
        reach.map_err(|out| {
            let (required, groups, can) = (rule.review.required, joined(&rule.review.from, " or "), out.people.len());
            let detail = match approving {
                0 => format!(
                    "{required} people of {groups} must review the emergency afterwards, but besides its approvers only \
                     {can} can: let other people approve it, or add people to the roster"
                ),
                _ => format!(
                    "policy asks for {approving} approvals before and {required} reviews after the emergency, each by another \
                     person of {groups}. Without the proposer and its owners, there are only {can}: propose it with a token of \
                     other owners, or add people to the roster"
                ),
            };
            Refusal::new(Code::QuorumMissing, detail)
        })
    }

    /// Returns the grant of the log that covers the run of this authorization, with the proof. `here` is the sandbox of the
    /// run's step on this host, if it is known.
    ///
    /// # Errors
    /// Returns `not-granted` without such a grant in the log, or the code of the first reason why the grant does not
    /// cover the run.
    pub fn covered(
        &self,
        digest: &ContentDigest,
        document: &Verified<Authorization>,
        sealed: &Sealed,
        parties: &ExcludedSigners,
        here: Option<&Profile>,
        now: Timestamp,
    ) -> RequestResult<(Arc<PreparedGrant>, Covered)> {
        let about = &document.predicate().proposal;
        let grant = self.logged_grant(digest, sealed)?;
        let proof = self.stands_here(
            &grant,
            sealed,
            now,
            here.map(|here| (&document.predicate().step.reference, here)),
        );
        let proof = proof.map_err(|why| why.0)?;
        let [signature] = document.signatures() else {
            let detail = "a run under a grant has exactly one signature, by the key of the grantee or, for a token, by the boundary";
            return Err(Refusal::new(Code::Malformed, detail)
                .at("/signatures", "expected exactly one")
                .into());
        };
        let covered = covers(&proof, document.predicate(), &signature.keyid, parties)
            .map_err(|e| refused(&e))?;
        if covered.needs_fresh_session()
            && let Some(session) = &document.predicate().session
            && !self.sessions.reserve_new(&session.id, about)
        {
            let detail = "the grant permits only new sessions, and an earlier run used this session: begin a session";
            return Err(Refusal::new(Code::NotGranted, detail)
                .at("/session", "not new")
                .into());
        }
        Ok((grant, covered))
    }

    /// Checks that a grant of the log covers a run before the grantee signs it. Only the session is not compared.
    ///
    /// # Errors
    /// Returns `not-granted` without such a grant, or the code of the first reason why the grant does not cover the
    /// run.
    pub fn check_covered(
        &self,
        digest: &ContentDigest,
        signed: &Authorization,
        sealed: &Sealed,
        parties: &ExcludedSigners,
        now: Timestamp,
    ) -> RequestResult {
        let grant = self.logged_grant(digest, sealed)?;
        let proof = self
            .stands_or_why(&grant, sealed, now)
            .map_err(|why| why.0)?;
        let keyid = self.keyid();
        let signer = grant.document().predicate().grantee.key().unwrap_or(&keyid);
        covers(&proof, signed, signer, parties)
            .map(drop)
            .map_err(|error| refused(&error).into())
    }

    /// Returns a grant of the log. The signatures of a grant are verified once for each seal.
    ///
    /// # Errors
    /// Returns `not-granted` without such a grant, and the errors of [`Self::read_grant`].
    pub fn logged_grant(
        &self,
        digest: &ContentDigest,
        sealed: &Sealed,
    ) -> RequestResult<Arc<PreparedGrant>> {
        if let Some(known) = sealed.grants.get(digest) {
            return Ok(known);
        }
        let stored = self
            .ledger
            .reads()
            .grant_of(digest)?
            .filter(|stored| stored.leaf.is_some());
        let stored = stored.ok_or_else(|| {
            let detail =
                format!("the log has no grant {digest}; ask for a grant, or propose the run");
            Refusal::new(Code::NotGranted, detail)
        })?;
        let grant = Arc::new(self.read_grant(&stored, sealed)?);
        sealed.grants.keep(*digest, &grant);
        Ok(grant)
    }

    /// Returns the verified grant of a row. Signatures of keys that left the roster are no error, but do not count.
    ///
    /// # Errors
    /// Returns `bad-signature` and other codes of an envelope that this boundary can't accept.
    pub fn read_grant(
        &self,
        stored: &StoredGrant,
        sealed: &Sealed,
    ) -> RequestResult<PreparedGrant> {
        let envelope: Envelope =
            json::parse_as(&stored.envelope, stored.envelope.len()).map_err(fault)?;
        if stored.leaf.is_none() {
            return self.verified_draft(&envelope, sealed);
        }
        let signed = Signed::<Grant>::from_envelope(&envelope, Base64::Lenient)?;
        let verified =
            verify_grant(signed, &sealed.roster).map_err(|error| sealed.unverified(error))?;
        PreparedGrant::new(verified).map_err(|error| refused(&error).into())
    }

    /// Verifies the signatures of a draft with the keys of the approvers in force, and leaves out the signatures of
    /// other keys.
    ///
    /// # Errors
    /// Returns `malformed` or `bad-signature`.
    pub fn verified_draft(
        &self,
        envelope: &Envelope,
        sealed: &Sealed,
    ) -> RequestResult<PreparedGrant> {
        let mut known = envelope.clone();
        known
            .signatures
            .retain(|signature| sealed.roster.approver_of(&signature.keyid).is_some());
        let signed = Signed::<Grant>::from_envelope(&known, Base64::Lenient)?;
        let verified = signed.verify_draft(|keyid| sealed.roster.key(keyid));
        let verified = verified.map_err(|error| sealed.unverified(error))?;
        PreparedGrant::new(verified).map_err(|error| refused(&error).into())
    }

    /// Decides whether a grant can be used at this time. An error has the refusal, and the reason of the decision. The
    /// reason is `None` if this host can't run a step of the grant.
    ///
    /// # Errors
    /// Returns the first reason why no run can use the grant.
    pub fn stands_or_why<'g>(
        &self,
        grant: &'g PreparedGrant,
        sealed: &Sealed,
        at: Timestamp,
    ) -> Result<Stands<'g>, Box<(Refusal, Option<GrantError>)>> {
        self.stands_here(grant, sealed, at, None)
    }

    /// Decides as [`Self::stands_or_why`]. `known` is a step with its sandbox on this host, which is not determined again.
    fn stands_here<'g>(
        &self,
        grant: &'g PreparedGrant,
        sealed: &Sealed,
        at: Timestamp,
        known: Option<(&StepRef, &Profile)>,
    ) -> Result<Stands<'g>, Box<(Refusal, Option<GrantError>)>> {
        let of_host = RefCell::new(None);
        let profile = |held: &StepInForce, signed: &Profile| {
            let here = match known.filter(|(step, _)| **step == held.hashed.definition().reference)
            {
                Some((_, here)) => Ok(here.clone()),
                None => profile_on_host(held),
            };
            match here {
                Ok(here) => check_profile(&here, signed).map(drop),
                Err(refusal) => {
                    *of_host.borrow_mut() = Some(refusal);
                    Err(PermissionsError::OtherSandbox {
                        fields: vec!["programs"],
                    })
                }
            }
        };
        let revoked = self.revoked();
        let step = |reference: &_| sealed.step(reference).map(|(_, held)| held);
        let context = GrantContext {
            boundary: &sealed.boundary,
            roster: &sealed.roster,
            tokens: Tokens::Sealed(&sealed.tokens, at),
            step: &step,
            profile: &profile,
            compares: true,
            revoked: revoked.now(),
            at,
        };
        stands(grant, context).map_err(|error| match of_host.take() {
            Some(refusal) => Box::new((refusal, None)),
            None => Box::new((refused(&error), Some(error))),
        })
    }
}

/// Returns the refusal for a grant that is not in force or does not cover a run.
pub fn refused(error: &GrantError) -> Refusal {
    let refusal = Refusal::new(error.code(), error);
    match error {
        GrantError::NotCovered { pointer, why } => refusal.at(pointer.clone(), why.clone()),
        _ => refusal,
    }
}
