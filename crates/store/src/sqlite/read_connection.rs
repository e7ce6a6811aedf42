//! Connections that only read a store in a file.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    StoreFault, is_interrupted, refused,
    sqlite::{
        errors::{fault, unusable},
        schema::{self, APPLICATION_ID},
    },
};

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::harden(&connection)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Checks that this program can read the store, and opens a read-only connection.
pub(crate) fn read_only(path: &Path) -> Result<Connection, StoreFault> {
    let wrong = |message: String| refused(format!("{} {message}", path.display()));
    if !path.is_file() {
        return Err(wrong("does not exist: name a store or a backup".to_owned()));
    }
    let connection = connect(path).map_err(|error| unusable(path, &error))?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    // If only the database header is readable, the store is damaged, and the message must not say that the file is no
    // store.
    let unreadable = |error: rusqlite::Error| {
        match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => fault("opening the store")(error),
        _ if is_interrupted(path) => wrong(
            "is a backup that was being brought up to date: wait until this has ended; if it was interrupted, run \
             `countersign store backup --onto` again (`store restore` uses the state before it)"
                .to_owned(),
        ),
        _ => unusable(path, &error),
    }
    };
    let application = number("application_id").map_err(unreadable)?;
    let version = number("user_version").map_err(unreadable)?;
    if application != APPLICATION_ID {
        return Err(wrong(
            "is not a store of this program: name another file".to_owned(),
        ));
    }
    schema::check_number(&connection, version, path)?;
    Ok(connection)
}
