//! Copies of a store: one of a living store for keeping, and what a new log takes over from an old one.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use crate::crypto::digest::Blake3Digest;
use crate::store::fault::StoreFault;
use crate::store::sqlite::errors::{fault, unusable};
use crate::store::sqlite::reads::read_only;
use crate::store::sqlite::schema::{harden, migrate};

/// Writes the store at `path`, as it is at one moment, into the new file `into`; a service may be writing it meanwhile.
///
/// `VACUUM INTO` rather than SQLite's backup interface: it is one read transaction, so the writer is never kept waiting
/// and a commit in between does not begin it anew; and it copies rows, not pages, so that what retention has deleted
/// is not in the copy.
///
/// # Errors
/// When the store can't be read or the copy can't be written.
pub fn copy(path: &Path, into: &Path) -> Result<(), StoreFault> {
    const DURING: &str = "copying the store";
    let connection = read_only(path)?;
    let name = into.to_str().ok_or_else(|| StoreFault::Database {
        during: DURING,
        message: format!("{} is no UTF-8: choose another name", into.display()),
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(fault(DURING))?;
    File::open(into)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreFault::Database { during: DURING, message: format!("{}: {error}", into.display()) })
}

/// The outputs of a store at rest that are files.
///
/// # Errors
/// When it can't be read.
pub fn files(path: &Path) -> Result<Vec<Blake3Digest>, StoreFault> {
    const DURING: &str = "listing outputs";
    let connection = read_only(path)?;
    let names = || -> rusqlite::Result<Vec<Blake3Digest>> {
        let mut statement = connection.prepare("SELECT name FROM output WHERE data IS NULL ORDER BY name")?;
        statement.query_map([], |row| row.get(0).map(Blake3Digest::from_bytes))?.collect()
    };
    names().map_err(fault(DURING))
}

/// Forgets outputs in a copy whose files were deleted while it was made, as the store itself has by then.
///
/// # Errors
/// When the copy can't be written.
pub fn forget(copy: &Path, gone: &[Blake3Digest]) -> Result<(), StoreFault> {
    const DURING: &str = "forgetting outputs in a copy";
    if gone.is_empty() {
        return Ok(());
    }
    let mut connection = writable(copy)?;
    let mut write = || -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        for name in gone {
            transaction.execute("DELETE FROM output WHERE name = ?1", [name.as_bytes()])?;
        }
        transaction.commit()
    };
    write().map_err(fault(DURING))
}

/// Brings a copy to this program's schema, so that it can be read.
///
/// # Errors
/// When it is no store, or newer than this program.
pub fn bring_up(copy: &Path) -> Result<(), StoreFault> {
    drop(read_only(copy)?);
    let mut connection = writable(copy)?;
    migrate(&mut connection, copy)
}

/// Takes over from the store at `old` into the new, empty one at `new` what outlives a log: blobs, tokens (a name is never
/// used twice), the low-water mark, and spent nonces, which stay spent. Their place is -1: none in this log.
///
/// # Errors
/// When one can't be read or the other can't be written.
pub fn take_over(old: &Path, new: &Path) -> Result<(), StoreFault> {
    const DURING: &str = "taking over from the old store";
    let connection = writable(new)?;
    let name = old.to_str().unwrap_or_default();
    let write = || -> rusqlite::Result<()> {
        connection.execute("ATTACH ?1 AS old", [name])?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             INSERT INTO blob SELECT * FROM old.blob;
             INSERT INTO token SELECT * FROM old.token;
             INSERT INTO nonce SELECT nonce, expires_at, -1, proposal FROM old.nonce;
             UPDATE state SET mark = (SELECT mark FROM old.state), nonces = (SELECT count(*) FROM nonce);
             COMMIT;
             DETACH old;",
        )
    };
    write().map_err(fault(DURING))
}

/// A copy, to be changed by this program alone.
pub(super) fn writable(path: &Path) -> Result<Connection, StoreFault> {
    let connection = Connection::open(path).map_err(|error| unusable(path, &error))?;
    harden(&connection).map_err(|error| unusable(path, &error))?;
    Ok(connection)
}
