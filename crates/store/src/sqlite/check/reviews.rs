//! Check of reviews, and of the runs that need a review.

use crate::{Look, OwedReview, StoreFault, id_bytes, opened};
use documents::{Authorization, LeafKind, Receipt, ReviewStatement, Statement, sha256};

const OWED: &str =
    "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed";

impl Look<'_> {
    /// Checks that a review of the log has its row, and that the row names the same receipt.
    pub(super) fn review(
        &mut self,
        index: u64,
        subject: [u8; 32],
        statement: &ReviewStatement,
    ) -> Result<(), StoreFault> {
        self.reviews += 1;
        // A value that this program does not write is no error of the disk.
        let row = self
            .one(
                "SELECT leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle FROM review \
                 WHERE leaf = ?1",
                [index],
                |row| row.review(),
            )
            .ok()
            .flatten();
        let Some(row) = row else {
            let what = "the table review has no row for this review that this program can read";
            self.defect(format!("log entry {index}"), what);
            return Ok(());
        };
        let sql = "SELECT l.idx FROM leaf l JOIN closed_at c ON c.receipt = l.idx \
                   WHERE l.idx = ?1 AND l.idx < ?2 AND l.kind = ?3 AND c.id = ?4";
        let values = rusqlite::params![
            row.receipt,
            index,
            LeafKind::Receipt as u8,
            id_bytes(&row.proposal)
        ];
        let place = self.one(sql, values, |row| row.get(0))?;
        let receipt = place
            .map(|index| self.entry_at(index))
            .transpose()?
            .flatten();
        let payload = receipt
            .and_then(|data| opened::<Receipt>(&data).ok())
            .map(|(payload, _)| payload);
        if payload.map(|payload| sha256(&payload)) != Some(subject)
            || (row.verdict, row.observed) != (statement.verdict, statement.observed)
        {
            self.defect(
                format!("table review, row {index}"),
                "the row differs from the review in the log",
            );
        }
        Ok(())
    }

    /// Remembers a run that needs a review, from the payload of its authorization. A run in progress has no receipt.
    pub(super) fn owes(&mut self, receipt: Option<u64>, unknown: bool, payload: &[u8]) {
        let Ok(statement) = Statement::<Authorization>::from_payload(payload) else {
            return;
        };
        let Authorization {
            proposal,
            grant,
            emergency,
            ..
        } = statement.predicate;
        if unknown || emergency.is_some() {
            let grant = grant.filter(|_| unknown);
            let (reviewed, settled, emergency) = (None, None, emergency.is_some());
            let row = OwedReview {
                proposal: proposal.clone(),
                receipt,
                emergency,
                unknown,
                grant,
                reviewed,
                settled,
            };
            self.owed.insert(proposal, row);
        }
    }

    /// Checks the rows of runs that need a review, and the number of reviews.
    pub(super) fn reviews(&mut self) -> Result<(), StoreFault> {
        let mut expected = std::mem::take(&mut self.owed);
        // A value that this program does not write is no error of the disk.
        for (id, row) in self.all(OWED, [], |row| Ok((row.get(0)?, row.owed().ok())))? {
            let Some(row) = row else {
                expected.remove(&id);
                self.defect(
                    format!("table owed, row {id}"),
                    "the row has a value that this program does not write",
                );
                continue;
            };
            let place = format!("table owed, row {}", row.proposal);
            let of_log = OwedReview {
                reviewed: None,
                settled: None,
                ..row.clone()
            };
            if expected.remove(&row.proposal) != Some(of_log) {
                self.defect(
                    &place,
                    "the row differs from the signed documents of the run",
                );
            }
            for (column, leaf) in [("reviewed", row.reviewed), ("settled", row.settled)] {
                let Some(leaf) = leaf else { continue };
                let sql = "SELECT 1 FROM review WHERE leaf = ?1 AND receipt = ?2";
                if self
                    .one(sql, rusqlite::params![leaf, row.receipt], |_| Ok(()))?
                    .is_none()
                {
                    let what = format!(
                        "the column {column} names log entry {leaf}, which is no review of the run"
                    );
                    self.defect(&place, what);
                }
            }
        }
        for proposal in expected.into_keys() {
            self.defect(
                "table owed",
                format!("the run {proposal} needs a review, but has no row"),
            );
        }
        self.count(
            "review",
            self.reviews,
            "the number of reviews in the log is",
        )
    }
}
