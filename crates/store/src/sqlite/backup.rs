//! Copies of a store: backups, and the transfer of data from an old to a new log.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use crate::{
    StoreFault, is_interrupted, read_only,
    sqlite::{
        columns::all,
        errors::{fault, unusable},
        schema::{harden, migrate},
    },
};
use documents::{Blake3Digest, Name};

/// Writes a consistent copy of the store at `path` into the new file `into`. A running service can write to the store
/// during the copy.
///
/// `VACUUM INTO` runs in one read transaction. In contrast to SQLite's backup interface, it never blocks the writer and
/// never restarts after a commit. It copies rows instead of pages, so the copy contains no deleted data.
///
/// # Errors
/// Returns a fault if the store cannot be read or the copy cannot be written.
pub fn copy(path: &Path, into: &Path) -> Result<(), StoreFault> {
    const DURING: &str = "copying the store";
    let connection = read_only(path)?;
    let name = into.to_str().ok_or_else(|| {
        StoreFault::database(
            DURING,
            format!(
                "the name {} is not UTF-8; choose another name",
                into.display()
            ),
        )
    })?;
    connection
        .execute("VACUUM INTO ?1", [name])
        .map_err(fault(DURING))?;
    File::open(into)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreFault::database(DURING, format!("{}: {error}", into.display())))
}

/// Returns the names of all outputs that are files, for a store without a writer.
pub fn files(path: &Path) -> Result<Vec<Blake3Digest>, StoreFault> {
    let files = output_files(&read_only(path)?)?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Returns the outputs that are files, with their sizes.
pub(super) fn output_files(
    connection: &Connection,
) -> Result<Vec<(Blake3Digest, u64)>, StoreFault> {
    let sql = "SELECT name, bytes FROM main.output WHERE data IS NULL ORDER BY name";
    all(connection, "listing outputs", sql, [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Deletes outputs from a copy whose files were deleted while the copy was made.
pub fn forget(copy: &Path, gone: &[Blake3Digest]) -> Result<(), StoreFault> {
    const DURING: &str = "deleting outputs from a copy";
    if gone.is_empty() {
        return Ok(());
    }
    let mut connection = writable(copy)?;
    let transaction = connection.transaction().map_err(fault(DURING))?;
    delete_outputs(&transaction, gone)
        .and_then(|()| transaction.commit())
        .map_err(fault(DURING))
}

pub(super) fn delete_outputs(
    connection: &Connection,
    gone: &[Blake3Digest],
) -> rusqlite::Result<()> {
    gone.iter().try_for_each(|name| {
        let sql = "DELETE FROM main.output WHERE name = ?1";
        connection.execute(sql, [name.as_bytes()]).map(drop)
    })
}

/// Migrates a copy of a store to the schema of this program.
///
/// # Errors
/// Returns a fault if the file is no store, or if a newer program wrote the store.
pub fn bring_up(copy: &Path) -> Result<(), StoreFault> {
    settle(copy)?;
    drop(read_only(copy)?);
    let mut connection = writable(copy)?;
    migrate(&mut connection, copy)
}

/// Copies blobs, tokens except `void`, the low-water mark and spent nonces from the store `old` to the empty store `new`.
///
/// The nonces stay spent, and the names of the copied tokens stay in use. The place of a copied nonce in the log is -1,
/// because no entry of the new log spent it.
pub fn take_over(old: &Path, new: &Path, void: &[Name]) -> Result<(), StoreFault> {
    const DURING: &str = "copying data from the old store";
    let connection = writable(new)?;
    let name = old.to_str().unwrap_or_default();
    let write = || -> rusqlite::Result<()> {
        connection.execute("ATTACH ?1 AS old", [name])?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             INSERT INTO blob SELECT * FROM old.blob;
             INSERT INTO token SELECT * FROM old.token;
             INSERT INTO token_binding SELECT * FROM old.token_binding;
             INSERT INTO nonce SELECT nonce, expires_at, -1, proposal FROM old.nonce;
             UPDATE state SET mark = (SELECT mark FROM old.state), nonces = (SELECT count(*) FROM nonce);
             COMMIT;
             DETACH old;",
        )?;
        void.iter().try_for_each(|name| {
            connection.execute("DELETE FROM token_binding WHERE name = ?1", [name.as_str()])?;
            connection
                .execute("DELETE FROM token WHERE name = ?1", [name.as_str()])
                .map(drop)
        })
    };
    write().map_err(fault(DURING))
}

/// Opens a copy of a store for writing.
pub(super) fn writable(path: &Path) -> Result<Connection, StoreFault> {
    let connection = Connection::open(path).map_err(|error| unusable(path, &error))?;
    harden(&connection).map_err(|error| unusable(path, &error))?;
    Ok(connection)
}

/// Gives the backup at `path` its earlier state, if an update was interrupted.
///
/// # Errors
/// Returns a fault if the file cannot be written.
pub fn settle(path: &Path) -> Result<(), StoreFault> {
    if !is_interrupted(path) {
        return Ok(());
    }
    // SQLite rolls an interrupted transaction back at the first read of a connection that may write.
    let read = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    read(&writable(path)?).map_err(fault("undoing an interrupted update of the backup"))
}
