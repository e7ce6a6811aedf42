//! Finds the file that a waiting process wants to execute, as the waiting process sees its files.
//!
//! The result is only for the record. The process can change its memory and its files until the kernel reads them, so
//! the kernel may execute another file.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::{
    fs::{FileType, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{
    WaitingCall,
    isolation::{
        opened::{kind_of, open, open_at, open_within},
        syscalls::notifications,
    },
};

/// Maximum length of a path in the kernel, in bytes.
const MAX_PATH: usize = 4096;
/// Maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Value of a directory descriptor that means the working directory.
const WORKING_DIRECTORY: i32 = libc::AT_FDCWD;
/// `statfs` type of a proc file system.
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

const PLACE: OFlags = OFlags::PATH;

/// A thread that waits in a call to execute a program, with its own view of files.
///
/// If the thread has ended, another thread of the host can have its number. The answer to the call then fails, so the
/// result is not used.
pub struct WaitingProcess<'a> {
    thread: u32,
    /// Root directory of the run.
    root: &'a OwnedFd,
}

/// Opens the root directory of the run to which a call belongs. All processes of a run have the same root, because none
/// has the capability to change its root. Returns `None` if the call no longer waits.
pub fn root_of(listener: &OwnedFd, call: &WaitingCall) -> Result<Option<OwnedFd>, Errno> {
    let root = open(format!("/proc/{}/root", call.thread), PLACE);
    // While the call waits, no other thread can have the number of its thread.
    if notifications::is_waiting(listener, call.id) {
        root.map(Some)
    } else {
        Ok(None)
    }
}

impl<'a> WaitingProcess<'a> {
    pub fn new(call: &WaitingCall, root: &'a OwnedFd) -> Self {
        Self {
            thread: call.thread,
            root,
        }
    }

    /// Returns the file that the call names and the given path, or `None` if no file has this path.
    pub fn file_of(&self, call: &WaitingCall) -> Result<Option<(OwnedFd, Vec<u8>)>, Errno> {
        let [first, second, _, _, fifth, _] = call.arguments;
        let (directory, address, flags) = if libc::c_long::from(call.number) == libc::SYS_execveat {
            (first as i32, second, fifth as i32)
        } else {
            (WORKING_DIRECTORY, first, 0)
        };
        let Some(path) = self.text_at(address)? else {
            return Ok(None);
        };
        let file = if !path.is_empty() {
            self.find(directory, &path, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?
        } else if flags & libc::AT_EMPTY_PATH == 0 {
            None
        } else {
            absent(self.directory(directory))?
        };
        Ok(file.map(|file| (file, path)))
    }

    /// Returns the file at a path, from the working directory of the process.
    pub fn interpreter(&self, path: &[u8]) -> Result<Option<OwnedFd>, Errno> {
        self.find(WORKING_DIRECTORY, path, true)
    }

    /// Reads a text that ends with a zero byte from the memory of the process. Returns `None` if the address is not
    /// mapped or the text is too long. The kernel then refuses the call.
    fn text_at(&self, address: u64) -> Result<Option<Vec<u8>>, Errno> {
        let mut text = [0; MAX_PATH];
        let read = match notifications::read_memory(self.thread, address, &mut text) {
            Ok(read) => read,
            Err(error) => return absent(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        };
        Ok(text[..read]
            .iter()
            .position(|byte| *byte == 0)
            .map(|end| text[..end].to_vec()))
    }

    /// Opens a directory descriptor of the process, or its working directory.
    fn directory(&self, descriptor: i32) -> Result<OwnedFd, Errno> {
        let name = if descriptor == WORKING_DIRECTORY {
            "cwd".to_owned()
        } else {
            format!("fd/{descriptor}")
        };
        open(format!("/proc/{}/{name}", self.thread), PLACE)
    }

    /// Follows a path like the kernel does for the process. For most absolute paths, the kernel does this in one call.
    /// This call fails for a path with a link such as `/proc/self`, because the link means a different process for the
    /// service.
    fn find(
        &self,
        directory: i32,
        path: &[u8],
        follow_last: bool,
    ) -> Result<Option<OwnedFd>, Errno> {
        let relative = !path.starts_with(b"/");
        if !relative
            && follow_last
            && let Ok(file) = open_within(self.root, path, PLACE, ResolveFlags::IN_ROOT)
        {
            return Ok(Some(file));
        }
        let Some(mut at) = absent(if relative {
            self.directory(directory)
        } else {
            self.root()
        })?
        else {
            return Ok(None);
        };
        let mut rest = path.to_vec();
        for _ in 0..=MAX_LINKS {
            if rest.starts_with(b"/") {
                at = self.root()?;
                let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
                rest.drain(..slashes);
            }
            if rest.is_empty() {
                return Ok(Some(at));
            }
            match open_within(&at, rest.as_slice(), PLACE, ResolveFlags::NO_SYMLINKS) {
                Err(Errno::LOOP) => {}
                found => return absent(found),
            }
            match self.follow_first_link(at, &rest, follow_last)? {
                Some((directory, path)) => (at, rest) = (directory, path),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Replaces the first symbolic link in `path` by its target. Returns the directory of the link and the new path.
    fn follow_first_link(
        &self,
        mut at: OwnedFd,
        path: &[u8],
        follow_last: bool,
    ) -> Result<Option<(OwnedFd, Vec<u8>)>, Errno> {
        let mut parts = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty());
        while let Some(part) = parts.next() {
            let Some(next) = absent(open_at(&at, part, PLACE | OFlags::NOFOLLOW))? else {
                return Ok(None);
            };
            if kind_of(&rustix::fs::fstat(&next)?) != FileType::Symlink {
                at = next;
                continue;
            }
            let more: Vec<&[u8]> = parts.collect();
            if more.is_empty() && !follow_last {
                return Ok(None);
            }
            let Some(target) = self.target(&next, part)? else {
                return Ok(None);
            };
            return Ok(Some((
                at,
                [&[target.as_slice()][..], &more].concat().join(&b'/'),
            )));
        }
        Ok(Some((at, Vec::new())))
    }

    /// Reads a symbolic link. In `/proc`, the links `self` and `thread-self` mean the waiting process.
    fn target(&self, link: &OwnedFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let own = matches!(name, b"self" | b"thread-self");
        if own && rustix::fs::fstatfs(link)?.f_type as i64 == PROC_SUPER_MAGIC {
            let Some((process, thread)) = self.ids()? else {
                return Ok(None);
            };
            let target = if name == b"self" {
                process
            } else {
                format!("{process}/task/{thread}")
            };
            return Ok(Some(target.into_bytes()));
        }
        absent(rustix::fs::readlinkat(link, "", Vec::new()).map(std::ffi::CString::into_bytes))
    }

    /// Returns the process id and the thread id of the process in its own pid namespace.
    fn ids(&self) -> Result<Option<(String, String)>, Errno> {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{}/status", self.thread)) else {
            return Ok(None);
        };
        let last = |key: &str| {
            Some(
                text.lines()
                    .find_map(|line| line.strip_prefix(key))?
                    .split_whitespace()
                    .last()?
                    .to_owned(),
            )
        };
        Ok(last("NStgid:").zip(last("NSpid:")))
    }

    fn root(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(self.root, 0)
    }
}

/// Returns the real path of an open file, as the process sees the path.
pub fn path_of(file: &OwnedFd) -> Result<String, Errno> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())?;
    Ok(String::from_utf8_lossy(path.as_bytes()).into_owned())
}

/// Returns the first bytes of a regular file, which is opened again for reading. Does not wait for a file that the run
/// has leased.
pub fn head_of(file: &impl AsFd) -> Result<Vec<u8>, Errno> {
    /// Number of bytes of a script that the kernel reads (`BINPRM_BUF_SIZE`).
    const HEAD: usize = 256;
    let place = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = open(place, flags)?;
    let mut head = vec![0; HEAD];
    let read = rustix::io::pread(&opened, &mut head, 0)?;
    head.truncate(read);
    Ok(head)
}

/// Returns `None` for an error that means that the path names no file for the process.
fn absent<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::FAULT,
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
