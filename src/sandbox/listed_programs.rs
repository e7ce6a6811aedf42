//! Finds the files of a list of programs on this host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::record::later_parts::{ListedProgram, OnlyListed, ProgramList};
use crate::record::later_words::OWN_PROGRAMS;
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
    ("python", "/usr/lib/python3."),
    ("java", "/usr/lib/jvm/"),
    ("ruby", "/usr/lib/ruby"),
    ("perl", "/usr/lib/perl"),
    ("gcc", "/usr/lib/gcc"),
];
/// Directories whose files are programs. A run with a closed list can list the names in these directories, but can
/// read only the programs of its list.
const PROGRAM_DIRECTORIES: [&str; 6] = ["bin", "sbin", "libexec", "games", "local/bin", "local/sbin"];
/// Maximum number of interpreters between a script and a program in machine code (`BINPRM` in the kernel allows five
/// levels).
const MAX_INTERPRETERS: usize = 5;
/// Maximum depth of the search for programs between libraries.
const MAX_DEPTH: usize = 8;

/// Finds the files of a list on this host.
///
/// # Errors
/// Returns a message about the first program that this host does not have, or that has no known format.
pub(super) fn find(list: &ProgramList) -> Result<ExecutableFiles, String> {
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
    let extensions = EXTENSIONS.iter().filter(|(name, _)| programs.iter().any(|path| is_named(path, name)));
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
        closed.extend(programs_between_libraries(tree)?.iter().cloned());
    }
    closed.retain(|path| !programs.contains(path));
    closed.sort();
    Ok(ExecutableFiles {
        programs: programs.into_iter().collect(),
        libraries: libraries.into_iter().collect(),
        closed,
        readable: readable()?,
        own,
    })
}

/// Returns the list for programs that a person names: bare names, absolute paths, or `{work}/**`.
///
/// The list also contains the interpreters of programs that are scripts.
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
        let mut name = name.rsplit('/').next().unwrap_or(name).to_owned();
        for _ in 0..MAX_INTERPRETERS {
            add(&name, &path.to_string_lossy())?;
            let FileFormat::Script { interpreter } = format_of(&real_program(&path)?)? else { break };
            name = interpreter.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path = interpreter;
        }
    }
    list.sort_by(|a, b| (a.name.as_str(), a.path.as_str()).cmp(&(b.name.as_str(), b.path.as_str())));
    Ok(ProgramList { mode: OnlyListed::Listed, list })
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
    Script { interpreter: PathBuf },
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
            Ok(Some(program)) => Ok(FileFormat::Script { interpreter: program.path }),
            _ => Err(format!("{} is a script whose first line names no interpreter", path.display())),
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
            let text = text.strip_suffix(&[0]).unwrap_or(&text);
            return Some(Some(String::from_utf8(text.to_vec()).ok()?));
        }
    }
    (kind == EXECUTABLE).then_some(None)
}

/// Returns the programs below a directory with shared libraries. A directory that has programs but no libraries is
/// returned instead of its programs. The directory is searched once in the life of this process.
fn programs_between_libraries(tree: &Path) -> Result<Vec<PathBuf>, String> {
    static FOUND: OnceLock<std::sync::Mutex<std::collections::BTreeMap<PathBuf, Vec<PathBuf>>>> = OnceLock::new();
    let found = FOUND.get_or_init(std::sync::Mutex::default);
    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(programs) = found.get(tree) {
        return Ok(programs.clone());
    }
    let mut programs = Vec::new();
    search(tree, 0, &mut programs)?;
    found.insert(tree.to_owned(), programs.clone());
    Ok(programs)
}

fn search(directory: &Path, depth: usize, programs: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", directory.display());
    let (mut here, mut below, mut libraries) = (Vec::new(), Vec::new(), 0);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            below.push(entry.path());
        } else if kind.is_file() {
            // The C library and the dynamic loader have a program header `PT_INTERP` or an entry point, but a run needs
            // them as libraries.
            if is_library_name(&entry.file_name().to_string_lossy()) {
                libraries += 1;
            } else if matches!(format_of(&entry.path()), Ok(FileFormat::Elf { .. })) {
                here.push(entry.path());
            }
        }
    }
    if !here.is_empty() && libraries == 0 && below.is_empty() {
        programs.push(directory.to_owned());
    } else {
        programs.append(&mut here);
    }
    if depth == MAX_DEPTH {
        programs.append(&mut below);
        return Ok(());
    }
    below.iter().try_for_each(|directory| search(directory, depth + 1, programs))
}

/// Returns true for names such as `libc.so.6`, `ld-linux-x86-64.so.2` and `_ssl.cpython-311-x86_64-linux-gnu.so`.
fn is_library_name(name: &str) -> bool {
    name.ends_with(".so") || name.contains(".so.")
}

/// Returns the directories and files below the system directories, except the directories of programs.
fn readable() -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for system in SYSTEM.iter().map(Path::new).filter(|path| path.symlink_metadata().is_ok_and(|at| at.is_dir())) {
        let programs: Vec<PathBuf> = match system.to_str() {
            Some("/usr") => PROGRAM_DIRECTORIES.iter().map(|name| system.join(name)).collect(),
            Some("/bin" | "/sbin") => continue,
            _ => Vec::new(),
        };
        let mut directories = vec![system.to_owned()];
        while let Some(directory) = directories.pop() {
            let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", directory.display());
            for entry in fs::read_dir(&directory).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if programs.iter().any(|closed| closed.starts_with(&path) && *closed != path) {
                    directories.push(path);
                } else if !programs.contains(&path) && !path.is_symlink() {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    Ok(found)
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
    fn a_list_contains_the_interpreters_of_scripts() {
        let Some(script) = program_path("ldd") else { return };
        let list = list_of(&["ldd".to_owned(), "ldd".to_owned()]).expect("a list");
        let names: Vec<&str> = list.list.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names.len(), names.contains(&"ldd")), (2, true), "{script}: {names:?}");
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
