//! Writes of a batch, apart from the rows of runs.

use rusqlite::{Connection, params};

use crate::{
    batch::Writes,
    column_values::{grant_bytes, id_bytes, observed_number, presence_number, tile_id},
    fault::StoreFault,
    rows::{CheckpointRow, ReviewRow},
    sqlite::columns::{one, run},
    stored_status::StoredStatus,
};
use documents::{Hash, ReviewVerdict, SealDigest};

/// Appends the leaves with their tiles, and notes which leaves are seals.
pub(super) fn append(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO leaf (idx, kind, at, hash, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (index, leaf) in (writes.first..).zip(&writes.leaves) {
        insert.execute(params![
            index,
            leaf.kind as u8,
            leaf.at.unix(),
            leaf.hash,
            leaf.data
        ])?;
    }
    for tile in &writes.tiles {
        let mut insert =
            connection.prepare_cached("INSERT INTO tile (id, hashes) VALUES (?1, ?2)")?;
        insert.execute(params![
            tile_id(tile.level, tile.index),
            tile.hashes.as_flattened()
        ])?;
    }
    for (index, digest) in &writes.seals {
        let mut insert =
            connection.prepare_cached("INSERT INTO seal (idx, digest) VALUES (?1, ?2)")?;
        insert.execute(params![index, digest.as_bytes()])?;
    }
    Ok(())
}

/// Stores new proposals, signatures and denials, and changes the status of proposals.
pub(super) fn proposals(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    for new in &writes.proposals {
        let (core, id) = (&new.core, id_bytes(&new.core.id));
        let sql = "INSERT INTO proposal (id, digest, nonce, request, step, step_digest, params_digest, proposer, \
                   expires_at, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 2, ?10)";
        connection.prepare_cached(sql)?.execute(params![
            id,
            core.digest.as_bytes(),
            core.nonce.to_bytes(),
            new.request,
            core.step.as_str(),
            core.step_digest.as_bytes(),
            core.params_digest.as_bytes(),
            core.proposer.as_str(),
            core.expires_at.unix(),
            new.created_at.unix()
        ])?;
        let sql = "INSERT INTO payload (proposal, data) VALUES (?1, ?2)";
        connection
            .prepare_cached(sql)?
            .execute(params![id, &*new.payload])?;
        if let Some(job) = &new.admitted {
            let sql = "INSERT INTO admitted (proposal, job) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![id, job])?;
        }
    }
    for row in &writes.signatures {
        let sql = "INSERT INTO signature (proposal, keyid, number, person, presence, at, sig) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.prepare_cached(sql)?.execute(params![
            id_bytes(row.proposal),
            row.signature.keyid.as_str(),
            row.number,
            row.signature.person.as_str(),
            presence_number(row.signature.presence),
            row.signature.at.unix(),
            row.signature.sig
        ])?;
    }
    for row in &writes.denials {
        let sql = "INSERT INTO denial (authorization, approver, leaf, at, ahead) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (authorization, denial) = (row.authorization.as_bytes(), &row.denial);
        let values = params![
            authorization,
            denial.approver.as_str(),
            denial.leaf,
            denial.at.unix(),
            row.ahead
        ];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    for step in &writes.steps {
        let column = if step.to == StoredStatus::Approved {
            "approved_at"
        } else {
            "ended_at"
        };
        let sql =
            format!("UPDATE proposal SET status = ?2, {column} = ?3, detail = ?4 WHERE id = ?1");
        let detail = if step.detail.is_empty() {
            None
        } else {
            Some(step.detail)
        };
        let values = params![
            id_bytes(&step.proposal),
            step.to.number(),
            step.at.unix(),
            detail
        ];
        connection.prepare_cached(&sql)?.execute(values)?;
    }
    Ok(())
}

/// Stores grants. A stored grant gets the new envelope, the end and the leaf.
pub(super) fn grants(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    for grant in &writes.grants {
        let sql = "INSERT INTO standing (id, digest, envelope, proposer, created_at, expires_at, leaf) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                   ON CONFLICT (id) DO UPDATE SET envelope = excluded.envelope, \
                   expires_at = excluded.expires_at, leaf = excluded.leaf";
        connection.prepare_cached(sql)?.execute(params![
            grant_bytes(&grant.id),
            grant.digest.as_bytes(),
            grant.envelope,
            grant.proposer.as_str(),
            grant.created_at.unix(),
            grant.expires_at.unix(),
            grant.leaf
        ])?;
    }
    Ok(())
}

/// Stores reviews, and closes or settles their runs. The first review that closes an emergency stays in the row of the run.
pub(super) fn reviews(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    for ReviewRow {
        review,
        closes,
        settles,
    } in &writes.reviews
    {
        let (id, leaf) = (id_bytes(&review.proposal), review.leaf);
        let sql = "INSERT INTO review (leaf, receipt, proposal, reviewer, accepted, observed, counts_review, \
                   counts_settle) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        connection.prepare_cached(sql)?.execute(params![
            leaf,
            review.receipt,
            id,
            review.reviewer.as_str(),
            review.verdict == ReviewVerdict::Accepted,
            review.observed.map(observed_number),
            review.counts_for_review,
            review.counts_for_settle
        ])?;
        let sql = "UPDATE owed SET reviewed = coalesce(reviewed, ?2), settled = CASE WHEN ?3 THEN ?4 ELSE settled END WHERE proposal = ?1";
        let settled = settles.unwrap_or(false).then_some(leaf);
        connection.prepare_cached(sql)?.execute(params![
            id,
            closes.then_some(leaf),
            settles.is_some(),
            settled
        ])?;
    }
    Ok(())
}

/// Adds events, and the positions of targets of messages. The number of an event is 1 more than the newest.
pub(super) fn events(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    for event in &writes.events {
        let (at, kind) = (event.at.unix(), event.what.number());
        match event.what.proposal() {
            Some(id) => {
                let sql = "INSERT INTO event (at, kind, proposal, step, proposer, words) \
                           SELECT ?1, ?2, id, step, proposer, ?4 FROM proposal WHERE id = ?3";
                connection.prepare_cached(sql)?.execute(params![
                    at,
                    kind,
                    id_bytes(id),
                    event.what.words()
                ])?;
            }
            None => {
                let sql = "INSERT INTO event (at, kind, entry, words) VALUES (?1, ?2, ?3, ?4)";
                connection.prepare_cached(sql)?.execute(params![
                    at,
                    kind,
                    event.what.entry(),
                    event.what.words()
                ])?;
            }
        }
    }
    for target in &writes.told {
        let sql = "INSERT INTO told (name, seq, given_up) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, given_up = excluded.given_up";
        connection.prepare_cached(sql)?.execute(params![
            target.name.as_str(),
            target.seq,
            target.given_up
        ])?;
    }
    Ok(())
}

/// Stores checkpoints. Another root at the same size is a fatal fault.
pub(super) fn checkpoints(
    connection: &Connection,
    checkpoints: &[CheckpointRow],
) -> Result<(), StoreFault> {
    const DURING: &str = "keeping checkpoints";
    for checkpoint in checkpoints {
        run(
            connection,
            DURING,
            "INSERT OR IGNORE INTO checkpoint (size, root, note) VALUES (?1, ?2, ?3)",
            params![checkpoint.size, checkpoint.root, checkpoint.note],
        )?;
        let sql = "SELECT root FROM checkpoint WHERE size = ?1";
        let kept: Option<Hash> = one(connection, DURING, sql, [checkpoint.size], |row| row.get(0))?;
        if kept != Some(checkpoint.root) {
            return Err(StoreFault::forked(checkpoint.size));
        }
    }
    Ok(())
}

/// Stores the state of the boundary if it changed.
pub(super) fn state(connection: &Connection, writes: &Writes<'_>) -> rusqlite::Result<()> {
    let Some(head) = &writes.head else {
        return Ok(());
    };
    let sql = "UPDATE state SET boundary = ?1, seal = ?2, version = ?3, mark = ?4";
    connection.prepare_cached(sql)?.execute(params![
        head.boundary.as_ref().map(SealDigest::as_bytes),
        head.seal.as_ref().map(SealDigest::as_bytes),
        head.version,
        head.mark.unix()
    ])?;
    Ok(())
}
