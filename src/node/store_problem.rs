//! Errors as problems of a file or of the store.

use std::{fmt::Display, path::Path};

use reading::FileProblem;
use store::{Database, StoreResult};

/// An error that becomes a problem of a file.
pub trait InFile<T> {
    /// Names the file, or another path, to which the error belongs.
    fn at(self, path: &Path) -> Result<T, FileProblem>;
}

impl<T, E: Display> InFile<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, FileProblem> {
        self.map_err(|error| FileProblem::whole(path, error.to_string()))
    }
}

/// A fault that becomes a problem of its store.
pub trait InStore<T> {
    /// Names the store. A node waits if its database server can't be used now.
    fn in_store(self, database: &Database) -> Result<T, FileProblem>;
}

impl<T> InStore<T> for StoreResult<T> {
    fn in_store(self, database: &Database) -> Result<T, FileProblem> {
        self.map_err(|fault| FileProblem {
            can_pass: fault.is_unreachable(),
            ..FileProblem::of_store(database, fault)
        })
    }
}
