//! Deletes a directory whose content a step created. The directory may have any depth, any number of entries and any
//! modes.
//!
//! A recursive deletion needs a stack frame and a descriptor for each level, so a deep directory would crash the
//! service. Therefore inner directories are first moved to the top level, so that the deletion needs only three
//! descriptors and no recursion.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, DirEntry, Mode, OFlags},
    io::Errno,
};

use crate::isolation::opened::open_at;

/// Maximum duration of a deletion, because a living process could create new files all the time.
const LONGEST: Duration = Duration::from_secs(600);

/// Deletes the directory `path` with its content, without following links.
///
/// # Errors
/// Returns an error if `path` is no directory or an entry can't be deleted. Even after an error, all other entries are
/// deleted.
pub fn tree(path: &Path) -> io::Result<()> {
    let begun = Instant::now();
    let top = open(CWD, path)?;
    let mut number = 0_u64;
    loop {
        let (mut went_on, mut failed, before) = (false, None, number);
        for entry in entries(Dir::read_from(&top)?) {
            match empty(&top, entry?.file_name(), &mut number) {
                Ok(()) => went_on = true,
                // Another process deletes the same tree.
                Err(Errno::NOENT) => {}
                Err(error) => failed = Some(error),
            }
            if begun.elapsed() > LONGEST {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match failed {
            // This listing may not contain the directories that were moved up, so repeat.
            _ if went_on || number != before => {}
            None => break,
            Some(error) => return Err(error.into()),
        }
    }
    Ok(fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Deletes `name` in `top`: moves its inner directories to `top` and deletes its files.
fn empty(top: &OwnedFd, name: &CStr, number: &mut u64) -> Result<(), Errno> {
    match fs::unlinkat(top, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let directory = open(top, name)?;
    for entry in entries(Dir::read_from(&directory)?) {
        let entry = entry?;
        let inner = entry.file_name();
        match fs::unlinkat(&directory, inner, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => match move_up(&directory, inner, top, number) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, number: &mut u64) -> Result<(), Errno> {
    let before = *number;
    loop {
        *number += 1;
        let Ok(free) = CString::new(format!(".{number}")) else {
            return Err(Errno::INVAL);
        };
        match fs::renameat(from, name, top, &free) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // Renaming a directory requires write access to this directory.
            Err(Errno::ACCESS) => {
                let again = open(from, name).and_then(|_| fs::renameat(from, name, top, &free));
                return again.inspect_err(|_| *number = before);
            }
            // Nothing was moved, so reset the counter. Otherwise the caller would see progress.
            done => return done.inspect_err(|_| *number = before),
        }
    }
}

/// Opens a directory for listing and changing its entries. The needed rights are added first, through the descriptor
/// and not the name, because another process may have replaced the name with a link.
fn open(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let found = open_at(at, name, flags | OFlags::PATH)?;
    let all = Mode::RWXU;
    if !Mode::from_raw_mode(fs::fstat(&found)?.st_mode).contains(all) {
        // Root needs no access rights, and for a directory of another user the following openat call fails, so ignore
        // the error.
        let _ = fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), all);
    }
    open_at(&found, ".", flags)
}

/// Returns the entries of a directory, without the directory itself and its parent.
pub fn entries(directory: Dir) -> impl Iterator<Item = rustix::io::Result<DirEntry>> {
    let is_dots = |entry: &DirEntry| matches!(entry.file_name().to_bytes(), b"." | b"..");
    directory.filter(move |entry| !entry.as_ref().is_ok_and(is_dots))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Creates directories deeper than `PATH_MAX` in `top`.
    fn dig(top: &Path, depth: usize) {
        let mut at = open_at(CWD, top, OFlags::DIRECTORY).expect("open");
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("a directory");
            at = open_at(&at, "d", OFlags::DIRECTORY).expect("open");
        }
        rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR)
            .expect("a file");
    }

    #[test]
    fn a_deep_directory_is_removed_with_a_small_stack() {
        // Prefer memory, because a journaling file system needs a second for every thousand directories.
        let place = if Path::new("/dev/shm").is_dir() {
            "/dev/shm".into()
        } else {
            std::env::temp_dir()
        };
        let home = tempfile::tempdir_in(place).expect("a directory");
        let (top, outside) = (home.path().join("top"), home.path().join("outside"));
        for directory in [&top, &outside] {
            std::fs::create_dir(directory).expect("a directory");
        }
        std::fs::write(outside.join("kept"), "x").expect("a file");
        dig(&top, 30_000);
        for name in [
            ".1",
            ".2/.3/.4",
            "wide/a",
            "wide/b",
            "wide/c",
            "closed/in/deep",
        ] {
            std::fs::create_dir_all(top.join(name)).expect("directories");
            std::fs::write(top.join(name).join("file"), "x").expect("a file");
        }
        std::fs::write(top.join(".5"), "x").expect("a file");
        symlink(&outside, top.join("wide/link")).expect("a link");
        symlink(&outside, top.join("link")).expect("a link");
        symlink("nowhere", top.join("broken")).expect("a link");
        for name in ["closed/in", "closed"] {
            std::fs::set_permissions(top.join(name), std::fs::Permissions::from_mode(0o000))
                .expect("mode");
        }
        let removing = top.clone();
        let small = std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || tree(&removing))
            .expect("a thread");
        small.join().expect("no overflow").expect("removed");
        assert!(!top.exists() && outside.join("kept").exists());
        assert!(tree(&top).is_err() && tree(&outside.join("kept")).is_err());
    }

    /// The entries of procfs can't be deleted.
    #[test]
    fn an_entry_that_cannot_be_removed_is_reported_at_once() {
        let begun = Instant::now();
        assert!(tree(Path::new("/proc/self/task")).is_err());
        assert!(begun.elapsed() < LONGEST / 10);
    }
}
