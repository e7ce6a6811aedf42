//! Finds the programs between shared libraries, and remembers the result of the last search.
//!
//! A run with a list of programs must not map these programs. A search reads the beginning of each file below the
//! directories with shared libraries, which takes milliseconds, so a result stays valid until one of the directories
//! changes. A file that somebody overwrites in its place changes no directory: the caller then begins a new search.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::programs::program_format::can_be_mapped_as_program;

/// Maximum depth of the search for programs between libraries.
const MAX_DEPTH: usize = 8;
/// Seconds after which the time of a directory's last change differs from the time of every later change.
const SETTLED_S: i64 = 2;

/// The search for programs between shared libraries, with the results of earlier searches.
#[derive(Debug, Default)]
pub struct LibrarySearch {
    known: HashMap<PathBuf, FoundPrograms>,
}

/// Result of the search in one tree.
#[derive(Debug, Default)]
struct FoundPrograms {
    /// All directories of the tree, each with its state at the time of the search. A directory that changed just before
    /// the search has no state, because a second change could leave the same time.
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
    /// Searches a directory and its directories. The state of a directory is read before its entries, so that a change
    /// during the search causes a new search.
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
    use std::os::unix::fs::PermissionsExt as _;

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
