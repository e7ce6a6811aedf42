//! Trees of the host that a profile lets a run write, and names below allowed ones that stay out of reach.
//!
//! A tree is the live one, a private copy, or an overlay whose upper layer is private. A copy does not hold what is
//! denied and an overlay has whiteouts for it: nobody on the host can drop those. Over a live tree, and over what may
//! only be read, things without any right are mounted; a host process that replaces a masked file drops its mask. In a live
//! tree the directories above a masked name are mounts as well, so that the step can't move the name out of its pattern.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::sandbox::deny::{DIRECTORY, Denied, MAX_DEPTH, Patterns};
use crate::sandbox::protocol::{At, Failure, Stage};
use crate::sandbox::syscalls;

/// Names that are masked in one run: each is a mount.
const MAX_MASKS: usize = 4096;
/// Directories above masked names of live trees: each is a mount too.
const MAX_FIXED: usize = 4096;

/// The file system of what a run may write: one size for all of it. Mounted aside, its directories are bound where they
/// belong, then it is taken away.
pub(super) struct Disk;

impl Disk {
    const PLACE: &'static str = "run/step/disk";

    /// Mounts it below the working directory, the run's new root.
    pub(super) fn mount(mount: impl FnOnce(&str) -> Result<(), Failure>) -> Result<Self, Failure> {
        directory(Self::PLACE, 0o700)?;
        mount(Self::PLACE)?;
        Ok(Self)
    }

    /// A directory on it, seen at `target` as well, which exists.
    pub(super) fn bind(&self, name: &str, target: &Path) -> Result<(), Failure> {
        let what = || format!("bind a private directory at {}", target.display());
        let place = self.directory(name)?;
        let tree =
            rustix::mount::open_tree(CWD, &place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
                .at(Stage::Mounts, what())?;
        rustix::mount::move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .at(Stage::Mounts, what())
    }

    fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let place = Path::new(Self::PLACE).join(name);
        if !place.exists() {
            directory(&place, 0o700)?;
        }
        Ok(place)
    }

    /// Fills the directory `name` with what `tree` (which is `allowed` for the step) has. What is denied is there by its name
    /// and empty, to be covered where it is seen.
    pub(super) fn copy(
        &self,
        name: &str,
        tree: &OwnedFd,
        allowed: &Path,
        deny: &Patterns,
        denied: &Denied,
    ) -> Result<(), Failure> {
        let place = self.directory(name)?;
        let what = || format!("copy {}", allowed.display());
        let to = rustix::fs::open(&place, DIRECTORY, Mode::empty()).at(Stage::Workdir, what())?;
        Copy { allowed, deny, denied }.directory(tree.as_fd(), to.as_fd(), Path::new(""), 0)
    }

    /// Mounts an overlay over `tree` at `target`. A denied file is there by its name and empty, to be covered; a denied
    /// directory is not there.
    pub(super) fn overlay(
        &self,
        name: &str,
        tree: &OwnedFd,
        allowed: &Path,
        target: &Path,
        denied: &Denied,
    ) -> Result<(), Failure> {
        let what = || format!("mount an overlay over {}", allowed.display());
        let (upper, work) = (self.directory(&format!("{name}-upper"))?, self.directory(&format!("{name}-work"))?);
        for (below, kind) in &denied.names {
            hide(&upper, tree, below, *kind).at(Stage::Workdir, format!("hide {}", allowed.join(below).display()))?;
        }
        let mode = rustix::fs::fstat(tree).at(Stage::Workdir, what())?.st_mode;
        std::fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(mode & 0o777 | 0o700))
            .at(Stage::Workdir, what())?;
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir={},workdir={},userxattr",
            tree.as_raw_fd(),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).map_err(|_| Failure::new(Stage::Workdir, what()))?;
        rustix::mount::mount("overlay", target, "overlay", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .at(Stage::Workdir, what())
    }

    /// What was bound stays; the whole is in nobody's view any more.
    pub(super) fn detach(self) -> Result<(), Failure> {
        rustix::mount::unmount(Self::PLACE, UnmountFlags::DETACH).at(Stage::Mounts, "detach the run's disk")?;
        std::fs::remove_dir(Self::PLACE).at(Stage::Mounts, "remove the place of the run's disk")
    }
}

/// Puts something without content over a name of the lower layer, below directories like those of that layer: an empty file,
/// which is covered later so that it can't be removed either; for a directory or a link a whiteout, the device 0:0.
fn hide(upper: &Path, lower: &OwnedFd, below: &Path, kind: FileType) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in below.parent().into_iter().flat_map(Path::components) {
        made.push(part);
        let mode = rustix::fs::statat(lower, &made, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o777 | 0o700;
        match rustix::fs::mkdirat(CWD, upper.join(&made), Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(kind, FileType::Directory | FileType::Symlink) {
        return Ok(rustix::fs::mknodat(CWD, upper.join(below), FileType::CharacterDevice, Mode::empty(), 0)?);
    }
    let flags = OFlags::CLOEXEC | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    rustix::fs::openat(CWD, upper.join(below), flags, Mode::empty()).map(drop)?;
    Ok(())
}

struct Copy<'a> {
    allowed: &'a Path,
    deny: &'a Patterns,
    /// What was found before; the host may have moved it since.
    denied: &'a Denied,
}

impl Copy<'_> {
    fn directory(&self, from: impl AsFd, to: impl AsFd, path: &Path, depth: usize) -> Result<(), Failure> {
        let what = |path: &Path| format!("copy {}", self.allowed.join(path).display());
        if depth > MAX_DEPTH {
            return Err(Failure::new(Stage::Workdir, format!("{}: it is deeper than {MAX_DEPTH}", what(path))));
        }
        let opened = rustix::fs::openat(&from, ".", DIRECTORY, Mode::empty()).at(Stage::Workdir, what(path))?;
        let mut entries = Dir::new(opened).at(Stage::Workdir, what(path))?;
        while let Some(entry) = entries.read() {
            let entry = entry.at(Stage::Workdir, what(path))?;
            let name = entry.file_name();
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if let Some(kind) = self.denied.kind(&below) {
                let flags = OFlags::CLOEXEC | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                match kind {
                    FileType::Directory => rustix::fs::mkdirat(&to, name, Mode::empty()),
                    // A link can't be covered, so it is left out.
                    FileType::Symlink => Ok(()),
                    _ => rustix::fs::openat(&to, name, flags, Mode::empty()).map(drop),
                }
                .at(Stage::Workdir, what(&below))?;
                continue;
            }
            // It came since.
            if self.deny.deny(self.allowed, &below) {
                continue;
            }
            let stat = match rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.at(Stage::Workdir, what(&below))?,
            };
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = rustix::fs::openat(&from, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                        .at(Stage::Workdir, what(&below))?;
                    rustix::fs::mkdirat(&to, name, Mode::RWXU).at(Stage::Workdir, what(&below))?;
                    let copy = rustix::fs::openat(&to, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                        .at(Stage::Workdir, what(&below))?;
                    self.directory(&inner, &copy, &below, depth + 1)?;
                    rustix::fs::fchmod(&copy, mode).at(Stage::Workdir, what(&below))?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&from, name, Vec::new()).at(Stage::Workdir, what(&below))?;
                    rustix::fs::symlinkat(&*target, &to, name).at(Stage::Workdir, what(&below))?;
                }
                FileType::RegularFile => {
                    self.file(&from, &to, name, mode).at(Stage::Workdir, what(&below))?;
                }
                // Pipes, sockets and devices are not content.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, from: impl AsFd, to: impl AsFd, name: &std::ffi::CStr, mode: Mode) -> io::Result<()> {
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let source = rustix::fs::openat(&from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let stat = rustix::fs::fstat(&source)?;
        // Asked of what was opened: a name may be another file's by now.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || self.denied.has(&stat) {
            return Ok(());
        }
        let made = rustix::fs::openat(&to, name, flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR)?;
        let (mut source, mut made) = (File::from(source), File::from(made));
        io::copy(&mut source, &mut made)?;
        let times = std::fs::FileTimes::new().set_modified(source.metadata()?.modified()?);
        made.set_times(times)?;
        Ok(rustix::fs::fchmod(&made, mode)?)
    }
}

/// Opens what the step sees at `target` (from the working directory, the run's new root).
pub(super) fn open_shown(target: &Path) -> Result<OwnedFd, Failure> {
    open_beneath(target).at(Stage::Deny, format!("look for denied names in /{}", target.display()))
}

fn open_beneath(path: &Path) -> Result<OwnedFd, Errno> {
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), links)
}

/// How often names are looked for that the host moves while they are being covered.
const TURNS: usize = 3;

/// Takes turns of finding and covering until one in which nothing that was found had gone meanwhile: it may have another name.
pub(super) fn settle(mut turn: impl FnMut(usize) -> Result<Gone, Failure>) -> Result<(), Failure> {
    for number in 0..TURNS {
        if turn(number)? == Gone::Nothing {
            return Ok(());
        }
    }
    Err(Failure::new(
        Stage::Deny,
        "denied names of what may be read or written are moved faster than they can be masked",
    ))
}

/// Whether a name that was found was there when it was to be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Nothing,
    Something,
}

impl Gone {
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Nothing { other } else { self }
    }
}

/// Covers denied names at and below `target`, as far as they are not yet, so that they can't be opened, moved or removed.
pub(super) fn cover(target: &Path, allowed: &Path, denied: &Denied, things: &mut Things) -> Result<Gone, Failure> {
    let mut gone = Gone::Nothing;
    // A link can't be covered; what it leads to has a name of its own.
    for (below, kind) in denied.names.iter().filter(|(_, kind)| *kind != FileType::Symlink) {
        let what = || format!("mask {}", allowed.join(below).display());
        // What may be read can be one file.
        let path = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        if things.covered.contains(&path) {
            continue;
        }
        if things.covered.len() >= MAX_MASKS {
            let many = format!("the deny patterns match more than {MAX_MASKS} names: deny a directory instead");
            return Err(Failure::new(Stage::Deny, many));
        }
        let place = match open_beneath(&path) {
            Err(Errno::NOENT) => {
                gone = Gone::Something;
                continue;
            }
            place => place.at(Stage::Deny, what())?,
        };
        let thing = things.fresh(*kind == FileType::Directory).at(Stage::Deny, what())?;
        rustix::mount::move_mount(&thing, "", &place, "", ONTO).at(Stage::Deny, what())?;
        things.covered.insert(path);
    }
    Ok(gone)
}

/// Keeps the directories between the live tree at `target` and its denied names in their places, before [`cover`] covers those
/// names. A mask alone moves with the directory above it: the name would leave its pattern, and the next run would read it.
/// The kernel renames and removes no mount point of the caller's mount namespace (EBUSY), so each directory is bound onto
/// itself.
pub(super) fn fix(target: &Path, allowed: &Path, denied: &Denied, things: &mut Things) -> Result<Gone, Failure> {
    let mut gone = Gone::Nothing;
    for (below, _) in denied.names.iter().filter(|(_, kind)| *kind != FileType::Symlink) {
        let mut above: Vec<&Path> = below.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        // The upper one first: a mount on the lower one would be hidden by it.
        above.reverse();
        for directory in above {
            let what = || format!("keep {} in its place", allowed.join(directory).display());
            let path = target.join(directory);
            if things.fixed.contains(&path) {
                continue;
            }
            if things.fixed.len() >= MAX_FIXED {
                let many = format!(
                    "the names that the deny patterns match lie in more than {MAX_FIXED} directories of a live tree: deny a \
                     directory instead, or let the step work on a copy"
                );
                return Err(Failure::new(Stage::Deny, many));
            }
            let place = match open_beneath(&path) {
                Err(Errno::NOENT) => {
                    gone = Gone::Something;
                    break;
                }
                place => place.at(Stage::Deny, what())?,
            };
            // With what is mounted below it. Flags (nodev, nosuid) are copied too.
            let copy = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE
                | OpenTreeFlags::AT_EMPTY_PATH;
            let itself = rustix::mount::open_tree(&place, "", copy).at(Stage::Deny, what())?;
            rustix::mount::move_mount(&itself, "", &place, "", ONTO).at(Stage::Deny, what())?;
            things.fixed.insert(path);
        }
    }
    Ok(gone)
}

/// From one descriptor onto another.
const ONTO: MoveMountFlags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Things without any right, to be mounted over others.
pub(super) struct Things {
    /// A device on a mount without devices: it can't be opened, whoever owns it.
    file: OwnedFd,
    /// A directory that nobody may enter, on a mount that can't be written, so that nobody gives himself rights.
    directory: OwnedFd,
    /// What they lie over, from the run's new root.
    covered: BTreeSet<PathBuf>,
    /// Directories that are bound onto themselves, from the run's new root.
    fixed: BTreeSet<PathBuf>,
}

impl Things {
    /// Takes the device from the host's `/dev`, makes the directory below the working directory.
    pub(super) fn new(device: OwnedFd) -> Result<Self, Failure> {
        let what = "make an empty directory for masks";
        const PLACE: &str = "run/step/nothing";
        directory(PLACE, 0o700)?;
        let made = rustix::fs::open(PLACE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Stage::Deny, what)?;
        rustix::fs::chmod(PLACE, Mode::empty()).at(Stage::Deny, what)?;
        Ok(Self { file: device, directory: made, covered: BTreeSet::new(), fixed: BTreeSet::new() })
    }

    /// How many names are covered.
    pub(super) fn covered(&self) -> u64 {
        self.covered.len() as u64
    }

    fn fresh(&self, directory: bool) -> io::Result<OwnedFd> {
        let from = if directory { &self.directory } else { &self.file };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(from, "", flags)?;
        let attributes =
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        syscalls::set_mount_flags(tree.as_fd(), attributes, false)?;
        Ok(tree)
    }
}

fn directory(path: impl AsRef<Path>, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = path.as_ref();
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at(Stage::Mounts, format!("make the directory {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host moves directories between the walk and the copy.
    #[test]
    fn a_denied_file_with_another_name_is_not_copied() {
        let home = tempfile::tempdir().expect("a directory");
        let (tree, copy) = (home.path().join("tree"), home.path().join("copy"));
        for directory in ["deep/a", "secrets", "later"] {
            std::fs::create_dir_all(tree.join(directory)).expect("directories");
        }
        std::fs::create_dir(&copy).expect("a directory");
        for (name, text) in [("deep/a/.env", "token"), ("secrets/key", "token"), ("deep/plain", "plain")] {
            std::fs::write(tree.join(name), text).expect("a file");
        }
        let deny = Patterns::new(&["**/.env".into(), "secrets".into()]).expect("patterns");
        let [from, to] = [&tree, &copy].map(|path| rustix::fs::open(path, DIRECTORY, Mode::empty()).expect("open"));
        let denied = deny.find(&[(from.as_fd(), &tree)], true).expect("walks").remove(0);
        for (old, new) in [("deep", "deep2"), ("secrets", "open"), ("deep2/a/.env", "deep2/a/notes")] {
            std::fs::rename(tree.join(old), tree.join(new)).expect("moved");
        }
        std::fs::write(tree.join("later/.env"), "token").expect("a file");
        std::fs::hard_link(tree.join("later/.env"), tree.join("later/notes")).expect("a link");
        let copying = Copy { allowed: &tree, deny: &deny, denied: &denied };
        copying.directory(from.as_fd(), to.as_fd(), Path::new(""), 0).expect("copied");
        assert_eq!(std::fs::read_to_string(copy.join("deep2/plain")).expect("copied"), "plain");
        for name in ["deep2/a/notes", "open/key", "later/.env", "later/notes"] {
            assert!(!copy.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn lost_names_are_searched_again_and_a_host_that_keeps_moving_them_is_refused() {
        let null = || rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("open");
        let mut things = Things { file: null(), directory: null(), covered: BTreeSet::new(), fixed: BTreeSet::new() };
        let denied = |name: &str| Denied { names: vec![(name.into(), FileType::RegularFile)], ..Denied::default() };
        let mut cover = |name: &str| cover(Path::new("src"), Path::new("/src"), &denied(name), &mut things);
        assert_eq!(cover("no-such-name").expect("nothing to cover"), Gone::Something);
        let mut turns = Vec::new();
        let mut held = |gone: usize| {
            settle(|turn| {
                turns.push(turn);
                Ok(if turn < gone { Gone::Something } else { Gone::Nothing })
            })
        };
        assert_eq!((held(0), held(2)), (Ok(()), Ok(())));
        assert!(held(TURNS).is_err());
        assert_eq!(turns, [0, 0, 1, 2, 0, 1, 2]);
        assert_eq!(things.covered(), 0);
    }
}
