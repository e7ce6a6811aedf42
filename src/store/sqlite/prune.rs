//! Finds nonces that can be deleted. The search reads the log, because a person can change the rows by hand.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::SweepResult;
use crate::store::column_values::{place, unplace};
use crate::store::stored_leaf::opened;
use documents::record::consumption::{Consumption, Spent};
use documents::record::seal::{Genesis, Seal};
use documents::record::validity::{MAX_WINDOW_S, SKEW_S, Timestamp};

/// Examines the next `limit` nonces that follow the nonce `after`. A nonce is deleted if it expired at or before `mark` according to both its
/// row and the log. A row that contradicts the log stays, and `store check` reports it.
///
/// Each log entry is read once, and all its expired nonces are deleted together. The search stops after about `limit`
/// nonces, so that runs do not wait for long.
pub(super) fn prune(
    connection: &Connection,
    mark: Timestamp,
    after: &[u8],
    limit: usize,
) -> rusqlite::Result<SweepResult> {
    // Read the rows in the order of their key, because an index on the expiry would slow down every run.
    let sql = "SELECT nonce, expires_at, spent FROM nonce WHERE nonce > ?1 ORDER BY nonce LIMIT ?2";
    let seen: Vec<(Vec<u8>, i64, i64)> = connection
        .prepare_cached(sql)?
        .query_map(params![after, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut forget =
        connection.prepare_cached("DELETE FROM nonce WHERE nonce = ?1 AND expires_at = ?2 AND spent = ?3")?;
    let (mut deleted, mut read, mut entries) = (0, 0, HashSet::new());
    let mut last = if seen.len() == limit { seen.last().map(|(nonce, ..)| nonce.clone()) } else { None };
    for (nonce, expires_at, spent) in seen {
        if expires_at > mark.unix() {
            continue;
        }
        if spent < 0 {
            // An earlier log, which this store does not contain, spent this nonce. When the low-water mark reaches
            // `until`, all nonces of the earlier log have expired.
            if taken_over_until(connection)?.is_some_and(|until| until <= mark.unix()) {
                deleted += forget.execute(params![nonce, expires_at, spent])?;
            }
            continue;
        }
        let (index, _) = unplace(spent);
        if !entries.insert(index) {
            continue;
        }
        let items = spent_in(connection, index)?;
        read += items.len();
        for (item, spent) in (0..).zip(items) {
            if spent.expires_at <= mark {
                let row = params![spent.nonce.to_bytes(), spent.expires_at.unix(), place(index, item)];
                deleted += forget.execute(row)?;
            }
        }
        if read >= limit {
            last = Some(nonce);
            break;
        }
    }
    if deleted > 0 {
        connection.prepare_cached("UPDATE state SET nonces = nonces - ?1")?.execute([deleted])?;
    }
    Ok(SweepResult { deleted, last })
}

/// Returns the time at which all nonces of the earlier log have expired, or `None` if this log follows no other log.
pub(super) fn taken_over_until(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let first = entry(connection, 0)?.and_then(|data| opened::<Seal>(&data).ok());
    Ok(first.and_then(|(_, statement)| match statement.predicate.genesis {
        Some(Genesis::Follows { .. }) => Some(statement.predicate.at.unix() + MAX_WINDOW_S + SKEW_S),
        _ => None,
    }))
}

/// Returns the nonces that the log entry `index` spent, or none if it is not a consumption.
fn spent_in(connection: &Connection, index: u64) -> rusqlite::Result<Vec<Spent>> {
    let data = entry(connection, index)?;
    let consumption = data.and_then(|data| opened::<Consumption>(&data).ok());
    Ok(consumption.map(|(_, statement)| statement.predicate.spent).unwrap_or_default())
}

fn entry(connection: &Connection, index: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT data FROM leaf WHERE idx = ?1")?;
    statement.query_row([index], |row| row.get(0)).optional()
}
