//! The keys of the approver. Only this module of the pages loads and uses keys.
//!
//! The type has no constructor outside of the companion, so the other pages have nothing that can sign.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use client::commands::clock::now;
use client::commands::review_subject::find_subject;
use client::commands::revocation::RevokingBoundary;
use client::commands::{approve, deny};
use client::home::keys::{KeyArgs, Keys};
use client::remote::client::Client;
use client::review::gather::ReviewSubject;
use client::review::proposal_review::{ProposalReview, check_open};
use client::terminal::exit::{CommandFailure, Exit};
use documents::record::ident::{Name, ProposalId};
use wire::api::view::{ProposalStatus, ProposalView, RevocationView};

use crate::companion::held::HeldReview;
use crate::proposal::boundary_trust::BoundaryTrust;

/// The keys of the approver.
#[derive(Debug)]
pub(super) struct Signing {
    keys: KeyArgs,
    /// One signature at a time: a security key or a passphrase asks for one thing at a time.
    turn: Mutex<()>,
}

/// A review that was just made.
#[derive(Debug)]
pub(super) struct MadeReview {
    /// The review.
    pub(super) review: ProposalReview,
    /// The proposal, as the boundary reports it.
    pub(super) view: ProposalView,
    /// The approver whose key would sign, or why no key can sign.
    pub(super) approver: Result<Name, String>,
}

/// A signature that was made and sent, with the answer of the boundary. Before this value, nothing was signed.
#[derive(Debug)]
pub(super) struct SentSignature(pub(super) Result<ProposalView, CommandFailure>);

impl Signing {
    /// Takes the files of the keys. Without a file, the keys of the configuration directory and of SSH are used.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        let keys = KeyArgs { key: files.first().cloned(), more: files.iter().skip(1).cloned().collect() };
        Self { keys, turn: Mutex::default() }
    }

    /// Returns the option of the keys, for read access.
    pub(super) const fn key_options(&self) -> &KeyArgs {
        &self.keys
    }

    /// Loads the keys.
    pub(super) fn keys(&self) -> Result<Keys, CommandFailure> {
        self.keys.find()
    }

    /// Reads a proposal and makes its review. A proposal that is over has no review.
    pub(super) fn review(
        &self,
        id: &ProposalId,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> Result<MadeReview, CommandFailure> {
        let subject = find_subject(Some(id.as_str()), client)?;
        let ReviewSubject::Proposal(view) = &subject else { return Err(odd()) };
        check_open(view, is_stoppable(view.status))?;
        let keys = self.keys().unwrap_or_default();
        let review = ProposalReview::make(&subject, client, trust.options(), &keys, now())?;
        if let Some(statement) = &review.found.statement {
            trust.check_id(statement.predicate.boundary.id)?;
        }
        let approver = approve::signer_of(&review, &keys).map(|(_, name)| name).map_err(|failure| failure.message);
        let ReviewSubject::Proposal(view) = subject else { return Err(odd()) };
        Ok(MadeReview { review, view: *view, approver })
    }

    /// Signs the bytes that the page showed, after all checks were made again, and sends the signature.
    pub(super) fn approve(
        &self,
        held: HeldReview,
        typed: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> Result<SentSignature, CommandFailure> {
        let (id, review) = self.still_open(held, false, trust, client)?;
        let sound = review.check_sound()?;
        let keys = self.keys()?;
        let (signer, _) = approve::signer_of(&review, &keys)?;
        let consent = approve::AskedText::of(&review).check(typed, sound)?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = approve::sign(&review, consent, signer)?;
        drop(turn);
        Ok(SentSignature(approve::hand_in(client, &id, signature)))
    }

    /// Signs a denial of the statement that the page showed, and sends it.
    pub(super) fn deny(
        &self,
        held: HeldReview,
        reason: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> Result<SentSignature, CommandFailure> {
        let (_, review) = self.still_open(held, true, trust, client)?;
        let keys = self.keys()?;
        let roster = review.sources.roster.roster();
        let signer = keys.preferred(|key| roster.is_some_and(|roster| roster.approver_of(&key.keyid()).is_some()))?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let denial = deny::sign(&review, reason, signer)?;
        drop(turn);
        Ok(SentSignature(deny::send(&review, &denial, client)))
    }

    /// Signs and sends the freeze of the boundary.
    pub(super) fn freeze(
        &self,
        reason: &str,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> Result<RevocationView, CommandFailure> {
        let boundary = RevokingBoundary::read(client)?;
        trust.check_id(boundary.boundary.id)?;
        let keys = self.keys()?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        boundary.freeze(reason, &keys)
    }

    /// Reads the proposal again. The boundary must still return the statement that the page showed, and the proposal must
    /// still be open. The review is judged again at the present time.
    fn still_open(
        &self,
        held: HeldReview,
        stops: bool,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> Result<(ProposalId, ProposalReview), CommandFailure> {
        let HeldReview { id, review, .. } = held;
        let subject = find_subject(Some(id.as_str()), client)?;
        let ReviewSubject::Proposal(view) = &subject else { return Err(odd()) };
        check_open(view, stops && is_stoppable(view.status))?;
        if subject.payload()? != review.sources.payload {
            return Err(CommandFailure::new(
                Exit::Refused,
                format!(
                    "nothing was signed: the boundary now returns another statement for {id} than this page showed \
                     ({} instead of {}). Don't trust this boundary, and tell its operator",
                    view.digest, review.found.digest
                ),
            ));
        }
        let review = review.again(now());
        let statement = review.found.statement.as_ref();
        statement.map_or(Ok(()), |statement| trust.check_id(statement.predicate.boundary.id))?;
        Ok((id, review))
    }
}

/// Returns true if a denial stops a proposal of this status that no signature can change any more.
const fn is_stoppable(status: ProposalStatus) -> bool {
    matches!(status, ProposalStatus::Approved | ProposalStatus::Running)
}

fn odd() -> CommandFailure {
    CommandFailure::new(Exit::Refused, "nothing was signed: the address names no proposal")
}
