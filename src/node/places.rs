//! Where the store and its parts are, and moving them so that a crash leaves the old or the new.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::node::config::Config;
use crate::node::problem::FileProblem;
use crate::store::sqlite;

/// The database in a backup.
pub const DATABASE: &str = "countersign.db";

/// The outputs in a backup.
pub const OUTPUTS: &str = "outputs";

/// The closed logs in a backup.
pub(super) const CLOSED: &str = "closed";

/// Removes empty write-ahead logs beside the place of a store, which an orderly end leaves. Beside the log of another store
/// SQLite would mix the two.
///
/// # Errors
/// When one is not empty.
pub(super) fn clear_logs(database: &Path) -> Result<(), FileProblem> {
    for suffix in ["-wal", "-shm"] {
        let mut path = database.to_owned().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        match fs::metadata(&path) {
            Ok(metadata) if suffix == "-wal" && metadata.len() > 0 => {
                let message = "it belongs to a store that is no longer here: move it to that store";
                return Err(FileProblem::whole(&path, message));
            }
            Ok(_) => fs::remove_file(&path).map_err(|error| FileProblem::whole(&path, error.to_string()))?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// A file of the store that a restore or an upgrade makes.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("restoring-{name}{suffix}"))
}

/// Closes the new store: all is in the database then, and durable.
///
/// # Errors
/// When it can't be written.
pub(super) fn settle(database: &Path) -> Result<(), FileProblem> {
    let fresh = beside(database, "");
    let at = |error: &dyn std::fmt::Display| FileProblem::whole(&fresh, error.to_string());
    // Readers were open when the writer ended, so its log is beside the database still: opened alone once more, the last to
    // close moves it in.
    drop(sqlite::open(&fresh).map_err(|fault| at(&fault))?);
    if beside(database, "-wal").exists() {
        return Err(at(&"its write-ahead log is not moved into it: look at the disk"));
    }
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(|error| at(&error))
}

/// Moves the new store to its place.
pub(super) fn put_in_place(database: &Path) -> io::Result<()> {
    fs::rename(beside(database, ""), database)?;
    clear(database)?;
    sync(database.parent().unwrap_or(Path::new("/")))
}

/// Removes what is left of it.
pub(super) fn clear(database: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        match fs::remove_file(beside(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Where a restore works until it is done; its being there says that one was interrupted.
#[must_use]
pub fn workplace(config: &Config) -> PathBuf {
    config.data.join("restoring")
}

/// The directories of closed logs.
#[must_use]
pub fn closed(config: &Config) -> Vec<PathBuf> {
    directories(&config.closed())
}

pub(super) fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
