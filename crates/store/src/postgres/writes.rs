//! The second flight of a batch: writes all rows, and commits.

use std::collections::BTreeMap;

use tokio_postgres::{Error, Row, error::DbError};

use crate::{
    BatchQuestion, BatchRows, Commit, EachAnswer, Fields, Link, OpenBatch, StoreFault, StoreResult,
    Writes, batch_rows,
    postgres::{
        link::StatementValues,
        settings::fault,
        statements::{arrays, boxed},
    },
};
use documents::Hash;

const DURING: &str = "writing a batch";

statements! {
    ALL:
    /// A new epoch ends all approvals, including those whose consumption the database may have lost.
    NEW_EPOCH = "UPDATE state SET lost = NULL WHERE one = 1";
    BATCH = "INSERT INTO batch (n, term, node, id) VALUES ($1, $2, $3, $4)";
    COMMIT = "COMMIT";
}

/// The row of the current batch.
pub struct BatchRow {
    pub(super) number: i64,
    pub(super) term: i64,
    pub(super) node: String,
    pub(super) id: Vec<u8>,
}

impl OpenBatch for Link {
    fn ask(
        &self,
        during: &'static str,
        questions: &[BatchQuestion<'_>],
        each: EachAnswer<'_>,
    ) -> StoreResult {
        let flight: Vec<_> = questions
            .iter()
            .map(|(statement, values)| (statement.postgres, boxed(values)))
            .collect();
        for (number, rows) in self.rows(during, &flight)?.iter().enumerate() {
            for row in rows {
                each(number, &Fields::new(during, row))?;
            }
        }
        Ok(())
    }

    fn write(&self, during: &'static str, rows: &[BatchRows<'_>]) -> StoreResult<Vec<usize>> {
        let answers = self.rows(during, &flight(rows))?;
        Ok(answers.iter().map(Vec::len).collect())
    }
}

/// Returns one statement for each list of rows.
fn flight<'a>(rows: &'a [BatchRows<'_>]) -> Vec<StatementValues<'a>> {
    rows.iter()
        .map(|rows| (rows.statement.postgres, arrays(&rows.cells, rows.width)))
        .collect()
}

/// Sends all rows, the row of the batch and the commit together.
pub fn commit(link: &Link, writes: &Writes<'_>, batch: &BatchRow) -> Commit {
    if let Some(fault) = forked_size(writes) {
        return Commit::NotDone(fault);
    }
    let rows = batch_rows::of(writes, &batch.node);
    let mut flight = flight(&rows);
    if writes.new_epoch {
        flight.push((NEW_EPOCH, values![]));
    }
    flight.push((
        BATCH,
        values![batch.number, batch.term, &batch.node, &batch.id],
    ));
    flight.push((COMMIT, values![]));
    if let Err(fault) = link.prepare(DURING, flight.iter().map(|(sql, _)| *sql)) {
        return Commit::NotDone(fault);
    }
    link.take_warnings();
    match link.send(DURING, &flight) {
        // The statements were sent, and no answer came in time.
        Err(_) => Commit::Unknown,
        Ok(answers) => judge(link, flight.len(), !writes.leaves.is_empty(), answers),
    }
}

/// Decides from the answers whether the batch is durable.
fn judge(
    link: &Link,
    statements: usize,
    has_leaves: bool,
    mut answers: Vec<Result<Vec<Row>, Error>>,
) -> Commit {
    // If the answer to the COMMIT is missing, an earlier statement failed before it was sent, so the COMMIT was not
    // sent either.
    let sent = answers.len() == statements;
    let committed = if sent { answers.pop() } else { None };
    if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        // The server undoes a transaction with a failed statement, even if a COMMIT follows.
        let undone = error.as_db_error().is_some() || !sent;
        return if undone {
            Commit::NotDone(write_fault(error))
        } else {
            Commit::Unknown
        };
    }
    // A warning can mean that no replica has the batch.
    if !matches!(committed, Some(Ok(_))) || !link.take_warnings().is_empty() {
        return Commit::Unknown;
    }
    match answers.first() {
        // The leaves are the first rows.
        Some(Ok(rows)) if has_leaves => Commit::Done(returned(rows)),
        _ => Commit::Done(Vec::new()),
    }
}

fn write_fault(error: &Error) -> StoreFault {
    let of_root =
        |error: &DbError| error.table() == Some("checkpoint") && error.column() == Some("root");
    if error.as_db_error().is_some_and(of_root) {
        return StoreFault::broken(
            "keeping checkpoints",
            "the log already has another root hash at the size of a checkpoint, so this batch would fork the log",
        );
    }
    fault(DURING, error)
}

/// Returns a fault if two checkpoints of the batch have the same size and different roots.
fn forked_size(writes: &Writes<'_>) -> Option<StoreFault> {
    let mut roots = BTreeMap::new();
    let second = writes
        .checkpoints
        .iter()
        .find(|row| *roots.entry(row.size).or_insert(row.root) != row.root)?;
    Some(StoreFault::forked(second.size))
}

/// Returns the stored hashes in the order of the leaves. The writer compares the hashes, so an unreadable row is left
/// out.
fn returned(rows: &[Row]) -> Vec<Hash> {
    let read = |row: &Row| Fields::new(DURING, row).pair::<u64, Hash>().ok();
    let mut hashes: Vec<_> = rows.iter().filter_map(read).collect();
    hashes.sort_unstable();
    hashes.into_iter().map(|(_, hash)| hash).collect()
}

/// Returns a new id for a batch.
pub fn batch_id() -> StoreResult<Vec<u8>> {
    let mut id = vec![0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreFault::broken("numbering a batch", error))?;
    Ok(id)
}
