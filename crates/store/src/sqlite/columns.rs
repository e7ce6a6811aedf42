//! Rows of SQLite, and queries of the writer.

use rusqlite::{
    Connection, Row, Rows, ToSql,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    Cell, EachRow, EngineRow, Fields, StoreFault, StoreHead, StoreResult,
    sqlite::errors::During as _,
};
use documents::Timestamp;

impl EngineRow for Row<'_> {
    fn cell(&self, at: usize) -> Result<Cell<'_>, String> {
        let value = self.get_ref(at).map_err(|error| error.to_string())?;
        Ok(match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Number(number),
            ValueRef::Blob(bytes) => Cell::from(bytes),
            ValueRef::Text(text) => {
                Cell::from(std::str::from_utf8(text).map_err(|error| error.to_string())?)
            }
            ValueRef::Real(_) => return Err("a floating-point number".to_owned()),
        })
    }

    fn odd(&self, during: &'static str, at: usize, why: &str) -> StoreFault {
        let name = self.as_ref().column_name(at).unwrap_or_default();
        let message =
            format!("the column `{name}` has a value that this program does not write: {why}");
        StoreFault::broken(during, message)
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Passes the rows of a statement to `each`. The parameters of the statement are `$1`, `$2` and so on.
pub fn each_row(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    values: &[Cell<'_>],
    each: EachRow<'_>,
) -> StoreResult {
    let lists = [values];
    each_list(connection, during, sql, &lists, &mut |_, row| each(row))
}

/// Executes a question once for each list of values. Passes each row, with the number of its list, to `each`.
pub fn each_list(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    lists: &[&[Cell<'_>]],
    each: &mut dyn FnMut(usize, &Fields<'_>) -> StoreResult<bool>,
) -> StoreResult {
    const NAMES: [&str; 7] = ["$1", "$2", "$3", "$4", "$5", "$6", "$7"];
    let mut statement = connection.prepare_cached(sql).during(during)?;
    let width = lists.first().map_or(0, |values| values.len());
    debug_assert!(width <= NAMES.len(), "{sql}");
    // Each place is looked up only once, because SQLite compares the name with each name of the statement.
    let mut places = [None; NAMES.len()];
    for (place, name) in places.iter_mut().zip(NAMES).take(width) {
        *place = statement.parameter_index(name).during(during)?;
    }
    for (number, values) in lists.iter().enumerate() {
        for (place, value) in places.iter().zip(*values) {
            if let Some(at) = place {
                let bound = statement.raw_bind_parameter(*at, value);
                bound.during(during)?;
            }
        }
        pass(statement.raw_query(), during, &mut |row| each(number, row))?;
    }
    Ok(())
}

fn pass(mut rows: Rows<'_>, during: &'static str, each: EachRow<'_>) -> StoreResult {
    while let Some(row) = rows.next().during(during)? {
        if !each(&Fields::new(during, row))? {
            break;
        }
    }
    Ok(())
}

pub fn run(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
) -> StoreResult<usize> {
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params))
        .during(during)
}

pub fn one<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Fields<'_>) -> StoreResult<T>,
) -> StoreResult<Option<T>> {
    let mut statement = connection.prepare_cached(sql).during(during)?;
    let mut rows = statement.query(params).during(during)?;
    match rows.next().during(during)? {
        Some(row) => read(&Fields::new(during, row)).map(Some),
        None => Ok(None),
    }
}

pub fn all<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    mut read: impl FnMut(&Fields<'_>) -> StoreResult<T>,
) -> StoreResult<Vec<T>> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(sql).during(during)?;
    let rows = statement.query(params).during(during)?;
    pass(rows, during, &mut |row| {
        found.push(read(row)?);
        Ok(true)
    })?;
    Ok(found)
}

pub fn read_head(connection: &Connection) -> StoreResult<StoreHead> {
    const DURING: &str = "reading the state of the boundary";
    let sql = "SELECT idx, at FROM leaf ORDER BY idx DESC LIMIT 1";
    let last = one(connection, DURING, sql, [], |row| {
        Ok((row.get::<u64>(0)? + 1, row.get(1)?))
    })?;
    let (size, last_at) = last.unwrap_or((0, Timestamp::from_unix(0)));
    let sql = "SELECT exclusive, proposal FROM crossing WHERE exclusive IS NOT NULL";
    let exclusive = all(connection, DURING, sql, [], |row| row.pair())?;
    let sql = "SELECT proposal FROM owed WHERE emergency = 1 AND reviewed IS NULL";
    let emergencies = all(connection, DURING, sql, [], |row| row.get(0))?;
    let sql = "SELECT boundary, seal, version, mark FROM state";
    let head = one(connection, DURING, sql, [], |row| {
        Ok(StoreHead {
            size,
            last_at,
            boundary: row.get(0)?,
            seal: row.get(1)?,
            version: row.get(2)?,
            mark: row.get(3)?,
            exclusive,
            emergencies,
        })
    })?;
    head.ok_or_else(|| StoreFault::broken(DURING, "the table `state` has no row"))
}
