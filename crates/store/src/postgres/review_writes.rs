//! Writes of reviews, and of the runs that need them.

use crate::{
    batch::Writes,
    column_values::observed_number,
    postgres::{
        columns::{id_value, list, signed},
        link::Flight,
    },
};
use documents::ReviewVerdict;

statements! {
    ALL:
    EMERGENCIES = "INSERT INTO owed (proposal, emergency, unknown) SELECT id, true, false FROM unnest($1::bytea[]) AS q(id)";
    /// The run of an emergency has a row from its start on.
    OWED_ENDS = "INSERT INTO owed (proposal, receipt, emergency, unknown, standing) \
        SELECT id, receipt, false, unknown, standing FROM unnest($1::bytea[], $2::bigint[], $3::boolean[], $4::bytea[]) \
        AS q(id, receipt, unknown, standing) ON CONFLICT (proposal) \
        DO UPDATE SET receipt = excluded.receipt, unknown = excluded.unknown, standing = excluded.standing";
    REVIEWS = "INSERT INTO review (leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle) \
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[], $5::boolean[], $6::smallint[], $7::boolean[], \
        $8::boolean[])";
    /// The first review that closes an emergency stays in the row of the run. A batch has at most one review of a run.
    REVIEWED = "UPDATE owed o SET reviewed = coalesce(o.reviewed, q.closes), \
        settled = CASE WHEN q.changes THEN q.settles ELSE o.settled END \
        FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::boolean[]) AS q(id, closes, settles, changes) \
        WHERE o.proposal = q.id";
}

/// Adds emergencies that start, runs that end and need a review, and then the reviews.
pub(super) fn add<'a>(flight: &mut Flight<'a>, writes: &'a Writes<'_>) {
    let emergencies: Vec<_> = writes
        .starts
        .iter()
        .filter(|run| run.emergency)
        .map(|run| id_value(&run.core.id))
        .collect();
    if !emergencies.is_empty() {
        flight.add(EMERGENCIES, values![emergencies]);
    }
    let owed: Vec<_> = writes
        .ends
        .iter()
        .filter_map(|end| Some((end, end.owed.as_ref()?)))
        .collect();
    if !owed.is_empty() {
        flight.add(
            OWED_ENDS,
            values![
                list(&owed, |(end, _)| id_value(end.proposal)),
                list(&owed, |(end, _)| signed(end.receipt)),
                list(&owed, |(_, owed)| owed.unknown),
                list(&owed, |(_, owed)| owed
                    .standing
                    .map(|grant| &grant.as_bytes()[..]))
            ],
        );
    }
    let rows = &writes.reviews;
    if rows.is_empty() {
        return;
    }
    flight.add(
        REVIEWS,
        values![
            list(rows, |row| signed(row.review.leaf)),
            list(rows, |row| signed(row.review.receipt)),
            list(rows, |row| id_value(&row.review.proposal)),
            list(rows, |row| row.review.reviewer.as_str()),
            list(rows, |row| row.review.verdict == ReviewVerdict::Accepted),
            list(rows, |row| row.review.observed.map(observed_number)),
            list(rows, |row| row.review.counts_for_review),
            list(rows, |row| row.review.counts_for_settle)
        ],
    );
    flight.add(
        REVIEWED,
        values![
            list(rows, |row| id_value(&row.review.proposal)),
            list(rows, |row| row.closes.then_some(signed(row.review.leaf))),
            list(rows, |row| row
                .settles
                .unwrap_or(false)
                .then_some(signed(row.review.leaf))),
            list(rows, |row| row.settles.is_some())
        ],
    );
}
