//! Selects the program that runs a script, and its arguments.
//!
//! A shebang in the script has priority over the step's interpreter. Bash and zsh skip their start-up files, and Python
//! skips its user site directory.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::{SetupFailure, SetupStage};
use documents::SCRIPT_NAMES;

/// Search path for programs, with the system directories that every run sees.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Maximum length of a shebang line in the kernel, in bytes.
const MAX_SHEBANG: usize = 255;

/// A program and the arguments that precede the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// Arguments before the script.
    pub(crate) arguments: Vec<String>,
}

/// Returns the name of the script's file. `go run` accepts only files that end in `.go`.
pub(crate) fn script_name(interpreter: &str) -> &'static str {
    if interpreter == "go" {
        "script.go"
    } else {
        "script"
    }
}

/// Returns the name of the script's file beside the files of the step.
pub(crate) fn script_beside_files(interpreter: &str) -> &'static str {
    let [script, go] = SCRIPT_NAMES;
    if interpreter == "go" { go } else { script }
}

/// Returns true if `interpreter` is a bare name or an absolute path, without blanks.
pub(crate) fn is_name(interpreter: &str) -> bool {
    let bare = interpreter
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"._+-/".contains(&c));
    let path = interpreter.starts_with('/') || !interpreter.contains('/');
    bare && path && !interpreter.is_empty() && !interpreter.starts_with('-')
}

/// Returns the reason why this host can't run a script: the interpreter does not exist, or the program that `env` would
/// start as the interpreter.
pub fn missing(source: &str, interpreter: &str) -> Option<String> {
    let program = match shebang(source.as_bytes()) {
        Ok(Some(program)) => program,
        // Any directory may have the program. The last ones are searched first, because they have most programs, and
        // each crossing makes this search.
        Ok(None) => {
            let exists = |name: &&str| places(name).rev().any(|path| is_executable(&path));
            return (!named(interpreter).0.iter().any(exists)).then(|| not_found(interpreter));
        }
        Err(failure) => return Some(failure.to_string()),
    };
    let path = program.path.display().to_string();
    let started = started_by_env(&program.path, &program.arguments.join(" ")).map(str::to_owned);
    let absent = [Some(path), started]
        .into_iter()
        .flatten()
        .find(|name| find(name).is_none())?;
    Some(format!(
        "this host has no program {absent}, which the first line of the script names: install the program"
    ))
}

/// Returns the program that the interpreter `env` starts: the first word that is neither an option nor a variable.
pub(crate) fn started_by_env<'a>(interpreter: &Path, argument: &'a str) -> Option<&'a str> {
    let mut words = argument
        .split([' ', '\t'])
        .filter(|word| interpreter.ends_with("env") && !word.is_empty());
    while let Some(word) = words.next() {
        let has_value = ["--unset", "--chdir"].contains(&word)
            || !word.starts_with("--") && word.ends_with(['u', 'C']);
        match word.strip_prefix('-') {
            // The name of a variable or of a directory follows.
            Some(_) if has_value => drop(words.next()),
            Some(_) => {}
            None if word.contains('=') => {}
            None => return Some(word),
        }
    }
    None
}

impl Program {
    /// Returns true if Python runs the script, also if `env` starts Python.
    pub(crate) fn is_python(&self) -> bool {
        let arguments = self
            .arguments
            .iter()
            .flat_map(|argument| argument.split(' '));
        arguments
            .map(Path::new)
            .chain([self.path.as_path()])
            .any(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("python"))
            })
    }
}

/// Finds the program that runs `source`, in the file system of the calling process.
pub(crate) fn program(source: &[u8], interpreter: &str) -> Result<Program, SetupFailure> {
    match shebang(source)? {
        Some(program) => Ok(program),
        None => by_name(interpreter),
    }
}

/// Parses the shebang line `#!program argument`. Like the kernel, passes everything after the first blanks as one
/// argument.
pub(crate) fn shebang(source: &[u8]) -> Result<Option<Program>, SetupFailure> {
    let Some(line) = source.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        Err(SetupFailure::new(
            SetupStage::Exec,
            format!("the script's first line {why}"),
        ))
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.len() > MAX_SHEBANG {
        return wrong("is longer than 255 bytes");
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return wrong("is not UTF-8");
    };
    let line = line.trim_matches([' ', '\t']);
    let (path, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if !path.starts_with('/') || path.contains(['\0', '\r']) {
        return wrong("does not name the interpreter by an absolute path");
    }
    let argument = argument.trim_start_matches([' ', '\t']);
    let arguments = if argument.is_empty() {
        vec![]
    } else {
        vec![argument.to_owned()]
    };
    Ok(Some(Program {
        path: path.into(),
        arguments,
    }))
}

fn by_name(interpreter: &str) -> Result<Program, SetupFailure> {
    let (names, arguments) = named(interpreter);
    let found = names.iter().find_map(|name| find(name));
    let found = found.ok_or_else(|| SetupFailure::new(SetupStage::Exec, not_found(interpreter)))?;
    Ok(Program {
        path: found,
        arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
    })
}

/// Returns the names of the programs that can run the interpreter's scripts, and the arguments of these programs.
fn named(interpreter: &str) -> (Vec<&str>, &'static [&'static str]) {
    match interpreter {
        "bash" => (vec!["bash"], &["--noprofile", "--norc"]),
        "zsh" => (vec!["zsh"], &["-f"]),
        "python" => (vec!["python3", "python"], &["-s"]),
        "python3" => (vec!["python3"], &["-s"]),
        "node" | "javascript" => (vec!["node"], &[]),
        "go" => (vec!["go"], &["run"]),
        other => (vec![other], &[]),
    }
}

fn not_found(interpreter: &str) -> String {
    format!(
        "no interpreter {interpreter} is in {PATH}; install the interpreter there, because a step sees no other \
         directories"
    )
}

pub(crate) fn find(name: &str) -> Option<PathBuf> {
    places(name).find(|path| is_executable(path))
}

/// Returns the paths of the program in the directories of [`PATH`]. A name that is an absolute path has only this path.
fn places(name: &str) -> impl DoubleEndedIterator<Item = PathBuf> {
    PATH.split(':')
        .map(move |directory| Path::new(directory).join(name))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shebang_has_one_argument_at_most() {
        let parse = |text: &str| {
            shebang(text.as_bytes()).map(|p| p.map(|p| (p.path.display().to_string(), p.arguments)))
        };
        assert_eq!(parse("echo hi"), Ok(None));
        assert_eq!(parse("#! /bin/sh\n"), Ok(Some(("/bin/sh".into(), vec![]))));
        assert_eq!(
            parse("#!/usr/bin/env  -S a b \nx"),
            Ok(Some(("/usr/bin/env".into(), vec!["-S a b".into()])))
        );
        for bad in [
            "#!",
            "#!sh",
            "#!/bin/sh\r\n",
            &format!("#!/{}", "a".repeat(300)),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(shebang(b"#!/bin/\xff\n").is_err());
    }

    #[test]
    fn a_host_without_the_interpreter_of_a_script_is_noticed() {
        assert_eq!(missing("true\n", "sh"), None);
        assert_eq!(missing("#!/usr/bin/env sh\n", "sh"), None);
        assert_eq!(missing("#!/usr/bin/env -S -u A B=c sh -e\n", "sh"), None);
        for (source, interpreter, name) in [
            ("1", "no-such", "no interpreter no-such"),
            ("#!/no/such\n", "sh", "/no/such"),
            ("#!/usr/bin/env no-such\n", "sh", "no program no-such"),
        ] {
            let why = missing(source, interpreter).expect("missing");
            assert!(why.contains(name), "{why}");
        }
    }

    #[test]
    fn interpreters_are_names_or_absolute_paths() {
        for good in ["bash", "python3.11", "/opt/x/bin/y", "g++"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-c", "bash -c", "a/b", "../sh", "sh\n", "sh;"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_missing_interpreter_is_named_in_the_error() {
        let failure = program(b"1", "no-such-interpreter").expect_err("missing");
        assert!(
            failure
                .to_string()
                .contains("no interpreter no-such-interpreter is in"),
            "{failure}"
        );
        assert_eq!(
            program(b"1", "sh").expect("every host has one").arguments,
            Vec::<String>::new()
        );
    }
}
