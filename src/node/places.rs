//! Paths of the store, and atomic moves of its files. After a crash, the path has either the old store or the new
//! store.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::node::config::Config;
use crate::node::file_problem::FileProblem;
use crate::store::sqlite;

/// Name of the database file in a backup.
pub const DATABASE: &str = "countersign.db";

/// Name of the directory of outputs in a backup.
pub const OUTPUTS: &str = "outputs";

/// Name of the directory of closed logs in a backup.
pub(super) const CLOSED: &str = "closed";

impl Config {
    /// Returns the path of the control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// Returns the path of the file with the last checkpoint that this boundary signed. The file is outside the store,
    /// so that the start of the service can detect a store that is older than this checkpoint.
    #[must_use]
    pub fn kept_checkpoint(&self) -> PathBuf {
        self.data.join("checkpoint")
    }

    /// Returns the directory of closed logs. A restore closes the old log.
    #[must_use]
    pub fn closed(&self) -> PathBuf {
        self.data.join("closed")
    }

    /// Returns the directory of large outputs.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Returns the directory of uploaded files.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.data.join("artifacts")
    }

    /// Returns the directory of the output files of current runs.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Returns the parent directory of the runs' working directories, for hosts on which a run cannot get its own root
    /// directory. A run with its own user id must be able to enter this directory, so it is outside the private
    /// directory.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join("runs")
    }
}

/// Deletes empty write-ahead logs next to the path of the database. SQLite would apply the write-ahead log of another
/// store to the database.
///
/// # Errors
/// Returns an error if a write-ahead log is not empty.
pub(super) fn clear_logs(database: &Path) -> Result<(), FileProblem> {
    for suffix in ["-wal", "-shm"] {
        let mut path = database.to_owned().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        match fs::metadata(&path) {
            Ok(metadata) if suffix == "-wal" && metadata.len() > 0 => {
                let message = "the file belongs to a store that is no longer here: move the file to that store";
                return Err(FileProblem::whole(&path, message));
            }
            Ok(_) => fs::remove_file(&path).map_err(|error| FileProblem::whole(&path, error.to_string()))?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// Returns the path at which a restore or an upgrade builds a file of the new store.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("restoring-{name}{suffix}"))
}

/// Moves the write-ahead log of the new store into the database file, and syncs the file.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(super) fn settle(database: &Path) -> Result<(), FileProblem> {
    let fresh = beside(database, "");
    let at = |error: &dyn std::fmt::Display| FileProblem::whole(&fresh, error.to_string());
    // If a reader of the store was still open, SQLite kept the write-ahead log. SQLite merges it into the database when
    // the last connection closes.
    drop(sqlite::open(&fresh).map_err(|fault| at(&fault))?);
    if beside(database, "-wal").exists() {
        return Err(at(&"the write-ahead log cannot be moved into the database: check the disk"));
    }
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(|error| at(&error))
}

/// Renames the new store to its final path.
pub(super) fn put_in_place(database: &Path) -> io::Result<()> {
    fs::rename(beside(database, ""), database)?;
    clear(database)?;
    sync(database.parent().unwrap_or(Path::new("/")))
}

/// Deletes all files of an unfinished new store.
pub(super) fn clear(database: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        match fs::remove_file(beside(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the work directory of a restore. The directory exists only during a restore or after an interrupted restore.
#[must_use]
pub fn workplace(config: &Config) -> PathBuf {
    config.data.join("restoring")
}

/// Returns the directories of the closed logs.
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
