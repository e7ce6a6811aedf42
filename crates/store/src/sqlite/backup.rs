//! Copies of a store: backups, and the transfer of data from an old log to a new log.
//!
//! The file also brings an earlier backup up to date: it copies only what the store got since then, in one transaction.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    Entries, StoreFault, StoreResult, crash_points, is_interrupted, read_only, refused,
    small_file::sync,
    sqlite::{
        columns::{all, run},
        errors::{During as _, unusable},
        schema::{self, harden},
    },
};
use documents::{Blake3Digest, Name, TILE_WIDTH, joined};

/// Writes a consistent copy of the store at `path` into the new file `into`. A running service can write to the store
/// during the copy.
///
/// `VACUUM INTO` runs in one read transaction. In contrast to SQLite's backup interface, `VACUUM INTO` never blocks the
/// writer and never restarts after a commit. The statement copies rows instead of pages, so the copy contains no
/// deleted data.
///
/// # Errors
/// Returns a fault if the store cannot be read or the copy cannot be written.
pub fn copy(path: &Path, into: &Path) -> StoreResult {
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
        .during(DURING)?;
    sync(into).map_err(|error| StoreFault::database(DURING, format!("{}: {error}", into.display())))
}

/// Returns the names of all outputs that are files, for a store without a writer.
pub fn files(path: &Path) -> StoreResult<Vec<Blake3Digest>> {
    let files = output_files(&read_only(path)?)?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Returns the outputs that are files, with their sizes.
pub(super) fn output_files(connection: &Connection) -> StoreResult<Vec<(Blake3Digest, u64)>> {
    let sql = "SELECT name, bytes FROM main.output WHERE data IS NULL ORDER BY name";
    all(connection, "listing outputs", sql, [], |row| row.pair())
}

/// Deletes outputs from a copy whose files were deleted while the copy was made.
pub fn forget(copy: &Path, gone: &[Blake3Digest]) -> StoreResult {
    const DURING: &str = "deleting outputs from a copy";
    if gone.is_empty() {
        return Ok(());
    }
    let mut connection = writable(copy)?;
    let transaction = connection.transaction().during(DURING)?;
    delete_outputs(&transaction, gone)
        .and_then(|()| transaction.commit())
        .during(DURING)
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

/// Checks that a copied backup has the schema of this program.
///
/// # Errors
/// Returns a fault if the file is no store, or if another program wrote the store.
pub fn check_copy(copy: &Path) -> StoreResult {
    settle(copy)?;
    schema::check(&read_only(copy)?, copy)
}

/// Copies blobs, tokens except `void`, the low-water mark and spent nonces from the store `old` to the empty store `new`.
///
/// The nonces stay spent, and the names of the copied tokens stay in use. The place of a copied nonce in the log is -1,
/// because no entry of the new log spent it.
pub fn take_over(old: &Path, new: &Path, void: &[Name]) -> StoreResult {
    const DURING: &str = "copying data from the old store";
    let connection = writable(new)?;
    let name = old.to_str().unwrap_or_default();
    let write = || -> rusqlite::Result<()> {
        connection.execute("ATTACH ?1 AS old", [name])?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             INSERT INTO blob SELECT * FROM old.blob;
             INSERT INTO token SELECT * FROM old.token;
             INSERT INTO nonce SELECT nonce, -1, proposal FROM old.nonce;
             UPDATE state SET mark = (SELECT mark FROM old.state), nonces = (SELECT count(*) FROM nonce);
             COMMIT;
             DETACH old;",
        )?;
        void.iter().try_for_each(|name| {
            connection
                .execute("DELETE FROM token WHERE name = ?1", [name.as_str()])
                .map(drop)
        })
    };
    write().during(DURING)
}

/// Opens a copy of a store for writing.
pub(super) fn writable(path: &Path) -> StoreResult<Connection> {
    let connection = Connection::open(path).map_err(unusable(path))?;
    harden(&connection).map_err(unusable(path))?;
    Ok(connection)
}

/// Gives the backup at `path` its earlier state, if an update was interrupted.
///
/// # Errors
/// Returns a fault if the file cannot be written.
pub fn settle(path: &Path) -> StoreResult {
    if !is_interrupted(path) {
        return Ok(());
    }
    // SQLite rolls an interrupted transaction back at the first read of a connection that may write.
    let read = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    read(&writable(path)?).during("undoing an interrupted update of the backup")
}

const DURING: &str = "copying news into the backup";
/// Number of log entries in a packed tile.
const WIDTH: u64 = TILE_WIDTH as u64;
/// Number of log entries that are copied between two reports of the progress.
const CHUNK: u64 = 1024;
/// Tables whose rows are never changed or deleted, except for the tables that are copied by their numbers.
const ONLY_ADDED: &[&str] = &["checkpoint", "seal", "blob", "denial", "review"];
/// Tables that are copied by their numbers, because comparing them would read the whole log.
const NUMBERED: &[&str] = &["leaf", "tile", "packed"];

/// A backup that is being brought up to date. Without [`BackupUpdate::commit`], the backup does not change.
pub struct BackupUpdate {
    connection: Connection,
}

impl BackupUpdate {
    /// Copies the rows that the backup `copy` lacks from the store at `from`. The log of the backup must be a beginning of
    /// the store's log. `progress` gets the number of copied log entries and the number of all new entries.
    ///
    /// The log, its hash tiles and packed entries are copied from the first missing number on. All other rows are
    /// compared, so each other table of the backup then has the same rows as the store.
    pub fn begin(
        from: &Path,
        copy: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StoreResult<Self> {
        // First roll back an interrupted update. `read_only` then refuses files that are no stores.
        settle(copy)?;
        drop(read_only(from)?);
        let journal: String = read_only(copy)?
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .during(DURING)?;
        if journal == "wal" {
            return Err(refused(format!(
                "{}: this is a store in use and no backup: name a directory that `store backup` made",
                copy.display()
            )));
        }
        let connection = writable(copy)?;
        let update = Self { connection };
        update.copy_tables(from).during(DURING)?;
        update.packed()?;
        update.log(progress).during(DURING)?;
        crash_points::point("backup-rows-copied");
        Ok(update)
    }

    fn copy_tables(&self, from: &Path) -> rusqlite::Result<()> {
        let db = &self.connection;
        // No byte of a deleted row stays in the backup.
        db.execute_batch("PRAGMA secure_delete = ON")?;
        db.execute("ATTACH ?1 AS src", [uri(from)])?;
        db.execute_batch("BEGIN IMMEDIATE")?;
        let mut statement =
            db.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'")?;
        let tables: Vec<String> = statement
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        // This call needs the table `crossing` of the backup unchanged, with the runs that had not ended at the time of
        // the backup.
        self.unfinished()?;
        for table in tables
            .iter()
            .filter(|table| !NUMBERED.contains(&table.as_str()) && !table.starts_with("sqlite_"))
        {
            if !ONLY_ADDED.contains(&table.as_str()) && table != "proposal" {
                self.delete_differing(table, "1")?;
            }
            self.add_missing(table)?;
        }
        Ok(())
    }

    /// Deletes the proposals that differ from those of the store. The row of a finished run never changes, so it is not
    /// compared.
    fn unfinished(&self) -> rusqlite::Result<()> {
        for condition in [
            "status >= 4",
            "status BETWEEN 2 AND 3",
            "id IN (SELECT proposal FROM main.crossing)",
        ] {
            self.delete_differing("proposal", condition)?;
        }
        Ok(())
    }

    /// Returns the names of a table's columns: those of its primary key, and the others.
    fn columns(&self, table: &str) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT name, pk FROM pragma_table_info(?1, 'main')")?;
        let columns = statement.query_map([table], |row| {
            Ok((format!("\"{}\"", row.get::<_, String>(0)?), row.get(1)?))
        })?;
        let columns: Vec<(String, i64)> = columns.collect::<rusqlite::Result<_>>()?;
        let (key, rest): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(_, place)| *place > 0);
        let names =
            |columns: Vec<(String, i64)>| columns.into_iter().map(|(name, _)| name).collect();
        Ok((names(key), names(rest)))
    }

    fn delete_differing(&self, table: &str, condition: &str) -> rusqlite::Result<()> {
        let (key, mut rest) = self.columns(table)?;
        if table == "output" {
            // The name is the digest of the bytes, so it is enough to compare the names.
            rest.retain(|name| name != "\"data\"");
        }
        let same: Vec<String> = key
            .iter()
            .chain(&rest)
            .map(|name| format!("s.{name} IS m.{name}"))
            .collect();
        let sql = format!(
            "DELETE FROM main.{table} AS m WHERE ({condition}) AND NOT EXISTS (SELECT 1 FROM src.{table} AS s WHERE {})",
            same.join(" AND ")
        );
        self.connection.execute(&sql, []).map(drop)
    }

    fn add_missing(&self, table: &str) -> rusqlite::Result<()> {
        let (key, rest) = self.columns(table)?;
        let columns = joined(key.iter().chain(&rest), ", ");
        let same: Vec<String> = key
            .iter()
            .map(|name| format!("m.{name} = s.{name}"))
            .collect();
        let sql = format!(
            "INSERT INTO main.{table} ({columns}) SELECT {columns} FROM src.{table} AS s \
             WHERE NOT EXISTS (SELECT 1 FROM main.{table} AS m WHERE {})",
            same.join(" AND ")
        );
        self.connection.execute(&sql, []).map(drop)
    }

    /// Copies the log entries and hash tiles that the backup lacks.
    fn log(&self, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
        let db = &self.connection;
        let size = |schema: &str| {
            db.query_row(
                &format!("SELECT coalesce(max(idx) + 1, 0) FROM {schema}.leaf"),
                [],
                |row| row.get::<_, u64>(0),
            )
        };
        let (first, end) = (size("main")?, size("src")?);
        let mut insert =
            db.prepare("INSERT INTO main.leaf SELECT * FROM src.leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx")?;
        for at in (first..end).step_by(CHUNK as usize) {
            progress(at - first, end - first);
            insert.execute([at, end.min(at + CHUNK)])?;
        }
        // The id of a tile begins with its level, and each level has its own newest tile.
        for level in 0_i64..8 {
            let (low, high) = (level << 48, (level + 1) << 48);
            db.execute(
                "INSERT INTO main.tile SELECT * FROM src.tile WHERE id < ?2 AND id > \
                 (SELECT coalesce(max(id), ?1 - 1) FROM main.tile WHERE id >= ?1 AND id < ?2) ORDER BY id",
                [low, high],
            )?;
        }
        Ok(())
    }

    /// Copies the tiles that the store packed since the backup. The rows of their entries are deleted and added again,
    /// because an UPDATE would leave their pages nearly empty.
    ///
    /// First, the packed bytes are compared with the hashes in the backup. So a damaged tile never replaces intact entries.
    fn packed(&self) -> StoreResult {
        let db = &self.connection;
        let number = |sql: &str| {
            db.query_row(sql, [], |row| row.get::<_, u64>(0))
                .during(DURING)
        };
        let first = number("SELECT coalesce(max(tile) + 1, 0) FROM main.packed")?;
        let end = number("SELECT coalesce(max(tile) + 1, 0) FROM src.packed")?;
        let size = number("SELECT coalesce(max(idx) + 1, 0) FROM main.leaf")?;
        run(
            db,
            DURING,
            "INSERT INTO main.packed SELECT * FROM src.packed WHERE tile >= ?1 ORDER BY tile",
            [first],
        )?;
        for tile in first..end.min(size.div_ceil(WIDTH)) {
            let range = [tile * WIDTH, size.min((tile + 1) * WIDTH)];
            let packed =
                "SELECT idx, hash, x'' FROM main.leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
            let mut entries = Entries::of(db);
            for mut entry in all(db, DURING, packed, range, |row| row.entry(0))? {
                let filled = entries.fill(&mut entry);
                filled.map_err(|error| error.during(DURING))?;
            }
            run(
                db,
                DURING,
                "DELETE FROM main.leaf WHERE idx >= ?1 AND idx < ?2",
                range,
            )?;
            let sql = "INSERT INTO main.leaf SELECT * FROM src.leaf WHERE idx >= ?1 AND idx < ?2";
            run(db, DURING, sql, range)?;
        }
        Ok(())
    }

    /// Returns the names of all outputs that are files.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be read.
    pub fn files(&self) -> StoreResult<Vec<Blake3Digest>> {
        let files = output_files(&self.connection)?;
        Ok(files.into_iter().map(|(name, _)| name).collect())
    }

    /// Deletes outputs whose files were deleted while the copy was made.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be written.
    pub fn forget(&self, gone: &[Blake3Digest]) -> StoreResult {
        delete_outputs(&self.connection, gone).during(DURING)
    }

    /// Makes the new state of the backup durable, in one step.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be written. The backup then has its earlier state.
    pub fn commit(self) -> StoreResult {
        self.connection.execute_batch("COMMIT").during(DURING)
    }
}

/// Returns the URI with which SQLite opens a file read-only.
fn uri(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escaped: String = text
        .chars()
        .map(|letter| match letter {
            '%' => "%25".to_owned(),
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("file:{escaped}?mode=ro")
}
