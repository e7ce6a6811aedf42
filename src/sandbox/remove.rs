//! Removes a directory that a step made as it liked: as deep, as wide and as closed as its limits let it.
//!
//! Removing by recursion takes a stack frame and a descriptor for each level, so a deep directory would end the service. Here
//! whatever is a directory is moved up to the top first: three descriptors and no recursion, however deep it is.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

/// How long it may take: whoever is still alive in there could make files for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// Removes the directory `path` and all that is in it. Links are removed and never followed.
///
/// # Errors
/// When it is no directory, or something in it can't be removed: then all else is gone.
pub(super) fn tree(path: &Path) -> io::Result<()> {
    let begun = Instant::now();
    let top = open(CWD, path)?;
    let mut number = 0_u64;
    loop {
        let (mut went_on, mut failed, before) = (false, None, number);
        let mut entries = Dir::read_from(&top)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            match empty(&top, name, &mut number) {
                Ok(()) => went_on = true,
                // Another one removes it too.
                Err(Errno::NOENT) => {}
                Err(error) => failed = Some(error),
            }
            if begun.elapsed() > LONGEST {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match failed {
            // What was moved up meanwhile may not have been seen.
            _ if went_on || number != before => {}
            None => break,
            Some(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Removes `name` of `top`; of a directory its files, after its directories were moved to `top` under names that are free.
fn empty(top: &OwnedFd, name: &CStr, number: &mut u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(top, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let directory = open(top, name)?;
    let mut entries = Dir::read_from(&directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let inner = entry.file_name();
        if is_dots(inner) {
            continue;
        }
        match rustix::fs::unlinkat(&directory, inner, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => match move_up(&directory, inner, top, number) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, number: &mut u64) -> Result<(), Errno> {
    let before = *number;
    loop {
        *number += 1;
        let Ok(free) = CString::new(format!(".{number}")) else { return Err(Errno::INVAL) };
        match rustix::fs::renameat(from, name, top, &free) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // A directory that moves must be writable itself.
            Err(Errno::ACCESS) => {
                let again = open(from, name).and_then(|_| rustix::fs::renameat(from, name, top, &free));
                return again.inspect_err(|_| *number = before);
            }
            // Nothing was moved: whoever counts must not take it for that.
            done => return done.inspect_err(|_| *number = before),
        }
    }
}

/// Opens a directory to list and change it, with the rights for that, which whoever owns it can give himself. By its
/// descriptor: a name may be a link by then.
fn open(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(at, name, flags | OFlags::PATH, Mode::empty())?;
    let all = Mode::RWXU;
    if !Mode::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).contains(all) {
        // Root needs none of them, and another owner's can't be changed: opening says so.
        let _ = rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), all);
    }
    rustix::fs::openat(&found, ".", flags | OFlags::RDONLY, Mode::empty())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Deeper than any path is long, in `top`.
    fn dig(top: &Path, depth: usize) {
        let mut at = rustix::fs::open(top, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open");
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("a directory");
            at = rustix::fs::openat(&at, "d", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open");
        }
        rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR).expect("a file");
    }

    #[test]
    fn a_directory_of_any_depth_is_removed_with_a_small_stack() {
        // In memory where there is such a place: a journal makes a second per thousand of it.
        let place = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
        let home = tempfile::tempdir_in(place).expect("a directory");
        let (top, outside) = (home.path().join("top"), home.path().join("outside"));
        for directory in [&top, &outside] {
            std::fs::create_dir(directory).expect("a directory");
        }
        std::fs::write(outside.join("kept"), "x").expect("a file");
        dig(&top, 30_000);
        for name in [".1", ".2/.3/.4", "wide/a", "wide/b", "wide/c", "closed/in/deep"] {
            std::fs::create_dir_all(top.join(name)).expect("directories");
            std::fs::write(top.join(name).join("file"), "x").expect("a file");
        }
        std::fs::write(top.join(".5"), "x").expect("a file");
        symlink(&outside, top.join("wide/link")).expect("a link");
        symlink(&outside, top.join("link")).expect("a link");
        symlink("nowhere", top.join("broken")).expect("a link");
        for name in ["closed/in", "closed"] {
            std::fs::set_permissions(top.join(name), std::fs::Permissions::from_mode(0o000)).expect("mode");
        }
        let removing = top.clone();
        let small = std::thread::Builder::new().stack_size(128 << 10).spawn(move || tree(&removing)).expect("a thread");
        small.join().expect("no overflow").expect("removed");
        assert!(!top.exists() && outside.join("kept").exists());
        assert!(tree(&top).is_err() && tree(&outside.join("kept")).is_err());
    }

    /// Nothing can be taken out of procfs.
    #[test]
    fn a_directory_that_cannot_be_removed_is_reported_at_once() {
        let begun = Instant::now();
        assert!(tree(Path::new("/proc/self/task")).is_err());
        assert!(begun.elapsed() < LONGEST / 10);
    }
}
