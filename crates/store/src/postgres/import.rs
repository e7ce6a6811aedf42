//! Takes the log of an SQLite store over into an empty schema, without a new log.
//!
//! The rows in the database show the progress: each statement adds rows in the order of their keys, so that an
//! interrupted move continues after the last key. While the term in the row of `state` is negative, no service opens
//! the schema. The term stays negative until the old file is marked, and no service opens a marked file. So at each
//! moment, services can use at most one of the two stores.

use std::{fs::File, io::Read as _, path::Path};

use crate::{
    CLOSABLE_AFTER_S, CopiedRow, CopiedTable, Fields, Link, MoveEnd, OldFile, PIECE,
    ServerSettings, StoreFault, StoreHead, StoreLock, StoreResult, TABLES, Value,
    copied_tables::OUTPUT,
    crash_points,
    fields::head_cells,
    lock_key,
    postgres::{
        durability,
        export::{PAGES, cells, count, pages, pieces_of},
        link::first,
        reads, schema,
        statements::{arrays, boxed},
    },
    refused, root_of, sqlite,
};
use documents::Hash;

const DURING: &str = "copying the store into the database";
const OPTIONS: &str = "-c lock_timeout=20000 -c statement_timeout=30000 -c synchronous_commit=on \
    -c client_encoding=UTF8 -c jit=off";
/// Term of a schema with an unfinished move. A service that waits for the role can raise a term, so this term is far below
/// zero.
const UNFINISHED: i64 = i64::MIN / 2;
/// Moves the log of the SQLite store `from` into the empty schema of `settings`. Output files in `outputs` become rows.
/// `progress` gets the number of copied rows and the number of all rows. The same call continues an interrupted move.
///
/// # Errors
/// Returns a fault if one of the stores is in use or cannot be used, or if the schema has another log.
pub fn move_into(
    settings: &ServerSettings,
    from: &Path,
    outputs: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> StoreResult<MoveEnd> {
    if !from.is_file() {
        return Err(refused(format!(
            "the store {} does not exist: name the old store with --from",
            from.display()
        )));
    }
    let lock = StoreLock::alone(from)?;
    let marked = OldFile::is_marked(from)?;
    drop(lock);
    if !marked {
        // `open` moves the write-ahead log into the file, and refuses a store whose spent nonces were deleted by
        // hand.
        drop(sqlite::open(from)?);
    }
    let _lock = StoreLock::alone(from)?;
    let mut old = OldFile::open(from)?;
    let state = old.state()?;
    let Some(boundary) = state.boundary.map(|id| id.as_bytes().to_vec()) else {
        return Err(refused(format!(
            "the log of the store {} has not begun: there is nothing to move",
            from.display()
        )));
    };
    let target = Target::open(settings)?;
    let there = target.state()?;
    let ours = there.boundary.as_ref() == Some(&boundary);
    let served_since = match &old.moved {
        Some(_) if ours && there.term >= 0 => return Ok(MoveEnd::WasFinished),
        // An earlier move can have begun in another schema. Only the schema that the mark names gets the log.
        Some(place) if *place != settings.to_string() => {
            let from = from.display();
            return Err(refused(format!(
                "the log of the store {from} was moved to {place}, and not to {settings}; set `database` to the first of the \
                 two, then run this command again"
            )));
        }
        // No service has used the schema yet, so the move may still add the missing rows, also from a marked file.
        _ if ours && there.term < 0 => {
            Some(old.fingerprint()?).filter(|now| *now != there.fingerprint)
        }
        None if there.boundary.is_none() && there.term == 0 && empty(&target.link)? => {
            target.begin(&boundary, &old.fingerprint()?)?;
            None
        }
        None => return Err(refused(has_rows(settings))),
        Some(place) => {
            let from = from.display();
            return Err(refused(format!(
                "the log of the store {from} was moved to {place}, but this database does not have the log; restore the \
                 database or a backup of the boundary"
            )));
        }
    };
    crash_points::point("move-begun");
    if old.moved.is_none() || target.verify(&old).is_err() {
        target.copy(&old, outputs, served_since, progress)?;
        crash_points::point("move-rows-copied");
    }
    let size = target.verify(&old)?;
    // This commit confirms all rows, also on the replicas, before the old file is marked.
    target.commit(
        "UPDATE state SET version = version WHERE one = 1",
        Vec::new(),
    )?;
    if old.moved.is_none() {
        old.mark_as_moved(&settings.to_string())?;
    }
    crash_points::point("move-old-log-marked");
    target.finish(&state)?;
    crash_points::point("move-finished");
    Ok(MoveEnd::Moved(size))
}

/// Fills an empty schema with the rows of a closed SQLite file, for a restore.
///
/// # Errors
/// Returns a fault if the schema is not empty, or if a store cannot be used.
pub fn fill(settings: &ServerSettings, from: &Path, outputs: &Path) -> StoreResult {
    let old = OldFile::open(from)?;
    let state = old.state()?;
    let target = Target::open(settings)?;
    let there = target.state()?;
    if there.boundary.is_some() || there.term != 0 || !empty(&target.link)? {
        return Err(refused(has_rows(settings)));
    }
    target.begin(
        state.boundary.as_ref().map_or(&[], |id| &id.as_bytes()[..]),
        &old.fingerprint()?,
    )?;
    target.copy(&old, outputs, None, &mut |_, _| {})?;
    target.verify(&old)?;
    target.finish(&state)
}

/// Returns true if the schema has no log, and no other table has a row.
///
/// # Errors
/// Returns a fault if the schema cannot be used.
pub fn is_empty(settings: &ServerSettings) -> StoreResult<bool> {
    let link = Link::open(settings, OPTIONS)?;
    schema::check(&link, settings)?;
    empty(&link)
}

fn has_rows(settings: &ServerSettings) -> String {
    format!(
        "the schema `{}` of {settings} already has another log or an unfinished copy of one, and its rows are never \
         replaced; name another schema with `?schema=` in the URL, or drop the schema and run `countersign store migrate`",
        settings.schema
    )
}

/// The row of `state` in the schema that takes the rows.
struct TargetState {
    boundary: Option<Vec<u8>>,
    term: i64,
    /// During a move, the column of the seal has the fingerprint of the old store.
    fingerprint: Vec<u8>,
}

/// A connection to the schema that takes the rows. The connection holds the lock of the active node.
struct Target {
    link: Link,
    settings: ServerSettings,
}

impl Target {
    fn open(settings: &ServerSettings) -> StoreResult<Self> {
        let link = Link::open(settings, OPTIONS)?;
        durability::check(&link, settings)?;
        schema::check_objects(&link, settings)?;
        let target = Self {
            link,
            settings: settings.clone(),
        };
        let database: String =
            target
                .link
                .value(DURING, "SELECT current_database()::text", values![])?;
        let key = lock_key(&database, &format!("{} role", settings.schema));
        if target
            .link
            .value(DURING, "SELECT pg_try_advisory_lock($1)", values![key])?
        {
            return Ok(target);
        }
        Err(refused(format!(
            "a service or another command uses the schema `{}` of {settings}; stop it, then run this command again",
            settings.schema
        )))
    }

    fn state(&self) -> StoreResult<TargetState> {
        let rows = self.link.query(
            DURING,
            "SELECT boundary, term, seal FROM state WHERE one = 1",
            values![],
        )?;
        let row = first(DURING, &rows)?;
        let fingerprint = row.get::<Option<_>>(2)?.unwrap_or_default();
        Ok(TargetState {
            boundary: row.get(0)?,
            term: row.get(1)?,
            fingerprint,
        })
    }

    /// Executes a statement in a transaction of its own. A warning means that the commit can be lost.
    fn commit(&self, sql: &str, values: Vec<Value<'_>>) -> StoreResult {
        self.link.take_warnings();
        self.link.query(DURING, sql, values)?;
        self.link.confirm(DURING)
    }

    /// Notes the old store. From now on, no service opens the schema until [`Self::finish`].
    fn begin(&self, boundary: &[u8], fingerprint: &[u8]) -> StoreResult {
        let sql = "UPDATE state SET boundary = $1, seal = $2, term = $3 WHERE one = 1";
        self.commit(
            sql,
            values![boundary.to_vec(), fingerprint.to_vec(), UNFINISHED],
        )
    }

    /// Deletes the rows that a service can have changed in the old store since an interrupted move copied them.
    fn delete_changed(&self) -> StoreResult {
        for table in TABLES.iter().filter(|table| table.changes) {
            let sql = format!("DELETE FROM {} WHERE {PAGES}", table.name);
            for (first, end) in pages(&self.link, table, 1 << 10)? {
                self.commit(&sql, values![first, end])?;
            }
        }
        Ok(())
    }

    /// Copies all rows that the schema lacks. An interrupted move may have copied rows before, and services may have
    /// used the old store since then. In this case, `served_since` is the fingerprint of the old store, and the new
    /// rows of the old store can have any key.
    fn copy(
        &self,
        old: &OldFile,
        outputs: &Path,
        mut served_since: Option<Vec<u8>>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StoreResult {
        if served_since.is_some() {
            self.delete_changed()?;
        }
        let counts = TABLES
            .iter()
            .map(|table| old.count(table))
            .collect::<Result<Vec<u64>, _>>()?;
        let files = old.output_files()?;
        let pieces: u64 = files
            .iter()
            .map(|(_, bytes)| pieces_of(*bytes).cast_unsigned())
            .sum();
        let all = counts.iter().sum::<u64>() + pieces;
        let mut done = 0;
        for table in &*TABLES {
            if table.changes
                && let Some(fingerprint) = served_since.take()
            {
                // The tables to which rows are only added come first in the list, so they are complete now.
                self.commit(
                    "UPDATE state SET seal = $1 WHERE one = 1",
                    values![fingerprint],
                )?;
            }
            // New log entries always follow the last entry that was copied.
            let after = if served_since.is_none() || table.name == "leaf" {
                self.last_key(old, table)?
            } else {
                None
            };
            let mut copied = if after.is_some() {
                count(&self.link, table)?
            } else {
                0
            };
            progress(done + copied, all);
            let sql = insert(table);
            old.rows_after(table, after.as_deref(), &mut |rows| {
                let count = rows.len() as u64;
                let cells: CopiedRow = rows.into_iter().flatten().collect();
                let mut values = arrays(&cells, table.columns.len());
                if table.name == CROSSING {
                    values.push(Box::new(self.settings.node.to_string()));
                    values.push(Box::new(CLOSABLE_AFTER_S));
                }
                self.commit(&sql, values)?;
                crash_points::point("move-group-copied");
                copied += count;
                progress(done + copied, all);
                Ok(())
            })?;
            done += copied;
        }
        for (name, bytes) in files {
            let hex = name.hex();
            self.copy_file(name.as_bytes(), bytes, &outputs.join(&hex[..2]).join(&hex))?;
            done += pieces_of(bytes).cast_unsigned();
            progress(done, all);
        }
        // The old store may have deleted an output since an interrupted move copied its pieces.
        self.commit(
            "DELETE FROM piece p WHERE NOT EXISTS (SELECT FROM output o WHERE o.name = p.name)",
            Vec::new(),
        )
    }

    /// Returns the key of the last row that was copied.
    fn last_key(&self, old: &OldFile, table: &CopiedTable) -> StoreResult<Option<CopiedRow>> {
        if table.name == OUTPUT {
            let rows = self.link.query(
                DURING,
                "SELECT name FROM output ORDER BY number DESC LIMIT 1",
                values![],
            )?;
            let Some(row) = rows.first() else {
                return Ok(None);
            };
            return Ok(Some(vec![
                old.output_number(Fields::new(DURING, row).get(0)?)?,
            ]));
        }
        // SQLite compares texts by their bytes.
        let descending = |key: &&str| {
            let is_text = table.columns.contains(&(key.trim_matches('"'), "text"));
            format!("{key}{} DESC", if is_text { " COLLATE \"C\"" } else { "" })
        };
        let order: Vec<String> = table.key.iter().map(descending).collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1",
            table.key.join(", "),
            table.name,
            order.join(", ")
        );
        let rows = self.link.query(DURING, &sql, values![])?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        cells(row, table.key.len()).map(Some)
    }

    /// Copies an output file. A missing or changed file only means that this output cannot be read, as in the old store.
    fn copy_file(&self, name: &[u8], bytes: u64, path: &Path) -> StoreResult {
        let sql = "SELECT count(*) FROM piece WHERE name = $1";
        if self
            .link
            .value::<i64>(DURING, sql, values![name.to_vec()])?
            >= pieces_of(bytes)
        {
            return Ok(());
        }
        let Ok(mut file) = File::open(path) else {
            return Ok(());
        };
        for number in 0_i32.. {
            let mut piece = Vec::new();
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            read.map_err(|error| {
                StoreFault::broken(DURING, format!("{}: {error}", path.display()))
            })?;
            if piece.is_empty() {
                break;
            }
            let sql =
                "INSERT INTO piece (name, number, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            self.commit(sql, values![name.to_vec(), number, piece])?;
            crash_points::point("move-group-copied");
        }
        Ok(())
    }

    /// Compares the copy with the old store: the number of rows of each table, and the root hash of the log. Returns the
    /// number of log entries.
    fn verify(&self, old: &OldFile) -> StoreResult<u64> {
        let mut size = 0;
        for table in &*TABLES {
            let (ours, theirs) = (count(&self.link, table)?, old.count(table)?);
            if ours != theirs {
                return Err(refused(format!(
                    "the table `{}` has {theirs} rows in the old store, but {ours} rows in the database; somebody changed \
                     the database. Drop the schema, run `countersign store migrate`, then begin the move again",
                    table.name
                )));
            }
            if table.name == "leaf" {
                size = ours;
            }
        }
        let reads = reads::readers_of_copy(self.settings.clone());
        let root: Option<Hash> = root_of(&reads, size)?;
        if root != old.root(size)? {
            return Err(refused(
                "the log in the database has another root hash than the old log; somebody changed the database. Drop the \
                 schema, run `countersign store migrate`, then begin the move again",
            ));
        }
        Ok(size)
    }

    /// Lets services use the schema. All changes are in one commit.
    fn finish(&self, state: &StoreHead) -> StoreResult {
        let sql = "UPDATE state SET boundary = $1, seal = $2, version = $3, mark = $4, term = 0 WHERE one = 1";
        self.commit(sql, boxed(&head_cells(state)))
    }
}

const CROSSING: &str = "crossing";

/// Returns the statement that adds rows to a table.
fn insert(table: &CopiedTable) -> String {
    let places = 0..table.columns.len();
    let mut values: Vec<String> = places.clone().map(|at| format!("r.c{at}")).collect();
    let arrays: Vec<String> = (1..)
        .zip(&table.columns)
        .map(|(at, (_, kind))| format!("${at}::{kind}[]"))
        .collect();
    let names: Vec<String> = places.map(|at| format!("c{at}")).collect();
    let mut columns = table.column_list();
    if table.name == CROSSING {
        columns.push_str(", node, deadline");
        let first = values.len() + 1;
        values.push(format!("${first}::text"));
        values.push(format!(
            "floor(extract(epoch FROM clock_timestamp()))::bigint + ${}::bigint",
            first + 1
        ));
    }
    let conflict = if table.changes {
        ""
    } else {
        " ON CONFLICT DO NOTHING"
    };
    format!(
        "INSERT INTO {} ({columns}) SELECT {} FROM unnest({}) WITH ORDINALITY AS r({}, place) ORDER BY r.place{conflict}",
        table.name,
        values.join(", "),
        arrays.join(", "),
        names.join(", ")
    )
}

fn empty(link: &Link) -> StoreResult<bool> {
    for table in &*TABLES {
        if link.value(
            DURING,
            &format!("SELECT EXISTS (SELECT FROM {})", table.name),
            values![],
        )? {
            return Ok(false);
        }
    }
    Ok(true)
}
