//! Opens files and reads their metadata, with the same flags everywhere.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid},
    io::Result,
    path::Arg,
};

/// Device and inode number, which all hard links of a file share.
pub type FileId = (u64, u64);

/// Opens a file or directory. The descriptor is close-on-exec.
pub fn open(path: impl Arg, flags: OFlags) -> Result<OwnedFd> {
    open_at(CWD, path, flags)
}

/// Opens a file or directory below an opened directory, like [`open`].
pub fn open_at(directory: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(directory, path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file or directory like [`open_at`]. `ResolveFlags` restrict the links and components of the path.
pub fn open_within(
    directory: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    limits: ResolveFlags,
) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), limits)
}

/// Returns the metadata of an entry of an opened directory, without following a link.
pub fn stat_at(directory: impl AsFd, name: impl Arg) -> Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Creates a file for writing below an opened directory. Fails if the name already exists.
pub fn create_at(directory: impl AsFd, name: impl Arg, mode: Mode) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, mode)
}

/// Gives an entry of an opened directory to the user and group `id`, without following a link.
pub fn chown_at(directory: impl AsFd, name: impl Arg, id: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)
}

pub fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns the identity of the file to which a path leads.
pub fn file_id(path: &Path) -> std::io::Result<FileId> {
    path.metadata().map(|found| (found.dev(), found.ino()))
}

pub fn id_of(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}
