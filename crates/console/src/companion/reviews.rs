//! Reviews that a page shows, until they are signed, denied or too old. This module has no key.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::BoundaryTrust;
use client::{
    Client, CommandFailure, CommandResult, GrantReview, ProposalReview, ReviewSubject, check_open,
    fail_refused, find_grant, find_open, now,
};
use documents::{GrantId, Name, ProposalId, locked};
use wire::{GrantView, ProposalView};

/// A review that was just made.
pub struct MadeReview {
    /// The review.
    pub review: ProposalReview,
    /// The proposal, as the boundary reports it.
    pub view: ProposalView,
    /// The approver whose key would sign, or the reason why no key can sign.
    pub approver: Result<Name, String>,
}

/// The boundary's answer to a signature that was made and sent, and a sentence about what the person did. A function
/// that returns an error in place of this value has signed nothing.
pub struct SentSignature<T>(pub CommandResult<T>, pub String);

impl MadeReview {
    /// Reads a proposal and makes its review. A proposal that is over has no review. `approver` says whose key would
    /// sign.
    pub fn read(
        (id, trust, client): (&ProposalId, &BoundaryTrust, &Client),
        make: impl FnOnce(&ReviewSubject) -> CommandResult<ProposalReview>,
        approver: impl FnOnce(&ProposalReview) -> CommandResult<Name>,
    ) -> CommandResult<Self> {
        let view = find_open(Some(id.as_str()), client)?;
        check_open(&view, true)?;
        let review = make(&ReviewSubject::Proposal(Box::new(view.clone())))?;
        if let Some(statement) = &review.found.statement {
            trust.check_id(statement.predicate.boundary.id)?;
        }
        let approver = approver(&review).map_err(|failure| failure.message);
        Ok(Self {
            review,
            view,
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
    let view = find_open(Some(id.as_str()), client)?;
    check_open(&view, stops)?;
    let digest = view.digest;
    if ReviewSubject::Proposal(Box::new(view)).payload()? != review.sources.payload {
        return fail_refused(format!(
            "nothing was signed: the boundary now returns another statement for {id} than this page showed \
                 ({} instead of {}). Don't trust this boundary, and tell its operator",
            digest, review.found.digest
        ));
    }
    let review = review.again(now());
    let statement = review.found.statement.as_ref();
    statement.map_or(Ok(()), |statement| {
        trust.check_id(statement.predicate.boundary.id)
    })?;
    Ok(review)
}

/// Reads a grant and makes its review.
pub fn read_grant(
    id: &GrantId,
    trust: &BoundaryTrust,
    client: &Client,
) -> CommandResult<(GrantView, GrantReview)> {
    let view = find_grant(id.as_str(), client)?;
    let review = GrantReview::make(&view, client, &trust.rosters()?)?;
    trust.check_id(review.terms.boundary.id)?;
    Ok((view, review))
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
    /// Digest that the form of the page contains.
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
mod tests {
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
