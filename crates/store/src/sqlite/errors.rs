//! Conversions from SQLite errors to faults of the store.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::{StoreFault, StoreResult, refused, small_file::with_suffix};

pub fn fault(during: &'static str, error: &rusqlite::Error) -> StoreFault {
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreFault::Full { during },
        // A read or a write failed, or the database is damaged. The state on disk is unknown.
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ReadOnly,
        ) => StoreFault::Broken { during, message },
        Some(_) => StoreFault::Database { during, message },
        None => StoreFault::Broken { during, message },
    }
}

/// The result of an action of SQLite.
pub trait During<T> {
    /// Converts an error to the fault of the action `during`.
    fn during(self, during: &'static str) -> StoreResult<T>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, during: &'static str) -> StoreResult<T> {
        self.map_err(|error| fault(during, &error))
    }
}

pub fn unusable(path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreFault {
    move |error| {
        refused(format!(
            "the store {} can't be opened: {error}; restore a backup, or name another file",
            path.display()
        ))
    }
}

/// Returns true if the journal exists with which SQLite undoes an interrupted transaction.
pub fn is_interrupted(path: &Path) -> bool {
    with_suffix(path, "-journal").exists()
}
