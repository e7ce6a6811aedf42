//! The keys of the approver. Only this module of the pages loads and uses keys.
//!
//! The type has no constructor outside of the companion, so the other pages have nothing that can sign.
//!
//! Reviews of proposals that are open, for all pages that sign. This module has no key.
//!
//! Reviews that a page shows. The signature covers the bytes that are held here, and nothing that comes later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::BoundaryTrust;
use client::{
    Client, CommandFailure, CommandResult, GrantReview, KeyArgs, Keys, ProposalReview, ReadReceipt,
    ReviewSubject, RevokingBoundary, RunReview, SaidOfRun, approve, check_open, check_pending,
    check_typed, deny, find_grant, find_subject, now, review_run, revocation, revoke,
    signing as grants,
};
use documents::{GrantId, Name, ProposalId, ReceiptId, locked};
use wire::{GrantView, ProposalView, ReviewedView, RevocationView};

/// The keys of the approver.
pub struct Signing {
    keys: KeyArgs,
    /// One signature at a time: a security key or a passphrase asks for one thing at a time.
    turn: Mutex<()>,
}

/// A grant that was just read.
pub struct MadeGrant {
    /// The review.
    pub review: GrantReview,
    /// The grant, as the boundary reports it.
    pub view: GrantView,
    /// The approver whose key would sign, or why nobody can sign.
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

    /// Returns the option of the keys, for read access.
    pub fn key_options(&self) -> &KeyArgs {
        &self.keys
    }

    /// Loads the keys.
    pub fn keys(&self) -> CommandResult<Keys> {
        self.keys.find()
    }

    /// Reads a proposal and makes its review. A proposal that is over has no review.
    pub fn review(
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

    /// Signs the bytes that the page showed, after all checks were made again, and sends the signature.
    pub fn approve(
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
    pub fn deny(
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
    pub fn freeze(
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
    pub fn grant(
        &self,
        id: &GrantId,
        trust: &BoundaryTrust,
        client: &Client,
    ) -> CommandResult<MadeGrant> {
        let view = find_grant(id.as_str(), client)?;
        let review = GrantReview::make(&view, client, &trust.rosters()?)?;
        trust.check_id(review.terms.boundary.id)?;
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

    /// Signs the grant that the page showed, after all checks were made again, and sends the signature.
    pub fn approve_grant(
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

    /// Signs and sends the revocation of the grant with this digest. Returns the words for the grant too.
    pub fn end_grant(
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

    /// Makes the review of a run with what the person says.
    pub fn review_run(
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
    pub fn sign_review(
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

/// A review that was just made.
pub struct MadeReview {
    /// The review.
    pub review: ProposalReview,
    /// The proposal, as the boundary reports it.
    pub view: ProposalView,
    /// The approver whose key would sign, or why no key can sign.
    pub approver: Result<Name, String>,
}

/// A signature that was made and sent, with the answer of the boundary and what the person did, in words. Before this value,
/// nothing was signed.
pub struct SentSignature<T>(pub CommandResult<T>, pub String);

impl MadeReview {
    /// Reads a proposal and makes its review. A proposal that is over has no review. `approver` says whose key would sign.
    pub fn read(
        (id, trust, client): (&ProposalId, &BoundaryTrust, &Client),
        make: impl FnOnce(&ReviewSubject) -> CommandResult<ProposalReview>,
        approver: impl FnOnce(&ProposalReview) -> CommandResult<Name>,
    ) -> CommandResult<Self> {
        let subject = find_subject(Some(id.as_str()), client)?;
        let ReviewSubject::Proposal(view) = &subject else {
            return Err(odd());
        };
        check_open(view, true)?;
        let review = make(&subject)?;
        if let Some(statement) = &review.found.statement {
            trust.check_id(statement.predicate.boundary.id)?;
        }
        let approver = approver(&review).map_err(|failure| failure.message);
        let ReviewSubject::Proposal(view) = subject else {
            return Err(odd());
        };
        Ok(Self {
            review,
            view: *view,
            approver,
        })
    }
}

/// Reads the proposal again. The boundary must still return the statement that the page showed, and the proposal must
/// still be open. The review is judged again at the present time.
pub fn still_open(
    id: &ProposalId,
    review: ProposalReview,
    stops: bool,
    trust: &BoundaryTrust,
    client: &Client,
) -> CommandResult<ProposalReview> {
    let subject = find_subject(Some(id.as_str()), client)?;
    let ReviewSubject::Proposal(view) = &subject else {
        return Err(odd());
    };
    check_open(view, stops)?;
    if subject.payload()? != review.sources.payload {
        return Err(CommandFailure::refused(format!(
            "nothing was signed: the boundary now returns another statement for {id} than this page showed \
                 ({} instead of {}). Don't trust this boundary, and tell its operator",
            view.digest, review.found.digest
        )));
    }
    let review = review.again(now());
    let statement = review.found.statement.as_ref();
    statement.map_or(Ok(()), |statement| {
        trust.check_id(statement.predicate.boundary.id)
    })?;
    Ok(review)
}

fn odd() -> CommandFailure {
    CommandFailure::refused("nothing was signed: the address names no proposal")
}

/// Longest time between the review and the signature.
pub const LIFE: Duration = Duration::from_secs(600);
/// Maximum number of reviews. A review can hold several MiB. The oldest review stops working first.
const MOST: usize = 32;

/// A review `R` that a page shows, of the document with the id `K`.
pub struct HeldReview<K, R> {
    /// Place of the boundary in the list.
    pub boundary: usize,
    /// The document.
    pub id: K,
    /// Digest in the form of the page.
    pub digest: String,
    /// The review, with the bytes that a signature covers.
    pub review: R,
    /// Time of the review.
    pub made: Instant,
}

/// The reviews of all pages, by the numbers of their forms.
pub struct HeldReviews<K, R>(Mutex<BTreeMap<u64, HeldReview<K, R>>>);

impl<K, R> HeldReview<K, R> {
    pub fn new(boundary: usize, id: K, digest: String, review: R) -> Self {
        Self {
            boundary,
            id,
            digest,
            review,
            made: Instant::now(),
        }
    }
}

impl<K, R> Default for HeldReviews<K, R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, R> HeldReviews<K, R> {
    /// Keeps a review for the form with this number.
    pub fn keep(&self, number: &str, held: HeldReview<K, R>) {
        let Ok(number) = number.parse() else { return };
        let mut all = locked(&self.0);
        let time = held.made;
        all.retain(|_, other| time.saturating_duration_since(other.made) < LIFE);
        while all.len() >= MOST {
            all.pop_first();
        }
        all.insert(number, held);
    }

    /// Takes the review of a form, so that no other request can use it. Returns `None` if the review is too old, or was
    /// used.
    pub fn take(&self, number: &str, now: Instant) -> Option<HeldReview<K, R>> {
        let mut all = locked(&self.0);
        let held = all.remove(&number.parse().ok()?)?;
        (now.saturating_duration_since(held.made) < LIFE).then_some(held)
    }
}

/// Returns the failure for a document that the boundary replaced after a page had shown it.
pub fn replaced(what: &str) -> CommandFailure {
    let words = format!(
        "nothing was signed: the boundary now returns another statement for {what}. Don't trust this boundary, and tell its \
         operator"
    );
    CommandFailure::refused(words)
}

#[cfg(test)]
mod held_tests {
    use super::*;

    fn held(made: Instant) -> HeldReview<u8, &'static str> {
        HeldReview {
            boundary: 0,
            id: 1,
            digest: "sha256:x".to_owned(),
            review: "a review",
            made,
        }
    }

    #[test]
    fn a_review_is_used_once_and_for_ten_minutes() {
        let (reviews, began) = (HeldReviews::default(), Instant::now());
        reviews.keep("1", held(began));
        assert!(
            reviews
                .take("1", began + LIFE - Duration::from_secs(1))
                .is_some()
        );
        assert!(reviews.take("1", began).is_none(), "it was used");
        reviews.keep("2", held(began));
        assert!(reviews.take("2", began + LIFE).is_none(), "it is too old");
        assert!(reviews.take("2", began).is_none(), "it is gone");
        assert!(reviews.take("x", began).is_none());
    }

    #[test]
    fn the_oldest_of_many_reviews_stops_working() {
        let (reviews, began) = (HeldReviews::default(), Instant::now());
        for number in 0..=MOST {
            reviews.keep(&number.to_string(), held(began));
        }
        assert!(reviews.take("0", began).is_none() && reviews.take("1", began).is_some());
        assert!(reviews.take(&MOST.to_string(), began).is_some());
    }
}
