//! Signatures that arrive for proposals.

use std::{sync::Arc, time::Duration};

use crate::{Caller, Proposals, fail, fail_at, proposals::advance_refused, verified_of};
use crossing::{CrossingRequest, Permit, Receipted, Refusal, RequestResult, Sealed, Stopped};
use documents::{
    Authorization, AuthorizationDigest, Base64, Code, ContentDigest, Envelope, EnvelopeSignature,
    InputDigest, KeyId, ProposalId, Scope, Signed, Statement, Verified, VerifiedSignature,
};
use store::{Proposal, Signature};
use verdict::{NotCounted, quorum};
use wire::{ProposalStatus, ProposalView};

/// Maximum time that a call which signs a use of a grant waits for the decision of the crossing.
const MOST_DECIDING: Duration = Duration::from_secs(5);

impl Proposals {
    /// Accepts signatures over the statement of a proposal. If the signatures complete the quorum, the run starts.
    ///
    /// # Errors
    /// Returns `unknown-signer`, `bad-signature`, `self-approval`, `not-permitted-signer`, or the refusal that `charge`
    /// returns for the key of a new, verified signature. After an error, the boundary stores no signature of this call.
    pub async fn sign(
        self: &Arc<Self>,
        id: &ProposalId,
        signatures: &[EnvelopeSignature],
        charge: impl Fn(&KeyId) -> RequestResult + Send + Sync,
    ) -> RequestResult<ProposalView> {
        let row = self.row(id)?;
        let payload = self.payload(id)?;
        let sealed = self.crossing.state();
        let signed = Signed::<Authorization>::from_parts(&payload, signatures, Base64::Lenient)?;
        if signed.signature_count() == 0 {
            return fail_at(
                Code::Malformed,
                "send at least one signature",
                "/signatures",
                "empty",
            );
        }
        let document = signed
            .verify(|keyid| sealed.statement_key(keyid))
            .map_err(|error| sealed.unverified(error))?;
        // After this check, the caller is known to hold a key of the roster, so refusals are logged.
        let outcome = match &document.predicate().grant {
            Some(grant) => self.sign_use(&row, grant, &document, &sealed, charge).await,
            None => {
                self.sign_verified(
                    &row,
                    document.predicate(),
                    document.signatures(),
                    &sealed,
                    charge,
                )
                .await
            }
        };
        if let Err(stopped) = &outcome {
            let principal = document
                .signatures()
                .first()
                .map(|signature| signature.keyid.to_string());
            self.refusals
                .note_refusal(principal.as_deref(), stopped, InputDigest::of(&payload));
        }
        let view = outcome?;
        if document.predicate().grant.is_some() {
            self.decided(id).await
        } else {
            Ok(view)
        }
    }

    /// Waits until the run of a grant has begun or was refused. Otherwise, an answer could say `approved` about a use
    /// that is then refused.
    ///
    /// # Errors
    /// Returns the refusal if the crossing refuses the run. The refusal `rate-limited` is no error, but part of the
    /// returned view, because the same call never succeeds later.
    async fn decided(&self, id: &ProposalId) -> RequestResult<ProposalView> {
        let view = self.view(
            &self
                .after(id, ProposalStatus::Approved, MOST_DECIDING)
                .await?,
        )?;
        match &view.refusal {
            Some(why)
                if view.status == ProposalStatus::Refused && why.code != Code::RateLimited =>
            {
                Err(Refusal::new(why.code, why.detail.clone()).about(id).into())
            }
            _ => Ok(view),
        }
    }

    pub async fn sign_verified(
        self: &Arc<Self>,
        row: &Proposal,
        authorization: &Authorization,
        new: &[VerifiedSignature],
        sealed: &Arc<Sealed>,
        charge: impl Fn(&KeyId) -> RequestResult + Send + Sync,
    ) -> RequestResult<ProposalView> {
        let id = &row.core.id;
        let now = self.crossing.now();
        let _ = self.crossing.demand_clock()?;
        self.demand_waiting(row, now)?;
        let (held, excluded) = self.quorum_of(sealed, authorization)?;
        let stored = self.ledger.signatures(id)?;
        let all: Vec<_> = stored
            .iter()
            .map(verified_of)
            .chain(new.iter().cloned())
            .collect();
        let count = self.counted(&all, &held, &excluded, sealed);
        let known = |signature: &VerifiedSignature| {
            stored.iter().any(|stored| stored.keyid == signature.keyid)
        };
        if let Some(uncounted) = count
            .uncounted()
            .iter()
            .find(|one| new.iter().any(|new| new.keyid == one.keyid && !known(new)))
        {
            let code = if uncounted.why == NotCounted::Excluded {
                Code::SelfApproval
            } else {
                Code::NotPermittedSigner
            };
            return Err(Refusal::new(code, uncounted.to_string()).about(id).into());
        }
        let fresh: Vec<_> = new
            .iter()
            .filter(|signature| !known(signature))
            .filter_map(|signature| {
                let person = sealed
                    .roster
                    .statement_approver(&signature.keyid)?
                    .0
                    .name
                    .clone();
                Some(Signature {
                    keyid: signature.keyid,
                    person,
                    presence: signature.presence,
                    sig: signature.sig.clone(),
                    at: now,
                })
            })
            .collect();
        if !fresh.is_empty() {
            // Charge a key only for its own new signatures. Otherwise another caller could use up the limit of the key
            // with invalid or repeated signatures.
            fresh
                .iter()
                .try_for_each(|signature| charge(&signature.keyid))?;
            self.ledger
                .sign(id, fresh)
                .await
                .map_err(|stop| advance_refused(stop, id))?;
            self.changes.notify(id);
        }
        if quorum::progress(&held.rules, &count).missing == 0 {
            self.start_approved(id).await?;
        }
        self.view(&self.row(id)?)
    }

    /// Signs a run that the caller `asked` for under a grant to its token, with the key of the boundary, and starts it.
    /// The call may repeat the call that made the proposal `id`.
    ///
    /// # Errors
    /// Returns `nonce-replayed` if the stored proposal is for another run, and the errors of [`Self::sign`].
    pub async fn sign_for_token(
        self: &Arc<Self>,
        id: &ProposalId,
        mut asked: Authorization,
    ) -> RequestResult<ProposalView> {
        // A database can state any run, so the boundary signs only what this call asked for.
        let stored = self.statement(id)?.predicate;
        if asked.proposal != *id {
            asked = Authorization {
                proposal: id.clone(),
                issued_at: stored.issued_at,
                not_before: stored.not_before,
                ..asked
            };
        }
        let (true, Some(grant)) = (asked == stored, asked.grant) else {
            let detail = "the stored proposal with this nonce has another run, reason or ID token, or something has changed since \
                 then: make a new nonce";
            return Err(Refusal::new(Code::NonceReplayed, detail)
                .about(id)
                .at("/nonce", "used by another proposal")
                .into());
        };
        let (row, sealed) = (self.row(id)?, self.crossing.state());
        let (payload, signature) = self.crossing.sign_token_use(asked)?;
        let signed = Signed::<Authorization>::from_parts(&payload, &[signature], Base64::Lenient)?;
        let document = signed
            .verify(|keyid| sealed.statement_key(keyid))
            .map_err(|error| sealed.unverified(error))?;
        let used = self.sign_use(&row, &grant, &document, &sealed, |_| Ok(()));
        match used.await {
            // A repeated call may come while the first call starts the run.
            Err(Stopped::Refused(refusal)) if refusal.code == Code::WrongState => {}
            Err(stopped) => return Err(stopped),
            Ok(_) => {}
        }
        self.decided(id).await
    }

    /// Accepts the signature of the grantee over a run under a standing grant, and starts the run.
    async fn sign_use(
        self: &Arc<Self>,
        row: &Proposal,
        grant: &ContentDigest,
        document: &Verified<Authorization>,
        sealed: &Arc<Sealed>,
        charge: impl Fn(&KeyId) -> RequestResult + Send + Sync,
    ) -> RequestResult<ProposalView> {
        let (id, now, authorization) = (&row.core.id, self.crossing.now(), document.predicate());
        let _ = self.crossing.demand_clock()?;
        self.demand_waiting(row, now)?;
        let (_, parties) = self.quorum_of(sealed, authorization)?;
        let _ = self
            .crossing
            .covered(grant, document, sealed, &parties, None, now)?;
        let stored = self.ledger.signatures(id)?;
        // As for approvers, a repeated signature is not charged.
        let fresh = |signature: &&VerifiedSignature| {
            stored.iter().all(|stored| stored.keyid != signature.keyid)
        };
        for signature in document.signatures().iter().filter(fresh) {
            charge(&signature.keyid)?;
            let signature = Signature {
                keyid: signature.keyid,
                person: authorization.proposer.clone(),
                presence: signature.presence,
                sig: signature.sig.clone(),
                at: now,
            };
            self.ledger
                .sign_use(id, signature)
                .await
                .map_err(|stop| advance_refused(stop, id))?;
        }
        self.changes.notify(id);
        self.start_approved(id).await?;
        self.view(&self.row(id)?)
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
    ) -> RequestResult<Receipted> {
        let handed_in_by = caller.demand(Scope::Propose, None)?.clone();
        self.check_job(caller, &envelope)?;
        let payload = envelope.payload.clone();
        let request = CrossingRequest {
            envelope,
            handed_in_by: handed_in_by.clone(),
            stored: false,
        };
        let done = self.crossing.cross(request, Some(permit)).await;
        if let Err(stopped) = &done
            && let Ok(payload) = Base64::Lenient.decode("", &payload)
        {
            self.refusals.note_refusal(
                Some(handed_in_by.as_str()),
                stopped,
                InputDigest::of(&payload),
            );
        }
        done
    }

    /// Checks that an envelope agrees with the caller's ID token. For a token without a secret, also checks that one of
    /// its jobs proposed the statement. Otherwise, approvers could sign a commit that no issuer stated.
    fn check_job(&self, caller: &Caller, envelope: &Envelope) -> RequestResult {
        let sealed = self.crossing.state();
        let mut bound = sealed
            .tokens
            .iter()
            .filter(|token| token.oidc.is_some())
            .peekable();
        if bound.peek().is_none() {
            return Ok(());
        }
        // The crossing refuses an envelope that can't be read.
        let Ok(payload) = Base64::Lenient.decode("", &envelope.payload) else {
            return Ok(());
        };
        let Ok(statement) = Statement::<Authorization>::from_payload(&payload) else {
            return Ok(());
        };
        let signed = statement.predicate;
        caller.job_of(&signed.params)?;
        if caller.name() == Some(&signed.proposer)
            || bound.all(|token| token.name != signed.proposer)
        {
            return Ok(());
        }
        let stored = self.ledger.proposal(&signed.proposal)?;
        if stored.is_some_and(|row| row.core.digest == AuthorizationDigest::of(&payload)) {
            return Ok(());
        }
        fail(
            Code::Forbidden,
            format!(
                "the token {} has no secret, so only its jobs propose in its name: let a job propose (`countersign propose --oidc`)",
                signed.proposer
            ),
        )
    }
}
