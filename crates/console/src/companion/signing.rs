//! The keys of the approver. Only this module of the pages loads and uses keys.
//!
//! [`Signing`] can be made only inside the companion, so no other page can sign. A signature covers the bytes of the
//! review that the page showed.

use std::path::PathBuf;
use std::sync::Mutex;

use crate::{
    BoundaryTrust, HeldReview, MadeReview, SentSignature, companion::reviews::read_grant,
    companion::reviews::replaced, still_open,
};
use client::{
    Client, CommandResult, GrantReview, KeyArgs, Keys, ProposalReview, ReadReceipt,
    RevokingBoundary, RunReview, SaidOfRun, approve, check_pending, check_typed, deny, find_grant,
    now, review_run, revocation, revoke, signing as grants,
};
use documents::{GrantId, Name, ProposalId, ReceiptId, locked};
use wire::{GrantView, ProposalView, ReviewedView, RevocationView};

/// The keys of the approver.
pub struct Signing {
    pub(super) keys: KeyArgs,
    /// Held during a signature, because a security key or a passphrase prompt can handle only one at a time.
    turn: Mutex<()>,
}

/// A grant that was just read.
pub struct MadeGrant {
    /// The review.
    pub review: GrantReview,
    /// The grant, as the boundary reports it.
    pub view: GrantView,
    /// The approver whose key would sign, or the reason why no key can sign.
    pub approver: Result<Name, String>,
}

impl Signing {
    /// Takes the files of the keys. Without a file, the keys of the configuration directory and of SSH are used.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        let keys = KeyArgs {
            key: files.first().cloned(),
            more: files.iter().skip(1).cloned().collect(),
        };
        Self {
            keys,
            turn: Mutex::default(),
        }
    }

    /// Loads the keys.
    pub(super) fn keys(&self) -> CommandResult<Keys> {
        self.keys.find()
    }

    /// Reads a proposal and makes its review. A proposal that is over has no review.
    pub(super) fn review(
        &self,
        id: &ProposalId,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<MadeReview> {
        let keys = self.keys().unwrap_or_default();
        MadeReview::read(
            (id, trust, client),
            |subject| ProposalReview::make(subject, client, trust.options(), &keys.ids(), now()),
            |review| {
                keys.of_approver(review.sources.roster.trusted())
                    .map(|(_, name)| name)
            },
        )
    }

    /// Repeats all checks, then signs the bytes that the page showed, and sends the signature.
    pub(super) fn approve(
        &self,
        held: HeldReview<ProposalId, ProposalReview>,
        typed: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<SentSignature<ProposalView>> {
        let HeldReview { id, review, .. } = held;
        let review = still_open(&id, review, false, trust, client)?;
        let sound = review.check_sound()?;
        let keys = self.keys()?;
        let (signer, name) = keys.of_approver(review.sources.roster.trusted())?;
        let consent = approve::AskedText::of(&review).check(typed, sound)?;
        let turn = locked(&self.turn);
        let signature = approve::sign(&review, consent, signer)?;
        drop(turn);
        Ok(SentSignature(
            approve::hand_in(client, &id, signature),
            format!("You signed as {name}"),
        ))
    }

    /// Signs a denial of the statement that the page showed, and sends it.
    pub(super) fn deny(
        &self,
        held: HeldReview<ProposalId, ProposalReview>,
        reason: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<SentSignature<ProposalView>> {
        let review = still_open(&held.id, held.review, true, trust, client)?;
        let keys = self.keys()?;
        let roster = review.sources.roster.roster();
        let signer = keys.preferred(|key| {
            roster.is_some_and(|roster| roster.approver_of(&key.keyid()).is_some())
        })?;
        let turn = locked(&self.turn);
        let denial = deny::sign(&review, reason, signer)?;
        drop(turn);
        let name = roster
            .and_then(|roster| roster.approver_of(&signer.key().keyid()))
            .map_or("", |(found, _)| found.name.as_str());
        Ok(SentSignature(
            deny::send(&review, &denial, client),
            format!("You denied as {name}"),
        ))
    }

    /// Signs and sends the freeze of the boundary.
    pub(super) fn freeze(
        &self,
        reason: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<RevocationView> {
        let boundary = RevokingBoundary::read(client)?;
        trust.check_id(boundary.boundary.id)?;
        let keys = self.keys()?;
        let _turn = locked(&self.turn);
        boundary.freeze(reason, &keys)
    }

    /// Reads a grant and makes its review.
    pub(super) fn grant(
        &self,
        id: &GrantId,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<MadeGrant> {
        let (view, review) = read_grant(id, trust, client)?;
        let can_sign = check_pending(&view)
            .and_then(|()| review.check_sound())
            .and_then(|()| self.keys());
        let approver =
            can_sign.and_then(|keys| keys.of_approver(review.roster()).map(|(_, name)| name));
        Ok(MadeGrant {
            review,
            view,
            approver: approver.map_err(|failure| failure.message),
        })
    }

    /// Repeats all checks, then signs the grant that the page showed, and sends the signature.
    pub(super) fn approve_grant(
        &self,
        held: HeldReview<GrantId, GrantReview>,
        typed: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<SentSignature<GrantView>> {
        let MadeGrant { review, view, .. } = self.grant(&held.id, trust, client)?;
        if review.payload != held.review.payload {
            return Err(replaced(held.id.as_str()));
        }
        check_pending(&view)?;
        review.check_sound()?;
        let keys = self.keys()?;
        let (signer, name) = keys.of_approver(review.roster())?;
        let consent = check_typed(&held.review, typed)?;
        let turn = locked(&self.turn);
        let signature = grants::sign(&held.review, consent, signer)?;
        drop(turn);
        Ok(SentSignature(
            grants::hand_in(client, &held.id, signature),
            format!("You signed as {name}"),
        ))
    }

    /// Signs and sends the revocation of the grant with this digest. Also returns the words for the grant.
    pub(super) fn end_grant(
        &self,
        id: &GrantId,
        digest: &str,
        reason: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<(RevocationView, String)> {
        let view = find_grant(id.as_str(), client)?;
        if view.digest.to_string() != digest {
            return Err(replaced(id.as_str()));
        }
        let keys = self.keys()?;
        let _turn = locked(&self.turn);
        let signed = revoke::sign_end(&view, reason, &keys, client, |boundary| {
            trust.check_id(boundary.id)
        })?;
        Ok((
            revocation::send(client, &signed)?,
            revoke::grant_words(&view),
        ))
    }

    /// Creates the review of a run from the verdict and the words of the person.
    pub(super) fn review_run(
        &self,
        run: ReadReceipt,
        said: &SaidOfRun,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<RunReview> {
        trust.check_id(run.signed.boundary.id)?;
        RunReview::make(run, said, client, &self.keys()?)
    }

    /// Signs the review of a run that the page showed, and sends it.
    pub(super) fn sign_review(
        &self,
        held: &HeldReview<ReceiptId, RunReview>,
        client: &Client,
    ) -> CommandResult<SentSignature<ReviewedView>> {
        let keys = self.keys()?;
        let turn = locked(&self.turn);
        let signed = held.review.sign(&keys)?;
        drop(turn);
        Ok(SentSignature(
            review_run::send(client, &held.id, &signed),
            String::new(),
        ))
    }
}
