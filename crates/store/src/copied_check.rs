//! Checks a store in a database server: copies the store at one moment into an SQLite file, and checks the file. So
//! both engines have the same check.

use std::{os::unix::fs::DirBuilderExt as _, path::Path};

use crate::{
    ServerSettings, StoreReport, StoreResult, StoreScope, postgres::export::export, refused,
    sqlite::check,
};

/// Copies the store into a temporary directory and checks the copy.
///
/// # Errors
/// Returns a fault if the store cannot be copied. Problems inside the store are defects.
pub fn check_copy(
    server: &ServerSettings,
    scope: &StoreScope,
    progress: &mut dyn FnMut(u64, u64),
) -> StoreResult<StoreReport> {
    let failed = |error: std::io::Error| {
        refused(format!(
            "the directory for a copy of the store cannot be used: {error}; free some space on the disk"
        ))
    };
    // The copy is as private as the outputs, and can be as large as the store.
    let parent = scope.outputs.parent().filter(|path| path.is_dir());
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let directory = tempfile::Builder::new()
        .prefix(".checked-copy-")
        .tempdir_in(parent)
        .map_err(failed)?;
    let (file, outputs) = (
        directory.path().join("copy.db"),
        directory.path().join("outputs"),
    );
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&outputs)
        .map_err(failed)?;
    export(server, &file, &outputs, 0, &outputs)?;
    let scope = StoreScope {
        name: scope.name.clone(),
        outputs,
        retention: scope.retention,
        now: scope.now,
    };
    check::check(&file, &scope, progress)
}
