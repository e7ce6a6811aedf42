//! The private work directory of a session, which is copied from run to run.
//!
//! Each run has its own user id, and the file system of a run accepts only this id. So the service reads the directory
//! that the last run left, and the first process of the next run writes the copy. Between the two processes, the
//! content is a stream of entries. Only directories, regular files and links are copied.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::fchown,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{self, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::{
    AtStage as _, MAX_DEPTH, RunDir, SetupFailure, SetupResult, SetupStage, StreamSearch,
    isolation::{
        opened::{chown_at, create_at, kind_of, open, open_at, open_within, stat_at},
        remove::entries,
        step_files,
    },
};
use documents::RelativePath;

/// The work directory that a run of a session left. It exists until this value is dropped.
#[derive(Debug)]
pub struct SessionTree {
    directory: OwnedFd,
    /// Path of the directory, as the run that left the directory saw it.
    path: PathBuf,
    /// Directory of a run on the host's root file system.
    _on_disk: Option<Arc<RunDir>>,
}

impl SessionTree {
    pub(crate) fn new(directory: OwnedFd, path: PathBuf, on_disk: Option<Arc<RunDir>>) -> Self {
        Self {
            directory,
            path,
            _on_disk: on_disk,
        }
    }

    /// Returns the path of the directory, as the run that left the directory saw it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether a run can start in the directory at `path`, a path in the run. Returns `None` if `path` is
    /// outside of the work directory.
    pub fn can_start_in(&self, path: &Path) -> Option<bool> {
        let below = path.strip_prefix(&self.path).ok()?;
        if below.as_os_str().is_empty() {
            // The mode of the work directory itself is not copied.
            return Some(true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = open_within(&self.directory, below, flags, resolve);
        let mode = opened
            .and_then(fs::fstat)
            .map(|found| Mode::from_raw_mode(found.st_mode));
        Some(mode.is_ok_and(|mode| mode.contains(Mode::XUSR)))
    }

    /// Removes a file that the run got from its step.
    pub(crate) fn remove(&self, path: &str) {
        // The step may have moved the directories above the file. The session then keeps the file.
        let _ = step_files::remove(&self.directory, path);
    }

    /// Opens a file or directory below the work directory. No part of the path may be a symbolic link.
    ///
    /// # Errors
    /// Returns the error of the kernel, for example if nothing has the path.
    pub fn open(&self, path: &RelativePath) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        Ok(File::from(open_within(
            self.top()?,
            path.as_str(),
            flags,
            links,
        )?))
    }

    fn top(&self) -> io::Result<&OwnedFd> {
        // The step may have changed the mode, which is not copied.
        fs::fchmod(&self.directory, Mode::RWXU)?;
        Ok(&self.directory)
    }

    /// Returns the space that the files use, in bytes.
    ///
    /// # Errors
    /// Returns an error if a directory can't be read, or if it has more than 128 levels.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = 0_u64;
        let mut count = |_: &OwnedFd, _: &Path, stat: &Stat, _: Step| {
            // A sparse file is copied as a whole, and each entry needs memory of the kernel.
            let size = u64::try_from(stat.st_size).unwrap_or(0).max(ENTRY_BYTES);
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            bytes = bytes.saturating_add(size.max(blocks.saturating_mul(512)));
            Ok(())
        };
        walk(self.top()?, 0, &mut count)?;
        Ok(bytes)
    }

    /// Returns true if `holds` accepts the name, the target or the content of an entry.
    ///
    /// # Errors
    /// Returns an error if an entry can't be read.
    pub fn contains(&self, holds: &dyn Fn(&[u8]) -> bool) -> io::Result<bool> {
        let mut found = false;
        let mut look = |directory: &OwnedFd, name: &Path, stat: &Stat, step: Step| {
            found = found || holds(name.as_os_str().as_bytes());
            match step {
                Step::File if !found => {
                    let mut file =
                        open_file(directory, name, stat).map_err(|error| at(name, &error))?;
                    let (mut search, mut piece) = (StreamSearch::new(holds), vec![0; PIECE]);
                    loop {
                        match file.read(&mut piece).map_err(|error| at(name, &error))? {
                            0 => break,
                            read => search.add(&piece[..read]),
                        }
                    }
                    found = search.found();
                }
                Step::Link if !found => {
                    found = holds(fs::readlinkat(directory, name, Vec::new())?.to_bytes());
                }
                _ => {}
            }
            Ok(())
        };
        walk(self.top()?, 0, &mut look)?;
        Ok(found)
    }

    /// Sends the content to the first process of a run.
    ///
    /// # Errors
    /// Returns an error of the socket, or an error whose text names the entry that can't be read.
    pub(crate) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(64 << 10, to);
        let mut one = |directory: &OwnedFd, name: &Path, stat: &Stat, step: Step| match step {
            Step::Into => to.write_all(&head(DIRECTORY, stat.st_mode, name)),
            Step::Out => to.write_all(&head(UP, 0, Path::new(""))),
            Step::Link => {
                let target = fs::readlinkat(directory, name, Vec::new())?;
                let mut entry = head(LINK, stat.st_mode, name);
                entry.extend((target.to_bytes().len() as u32).to_be_bytes());
                entry.extend(target.to_bytes());
                to.write_all(&entry)
            }
            Step::File => send_file(&mut to, directory, name, stat),
        };
        walk(self.top()?, 0, &mut one)?;
        to.write_all(&head(END, 0, Path::new("")))?;
        to.flush()
    }
}

/// Memory that an entry of the session needs at least, in bytes.
const ENTRY_BYTES: u64 = 1 << 10;
/// Number of bytes of a file that are read at once.
const PIECE: usize = 256 << 10;

/// A step of a walk: it enters or leaves a directory, or visits a file or link.
enum Step {
    Into,
    Out,
    File,
    Link,
}

type Visit<'a> = &'a mut dyn FnMut(&OwnedFd, &Path, &Stat, Step) -> io::Result<()>;

/// Visits each entry below a directory, without following a link. Devices, sockets and pipes are left out.
fn walk(directory: &OwnedFd, depth: usize, visit: Visit<'_>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!(
            "the directory has more than {MAX_DEPTH} levels"
        )));
    }
    for entry in entries(Dir::read_from(directory)?) {
        let entry = entry?;
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        let stat = stat_at(directory, name)?;
        match kind_of(&stat) {
            FileType::Directory => {
                let below = enter(directory, name, &stat).map_err(|error| at(name, &error))?;
                visit(directory, name, &stat, Step::Into)?;
                walk(&below.opened, depth + 1, visit).map_err(|error| at(name, &error))?;
                visit(directory, name, &stat, Step::Out)?;
            }
            FileType::Symlink => visit(directory, name, &stat, Step::Link)?,
            FileType::RegularFile => visit(directory, name, &stat, Step::File)?,
            _ => {}
        }
    }
    Ok(())
}

/// Adds the path of an entry to an error, unless the error comes from the socket.
fn at(name: &Path, error: &io::Error) -> io::Error {
    if is_of_socket(error) {
        return io::Error::from(error.kind());
    }
    io::Error::other(format!(
        "{}: {error}",
        name.as_os_str().as_bytes().escape_ascii()
    ))
}

/// Returns true if the error means that the first process of the run no longer reads. This process then reports its own
/// error.
pub fn is_of_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | TimedOut | WouldBlock
    )
}

/// A directory that a dead run left. If the mode forbids the owner to read the directory, the mode is changed while
/// this value exists.
pub struct LeftDirectory {
    pub opened: OwnedFd,
    /// The mode that the run gave the directory.
    mode: Option<Mode>,
}

impl Drop for LeftDirectory {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            let _ = fs::fchmod(&self.opened, mode);
        }
    }
}

/// Opens a directory below a directory that a dead run left, without following a link.
pub fn enter(directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<LeftDirectory> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let (opened, mode) = open_readable(directory, name, stat, Mode::RUSR | Mode::XUSR, flags)?;
    Ok(LeftDirectory { opened, mode })
}

/// Opens a regular file in a directory that a dead run left, without following a link.
pub fn open_file(directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let (opened, mode) = open_readable(directory, name, stat, Mode::RUSR, flags)?;
    if let Some(mode) = mode {
        let _ = fs::fchmod(&opened, mode);
    }
    Ok(File::from(opened))
}

/// Opens an entry for reading. If its mode lacks the rights `needed`, adds them first, and returns the mode from before.
fn open_readable(
    directory: &OwnedFd,
    name: &Path,
    stat: &Stat,
    needed: Mode,
    flags: OFlags,
) -> io::Result<(OwnedFd, Option<Mode>)> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let closed = (!mode.contains(needed)).then_some(mode);
    if closed.is_some() {
        let place = open_at(directory, name, OFlags::PATH | OFlags::NOFOLLOW)?;
        // This path leads to the opened entry, even if another entry has the name by now. Ignore an error, because the
        // service may be allowed to read the entry anyway.
        let place = format!("/proc/self/fd/{}", place.as_raw_fd());
        let _ = fs::chmod(place, mode | needed);
    }
    Ok((open_at(directory, name, flags | OFlags::RDONLY)?, closed))
}

const DIRECTORY: u8 = b'd';
const FILE: u8 = b'f';
const LINK: u8 = b'l';
/// The end of a directory.
const UP: u8 = b'u';
/// The end of all entries.
const END: u8 = b'e';
/// Maximum size of a name or of the target of a link, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;

/// Returns the beginning of an entry: its kind, its mode and the size of its name in nine bytes, and its name, which
/// the kernel limits to [`MAX_NAME`]. The receiver can't read ahead, because commands follow the last entry. So an
/// entry has few parts, and needs few reads.
fn head(kind: u8, mode: u32, name: &Path) -> Vec<u8> {
    let name = name.as_os_str().as_bytes();
    let mut head = vec![kind];
    head.extend((mode & 0o777).to_be_bytes());
    head.extend((name.len() as u32).to_be_bytes());
    head.extend(name);
    head
}

fn send_file(to: &mut impl Write, directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<()> {
    let file = open_file(directory, name, stat).map_err(|error| at(name, &error))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    let mut entry = head(FILE, stat.st_mode, name);
    entry.extend(u64::try_from(stat.st_mtime).unwrap_or(0).to_be_bytes());
    entry.extend(u32::try_from(stat.st_mtime_nsec).unwrap_or(0).to_be_bytes());
    entry.extend(bytes.to_be_bytes());
    to.write_all(&entry)?;
    if io::copy(&mut file.take(bytes), to)? == bytes {
        return Ok(());
    }
    let shorter = io::Error::other("the file became shorter while it was read");
    Err(at(name, &shorter))
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text of this size.
fn text(from: &mut impl Read, size: [u8; 4]) -> io::Result<PathBuf> {
    let size = u32::from_be_bytes(size) as usize;
    if size > MAX_NAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; size];
    from.read_exact(&mut text)?;
    Ok(std::ffi::OsString::from_vec(text).into())
}

/// Writes the content that [`SessionTree::send`] sends into the new directory `to`. The user `owner` owns the entries.
///
/// # Errors
/// Returns an error that names the entry that could not be written, for example if the size limit of the run's file
/// system is exceeded.
pub fn receive(from: &mut impl Read, to: &Path, owner: Option<u32>) -> SetupResult {
    let mut name = PathBuf::new();
    match receive_all(from, to, owner, &mut name) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            let why = "the work directory of the session is larger than the limit disk_bytes; raise the limit, or reset \
                       the session";
            Err(SetupFailure::new(SetupStage::Workdir, why))
        }
        received => received.at(
            SetupStage::Workdir,
            format!(
                "copy {} of the session's work directory",
                name.as_os_str().as_bytes().escape_ascii()
            ),
        ),
    }
}

fn receive_all(
    from: &mut impl Read,
    to: &Path,
    owner: Option<u32>,
    name: &mut PathBuf,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut open = vec![(open(to, flags)?, None)];
    loop {
        let [kind, m0, m1, m2, m3, size @ ..] = array::<9>(from)?;
        let (directory, mode) = open.last().ok_or(io::ErrorKind::InvalidData)?;
        if matches!(kind, UP | END) {
            if let Some(mode) = *mode {
                finish(directory, owner, mode)?;
            }
            open.pop();
            match (kind, open.is_empty()) {
                (UP, false) => continue,
                (END, true) => break,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let mode = Mode::from_raw_mode(u32::from_be_bytes([m0, m1, m2, m3]) & 0o777);
        *name = text(from, size)?;
        if name.components().count() != 1 || name.file_name() != Some(name.as_os_str()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match kind {
            DIRECTORY if open.len() <= MAX_DEPTH + 1 => {
                fs::mkdirat(directory, &*name, Mode::RWXU)?;
                let below = open_at(directory, &*name, flags)?;
                open.push((below, Some(mode)));
            }
            LINK => {
                let size = array(from)?;
                fs::symlinkat(&text(from, size)?, directory, &*name)?;
                if let Some(id) = owner {
                    chown_at(directory, &*name, id)?;
                }
            }
            FILE => receive_file(from, directory, name, owner, mode)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

fn receive_file(
    from: &mut impl Read,
    directory: &OwnedFd,
    name: &Path,
    owner: Option<u32>,
    mode: Mode,
) -> io::Result<()> {
    let seconds = u64::from_be_bytes(array(from)?);
    let nanoseconds = u32::from_be_bytes(array(from)?);
    let bytes = u64::from_be_bytes(array(from)?);
    let mut file = File::from(create_at(directory, name, Mode::RUSR | Mode::WUSR)?);
    if io::copy(&mut from.take(bytes), &mut file)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let modified = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds % 1_000_000_000));
    // If the file system can't store this time, the file keeps the time at which it was copied.
    let _ = modified.map(|modified| file.set_modified(modified));
    finish(&file.into(), owner, mode)
}

/// Sets the owner and the mode of a copied file or directory. A change of the owner clears bits of the mode, so the mode
/// is set last.
fn finish(made: &OwnedFd, owner: Option<u32>, mode: Mode) -> io::Result<()> {
    fchown(made, owner, owner)?;
    Ok(fs::fchmod(made, mode)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tree(path: &Path) -> SessionTree {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        SessionTree::new(open(path, flags).expect("open"), path.to_owned(), None)
    }

    fn sent(path: &Path) -> Vec<u8> {
        let mut wire = Vec::new();
        tree(path).send(&mut wire).expect("sends");
        wire
    }

    #[test]
    fn a_tree_arrives_with_its_modes_links_and_times() {
        let home = tempfile::tempdir().expect("a directory");
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        std::fs::create_dir_all(from.join("a/b/empty")).expect("directories");
        std::fs::create_dir(&to).expect("a directory");
        let large: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(from.join("a/large"), &large).expect("a file");
        std::fs::write(from.join("a/b/tool"), "#!/bin/sh\n").expect("a file");
        std::fs::write(from.join("zero"), "").expect("a file");
        let name = OsStr::from_bytes(b"new\nline\xff");
        std::fs::write(from.join(name), "odd").expect("a file");
        symlink("/etc/passwd", from.join("outside")).expect("a link");
        symlink("a/b", from.join("inside")).expect("a link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            from.join("pipe"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .expect("a pipe");
        for (name, mode) in [
            ("a/b/tool", 0o751),
            ("zero", 0o000),
            ("a/b", 0o555),
            ("a/b/empty", 0o000),
        ] {
            std::fs::set_permissions(from.join(name), std::fs::Permissions::from_mode(mode))
                .expect("mode");
        }
        let old = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
        File::options()
            .write(true)
            .open(from.join("a/large"))
            .expect("open")
            .set_modified(old)
            .expect("a time");
        let wire = [sent(&from), b"T".to_vec()].concat();
        let mut rest = &wire[..];
        receive(&mut rest, &to, None).expect("receives");
        assert_eq!(rest, b"T", "a command after the tree stays");
        assert_eq!(std::fs::read(to.join("a/large")).expect("a file"), large);
        assert_eq!(
            to.join("a/large")
                .metadata()
                .expect("facts")
                .modified()
                .expect("a time"),
            old
        );
        assert_eq!(std::fs::read(to.join(name)).expect("a file"), b"odd");
        for (name, mode) in [
            ("a/b/tool", 0o751),
            ("zero", 0),
            ("a/b", 0o555),
            ("a/b/empty", 0),
        ] {
            assert_eq!(
                to.join(name)
                    .metadata()
                    .expect("facts")
                    .permissions()
                    .mode()
                    & 0o7777,
                mode,
                "{name}"
            );
        }
        assert_eq!(
            std::fs::read_link(to.join("outside")).expect("a link"),
            Path::new("/etc/passwd")
        );
        assert_eq!(
            std::fs::read_link(to.join("inside")).expect("a link"),
            Path::new("a/b")
        );
        assert!(!to.join("pipe").exists());
        assert!(tree(&from).bytes().expect("counts") >= 300_000);
    }

    #[test]
    fn a_damaged_stream_writes_nothing_outside_of_its_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let from = home.path().join("from");
        std::fs::create_dir_all(from.join("dir")).expect("a directory");
        std::fs::write(from.join("dir/name"), "text").expect("a file");
        let wire = sent(&from);
        for at in 0..wire.len() {
            let to = home.path().join(format!("to-{at}"));
            std::fs::create_dir(&to).expect("a directory");
            assert!(receive(&mut &wire[..at], &to, None).is_err(), "cut at {at}");
        }
        let to = home.path().join("to");
        std::fs::create_dir(&to).expect("a directory");
        let hostile = |name: &[u8]| {
            let mut entry = vec![LINK];
            entry.extend(0o777_u32.to_be_bytes());
            for text in [name, b"target"] {
                entry.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
                entry.extend(text);
            }
            entry.extend(head(END, 0, Path::new("")));
            entry
        };
        receive(&mut &hostile(b"plain")[..], &to, None).expect("a plain name");
        for name in [
            &b"../escaped"[..],
            b"/tmp/countersign-escaped",
            b"",
            b".",
            b"..",
            b"a\0b",
        ] {
            assert!(
                receive(&mut &hostile(name)[..], &to, None).is_err(),
                "{name:?}"
            );
        }
        assert!(!home.path().join("escaped").is_symlink());
    }

    #[test]
    fn a_tree_with_too_many_levels_is_an_error() {
        let home = tempfile::tempdir().expect("a directory");
        let mut deep = home.path().to_owned();
        for _ in 0..=MAX_DEPTH {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).expect("directories");
        for failed in [
            tree(home.path()).bytes().map(drop),
            tree(home.path()).send(&mut Vec::new()),
        ] {
            assert!(
                failed
                    .expect_err("too deep")
                    .to_string()
                    .contains("more than 128 levels")
            );
        }
    }
}
