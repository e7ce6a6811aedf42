//! Reads and writes whole tables of an SQLite file, for a copy from or to another engine.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params_from_iter};

use crate::{
    CHUNK, CHUNK_ROWS, Cell, CopiedRow, CopiedTable, Entries, EntryRow, Fields, SqliteReads,
    StoreFault, StoreHead, StoreResult,
    fields::head_cells,
    read_head, refused, root_of,
    small_file::sync,
    sqlite::{
        backup::{output_files, writable},
        errors::{During as _, fault, unusable},
        reads::connect,
        schema::{self, MOVED, prepare},
    },
};
use documents::{Blake3Digest, Hash, sha256};

/// A new SQLite file that a copy fills.
pub struct NewFile {
    connection: Connection,
    path: PathBuf,
}

impl NewFile {
    /// Creates the file with the schema of this program. The rows become visible and durable in [`Self::finish`].
    pub fn create(path: &Path) -> StoreResult<Self> {
        const DURING: &str = "creating a copy of the store";
        if path.exists() {
            return Err(refused(format!(
                "{} exists already: name a new file",
                path.display()
            )));
        }
        let mut connection = writable(path)?;
        prepare(&mut connection, path)?;
        // After a crash, the copy is deleted and not repaired, so it needs no journal on the disk.
        connection
            .execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN")
            .during(DURING)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// Adds rows to a table.
    pub(crate) fn add(&self, table: &CopiedTable, rows: &[CopiedRow]) -> StoreResult {
        const DURING: &str = "writing a copy of the store";
        let values = vec!["?"; table.columns.len()].join(", ");
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({values})",
            table.name,
            table.column_list()
        );
        let mut insert = self.connection.prepare_cached(&sql).during(DURING)?;
        rows.iter()
            .try_for_each(|row| insert.execute(params_from_iter(row)).map(drop))
            .during(DURING)
    }

    /// Writes the state, and makes the file durable.
    pub(crate) fn finish(self, state: &StoreHead) -> StoreResult {
        const DURING: &str = "finishing a copy of the store";
        let sql = "UPDATE state SET boundary = ?1, seal = ?2, version = ?3, mark = ?4, \
                   nonces = (SELECT count(*) FROM nonce)";
        self.connection
            .execute(sql, params_from_iter(head_cells(state)))
            .during(DURING)?;
        self.connection.execute_batch("COMMIT").during(DURING)?;
        self.connection
            .close()
            .map_err(|(_, error)| fault(DURING, &error))?;
        sync(&self.path).map_err(|error| refused(format!("{}: {error}", self.path.display())))
    }
}

/// An SQLite store whose rows are copied to another engine.
pub struct OldFile {
    connection: Connection,
    path: PathBuf,
    /// The place to which the log was moved, if the file is marked.
    pub moved: Option<String>,
}

impl OldFile {
    /// Returns true if the log of the store at `path` was moved to another engine.
    pub fn is_marked(path: &Path) -> StoreResult<bool> {
        let connection = connect(path).map_err(unusable(path))?;
        schema::number(&connection, "user_version")
            .map(|version| version == MOVED)
            .map_err(unusable(path))
    }

    /// Opens a store that no other process uses.
    pub fn open(path: &Path) -> StoreResult<Self> {
        let connection = writable(path)?;
        let version = schema::number(&connection, "user_version").map_err(unusable(path))?;
        let moved = if version == MOVED {
            Some(schema::moved_to(&connection))
        } else {
            None
        };
        if moved.is_none() {
            schema::check(&connection, path)?;
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            moved,
        })
    }

    pub(crate) fn state(&self) -> StoreResult<StoreHead> {
        read_head(&self.connection)
    }

    pub(crate) fn count(&self, table: &CopiedTable) -> StoreResult<u64> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        self.connection
            .query_row(&sql, [], |row| row.get(0))
            .during("counting rows")
    }

    /// Returns the names of the outputs that are files, with their sizes.
    pub fn output_files(&self) -> StoreResult<Vec<(Blake3Digest, u64)>> {
        output_files(&self.connection)
    }

    /// Returns the order number of an output.
    pub(crate) fn output_number(&self, name: &[u8]) -> StoreResult<Cell<'static>> {
        let sql = "SELECT rowid FROM output WHERE name = ?1";
        let found = self
            .connection
            .query_row(sql, [name], |row| row.get(0).map(Cell::Number));
        found.during("looking for an output")
    }

    /// Passes the rows of a table with a key after `after` to `each`, in groups of limited size and in the order of the
    /// key.
    pub(crate) fn rows_after(
        &self,
        table: &CopiedTable,
        after: Option<&[Cell<'_>]>,
        each: &mut dyn FnMut(Vec<CopiedRow>) -> StoreResult,
    ) -> StoreResult {
        const DURING: &str = "reading the old store";
        let key = table.key.join(", ");
        let marks = vec!["?"; table.key.len()].join(", ");
        let condition = if after.is_some() {
            format!(" WHERE ({key}) > ({marks})")
        } else {
            String::new()
        };
        let sql = format!(
            "SELECT {} FROM {}{condition} ORDER BY {key}",
            table.column_list(),
            table.name
        );
        let mut statement = self.connection.prepare(&sql).during(DURING)?;
        let mut rows = statement
            .query(params_from_iter(after.unwrap_or_default()))
            .during(DURING)?;
        let (mut group, mut size) = (Vec::new(), 0);
        let mut entries = Entries::of(&self.connection);
        while let Some(row) = rows.next().during(DURING)? {
            let fields = Fields::new(DURING, row);
            let cell = |at| fields.get::<Cell<'_>>(at).map(Cell::into_owned);
            let mut cells = (0..table.columns.len())
                .map(cell)
                .collect::<Result<CopiedRow, _>>()?;
            // The copy for another engine contains each packed entry with its bytes, in a row of its own.
            if table.name == "leaf" {
                let data = table.place("data");
                let mut entry = EntryRow {
                    index: fields.get(table.place("idx"))?,
                    hash: fields.get(table.place("hash"))?,
                    data: fields.get(data)?,
                };
                let filled = entries.fill(&mut entry);
                filled.map_err(|error| error.during(DURING))?;
                cells[data] = Cell::from(entry.data);
            }
            size += cells.iter().map(Cell::size).sum::<usize>();
            group.push(cells);
            if size >= CHUNK || group.len() == CHUNK_ROWS {
                each(std::mem::take(&mut group))?;
                size = 0;
            }
        }
        if group.is_empty() {
            Ok(())
        } else {
            each(group)
        }
    }

    /// Returns a digest that changes with each change of the file. The write-ahead log must be empty.
    pub fn fingerprint(&self) -> StoreResult<Vec<u8>> {
        let metadata = std::fs::metadata(&self.path)
            .map_err(|error| refused(format!("{}: {error}", self.path.display())))?;
        let facts = format!(
            "{} {} {} {}.{} {}.{}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        Ok(sha256(facts.as_bytes()).to_vec())
    }

    /// Returns the root hash of the first `size` entries of the log.
    pub fn root(&self, size: u64) -> StoreResult<Option<Hash>> {
        root_of(&SqliteReads::of(&self.path), size)
    }

    /// Marks the store as moved, in one durable commit. No version of this program serves a marked store.
    pub fn mark_as_moved(&mut self, place: &str) -> StoreResult {
        const DURING: &str = "marking the old store as moved";
        let mut mark = || -> rusqlite::Result<()> {
            self.connection.pragma_update(None, "synchronous", "FULL")?;
            let transaction = self.connection.transaction()?;
            transaction.execute_batch("CREATE TABLE moved (place TEXT NOT NULL) STRICT")?;
            transaction.execute("INSERT INTO moved (place) VALUES (?1)", [place])?;
            transaction.pragma_update(None, "user_version", MOVED)?;
            transaction.commit()?;
            // A copy of the database file alone must also have the mark.
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        mark().during(DURING)?;
        self.moved = Some(place.to_owned());
        sync(&self.path).map_err(|error| {
            StoreFault::broken(DURING, format!("{}: {error}", self.path.display()))
        })
    }
}
