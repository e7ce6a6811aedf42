//! Finds the files of a list of programs on this host.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{ExecutableFiles, FileFormat, LibrarySearch, SYSTEM, format_of};
use documents::{OWN_PROGRAMS, ProgramList};

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
/// Directories whose files are programs. A run with a closed list can list the names in these directories, but can
/// read only the programs of its list.
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
/// Maximum number of unlisted programs between shared libraries. Each needs one mount.
const MAX_CLOSED: usize = 1024;

/// Checks that no binary format of this host starts an interpreter past Landlock.
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

/// Finds the files of a list on this host. `search` finds the unlisted programs between shared libraries. The directories
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
    let own = list
        .list
        .iter()
        .any(|one| one.path.as_str() == OWN_PROGRAMS);
    let mut programs = BTreeSet::new();
    for one in list
        .list
        .iter()
        .filter(|one| one.path.as_str() != OWN_PROGRAMS)
    {
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
    let wanted = |name: &str, prefix: &str| {
        programs
            .iter()
            .any(|path| is_named(path, name) || is_below(path, prefix))
    };
    let extensions = EXTENSIONS
        .iter()
        .filter(|(name, prefix)| wanted(name, prefix));
    let mut libraries: BTreeSet<PathBuf> = LIBRARIES
        .iter()
        .filter_map(|path| directory(Path::new(path)))
        .collect();
    for (_, prefix) in extensions {
        libraries.extend(directories_with(prefix));
    }
    let inner: Vec<PathBuf> = libraries
        .iter()
        .filter(|path| {
            libraries
                .iter()
                .any(|other| other != *path && path.starts_with(other))
        })
        .cloned()
        .collect();
    libraries.retain(|path| !inner.contains(path));
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
        listed: list.list.len() as u64,
        readable: readable(&programs, &libraries),
        programs: programs.into_iter().collect(),
        libraries: libraries.into_iter().collect(),
        closed,
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

/// Returns the directories and files below the system directories, except the directories of programs. In these
/// directories, a run can read only libraries and the data files beside the listed programs.
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

/// Returns the files without the right to execute in the directories of the listed programs, if such a directory lies in
/// a directory of programs. For example, the script `git-submodule` reads the file `git-sh-setup`.
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
