//! A directory or file of the host that a run can see.

use std::{
    fs,
    io::ErrorKind,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use crate::{AtStage as _, SetupResult, SetupStage, isolation::syscalls, move_to, with_parents};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    mount::OpenTreeFlags,
};

pub const MOUNT_READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub const MOUNT_NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
pub const MOUNT_NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// A mount that was cloned from the host and is not attached yet.
pub struct Source {
    pub mount: OwnedFd,
    directory: bool,
    /// True for a live tree, which the step may write.
    pub writable: bool,
    /// Mount point, relative to the new root.
    pub target: String,
}

impl Source {
    pub fn take(path: &str, flags: u64) -> SetupResult<Self> {
        Self::copy(&Self::open(path)?, path, flags, SetupStage::Mounts)
    }

    pub fn open(path: &str) -> SetupResult<OwnedFd> {
        rustix::fs::open(
            path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at(SetupStage::Mounts, format!("open {path}"))
    }

    pub fn take_real(path: &str, flags: u64) -> SetupResult<Self> {
        Self::copy(&Self::open_real(path)?, path, flags, SetupStage::ReadPath)
    }

    /// Opens a path of the profile. The path must still be the real path that was signed.
    pub fn open_real(path: &str) -> SetupResult<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at(
            SetupStage::ReadPath,
            format!("open the profile's path {path}"),
        )
    }

    fn copy(opened: &OwnedFd, path: &str, flags: u64, stage: SetupStage) -> SetupResult<Self> {
        let what = || format!("bind {path}");
        let kind = rustix::fs::fstat(opened).at(stage, what())?.st_mode;
        let mount = rustix::mount::open_tree(
            opened,
            "",
            OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE
                | OpenTreeFlags::AT_EMPTY_PATH,
        )
        .at(stage, what())?;
        // Set the mount flags before attaching the mount, so that it is never writable in the run.
        syscalls::set_mount_flags(mount.as_fd(), flags | libc::MOUNT_ATTR_NOSUID, true)
            .at(stage, what())?;
        let directory =
            rustix::fs::FileType::from_raw_mode(kind) == rustix::fs::FileType::Directory;
        let writable = flags & MOUNT_READ_ONLY == 0;
        Ok(Self {
            mount,
            directory,
            writable,
            target: path.trim_start_matches('/').to_owned(),
        })
    }

    /// Creates the mount point, and attaches the mount there.
    pub fn put(&self) -> SetupResult {
        let make = |target: &Path| {
            if self.directory {
                fs::create_dir(target)
            } else {
                fs::File::create_new(target).map(drop)
            }
        };
        match with_parents(&self.target, make) {
            // The mount covers an existing path.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
        .at(SetupStage::Mounts, format!("make room for {}", self.target))?;
        move_to(&self.mount, &self.target)
    }
}
