//! The store in one SQLite file.
//!
//! The database uses WAL and `synchronous=FULL`, so a commit is one write and one sync of the write-ahead log. After
//! answering a batch, the writer moves the write-ahead log into the database itself, because SQLite's automatic
//! checkpoint would hide a failed sync.

pub mod backup;
pub mod check;
pub(crate) mod columns;
pub(crate) mod errors;
pub mod new_store;
mod own_statements;
pub(crate) mod packed_tiles;
pub mod reads;
pub(crate) mod schema;
pub mod table_rows;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use rusqlite::{Connection, OpenFlags, ToSql, params, params_from_iter};

use crate::{
    Answers, BatchQuestion, BatchRows, Commit, EachAnswer, OpenBatch, PackedRow, Questions,
    SqliteReads, Store, StoreFault, StoreHead, StoreLock, StoreReads, StoreResult, Writes,
    batch_questions, batch_rows, each_row, read_head, refused,
    sqlite::{
        columns::{each_list, one, run},
        errors::{During as _, unusable},
        schema::prepare,
    },
};

/// Number of pages (32 MB) in the write-ahead log at which the writer moves them into the database.
const CHECKPOINT_PAGES: i32 = 8000;

/// The connection that writes, together with the lock on the store.
pub struct SqliteStore {
    // Fields are dropped in this order, so the connection closes before the lock is released.
    connection: Connection,
    wal_pages: Arc<AtomicI32>,
    _lock: StoreLock,
}

/// Returns the version of the SQLite library.
pub fn version() -> &'static str {
    rusqlite::version()
}

/// Opens the store at `path` for this process alone, and creates the database if needed.
///
/// # Errors
/// Returns a fault if another process holds the lock, if other users can access the store, if the file is no store, or
/// if a newer program wrote the store.
pub fn open(path: &Path) -> StoreResult<(SqliteStore, StoreReads)> {
    const DURING: &str = "opening the store";
    let lock = StoreLock::take(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).during(DURING)?;
    schema::harden(&connection).during(DURING)?;
    let pragma =
        |name: &str, value: &dyn ToSql| connection.pragma_update(None, name, value).during(DURING);
    // Some file systems do not support WAL, so the resulting mode is checked below.
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(unusable(path))?;
    pragma("synchronous", &"FULL")?;
    pragma("wal_autocheckpoint", &0)?;
    pragma(
        "journal_size_limit",
        &(i64::from(CHECKPOINT_PAGES) * 4096 * 2),
    )?;
    pragma("foreign_keys", &false)?;
    pragma("temp_store", &"MEMORY")?;
    pragma("cache_size", &-8000)?;
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .during(DURING)?;
    if mode != "wal" {
        return Err(refused(format!(
            "{} cannot have a write-ahead log; put the store on a local file system",
            path.display()
        )));
    }
    prepare(&mut connection, path)?;
    connection.set_prepared_statement_cache_capacity(128);
    let wal_pages = Arc::new(AtomicI32::new(0));
    let seen = Arc::clone(&wal_pages);
    connection
        .wal_hook(Some(move |_: &mut _, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))
        .during(DURING)?;
    let store = SqliteStore {
        connection,
        wal_pages,
        _lock: lock,
    };
    store.count_nonces()?;
    Ok((store, SqliteReads::of(path)))
}

/// Changes rows through a connection of its own.
#[cfg(test)]
pub fn tamper(path: &Path, sql: &str) {
    Connection::open(path)
        .and_then(|connection| connection.execute_batch(sql))
        .expect("sql");
}

/// Returns the number that a statement selects.
#[cfg(test)]
pub fn number(path: &Path, sql: &str) -> u64 {
    Connection::open(path)
        .and_then(|connection| connection.query_row(sql, [], |row| row.get(0)))
        .expect("a number")
}

impl SqliteStore {
    /// Corrects the stored count of nonces. If rows of nonces that have not expired are missing, the ledger refuses to open
    /// the store.
    fn count_nonces(&self) -> StoreResult {
        const DURING: &str = "counting nonces";
        let count = |sql: &str| {
            one(&self.connection, DURING, sql, [], |row| row.get::<i64>(0))
                .map(Option::unwrap_or_default)
        };
        let (there, kept) = (
            count("SELECT count(*) FROM nonce")?,
            count("SELECT nonces FROM state")?,
        );
        if there == kept {
            return Ok(());
        }
        run(
            &self.connection,
            DURING,
            "UPDATE state SET nonces = ?1",
            [there],
        )
        .map(drop)
    }

    fn write(&self, writes: &Writes<'_>) -> StoreResult {
        const DURING: &str = "writing a batch";
        self.connection.write(DURING, &batch_rows::of(writes, ""))?;
        if !writes.starts.is_empty() {
            let sql = "UPDATE state SET nonces = nonces + ?1";
            run(&self.connection, DURING, sql, [writes.starts.len()])?;
        }
        for row in writes.checkpoints {
            let sql = "SELECT 1 FROM checkpoint WHERE size = ?1 AND root <> ?2";
            let other = one(
                &self.connection,
                DURING,
                sql,
                params![row.size, row.root],
                |_| Ok(()),
            )?;
            if other.is_some() {
                return Err(StoreFault::forked(row.size));
            }
        }
        Ok(())
    }

    /// Limits the size of the database, so that a test can fill the disk.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: i64) {
        let _: i64 = self
            .connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
                row.get(0)
            })
            .expect("pragma");
    }
}

impl OpenBatch for Connection {
    fn has_pieces(&self) -> bool {
        false
    }

    fn subtract_nonces(&self, deleted: usize) -> StoreResult {
        let sql = "UPDATE state SET nonces = nonces - ?1";
        run(self, "pruning nonces", sql, [deleted]).map(drop)
    }

    fn ask(
        &self,
        during: &'static str,
        questions: &[BatchQuestion<'_>],
        each: EachAnswer<'_>,
    ) -> StoreResult {
        for (number, (statement, values)) in questions.iter().enumerate() {
            each_row(self, during, statement.sqlite, values, &mut |row| {
                each(number, row).map(|()| true)
            })?;
        }
        Ok(())
    }

    fn write(&self, during: &'static str, rows: &[BatchRows<'_>]) -> StoreResult<Vec<usize>> {
        let write = |rows: &BatchRows<'_>| -> rusqlite::Result<usize> {
            let mut statement = self.prepare_cached(rows.statement.sqlite)?;
            let width = statement.parameter_count();
            let mut changed = 0;
            for row in rows.cells.chunks(rows.width) {
                changed += statement.execute(params_from_iter(&row[..width]))?;
            }
            Ok(changed)
        };
        let changed = rows.iter().map(write);
        changed.collect::<Result<_, _>>().during(during)
    }
}

impl Store for SqliteStore {
    fn head(&mut self) -> StoreResult<StoreHead> {
        read_head(&self.connection)
    }

    fn connection(&mut self) -> StoreResult<&dyn OpenBatch> {
        Ok(&self.connection)
    }

    fn begin(&mut self, _: u64, questions: &Questions<'_>) -> StoreResult<Answers> {
        const DURING: &str = "reading what a batch needs";
        run(&self.connection, "beginning a batch", "BEGIN IMMEDIATE", [])?;
        let mut answers = Answers::none(questions);
        for (kind, rows) in batch_questions::of(questions).iter().enumerate() {
            if rows.cells.is_empty() {
                continue;
            }
            let sql = rows.statement.sqlite;
            let lists: Vec<_> = rows.cells.chunks(rows.width).collect();
            each_list(&self.connection, DURING, sql, &lists, &mut |number, row| {
                answers.add(kind, number, row).map(|()| true)
            })?;
        }
        Ok(answers)
    }

    fn commit(&mut self, writes: &Writes<'_>) -> Commit {
        const DURING: &str = "committing a batch";
        if let Err(fault) = self.write(writes) {
            return Commit::NotDone(fault);
        }
        match run(&self.connection, DURING, "COMMIT", []) {
            Ok(_) => {}
            // After this failure, the write-ahead log may or may not contain the batch.
            Err(StoreFault::Database { message, .. }) => {
                return Commit::NotDone(StoreFault::broken(DURING, message));
            }
            Err(fault) => return Commit::NotDone(fault),
        }
        match self.leaf_hashes(writes.first..writes.first + writes.leaves.len() as u64) {
            Ok(hashes) => Commit::Done(hashes),
            Err(fault) => Commit::NotDone(StoreFault::broken(DURING, fault)),
        }
    }

    fn rollback(&mut self) {
        // After some errors, SQLite has already rolled the transaction back.
        if !self.connection.is_autocommit() {
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    fn settle(&mut self) -> StoreResult<bool> {
        // `commit` never returns `Unknown`: after a failed sync the process ends.
        Ok(false)
    }

    fn batch(&mut self) -> StoreResult<&dyn OpenBatch> {
        Ok(&self.connection)
    }

    fn pack(&mut self, packed: &PackedRow) -> StoreResult {
        packed_tiles::store(&self.connection, packed)
    }

    fn maintain(&mut self) -> StoreResult {
        const DURING: &str = "moving the write-ahead log into the database";
        if self.wal_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(());
        }
        // PASSIVE does not wait for readers. Pages that a reader needs are moved at a later call.
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let moved = self.connection.query_row(sql, [], |row| {
            Ok((row.get::<_, i32>(1)?, row.get::<_, i32>(2)?))
        });
        let moved = match moved.during(DURING) {
            // On a full disk, the pages stay in the write-ahead log, and a later call moves them.
            Err(StoreFault::Full { .. }) => return Ok(()),
            moved => moved?,
        };
        if moved.0 == moved.1 {
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn close(&mut self) -> StoreResult {
        // The readers' connections stay open, so closing this connection would not remove the write-ahead log, and a
        // copy of the database file alone would lack the newest commits.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection
            .query_row(sql, [], |_| Ok(()))
            .during("moving the write-ahead log into the database")
    }
}

#[cfg(test)]
mod tests {
    mod query_plans;
}
