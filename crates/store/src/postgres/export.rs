//! Copies a store at one moment from the database into a new SQLite file. Backups and the check of a store read this file,
//! so both have only one implementation for all engines.

use std::{
    fs::{DirBuilder, File},
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use tokio_postgres::Row;

use crate::{
    CHUNK, CHUNK_ROWS, Cell, CopiedRow, CopiedTable, Fields, Link, ServerSettings, StoreResult,
    TABLES,
    copied_tables::OUTPUT,
    postgres::{questions::read_head, schema, statements::signed},
    refused,
    sqlite::table_rows::NewFile,
};
use documents::Blake3Digest;

const DURING: &str = "copying the store out of the database";
/// The plans read the rows in the order of an index, so that no statement sorts or scans a whole table.
const OPTIONS: &str = "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=0 -c client_encoding=UTF8 \
    -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";

/// Copies all rows into the new SQLite file `into`, except the log entries before the entry `first` and the hash tiles
/// that these entries complete. Large outputs become files in `outputs`, except the outputs that the directory `have`
/// contains.
///
/// # Errors
/// Returns a fault if the database cannot be read or if a file cannot be written.
pub fn export(
    settings: &ServerSettings,
    into: &Path,
    outputs: &Path,
    first: u64,
    have: &Path,
) -> StoreResult {
    let server = Link::open(settings, OPTIONS)?;
    schema::check(&server, settings)?;
    server.script(DURING, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let (state, _) = read_head(&server)?;
    let file = NewFile::create(into)?;
    for table in &*TABLES {
        rows_of(&server, table, first, &mut |rows| file.add(table, &rows))?;
    }
    write_outputs(&server, outputs, have)?;
    file.finish(&state)
}

/// Passes the rows of a table to `each`, in groups of limited size.
fn rows_of(
    link: &Link,
    table: &CopiedTable,
    first: u64,
    each: &mut dyn FnMut(Vec<CopiedRow>) -> StoreResult,
) -> StoreResult {
    let key = if table.name == OUTPUT {
        "number".to_owned()
    } else {
        table.key.join(", ")
    };
    let (name, columns) = (table.name, table.column_list());
    let condition = match name {
        "leaf" => format!("idx >= {first}"),
        // The tile `index` of a level has the hashes of 256^(level + 1) entries.
        "tile" => format!(
            "(id & ((1::bigint << 48) - 1)) >= ({first}::bigint >> (8 * ((id >> 48)::integer + 1)))"
        ),
        _ => "true".to_owned(),
    };
    link.script(
        DURING,
        &format!(
            "DECLARE copy_{name} NO SCROLL CURSOR FOR SELECT {columns} FROM {name} WHERE {condition} ORDER BY {key}"
        ),
    )?;
    // The first group is small, because the size of a row is not known yet.
    let mut count = 16;
    loop {
        let rows = link.query(
            DURING,
            &format!("FETCH {count} FROM copy_{name}"),
            values![],
        )?;
        let rows: Vec<CopiedRow> = rows
            .iter()
            .map(|row| cells(row, table.columns.len()))
            .collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return link.script(DURING, &format!("CLOSE copy_{name}"));
        }
        let size: usize = rows.iter().flatten().map(Cell::size).sum();
        if size < CHUNK / 2 && count < CHUNK_ROWS {
            count *= 2;
        } else if size > CHUNK && count > 1 {
            count /= 2;
        }
        each(rows)?;
    }
}

/// Returns the first `count` columns of a row.
pub fn cells(row: &Row, count: usize) -> StoreResult<CopiedRow> {
    let fields = Fields::new(DURING, row);
    let cell = |at| fields.get::<Cell<'_>>(at).map(Cell::into_owned);
    (0..count).map(cell).collect()
}

/// Writes the outputs that are pieces in the database, each as a file. The caller checks the bytes of all files.
fn write_outputs(link: &Link, outputs: &Path, have: &Path) -> StoreResult {
    let failed = |path: &Path, error: std::io::Error| {
        refused(format!("{} cannot be written: {error}", path.display()))
    };
    let mut after = Vec::<u8>::new();
    loop {
        let sql = "SELECT p.name FROM piece p WHERE p.name > $1 AND p.number = 0 AND EXISTS \
                   (SELECT FROM output o WHERE o.name = p.name AND o.data IS NULL) ORDER BY p.name LIMIT 256";
        let rows = link.query(DURING, sql, values![after.clone()])?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Fields::new(DURING, last).get(0)?;
        for row in &rows {
            let name: Blake3Digest = Fields::new(DURING, row).get(0)?;
            let hex = name.hex();
            if have.join(&hex[..2]).join(&hex).exists() {
                continue;
            }
            let directory = outputs.join(&hex[..2]);
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory);
            made.map_err(|error| failed(&directory, error))?;
            let path = directory.join(hex);
            let mut file = File::create(&path).map_err(|error| failed(&path, error))?;
            for number in 0.. {
                let sql = "SELECT data FROM piece WHERE name = $1 AND number = $2";
                let piece = link.query(DURING, sql, values![name.as_bytes().to_vec(), number])?;
                let Some(piece) = piece.first() else { break };
                file.write_all(Fields::new(DURING, piece).get(0)?)
                    .map_err(|error| failed(&path, error))?;
            }
            file.sync_all().map_err(|error| failed(&path, error))?;
        }
    }
}

/// Returns the number of rows of a table, by ranges of its pages, so that no statement reaches its time limit.
pub fn count(link: &Link, table: &CopiedTable) -> StoreResult<u64> {
    let sql = format!("SELECT count(*) FROM {} WHERE {PAGES}", table.name);
    let mut all = 0;
    for (first, end) in pages(link, table, 1 << 14)? {
        all += link
            .value::<i64>(DURING, &sql, values![first, end])?
            .cast_unsigned();
    }
    Ok(all)
}

/// Condition for the rows in a range of pages.
pub const PAGES: &str = "ctid >= $1::text::tid AND ctid < $2::text::tid";

/// Returns ranges with all pages of a table. A page usually has 8 KiB.
pub fn pages(link: &Link, table: &CopiedTable, each: usize) -> StoreResult<Vec<(String, String)>> {
    let sql = "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint";
    let pages = link
        .value::<i64>(DURING, sql, values![table.name])?
        .cast_unsigned();
    let range = |first: u64| {
        (
            format!("({first},0)"),
            format!("({},0)", first + each as u64),
        )
    };
    Ok((0..pages).step_by(each).map(range).collect())
}

/// Returns the number of pieces that an output of this size has.
pub fn pieces_of(bytes: u64) -> i64 {
    signed(bytes.div_ceil(crate::copied_tables::PIECE as u64))
}
