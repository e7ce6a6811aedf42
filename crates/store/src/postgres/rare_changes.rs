//! Rare changes inside of a batch, each with its own round trips: tokens, expired proposals and nonces, and retention.

use crate::{
    RetentionCut, RetentionWalk, Retired, SweepResult,
    fault::StoreFault,
    postgres::{
        columns::{Fields, limit as at_most, list, signed},
        link::{Flight, Link},
    },
    stored_status::StoredStatus,
    stored_token::{IdTokenUse, Token, TokenChange},
};
use documents::{Name, ProposalId, Timestamp};

/// A key after all nonces.
const LAST: [u8; 32] = [0xff; 32];

statements! {
    ALL:
    TOKEN_NAMES = "SELECT name FROM token WHERE name = ANY($1::text[])";
    NEW_TOKENS = "INSERT INTO token (name, secret, owners, scopes, patterns, created_at, expires_at, \
        revoked_at) SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], \
        $8::bigint[])";
    BINDINGS = "INSERT INTO token_binding (name, binding) SELECT * FROM unnest($1::text[], $2::text[])";
    OLD_ID_TOKENS = "DELETE FROM id_token WHERE expires_at <= $1";
    ID_TOKEN = "INSERT INTO id_token (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING RETURNING 1";
    REVOKED = "UPDATE token t SET revoked_at = coalesce(t.revoked_at, q.at) \
        FROM unnest($1::text[], $2::bigint[]) AS q(name, at) WHERE t.name = q.name";
    EXPIRE = "UPDATE proposal SET status = 5, ended_at = $1 WHERE id = ANY(ARRAY(SELECT id FROM proposal \
        WHERE status BETWEEN 2 AND 3 AND expires_at <= $1 LIMIT $2)) RETURNING id";
    LAST_NONCE = "SELECT nonce FROM nonce WHERE nonce > $1 ORDER BY nonce LIMIT 1 OFFSET $2";
    OLD_NONCES = "DELETE FROM nonce WHERE nonce > $1 AND nonce <= $2 AND expires_at <= $3 \
        RETURNING 1";
    OLD_OUTPUTS = "SELECT number, name, at FROM output WHERE number > $1 ORDER BY number LIMIT $2";
    OBJECTS = "SELECT DISTINCT name FROM piece WHERE name > $1 ORDER BY name LIMIT $2";
    UNSIGNED = "SELECT id FROM proposal p LEFT JOIN LATERAL (SELECT true AS signed FROM signature \
        WHERE proposal = p.id LIMIT 1) s ON true WHERE p.status BETWEEN 5 AND 7 AND p.expires_at > $3 AND p.expires_at <= $1 \
        AND s.signed IS NULL LIMIT $2";
    OLD_PROPOSALS = "SELECT id, status, ended_at, expires_at FROM proposal WHERE id > $1 ORDER BY id LIMIT $2";
    DELETE_OUTPUTS = "DELETE FROM output WHERE number = ANY($1::bigint[]) RETURNING 1";
    // The newest event stays, because the next number follows from it.
    OLD_EVENTS = "DELETE FROM event WHERE at <= $1 AND seq < (SELECT max(seq) FROM event) \
        AND seq < (SELECT min(seq) FROM event) + $2 RETURNING 1";
    OLD_DRAFTS = "DELETE FROM standing WHERE expires_at <= $1 AND leaf IS NULL RETURNING 1";
    // The end of a run and the end of an upload write the pieces before the row that refers to them.
    DELETE_PIECES = "DELETE FROM piece p WHERE p.name = ANY($1::bytea[]) \
        AND p.at < now() - interval '1 hour' AND NOT EXISTS (SELECT FROM output o WHERE o.name = p.name) \
        AND NOT EXISTS (SELECT FROM artifact a WHERE a.digest = p.name) RETURNING 1";
    DELETE_ORDERS = "DELETE FROM output_order WHERE proposal = ANY($1::bytea[]) RETURNING 1";
    DELETE_SIGNATURES = "DELETE FROM signature WHERE proposal = ANY($1::bytea[]) RETURNING 1";
    DELETE_PAYLOADS = "DELETE FROM payload WHERE proposal = ANY($1::bytea[])";
    DELETE_PROPOSALS = "DELETE FROM proposal WHERE id = ANY($1::bytea[]) RETURNING 1";
    DELETE_JOBS = "DELETE FROM admitted WHERE proposal = ANY($1::bytea[])";
}

/// Adds and revokes tokens. If one change is impossible, the function changes no token and returns the name of the token
/// in the impossible change.
pub(super) fn change_tokens(
    link: &Link,
    changes: &[TokenChange],
) -> Result<Option<Name>, StoreFault> {
    const DURING: &str = "changing tokens";
    if changes.is_empty() {
        return Ok(None);
    }
    let name_of = |change: &TokenChange| match change {
        TokenChange::Add(token, _) => token.name.clone(),
        TokenChange::Revoke { name, .. } => name.clone(),
    };
    let names: Vec<String> = changes
        .iter()
        .map(|change| name_of(change).to_string())
        .collect();
    let mut known: Vec<String> = link
        .query(DURING, TOKEN_NAMES, values![names])?
        .iter()
        .map(|row| Fields::new(DURING, row).get(0))
        .collect::<Result<_, StoreFault>>()?;
    for change in changes {
        let name = name_of(change);
        if known.iter().any(|known| known == name.as_str())
            == matches!(change, TokenChange::Add(..))
        {
            return Ok(Some(name));
        }
        known.push(name.to_string());
    }
    let new: Vec<&Token> = changes
        .iter()
        .filter_map(|change| {
            if let TokenChange::Add(token, _) = change {
                Some(token)
            } else {
                None
            }
        })
        .collect();
    let revoked = changes.iter().filter_map(|change| match change {
        TokenChange::Revoke { name, at } => Some((name.to_string(), at.unix())),
        TokenChange::Add(..) => None,
    });
    let (gone, times): (Vec<String>, Vec<i64>) = revoked.unzip();
    let mut flight = Flight::default();
    if !new.is_empty() {
        let time = |read: fn(&Token) -> Option<Timestamp>| {
            list(&new, |token| read(token).map(Timestamp::unix))
        };
        flight.add(
            NEW_TOKENS,
            values![
                list(&new, |token| token.name.as_str()),
                list(&new, |token| &token.secret[..]),
                new.iter()
                    .map(|token| json(&token.owners))
                    .collect::<Result<Vec<_>, _>>()?,
                new.iter()
                    .map(|token| json(&token.scopes))
                    .collect::<Result<Vec<_>, _>>()?,
                new.iter()
                    .map(|token| json(&token.patterns))
                    .collect::<Result<Vec<_>, _>>()?,
                list(&new, |token| token.created_at.unix()),
                time(|token| token.expires_at),
                time(|token| token.revoked_at)
            ],
        );
    }
    let bound = changes.iter().filter_map(|change| match change {
        TokenChange::Add(token, Some(binding)) => {
            Some(json(binding).map(|binding| (token.name.to_string(), binding)))
        }
        _ => None,
    });
    let (names, bindings): (Vec<String>, Vec<String>) =
        bound.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    if !names.is_empty() {
        flight.add(BINDINGS, values![names, bindings]);
    }
    if !gone.is_empty() {
        flight.add(REVOKED, values![gone, times]);
    }
    link.rows(DURING, &flight)?;
    Ok(None)
}

/// Notes that an ID token was used, and deletes the notes that ended at or before `mark`. Returns false if the ID token was
/// used before.
pub(super) fn admit(link: &Link, used: &IdTokenUse, mark: Timestamp) -> Result<bool, StoreFault> {
    let mut flight = Flight::default();
    flight.add(OLD_ID_TOKENS, values![mark.unix()]);
    flight.add(
        ID_TOKEN,
        values![used.digest.to_vec(), used.expires_at.unix()],
    );
    Ok(!link.rows("noting an ID token", &flight)?[1].is_empty())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreFault> {
    serde_json::to_string(value).map_err(|error| StoreFault::Database {
        during: "writing a token",
        message: error.to_string(),
    })
}

/// Marks at most `limit` overdue proposals as expired.
pub(super) fn expire(
    link: &Link,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<ProposalId>, StoreFault> {
    const DURING: &str = "expiring proposals";
    let rows = link.query(DURING, EXPIRE, values![now.unix(), at_most(limit)])?;
    rows.iter()
        .map(|row| Fields::new(DURING, row).proposal_id(0))
        .collect()
}

/// Examines the next `limit` nonces that follow the nonce `after`, and deletes those that expired at or before `mark`.
pub(super) fn prune(
    link: &Link,
    mark: Timestamp,
    after: &[u8],
    limit: usize,
) -> Result<SweepResult, StoreFault> {
    const DURING: &str = "pruning nonces";
    let rows = link.query(DURING, LAST_NONCE, values![after, at_most(limit - 1)])?;
    let last: Option<Vec<u8>> = rows
        .first()
        .map(|row| Fields::new(DURING, row).get(0))
        .transpose()?;
    let deleted = link
        .query(
            DURING,
            OLD_NONCES,
            values![after, last.as_deref().unwrap_or(&LAST), mark.unix()],
        )?
        .len();
    Ok(SweepResult { deleted, last })
}

/// Examines `limit` outputs and `limit` proposals from `walk` on, and deletes the rows whose retention has ended
/// according to `cut`.
pub(super) fn retire(
    link: &Link,
    cut: RetentionCut,
    walk: RetentionWalk,
    limit: usize,
) -> Result<Retired, StoreFault> {
    const DURING: &str = "deleting rows after their retention";
    let mut done = Retired::default();
    let after = walk.unsigned.map_or(-1, Timestamp::unix);
    let mut flight = Flight::default();
    flight.add(
        OLD_OUTPUTS,
        values![signed(walk.outputs.unwrap_or(0)), at_most(limit)],
    );
    flight.add(
        UNSIGNED,
        values![cut.unsigned.unix(), at_most(limit), after],
    );
    flight.add(
        OBJECTS,
        values![walk.objects.unwrap_or_default().to_vec(), at_most(limit)],
    );
    let rows = link.rows(DURING, &flight)?;
    let (mut outputs, mut names) = (Vec::new(), Vec::new());
    for row in &rows[0] {
        let row = Fields::new(DURING, row);
        done.walk.outputs = Some(row.number(0)?);
        if row.time(2)? <= cut.outputs {
            outputs.push(row.get::<i64>(0)?);
            names.push(row.get::<Vec<u8>>(1)?);
        }
    }
    for row in &rows[2] {
        let name = Fields::new(DURING, row).bytes(0)?;
        done.walk.objects = Some(name);
        names.push(name.to_vec());
    }
    done.walk.objects = done.walk.objects.filter(|_| rows[2].len() == limit);
    done.walk.outputs = done.walk.outputs.filter(|_| rows[0].len() == limit);
    // Unsigned proposals are deleted soon after their window. The log has no entry about them.
    let unsigned: Vec<Vec<u8>> = rows[1]
        .iter()
        .map(|row| Fields::new(DURING, row).get(0))
        .collect::<Result<_, StoreFault>>()?;
    // No proposal with an earlier end follows, because proposals expire before this function is called.
    done.walk.unsigned = if unsigned.len() == limit {
        walk.unsigned
    } else {
        walk.unsigned.max(Some(cut.unsigned))
    };
    let mut flight = Flight::default();
    // The rows of `output_of` stay, because they show which runs recorded the deleted output.
    flight.add(DELETE_OUTPUTS, values![outputs]);
    flight.add(DELETE_PIECES, values![names]);
    flight.add(DELETE_PAYLOADS, values![unsigned.clone()]);
    flight.add(DELETE_PROPOSALS, values![unsigned.clone()]);
    flight.add(OLD_EVENTS, values![cut.events.unix(), at_most(limit)]);
    flight.add(OLD_DRAFTS, values![cut.mark.unix()]);
    let after = walk.proposals.unwrap_or_default().to_vec();
    flight.add(OLD_PROPOSALS, values![after, at_most(limit)]);
    flight.add(DELETE_JOBS, values![unsigned]);
    let rows = link.rows(DURING, &flight)?;
    done.deleted += rows[0].len() + rows[1].len() + rows[3].len() + rows[4].len() + rows[5].len();
    let seen = &rows[6];
    // Orders of outputs, signatures of finished runs, and whole proposals.
    let (mut orders, mut signatures, mut proposals) = (Vec::new(), Vec::new(), Vec::new());
    for row in seen {
        let row = Fields::new(DURING, row);
        let id: [u8; 16] = row.bytes(0)?;
        done.walk.proposals = Some(id);
        let Some(ended_at) = row.time_if(2)? else {
            continue;
        };
        let finished = row.status(1)? == StoredStatus::Finished;
        if finished && ended_at <= cut.outputs {
            orders.push(id.to_vec());
        }
        if ended_at > cut.proposals {
            continue;
        }
        if finished {
            // The proposal's row stays, because it leads to the receipt, which also contains the signatures.
            signatures.push(id.to_vec());
        } else if row.time(3)? <= cut.mark {
            // Delete the row only after the window, because during the window only this row prevents a run.
            proposals.push(id.to_vec());
        }
    }
    done.walk.proposals = done.walk.proposals.filter(|_| seen.len() == limit);
    let mut flight = Flight::default();
    flight.add(DELETE_ORDERS, values![orders]);
    flight.add(DELETE_SIGNATURES, values![signatures]);
    flight.add(DELETE_PROPOSALS, values![proposals.clone()]);
    flight.add(DELETE_SIGNATURES, values![proposals.clone()]);
    flight.add(DELETE_PAYLOADS, values![proposals.clone()]);
    flight.add(DELETE_JOBS, values![proposals]);
    done.deleted += link
        .rows(DURING, &flight)?
        .iter()
        .take(3)
        .map(Vec::len)
        .sum::<usize>();
    Ok(done)
}
