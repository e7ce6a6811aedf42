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
    ffi::{CStr, OsStr},
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, CWD, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{self, MountFlags, MoveMountFlags, OpenTreeFlags},
};

use crate::{
    AtStage, MAX_DEPTH, NamePatterns, SetupFailure, SetupResult, SetupStage, directory_at,
    isolation::{
        denied_names::{DIRECTORY, DeniedNames},
        mounts::{READ_DATA, clone_below, clone_of, detach, tmpfs},
        opened::{create_at, kind_of, open, open_at, open_within, stat_at},
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

/// The file system for all private files of a run, with one size limit. It is first mounted at a temporary mount point,
/// and its directories are bound from there to their targets. Then it is detached from the temporary mount point.
pub struct Disk {
    /// Temporary mount point, relative to the new root of the run.
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
        let tree = clone_below(CWD, &place, OpenTreeFlags::empty()).at(SetupStage::Mounts, what)?;
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
        let what = format!("copy {}", allowed.display());
        let to = open(&place, DIRECTORY).at(SetupStage::Workdir, what)?;
        Copy {
            allowed,
            deny,
            denied,
        }
        .directory(tree.as_fd(), to.as_fd(), Path::new(""), 0)
    }

    /// Mounts an overlay over `tree` at `target`. In the overlay, a denied file becomes an empty file, which can be
    /// masked, and a denied directory is hidden.
    pub fn overlay(
        &self,
        name: &str,
        tree: &OwnedFd,
        allowed: &Path,
        target: &Path,
        denied: &DeniedNames,
    ) -> SetupResult {
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
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir={},workdir={},userxattr",
            tree.as_raw_fd(),
            upper.display(),
            work.display()
        );
        let flags = MountFlags::NOSUID | MountFlags::NODEV | self.flags;
        let mount = || -> io::Result<()> {
            let mode = fs::fstat(tree)?.st_mode & 0o777 | 0o700;
            fs::chmod(&upper, Mode::from_raw_mode(mode))?;
            let options = std::ffi::CString::new(options)?;
            mount::mount("overlay", target, "overlay", flags, options.as_c_str())?;
            Ok(())
        };
        mount().at(
            SetupStage::Workdir,
            format!("mount an overlay over {}", allowed.display()),
        )
    }

    /// Detaches the file system from its temporary mount point. Directories at their targets stay mounted.
    pub fn detach(self) -> SetupResult {
        detach(self.place, "detach the run's disk")
    }
}

/// Hides a name of the lower layer of an overlay, and creates parent directories with the modes of the lower layer. An
/// empty file replaces a file, and is masked later so that the step can't remove it. A whiteout (the device 0:0)
/// replaces a directory or a link.
fn hide(upper: &Path, lower: &OwnedFd, below: &Path, kind: FileType) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in below.parent().into_iter().flat_map(Path::components) {
        made.push(part);
        let mode = stat_at(lower, &made)?.st_mode & 0o777 | 0o700;
        match fs::mkdirat(CWD, upper.join(&made), Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(kind, FileType::Directory | FileType::Symlink) {
        return Ok(fs::mknodat(
            CWD,
            upper.join(below),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )?);
    }
    create_at(CWD, upper.join(below), Mode::empty())?;
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
            let why = format!(
                "{}: the directory is deeper than {MAX_DEPTH} levels",
                what(path)
            );
            return Err(SetupFailure::new(SetupStage::Workdir, why));
        }
        let listed = open_at(&from, ".", DIRECTORY)
            .and_then(Dir::new)
            .at(SetupStage::Workdir, what(path))?;
        for entry in entries(listed) {
            let entry = entry.at(SetupStage::Workdir, what(path))?;
            let name = entry.file_name();
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            let copied = self
                .entry(&from, &to, name, &below)
                .at(SetupStage::Workdir, what(&below))?;
            if let Some((inner, copy, mode)) = copied {
                self.directory(&inner, &copy, &below, depth + 1)?;
                fs::fchmod(&copy, mode).at(SetupStage::Workdir, what(&below))?;
            }
        }
        Ok(())
    }

    /// Copies one entry. For a directory, returns the directory, its empty copy and the mode of the copy, so that the
    /// caller copies the content next.
    fn entry(
        &self,
        from: impl AsFd,
        to: impl AsFd,
        name: &CStr,
        below: &Path,
    ) -> io::Result<Option<(OwnedFd, OwnedFd, Mode)>> {
        if let Some(kind) = self.denied.kind(below) {
            match kind {
                FileType::Directory => fs::mkdirat(&to, name, Mode::empty())?,
                // A mount can't cover a link, so leave the link out.
                FileType::Symlink => {}
                _ => drop(create_at(&to, name, Mode::empty())?),
            }
            return Ok(None);
        }
        // Leave out a denied name that was created after the search.
        if self.deny.deny(self.allowed, below) {
            return Ok(None);
        }
        let stat = match stat_at(&from, name) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
        match kind_of(&stat) {
            FileType::Directory => {
                let inner = open_at(&from, name, DIRECTORY | OFlags::NOFOLLOW)?;
                fs::mkdirat(&to, name, Mode::RWXU)?;
                let copy = open_at(&to, name, DIRECTORY | OFlags::NOFOLLOW)?;
                return Ok(Some((inner, copy, mode)));
            }
            FileType::Symlink => {
                let target = fs::readlinkat(&from, name, Vec::new())?;
                fs::symlinkat(&*target, &to, name)?;
            }
            FileType::RegularFile => self.file(&from, &to, name, mode)?,
            // The copy omits pipes, sockets and devices.
            _ => {}
        }
        Ok(None)
    }

    fn file(&self, from: impl AsFd, to: impl AsFd, name: &CStr, mode: Mode) -> io::Result<()> {
        let source = open_at(&from, name, OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        let stat = fs::fstat(&source)?;
        // Check the opened file and not the name, which may refer to another file by now.
        if kind_of(&stat) != FileType::RegularFile || self.denied.has(&stat) {
            return Ok(());
        }
        let made = create_at(&to, name, Mode::RUSR)?;
        let (mut source, mut made) = (File::from(source), File::from(made));
        io::copy(&mut source, &mut made)?;
        let times = std::fs::FileTimes::new().set_modified(source.metadata()?.modified()?);
        made.set_times(times)?;
        Ok(fs::fchmod(&made, mode)?)
    }
}

pub fn open_beneath(path: &Path) -> Result<OwnedFd, Errno> {
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    open_within(CWD, path, OFlags::PATH, links)
}

/// Maximum number of searches for denied names, because a host process may rename files during a search.
const TURNS: usize = 3;

/// Repeats the search and the masking until no denied name disappears in between. A file whose name disappeared may
/// exist under another name. A turn returns true if a name has disappeared.
pub fn settle(mut turn: impl FnMut(usize) -> SetupResult<bool>) -> SetupResult {
    for number in 0..TURNS {
        if !turn(number)? {
            return Ok(());
        }
    }
    Err(SetupFailure::other(
        "the host moves denied names faster than this program can hide the names; try again",
    ))
}

/// Masks each denied name at and below `target` that has no mask yet, so that the step can't open, rename or remove it.
pub fn cover(
    target: &Path,
    allowed: &Path,
    denied: &DeniedNames,
    things: &mut EmptyMountSources,
) -> SetupResult<bool> {
    let mut gone = false;
    // A mount can't cover a symbolic link, so links are skipped. The target of a link is masked if the target's own
    // name is denied.
    for (below, kind) in denied
        .names
        .iter()
        .filter(|(_, kind)| *kind != FileType::Symlink)
    {
        let what = || format!("mask {}", allowed.join(below).display());
        // If a path of the profile is a single file, `below` is empty. Joining it would add a slash.
        let path: PathBuf = target.components().chain(below.components()).collect();
        if things.covered.contains(&path) {
            continue;
        }
        if things.covered.len() >= MAX_MASKS {
            let many = format!(
                "the deny patterns match more than {MAX_MASKS} names: deny a directory instead"
            );
            return Err(SetupFailure::other(many));
        }
        let place = match open_beneath(&path) {
            Err(Errno::NOENT) => {
                gone = true;
                continue;
            }
            place => place.doing(what())?,
        };
        let thing = things.fresh(*kind == FileType::Directory).doing(what())?;
        mount_onto(&thing, &place).doing(what())?;
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
) -> SetupResult<bool> {
    let mut gone = false;
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
                return Err(SetupFailure::other(many));
            }
            let place = match open_beneath(&path) {
                Err(Errno::NOENT) => {
                    gone = true;
                    break;
                }
                place => place.doing(what())?,
            };
            // The recursive clone includes the mounts below this directory. Mount flags such as nodev and nosuid are
            // copied too.
            clone_of(&place, OpenTreeFlags::AT_RECURSIVE)
                .map_err(io::Error::from)
                .and_then(|itself| mount_onto(&itself, &place))
                .doing(what())?;
            things.fixed.insert(path);
        }
    }
    Ok(gone)
}

/// Mounts one descriptor onto another descriptor.
fn mount_onto(mount: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(mount::move_mount(mount, "", place, "", flags)?)
}

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
        const PLACE: &str = "run/step/nothing";
        directory_at(PLACE, 0)?;
        let directory =
            open(PLACE, OFlags::PATH).doing("make an empty directory to hide denied names")?;
        Ok(Self {
            file: device,
            directory,
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
        let tree = clone_of(from, OpenTreeFlags::empty())?;
        syscalls::set_mount_flags(tree.as_fd(), READ_DATA, false)?;
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
        let [from, to] = [&tree, &copy].map(|path| open(path, DIRECTORY).expect("open"));
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
        let null = || open("/dev/null", OFlags::PATH).expect("open");
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
        assert!(cover("no-such-name").expect("nothing to cover"));
        let mut turns = Vec::new();
        let mut held = |gone: usize| {
            settle(|turn| {
                turns.push(turn);
                Ok(turn < gone)
            })
        };
        assert_eq!((held(0), held(2)), (Ok(()), Ok(())));
        assert!(held(TURNS).is_err());
        assert_eq!(turns, [0, 0, 1, 2, 0, 1, 2]);
        assert_eq!(things.covered(), 0);
    }
}
