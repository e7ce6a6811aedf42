//! The store's directory: private, and one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use crate::store::fault::StoreFault;

/// Holds the store for this process; gone with the process, however that ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the store at `database` (a file's path) for this process, after making sure that its directory is private.
    ///
    /// # Errors
    /// When another process holds it (which names it), or directory or files are open to others.
    pub fn take(database: &Path) -> Result<Self, StoreFault> {
        let lock = Self::alone(database)?;
        // SQLite gives its other files the mode of the database, so it is made before SQLite sees it.
        drop(open_private(database)?);
        Ok(lock)
    }

    /// The same without making the database where there is none.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn alone(database: &Path) -> Result<Self, StoreFault> {
        check_directory(database.parent().unwrap_or(Path::new(".")))?;
        let path = lock_path(database);
        let mut file = open_private(&path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                let holder = if pid.trim().is_empty() { "?" } else { pid.trim() };
                return Err(unusable(format!(
                    "the store {} is in use by process {holder} (lock {}); stop that process, or use its control socket",
                    database.display(),
                    path.display()
                )));
            }
            Err(error) => return Err(unusable(format!("can't lock {}: {error}", path.display()))),
        }
        // Only for the message above: the lock itself is the kernel's.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", rustix::process::getpid().as_raw_nonzero()));
        written.map_err(|error| unusable(format!("can't write {}: {error}", path.display())))?;
        Ok(Self { _file: file })
    }
}

/// Locks the file. A child process has a copy of a lock that this process just released, until the child calls exec: so a
/// lock that is taken is tried again for a moment.
fn lock(file: &File) -> rustix::io::Result<()> {
    for _ in 0..TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// How often a taken lock is tried again, and the pause between two tries.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Where the lock of a database lies: beside it.
#[must_use]
pub fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    database.with_file_name(name)
}

/// Bytes that the service may still write on the file system of `path`.
///
/// # Errors
/// When the file system does not answer.
pub fn room(path: &Path) -> Result<u64, StoreFault> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| StoreFault::Database { during: "asking for free space", message: error.to_string() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn check_directory(directory: &Path) -> Result<(), StoreFault> {
    if !directory.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| unusable(format!("can't make {}: {error}", directory.display())))?;
    }
    let metadata = std::fs::metadata(directory)
        .map_err(|error| unusable(format!("can't look at {}: {error}", directory.display())))?;
    check_private(directory, &metadata, "700")
}

fn open_private(path: &Path) -> Result<File, StoreFault> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| unusable(format!("can't open {}: {error}", path.display())))?;
    let metadata = file.metadata().map_err(|error| unusable(format!("can't look at {}: {error}", path.display())))?;
    if metadata.len() == 0 {
        // An umask may have taken rights away from us; never more to others.
        let set = file.set_permissions(Permissions::from_mode(0o600));
        set.map_err(|error| unusable(format!("can't set the mode of {}: {error}", path.display())))?;
    }
    check_private(path, &metadata, "600")?;
    Ok(file)
}

fn check_private(path: &Path, metadata: &std::fs::Metadata, mode: &str) -> Result<(), StoreFault> {
    let uid = rustix::process::geteuid().as_raw();
    if metadata.uid() != uid {
        return Err(unusable(format!(
            "{} belongs to user {}, not to user {uid} who runs this; chown it, or run as its owner",
            path.display(),
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(unusable(format!(
            "{} is open to other users (mode {:o}); run: chmod {mode} {}",
            path.display(),
            metadata.mode() & 0o7777,
            path.display()
        )));
    }
    Ok(())
}

fn unusable(message: String) -> StoreFault {
    StoreFault::Unusable { message }
}
