//! The list of programs that a command needs, from a record of its programs.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{ProgramCounts, program_path};
use documents::OWN_PROGRAMS;

/// The programs that a command started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LearnedPrograms {
    /// The entries of the list that the command needs, sorted.
    pub list: Vec<String>,
    /// The started programs, sorted by path.
    pub started: Vec<LearnedProgram>,
    /// Number of executions whose program is not in `started`.
    pub more: u64,
}

/// A program that a command started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LearnedProgram {
    /// Real path of the program.
    pub path: String,
    /// Number of executions.
    pub count: u64,
    /// The entry of a list that allows this program, or `None` if no list can allow the program.
    pub entry: Option<String>,
}

impl LearnedPrograms {
    /// Returns the programs of a run that could write the directories `writable`.
    pub(crate) fn of(counts: &ProgramCounts, writable: &[PathBuf]) -> Self {
        let learned = |(path, count, given): (&str, u64, &str)| LearnedProgram {
            path: path.to_owned(),
            count,
            entry: if writable
                .iter()
                .any(|directory| Path::new(path).starts_with(directory))
            {
                Some(OWN_PROGRAMS.to_owned())
            } else {
                entry_for(given, path)
            },
        };
        let started: Vec<LearnedProgram> = counts.started().map(learned).collect();
        let mut list: Vec<String> = started.iter().filter_map(|one| one.entry.clone()).collect();
        list.sort();
        list.dedup();
        Self {
            list,
            started,
            more: counts.more(),
        }
    }
}

/// Returns the entry of a list for a program: the file name of `given` or `path`, if the search path leads from this name
/// to the program, or else the absolute path. Returns `None` if the program lies outside of the system directories.
pub fn entry_for(given: &str, path: &str) -> Option<String> {
    let leads_there = |name: &&str| {
        program_path(name)
            .and_then(|found| Path::new(&found).canonicalize().ok())
            .is_some_and(|real| real == Path::new(path))
    };
    let name = |path: &'_ str| path.rsplit('/').next().map(str::to_owned);
    let name = [name(given), name(path)]
        .into_iter()
        .flatten()
        .find(|name| leads_there(&name.as_str()));
    // A comma separates the entries of a list.
    name.filter(|name| !name.contains(','))
        .or_else(|| program_path(path).filter(|path| !path.contains(',')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_search_path_is_listed_by_its_name() {
        let shell = Path::new(&program_path("sh").expect("every host has a shell"))
            .canonicalize()
            .expect("real");
        let shell = shell.to_str().expect("UTF-8");
        assert_eq!(
            entry_for("/bin/sh", shell).as_deref(),
            Some("sh"),
            "by the name that the caller used"
        );
        let own_name = shell.rsplit('/').next();
        assert_eq!(entry_for("./renamed", shell).as_deref(), own_name);
        assert_eq!(
            entry_for("/tmp/env", shell).as_deref(),
            own_name,
            "the name of another program"
        );
        assert_eq!(entry_for("/tmp/work/tool", "/tmp/work/tool"), None);
    }
}
