//! Directories, files and mounts below a new root.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::{AtStage as _, SetupFailure, SetupStage};
use rustix::fs::{CWD, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags};

/// Flags for a directory that is only a place, never a symbolic link.
pub const DIRECTORY_PLACE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Attaches a mount over an existing path, relative to the new root.
pub fn move_to(mount: &OwnedFd, target: impl AsRef<Path>) -> Result<(), SetupFailure> {
    let target = target.as_ref();
    rustix::mount::move_mount(
        mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at(SetupStage::Mounts, format!("attach {}", target.display()))
}

pub fn with_parents(name: &str, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let place = Path::new(name);
    match make(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            make(place)
        }
        made => made,
    }
}

pub fn tmpfs(
    target: impl AsRef<Path>,
    options: &str,
    more: MountFlags,
) -> Result<(), SetupFailure> {
    let target = target.as_ref();
    let what = || format!("mount a tmpfs at {}", target.display());
    let options = std::ffi::CString::new(options)
        .map_err(|_| SetupFailure::new(SetupStage::Mounts, what()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | more;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .at(SetupStage::Mounts, what())
}

pub fn directory_at(path: impl AsRef<Path>, mode: u32) -> Result<(), SetupFailure> {
    let path = path.as_ref();
    let what = format!("make the directory {}", path.display());
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at(SetupStage::Mounts, what)
}

pub fn file_at(path: &str, bytes: &[u8], mode: u32) -> Result<(), SetupFailure> {
    new_file(Path::new(path), bytes, mode).at(SetupStage::Mounts, format!("write {path}"))
}

pub fn new_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    create_file(path, mode)?.write_all(bytes)
}

/// Creates a file, which must not exist.
pub fn create_file(path: &Path, mode: u32) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}
