//! Conversions between columns and Rust types, and queries that writer and readers share.

use base64::Engine as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{
    column_values::{grant_id, id_bytes, observed_of, presence_of, tile_id, unplace, verdict_of},
    fault::StoreFault,
    rows::{ProposalState, StoreHead},
    sqlite::errors::fault,
    stored_grant::{SpentUse, StoredGrant},
    stored_proposal::{AuthorizationCore, Proposal, Signature},
    stored_review::{OwedReview, StoredReview},
    stored_run::NonceUse,
    stored_status::StoredStatus,
    stored_token::Token,
};
use documents::{
    AuthorizationDigest, ContentDigest, Hash, ParamsDigest, ProposalId, Scope, SealDigest,
    StepDigest, Timestamp,
};

pub(super) const SPENT: &str = "SELECT spent, proposal FROM nonce WHERE nonce = ?1";

pub(super) const PROPOSAL: &str = "id, digest, nonce, request, step, step_digest, params_digest, proposer, expires_at, status, \
                        created_at, approved_at, started_at, ended_at, spent, receipt, detail";

pub(super) const TOKEN: &str =
    "name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at";

pub(super) fn run(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<usize, StoreFault> {
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params))
        .map_err(fault(during))
}

pub(super) fn one<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreFault> {
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, read).optional());
    found.map_err(fault(during))
}

pub(super) fn all<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreFault> {
    let found = connection.prepare_cached(sql).and_then(|mut statement| {
        statement
            .query_map(params, read)?
            .collect::<rusqlite::Result<Vec<T>>>()
    });
    found.map_err(fault(during))
}

pub(super) fn read_head(connection: &Connection) -> Result<StoreHead, StoreFault> {
    const DURING: &str = "reading the state of the boundary";
    let last = one(
        connection,
        DURING,
        "SELECT idx, at FROM leaf ORDER BY idx DESC LIMIT 1",
        [],
        |row| Ok((row.get::<_, u64>(0)? + 1, time(row, 1)?)),
    )?;
    let (size, last_at) = last.unwrap_or((0, Timestamp::from_unix(0)));
    let head = one(
        connection,
        DURING,
        "SELECT boundary, seal, version, mark FROM state",
        [],
        |row| {
            Ok(StoreHead {
                size,
                last_at,
                boundary: row
                    .get::<_, Option<[u8; 32]>>(0)?
                    .map(SealDigest::from_bytes),
                seal: row
                    .get::<_, Option<[u8; 32]>>(1)?
                    .map(SealDigest::from_bytes),
                version: row.get(2)?,
                mark: time(row, 3)?,
                exclusive: Vec::new(),
                emergencies: Vec::new(),
            })
        },
    )?;
    let mut head =
        head.ok_or_else(|| StoreFault::broken(DURING, "the table `state` has no row"))?;
    let sql = "SELECT exclusive, proposal FROM crossing WHERE exclusive IS NOT NULL";
    head.exclusive = all(connection, DURING, sql, [], |row| {
        Ok((row.get(0)?, proposal_id(row, 1)?))
    })?;
    Ok(head)
}

pub(super) fn read_tile(
    connection: &Connection,
    level: u8,
    index: u64,
) -> Result<Option<Vec<Hash>>, StoreFault> {
    const DURING: &str = "reading a hash tile";
    let found = one(
        connection,
        DURING,
        "SELECT hashes FROM tile WHERE id = ?1",
        [tile_id(level, index)],
        |row| {
            let bytes = row.get_ref(0)?.as_blob()?;
            Ok(bytes.as_chunks::<32>().0.to_vec())
        },
    )?;
    match found {
        Some(hashes) if hashes.len() != 256 => Err(StoreFault::broken(
            DURING,
            format!("tile {level}/{index} is cut"),
        )),
        found => Ok(found),
    }
}

pub(super) fn read_signatures(
    connection: &Connection,
    id: &ProposalId,
) -> Result<Vec<Signature>, StoreFault> {
    let sql = "SELECT keyid, person, presence, sig, at FROM signature WHERE proposal = ?1 ORDER BY number";
    all(
        connection,
        "reading signatures",
        sql,
        [id_bytes(id)],
        |row| {
            Ok(Signature {
                keyid: text(row, 0)?,
                person: text(row, 1)?,
                presence: presence_of(row.get(2)?),
                sig: row.get(3)?,
                at: time(row, 4)?,
            })
        },
    )
}

pub(super) fn proposal(row: &Row<'_>) -> rusqlite::Result<Proposal> {
    let times = |at| {
        row.get::<_, Option<i64>>(at)
            .map(|found| found.map(Timestamp::from_unix))
    };
    Ok(Proposal {
        core: AuthorizationCore {
            id: proposal_id(row, 0)?,
            digest: AuthorizationDigest::from_bytes(row.get(1)?),
            nonce: base64::engine::general_purpose::URL_SAFE_NO_PAD
                .encode(row.get_ref(2)?.as_blob()?)
                .parse()
                .map_err(|_| odd(row, 2))?,
            step: text(row, 4)?,
            step_digest: StepDigest::from_bytes(row.get(5)?),
            params_digest: ParamsDigest::from_bytes(row.get(6)?),
            proposer: text(row, 7)?,
            expires_at: time(row, 8)?,
        },
        request: row.get(3)?,
        status: status(row, 9)?,
        created_at: time(row, 10)?,
        approved_at: times(11)?,
        started_at: times(12)?,
        ended_at: times(13)?,
        consumption: row.get::<_, Option<i64>>(14)?.map(unplace),
        receipt: row.get(15)?,
        detail: row.get(16)?,
    })
}

pub(super) fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        name: text(row, 0)?,
        secret: row.get(1)?,
        owners: from_json(row, 2)?,
        scopes: from_json::<Vec<Scope>>(row, 3)?,
        patterns: from_json(row, 4)?,
        created_at: time(row, 5)?,
        expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_unix),
        revoked_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_unix),
    })
}

/// The columns of [`grant`].
pub(super) const GRANT: &str = "id, digest, envelope, proposer, created_at, expires_at, leaf";

pub(super) fn grant(row: &Row<'_>) -> rusqlite::Result<StoredGrant> {
    Ok(StoredGrant {
        id: grant_id(row.get(0)?).ok_or_else(|| odd(row, 0))?,
        digest: ContentDigest::from_bytes(row.get(1)?),
        envelope: row.get::<_, Vec<u8>>(2)?.into(),
        proposer: text(row, 3)?,
        created_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        leaf: row.get(6)?,
    })
}

/// The columns of [`owed`].
pub(super) const OWED: &str = "proposal, receipt, emergency, unknown, standing, reviewed, settled";

pub(super) fn owed(row: &Row<'_>) -> rusqlite::Result<OwedReview> {
    Ok(OwedReview {
        proposal: proposal_id(row, 0)?,
        receipt: row.get(1)?,
        emergency: truth(row, 2)?,
        unknown: truth(row, 3)?,
        grant: row
            .get::<_, Option<[u8; 32]>>(4)?
            .map(ContentDigest::from_bytes),
        reviewed: row.get(5)?,
        settled: row.get(6)?,
    })
}

/// Reads a truth value. The conditions of the statements compare it with 1, so another number than 0 and 1 is an error.
fn truth(row: &Row<'_>, at: usize) -> rusqlite::Result<bool> {
    match row.get::<_, i64>(at)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(odd(row, at)),
    }
}

/// The columns of [`review`].
pub(super) const REVIEW: &str =
    "leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle";

pub(super) fn review(row: &Row<'_>) -> rusqlite::Result<StoredReview> {
    let observed = row.get::<_, Option<i16>>(5)?;
    Ok(StoredReview {
        leaf: row.get(0)?,
        receipt: row.get(1)?,
        proposal: proposal_id(row, 2)?,
        reviewer: text(row, 3)?,
        verdict: verdict_of(truth(row, 4)?),
        observed: observed
            .map(|number| observed_of(number).ok_or_else(|| odd(row, 5)))
            .transpose()?,
        counts_for_review: truth(row, 6)?,
        counts_for_settle: truth(row, 7)?,
    })
}

/// Returns the newest uses of a grant, the newest first.
pub(super) fn read_uses(
    connection: &Connection,
    grant: &ContentDigest,
    limit: u64,
) -> Result<Vec<SpentUse>, StoreFault> {
    let sql = "SELECT number, at, EXISTS (SELECT 1 FROM owed WHERE standing = ?1 AND unknown = 1 AND settled IS NULL) \
               FROM standing_use WHERE digest = ?1 ORDER BY number DESC LIMIT ?2";
    all(
        connection,
        "reading uses of a grant",
        sql,
        params![grant.as_bytes(), limit],
        |row| {
            Ok(SpentUse {
                number: row.get(0)?,
                at: time(row, 1)?,
                paused: row.get(2)?,
            })
        },
    )
}

pub(super) fn standing(row: &Row<'_>) -> rusqlite::Result<ProposalState> {
    Ok(ProposalState {
        status: status(row, 0)?,
        consumption: row.get::<_, Option<i64>>(1)?.map(unplace),
        receipt: row.get(2)?,
    })
}

pub(super) fn spent(row: &Row<'_>) -> rusqlite::Result<NonceUse> {
    let (index, item) = unplace(row.get(0)?);
    Ok(NonceUse {
        index,
        item,
        proposal: proposal_id(row, 1)?,
    })
}

pub(super) fn proposal_id(row: &Row<'_>, at: usize) -> rusqlite::Result<ProposalId> {
    let uuid = uuid::Uuid::from_bytes(row.get(at)?);
    format!("prp_{uuid}").parse().map_err(|_| odd(row, at))
}

pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    row.get(at).map(Timestamp::from_unix)
}

pub(super) fn status(row: &Row<'_>, at: usize) -> rusqlite::Result<StoredStatus> {
    StoredStatus::of_number(row.get(at)?).ok_or_else(|| odd(row, at))
}

pub(super) fn text<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    row.get_ref(at)?.as_str()?.parse().map_err(|_| odd(row, at))
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreFault> {
    serde_json::to_string(value).map_err(|error| StoreFault::Database {
        during: "writing a token",
        message: error.to_string(),
    })
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|_| odd(row, at))
}

/// Returns the error for a stored value that this program never writes.
pub(super) fn odd(row: &Row<'_>, at: usize) -> rusqlite::Error {
    let kind = row
        .get_ref(at)
        .map_or(rusqlite::types::Type::Null, |value| value.data_type());
    rusqlite::Error::InvalidColumnType(
        at,
        "a value that this program does not write".to_owned(),
        kind,
    )
}
