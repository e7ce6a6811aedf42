//! The new store that a restore builds, and its atomic move. After a crash, the path of the database has either the old
//! store or the new store.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    StoreResult, refused,
    small_file::{sync, with_suffix},
    sqlite,
};

/// Deletes empty write-ahead logs next to the path of a missing database. Refuses a write-ahead log that is not empty,
/// because SQLite would apply the write-ahead log of another store to the database.
pub fn clear_logs(database: &Path) -> StoreResult {
    for suffix in ["-wal", "-shm"] {
        let path = with_suffix(database, suffix);
        match fs::metadata(&path) {
            Ok(metadata) if suffix == "-wal" && metadata.len() > 0 => {
                let why = "belongs to a store that is no longer here: move the file to that store";
                return Err(refused(format!("the file {} {why}", path.display())));
            }
            Ok(_) => fs::remove_file(&path)
                .map_err(|error| refused(format!("{}: {error}", path.display())))?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// Returns the path at which a restore builds a file of the new store. This path is in the directory of the database,
/// because a rename works only within one file system.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("restoring-{name}{suffix}"))
}

/// Moves the write-ahead log of the new store into the database file, and syncs the file.
pub fn settle(database: &Path) -> StoreResult {
    let fresh = beside(database, "");
    // If a reader of the store was still open, SQLite kept the write-ahead log. SQLite merges the write-ahead log into
    // the database when the last connection closes.
    drop(sqlite::open(&fresh)?);
    if beside(database, "-wal").exists() {
        return Err(refused(
            "the write-ahead log cannot be moved into the database: check the disk",
        ));
    }
    sync(&fresh).map_err(refused)
}

/// Renames the new store to its final path.
pub fn put_in_place(database: &Path) -> StoreResult {
    fs::rename(beside(database, ""), database).map_err(refused)?;
    clear(database)?;
    sync(database.parent().unwrap_or(Path::new("/"))).map_err(refused)
}

/// Deletes all files of an unfinished new store.
pub fn clear(database: &Path) -> StoreResult {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        match fs::remove_file(beside(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
    }
    Ok(())
}
