//! Deletes the rows of outputs and proposals whose retention has ended, and of nonces that have expired.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{RetentionCut, RetentionWalk, Retired, SweepResult, stored_status::StoredStatus};
use documents::{Blake3Digest, Timestamp};

/// A key after all nonces.
const LAST: [u8; 32] = [0xff; 32];

/// Examines the next `limit` nonces that follow the nonce `after`, and deletes those that expired at or before `mark`.
///
/// The rows are read in the order of their key, because an index on the expiry would slow down every run.
pub(super) fn prune(
    connection: &Connection,
    mark: Timestamp,
    after: &[u8],
    limit: usize,
) -> rusqlite::Result<SweepResult> {
    let sql = "SELECT nonce FROM nonce WHERE nonce > ?1 ORDER BY nonce LIMIT 1 OFFSET ?2";
    let last: Option<Vec<u8>> = connection
        .prepare_cached(sql)?
        .query_row(params![after, limit - 1], |row| row.get(0))
        .optional()?;
    let sql = "DELETE FROM nonce WHERE nonce > ?1 AND nonce <= ?2 AND expires_at <= ?3";
    let deleted = connection.prepare_cached(sql)?.execute(params![
        after,
        last.as_deref().unwrap_or(&LAST),
        mark.unix()
    ])?;
    if deleted > 0 {
        connection
            .prepare_cached("UPDATE state SET nonces = nonces - ?1")?
            .execute([deleted])?;
    }
    Ok(SweepResult { deleted, last })
}

/// Examines `limit` outputs and `limit` proposals from `walk` on, and deletes the rows whose retention has ended
/// according to `cut`.
pub(super) fn retire(
    connection: &Connection,
    cut: RetentionCut,
    walk: RetentionWalk,
    limit: usize,
) -> rusqlite::Result<Retired> {
    let mut done = Retired::default();
    // Read the rows in the order of recording (rowid), without the bytes of outputs.
    let sql =
        "SELECT rowid, name, at, data IS NULL FROM output WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
    let seen: Vec<(u64, [u8; 32], i64, bool)> = connection
        .prepare_cached(sql)?
        .query_map(params![walk.outputs.unwrap_or(0), limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (rowid, name, at, is_file) in &seen {
        if *at <= cut.outputs.unix() {
            // The rows of `output_of` stay, because they show which runs recorded the deleted output.
            done.deleted += connection
                .prepare_cached("DELETE FROM output WHERE rowid = ?1")?
                .execute([rowid])?;
            if *is_file {
                done.files.push(Blake3Digest::from_bytes(*name));
            }
        }
    }
    // The newest event stays, because the next number follows from it.
    let sql = "DELETE FROM event WHERE at <= ?1 AND seq < (SELECT max(seq) FROM event) \
               AND seq < (SELECT min(seq) FROM event) + ?2";
    done.deleted += connection
        .prepare_cached(sql)?
        .execute(params![cut.events.unix(), limit])?;
    let sql = "DELETE FROM standing WHERE expires_at <= ?1 AND leaf IS NULL";
    done.deleted += connection.prepare_cached(sql)?.execute([cut.mark.unix()])?;
    let delete = |table: &str, id: &[u8; 16]| {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE proposal = ?1"))?
            .execute([id])
    };
    // Unsigned proposals are deleted soon after their window. The log has no entry about them.
    let sql = "SELECT id FROM proposal INDEXED BY proposal_over_at WHERE status BETWEEN 5 AND 7 AND expires_at > ?3 \
               AND expires_at <= ?1 AND NOT EXISTS (SELECT 1 FROM signature WHERE signature.proposal = proposal.id) \
               LIMIT ?2";
    let after = walk.unsigned.map_or(-1, Timestamp::unix);
    let unsigned: Vec<[u8; 16]> = connection
        .prepare_cached(sql)?
        .query_map(params![cut.unsigned.unix(), limit, after], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &unsigned {
        delete("payload", id)?;
        delete("admitted", id)?;
        done.deleted += connection
            .prepare_cached("DELETE FROM proposal WHERE id = ?1")?
            .execute([id])?;
    }
    // No proposal with an earlier end follows, because proposals expire before this function is called.
    done.walk.unsigned = if unsigned.len() == limit {
        walk.unsigned
    } else {
        walk.unsigned.max(Some(cut.unsigned))
    };
    done.walk.outputs = if seen.len() == limit {
        seen.last().map(|last| last.0)
    } else {
        None
    };
    let sql =
        "SELECT id, status, ended_at, expires_at FROM proposal WHERE id > ?1 ORDER BY id LIMIT ?2";
    let seen: Vec<([u8; 16], u8, Option<i64>, i64)> = connection
        .prepare_cached(sql)?
        .query_map(params![walk.proposals.unwrap_or_default(), limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, status, ended_at, expires_at) in &seen {
        let Some(ended_at) = *ended_at else { continue };
        let finished = *status == StoredStatus::Finished.number();
        if finished && ended_at <= cut.outputs.unix() {
            done.deleted += delete("output_order", id)?;
        }
        if ended_at > cut.proposals.unix() {
            continue;
        }
        if finished {
            // The proposal's row stays, because it leads to the receipt, which also contains the signatures.
            done.deleted += delete("signature", id)?;
        } else if *expires_at <= cut.mark.unix() {
            // Delete the row only after the window, because during the window only this row prevents a run.
            delete("signature", id)?;
            delete("payload", id)?;
            delete("admitted", id)?;
            done.deleted += connection
                .prepare_cached("DELETE FROM proposal WHERE id = ?1")?
                .execute([id])?;
        }
    }
    done.walk.proposals = if seen.len() == limit {
        seen.last().map(|last| last.0)
    } else {
        None
    };
    Ok(done)
}
