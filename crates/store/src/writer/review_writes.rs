//! Writes of reviews.

use crate::{
    Batch, EntryEvent, EventWrite, LeafRef, ReviewRow, ReviewWrite, StoredReview, WriteStop, Writer,
};
use documents::LeafKind;

impl Writer {
    /// Appends a review. The caller has already decided what the review changes.
    pub(super) fn review(
        &mut self,
        batch: &mut Batch<'_>,
        write: &ReviewWrite,
    ) -> Result<LeafRef, WriteStop> {
        if self.head.seal.is_none() {
            return Err(WriteStop::NoSeal);
        }
        // A seal or a revocation can end the right of the reviewer.
        // A later time in the log can end the membership of the reviewer.
        // Another review raises the version, and can change what this review closes or settles.
        let is_later = write.version != self.head.version || self.head.last_at > write.at;
        if write.checked != self.checked() || is_later {
            return Err(WriteStop::Moved);
        }
        self.check_leaf(&write.envelope, None)?;
        let leaf = self.append(batch, LeafKind::Review, write.envelope.clone());
        let ReviewWrite {
            review,
            closes,
            settles,
            ..
        } = write;
        if *closes {
            self.emergencies.remove(&review.proposal);
        }
        let review = StoredReview {
            leaf: leaf.index,
            ..review.clone()
        };
        batch.writes.reviews.push(ReviewRow {
            review,
            closes: *closes,
            settles: *settles,
        });
        batch.event(write.at, EventWrite::Entry(EntryEvent::Review, leaf.index));
        self.head.version += 1;
        Ok(leaf)
    }
}
