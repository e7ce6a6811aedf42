//! A directory or file of the host that a run can see.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use crate::{
    AtStage as _, SetupResult, SetupStage,
    isolation::{
        mounts::clone_of,
        opened::{kind_of, open, open_within},
        syscalls,
    },
    move_to, with_parents,
};
use rustix::{
    fs::{CWD, FileType, OFlags, ResolveFlags},
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
        open(path, OFlags::PATH | OFlags::NOFOLLOW).at(SetupStage::Mounts, format!("open {path}"))
    }

    pub fn take_real(path: &str, flags: u64) -> SetupResult<Self> {
        Self::copy(&Self::open_real(path)?, path, flags, SetupStage::Other)
    }

    /// Opens a path of the profile. The path must still be the real path that was signed.
    pub fn open_real(path: &str) -> SetupResult<OwnedFd> {
        open_within(CWD, path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
            .doing(format!("open the profile's path {path}"))
    }

    fn copy(opened: &OwnedFd, path: &str, flags: u64, stage: SetupStage) -> SetupResult<Self> {
        let bound = || {
            let mount = clone_of(opened, OpenTreeFlags::AT_RECURSIVE)?;
            // Set the mount flags before attaching the mount, so that it is never writable in the run.
            syscalls::set_mount_flags(mount.as_fd(), flags | libc::MOUNT_ATTR_NOSUID, true)?;
            Ok::<_, io::Error>(Self {
                mount,
                directory: kind_of(&rustix::fs::fstat(opened)?) == FileType::Directory,
                writable: flags & MOUNT_READ_ONLY == 0,
                target: path.trim_start_matches('/').to_owned(),
            })
        };
        bound().at(stage, format!("bind {path}"))
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
