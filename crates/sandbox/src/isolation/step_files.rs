//! Puts the files of a step, and its script, into the directory in which the step starts.
//!
//! In namespaces, each file is a read-only mount, and the run has no other path to the file system of these files. So
//! the step can't write, rename or remove a file. The step can rename a directory above a file and create another file
//! at the old path. A list of programs without `{work}/**` allows only the mounted files, so the kernel then never
//! executes the other file.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode},
    io::Errno,
    mount::{MountFlags, OpenTreeFlags},
};

use crate::{
    AtStage, RunRequest, RunTexts, SetupFailure, SetupResult, SetupStage, directory_at,
    interpreter,
    isolation::{
        mounts::{
            DIRECTORY_PLACE, READ_DATA, attach, below_root, clone_below, detach, new_file, tmpfs,
        },
        opened::{chown_at, create_at, kind_of, open, open_at, stat_at},
        syscalls,
    },
};
use documents::{ContentDigest, StepFile};

/// Temporary mount point of the file system with the files, before the files are bound to their targets. The path is
/// relative to the new root of the run.
const PLACE: &str = "run/step/files";
/// Mount options of this file system, with room for 4 MiB of files and 1 MiB of script.
const OPTIONS: &str = "mode=0700,size=8m,nr_inodes=1024";
/// Permissions of new directories above a file.
const DIRECTORY_MODE: u32 = 0o755;

/// The result of writing or mounting the files of a step.
#[derive(Default)]
pub struct PutFiles {
    /// Path of the script beside the files, or `None` if the step has no files.
    pub script: Option<PathBuf>,
    /// Numbers of the files that did not exist before: 0 for the script, 1 for the first file.
    pub new: Vec<u32>,
}

/// A file to write: its path below the directory of the step, its content and its mode.
struct SeededFile<'a> {
    path: &'a str,
    bytes: &'a [u8],
    mode: u32,
}

impl SeededFile<'_> {
    fn what(&self) -> String {
        format!(
            "put the file {:?} of the step into its directory",
            self.path
        )
    }
}

/// Returns the paths of the executable files of a step that starts in `work`.
pub fn programs<'a>(work: &'a Path, files: &'a [StepFile]) -> impl Iterator<Item = PathBuf> + 'a {
    files
        .iter()
        .filter(|file| file.executable)
        .map(|file| work.join(&file.path))
}

/// Returns the files and the script under the name `script`. The contents must have the digests in `files`.
fn seeded<'a>(
    files: &'a [StepFile],
    texts: &'a RunTexts,
    script: &'a str,
) -> SetupResult<Vec<SeededFile<'a>>> {
    let mut found = vec![SeededFile {
        path: script,
        bytes: &texts.source,
        mode: 0o444,
    }];
    for (file, bytes) in files.iter().zip(&texts.files) {
        if ContentDigest::of(bytes) != file.digest {
            let why = format!(
                "the content of the file {:?} does not have the signed digest",
                file.path
            );
            return Err(SetupFailure::new(SetupStage::Workdir, why));
        }
        let mode = if file.executable { 0o555 } else { 0o444 };
        found.push(SeededFile {
            path: &file.path,
            bytes,
            mode,
        });
    }
    Ok(found)
}

/// Mounts the files of a run and its script below `work`, an absolute path in the new root. The current directory is
/// the new root. If a private tree has a file with the same path, the mount covers this file. A link with the same path
/// is replaced.
pub fn mount(request: &RunRequest, texts: &RunTexts, work: &Path) -> SetupResult<PutFiles> {
    let mut put = PutFiles::default();
    if request.files.is_empty() {
        return Ok(put);
    }
    let script = interpreter::script_beside_files(&request.interpreter);
    let what = "mount the files of the step";
    directory_at(PLACE, 0o700)?;
    tmpfs(PLACE, OPTIONS, MountFlags::empty())?;
    let root = open(below_root(work), DIRECTORY_PLACE).at(SetupStage::Mounts, what)?;
    for (number, file) in (0..).zip(&seeded(&request.files, texts, script)?) {
        let place = Path::new(PLACE).join(number.to_string());
        new_file(&place, file.bytes, file.mode).at(SetupStage::Workdir, file.what())?;
        // A data file is never executable, not even as a library. The list of programs decides about the other files.
        let flags = if file.mode & 0o111 == 0 {
            READ_DATA
        } else {
            READ_DATA & !libc::MOUNT_ATTR_NOEXEC
        };
        if bind(&place, flags, &root, file.path).at(SetupStage::Mounts, file.what())? {
            put.new.push(number);
        }
    }
    // The mounts of the files remain. After this, no other path of the run leads to the file system.
    detach(PLACE, what)?;
    put.script = Some(work.join(script));
    Ok(put)
}

/// Creates links to the files of the step in `tmp`, the directory for temporary files. The files are in `work`. The
/// step may remove a link.
pub fn link(request: &RunRequest, work: &Path, tmp: &Path) -> SetupResult {
    for file in request.files.iter().filter(|_| request.files_in_tmp) {
        let first = file.path.split('/').next().unwrap_or_default();
        match symlink(work.join(first), tmp.join(first)) {
            // Several files can be in one directory.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.at(
                SetupStage::Workdir,
                format!("link {first:?} in the directory for temporary files"),
            )?,
        }
    }
    Ok(())
}

/// Binds the file at `place` to `path` below `root`. Returns true if no file had this path.
fn bind(place: &Path, flags: u64, root: &OwnedFd, path: &str) -> io::Result<bool> {
    let mount = clone_below(CWD, place, OpenTreeFlags::empty())?;
    syscalls::set_mount_flags(mount.as_fd(), flags, false)?;
    let (parent, name, new) = mount_point(root, path)?;
    attach(&mount, &parent, name)?;
    Ok(new)
}

/// Returns the directory and the name of the file at `path` below `root`. If the file does not exist, creates the file
/// and returns true. No link is followed: a link at `path` is replaced by a new file, and a link above is an error.
fn mount_point<'a>(root: &OwnedFd, path: &'a str) -> io::Result<(OwnedFd, &'a str, bool)> {
    let (parent, name) = make_above(root, path, None)?;
    let found = stat_at(&parent, name);
    match found.map(|found| kind_of(&found)) {
        Ok(FileType::Symlink) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
        Ok(FileType::Directory) => return Err(Errno::ISDIR.into()),
        // The mount covers the file, or the mask of a denied name.
        Ok(_) => return Ok((parent, name, false)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    create_at(&parent, name, Mode::from_raw_mode(0o444))?;
    Ok((parent, name, true))
}

/// Creates the directories above `path` below `root`, without following a link. New directories belong to `owner`.
/// Returns the last directory and the name of the file.
fn make_above<'a>(
    root: &OwnedFd,
    path: &'a str,
    owner: Option<u32>,
) -> io::Result<(OwnedFd, &'a str)> {
    let mut parent = root.try_clone()?;
    let (directories, name) = path
        .rsplit_once('/')
        .map_or((None, path), |(above, name)| (Some(above), name));
    for directory in directories.into_iter().flat_map(|above| above.split('/')) {
        let made = rustix::fs::mkdirat(&parent, directory, Mode::from_raw_mode(DIRECTORY_MODE));
        if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
            made?;
        }
        if let (Ok(()), Some(id)) = (made, owner) {
            chown_at(&parent, directory, id)?;
        }
        parent = open_at(&parent, directory, DIRECTORY_PLACE)?;
    }
    Ok((parent, name))
}

/// Writes the files of a run and its script into the directory `work` on the host. The user `owner` owns the new
/// directories, and the user of the service owns the files. In the work directory of a session, a file or link with the
/// same path is replaced, and no link above is followed.
pub fn write(
    request: &RunRequest,
    texts: &RunTexts,
    work: &Path,
    owner: Option<u32>,
) -> SetupResult<PutFiles> {
    let mut put = PutFiles::default();
    if request.files.is_empty() {
        return Ok(put);
    }
    let script = interpreter::script_beside_files(&request.interpreter);
    let root = open(work, DIRECTORY_PLACE).at(SetupStage::Workdir, "open the work directory")?;
    for (number, file) in (0..).zip(&seeded(&request.files, texts, script)?) {
        write_below(&root, file, owner).at(SetupStage::Workdir, file.what())?;
        put.new.push(number);
    }
    put.script = Some(work.join(script));
    Ok(put)
}

fn write_below(root: &OwnedFd, file: &SeededFile<'_>, owner: Option<u32>) -> io::Result<()> {
    use io::Write as _;
    let (parent, name) = make_above(root, file.path, owner)?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let made = create_at(&parent, name, Mode::from_raw_mode(file.mode))?;
    fs::File::from(made).write_all(file.bytes)
}

/// Removes a file of a step from a work directory that a run left, so that the next run of the session does not find
/// it. After an error, the file remains.
pub fn remove(work: &OwnedFd, path: &str) -> io::Result<()> {
    let mut parent = work.try_clone()?;
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    for directory in above.split('/').filter(|part| !part.is_empty()) {
        parent = open_at(&parent, directory, DIRECTORY_PLACE)?;
    }
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn point(root: &Path, path: &str) -> io::Result<()> {
        mount_point(&open(root, DIRECTORY_PLACE)?, path).map(drop)
    }

    #[test]
    fn a_content_without_the_digest_of_the_definition_is_not_written() {
        let file = |executable| StepFile {
            path: "a".to_owned(),
            bytes: 1,
            digest: ContentDigest::of(b"x"),
            executable,
        };
        let texts = |content: &[u8]| RunTexts {
            source: b"true".into(),
            files: vec![content.into()],
            ..RunTexts::default()
        };
        for (executable, mode) in [(true, 0o555), (false, 0o444)] {
            let (files, sealed) = ([file(executable)], texts(b"x"));
            let found = seeded(&files, &sealed, "script").expect("files");
            let facts: Vec<_> = found
                .iter()
                .map(|one| (one.path, one.bytes, one.mode))
                .collect();
            assert_eq!(facts, [("script", &b"true"[..], 0o444), ("a", b"x", mode)]);
            let failure = seeded(&files, &texts(b"y"), "script")
                .err()
                .expect("another content");
            assert!(
                failure
                    .to_string()
                    .contains("does not have the signed digest"),
                "{failure}"
            );
        }
    }

    #[test]
    fn the_place_of_a_file_never_leads_through_a_link() {
        let home = tempfile::tempdir().expect("a directory");
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        fs::create_dir_all(root.join("dir")).expect("directories");
        fs::create_dir(&outside).expect("a directory");
        fs::write(outside.join("a"), "host").expect("a file");
        fs::write(root.join("old"), "old").expect("a file");
        symlink("../outside", root.join("linked")).expect("a link");
        symlink("../outside/a", root.join("link")).expect("a link");
        symlink("../outside/new", root.join("dangling")).expect("a link");
        for path in ["new", "dir/new", "deep/er/new", "old", "link", "dangling"] {
            point(&root, path).expect(path);
            let found = fs::symlink_metadata(root.join(path)).expect(path);
            assert!(
                found.is_file() && found.permissions().mode() & 0o222 == 0 || path == "old",
                "{path}"
            );
        }
        assert_eq!(
            fs::read(root.join("old")).expect("a file"),
            b"old",
            "a mount covers the file"
        );
        for path in ["linked/a", "linked/new", "dir", "old/a"] {
            assert!(point(&root, path).is_err(), "{path}");
        }
        assert_eq!(fs::read(outside.join("a")).expect("a file"), b"host");
        assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 1);
    }
}
