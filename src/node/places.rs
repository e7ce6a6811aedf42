//! Paths of the private directory, of a backup and of a closed log.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Mode;

use crate::Config;

/// Name of the database file in a backup.
pub const DATABASE: &str = "countersign.db";

/// Name of the directory of outputs in a backup.
pub const OUTPUTS: &str = "outputs";

/// Name of the directory of closed logs in a backup.
pub const CLOSED: &str = "closed";

impl Config {
    /// Returns the path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// Returns the path of the file with the last checkpoint that this boundary signed. The file is outside the store,
    /// so that the start of the service can detect a store that is older than this checkpoint.
    pub fn kept_checkpoint(&self) -> PathBuf {
        self.data.join("checkpoint")
    }

    /// Returns the path of the file with the sizes of the data in the last days.
    pub fn data_sizes(&self) -> PathBuf {
        self.data.join("sizes")
    }

    /// Returns the directory in which the unit of `init` makes backups, if the store is a file.
    pub fn backups(&self) -> Option<PathBuf> {
        self.database
            .file()
            .and(Some(self.path.with_file_name("backups")))
    }

    /// Returns the directory of closed logs. A restore closes the old log.
    pub fn closed(&self) -> PathBuf {
        self.data.join("closed")
    }

    /// Returns the directory of large outputs.
    pub fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Returns the directory of late receipts, whose runs another node had already closed.
    pub fn late_receipts(&self) -> PathBuf {
        self.data.join("late-receipts")
    }

    /// Returns the directory of uploaded files.
    pub fn artifacts(&self) -> PathBuf {
        self.data.join("artifacts")
    }

    /// Returns the directory of the output files of current runs.
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Returns the parent directory of the runs' working directories, for hosts on which a run cannot get its own root
    /// directory. A run with its own user id must be able to enter this directory, so it is outside the private
    /// directory.
    pub fn scratch(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join("runs")
    }
}

/// Returns the work directory of a restore. The directory exists only during a restore or after an interrupted restore.
pub fn workplace(config: &Config) -> PathBuf {
    config.data.join("restoring")
}

/// Returns the directories of the closed logs.
pub fn closed(config: &Config) -> Vec<PathBuf> {
    directories(&config.closed())
}

pub fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

pub fn private_directory(path: &Path) -> io::Result<()> {
    directory(path, 0o700)
}

/// Creates a directory and those above it, as far as they are missing.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes new files of this process inaccessible to other users.
pub fn hide_new_files() {
    rustix::process::umask(Mode::from_bits_truncate(0o077));
}
