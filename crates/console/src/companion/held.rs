//! Reviews that a page shows. The signature covers the bytes that are held here, and nothing that comes later.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use client::CommandFailure;
use documents::locked;

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
