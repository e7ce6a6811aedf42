//! The time of the last backup of the store, as a file in the private directory.

use std::{io, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::Config;
use documents::{SealDigest, Timestamp};
use store::small_file;

/// Returns the time of the last backup of the log with this id, or `None` if there was none or its time can't be read.
pub fn read(config: &Config, log: &SealDigest) -> Option<Timestamp> {
    let text = std::fs::read_to_string(path(config)).ok()?;
    let (at, id) = text.trim().split_once(' ')?;
    // After a restore, a backup of the old log is no backup of the new log.
    (id == log.to_string()).then(|| at.parse().ok())?
}

/// Stores the time of a finished backup, with the id of the log.
///
/// # Errors
/// Returns an error if the file can't be written. The backup itself is complete.
pub fn write(config: &Config, log: &SealDigest, at: Timestamp) -> io::Result<()> {
    small_file::replace(&path(config), format!("{at} {log}\n").as_bytes())?;
    // `doctor` may run as the user of the service after a backup by root. The directory is closed to other users.
    std::fs::set_permissions(path(config), std::fs::Permissions::from_mode(0o644))
}

fn path(config: &Config) -> PathBuf {
    config.data.join("last-backup")
}
