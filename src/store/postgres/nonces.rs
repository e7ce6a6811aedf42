//! Finds spent nonces that can be deleted. The search reads the log, because a person can change the rows by hand.

use std::collections::BTreeSet;

use crate::store::SweepResult;
use crate::store::column_values::{place, unplace};
use crate::store::fault::StoreFault;
use crate::store::postgres::columns::{Fields, limit as at_most, signed};
use crate::store::postgres::link::Link;
use crate::store::stored_leaf::opened;
use documents::record::consumption::{Consumption, Spent};
use documents::record::seal::{Genesis, Seal};
use documents::record::validity::{MAX_WINDOW_S, SKEW_S, Timestamp};

const DURING: &str = "pruning nonces";
/// Number of log entries that one query reads.
const CHUNK: usize = 200;

pub(super) const NEXT: &str = "SELECT nonce, expires_at, spent FROM nonce WHERE nonce > $1 ORDER BY nonce LIMIT $2";
pub(super) const ENTRIES: &str = "SELECT idx, data FROM leaf WHERE idx = ANY($1::bigint[])";
pub(super) const FORGET: &str = "DELETE FROM nonce n USING unnest($1::bytea[], $2::bigint[], $3::bigint[]) \
    AS q(nonce, expires_at, spent) WHERE n.nonce = q.nonce AND n.expires_at = q.expires_at AND n.spent = q.spent RETURNING 1";

/// Examines the next `limit` nonces that follow the nonce `after`. A nonce is deleted if it expired at or before `mark`
/// according to both its row and the log. A row that contradicts the log stays, and `store check` reports it.
pub(super) fn prune(link: &Link, mark: Timestamp, after: &[u8], limit: usize) -> Result<SweepResult, StoreFault> {
    let seen = link.query(DURING, NEXT, values![after, at_most(limit)])?;
    let rows: Vec<(Vec<u8>, i64, i64)> = seen
        .iter()
        .map(|row| Fields::new(DURING, row))
        .map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .collect::<Result<_, StoreFault>>()?;
    let mut last = if rows.len() == limit { rows.last().map(|(nonce, ..)| nonce.clone()) } else { None };
    let expired: Vec<_> = rows.into_iter().filter(|(_, expires_at, _)| *expires_at <= mark.unix()).collect();
    let mut forget = Vec::new();
    let (mut read, mut entries) = (0, BTreeSet::new());
    // An earlier log, which this store does not contain, spent these nonces. When the low-water mark reaches `until`, all
    // of them have expired.
    let earlier = expired.iter().any(|(.., spent)| *spent < 0);
    let over = earlier && taken_over_until(link)?.is_some_and(|until| until <= mark.unix());
    'rows: for chunk in expired.chunks(CHUNK) {
        let indexes: BTreeSet<u64> = chunk.iter().filter(|row| row.2 >= 0).map(|row| unplace(row.2).0).collect();
        let spent = spent_in(link, indexes.iter().copied().filter(|index| !entries.contains(index)))?;
        for row in chunk {
            if row.2 < 0 {
                forget.extend(over.then(|| row.clone()));
                continue;
            }
            let index = unplace(row.2).0;
            if !entries.insert(index) {
                continue;
            }
            let items = spent.iter().filter(|(of, ..)| *of == index);
            for (_, item, spent) in items {
                read += 1;
                if spent.expires_at <= mark {
                    let nonce = spent.nonce.to_bytes().to_vec();
                    forget.push((nonce, spent.expires_at.unix(), place(index, *item)));
                }
            }
            if read >= limit {
                last = Some(row.0.clone());
                break 'rows;
            }
        }
    }
    if forget.is_empty() {
        return Ok(SweepResult { deleted: 0, last });
    }
    let nonces: Vec<_> = forget.iter().map(|row| row.0.as_slice()).collect();
    let ends: Vec<_> = forget.iter().map(|row| row.1).collect();
    let places: Vec<_> = forget.iter().map(|row| row.2).collect();
    let deleted = link.query(DURING, FORGET, values![nonces, ends, places])?.len();
    Ok(SweepResult { deleted, last })
}

/// Returns the time at which all nonces of the earlier log have expired, or `None` if this log follows no other log.
fn taken_over_until(link: &Link) -> Result<Option<i64>, StoreFault> {
    let rows = link.query(DURING, ENTRIES, values![vec![0_i64]])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let Ok((_, statement)) = opened::<Seal>(Fields::new(DURING, row).get(1)?) else { return Ok(None) };
    Ok(match statement.predicate.genesis {
        Some(Genesis::Follows { .. }) => Some(statement.predicate.at.unix() + MAX_WINDOW_S + SKEW_S),
        _ => None,
    })
}

/// Returns the items of these log entries, as far as the entries are consumptions.
fn spent_in(link: &Link, indexes: impl Iterator<Item = u64>) -> Result<Vec<(u64, u32, Spent)>, StoreFault> {
    let indexes: Vec<i64> = indexes.map(signed).collect();
    let mut found = Vec::new();
    for row in &link.query(DURING, ENTRIES, values![indexes])? {
        let row = Fields::new(DURING, row);
        let index = row.number(0)?;
        if let Ok((_, statement)) = opened::<Consumption>(row.get(1)?) {
            found.extend((0..).zip(statement.predicate.spent).map(|(item, spent)| (index, item, spent)));
        }
    }
    Ok(found)
}
