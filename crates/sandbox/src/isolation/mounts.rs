//! Creates directories, files and mounts below a new root, and reads the mount table to compare paths.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStringExt as _,
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, OFlags},
    mount::{self, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
    path::Arg,
};

use crate::{
    AtStage as _, SetupFailure, SetupResult, SetupStage,
    isolation::{opened::open, syscalls::set_mount_flags},
};

/// The mounts that this process sees (proc_pid_mountinfo(5)).
#[derive(Default)]
pub struct Mounts(Vec<Mount>);

struct Mount {
    device: String,
    /// Directory or file that appears at the mount point, as a path in the mounted file system.
    root: PathBuf,
    point: PathBuf,
}

/// Device number of a file system, and a path in this file system.
type Place<'a> = (&'a str, PathBuf);

impl Mounts {
    /// Reads the mount table.
    ///
    /// # Errors
    /// Fails if `/proc` can't be read.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/self/mountinfo")?))
    }

    fn parse(text: &[u8]) -> Self {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|c| *c == b' ').skip(2);
            let device = String::from_utf8_lossy(fields.next()?).into_owned();
            Some(Mount {
                device,
                root: unescaped(fields.next()?),
                point: unescaped(fields.next()?),
            })
        };
        Self(text.split(|c| *c == b'\n').filter_map(mount).collect())
    }

    /// Returns true if one of the two real paths contains the other path or a part of it, even through another mount.
    pub fn overlap(&self, path: &Path, other: &Path) -> bool {
        if path.starts_with(other) || other.starts_with(path) {
            return true;
        }
        let Some((device, there)) = self.place(other) else {
            return false;
        };
        let below = self.0.iter().filter(|mount| mount.point.starts_with(path));
        let in_view = below
            .map(|mount| (mount.device.as_str(), mount.root.clone()))
            .chain(self.place(path));
        let mut in_view = in_view.filter(|(its, _)| *its == device);
        in_view.any(|(_, seen)| seen.starts_with(&there) || there.starts_with(&seen))
    }

    /// Returns a mount point below `path`, or `None` if no mount point is below `path`.
    pub fn below(&self, path: &Path) -> Option<&Path> {
        self.0
            .iter()
            .map(|mount| mount.point.as_path())
            .find(|point| point.starts_with(path) && *point != path)
    }

    fn place(&self, path: &Path) -> Option<Place<'_>> {
        // If several mounts have the same mount point, the last one covers the others.
        let mount = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        let mount = mount.max_by_key(|mount| mount.point.as_os_str().len())?;
        Some((
            &mount.device,
            mount.root.join(path.strip_prefix(&mount.point).ok()?),
        ))
    }
}

/// Decodes a field, in which the kernel writes spaces, tabs, newlines and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, more)) = rest.split_first() {
        let octal = more
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &more[3..];
            }
            _ => {
                bytes.push(first);
                rest = more;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Flags to open a directory only as a location (`O_PATH`). The directory must not be a symbolic link.
pub const DIRECTORY_PLACE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW);

/// Mount flags that forbid everything except reading.
pub const READ_DATA: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC;

/// Clones the mount of an opened directory or file, with the mounts below it if `how` has `AT_RECURSIVE`.
pub fn clone_of(place: impl AsFd, how: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    clone_below(place, "", how | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Clones the mount at a path below an opened directory, like [`clone_of`].
pub fn clone_below(
    directory: impl AsFd,
    path: impl Arg,
    how: OpenTreeFlags,
) -> rustix::io::Result<OwnedFd> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    mount::open_tree(directory, path, clone | how)
}

/// Attaches a mount over a path below an opened directory.
pub fn attach(mount: &OwnedFd, at: impl AsFd, path: impl Arg) -> rustix::io::Result<()> {
    mount::move_mount(mount, "", at, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a mount over an existing path, relative to the new root.
pub fn move_to(mount: &OwnedFd, target: impl AsRef<Path>) -> SetupResult {
    let target = target.as_ref();
    attach(mount, CWD, target).at(SetupStage::Mounts, format!("attach {}", target.display()))
}

/// Sets flags of the mount at a directory.
pub fn seal(directory: impl Arg, flags: u64) -> io::Result<()> {
    set_mount_flags(open(directory, DIRECTORY_PLACE)?.as_fd(), flags, false)
}

/// Detaches the mount at a temporary mount point, and removes the mount point. Clones of the mount remain.
pub fn detach(place: &str, what: &str) -> SetupResult {
    mount::unmount(place, UnmountFlags::DETACH).at(SetupStage::Mounts, what)?;
    fs::remove_dir(place).at(SetupStage::Mounts, what)
}

/// Returns an absolute path in the run relative to the new root.
pub fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
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

pub fn tmpfs(target: impl AsRef<Path>, options: &str, more: MountFlags) -> SetupResult {
    let target = target.as_ref();
    let what = || format!("mount a tmpfs at {}", target.display());
    let options = std::ffi::CString::new(options)
        .map_err(|_| SetupFailure::new(SetupStage::Mounts, what()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | more;
    mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str()).at(SetupStage::Mounts, what())
}

pub fn directory_at(path: impl AsRef<Path>, mode: u32) -> SetupResult {
    let path = path.as_ref();
    let what = format!("make the directory {}", path.display());
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at(SetupStage::Mounts, what)
}

pub fn file_at(path: &str, bytes: &[u8], mode: u32) -> SetupResult {
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    const HOST: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:24 / /proc rw - proc proc rw
41 22 254:0 /srv/boundary /mnt/alias rw - ext4 /dev/vda rw
42 22 0:40 / /tmp rw - tmpfs tmpfs rw
43 22 254:0 /srv/boundary/key.pem /opt/app/with\\040blank\\134 rw - ext4 /dev/vda rw
44 22 0:41 / /home rw - tmpfs old rw
45 44 254:0 /home2 /home rw - ext4 /dev/vda rw
";

    #[test]
    fn two_paths_of_the_same_mounted_directory_overlap() {
        let mounts = Mounts::parse(HOST.as_bytes());
        let overlap = |path: &str, other: &str| mounts.overlap(Path::new(path), Path::new(other));
        for (path, private) in [
            ("/srv", "/srv/boundary"),
            ("/srv/boundary/outputs", "/srv/boundary"),
            ("/mnt/alias", "/srv/boundary/key.pem"),
            ("/mnt", "/srv/boundary/key.pem"),
            ("/mnt/alias/outputs/x", "/srv/boundary"),
            ("/opt/app", "/srv/boundary"),
            ("/opt/app/with blank\\", "/srv/boundary/key.pem"),
            ("/srv/boundary", "/mnt/alias/key.pem"),
            ("/home2", "/home/x"),
        ] {
            assert!(overlap(path, private), "{path} {private}");
        }
        for (path, private) in [
            ("/srv/other", "/srv/boundary"),
            ("/mnt/aliases", "/srv/boundary"),
            ("/tmp", "/srv/boundary"),
            ("/tmp/srv/boundary", "/srv/boundary"),
            ("/home", "/srv/boundary"),
            ("/opt/app2", "/srv/boundary"),
        ] {
            assert!(!overlap(path, private), "{path} {private}");
        }
        assert_eq!(
            mounts.below(Path::new("/opt/app")),
            Some(Path::new("/opt/app/with blank\\"))
        );
        assert_eq!(
            (
                mounts.below(Path::new("/tmp")),
                mounts.below(Path::new("/opt/app2"))
            ),
            (None, None)
        );
        assert_eq!(unescaped(b"a\\040b\\x\\13"), Path::new("a b\\x\\13"));
        assert_eq!(unescaped(b"a\\012").as_os_str().as_bytes(), b"a\n");
    }
}
