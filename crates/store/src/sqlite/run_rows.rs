//! Rows of runs: the facts about requests to run, the spent nonces, and the outputs of runs that ended.

use rusqlite::{Connection, params};

use crate::{
    column_values::{id_bytes, place},
    fault::StoreFault,
    read_statements::SPENT,
    rows::{Candidate, FinishRow, RunRow},
    sqlite::columns::one,
    stored_proposal::AuthorizationCore,
};
use documents::{AuthorizationDigest, BlobDigest, ContentDigest};

/// Returns the stored facts about a request to run a proposal.
pub(super) fn candidate(
    connection: &Connection,
    core: &AuthorizationCore,
) -> Result<Candidate, StoreFault> {
    const DURING: &str = "judging what may run";
    let nonce = core.nonce.to_bytes();
    let spent = one(connection, DURING, SPENT, [nonce], |row| row.spent(0))?;
    let sql = "SELECT 1 FROM denial WHERE authorization = ?1 LIMIT 1";
    let denial = one(
        connection,
        DURING,
        sql,
        [core.digest.as_bytes()],
        |_| Ok(()),
    )?;
    let sql = "SELECT digest, status FROM proposal WHERE id = ?1";
    let proposal = one(connection, DURING, sql, [id_bytes(&core.id)], |row| {
        Ok((AuthorizationDigest::from_bytes(row.get(0)?), row.get(1)?))
    })?;
    Ok(Candidate {
        spent: spent.flatten(),
        denied: denial.is_some(),
        proposal,
    })
}

/// Spends the nonces and marks the proposals as running.
pub(super) fn start(connection: &Connection, runs: &[RunRow<'_>]) -> rusqlite::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    // No `OR IGNORE`: the writer has searched for the nonce, so a second row for it is a fault that undoes the batch.
    let mut claim = connection.prepare_cached(
        "INSERT INTO nonce (nonce, expires_at, spent, proposal) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut add = connection.prepare_cached(
        "INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, \
         status, created_at, approved_at, started_at, spent) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?9, ?9, ?10)",
    )?;
    let mut cross = connection.prepare_cached(
        "INSERT INTO crossing (id, proposal, seal, exclusive, envelope, decision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for run in runs {
        let (core, id, at) = (run.core, id_bytes(&run.core.id), run.at.unix());
        let place = place(run.index, run.item);
        let nonce = core.nonce.to_bytes();
        claim.execute(params![nonce, core.expires_at.unix(), place, id])?;
        if run.known {
            connection
                .prepare_cached(
                    "UPDATE proposal SET status = 0, approved_at = coalesce(approved_at, ?2), started_at = ?2, \
                     spent = ?3 WHERE id = ?1",
                )?
                .execute(params![id, at, place])?;
            connection
                .prepare_cached("DELETE FROM payload WHERE proposal = ?1")?
                .execute([id])?;
        } else {
            add.execute(params![
                id,
                core.digest.as_bytes(),
                nonce,
                core.step.as_str(),
                core.step_digest.as_bytes(),
                core.params_digest.as_bytes(),
                core.proposer.as_str(),
                core.expires_at.unix(),
                at,
                place
            ])?;
        }
        if let Some((grant, number)) = run.granted {
            // No `OR IGNORE`, for the same reason.
            connection
                .prepare_cached(
                    "INSERT INTO standing_use (digest, number, at, spent) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![grant.as_bytes(), number, at, place])?;
        }
        if run.emergency {
            connection
                .prepare_cached(
                    "INSERT INTO owed (proposal, emergency, unknown) VALUES (?1, 1, 0)",
                )?
                .execute([id])?;
        }
        cross.execute(params![
            place,
            id,
            run.seal.as_bytes(),
            run.exclusive,
            run.envelope,
            run.decision
        ])?;
    }
    connection
        .prepare_cached("UPDATE state SET nonces = nonces + ?1")?
        .execute([runs.len()])?;
    Ok(())
}

/// Marks proposals as finished, and stores the outputs and the blobs of their runs.
pub(super) fn finish(connection: &Connection, runs: &[FinishRow<'_>]) -> rusqlite::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let mut close = connection.prepare_cached(
        "UPDATE proposal SET status = 1, ended_at = ?2, receipt = ?3, detail = ?4 WHERE id = ?1",
    )?;
    let mut clear = connection.prepare_cached("DELETE FROM crossing WHERE id = ?1")?;
    for run in runs {
        let (id, at) = (id_bytes(run.proposal), run.at.unix());
        close.execute(params![id, at, run.receipt, run.detail])?;
        // The receipt contains the envelope and the decision, so the row of the run can be deleted.
        clear.execute([place(run.consumption.0, run.consumption.1)])?;
        for output in run.outputs {
            connection
                .prepare_cached(
                    "INSERT INTO output (name, bytes, at, data) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
                )?
                .execute(params![
                    output.name.as_bytes(),
                    output.bytes,
                    at,
                    output.data
                ])?;
            connection
                .prepare_cached("INSERT OR IGNORE INTO output_of (name, proposal) VALUES (?1, ?2)")?
                .execute(params![output.name.as_bytes(), id])?;
        }
        if let Some(order) = run.order {
            connection
                .prepare_cached("INSERT INTO output_order (proposal, data) VALUES (?1, ?2)")?
                .execute(params![id, order])?;
        }
        if let Some(owed) = &run.owed {
            // The run of an emergency has a row from its start on.
            let sql = "INSERT INTO owed (proposal, receipt, emergency, unknown, standing) VALUES (?1, ?2, 0, ?3, ?4) \
                       ON CONFLICT (proposal) DO UPDATE SET receipt = excluded.receipt, unknown = excluded.unknown, \
                       standing = excluded.standing";
            let standing = owed.standing.map(ContentDigest::as_bytes);
            connection.prepare_cached(sql)?.execute(params![
                id,
                run.receipt,
                owed.unknown,
                standing
            ])?;
        }
        insert_blobs(connection, run.blobs.iter())?;
    }
    Ok(())
}

/// Stores blobs, and leaves existing blobs unchanged.
pub(super) fn insert_blobs<'a>(
    connection: &Connection,
    blobs: impl Iterator<Item = &'a (BlobDigest, Vec<u8>)>,
) -> rusqlite::Result<()> {
    for (digest, data) in blobs {
        connection
            .prepare_cached("INSERT OR IGNORE INTO blob (digest, data) VALUES (?1, ?2)")?
            .execute(params![digest.as_bytes(), data])?;
    }
    Ok(())
}
