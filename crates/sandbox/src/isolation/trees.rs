//! Mounts the trees of the host that a run may write, and masks denied names in all trees of the run.
//!
//! A tree is a live tree, a private copy, or an overlay whose upper layer is private. A copy lacks the content of
//! denied files and directories. An overlay hides denied names with whiteouts and empty files, which no process of the
//! host can undo.
//!
//! In live and read-only trees, a mount of a file or a directory without any access rights masks each denied name. A
//! host process that replaces the masked file removes its mask. In a live tree, the parent directories of a masked name
//! are mount points too, so that the step can't rename them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
};

use crate::{
    AtStage, MAX_DEPTH, NamePatterns, SetupFailure, SetupResult, SetupStage, directory_at,
    isolation::{
        denied_names::{DIRECTORY, DeniedNames},
        mounts::tmpfs,
        remove::entries,
        syscalls,
    },
    move_to,
};

/// Maximum number of masked names in one run. Each mask needs one mount.
const MAX_MASKS: usize = 4096;
/// Maximum number of parent directories of masked names that are fixed in live trees. Each fixed directory needs one
/// mount.
const MAX_FIXED: usize = 4096;

/// The file system for all private files of a run, with one size limit. It is mounted at a temporary place, from where
/// its directories are bound to their targets. Then it is detached from this place.
pub struct Disk {
    /// Temporary place, relative to the new root of the run.
    place: &'static str,
    /// Additional mount flags of the overlays.
    flags: MountFlags,
}

impl Disk {
    /// Mounts the file system at `place` below the current directory. The current directory is the new root of the run.
    pub fn mount(place: &'static str, options: &str, flags: MountFlags) -> SetupResult<Self> {
        directory_at(place, 0o700)?;
        tmpfs(place, options, flags)?;
        Ok(Self { place, flags })
    }

    /// Returns the current path of the directory `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.place).join(name)
    }

    /// Binds the directory `name` of this file system to `target`, which must exist.
    pub fn bind(&self, name: &str, target: &Path) -> SetupResult {
        let what = format!("bind a private directory at {}", target.display());
        let place = self.directory(name)?;
        let tree = rustix::mount::open_tree(
            CWD,
            &place,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .at(SetupStage::Mounts, what)?;
        move_to(&tree, target)
    }

    fn directory(&self, name: &str) -> SetupResult<PathBuf> {
        let place = self.path(name);
        if !place.exists() {
            directory_at(&place, 0o700)?;
        }
        Ok(place)
    }

    /// Copies `tree` into the directory `name`. `allowed` is the path of `tree` in the profile. Denied files and
    /// directories are created empty, so that they can be masked later.
    pub fn copy(
        &self,
        name: &str,
        tree: &OwnedFd,
        allowed: &Path,
        deny: &NamePatterns,
        denied: &DeniedNames,
    ) -> SetupResult {
        let place = self.directory(name)?;
        let what = || format!("copy {}", allowed.display());
        let to =
            rustix::fs::open(&place, DIRECTORY, Mode::empty()).at(SetupStage::Workdir, what())?;
        Copy {
            allowed,
            deny,
            denied,
        }
        .directory(tree.as_fd(), to.as_fd(), Path::new(""), 0)
    }

    /// Mounts an overlay over `tree` at `target`. In it, a denied file becomes an empty file, which can be masked, and
    /// a denied directory is hidden.
    pub fn overlay(
        &self,
        name: &str,
        tree: &OwnedFd,
        allowed: &Path,
        target: &Path,
        denied: &DeniedNames,
    ) -> SetupResult {
        let what = || format!("mount an overlay over {}", allowed.display());
        let (upper, work) = (
            self.directory(&format!("{name}-upper"))?,
            self.directory(&format!("{name}-work"))?,
        );
        for (below, kind) in &denied.names {
            hide(&upper, tree, below, *kind).at(
                SetupStage::Workdir,
                format!("hide {}", allowed.join(below).display()),
            )?;
        }
        let mode = rustix::fs::fstat(tree)
            .at(SetupStage::Workdir, what())?
            .st_mode;
        std::fs::set_permissions(
            &upper,
            std::os::unix::fs::PermissionsExt::from_mode(mode & 0o777 | 0o700),
        )
        .at(SetupStage::Workdir, what())?;
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir={},workdir={},userxattr",
            tree.as_raw_fd(),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options)
            .map_err(|_| SetupFailure::new(SetupStage::Workdir, what()))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | self.flags;
        rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str())
            .at(SetupStage::Workdir, what())
    }

    /// Detaches the file system from its temporary place. Directories at their targets stay mounted.
    pub fn detach(self) -> SetupResult {
        rustix::mount::unmount(self.place, UnmountFlags::DETACH)
            .at(SetupStage::Mounts, "detach the run's disk")?;
        std::fs::remove_dir(self.place).at(SetupStage::Mounts, "remove the place of the run's disk")
    }
}

/// Hides a name of the lower layer of an overlay, and creates parent directories with the modes of the lower layer. An
/// empty file replaces a file, and is masked later so that the step can't remove it. A whiteout (the device 0:0)
/// replaces a directory or a link.
fn hide(upper: &Path, lower: &OwnedFd, below: &Path, kind: FileType) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in below.parent().into_iter().flat_map(Path::components) {
        made.push(part);
        let mode =
            rustix::fs::statat(lower, &made, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o777 | 0o700;
        match rustix::fs::mkdirat(CWD, upper.join(&made), Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(kind, FileType::Directory | FileType::Symlink) {
        return Ok(rustix::fs::mknodat(
            CWD,
            upper.join(below),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )?);
    }
    let flags = OFlags::CLOEXEC | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    rustix::fs::openat(CWD, upper.join(below), flags, Mode::empty()).map(drop)?;
    Ok(())
}

struct Copy<'a> {
    allowed: &'a Path,
    deny: &'a NamePatterns,
    /// The denied names and files that the search found. A host process may have renamed the files since the search.
    denied: &'a DeniedNames,
}

impl Copy<'_> {
    fn directory(&self, from: impl AsFd, to: impl AsFd, path: &Path, depth: usize) -> SetupResult {
        let what = |path: &Path| format!("copy {}", self.allowed.join(path).display());
        if depth > MAX_DEPTH {
            return Err(SetupFailure::new(
                SetupStage::Workdir,
                format!(
                    "{}: the directory is deeper than {MAX_DEPTH} levels",
                    what(path)
                ),
            ));
        }
        let opened = rustix::fs::openat(&from, ".", DIRECTORY, Mode::empty())
            .at(SetupStage::Workdir, what(path))?;
        for entry in entries(Dir::new(opened).at(SetupStage::Workdir, what(path))?) {
            let entry = entry.at(SetupStage::Workdir, what(path))?;
            let name = entry.file_name();
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            if let Some(kind) = self.denied.kind(&below) {
                let flags = OFlags::CLOEXEC | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                match kind {
                    FileType::Directory => rustix::fs::mkdirat(&to, name, Mode::empty()),
                    // A mount can't cover a link, so leave the link out.
                    FileType::Symlink => Ok(()),
                    _ => rustix::fs::openat(&to, name, flags, Mode::empty()).map(drop),
                }
                .at(SetupStage::Workdir, what(&below))?;
                continue;
            }
            // The denied name was created after the search.
            if self.deny.deny(self.allowed, &below) {
                continue;
            }
            let stat = match rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.at(SetupStage::Workdir, what(&below))?,
            };
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = rustix::fs::openat(
                        &from,
                        name,
                        DIRECTORY | OFlags::NOFOLLOW,
                        Mode::empty(),
                    )
                    .at(SetupStage::Workdir, what(&below))?;
                    rustix::fs::mkdirat(&to, name, Mode::RWXU)
                        .at(SetupStage::Workdir, what(&below))?;
                    let copy =
                        rustix::fs::openat(&to, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                            .at(SetupStage::Workdir, what(&below))?;
                    self.directory(&inner, &copy, &below, depth + 1)?;
                    rustix::fs::fchmod(&copy, mode).at(SetupStage::Workdir, what(&below))?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&from, name, Vec::new())
                        .at(SetupStage::Workdir, what(&below))?;
                    rustix::fs::symlinkat(&*target, &to, name)
                        .at(SetupStage::Workdir, what(&below))?;
                }
                FileType::RegularFile => {
                    self.file(&from, &to, name, mode)
                        .at(SetupStage::Workdir, what(&below))?;
                }
                // The copy omits pipes, sockets and devices.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(
        &self,
        from: impl AsFd,
        to: impl AsFd,
        name: &std::ffi::CStr,
        mode: Mode,
    ) -> io::Result<()> {
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let source = rustix::fs::openat(
            &from,
            name,
            flags | OFlags::RDONLY | OFlags::NONBLOCK,
            Mode::empty(),
        )?;
        let stat = rustix::fs::fstat(&source)?;
        // Check the opened file and not the name, which may refer to another file by now.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || self.denied.has(&stat)
        {
            return Ok(());
        }
        let made = rustix::fs::openat(
            &to,
            name,
            flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
            Mode::RUSR,
        )?;
        let (mut source, mut made) = (File::from(source), File::from(made));
        io::copy(&mut source, &mut made)?;
        let times = std::fs::FileTimes::new().set_modified(source.metadata()?.modified()?);
        made.set_times(times)?;
        Ok(rustix::fs::fchmod(&made, mode)?)
    }
}

pub fn open_shown(target: &Path) -> SetupResult<OwnedFd> {
    open_beneath(target).at(
        SetupStage::Deny,
        format!("look for denied names in /{}", target.display()),
    )
}

fn open_beneath(path: &Path) -> Result<OwnedFd, Errno> {
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        links,
    )
}

/// Maximum number of searches for denied names, because a host process may rename files during a search.
const TURNS: usize = 3;

/// Repeats the search and the masking until no denied name disappears in between. A file whose name disappeared may
/// exist under another name.
pub fn settle(mut turn: impl FnMut(usize) -> SetupResult<RemovedTree>) -> SetupResult {
    for number in 0..TURNS {
        if turn(number)? == RemovedTree::Nothing {
            return Ok(());
        }
    }
    Err(SetupFailure::new(
        SetupStage::Deny,
        "the host moves denied names faster than this program can hide the names; try again",
    ))
}

/// Result of one round: `Something` if a denied name disappeared after the search.
#[derive(Debug, PartialEq)]
pub enum RemovedTree {
    Nothing,
    Something,
}

impl RemovedTree {
    pub fn or(self, other: Self) -> Self {
        if self == Self::Nothing { other } else { self }
    }
}

/// Masks each denied name at and below `target` that has no mask yet, so that the step can't open, rename or remove it.
pub fn cover(
    target: &Path,
    allowed: &Path,
    denied: &DeniedNames,
    things: &mut EmptyMountSources,
) -> SetupResult<RemovedTree> {
    let mut gone = RemovedTree::Nothing;
    // A mount can't cover a symbolic link. Its target is denied under its own name.
    for (below, kind) in denied
        .names
        .iter()
        .filter(|(_, kind)| *kind != FileType::Symlink)
    {
        let what = || format!("mask {}", allowed.join(below).display());
        // If a path of the profile is a single file, `below` is empty.
        let path = if below.as_os_str().is_empty() {
            target.to_owned()
        } else {
            target.join(below)
        };
        if things.covered.contains(&path) {
            continue;
        }
        if things.covered.len() >= MAX_MASKS {
            let many = format!(
                "the deny patterns match more than {MAX_MASKS} names: deny a directory instead"
            );
            return Err(SetupFailure::new(SetupStage::Deny, many));
        }
        let place = match open_beneath(&path) {
            Err(Errno::NOENT) => {
                gone = RemovedTree::Something;
                continue;
            }
            place => place.at(SetupStage::Deny, what())?,
        };
        let thing = things
            .fresh(*kind == FileType::Directory)
            .at(SetupStage::Deny, what())?;
        rustix::mount::move_mount(&thing, "", &place, "", ONTO).at(SetupStage::Deny, what())?;
        things.covered.insert(path);
    }
    Ok(gone)
}

/// Prevents the step from renaming the directories between the live tree at `target` and its denied names. Call this
/// before [`cover`].
///
/// After a rename of such a directory, the denied name would no longer match its pattern, and the next run could read
/// the file. The kernel returns EBUSY if a process renames or removes a mount point of its own mount namespace, so each
/// directory is bound onto itself.
pub fn fix(
    target: &Path,
    allowed: &Path,
    denied: &DeniedNames,
    things: &mut EmptyMountSources,
) -> SetupResult<RemovedTree> {
    let mut gone = RemovedTree::Nothing;
    for (below, _) in denied
        .names
        .iter()
        .filter(|(_, kind)| *kind != FileType::Symlink)
    {
        let mut above: Vec<&Path> = below
            .ancestors()
            .skip(1)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        // Bind the upper directory first, because a later mount on it would hide the mounts below.
        above.reverse();
        for directory in above {
            let what = || format!("keep {} in its place", allowed.join(directory).display());
            let path = target.join(directory);
            if things.fixed.contains(&path) {
                continue;
            }
            if things.fixed.len() >= MAX_FIXED {
                let many = format!(
                    "the deny patterns match names in more than {MAX_FIXED} directories of a live tree: deny a directory \
                     instead, or let the step work on a copy"
                );
                return Err(SetupFailure::new(SetupStage::Deny, many));
            }
            let place = match open_beneath(&path) {
                Err(Errno::NOENT) => {
                    gone = RemovedTree::Something;
                    break;
                }
                place => place.at(SetupStage::Deny, what())?,
            };
            // The recursive clone includes the mounts below this directory. Mount flags such as nodev and nosuid are
            // copied too.
            let copy = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE
                | OpenTreeFlags::AT_EMPTY_PATH;
            let itself = rustix::mount::open_tree(&place, "", copy).at(SetupStage::Deny, what())?;
            rustix::mount::move_mount(&itself, "", &place, "", ONTO)
                .at(SetupStage::Deny, what())?;
            things.fixed.insert(path);
        }
    }
    Ok(gone)
}

/// Flags of move_mount(2) to mount one descriptor onto another descriptor.
const ONTO: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Device and directory without any access rights, which are mounted over denied names.
pub struct EmptyMountSources {
    /// An opened device on a mount with the flag nodev. No user can open this device.
    file: OwnedFd,
    /// A directory with mode 0 on a read-only mount, so that its owner can't change the mode.
    directory: OwnedFd,
    /// Paths that have a mask, relative to the run's new root.
    covered: BTreeSet<PathBuf>,
    /// Directories that are bound onto themselves, relative to the run's new root.
    fixed: BTreeSet<PathBuf>,
}

impl EmptyMountSources {
    /// Takes an opened device of the host's `/dev` and creates the empty directory.
    pub fn new(device: OwnedFd) -> SetupResult<Self> {
        let what = "make an empty directory to hide denied names";
        const PLACE: &str = "run/step/nothing";
        directory_at(PLACE, 0o700)?;
        let made = rustix::fs::open(PLACE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .at(SetupStage::Deny, what)?;
        rustix::fs::chmod(PLACE, Mode::empty()).at(SetupStage::Deny, what)?;
        Ok(Self {
            file: device,
            directory: made,
            covered: BTreeSet::new(),
            fixed: BTreeSet::new(),
        })
    }

    pub fn covered(&self) -> u64 {
        self.covered.len() as u64
    }

    fn fresh(&self, directory: bool) -> io::Result<OwnedFd> {
        let from = if directory {
            &self.directory
        } else {
            &self.file
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(from, "", flags)?;
        let attributes = libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NOEXEC;
        syscalls::set_mount_flags(tree.as_fd(), attributes, false)?;
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In this test, a host process renames directories between the search and the copy.
    #[test]
    fn a_denied_file_is_not_copied_after_a_rename() {
        let home = tempfile::tempdir().expect("a directory");
        let (tree, copy) = (home.path().join("tree"), home.path().join("copy"));
        for directory in ["deep/a", "secrets", "later"] {
            std::fs::create_dir_all(tree.join(directory)).expect("directories");
        }
        std::fs::create_dir(&copy).expect("a directory");
        for (name, text) in [
            ("deep/a/.env", "token"),
            ("secrets/key", "token"),
            ("deep/plain", "plain"),
        ] {
            std::fs::write(tree.join(name), text).expect("a file");
        }
        let deny = NamePatterns::new(&["**/.env".into(), "secrets".into()]).expect("patterns");
        let [from, to] = [&tree, &copy]
            .map(|path| rustix::fs::open(path, DIRECTORY, Mode::empty()).expect("open"));
        let denied = deny
            .find(&[(from.as_fd(), &tree)], true)
            .expect("walks")
            .remove(0);
        for (old, new) in [
            ("deep", "deep2"),
            ("secrets", "open"),
            ("deep2/a/.env", "deep2/a/notes"),
        ] {
            std::fs::rename(tree.join(old), tree.join(new)).expect("moved");
        }
        std::fs::write(tree.join("later/.env"), "token").expect("a file");
        std::fs::hard_link(tree.join("later/.env"), tree.join("later/notes")).expect("a link");
        let copying = Copy {
            allowed: &tree,
            deny: &deny,
            denied: &denied,
        };
        copying
            .directory(from.as_fd(), to.as_fd(), Path::new(""), 0)
            .expect("copied");
        assert_eq!(
            std::fs::read_to_string(copy.join("deep2/plain")).expect("copied"),
            "plain"
        );
        for name in ["deep2/a/notes", "open/key", "later/.env", "later/notes"] {
            assert!(!copy.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn the_search_for_denied_names_is_repeated_if_names_disappear_and_then_fails() {
        let null = || {
            rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .expect("open")
        };
        let mut things = EmptyMountSources {
            file: null(),
            directory: null(),
            covered: BTreeSet::new(),
            fixed: BTreeSet::new(),
        };
        let denied = |name: &str| DeniedNames {
            names: vec![(name.into(), FileType::RegularFile)],
            ..DeniedNames::default()
        };
        let mut cover = |name: &str| {
            cover(
                Path::new("src"),
                Path::new("/src"),
                &denied(name),
                &mut things,
            )
        };
        assert_eq!(
            cover("no-such-name").expect("nothing to cover"),
            RemovedTree::Something
        );
        let mut turns = Vec::new();
        let mut held = |gone: usize| {
            settle(|turn| {
                turns.push(turn);
                Ok(if turn < gone {
                    RemovedTree::Something
                } else {
                    RemovedTree::Nothing
                })
            })
        };
        assert_eq!((held(0), held(2)), (Ok(()), Ok(())));
        assert!(held(TURNS).is_err());
        assert_eq!(turns, [0, 0, 1, 2, 0, 1, 2]);
        assert_eq!(things.covered(), 0);
    }
}
