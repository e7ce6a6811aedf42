//! The private work directory of a session, which is copied from run to run.
//!
//! Each run has its own user id, and the file system of a run accepts only this id. So the service reads the directory
//! that the last run left, and the first process of the next run writes the copy. Between them, the content is a stream
//! of entries in chunks. Only directories, regular files and links are copied.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};

use crate::{
    AtStage as _, MAX_DEPTH, RunDir, SetupFailure, SetupResult, SetupStage, StreamSearch,
    isolation::{remove::entries, step_files},
};
use documents::RelativePath;

/// The work directory that a run of a session left. It exists until this value is dropped.
#[derive(Debug)]
pub struct SessionTree {
    directory: OwnedFd,
    /// Path of the directory in the run that left it.
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

    /// Returns the path of the directory in the run that left it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether a run can start in a directory of the work directory, by its path in the run. Returns `None` for a
    /// path outside of the work directory.
    pub fn can_start_in(&self, path: &Path) -> Option<bool> {
        let below = path.strip_prefix(&self.path).ok()?;
        if below.as_os_str().is_empty() {
            // The mode of the work directory itself is not copied.
            return Some(true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.directory, below, flags, Mode::empty(), resolve);
        let mode = opened
            .and_then(rustix::fs::fstat)
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
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        Ok(File::from(rustix::fs::openat2(
            self.top()?,
            path.as_str(),
            flags,
            Mode::empty(),
            links,
        )?))
    }

    fn top(&self) -> io::Result<&OwnedFd> {
        // The step may have changed the mode, which is not copied.
        rustix::fs::fchmod(&self.directory, Mode::RWXU)?;
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
            bytes = bytes.saturating_add(
                size.max(
                    u64::try_from(stat.st_blocks)
                        .unwrap_or(0)
                        .saturating_mul(512),
                ),
            );
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
                    found = holds(rustix::fs::readlinkat(directory, name, Vec::new())?.to_bytes());
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
        let mut chunks = ChunkWriter {
            to,
            buffer: Vec::with_capacity(CHUNK),
        };
        let mut one = |directory: &OwnedFd, name: &Path, stat: &Stat, step: Step| match step {
            Step::Into => chunks.entry(DIRECTORY, stat, name),
            Step::Out => chunks.write_all(&[UP]),
            Step::Link => {
                chunks.entry(LINK, stat, name)?;
                let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
                chunks.text(target.to_bytes())
            }
            Step::File => chunks.file(directory, name, stat),
        };
        walk(self.top()?, 0, &mut one)?;
        chunks.write_all(&[END])?;
        chunks.finish()
    }
}

/// Memory that an entry of the session needs at least, in bytes.
const ENTRY_BYTES: u64 = 1 << 10;
/// Number of bytes of a file that are read at once.
const PIECE: usize = 256 << 10;

/// The kind of an entry at which a walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
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

/// Adds the path of an entry to an error, unless it is an error of the socket.
fn at(name: &Path, error: &io::Error) -> io::Error {
    if is_of_socket(error) {
        return io::Error::from(error.kind());
    }
    io::Error::other(format!(
        "{}: {error}",
        name.as_os_str().as_bytes().escape_ascii()
    ))
}

/// Returns true if the first process of the run no longer reads, because it reports its own error.
pub fn is_of_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | TimedOut | WouldBlock
    )
}

/// A directory that a dead run left. If its mode forbids its owner to read it, it has another mode while this value
/// exists.
pub struct LeftDirectory {
    pub opened: OwnedFd,
    /// The mode that the run gave the directory.
    mode: Option<Mode>,
}

impl Drop for LeftDirectory {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            let _ = rustix::fs::fchmod(&self.opened, mode);
        }
    }
}

/// Opens a directory below a directory that a dead run left, without following a link.
pub fn enter(directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<LeftDirectory> {
    let readable = Mode::RUSR | Mode::XUSR;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open_with_mode(
        directory,
        name,
        (!mode.contains(readable)).then_some(mode | readable),
        flags,
    )?;
    Ok(LeftDirectory {
        opened,
        mode: (!mode.contains(readable)).then_some(mode),
    })
}

/// Opens a regular file in a directory that a dead run left, without following a link.
pub fn open_file(directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<File> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let readable = (!mode.contains(Mode::RUSR)).then_some(mode | Mode::RUSR);
    let opened = open_with_mode(directory, name, readable, flags)?;
    if readable.is_some() {
        let _ = rustix::fs::fchmod(&opened, mode);
    }
    Ok(File::from(opened))
}

/// Sets the mode of an entry, if there is a `mode`, and opens the entry.
fn open_with_mode(
    directory: &OwnedFd,
    name: &Path,
    mode: Option<Mode>,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    if let Some(mode) = mode {
        let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(directory, name, place, Mode::empty())?;
        // This path leads to the opened entry and not to another one that has the name by now. If the mode can't be
        // changed, the service may be allowed to read the entry anyway.
        let _ = rustix::fs::chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), mode);
    }
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

const DIRECTORY: u8 = b'd';
const FILE: u8 = b'f';
const LINK: u8 = b'l';
/// The end of a directory.
const UP: u8 = b'u';
/// The end of all entries.
const END: u8 = b'e';
/// Maximum size of a chunk, in bytes.
const CHUNK: usize = 64 << 10;
/// Maximum size of a name or of the target of a link, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;

/// Writes chunks: the size in four bytes, and then the bytes. An empty chunk ends the stream, so that its reader never
/// reads a byte too many.
struct ChunkWriter<'a, W: Write> {
    to: &'a mut W,
    buffer: Vec<u8>,
}

impl<W: Write> Write for ChunkWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        let now = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..now]);
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let size = u32::try_from(self.buffer.len()).map_err(io::Error::other)?;
        self.to.write_all(&size.to_be_bytes())?;
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> ChunkWriter<'_, W> {
    fn entry(&mut self, kind: u8, stat: &Stat, name: &Path) -> io::Result<()> {
        self.write_all(&[kind])?;
        self.write_all(&(stat.st_mode & 0o777).to_be_bytes())?;
        self.text(name.as_os_str().as_bytes())
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        let size = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.write_all(&size.to_be_bytes())?;
        self.write_all(text)
    }

    fn file(&mut self, directory: &OwnedFd, name: &Path, stat: &Stat) -> io::Result<()> {
        let file = open_file(directory, name, stat).map_err(|error| at(name, &error))?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        self.entry(FILE, stat, name)?;
        self.write_all(&u64::try_from(stat.st_mtime).unwrap_or(0).to_be_bytes())?;
        self.write_all(&u32::try_from(stat.st_mtime_nsec).unwrap_or(0).to_be_bytes())?;
        self.write_all(&bytes.to_be_bytes())?;
        if io::copy(&mut file.take(bytes), self)? == bytes {
            return Ok(());
        }
        Err(at(
            name,
            &io::Error::other("the file became shorter while it was read"),
        ))
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.to.write_all(&[0; 4])
    }
}

/// Reads the bytes of chunks, up to the empty chunk.
struct ChunkReader<'a, R: Read> {
    from: &'a mut R,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Read for ChunkReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() && !self.ended {
            let mut size = [0; 4];
            self.from.read_exact(&mut size)?;
            let size = u32::from_be_bytes(size) as usize;
            if size > CHUNK {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.buffer.resize(size, 0);
            self.from.read_exact(&mut self.buffer)?;
            (self.at, self.ended) = (0, size == 0);
        }
        let now = into.len().min(self.buffer.len() - self.at);
        into[..now].copy_from_slice(&self.buffer[self.at..self.at + now]);
        self.at += now;
        Ok(now)
    }
}

impl<R: Read> ChunkReader<'_, R> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self) -> io::Result<PathBuf> {
        let size = u32::from_be_bytes(self.array()?) as usize;
        if size > MAX_NAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; size];
        self.read_exact(&mut text)?;
        Ok(std::ffi::OsString::from_vec(text).into())
    }
}

/// Writes the content that [`SessionTree::send`] sends into the new directory `to`. The user `owner` owns the entries.
///
/// # Errors
/// Returns an error that names the entry that could not be written, for example if the size limit of the run's file
/// system is exceeded.
pub fn receive(from: &mut impl Read, to: &Path, owner: Option<u32>) -> SetupResult {
    let mut chunks = ChunkReader {
        from,
        buffer: Vec::new(),
        at: 0,
        ended: false,
    };
    let mut name = PathBuf::new();
    match receive_all(&mut chunks, to, owner, &mut name) {
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
    chunks: &mut ChunkReader<'_, impl Read>,
    to: &Path,
    owner: Option<u32>,
    name: &mut PathBuf,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut open = vec![(rustix::fs::open(to, flags, Mode::empty())?, None)];
    loop {
        let [kind] = chunks.array()?;
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
        let mode = Mode::from_raw_mode(u32::from_be_bytes(chunks.array()?) & 0o777);
        *name = chunks.text()?;
        if name.components().count() != 1 || name.file_name() != Some(name.as_os_str()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match kind {
            DIRECTORY if open.len() <= MAX_DEPTH + 1 => {
                rustix::fs::mkdirat(directory, &*name, Mode::RWXU)?;
                let below = rustix::fs::openat(directory, &*name, flags, Mode::empty())?;
                open.push((below, Some(mode)));
            }
            LINK => {
                rustix::fs::symlinkat(&chunks.text()?, directory, &*name)?;
                if let Some(id) = owner {
                    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
                    rustix::fs::chownat(
                        directory,
                        &*name,
                        Some(uid),
                        Some(gid),
                        AtFlags::SYMLINK_NOFOLLOW,
                    )?;
                }
            }
            FILE => receive_file(chunks, directory, name, owner, mode)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    // Read the empty chunk too, so that the next byte is a command.
    if chunks.read(&mut [0])? == 0 {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn receive_file(
    chunks: &mut ChunkReader<'_, impl Read>,
    directory: &OwnedFd,
    name: &Path,
    owner: Option<u32>,
    mode: Mode,
) -> io::Result<()> {
    let seconds = u64::from_be_bytes(chunks.array()?);
    let nanoseconds = u32::from_be_bytes(chunks.array()?);
    let bytes = u64::from_be_bytes(chunks.array()?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(
        directory,
        name,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    if io::copy(&mut chunks.take(bytes), &mut file)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let modified = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds % 1_000_000_000));
    // A file system with a smaller range of times keeps the time of the copy.
    let _ = modified.map(|modified| file.set_modified(modified));
    finish(&file.into(), owner, mode)
}

/// Sets the owner and the mode of a copied file or directory. A change of the owner clears bits of the mode, so the mode
/// is set last.
fn finish(made: &OwnedFd, owner: Option<u32>, mode: Mode) -> io::Result<()> {
    if let Some(id) = owner {
        rustix::fs::fchown(
            made.as_fd(),
            Some(Uid::from_raw(id)),
            Some(Gid::from_raw(id)),
        )?;
    }
    Ok(rustix::fs::fchmod(made, mode)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tree(path: &Path) -> SessionTree {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        SessionTree::new(
            rustix::fs::open(path, flags, Mode::empty()).expect("open"),
            path.to_owned(),
            None,
        )
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
            entry.push(END);
            let mut wire = u32::try_from(entry.len())
                .expect("short")
                .to_be_bytes()
                .to_vec();
            wire.extend(entry);
            wire.extend([0; 4]);
            wire
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
