//! The private directory of a store, and the lock that allows one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, OFlags};

use crate::{StoreFault, StoreResult, refused, small_file::with_suffix};

/// Lock on a store. The kernel releases the lock when the process ends for any reason.
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Checks that the directory of the file `database` is private, and locks the store.
    ///
    /// # Errors
    /// Returns a fault if another process holds the lock, or if other users can access the directory or the files. The
    /// message names the process that holds the lock.
    pub fn take(database: &Path) -> StoreResult<Self> {
        let lock = Self::alone(database)?;
        // Create the database file with a private mode, because SQLite gives its other files the same mode.
        drop(open_private(database)?);
        Ok(lock)
    }

    /// Locks the store like [`Self::take`], but creates no database file.
    ///
    /// # Errors
    /// Returns the same faults as [`Self::take`].
    pub fn alone(database: &Path) -> StoreResult<Self> {
        check_directory(database.parent().unwrap_or(Path::new(".")))?;
        let path = lock_path(database);
        let mut file = open_private(&path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                let holder = if pid.trim().is_empty() {
                    "?"
                } else {
                    pid.trim()
                };
                return Err(refused(format!(
                    "the store {} is in use by process {holder} (lock {}); stop that process, or use its control socket",
                    database.display(),
                    path.display()
                )));
            }
            Err(error) => return Err(refused(format!("can't lock {}: {error}", path.display()))),
        }
        // The process id in the file only serves the error message above. The kernel holds the lock.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", rustix::process::getpid().as_raw_nonzero()));
        written.map_err(failed("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Locks the file, and tries again for 200 ms while the lock is taken. A new child process holds a copy of a lock that
/// its parent has just released, until the child calls exec.
fn lock(file: &File) -> rustix::io::Result<()> {
    for _ in 0..TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Maximum number of attempts to take the lock, with the pause `PAUSE` between two attempts.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Returns the path of the lock file, which is in the directory of the database.
pub fn lock_path(database: &Path) -> PathBuf {
    with_suffix(database, ".lock")
}

/// Returns the fault for a failed action on a file or a directory.
fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreFault {
    move |error| refused(format!("can't {what} {}: {error}", path.display()))
}

fn check_directory(directory: &Path) -> StoreResult {
    if !directory.exists() {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(failed("make", directory))?;
    }
    let metadata = std::fs::metadata(directory).map_err(failed("look at", directory))?;
    check_private(directory, &metadata, "700")
}

fn open_private(path: &Path) -> StoreResult<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(failed("open", path))?;
    let metadata = file.metadata().map_err(failed("look at", path))?;
    if metadata.len() == 0 {
        // The umask may have removed bits of the mode.
        let set = file.set_permissions(Permissions::from_mode(0o600));
        set.map_err(failed("set the mode of", path))?;
    }
    check_private(path, &metadata, "600")?;
    Ok(file)
}

/// Checks that no other user can access the database, its lock file and its directory, as far as they exist.
///
/// # Errors
/// Returns the first file that other users can access, with the command that corrects its mode.
pub fn check_modes(database: &Path) -> StoreResult {
    let (directory, lock) = (database.parent().unwrap_or(database), lock_path(database));
    for (path, mode) in [(directory, "700"), (database, "600"), (&*lock, "600")] {
        if let Ok(metadata) = std::fs::metadata(path) {
            check_private(path, &metadata, mode)?;
        }
    }
    Ok(())
}

fn check_private(path: &Path, metadata: &std::fs::Metadata, mode: &str) -> StoreResult {
    let uid = rustix::process::geteuid().as_raw();
    if metadata.uid() != uid {
        return Err(refused(format!(
            "{} belongs to user {}, but this program runs as user {uid}; change the owner with chown, or run the \
             program as the owner",
            path.display(),
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "other users can access {} (mode {:o}); run: chmod {mode} {}",
            path.display(),
            metadata.mode() & 0o7777,
            path.display()
        )));
    }
    Ok(())
}
