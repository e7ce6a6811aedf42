//! Read-only connections to a store in a file, which work in parallel with the writer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    Cell, ClosedKey, EachRow, EngineStatements, Entries, EntryRow, IdlePool, PackedRow, Readers,
    StoreFault, StoreHead, StoreReads, StoreResult, each_row, is_interrupted, read_head, refused,
    sqlite::{
        errors::{During as _, fault, unusable},
        own_statements::STATEMENTS,
        packed_tiles,
        schema::{self, APPLICATION_ID},
    },
};
use documents::Timestamp;

/// Maximum number of reading connections. A read from the page cache takes microseconds, so more connections would only
/// compete for CPU cores.
const READERS: usize = 4;

/// A pool of read-only connections.
pub(crate) struct SqliteReads {
    path: PathBuf,
    connections: IdlePool<Connection>,
}

/// Opens a store that has no writer, such as a backup, and returns the state of the store. No file is changed.
///
/// # Errors
/// Returns a fault if the file is no store, or if a newer program wrote the store.
pub fn at_rest(path: &Path) -> StoreResult<(StoreReads, StoreHead)> {
    let head = read_head(&read_only(path)?)?;
    Ok((SqliteReads::of(path), head))
}

impl SqliteReads {
    pub(super) fn of(path: &Path) -> StoreReads {
        StoreReads::new(Self {
            path: path.to_owned(),
            connections: IdlePool::new(READERS),
        })
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> StoreResult<T>) -> StoreResult<T> {
        let mut place = self.connections.place();
        let connection = match place.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        read(place.connection.insert(connection))
    }

    fn connect(&self) -> StoreResult<Connection> {
        connect(&self.path).during("opening the store for reading")
    }
}

impl Readers for SqliteReads {
    fn statements(&self) -> &'static EngineStatements {
        &STATEMENTS
    }

    fn rows(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
        each: EachRow<'_>,
    ) -> StoreResult {
        self.with(|connection| each_row(connection, during, sql, values, each))
    }

    fn first_scan(&self) -> usize {
        // SQLite reads a row only when the row before it was taken.
        usize::MAX
    }

    fn unpack(
        &self,
        during: &'static str,
        mut entries: Vec<EntryRow>,
    ) -> StoreResult<Vec<EntryRow>> {
        if entries.iter().all(|entry| !entry.data.is_empty()) {
            return Ok(entries);
        }
        self.with(|connection| {
            let mut packed = Entries::of(connection);
            for entry in &mut entries {
                packed.fill(entry).map_err(|error| error.during(during))?;
            }
            Ok(entries)
        })
    }

    fn packable(&self, until: Timestamp) -> StoreResult<Option<PackedRow>> {
        self.with(|connection| packed_tiles::next(connection, until))
    }

    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> StoreResult<Option<usize>> {
        let sql = match kind {
            ClosedKey::Nonce => "SELECT 1 FROM nonce WHERE nonce = ?1",
            ClosedKey::Denial => "SELECT 1 FROM denial WHERE authorization = ?1",
            ClosedKey::Payload => "SELECT 1 FROM payload WHERE proposal = ?1",
        };
        self.with(|connection| {
            let look = || -> rusqlite::Result<Option<usize>> {
                let mut query = connection.prepare(sql)?;
                for (number, key) in keys.iter().enumerate() {
                    if !query.exists([key])? {
                        return Ok(Some(number));
                    }
                }
                Ok(None)
            };
            look().during("looking for rows of spent nonces and denials")
        })
    }

    fn bytes(&self) -> StoreResult<u64> {
        let size = |path: &Path| match std::fs::metadata(path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreFault::database("reading the size", error)),
        };
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        Ok(size(&self.path)? + size(Path::new(&log))?)
    }
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::harden(&connection)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Checks that this program can read the store, and opens a read-only connection.
pub(crate) fn read_only(path: &Path) -> StoreResult<Connection> {
    let wrong = |message: String| refused(format!("{} {message}", path.display()));
    if !path.is_file() {
        return Err(wrong("does not exist: name a store or a backup".to_owned()));
    }
    let connection = connect(path).map_err(unusable(path))?;

    // If only the database header is readable, the store is damaged. The message must not say that the file is not a
    // store.
    let unreadable = |error: rusqlite::Error| {
        match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => fault("opening the store", &error),
        _ if is_interrupted(path) => wrong(
            "is a backup that was being brought up to date: wait until this has ended; if it was interrupted, run \
             `countersign store backup --onto` again (`store restore` uses the state before it)"
                .to_owned(),
        ),
        _ => unusable(path)(error),
    }
    };
    let application = schema::number(&connection, "application_id").map_err(unreadable)?;
    let version = schema::number(&connection, "user_version").map_err(unreadable)?;
    if application != APPLICATION_ID {
        return Err(wrong(
            "is not a store of this program: name another file".to_owned(),
        ));
    }
    schema::check_number(&connection, version, path)?;
    Ok(connection)
}
