//! Finds nonces that can be deleted, and nonces whose rows were lost. Both searches read the log, because a person can
//! change the rows by hand.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::record::consumption::{Consumption, Spent};
use crate::record::ident::Nonce;
use crate::record::seal::{Genesis, Seal};
use crate::record::validity::{MAX_WINDOW_S, SKEW_S, Timestamp};
use crate::store::SweepResult;
use crate::store::fault::StoreFault;
use crate::store::sqlite::columns::{place, unplace};
use crate::store::sqlite::errors::fault;
use crate::store::sqlite::survey::opened;

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

/// Returns the nonces that the log spent, that have not expired by the low-water mark, and that have no row.
///
/// Only the log is read, from the last entry backwards, and only entries that begin like a consumption are parsed. At
/// 100,000 runs a day, a start that parsed all entries of a day would take many seconds longer.
pub(super) fn nonces_without_rows(connection: &Connection) -> Result<Vec<Nonce>, StoreFault> {
    let read = || -> rusqlite::Result<Vec<Nonce>> {
        let mark: i64 = connection.query_row("SELECT mark FROM state", [], |row| row.get(0))?;
        // A window is at most one day long, so the nonces of older consumptions have expired.
        let since = mark.saturating_sub(MAX_WINDOW_S + SKEW_S);
        let mut entries = connection.prepare("SELECT data FROM leaf ORDER BY idx DESC")?;
        let mut row_of = connection.prepare("SELECT 1 FROM nonce WHERE nonce = ?1")?;
        let mut rows = entries.query([])?;
        let mut lost = Vec::new();
        let head = head_of_consumptions();
        while let Some(row) = rows.next()? {
            let data = row.get_ref(0)?.as_blob()?;
            if !data.starts_with(head.as_bytes()) {
                continue;
            }
            let Ok((_, statement)) = opened::<Consumption>(data) else { continue };
            // The times of consumptions never decrease.
            if statement.predicate.at.unix() < since {
                break;
            }
            for spent in statement.predicate.spent {
                if spent.expires_at.unix() > mark && !row_of.exists([spent.nonce.to_bytes()])? {
                    lost.push(spent.nonce);
                }
            }
        }
        Ok(lost)
    };
    read().map_err(fault("comparing nonces with the log"))
}

/// Returns the first characters of every consumption in the log, which the store itself writes as canonical JSON.
fn head_of_consumptions() -> String {
    // The base64 of a prefix is a prefix of the whole base64 if the length of the prefix is a multiple of three bytes.
    let payload = br#"{"_type":"https://in-toto.io/Statement/v1","predicate":{"at":""#;
    format!(r#"{{"payload":"{}"#, STANDARD.encode(&payload[..payload.len() / 3 * 3]))
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
