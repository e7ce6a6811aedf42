//! The schema of a store, and its checks. Triggers and views in the database file are disabled, so that
//! only this program changes rows.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, config::DbConfig};

use crate::{
    StoreResult, refused,
    sqlite::errors::{During as _, unusable},
};

/// The last number of a schema that was made before 1.0. Its documents can no longer be read.
const BEFORE: usize = 5;

/// Number of the schema, the `user_version` that `0001_first.sql` sets.
pub const SCHEMA: usize = 6;

const FIRST: &str = include_str!("0001_first.sql");

/// Disables triggers and views in the database file, sets the schema as untrusted, and lets no bound value
/// change the plan of a statement.
///
/// # Errors
/// Returns an error if SQLite was built without one of these options.
pub fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Without this option, SQLite prepares a statement again if a bound value could change its plan. A second
    // preparation takes longer than most statements.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Returns the differences between the schema of a database and that of a new one. The comparison takes about a
/// millisecond.
pub fn differences(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let model = Connection::open_in_memory()?;
    model.execute_batch(FIRST)?;
    let name = |(kind, name, _): &Object| format!("{kind} {name}");
    let (expected, found) = (objects(&model)?, objects(connection)?);
    Ok(differences_of(&expected, &found, name))
}

/// Returns the differences between two schemas. `name` names an object without its definition.
pub fn differences_of<T: Ord>(
    expected: &BTreeSet<T>,
    found: &BTreeSet<T>,
    name: impl Fn(&T) -> String,
) -> Vec<String> {
    let missing: BTreeSet<String> = expected.difference(found).map(&name).collect();
    let foreign: BTreeSet<String> = found.difference(expected).map(&name).collect();
    let changed = missing
        .intersection(&foreign)
        .map(|name| format!("{name} has another definition"));
    let gone = missing
        .difference(&foreign)
        .map(|name| format!("{name} is missing"));
    let added = foreign
        .difference(&missing)
        .map(|name| format!("{name} was added by hand"));
    changed.chain(gone).chain(added).collect()
}

/// Refuses a store whose schema was changed by hand.
///
/// # Errors
/// Returns a fault if the schema was changed or cannot be read.
pub fn check(connection: &Connection, path: &Path) -> StoreResult {
    let found = differences(connection).map_err(unusable(path))?;
    let Some(first) = found.first() else {
        return Ok(());
    };
    Err(refused(format!(
        "the schema of {} was changed ({first}), so the store stays closed; run \
         `countersign store check`, then `countersign store restore BACKUP`",
        path.display()
    )))
}

type Object = (String, String, Option<String>);

fn objects(connection: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    let mut statement = connection.prepare(
        "SELECT type, name, sql FROM main.sqlite_schema UNION ALL \
         SELECT 'schema number', CAST(user_version AS TEXT), NULL FROM pragma_user_version",
    )?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// The application id of this program's databases: "CSGN" in ASCII.
pub const APPLICATION_ID: i32 = 0x4353_474e;

/// Number of the schema of a store whose log was moved to another engine. Version 0.2.0 and all later versions refuse this
/// number.
pub const MOVED: i32 = 1_000_000;

/// Returns the place to which the log of a marked store was moved.
pub fn moved_to(connection: &Connection) -> String {
    connection
        .query_row("SELECT place FROM moved", [], |row| row.get(0))
        .unwrap_or_else(|_| "another database".to_owned())
}

/// Refuses a store with a schema that this program doesn't know. A new database has the number 0.
///
/// # Errors
/// Returns a fault if the number is not 0 or [`SCHEMA`].
pub fn check_number(connection: &Connection, number: i32, path: &Path) -> StoreResult {
    if number == MOVED {
        return Err(refused(format!(
            "the log of the store {} was moved to {}, so this file is never served again; set `database` in \
             countersign.toml to the new place. If the move was interrupted, run `countersign store move --from {}` again",
            path.display(),
            moved_to(connection),
            path.display()
        )));
    }
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if number == 0 || number == SCHEMA {
        return Ok(());
    }
    if (1..=BEFORE).contains(&number) {
        return Err(refused(format!(
            "the store {} was made before 1.0, so this program can't read it: make a new boundary with `countersign init`, \
             and keep this store and the program that made it for audits",
            path.display()
        )));
    }
    Err(refused(format!(
        "the store {} has schema {number}, but this program supports the schema {SCHEMA}; use the program that wrote the store",
        path.display()
    )))
}

/// Reads a number that SQLite keeps in the head of the file.
pub fn number(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Makes the tables of an empty database, or checks those of a store.
pub fn prepare(connection: &mut Connection, path: &Path) -> StoreResult {
    const DURING: &str = "making the tables of the store";
    let application = number(connection, "application_id").map_err(unusable(path))?;
    let version = number(connection, "user_version").map_err(unusable(path))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(unusable(path))?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(refused(format!(
            "{} is the database of another program; name another file",
            path.display()
        )));
    }
    check_number(connection, version, path)?;
    if version != 0 || tables > 0 {
        return check(connection, path);
    }
    // A crash must not leave tables without their number.
    let transaction = connection.transaction().during(DURING)?;
    transaction.execute_batch(FIRST).during(DURING)?;
    transaction.commit().during(DURING)
}
