//! Finds the files of a list of programs on this host, the paths that match a path with `*`, and the programs among
//! shared libraries.
//!
//! The files of a list are remembered until a directory that the search has read changes. inotify(7) reports each
//! change in these directories at once. It reports neither a new mount nor a change that another host makes on a
//! network file system, so a result is used for a limited time only.
//!
//! In a test build, the search for 30 programs takes 25 ms without a cache, 1.1 ms with the cached results of
//! [`LibrarySearch`], and 0.01 ms if the files of the list are cached. A run with this list takes 5 ms in total. A
//! boundary checks each list at its start, so a registry with 1,000 lists would start 24 s later without the cache of
//! [`LibrarySearch`].
//!
//! A run with a list of programs must not map the programs among shared libraries. To find them, [`LibrarySearch`]
//! reads the beginning of each file below the directories with shared libraries. This takes milliseconds, so a result
//! is cached until one of the directories changes. Overwriting a file in place does not change its directory, but
//! inotify(7) reports the change, and [`FoundLists`] then begins a new search.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::{
    ExecutableFiles, FileFormat, SYSTEM, format_of,
    programs::program_format::can_be_mapped_as_program,
};
use documents::{OWN_PROGRAMS, ProgramList, locked};

/// Directories in which dynamic loaders find shared libraries. A directory that a host does not have is skipped.
const LIBRARIES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// Directories with the extension modules of a program. A run can load code from a directory only if its list has a
/// program whose file name contains the first text.
const EXTENSIONS: [(&str, &str); 9] = [
    ("python", "/usr/lib/python3"),
    ("java", JVM),
    ("ruby", "/usr/lib/ruby"),
    ("perl", "/usr/lib/perl"),
    ("gcc", "/usr/lib/gcc"),
    ("g++", "/usr/lib/gcc"),
    ("gcc", "/usr/libexec/gcc"),
    ("g++", "/usr/libexec/gcc"),
    ("clang", "/usr/lib/llvm"),
];
/// File names of programs that compile code in memory (just-in-time compilers). Without code in memory, these programs
/// do not start. All programs below [`JVM`] compile code in memory too.
const COMPILERS_IN_MEMORY: [&str; 4] = ["node", "nodejs", "deno", "bun"];
/// Directory of the Java virtual machines.
const JVM: &str = "/usr/lib/jvm/";
/// Directories whose files are programs. A run with a closed list of programs can see all names in these directories,
/// but can read only the listed programs.
const PROGRAM_DIRECTORIES: [&str; 8] = [
    "bin",
    "sbin",
    "libexec",
    "games",
    "local/bin",
    "local/sbin",
    "local/libexec",
    "local/games",
];
/// Maximum number of unlisted programs in the directories of shared libraries. Each such program needs one mount.
const MAX_CLOSED: usize = 1024;

/// Checks that no binary format of this host starts an interpreter that Landlock does not check.
///
/// # Errors
/// Returns a message about the entry of `binfmt_misc` because of which no list can be enforced.
pub fn check_binary_formats() -> Result<(), String> {
    if let Some(entry) = open_interpreter(Path::new("/proc/sys/fs/binfmt_misc")) {
        return Err(format!(
            "this host starts the interpreter of the binfmt_misc entry {entry} without asking Landlock (flag F), so no list can \
             refuse the interpreter: remove the entry with `echo -1 > /proc/sys/fs/binfmt_misc/{entry}`"
        ));
    }
    Ok(())
}

/// Finds the files of a list on this host. `search` finds the unlisted programs among shared libraries. The directories
/// on whose entries the result depends are added to `places`.
///
/// # Errors
/// Returns a message about the first program that this host does not have or that no run can see, or about a property of
/// this host because of which no list can be enforced.
pub fn find(
    list: &ProgramList,
    search: &mut LibrarySearch,
    places: &mut BTreeSet<PathBuf>,
) -> Result<ExecutableFiles, String> {
    let (mut own, mut programs) = (false, BTreeSet::new());
    for one in list.programs() {
        if one.path.as_str() == OWN_PROGRAMS {
            own = true;
            continue;
        }
        let path = real_program(Path::new(one.path.as_str()))?;
        if !lies_in_system(&path) {
            return Err(format!(
                "{} is outside of the system directories, so no run can see it",
                path.display()
            ));
        }
        programs.insert(path);
    }
    let mut loaders = BTreeSet::new();
    for path in &programs {
        if let FileFormat::Elf {
            loader: Some(loader),
        } = format_of(path)?
        {
            loaders.insert(loader);
        }
    }
    for loader in &loaders {
        programs.insert(real(loader)?);
    }
    let extensions = EXTENSIONS.iter().filter(|(name, prefix)| {
        programs
            .iter()
            .any(|path| is_named(path, name) || is_below(path, prefix))
    });
    let mut libraries: BTreeSet<PathBuf> = LIBRARIES
        .iter()
        .filter_map(|path| directory(Path::new(path)))
        .collect();
    for (_, prefix) in extensions {
        libraries.extend(directories_with(prefix));
    }
    let all = libraries.clone();
    libraries.retain(|path| {
        !all.iter()
            .any(|other| other != path && path.starts_with(other))
    });
    let mut closed = Vec::new();
    for tree in &libraries {
        closed.extend(search.programs_below(tree, places)?);
    }
    for path in programs.iter().chain(&libraries) {
        places.extend(path.ancestors().skip(1).map(Path::to_owned));
    }
    closed.retain(|path| !programs.contains(path));
    closed.sort();
    check_closed(&closed)?;
    if let Some(path) = programs
        .iter()
        .chain(&libraries)
        .find(|path| path.to_str().is_none())
    {
        return Err(not_utf8(path));
    }
    Ok(ExecutableFiles {
        listed: list.programs().len() as u64,
        readable: readable(&programs, &libraries),
        programs: programs.into_iter().collect(),
        libraries: libraries.into_iter().collect(),
        closed,
        own,
    })
}

/// Checks that a request for a run can name all programs among shared libraries.
fn check_closed(closed: &[PathBuf]) -> Result<(), String> {
    if let Some(path) = closed.iter().find(|path| path.to_str().is_none()) {
        return Err(not_utf8(path));
    }
    closed.get(MAX_CLOSED).map_or(Ok(()), |one| {
        Err(format!(
            "{} programs lie between shared libraries, for example {}, and at most {MAX_CLOSED} can be closed: move these \
             programs to another directory",
            closed.len(),
            one.display()
        ))
    })
}

fn not_utf8(path: &Path) -> String {
    format!(
        "the path {} is not UTF-8: rename the file or directory",
        path.display()
    )
}

/// Returns the name of an enabled binfmt_misc entry whose interpreter the kernel opened when the entry was made (flag
/// `F`, `Documentation/admin-guide/binfmt-misc.rst` of the kernel).
fn open_interpreter(entries: &Path) -> Option<String> {
    let open = |text: &str| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        text.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
    };
    let mut entries = fs::read_dir(entries).into_iter().flatten().flatten();
    let found =
        entries.find(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| open(&text)))?;
    Some(found.file_name().to_string_lossy().into_owned())
}

/// Returns true if one of the programs compiles code in memory. The paths must be real paths.
pub fn compile_in_memory(programs: &[PathBuf]) -> bool {
    let compiles = |path: &Path| {
        COMPILERS_IN_MEMORY.iter().any(|name| path.ends_with(name)) || is_below(path, JVM)
    };
    programs.iter().any(|path| compiles(path))
}

/// Returns the directories and files below the system directories that a run can read. In the directories of programs,
/// a run can read only libraries and the data files beside the listed programs.
fn readable(listed: &BTreeSet<PathBuf>, libraries: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for system in SYSTEM
        .iter()
        .map(Path::new)
        .filter(|path| path.symlink_metadata().is_ok_and(|at| at.is_dir()))
    {
        let programs: Vec<PathBuf> = match system.to_str() {
            Some("/usr") => PROGRAM_DIRECTORIES
                .iter()
                .map(|name| system.join(name))
                .collect(),
            Some("/bin" | "/sbin") => continue,
            _ => Vec::new(),
        };
        let mut directories = vec![system.to_owned()];
        while let Some(directory) = directories.pop() {
            // A directory that the user of the service can't list is left out, so the run can't read it either.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if programs
                    .iter()
                    .any(|closed| closed.starts_with(&path) && *closed != path)
                {
                    directories.push(path);
                } else if !programs.contains(&path) && !path.is_symlink() {
                    found.push(path);
                }
            }
        }
        found.extend(
            libraries
                .iter()
                .filter(|path| programs.iter().any(|closed| path.starts_with(closed)))
                .cloned(),
        );
        found.extend(data_beside(listed, &programs));
    }
    found.sort();
    found
}

/// Returns the files without execute permission in the directories of the listed programs. Only directories below a
/// directory of programs count. For example, the script `git-submodule` reads the file `git-sh-setup`.
fn data_beside(listed: &BTreeSet<PathBuf>, programs: &[PathBuf]) -> Vec<PathBuf> {
    let inside = |path: &Path| {
        programs
            .iter()
            .any(|closed| path.starts_with(closed) && path != closed)
    };
    let directories: BTreeSet<&Path> = listed
        .iter()
        .filter_map(|path| path.parent())
        .filter(|path| inside(path))
        .collect();
    let entries = directories
        .into_iter()
        .flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten());
    let data = |entry: &fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 == 0)
    };
    entries.filter(data).map(|entry| entry.path()).collect()
}

fn real_program(path: &Path) -> Result<PathBuf, String> {
    let path = real(path)?;
    let found = path
        .metadata()
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok(path)
}

fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize()
        .map_err(|error| format!("this host has no program {}: {error}", path.display()))
}

pub fn lies_in_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Returns true if the path begins with the text `prefix`.
fn is_below(path: &Path, prefix: &str) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(prefix))
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name()
        .is_some_and(|file| file.to_string_lossy().contains(name))
}

fn directory(path: &Path) -> Option<PathBuf> {
    path.canonicalize()
        .ok()
        .filter(|path| path.is_dir() && lies_in_system(path))
}

/// Returns the real paths of all directories whose path begins with `prefix`.
fn directories_with(prefix: &str) -> Vec<PathBuf> {
    let (parent, name) = prefix.rsplit_once('/').unwrap_or(("/", prefix));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    wanted
        .filter_map(|entry| directory(&entry.path()))
        .collect()
}

/// Time after which the files of a list are searched again, even without a known change.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Maximum number of lists whose files are remembered.
const MAX_LISTS: usize = 64;

/// Search for the files of lists, with the results of earlier searches.
#[derive(Default)]
pub struct FoundLists {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    search: LibrarySearch,
    /// inotify instance, or `None` before the first search and after a change.
    notify: Option<OwnedFd>,
    watched: HashSet<PathBuf>,
    lists: Vec<FoundList>,
}

struct FoundList {
    list: ProgramList,
    files: ExecutableFiles,
    at: Instant,
}

impl FoundLists {
    /// Returns the files of a list on this host.
    ///
    /// # Errors
    /// Returns the same messages as [`find`].
    pub fn files_of(&self, list: &ProgramList) -> Result<ExecutableFiles, String> {
        check_binary_formats()?;
        if !list.is_known() {
            return Err(format!("the list of programs {} is missing", list.digest()));
        }
        let mut known = locked(&self.known);
        if known.has_changed() {
            *known = Known::default();
        }
        known.lists.retain(|found| found.at.elapsed() < MAX_AGE);
        if let Some(found) = known.lists.iter().find(|found| found.list == *list) {
            return Ok(found.files.clone());
        }
        let at = Instant::now();
        let mut places = BTreeSet::new();
        let mut files = find(list, &mut known.search, &mut places)?;
        let Ok(is_new) = known.watch(&places) else {
            return Ok(files);
        };
        // A directory may have changed before its watch began, so the search is repeated with all watches in place.
        if is_new {
            files = find(list, &mut known.search, &mut places)?;
        }
        if places.iter().all(|place| known.watched.contains(place)) && known.lists.len() < MAX_LISTS
        {
            known.lists.push(FoundList {
                list: list.clone(),
                files: files.clone(),
                at,
            });
        }
        Ok(files)
    }
}

impl Known {
    /// Returns true if a watched directory has changed or may have changed.
    fn has_changed(&self) -> bool {
        let Some(notify) = &self.notify else {
            return false;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(notify, &mut buffer).next().err() != Some(Errno::AGAIN)
    }

    /// Begins to watch directories. Returns true if one of them was not watched before.
    fn watch(&mut self, places: &BTreeSet<PathBuf>) -> Result<bool, Errno> {
        let notify = match self.notify.take() {
            Some(notify) => notify,
            None => inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
        };
        let notify = self.notify.insert(notify);
        let before = self.watched.len();
        for place in places {
            if !self.watched.contains(place) {
                inotify::add_watch(&*notify, place, CHANGES)?;
                self.watched.insert(place.clone());
            }
        }
        Ok(self.watched.len() > before)
    }
}

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Maximum number of paths that match one pattern or the beginning of the pattern.
const MAX_MATCHES: usize = 1024;

/// Returns the existing paths that match an absolute path in which `*` matches any characters of one segment, sorted. As
/// in a shell, a leading dot must be in the pattern.
///
/// # Errors
/// Returns a message if too many paths match.
pub fn matching(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![PathBuf::from("/")];
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        let mut next = Vec::new();
        for path in paths {
            if !segment.contains('*') {
                next.push(path.join(segment));
                continue;
            }
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name
                    .to_str()
                    .is_some_and(|name| segment_matches(segment, name))
                {
                    next.push(path.join(name));
                }
            }
            if next.len() > MAX_MATCHES {
                let why = format!(
                    "more than {MAX_MATCHES} paths match {pattern}: write a pattern that matches fewer"
                );
                return Err(why);
            }
        }
        paths = next;
    }
    paths.retain(|path| path.exists());
    paths.sort();
    Ok(paths)
}

/// Returns true if the name matches the pattern, in which `*` matches any text.
fn segment_matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = name
        .strip_prefix(first)
        .filter(|_| !name.starts_with('.') || first.starts_with('.'))
    else {
        return false;
    };
    for part in middle.split('*') {
        let Some((_, after)) = left.split_once(part) else {
            return false;
        };
        left = after;
    }
    left.ends_with(last)
}

/// Maximum depth of the search for programs between libraries.
const MAX_DEPTH: usize = 8;
/// Seconds after which the time of a directory's last change differs from the time of every later change.
const SETTLED_S: i64 = 2;

/// The search for programs among shared libraries, with the results of earlier searches.
#[derive(Default)]
pub struct LibrarySearch {
    known: HashMap<PathBuf, FoundPrograms>,
}

/// Result of the search in one tree.
#[derive(Default)]
struct FoundPrograms {
    /// All directories of the tree, each with its state at the time of the search. A directory that changed just before
    /// the search has no state, because a second change could have the same timestamp.
    directories: Vec<(PathBuf, Option<DirectoryState>)>,
    /// The programs, and the directories that have programs but no libraries.
    programs: Vec<PathBuf>,
}

/// Device, inode and time of the last change of a directory, in nanoseconds. The kernel changes the time when an entry is
/// made, renamed or removed.
type DirectoryState = (u64, u64, i64, i64);

impl LibrarySearch {
    /// Returns the programs below a tree with shared libraries. A directory that has programs but no libraries is returned
    /// instead of its programs. All directories of the tree are added to `places`.
    ///
    /// # Errors
    /// Returns a message about a directory that can't be read.
    pub fn programs_below(
        &mut self,
        tree: &Path,
        places: &mut BTreeSet<PathBuf>,
    ) -> Result<Vec<PathBuf>, String> {
        let unchanged = |known: &FoundPrograms| {
            known
                .directories
                .iter()
                .all(|(path, at)| state_of(path) == *at)
        };
        if !self.known.get(tree).is_some_and(unchanged) {
            let mut found = FoundPrograms::default();
            found.search(tree, 0)?;
            self.known.insert(tree.to_owned(), found);
        }
        let known = &self.known[tree];
        places.extend(known.directories.iter().map(|(path, _)| path.clone()));
        Ok(known.programs.clone())
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn state_of(directory: &Path) -> Option<DirectoryState> {
    let found = directory.symlink_metadata().ok()?;
    Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

impl FoundPrograms {
    /// Searches a directory and the directories in it. The state of a directory is read before its entries, so that a
    /// change during the search causes a new search.
    fn search(&mut self, directory: &Path, depth: usize) -> Result<(), String> {
        let state = state_of(directory).filter(|(_, _, changed, _)| *changed + SETTLED_S < now());
        self.directories.push((directory.to_owned(), state));
        let unreadable =
            |error: std::io::Error| format!("{} can't be read: {error}", directory.display());
        let (mut here, mut below, mut libraries) = (Vec::new(), Vec::new(), 0);
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.programs.push(directory.to_owned());
                return Ok(());
            }
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                below.push(entry.path());
            } else if kind.is_file() {
                let library = is_library_name(&entry.file_name().to_string_lossy());
                libraries += usize::from(library);
                if can_be_mapped_as_program(&entry.path(), library) {
                    here.push(entry.path());
                }
            }
        }
        if !here.is_empty() && libraries == 0 && below.is_empty() {
            self.programs.push(directory.to_owned());
        } else {
            self.programs.append(&mut here);
        }
        if depth == MAX_DEPTH {
            self.programs.append(&mut below);
            return Ok(());
        }
        below
            .iter()
            .try_for_each(|directory| self.search(directory, depth + 1))
    }
}

/// Returns true for names such as `libc.so.6`, `ld-linux-x86-64.so.2` and `_ssl.cpython-311-x86_64-linux-gnu.so`.
fn is_library_name(name: &str) -> bool {
    name.ends_with(".so") || name.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_programs_between_libraries_or_a_path_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;
        let many = vec![PathBuf::from("/usr/lib/x/program"); MAX_CLOSED + 1];
        assert_eq!(check_closed(&many[1..]), Ok(()));
        let error = check_closed(&many).expect_err("one too many");
        assert!(
            error.starts_with("1025 programs lie between shared libraries"),
            "{error}"
        );
        let odd = PathBuf::from(std::ffi::OsString::from_vec(b"/usr/lib/\xff".to_vec()));
        let error = check_closed(&[odd]).expect_err("not UTF-8");
        assert!(error.contains("is not UTF-8"), "{error}");
    }

    #[test]
    fn only_programs_that_compile_code_in_memory_may_make_memory_executable() {
        for (path, compiles) in [
            ("/usr/bin/node", true),
            ("/usr/lib/jvm/java-17-openjdk-amd64/bin/jar", true),
            ("/usr/bin/bunzip2", false),
            ("/usr/bin/ubuntu-report", false),
            ("/usr/bin/node-gyp", false),
            ("/usr/lib/node/tool", false),
        ] {
            assert_eq!(
                compile_in_memory(&[PathBuf::from("/usr/bin/sh"), PathBuf::from(path)]),
                compiles,
                "{path}"
            );
        }
    }

    #[test]
    fn an_entry_whose_interpreter_the_kernel_holds_open_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("status"), "enabled\n").expect("a file");
        fs::write(
            dir.path().join("python"),
            "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\n",
        )
        .expect("a file");
        fs::write(
            dir.path().join("off"),
            "disabled\ninterpreter /usr/bin/x\nflags: F\noffset 0\n",
        )
        .expect("a file");
        assert_eq!(open_interpreter(dir.path()), None);
        fs::write(
            dir.path().join("qemu"),
            "enabled\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\n",
        )
        .expect("a file");
        assert_eq!(open_interpreter(dir.path()).as_deref(), Some("qemu"));
        assert_eq!(open_interpreter(&dir.path().join("none")), None);
    }
}

#[cfg(test)]
mod found_lists_tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use crate::{WantedPrograms, list_of};

    /// Returns true if the change is noticed.
    fn notices(change: impl FnOnce(&Path)) -> bool {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("tool"), "a").expect("a file");
        let mut known = Known::default();
        let places = BTreeSet::from([dir.path().to_owned()]);
        assert_eq!(known.watch(&places), Ok(true));
        assert_eq!(known.watch(&places), Ok(false), "already watched");
        assert!(!known.has_changed());
        change(dir.path());
        known.has_changed()
    }

    #[test]
    fn each_change_of_a_watched_directory_is_noticed_at_once() {
        assert!(notices(
            |dir| fs::write(dir.join("new"), "b").expect("a file")
        ));
        assert!(notices(
            |dir| fs::write(dir.join("tool"), "b").expect("overwritten")
        ));
        assert!(notices(|dir| fs::rename(
            dir.join("tool"),
            dir.join("other")
        )
        .expect("renamed")));
        assert!(notices(
            |dir| fs::remove_file(dir.join("tool")).expect("removed")
        ));
        let mode = fs::Permissions::from_mode(0o755);
        assert!(notices(
            |dir| fs::set_permissions(dir.join("tool"), mode).expect("changed")
        ));
        assert!(!notices(|dir| drop(
            fs::read(dir.join("tool")).expect("readable")
        )));
    }

    #[test]
    fn a_directory_that_cannot_be_watched_is_an_error() {
        let mut known = Known::default();
        assert_eq!(
            known.watch(&BTreeSet::from([PathBuf::from("/nonexistent/x")])),
            Err(Errno::NOENT)
        );
    }

    fn shell_and_cat() -> ProgramList {
        let required = ["sh", "cat"]
            .map(|name| name.parse().expect("a program"))
            .into();
        let (optional, starters) = (BTreeSet::new(), BTreeMap::new());
        let wanted = WantedPrograms {
            required: &required,
            optional: &optional,
            starters: &starters,
            is_host_user: false,
        };
        list_of(&wanted).expect("a list")
    }

    #[test]
    fn the_files_of_a_list_are_remembered_and_equal_a_new_search() {
        let list = shell_and_cat();
        let lists = FoundLists::default();
        let (first, second) = (lists.files_of(&list), lists.files_of(&list));
        assert!(first.is_ok() && first == second, "{first:?} {second:?}");
        assert_eq!(lists.known.lock().expect("unlocked").lists.len(), 1);
        // A list of which only the digest is known has no files, although it equals the remembered list.
        let only_named = ProgramList::from(list.digest());
        assert!(lists.files_of(&only_named).is_err());
    }

    #[test]
    fn the_files_of_a_list_are_searched_again_after_a_change_and_after_some_time() {
        let (lists, list) = (FoundLists::default(), shell_and_cat());
        lists.files_of(&list).expect("files");
        let dir = tempfile::tempdir().expect("a directory");
        let mark = || {
            let mut known = lists.known.lock().expect("unlocked");
            known
                .watch(&BTreeSet::from([dir.path().to_owned()]))
                .expect("watched");
            // A new search would not find this path.
            known.lists[0]
                .files
                .programs
                .push(PathBuf::from("/remembered"));
        };
        let remembers = || {
            let files = lists.files_of(&list).expect("files");
            files.programs.last() == Some(&PathBuf::from("/remembered"))
        };
        mark();
        assert!(remembers());
        fs::write(dir.path().join("new"), "a").expect("a file");
        assert!(!remembers(), "a change of a watched directory");
        mark();
        assert!(remembers());
        let mut known = lists.known.lock().expect("unlocked");
        known.lists[0].at = Instant::now()
            .checked_sub(MAX_AGE)
            .expect("a time after the start of the host");
        drop(known);
        assert!(!remembers(), "an old result");
    }
}

#[cfg(test)]
mod path_pattern_tests {
    use super::*;

    #[test]
    fn a_star_matches_any_part_of_one_segment() {
        for (pattern, name, matches) in [
            ("cc1", "cc1", true),
            ("cc1", "cc1plus", false),
            ("*", "x", true),
            ("*", ".x", false),
            (".*", ".x", true),
            ("go*", "go", true),
            ("go*", "go-1.19", true),
            ("go-*", "go", false),
            ("*-gcc", "x86_64-linux-gnu-gcc", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbxbc", true),
            ("a*b*c", "acb", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(segment_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}

#[cfg(test)]
mod library_search_tests {
    use super::*;

    #[test]
    fn a_program_that_is_added_between_libraries_is_found_by_the_next_search() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        fs::write(inner.join("liba.so"), "a").expect("a file");
        let mut search = LibrarySearch::default();
        let mut found = || {
            search
                .programs_below(dir.path(), &mut BTreeSet::new())
                .expect("readable")
        };
        assert_eq!(found(), Vec::<PathBuf>::new());
        let shell = fs::canonicalize("/bin/sh").expect("every host has a shell");
        fs::copy(shell, inner.join("tool")).expect("copied");
        fs::set_permissions(inner.join("tool"), fs::Permissions::from_mode(0o644)).expect("mode");
        assert_eq!(found(), [inner.join("tool")]);
        fs::rename(inner.join("tool"), dir.path().join("tool")).expect("renamed");
        assert_eq!(found(), [dir.path().join("tool")]);
        fs::remove_file(dir.path().join("tool")).expect("removed");
        assert_eq!(found(), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_result_for_an_unchanged_tree_is_used_again() {
        let mut search = LibrarySearch::default();
        let tree = Path::new("/usr/lib")
            .canonicalize()
            .expect("every host has libraries");
        let mut places = BTreeSet::new();
        search.programs_below(&tree, &mut places).expect("readable");
        assert!(places.contains(&tree), "{places:?}");
        // A new search would not find this path.
        let found = search.known.get_mut(&tree).expect("remembered");
        found.programs.push(PathBuf::from("/remembered"));
        let again = search.programs_below(&tree, &mut places).expect("readable");
        assert_eq!(again.last(), Some(&PathBuf::from("/remembered")));
    }

    #[test]
    fn names_of_shared_libraries_are_told_from_names_of_programs() {
        for name in [
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "_ssl.cpython-311-x86_64-linux-gnu.so",
        ] {
            assert!(is_library_name(name), "{name}");
        }
        for name in ["sort", "so", "ssh-keysign", "lib.soap"] {
            assert!(!is_library_name(name), "{name}");
        }
    }
}
