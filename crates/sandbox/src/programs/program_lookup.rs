//! Finds the programs of a list on this host by their names.
//!
//! A required program must exist. An optional program is left out if this host does not have it, because one set of
//! closures names the paths of all distributions. A program that the run's user can change is an error in both cases.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{
    FileFormat, format_of,
    interpreter::{self, is_executable},
    programs::listed_programs::{lies_in_system, matching},
    started_by_env,
};
use documents::{
    ListedProgram, MAX_PROGRAMS, MAX_PROGRAMS_BYTES, OWN_PROGRAMS, Program, ProgramList, canonical,
    listed_name,
};

/// What a person can do about a list that is too large.
pub const SMALLER_LIST: &str =
    "split the step, or say `sandbox: {programs: {mode: any}}` for its runbook in the policy";
/// Maximum number of programs that the message about a list that is too large names.
const MOST_NAMED: usize = 5;
/// Builtins of bash that no host has as a program, or that a host may lack because the shell runs the builtin.
const BUILTINS: &str = ". : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown \
    echo enable eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile \
    popd printf pushd pwd read readarray readonly return set shift shopt source suspend test times trap true \
    type typeset ulimit umask unalias unset wait [[";
/// Permission of other users to read a file.
const READ: u32 = 0o004;
/// Permission of other users to execute a file.
const EXECUTE: u32 = 0o001;
/// Maximum number of interpreters between a script and a program in machine code (`BINPRM` in the kernel allows five
/// levels).
pub const MAX_INTERPRETERS: usize = 5;

/// Names of the programs of a list, and properties of the run.
pub struct WantedPrograms<'a> {
    /// Programs that the host must have.
    pub required: &'a BTreeSet<Program>,
    /// Programs that the list leaves out if the host does not have them.
    pub optional: &'a BTreeSet<Program>,
    /// For each program of a closure, a program that starts it.
    pub starters: &'a BTreeMap<Program, Program>,
    /// True if the run has the ids of a user of this host (`run-as`).
    pub is_host_user: bool,
}

/// Returns the list for names of programs: bare names, absolute paths, absolute paths with `*`, or `{work}/**`.
///
/// Optional programs that this host does not have, or that no run can execute, are left out. The list also contains the
/// interpreters of programs that are scripts. An entry has the last segment of the given name, and the real path of the
/// file. An interpreter has the name of its script. If several files match a pattern, each file has its own entry.
///
/// # Errors
/// Returns a message about the first required program that this host does not have or that no run can execute, about a
/// program that the run's user can change, or about the size of the list.
pub fn list_of(wanted: &WantedPrograms<'_>) -> Result<ProgramList, ListError> {
    // A run that root starts has its own user id, which is in no group. Only a run with `run-as` has other ids.
    let others = rustix::process::geteuid().is_root() && !wanted.is_host_user;
    Host {
        search: interpreter::PATH,
        system: lies_in_system,
        changeable: changeable_by_run,
        others,
    }
    .list_of(wanted)
}

/// Returns the path of a program of this host, or `None` if no program has this name or this absolute path.
pub fn program_path(name: &str) -> Option<String> {
    let path = interpreter::find(name)?;
    lies_in_system(&path).then(|| path.to_string_lossy().into_owned())
}

/// Returns true if a name is a builtin of bash, which a script can use on a host without a program of this name.
pub fn is_builtin(name: &str) -> bool {
    BUILTINS.split(' ').any(|builtin| builtin == name)
}

/// Reason why a list can't be made on this host.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ListError {
    /// A program is missing, or no list may contain this program.
    #[error("{0}")]
    Program(String),
    /// The list is too large for a document.
    #[error("{0}")]
    TooLarge(String),
}

impl ListError {
    /// Adds what a person can do to the message about a list that is too large.
    pub fn advised(self, advice: &str) -> Self {
        match self {
            Self::TooLarge(why) => Self::TooLarge(format!("{why}: {advice}")),
            Self::Program(_) => self,
        }
    }
}

/// Returns the interpreter of a script, and the program that the interpreter starts if it is `env`. Returns `None` if the
/// file is no script.
pub fn interpreter_of(script: &Path) -> Option<(PathBuf, Option<String>)> {
    // Opening a pipe would block.
    script.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let Ok(FileFormat::Script {
        interpreter,
        argument,
    }) = format_of(script)
    else {
        return None;
    };
    let started = started_by_env(&interpreter, &argument).map(str::to_owned);
    Some((interpreter, started))
}

/// Properties of a host that decide which file a name means.
struct Host<'a> {
    /// Directories in which bare names are searched.
    search: &'a str,
    /// Returns true if runs can see this path.
    system: fn(&Path) -> bool,
    /// Returns true if the user of a run can change this file.
    changeable: fn(&Path) -> bool,
    /// True if only the permissions for other users apply to the user of a run.
    others: bool,
}

/// The reason why a name is not in the list.
enum Unlisted {
    /// This host does not have the program, or no run can execute it.
    Absent(String),
    /// The list would be unsafe. This is an error for an optional program too.
    Unsafe(String),
}

/// The files of a list. Different names of one file are separate entries, because a person reads the names.
#[derive(Default)]
struct Files {
    /// Names with the real path of each file.
    named: BTreeSet<(Program, PathBuf)>,
    /// Real paths of interpreters and of files in closures, each with the name of the program that needs the file. The list
    /// contains such a file once, and only if `named` does not contain the file.
    needed: BTreeMap<PathBuf, Program>,
}

impl Files {
    fn add_named(&mut self, name: &Program, path: PathBuf) {
        self.needed.remove(&path);
        self.named.insert((name.clone(), path));
    }

    fn add_needed(&mut self, name: &Program, path: PathBuf) {
        if !self.named.iter().any(|(_, known)| *known == path) {
            self.needed.entry(path).or_insert_with(|| name.clone());
        }
    }

    fn len(&self) -> usize {
        self.named.len() + self.needed.len()
    }
}

impl Host<'_> {
    fn list_of(&self, wanted: &WantedPrograms<'_>) -> Result<ProgramList, ListError> {
        let WantedPrograms {
            required,
            optional,
            starters,
            ..
        } = wanted;
        let mut files = Files::default();
        // The number of entries that each name adds, with its interpreters and its closure.
        let mut added: BTreeMap<&Program, usize> = BTreeMap::new();
        let mut before = 0;
        for name in required.iter().chain(optional.difference(required)) {
            let is_required = required.contains(name);
            match self.add(
                name,
                is_required || !name.as_str().starts_with('/'),
                &mut files,
            ) {
                Err(Unlisted::Absent(_)) if !is_required => {}
                result => {
                    result.map_err(|(Unlisted::Absent(why) | Unlisted::Unsafe(why))| {
                        ListError::Program(why)
                    })?;
                }
            }
            *added.entry(root_of(name, starters)).or_default() +=
                files.len().saturating_sub(before);
            before = files.len();
        }
        let Files { mut named, needed } = files;
        named.extend(needed.into_iter().map(|(path, name)| (name, path)));
        let entry = |(name, path): (Program, PathBuf)| {
            let text = path.to_str().unwrap_or_default();
            let path = text
                .parse()
                .map_err(|error| ListError::Program(format!("{}: {error}", path.display())))?;
            Ok(ListedProgram { name, path })
        };
        let mut list = named
            .into_iter()
            .map(entry)
            .collect::<Result<Vec<_>, ListError>>()?;
        // In a document, an array has the order of its elements in canonical JSON.
        list.sort_by_cached_key(|one| canonical::canonical_of(one).unwrap_or_default());
        check_size(&list, added)?;
        ProgramList::of(list).map_err(|error| ListError::Program(error.to_string()))
    }

    /// Adds all files that a name means, and the interpreters of those files that are scripts. `is_named` is false for a
    /// file that only another program needs.
    fn add(&self, name: &Program, is_named: bool, files: &mut Files) -> Result<(), Unlisted> {
        if name.as_str() == OWN_PROGRAMS {
            files.add_named(name, OWN_PROGRAMS.into());
            return Ok(());
        }
        let mut result = Err(Unlisted::Absent(format!("this host has no program {name}")));
        let label = listed_name(name);
        for path in self.paths_of(name.as_str())? {
            match self.with_interpreters(path) {
                Ok(mut found) => {
                    let program = found.remove(0);
                    if is_named {
                        files.add_named(&label, program);
                    } else {
                        files.add_needed(&label, program);
                    }
                    for interpreter in found {
                        files.add_needed(&label, interpreter);
                    }
                    result = Ok(());
                }
                Err(Unlisted::Absent(_)) if result.is_ok() => {}
                Err(absent @ Unlisted::Absent(_)) => result = Err(absent),
                Err(other) => return Err(other),
            }
        }
        result
    }

    /// Returns the paths that a name means, before any check of the files.
    fn paths_of(&self, name: &str) -> Result<Vec<PathBuf>, Unlisted> {
        if name.starts_with('/') {
            return if name.contains('*') {
                matching(name).map_err(Unlisted::Unsafe)
            } else {
                Ok(vec![name.into()])
            };
        }
        if name.contains('/') {
            let why = format!(
                "{name:?} is neither the name of a program, nor an absolute path, nor {OWN_PROGRAMS}"
            );
            return Err(Unlisted::Absent(why));
        }
        let mut paths = self
            .search
            .split(':')
            .map(|directory| Path::new(directory).join(name));
        // Like execvp(3), the search skips files that are not executable.
        let usable = |path: &PathBuf| {
            is_executable(path) && self.may(path, EXECUTE) && self.closed(path).is_none()
        };
        let found = paths
            .clone()
            .find(usable)
            .or_else(|| paths.find(|path| path.exists()));
        let missing = || {
            Unlisted::Absent(format!(
                "this host has no program {name} in {}",
                self.search
            ))
        };
        found.map(|path| vec![path]).ok_or_else(missing)
    }

    /// Returns the real path of a program, and then of the interpreters that the program needs.
    fn with_interpreters(&self, path: PathBuf) -> Result<Vec<PathBuf>, Unlisted> {
        let mut path = path;
        let mut files = Vec::new();
        for _ in 0..MAX_INTERPRETERS {
            let real = self.usable(&path)?;
            let format = format_of(&real).map_err(Unlisted::Absent)?;
            if format == FileFormat::Other && !files.is_empty() {
                return Err(not_executable(&real, &files));
            }
            if matches!(format, FileFormat::Script { .. }) && !self.may(&real, READ) {
                let real = real.display();
                return Err(Unlisted::Absent(format!(
                    "the script {real} can't be read by the user of the run: chmod o+r {real}"
                )));
            }
            files.push(real);
            let FileFormat::Script {
                interpreter,
                argument,
            } = format
            else {
                break;
            };
            path = self.interpreter(&path, &interpreter.to_string_lossy())?;
            if let Some(word) = started_by_env(&interpreter, &argument) {
                let real = self.usable(&path)?;
                if format_of(&real).map_err(Unlisted::Absent)? == FileFormat::Other {
                    return Err(not_executable(&real, &files));
                }
                files.push(real);
                path = self.interpreter(&path, word)?;
            }
        }
        Ok(files)
    }

    /// Returns true if the user of a run has a permission for a file. `bits` is the permission for other users.
    fn may(&self, path: &Path, bits: u32) -> bool {
        !self.others
            || path
                .metadata()
                .is_ok_and(|found| found.permissions().mode() & bits != 0)
    }

    /// Returns the first directory above `path` that the user of a run can't enter, or `None` if the user can enter
    /// all.
    fn closed<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.ancestors()
            .skip(1)
            .find(|directory| !self.may(directory, EXECUTE))
    }

    /// Returns the path of the interpreter of a script.
    fn interpreter(&self, script: &Path, word: &str) -> Result<PathBuf, Unlisted> {
        // A `*` in the first line of a script is no wildcard.
        let path = if word.starts_with('/') {
            Some(PathBuf::from(word))
        } else {
            self.paths_of(word)
                .ok()
                .and_then(|paths| paths.into_iter().next())
        };
        path.filter(|path| is_executable(path)).ok_or_else(|| {
            Unlisted::Absent(format!(
                "{} needs the program {word}, which this host does not have",
                script.display()
            ))
        })
    }

    /// Returns the real path of a program, if runs can execute the file and can't change it.
    fn usable(&self, path: &Path) -> Result<PathBuf, Unlisted> {
        let shown = path.display();
        let absent = |why: String| Err(Unlisted::Absent(why));
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return absent(format!("this host has no program {shown}: {error}")),
        };
        let program = real.display();
        if real.is_dir() {
            return absent(format!("{shown} is a directory: name a program"));
        }
        if !is_executable(&real) {
            return absent(format!("{shown} is not an executable file: name a program"));
        }
        if !self.may(&real, EXECUTE) {
            return absent(format!(
                "{program} can't be executed by the user of the run: chmod o+x {program}"
            ));
        }
        if let Some(directory) = self.closed(&real) {
            return absent(format!(
                "{program} can't be reached by the user of the run: chmod o+x {}",
                directory.display()
            ));
        }
        if !(self.system)(&real) {
            return absent(format!(
                "{program} is outside of the system directories, so no run can see it"
            ));
        }
        if real.to_str().is_none() {
            return absent(format!(
                "the path {program} is not UTF-8, so no document can contain the path"
            ));
        }
        if (self.changeable)(&real) {
            return Err(Unlisted::Unsafe(format!(
                "the user of the run can change the program {program}: make the file writable for its owner only (chmod \
                 go-w), and let another user own the file"
            )));
        }
        Ok(real)
    }
}

/// Returns the reason why a script can't start: its interpreter is neither machine code nor a script.
fn not_executable(interpreter: &Path, files: &[PathBuf]) -> Unlisted {
    let script = files
        .first()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    Unlisted::Absent(format!(
        "{script} needs the program {}, which is neither machine code nor a script: install this program again, or change \
         the first line of the script",
        interpreter.display()
    ))
}

/// Returns the name because of which a program is in the list: the name itself, or the name whose closure has the program.
fn root_of<'a>(name: &'a Program, starters: &'a BTreeMap<Program, Program>) -> &'a Program {
    // A starter was found before the programs that it starts, so the chain ends.
    std::iter::successors(Some(name), |name| starters.get(*name))
        .take(starters.len() + 1)
        .last()
        .unwrap_or(name)
}

/// Returns true if the user of a run can change the file. A run that root starts has its own user id, which owns no
/// files. A run of another user has the ids of this user.
fn changeable_by_run(path: &Path) -> bool {
    if rustix::process::geteuid().is_root() {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
    } else {
        rustix::fs::access(path, Access::WRITE_OK).is_ok()
    }
}

/// Checks that a document can contain the list.
fn check_size(list: &[ListedProgram], added: BTreeMap<&Program, usize>) -> Result<(), ListError> {
    let bytes = canonical::canonical_of(list)
        .map_err(|error| ListError::Program(error.to_string()))?
        .len();
    if list.len() <= MAX_PROGRAMS && bytes <= MAX_PROGRAMS_BYTES {
        return Ok(());
    }
    let mut most: Vec<(&Program, usize)> = added.into_iter().collect();
    most.sort_by_key(|(_, count)| Reverse(*count));
    let most: Vec<String> = most
        .iter()
        .take(MOST_NAMED)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    Err(ListError::TooLarge(format!(
        "the list has {} programs in {bytes} bytes, and at most {MAX_PROGRAMS} programs in {MAX_PROGRAMS_BYTES} bytes are \
         allowed; these add most entries: {}",
        list.len(),
        most.join(", ")
    )))
}

#[cfg(test)]
mod tests;
