//! Spent nonces: those whose windows are open at the start, and those that can be deleted. Both searches read the log,
//! because a person can change the rows by hand.

use std::collections::BTreeSet;

use crate::store::SweepResult;
use crate::store::column_values::{place, unplace};
use crate::store::fault::StoreFault;
use crate::store::postgres::columns::{Fields, limit as at_most, signed};
use crate::store::postgres::link::Link;
use crate::store::postgres::reads::PostgresReads;
use crate::store::postgres::settings::{ServerSettings, refused};
use crate::store::stored_leaf::opened;
use crate::store::tree::{Subtrees, TileCache, TreeEdge};
use documents::crypto::tlog_tiles::TILE_WIDTH;
use documents::record::consumption::{Consumption, Spent};
use documents::record::denial::{Denial, denied};
use documents::record::ident::Nonce;
use documents::record::seal::{Genesis, Seal};
use documents::record::validity::{MAX_WINDOW_S, SKEW_S, Timestamp};

const DURING: &str = "pruning nonces";
/// Number of log entries that one query reads.
const CHUNK: usize = 200;

pub(super) const DATED: &str = "SELECT idx, data FROM leaf \
    WHERE substring(data from 85 for 8) = '\\x4f6e736959585169'::bytea AND idx < $1 ORDER BY idx DESC LIMIT $2";
pub(super) const LOST: &str = "SELECT q.nonce FROM unnest($1::bytea[]) WITH ORDINALITY AS q(nonce, number) \
    LEFT JOIN nonce n ON n.nonce = q.nonce WHERE n.nonce IS NULL ORDER BY q.number";
pub(super) const NEXT: &str = "SELECT nonce, expires_at, spent FROM nonce WHERE nonce > $1 ORDER BY nonce LIMIT $2";
pub(super) const ENTRIES: &str = "SELECT idx, data FROM leaf WHERE idx = ANY($1::bigint[])";
pub(super) const FORGET: &str = "DELETE FROM nonce n USING unnest($1::bytea[], $2::bigint[], $3::bigint[]) \
    AS q(nonce, expires_at, spent) WHERE n.nonce = q.nonce AND n.expires_at = q.expires_at AND n.spent = q.spent RETURNING 1";

/// The stored hashes of log entries, whether the bytes of each entry have this hash, and the bytes of each denial: the
/// base64 `OnsiYm91` is `:{"bou`.
pub(super) const HASHES: &str = "SELECT hash, sha256('\\x00'::bytea || data) = hash, \
    CASE WHEN substring(data from 85 for 8) = '\\x4f6e7369596d3931'::bytea THEN data END FROM leaf \
    WHERE idx >= $1 AND idx < $2 ORDER BY idx";
pub(super) const HIDDEN: &str = "SELECT q.leaf FROM unnest($1::bytea[], $2::bigint[]) AS q(digest, leaf) \
    WHERE NOT EXISTS (SELECT FROM denial d WHERE d.\"authorization\" = q.digest) ORDER BY q.leaf LIMIT 1";

pub(super) const SIZE: &str = "SELECT coalesce(max(idx) + 1, 0) FROM leaf";

/// A spent nonce and the end of its window.
pub(super) type OpenNonce = (Nonce, Timestamp);

/// Returns the nonces that the log spent and whose windows are open at the low-water mark, and the number of the first log
/// entry on which the result depends.
pub(super) fn open_nonces(link: &Link) -> Result<(Vec<OpenNonce>, u64), StoreFault> {
    const DURING: &str = "reading the spent nonces of the log";
    let rows = link.query(DURING, "SELECT mark FROM state WHERE one = 1", values![])?;
    let row = rows.first().ok_or_else(|| StoreFault::broken(DURING, "the table `state` has no row"))?;
    let mark = Fields::new(DURING, row).time(0)?;
    // A window is at most one day long, so the nonces of older consumptions have expired.
    let since = mark.plus(-(MAX_WINDOW_S + SKEW_S));
    let (mut open, mut before) = (Vec::new(), i64::MAX);
    loop {
        let rows = link.query(DURING, DATED, values![before, at_most(CHUNK)])?;
        for row in &rows {
            let row = Fields::new(DURING, row);
            before = row.get(0)?;
            let Ok((_, statement)) = opened::<Consumption>(row.get(1)?) else { continue };
            // The times of consumptions never decrease.
            if statement.predicate.at < since {
                return Ok((open, before.unsigned_abs()));
            }
            let spent = statement.predicate.spent.into_iter().filter(|spent| spent.expires_at > mark);
            open.extend(spent.map(|spent| (spent.nonce, spent.expires_at)));
        }
        if rows.len() < CHUNK {
            return Ok((open, 0));
        }
    }
}

/// Returns a fault if the bytes of a log entry from `first` on are not those of the tree. A consumption whose bytes were
/// changed would not be found by [`open_nonces`], although the tiles, the root and the checkpoints are still the same. Also
/// returns a fault if a denial among these entries has no row, because the denied authorization could run.
pub(super) fn check_entries(link: &Link, settings: &ServerSettings, first: u64) -> Result<(), StoreFault> {
    const DURING: &str = "comparing the newest log entries with the tree";
    let rows = link.query(DURING, SIZE, values![])?;
    let size = rows.first().map_or(Ok(0), |row| Fields::new(DURING, row).number(0))?;
    let (reads, cache) = (PostgresReads::new(settings.clone()), TileCache::default());
    let edge = TreeEdge::read(&reads, size)?;
    let tree = Subtrees::new(&edge, &reads, &cache);
    let width = u64::from(TILE_WIDTH);
    let (mut digests, mut places) = (Vec::new(), Vec::new());
    for tile in first / width..size.div_ceil(width) {
        let (from, to) = (tile * width, size.min((tile + 1) * width));
        let rows = link.query(DURING, HASHES, values![signed(from), signed(to)])?;
        let mut hashes = Vec::with_capacity(rows.len());
        for (index, row) in (from..).zip(&rows) {
            let row = Fields::new(DURING, row);
            if !row.get::<bool>(1)? {
                return Err(changed(settings, &format!("the bytes of the log entry {index} do not match its hash")));
            }
            hashes.push(row.bytes(0)?);
            let denial = row.get::<Option<&[u8]>>(2)?.and_then(|data| opened::<Denial>(data).ok());
            if let Some(authorization) = denial.and_then(|(_, statement)| denied(&statement).ok()) {
                digests.push(authorization.as_bytes().to_vec());
                places.push(signed(index));
            }
        }
        let complete = to - from == width;
        if hashes.len() as u64 != to - from || complete && !tree.is_tile(tile, &hashes)? {
            return Err(changed(settings, &format!("the log entries {from} to {} do not match the tree", to - 1)));
        }
    }
    let Some(row) = link.query(DURING, HIDDEN, values![digests, places])?.into_iter().next() else { return Ok(()) };
    let index: i64 = Fields::new(DURING, &row).get(0)?;
    Err(changed(settings, &format!("the denial in the log entry {index} has no row in the table denial")))
}

fn changed(settings: &ServerSettings, what: &str) -> StoreFault {
    refused(format!(
        "{what} in the database {}: somebody changed the log or its rows, so a spent or denied authorization could run. The \
         store stays closed: run `countersign store check`, then `countersign store restore BACKUP`",
        settings.place()
    ))
}

/// Returns a fault if a spent nonce has no row although it has not expired, because a second run could spend it again.
pub(super) fn check(link: &Link, settings: &ServerSettings, open: &[OpenNonce]) -> Result<(), StoreFault> {
    const DURING: &str = "looking for spent nonces";
    let mut lost = Vec::new();
    for chunk in open.chunks(10_000) {
        let nonces: Vec<_> = chunk.iter().map(|(nonce, _)| nonce.to_bytes().to_vec()).collect();
        for row in &link.query(DURING, LOST, values![nonces.clone()])? {
            let found: Vec<u8> = Fields::new(DURING, row).get(0)?;
            lost.extend(chunk.iter().zip(&nonces).find(|(_, bytes)| **bytes == found).map(|((nonce, _), _)| nonce));
        }
    }
    let Some(nonce) = lost.first() else { return Ok(()) };
    Err(refused(format!(
        "{} spent nonces in the database {} have no row, although these nonces have not expired (for example {nonce}), so \
         their authorizations could run again. The store stays closed: run `countersign store check`, then \
         `countersign store restore BACKUP`",
        lost.len(),
        settings.place()
    )))
}

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
