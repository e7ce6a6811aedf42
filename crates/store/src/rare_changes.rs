//! Rare changes inside of a batch, the same for both engines: tokens, expired proposals and nonces, and retention.

use crate::{
    BatchQuestion, IdTokenUse, OpenBatch, ProposalStatus, RetentionCut, RetentionWalk, Retired,
    StoreResult, TokenChange,
    batch_rows::{BatchStatement, RowList, pair, same},
    stored::json,
};
use documents::{Blake3Digest, Name, ProposalId, Timestamp};

batch_statements! {
    TOKEN_NAMES = same("SELECT name FROM token ORDER BY name");
    NEW_TOKENS = pair("INSERT INTO token (name, entry, jwks, ca, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        "INSERT INTO token (name, entry, jwks, ca, created_at) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])");
    REVOKED = pair("UPDATE token SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1",
        "UPDATE token t SET revoked_at = coalesce(t.revoked_at, q.at) \
        FROM unnest($1::text[], $2::bigint[]) AS q(name, at) WHERE t.name = q.name");
    OLD_ID_TOKENS = same("DELETE FROM id_token WHERE expires_at <= $1");
    ID_TOKEN = same("INSERT INTO id_token (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING RETURNING 1");
    EXPIRE = pair("UPDATE proposal SET status = 5, ended_at = $1 WHERE id IN (SELECT id FROM proposal INDEXED BY proposal_open \
        WHERE status BETWEEN 2 AND 3 AND expires_at <= $1 LIMIT $2) RETURNING id",
        "UPDATE proposal SET status = 5, ended_at = $1 WHERE id = ANY(ARRAY(SELECT id FROM proposal \
        WHERE status BETWEEN 2 AND 3 AND expires_at <= $1 LIMIT $2)) RETURNING id");
    /// A nonce begins with its end, so the expired nonces are the lowest keys.
    OLD_NONCES = pair("DELETE FROM nonce WHERE nonce IN (SELECT nonce FROM nonce WHERE nonce < $1 ORDER BY nonce LIMIT $2) RETURNING 1",
        "DELETE FROM nonce WHERE nonce = ANY(ARRAY(SELECT nonce FROM nonce WHERE nonce < $1 ORDER BY nonce LIMIT $2)) RETURNING 1");
    /// The outputs in the order of recording, without their bytes.
    OLD_OUTPUTS = pair("SELECT rowid, name, at, data IS NULL FROM output WHERE rowid > $1 ORDER BY rowid LIMIT $2",
        "SELECT number, name, at, false FROM output WHERE number > $1 ORDER BY number LIMIT $2");
    UNSIGNED = pair("SELECT id FROM proposal INDEXED BY proposal_over_at WHERE status BETWEEN 5 AND 7 AND expires_at > $3 \
        AND expires_at <= $1 AND NOT EXISTS (SELECT 1 FROM signature WHERE signature.proposal = proposal.id) LIMIT $2",
        "SELECT id FROM proposal p LEFT JOIN LATERAL (SELECT true AS signed FROM signature \
        WHERE proposal = p.id LIMIT 1) s ON true WHERE p.status BETWEEN 5 AND 7 AND p.expires_at > $3 AND p.expires_at <= $1 \
        AND s.signed IS NULL LIMIT $2");
    OLD_PROPOSALS = same("SELECT id, status, ended_at, expires_at FROM proposal WHERE id > $1 ORDER BY id LIMIT $2");
    DELETE_OUTPUTS = pair("DELETE FROM output WHERE rowid = ?1",
        "DELETE FROM output WHERE number = ANY($1::bigint[]) RETURNING 1");
    /// The newest event stays, because the next number follows from it.
    OLD_EVENTS = same("DELETE FROM event WHERE at <= $1 AND seq < (SELECT max(seq) FROM event) \
        AND seq < (SELECT min(seq) FROM event) + $2 RETURNING 1");
    OLD_DRAFTS = same("DELETE FROM standing WHERE expires_at <= $1 AND leaf IS NULL RETURNING 1");
    DELETE_ORDERS = pair("DELETE FROM output_order WHERE proposal = ?1",
        "DELETE FROM output_order WHERE proposal = ANY($1::bytea[]) RETURNING 1");
    DELETE_SIGNATURES = pair("DELETE FROM signature WHERE proposal = ?1",
        "DELETE FROM signature WHERE proposal = ANY($1::bytea[]) RETURNING 1");
    DELETE_PAYLOADS = pair("DELETE FROM payload WHERE proposal = ?1",
        "DELETE FROM payload WHERE proposal = ANY($1::bytea[])");
    DELETE_PROPOSALS = pair("DELETE FROM proposal WHERE id = ?1",
        "DELETE FROM proposal WHERE id = ANY($1::bytea[]) RETURNING 1");
    DELETE_JOBS = pair("DELETE FROM admitted WHERE proposal = ?1",
        "DELETE FROM admitted WHERE proposal = ANY($1::bytea[])");
}

/// Statements about pieces, which only PostgreSQL has.
pub const OF_PIECES: &[&BatchStatement] = &[OBJECTS, DELETE_PIECES];
const OBJECTS: &BatchStatement =
    &same("SELECT DISTINCT name FROM piece WHERE name > $1 ORDER BY name LIMIT $2");
/// A piece stays for an hour without a reference, because the end of a run or of an upload writes the pieces before the
/// row that refers to them.
const DELETE_PIECES: &BatchStatement = &same(
    "DELETE FROM piece p WHERE p.name = ANY($1::bytea[]) \
     AND p.at < now() - interval '1 hour' AND NOT EXISTS (SELECT FROM output o WHERE o.name = p.name) \
     AND NOT EXISTS (SELECT FROM artifact a WHERE a.digest = p.name) RETURNING 1",
);

/// Adds and revokes tokens. If one change is impossible, the function changes no token and returns the name of the token
/// in the impossible change.
pub fn change_tokens(batch: &dyn OpenBatch, changes: &[TokenChange]) -> StoreResult<Option<Name>> {
    const DURING: &str = "changing tokens";
    if changes.is_empty() {
        return Ok(None);
    }
    let mut known: Vec<String> = Vec::new();
    batch.ask(DURING, &[(TOKEN_NAMES, &[])], &mut |_, row| {
        known.push(row.get(0)?);
        Ok(())
    })?;
    let (mut tokens, mut revoked) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            TokenChange::Add(row) => {
                let name = row.token.name.as_str();
                if known.iter().any(|known| known == name) {
                    return Ok(Some(row.token.name.clone()));
                }
                known.push(name.to_owned());
                tokens.push(cells![
                    name,
                    json(&row.token)?,
                    row.jwks.as_deref(),
                    row.ca.as_deref(),
                    row.created_at
                ]);
            }
            TokenChange::Revoke { name, at } => revoked.push(cells![name, *at]),
        }
    }
    let mut rows = RowList::default();
    rows.add(NEW_TOKENS, tokens, |token| token);
    rows.add(REVOKED, revoked, |revoked| revoked);
    batch.write(DURING, &rows.0)?;
    Ok(None)
}

/// Notes that an ID token was used, and deletes the notes about ID tokens that expired at or before `mark`. Returns
/// false if the ID token was used before.
pub fn admit(batch: &dyn OpenBatch, used: &IdTokenUse, mark: Timestamp) -> StoreResult<bool> {
    let mut is_new = false;
    let questions: [BatchQuestion<'_>; 2] = [
        (OLD_ID_TOKENS, &cells![mark]),
        (ID_TOKEN, &cells![&used.digest, used.expires_at]),
    ];
    batch.ask("noting an ID token", &questions, &mut |_, _| {
        is_new = true;
        Ok(())
    })?;
    Ok(is_new)
}

/// Marks at most `limit` overdue proposals as expired.
pub fn expire(batch: &dyn OpenBatch, now: Timestamp, limit: usize) -> StoreResult<Vec<ProposalId>> {
    let mut expired = Vec::new();
    let values = cells![now, limit];
    batch.ask("expiring proposals", &[(EXPIRE, &values)], &mut |_, row| {
        expired.push(row.get(0)?);
        Ok(())
    })?;
    Ok(expired)
}

/// Deletes at most `limit` nonces that expired at or before `mark`. Returns their number.
pub fn prune(batch: &dyn OpenBatch, mark: Timestamp, limit: usize) -> StoreResult<usize> {
    const DURING: &str = "pruning nonces";
    let first_kept = (mark.unix() + 1).to_be_bytes();
    let mut deleted = 0;
    let values = cells![&first_kept[..], limit];
    batch.ask(DURING, &[(OLD_NONCES, &values)], &mut |_, _| {
        deleted += 1;
        Ok(())
    })?;
    batch.subtract_nonces(deleted)?;
    Ok(deleted)
}

/// Examines `limit` outputs and `limit` proposals from `walk` on, and deletes the rows whose retention has ended
/// according to `cut`.
///
/// Rows of finished proposals stay, because they lead to receipts. The rows that connect runs with outputs stay too.
pub fn retire(
    batch: &dyn OpenBatch,
    cut: RetentionCut,
    walk: RetentionWalk,
    limit: usize,
) -> StoreResult<Retired> {
    const DURING: &str = "deleting rows after their retention";
    let mut done = Retired::default();
    let unsigned_after = walk.unsigned.map_or(-1, Timestamp::unix);
    let objects = walk.objects.unwrap_or_default();
    let questions: [BatchQuestion<'_>; 4] = [
        (OLD_OUTPUTS, &cells![walk.outputs.unwrap_or(0), limit]),
        (UNSIGNED, &cells![cut.unsigned, limit, unsigned_after]),
        (
            OLD_PROPOSALS,
            &cells![walk.proposals.unwrap_or_default(), limit],
        ),
        (OBJECTS, &cells![&objects, limit]),
    ];
    let questions = &questions[..if batch.has_pieces() { 4 } else { 3 }];
    let mut seen = [0; 4];
    // What to delete: outputs, pieces of objects, orders of outputs, signatures of finished runs, and whole proposals.
    let (mut outputs, mut names) = (Vec::new(), Vec::new());
    let (mut orders, mut signed, mut proposals) = (Vec::new(), Vec::new(), Vec::new());
    batch.ask(DURING, questions, &mut |question, row| {
        seen[question] += 1;
        match question {
            0 => {
                let number = row.get(0)?;
                done.walk.outputs = Some(number);
                if row.get::<Timestamp>(2)? <= cut.outputs {
                    let name: [u8; 32] = row.get(1)?;
                    outputs.push(number);
                    names.push(name);
                    if row.get(3)? {
                        done.files.push(Blake3Digest::from_bytes(name));
                    }
                }
            }
            // Unsigned proposals are deleted soon after their window. The log has no entry about these proposals.
            1 => proposals.push(row.get(0)?),
            2 => {
                let id: [u8; 16] = row.get(0)?;
                done.walk.proposals = Some(id);
                let Some(ended_at) = row.get::<Option<Timestamp>>(2)? else {
                    return Ok(());
                };
                let finished = row.get::<ProposalStatus>(1)? == ProposalStatus::Finished;
                if finished && ended_at <= cut.outputs {
                    orders.push(id);
                }
                if ended_at > cut.proposals {
                    return Ok(());
                }
                if finished {
                    // The proposal's row stays, because it leads to the log entries with the signatures and the receipt.
                    signed.push(id);
                } else if row.get::<Timestamp>(3)? <= cut.mark {
                    // Delete the row only after the window, because during the window only this row prevents a run.
                    proposals.push(id);
                }
            }
            _ => {
                let name = row.get(0)?;
                done.walk.objects = Some(name);
                names.push(name);
            }
        }
        Ok(())
    })?;
    done.walk.outputs = done.walk.outputs.filter(|_| seen[0] == limit);
    // No later call finds an unsigned proposal whose window ended earlier, because overdue proposals are marked as
    // expired before this function is called.
    done.walk.unsigned = if seen[1] == limit {
        walk.unsigned
    } else {
        walk.unsigned.max(Some(cut.unsigned))
    };
    done.walk.proposals = done.walk.proposals.filter(|_| seen[2] == limit);
    done.walk.objects = done.walk.objects.filter(|_| seen[3] == limit);
    let mut rows = RowList::default();
    // The rows of `output_of` stay, because they show which runs recorded the deleted output.
    rows.add(DELETE_OUTPUTS, outputs, |number: u64| cells![number]);
    if batch.has_pieces() {
        rows.add(DELETE_PIECES, &names, |name| cells![name]);
    }
    rows.add(DELETE_ORDERS, orders, |id| cells![id]);
    rows.add(DELETE_SIGNATURES, signed, |id| cells![id]);
    let counted = rows.0.len() + 1;
    rows.add(DELETE_PROPOSALS, &proposals, |id: &[u8; 16]| cells![id]);
    rows.add(DELETE_SIGNATURES, &proposals, |id| cells![id]);
    rows.add(DELETE_PAYLOADS, &proposals, |id| cells![id]);
    rows.add(DELETE_JOBS, &proposals, |id| cells![id]);
    let changed = batch.write(DURING, &rows.0)?;
    done.deleted = changed.iter().take(counted).sum();
    let questions: [BatchQuestion<'_>; 2] = [
        (OLD_EVENTS, &cells![cut.events, limit]),
        (OLD_DRAFTS, &cells![cut.mark]),
    ];
    batch.ask(DURING, &questions, &mut |_, _| {
        done.deleted += 1;
        Ok(())
    })?;
    Ok(done)
}
