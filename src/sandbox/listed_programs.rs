//! Finds the files of a list of programs on this host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::record::later_parts::{ListedProgram, OnlyListed, ProgramList};
use crate::record::later_words::{OWN_PROGRAMS, Program};
use crate::record::reserved::ReservedPart as _;
use crate::sandbox::executable_files::ExecutableFiles;
use crate::sandbox::filesystem::SYSTEM;
use crate::sandbox::interpreter;

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
const EXTENSIONS: [(&str, &str); 6] = [
    ("python", "/usr/lib/python3"),
    ("java", JVM),
    ("ruby", "/usr/lib/ruby"),
    ("perl", "/usr/lib/perl"),
    ("gcc", "/usr/lib/gcc"),
    ("g++", "/usr/lib/gcc"),
];
/// File names of programs that compile code in memory (just-in-time compilers). Without code in memory, these programs
/// do not start. All programs below [`JVM`] compile code in memory too.
const COMPILERS_IN_MEMORY: [&str; 4] = ["node", "nodejs", "deno", "bun"];
/// Directory of the Java virtual machines.
const JVM: &str = "/usr/lib/jvm/";
/// Directories whose files are programs. A run with a closed list can list the names in these directories, but can
/// read only the programs of its list.
const PROGRAM_DIRECTORIES: [&str; 8] =
    ["bin", "sbin", "libexec", "games", "local/bin", "local/sbin", "local/libexec", "local/games"];
/// Maximum number of interpreters between a script and a program in machine code (`BINPRM` in the kernel allows five
/// levels).
const MAX_INTERPRETERS: usize = 5;
/// Maximum number of unlisted programs between shared libraries. Each needs one mount.
const MAX_CLOSED: usize = 1024;
/// Maximum depth of the search for programs between libraries.
const MAX_DEPTH: usize = 8;

/// Finds the files of a list on this host.
///
/// # Errors
/// Returns a message about the first program that this host does not have or that no run can see, or about a property of
/// this host because of which no list can be enforced.
pub(super) fn find(list: &ProgramList) -> Result<ExecutableFiles, String> {
    if let Some(entry) = open_interpreter(Path::new("/proc/sys/fs/binfmt_misc")) {
        return Err(format!(
            "this host starts the interpreter of the binfmt_misc entry {entry} without asking Landlock (flag F), so no list can \
             refuse the interpreter: remove the entry with `echo -1 > /proc/sys/fs/binfmt_misc/{entry}`"
        ));
    }
    let own = list.list.iter().any(|one| one.path.as_str() == OWN_PROGRAMS);
    let mut programs = BTreeSet::new();
    for one in list.list.iter().filter(|one| one.path.as_str() != OWN_PROGRAMS) {
        let path = real_program(Path::new(one.path.as_str()))?;
        if !lies_in_system(&path) {
            return Err(format!("{} is outside of the system directories, so no run can see it", path.display()));
        }
        programs.insert(path);
    }
    for path in programs.clone() {
        if let FileFormat::Elf { loader: Some(loader) } = format_of(&path)? {
            programs.insert(real(&loader)?);
        }
    }
    let wanted = |name: &str, prefix: &str| programs.iter().any(|path| is_named(path, name) || is_below(path, prefix));
    let extensions = EXTENSIONS.iter().filter(|(name, prefix)| wanted(name, prefix));
    let mut libraries: BTreeSet<PathBuf> = LIBRARIES.iter().filter_map(|path| directory(Path::new(path))).collect();
    for (_, prefix) in extensions {
        libraries.extend(directories_with(prefix));
    }
    let inner: Vec<PathBuf> = libraries
        .iter()
        .filter(|path| libraries.iter().any(|other| other != *path && path.starts_with(other)))
        .cloned()
        .collect();
    libraries.retain(|path| !inner.contains(path));
    let mut closed = Vec::new();
    for tree in &libraries {
        close_programs(tree, 0, &mut closed)?;
    }
    closed.retain(|path| !programs.contains(path));
    closed.sort();
    check_closed(&closed)?;
    if let Some(path) = programs.iter().chain(&libraries).find(|path| path.to_str().is_none()) {
        return Err(not_utf8(path));
    }
    Ok(ExecutableFiles {
        programs: programs.into_iter().collect(),
        libraries: libraries.into_iter().collect(),
        closed,
        readable: readable(),
        own,
    })
}

/// Checks that a request for a run can name all programs between shared libraries.
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
    format!("the path {} is not UTF-8: rename the file or directory", path.display())
}

/// Returns the name of an enabled binfmt_misc entry whose interpreter the kernel opened when the entry was made (flag
/// `F`, `Documentation/admin-guide/binfmt-misc.rst` of the kernel).
fn open_interpreter(entries: &Path) -> Option<String> {
    let open = |text: &str| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        text.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
    };
    let mut entries = fs::read_dir(entries).into_iter().flatten().flatten();
    let found = entries.find(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| open(&text)))?;
    Some(found.file_name().to_string_lossy().into_owned())
}

/// Returns true if one of the programs compiles code in memory. The paths must be real paths.
pub(super) fn compile_in_memory(programs: &[PathBuf]) -> bool {
    let compiles = |path: &Path| COMPILERS_IN_MEMORY.iter().any(|name| path.ends_with(name)) || is_below(path, JVM);
    programs.iter().any(|path| compiles(path))
}

/// Returns the list for programs that a person names: bare names, absolute paths, or `{work}/**`.
///
/// If a program is a script, the list also contains the files of its interpreters, under the name of the script. So every
/// name in the list is a name of `names`.
///
/// # Errors
/// Returns a message about the first name that is no program of this host.
pub fn list_of(names: &[String]) -> Result<ProgramList, String> {
    let mut list = Vec::new();
    let mut add = |name: &str, path: &str| -> Result<(), String> {
        let name = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
        let path = path.parse().map_err(|error| format!("{path:?}: {error}"))?;
        let one = ListedProgram { name, path };
        if !list.contains(&one) {
            list.push(one);
        }
        Ok(())
    };
    for name in names {
        if name == OWN_PROGRAMS {
            add(name, name)?;
            continue;
        }
        if name.is_empty() || (name.contains('/') && !name.starts_with('/')) {
            return Err(format!("{name:?} is neither the name of a program, nor an absolute path, nor {OWN_PROGRAMS}"));
        }
        let mut path = interpreter::find(name)
            .ok_or_else(|| format!("this host has no program {name} in {}", interpreter::PATH))?;
        for _ in 0..MAX_INTERPRETERS {
            add(name, &path.to_string_lossy())?;
            let FileFormat::Script { interpreter, argument } = format_of(&real_program(&path)?)? else { break };
            let missing = |interpreter: &str| {
                format!("{} needs the program {interpreter}, which this host does not have", path.display())
            };
            let found = interpreter::find(&interpreter.to_string_lossy());
            let found = found.ok_or_else(|| missing(&interpreter.to_string_lossy()))?;
            // `env` starts the first word that is neither an option nor a variable.
            let by_env = argument
                .split([' ', '\t'])
                .find(|word| !word.is_empty() && !word.starts_with('-') && !word.contains('='));
            if let (true, Some(word)) = (interpreter.ends_with("env"), by_env) {
                add(name, &found.to_string_lossy())?;
                path = interpreter::find(word).ok_or_else(|| missing(word))?;
            } else {
                path = found;
            }
        }
    }
    list.sort_by(|a, b| (a.name.as_str(), a.path.as_str()).cmp(&(b.name.as_str(), b.path.as_str())));
    Ok(ProgramList { mode: OnlyListed::Listed, list })
}

/// Reason why the names of a list can't be resolved on this host.
#[derive(Debug)]
pub struct ListError(String, bool);

impl ListError {
    /// Returns true if the list is too large for a profile.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        self.1
    }
}

impl std::fmt::Display for ListError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Resolves names on this host.
///
/// # Errors
/// Returns the first program that no list may contain.
pub fn resolve(required: &BTreeSet<Program>, optional: &BTreeSet<Program>) -> Result<ProgramList, ListError> {
    let mut names: Vec<String> = required.iter().map(ToString::to_string).collect();
    let there = |name: &&Program| !name.as_str().contains('*') && interpreter::find(name.as_str()).is_some();
    names.extend(optional.iter().filter(there).map(ToString::to_string));
    let list = list_of(&names).map_err(|why| ListError(why, false))?;
    list.check().map_err(|error| ListError(error.to_string(), true))?;
    Ok(list)
}

/// Returns the path of a program of this host, or `None` if no program has this name or this absolute path.
#[must_use]
pub fn program_path(name: &str) -> Option<String> {
    let path = interpreter::find(name)?;
    lies_in_system(&path).then(|| path.to_string_lossy().into_owned())
}

/// The format of an executable file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileFormat {
    /// Machine code. The value is the dynamic loader, or `None` if the program is linked statically.
    Elf { loader: Option<PathBuf> },
    /// A script with a shebang line.
    Script { interpreter: PathBuf, argument: String },
    /// A file that the kernel can't execute by itself.
    Other,
}

/// Reads the format of a file from the first bytes of the file.
fn format_of(path: &Path) -> Result<FileFormat, String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::with_capacity(256);
    (&file).take(256).read_to_end(&mut head).map_err(unreadable)?;
    if head.starts_with(b"#!") {
        return match interpreter::shebang(&head) {
            Ok(Some(program)) => {
                Ok(FileFormat::Script { interpreter: program.path, argument: program.arguments.join(" ") })
            }
            _ => {
                Err(format!("{} is a script whose first line names no interpreter by an absolute path", path.display()))
            }
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Ok(FileFormat::Other);
    }
    match elf_loader(&head, |at, bytes| file.read_exact_at(bytes, at)) {
        Some(loader) => Ok(FileFormat::Elf { loader: loader.map(PathBuf::from) }),
        None => Ok(FileFormat::Other),
    }
}

/// Returns the dynamic loader in the program header `PT_INTERP` of a 64-bit little-endian ELF file. The outer `None`
/// means that the file is a shared library or is malformed. The inner `None` means that the program is linked
/// statically (System V ABI, chapter 5).
fn elf_loader(head: &[u8], read_at: impl Fn(u64, &mut [u8]) -> std::io::Result<()>) -> Option<Option<String>> {
    const EXECUTABLE: u16 = 2;
    const INTERPRETER: u32 = 3;
    const MAX_LOADER: u64 = 4096;
    if head.get(4..6)? != [2, 1] {
        return None;
    }
    let half = |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (kind, table) = (half(head, 16)?, long(head, 32)?);
    let (size, count) = (half(head, 54)?, half(head, 56)?);
    let mut entry = vec![0; usize::from(size).max(56)];
    for number in 0..u64::from(count) {
        read_at(table.checked_add(number * u64::from(size))?, &mut entry).ok()?;
        if word(&entry, 0)? == INTERPRETER {
            let (at, length) = (long(&entry, 8)?, long(&entry, 32)?);
            let mut text = vec![0; usize::try_from(length).ok().filter(|_| length <= MAX_LOADER)?];
            read_at(at, &mut text).ok()?;
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            text.truncate(end);
            return Some(Some(String::from_utf8(text).ok()?));
        }
    }
    (kind == EXECUTABLE).then_some(None)
}

/// Adds the programs below a directory with shared libraries to `closed`. A directory that has programs but no libraries
/// is added instead of its programs.
fn close_programs(directory: &Path, depth: usize, closed: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", directory.display());
    let (mut here, mut below, mut libraries) = (Vec::new(), Vec::new(), 0);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            closed.push(directory.to_owned());
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
            // The C library and the dynamic loader have a program header `PT_INTERP` or an entry point, but a run needs
            // them as libraries.
            if is_library_name(&entry.file_name().to_string_lossy()) {
                libraries += 1;
            } else if entry.metadata().map_err(unreadable)?.permissions().mode() & 0o111 != 0
                && !matches!(format_of(&entry.path()), Ok(FileFormat::Script { .. } | FileFormat::Other))
            {
                here.push(entry.path());
            }
        }
    }
    if !here.is_empty() && libraries == 0 && below.is_empty() {
        closed.push(directory.to_owned());
    } else {
        closed.append(&mut here);
    }
    if depth == MAX_DEPTH {
        closed.append(&mut below);
        return Ok(());
    }
    below.iter().try_for_each(|directory| close_programs(directory, depth + 1, closed))
}

/// Returns true for names such as `libc.so.6`, `ld-linux-x86-64.so.2` and `_ssl.cpython-311-x86_64-linux-gnu.so`.
fn is_library_name(name: &str) -> bool {
    name.ends_with(".so") || name.contains(".so.")
}

/// Returns the directories and files below the system directories, except the directories of programs.
fn readable() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for system in SYSTEM.iter().map(Path::new).filter(|path| path.symlink_metadata().is_ok_and(|at| at.is_dir())) {
        let programs: Vec<PathBuf> = match system.to_str() {
            Some("/usr") => PROGRAM_DIRECTORIES.iter().map(|name| system.join(name)).collect(),
            Some("/bin" | "/sbin") => continue,
            _ => Vec::new(),
        };
        let mut directories = vec![system.to_owned()];
        while let Some(directory) = directories.pop() {
            // A directory that the user of the service can't list is left out, so the run can't read it either.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if programs.iter().any(|closed| closed.starts_with(&path) && *closed != path) {
                    directories.push(path);
                } else if !programs.contains(&path) && !path.is_symlink() {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    found
}

fn real_program(path: &Path) -> Result<PathBuf, String> {
    let path = real(path)?;
    let found = path.metadata().map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok(path)
}

fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("this host has no program {}: {error}", path.display()))
}

fn lies_in_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Returns true if the path begins with the text `prefix`.
fn is_below(path: &Path, prefix: &str) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(prefix))
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file.to_string_lossy().contains(name))
}

fn directory(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.is_dir() && lies_in_system(path))
}

/// Returns the real paths of all directories whose path begins with `prefix`.
fn directories_with(prefix: &str) -> Vec<PathBuf> {
    let (parent, name) = prefix.rsplit_once('/').unwrap_or(("/", prefix));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    wanted.filter_map(|entry| directory(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loader_in(bytes: &[u8]) -> Option<Option<String>> {
        elf_loader(&bytes[..bytes.len().min(256)], |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let from = at.checked_add(into.len()).and_then(|end| bytes.get(at..end));
            from.map(|from| into.copy_from_slice(from)).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        })
    }

    #[test]
    fn the_loader_of_a_program_is_read_from_its_elf_header() {
        let shell = fs::read(interpreter::find("sh").expect("every host has a shell")).expect("readable");
        let loader = loader_in(&shell).expect("a program").expect("linked dynamically");
        assert!(Path::new(&loader).is_file(), "{loader}");
        assert_eq!(loader_in(b"\x7fELF\x01\x01"), None, "32 bits");
        assert_eq!(loader_in(&shell[..100]), None, "cut");
    }

    proptest! {
        #[test]
        fn a_broken_elf_file_causes_no_panic(
            cut in 0..4096_usize,
            changes in proptest::collection::vec((0..256_usize, any::<u8>()), 0..40),
        ) {
            let mut shell = fs::read(interpreter::find("sh").expect("every host has a shell")).expect("readable");
            shell.truncate(shell.len() - cut);
            for (at, byte) in changes {
                shell[at] = byte;
            }
            loader_in(&shell);
        }
    }

    #[test]
    fn too_many_programs_between_libraries_or_a_path_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;
        let many = vec![PathBuf::from("/usr/lib/x/program"); MAX_CLOSED + 1];
        assert_eq!(check_closed(&many[1..]), Ok(()));
        let error = check_closed(&many).expect_err("one too many");
        assert!(error.starts_with("1025 programs lie between shared libraries"), "{error}");
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
            assert_eq!(compile_in_memory(&[PathBuf::from("/usr/bin/sh"), PathBuf::from(path)]), compiles, "{path}");
        }
    }

    #[test]
    fn an_entry_whose_interpreter_the_kernel_holds_open_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("status"), "enabled\n").expect("a file");
        fs::write(dir.path().join("python"), "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\n")
            .expect("a file");
        fs::write(dir.path().join("off"), "disabled\ninterpreter /usr/bin/x\nflags: F\noffset 0\n").expect("a file");
        assert_eq!(open_interpreter(dir.path()), None);
        fs::write(dir.path().join("qemu"), "enabled\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\n")
            .expect("a file");
        assert_eq!(open_interpreter(dir.path()).as_deref(), Some("qemu"));
        assert_eq!(open_interpreter(&dir.path().join("none")), None);
    }

    #[test]
    fn a_list_contains_the_interpreters_of_scripts_and_the_programs_that_env_starts() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = dir.path().join("tool");
        for (first_line, expected) in
            [("#!/bin/sh -e\n", &["sh", "tool"][..]), ("#!/usr/bin/env -S A=b sh -x\n", &["env", "sh", "tool"])]
        {
            fs::write(&script, first_line).expect("a file");
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode");
            let twice = vec![script.display().to_string(); 2];
            let list = list_of(&twice).expect("a list");
            assert!(list.list.iter().all(|one| one.name.as_str() == twice[0]), "{list:?}");
            let mut files: Vec<&str> =
                list.list.iter().filter_map(|one| one.path.as_str().rsplit('/').next()).collect();
            files.sort_unstable();
            assert_eq!(files, expected, "{first_line}");
        }
    }

    #[test]
    fn names_of_shared_libraries_are_told_from_names_of_programs() {
        for name in ["libc.so.6", "ld-linux-x86-64.so.2", "_ssl.cpython-311-x86_64-linux-gnu.so"] {
            assert!(is_library_name(name), "{name}");
        }
        for name in ["sort", "so", "ssh-keysign", "lib.soap"] {
            assert!(!is_library_name(name), "{name}");
        }
    }
}
