//! Reader for a store of version 0.1.0, for an upgrade.
//!
//! The entries are only hashed. The only document that is parsed is the envelope of the first seal, whose format did
//! not change.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::crypto::digest::SealDigest;
use crate::crypto::json;
use crate::crypto::merkle::{self, Hash};
use crate::record::envelope::{Base64, Envelope};
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;
use crate::store::sqlite::backup::writable;
use crate::store::sqlite::errors::unusable;
use crate::store::sqlite::reads::connect;
use crate::store::sqlite::schema::{APPLICATION_ID, FIRST, differences};

/// The contents of a store of version 0.1.0.
#[derive(Debug)]
pub struct OldStore {
    /// Id of the boundary.
    pub id: SealDigest,
    /// Leaf hashes of the log, computed from the entries.
    pub leaves: Vec<Hash>,
    /// Time that the last entry states.
    pub last_at: Timestamp,
    /// Text of the largest recorded checkpoint.
    pub checkpoint: Option<String>,
    /// Number of runs that have a consumption and no receipt.
    pub open_runs: u64,
}

/// Reads the store at `path` and changes nothing.
///
/// # Errors
/// Returns a fault if the file is no store of version 0.1.0, or if the store is damaged.
pub fn read(path: &Path) -> Result<OldStore, StoreFault> {
    let damaged = |what: &dyn std::fmt::Display| {
        let message =
            format!("{} is damaged: {what}; replace the file with an undamaged copy of the store", path.display());
        StoreFault::Unusable { message }
    };
    let failed = |error: rusqlite::Error| damaged(&error);
    let connection = connect(path).map_err(|error| unusable(path, &error))?;
    // All queries read one state of the database.
    connection.execute_batch("BEGIN").map_err(|error| unusable(path, &error))?;
    check_version(&connection, path)?;
    let differences = differences(&connection, schema_number(&connection).map_err(failed)?).map_err(failed)?;
    if let Some(first) = differences.first() {
        return Err(damaged(&format!("the schema was changed by hand ({first})")));
    }
    let mut found = OldStore {
        id: SealDigest::from_bytes([0; 32]),
        leaves: Vec::new(),
        last_at: Timestamp::from_unix(0),
        checkpoint: None,
        open_runs: 0,
    };
    let mut first = None;
    let mut read_log = || -> rusqlite::Result<Option<u64>> {
        let mut statement = connection.prepare("SELECT idx, at, data FROM leaf ORDER BY idx")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (index, data) = (row.get::<_, u64>(0)?, row.get_ref(2)?.as_blob()?);
            if index != found.leaves.len() as u64 {
                return Ok(Some(found.leaves.len() as u64));
            }
            if index == 0 {
                first = payload_digest(data);
            }
            found.leaves.push(merkle::leaf_hash(data));
            found.last_at = Timestamp::from_unix(row.get(1)?);
        }
        Ok(None)
    };
    if let Some(missing) = read_log().map_err(failed)? {
        return Err(damaged(&format!("the log entry {missing} is missing")));
    }
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, Option<[u8; 32]>>(0)).optional();
    let id = one("SELECT boundary FROM state").map_err(failed)?.flatten().map(SealDigest::from_bytes);
    found.id = match (id, found.leaves.is_empty()) {
        (Some(id), false) if first == Some(id) => id,
        (None, true) => {
            let message = format!(
                "the log of {} is empty, so an upgrade is not needed: move the file away and start the boundary",
                path.display()
            );
            return Err(StoreFault::Unusable { message });
        }
        _ => return Err(damaged(&"the first log entry is not the seal whose digest is the boundary's id")),
    };
    let sql = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1";
    found.checkpoint = connection.query_row(sql, [], |row| row.get(0)).optional().map_err(failed)?;
    let sql = "SELECT count(*) FROM crossing";
    found.open_runs = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    Ok(found)
}

/// Moves the write-ahead log of the store at `path` into the database file. The database file alone then contains the
/// whole store.
///
/// # Errors
/// Returns a fault if the file cannot be written, or if another program reads the store.
pub fn settle(path: &Path) -> Result<(), StoreFault> {
    let connection = writable(path)?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: bool = connection.query_row(sql, [], |row| row.get(0)).map_err(|error| unusable(path, &error))?;
    if busy {
        let message =
            format!("another program reads {}: end that program, then run this command again", path.display());
        return Err(StoreFault::Unusable { message });
    }
    Ok(())
}

fn check_version(connection: &Connection, path: &Path) -> Result<(), StoreFault> {
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| unusable(path, &error))?;
    let version = schema_number(connection).map_err(|error| unusable(path, &error))?;
    let what = match version {
        _ if application != APPLICATION_ID => "is not a store of this program: name another file",
        1..FIRST => return Ok(()),
        _ => "is not a store of version 0.1.0, so there is nothing to upgrade",
    };
    Err(StoreFault::Unusable { message: format!("{} {what}", path.display()) })
}

fn schema_number(connection: &Connection) -> rusqlite::Result<usize> {
    let number: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Returns the digest of the payload in an envelope, or `None` if `data` is no envelope.
fn payload_digest(data: &[u8]) -> Option<SealDigest> {
    let envelope: Envelope = json::parse_as(data, data.len()).ok()?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload).ok()?;
    Some(SealDigest::of(&payload))
}
