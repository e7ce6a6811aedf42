//! The schema of a store, with its migrations and checks. Triggers and views in the database file are disabled, so that
//! only this program changes rows.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, config::DbConfig};

use crate::{
    StoreResult, refused,
    sqlite::errors::{fault, unusable},
};

/// Number of the first schema that version 0.2.0 wrote.
const FIRST: usize = 3;

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

/// Returns the differences between the schema and the result of the first `version` migrations. The comparison takes
/// about a millisecond.
pub fn differences(connection: &Connection, version: usize) -> rusqlite::Result<Vec<String>> {
    let model = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version) {
        model.execute_batch(migration)?;
    }
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
pub fn check(connection: &Connection, version: usize, path: &Path) -> StoreResult {
    let found = differences(connection, version).map_err(unusable(path))?;
    let Some(first) = found.first() else {
        return Ok(());
    };
    Err(refused(format!(
        "{} has the schema number {version}, but its schema differs ({first}), so the store stays closed; run \
         `countersign store check`, then `countersign store restore BACKUP`",
        path.display()
    )))
}

type Object = (String, String, Option<String>);

fn objects(connection: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM main.sqlite_schema")?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// All migrations in order. The `user_version` of a database is the number of its migrations. A released migration
/// never changes.
pub const MIGRATIONS: &[&str] = &[
    include_str!("0001_first.sql"),
    include_str!("0002_care.sql"),
    include_str!("0003_bounds.sql"),
    include_str!("0004_lookups.sql"),
    include_str!("0005_newest.sql"),
];

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
/// Returns a fault if the number is not the number of a schema from [`FIRST`] on.
pub fn check_number(connection: &Connection, version: i32, path: &Path) -> StoreResult {
    if version == MOVED {
        return Err(refused(format!(
            "the log of the store {} was moved to {}, so this file is never served again; set `database` in \
             countersign.toml to the new place. If the move was interrupted, run `countersign store move --from {}` again",
            path.display(),
            moved_to(connection),
            path.display()
        )));
    }
    let known = |version: usize| version == 0 || (FIRST..=MIGRATIONS.len()).contains(&version);
    if usize::try_from(version).is_ok_and(known) {
        return Ok(());
    }
    Err(refused(format!(
        "the store {} has schema {version}, but this program supports the schemas {FIRST} to {}; use the program that wrote \
         the store",
        path.display(),
        MIGRATIONS.len()
    )))
}

pub fn migrate(connection: &mut Connection, path: &Path) -> StoreResult {
    const DURING: &str = "migrating the store";
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = match (number("application_id"), number("user_version")) {
        (Ok(application), Ok(version)) => (application, version),
        (Err(error), _) | (_, Err(error)) => return Err(unusable(path)(error)),
    };
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
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    // Check the schema first, because a migration needs the unchanged result of the earlier migrations.
    check(connection, version, path)?;
    if version == MIGRATIONS.len() {
        return Ok(());
    }
    // Migrate in one transaction, because a crash between two migrations would leave a new store with the number of an
    // old schema.
    let transaction = connection.transaction().map_err(fault(DURING))?;
    for migration in MIGRATIONS.iter().skip(version) {
        transaction
            .execute_batch(migration)
            .map_err(fault(DURING))?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(fault(DURING))?;
    let number = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    transaction
        .pragma_update(None, "user_version", number)
        .map_err(fault(DURING))?;
    transaction.commit().map_err(fault(DURING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_an_earlier_version_whose_end_nobody_saw_needs_a_review_after_the_migration() {
        let connection = Connection::open_in_memory().expect("a database");
        let (newest, earlier) = MIGRATIONS.split_last().expect("migrations");
        earlier
            .iter()
            .for_each(|migration| connection.execute_batch(migration).expect("migrated"));
        let sql = "INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, status, \
                   created_at, receipt, detail) VALUES (?1, ?1, ?1, 'a:b', ?1, ?1, 'p', 1, 1, 1, ?2, ?3)";
        for (id, detail) in [
            (7_u8, r#"{"status":"unknown"}"#),
            (8, r#"{"exit_code":0,"status":"succeeded"}"#),
        ] {
            let values = rusqlite::params![[id; 16], id, detail.as_bytes()];
            connection.execute(sql, values).expect("a run");
        }
        connection.execute_batch(newest).expect("migrated");
        let mut owed = connection
            .prepare("SELECT receipt, emergency, unknown, settled FROM owed")
            .expect("a table");
        let rows = owed.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let rows: Vec<(u64, bool, bool, Option<u64>)> =
            rows.expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows, [(7, false, true, None)]);
    }
}
