//! Read-only connections, which work in parallel with the writer.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::Connection;

use crate::{
    Cell, ClosedKey, EachRow, EngineStatements, Entries, EntryRow, PackedRow, Readers, StoreFault,
    StoreHead, StoreReads, each_row, read_head, read_only,
    sqlite::{errors::fault, own_statements::STATEMENTS, packed_tiles, read_connection::connect},
};
use documents::Timestamp;

/// Maximum number of reading connections. A read from the page cache takes microseconds, so more connections would only
/// compete for CPU cores.
const READERS: usize = 4;

/// A pool of read-only connections.
pub(crate) struct SqliteReads {
    path: PathBuf,
    idle: Mutex<(Vec<Connection>, usize)>,
    returned: Condvar,
}

/// Opens a store that has no writer, such as a backup, and returns the state of the store. No file is changed.
///
/// # Errors
/// Returns a fault if the file is no store, or if a newer program wrote the store.
pub fn at_rest(path: &Path) -> Result<(StoreReads, StoreHead), StoreFault> {
    let head = read_head(&read_only(path)?)?;
    Ok((SqliteReads::of(path), head))
}

impl SqliteReads {
    pub(super) fn of(path: &Path) -> StoreReads {
        StoreReads::new(Self {
            path: path.to_owned(),
            idle: Mutex::new((Vec::new(), 0)),
            returned: Condvar::new(),
        })
    }

    fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreFault>,
    ) -> Result<T, StoreFault> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = loop {
            if let Some(connection) = idle.0.pop() {
                break connection;
            }
            if idle.1 < READERS {
                let connection = self.connect()?;
                idle.1 += 1;
                break connection;
            }
            idle = self
                .returned
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(idle);
        let result = read(&connection);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .push(connection);
        self.returned.notify_one();
        result
    }

    fn connect(&self) -> Result<Connection, StoreFault> {
        connect(&self.path).map_err(fault("opening the store for reading"))
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
    ) -> Result<(), StoreFault> {
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
    ) -> Result<Vec<EntryRow>, StoreFault> {
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

    fn packable(&self, until: Timestamp) -> Result<Option<PackedRow>, StoreFault> {
        self.with(|connection| packed_tiles::next(connection, until))
    }

    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> Result<Option<usize>, StoreFault> {
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
            look().map_err(fault("looking for rows of spent nonces and denials"))
        })
    }

    fn bytes(&self) -> Result<u64, StoreFault> {
        let size = |path: &Path| match std::fs::metadata(path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreFault::Database {
                during: "reading the size",
                message: error.to_string(),
            }),
        };
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        Ok(size(&self.path)? + size(Path::new(&log))?)
    }
}
