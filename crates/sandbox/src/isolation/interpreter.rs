//! Selects the program that runs a script, and its arguments.
//!
//! A shebang in the script has priority over the step's interpreter. Bash and zsh skip their start-up files, and Python
//! skips its user site directory.
//!
//! This file also searches the content of files for texts. A text is found even if it lies across two reads.
//!
//! In addition, this file counts the programs that a run started and the programs that its list refused. The memory for the
//! counts is bounded, even if a run starts an endless number of different programs.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{FileId, SetupFailure, SetupResult};
use documents::{
    Execution, Executions, HostPath, MAX_PROGRAM_FACTS_BYTES, MAX_REFUSED, MAX_STARTED,
    ProgramFacts, ProgramMode, SCRIPT_NAMES, canonical,
};

/// Search path for programs, with the system directories that every run sees.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Maximum length of a shebang line in the kernel, in bytes.
const MAX_SHEBANG: usize = 255;

/// A program and the arguments that precede the script.
#[derive(Debug)]
pub struct Program {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments before the script.
    pub arguments: Vec<String>,
}

/// Returns the name of the script's file. `go run` accepts only files that end in `.go`.
pub fn script_name(interpreter: &str) -> &'static str {
    if interpreter == "go" {
        "script.go"
    } else {
        "script"
    }
}

/// Returns the name of the script's file beside the files of the step.
pub fn script_beside_files(interpreter: &str) -> &'static str {
    let [script, go] = SCRIPT_NAMES;
    if interpreter == "go" { go } else { script }
}

/// Returns true if `interpreter` is a bare name or an absolute path, without blanks.
pub fn is_name(interpreter: &str) -> bool {
    let bare = interpreter
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"._+-/".contains(&c));
    let path = interpreter.starts_with('/') || !interpreter.contains('/');
    bare && path && !interpreter.is_empty() && !interpreter.starts_with('-')
}

/// Returns the reason why this host can't run a script, or `None` if it can. The script needs its interpreter, and if
/// the interpreter is `env`, also the program that `env` starts.
pub fn missing_interpreter(source: &str, interpreter: &str) -> Option<String> {
    let program = match shebang(source.as_bytes()) {
        Ok(Some(program)) => program,
        // The program may be in any directory of `PATH`. The search begins with the last directories, because they
        // contain most programs and each crossing repeats this search.
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
pub fn started_by_env<'a>(interpreter: &Path, argument: &'a str) -> Option<&'a str> {
    let mut words = argument
        .split([' ', '\t'])
        .filter(|word| interpreter.ends_with("env") && !word.is_empty());
    while let Some(word) = words.next() {
        let has_value = ["--unset", "--chdir"].contains(&word)
            || !word.starts_with("--") && word.ends_with(['u', 'C']);
        match word.strip_prefix('-') {
            // The next word belongs to the option: the name of a variable or of a directory.
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
    pub fn is_python(&self) -> bool {
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
pub fn program(source: &[u8], interpreter: &str) -> SetupResult<Program> {
    match shebang(source)? {
        Some(program) => Ok(program),
        None => by_name(interpreter),
    }
}

/// Parses the shebang line `#!program argument`. As in the kernel, everything after the first blanks is one argument.
pub fn shebang(source: &[u8]) -> SetupResult<Option<Program>> {
    let Some(line) = source.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        Err(SetupFailure::other(format!(
            "the script's first line {why}"
        )))
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

fn by_name(interpreter: &str) -> SetupResult<Program> {
    let (names, arguments) = named(interpreter);
    let found = names.iter().find_map(|name| find(name));
    let found = found.ok_or_else(|| SetupFailure::other(not_found(interpreter)))?;
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

pub fn find(name: &str) -> Option<PathBuf> {
    places(name).find(|path| is_executable(path))
}

/// Returns the paths of the program in the directories of [`PATH`]. A name that is an absolute path has only this path.
fn places(name: &str) -> impl DoubleEndedIterator<Item = PathBuf> {
    PATH.split(':')
        .map(move |directory| Path::new(directory).join(name))
}

/// Returns true if this process may execute the file.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Maximum length of a text that is found across two searched parts, in bytes: a secret of 64 KiB in its longest form.
const LONGEST_TEXT: usize = 512 << 10;
/// Number of bytes that are searched at once.
const SEARCHED_AT_ONCE: usize = 4 << 20;

/// A search through a stream of bytes.
pub struct StreamSearch<'a> {
    holds: &'a dyn Fn(&[u8]) -> bool,
    window: Vec<u8>,
    found: bool,
}

impl<'a> StreamSearch<'a> {
    /// Begins a search. `holds` tells whether bytes contain one of the texts.
    pub fn new(holds: &'a dyn Fn(&[u8]) -> bool) -> Self {
        Self {
            holds,
            window: Vec::new(),
            found: false,
        }
    }

    /// Adds the next bytes of the stream.
    pub fn add(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        if self.window.len() >= SEARCHED_AT_ONCE {
            self.found = self.found || (self.holds)(&self.window);
            self.window.drain(..self.window.len() - LONGEST_TEXT);
        }
    }

    /// Ends the search, and returns true if the stream contains one of the texts.
    pub fn found(self) -> bool {
        self.found || (self.holds)(&self.window)
    }
}

/// Maximum number of started programs, and of refused programs, that are counted by their path. Further programs are only
/// counted together.
pub const MAX_PATHS: usize = 128;
/// Number of latest refusals that are kept, to recognize repeated refusals.
const MAX_RECENT: usize = 32;

/// A program that the kernel executes, or that the list refuses.
#[derive(Clone)]
pub struct FoundProgram {
    /// Real path of the program in the run.
    pub path: String,
    /// The path that the caller gave.
    pub given: String,
    /// Identity of the file.
    pub file: FileId,
}

/// The result of one attempt to execute a file.
pub enum ExecAttempt {
    /// The file, then the interpreter of each script.
    Started(Vec<FoundProgram>),
    /// The list refuses this program.
    Refused(FoundProgram),
    /// No executable file has the given path.
    Nothing,
    /// The service can't find out which file the caller named.
    Unknown,
}

/// Counters of one run.
#[derive(Default)]
pub struct ProgramCounts {
    started: CountsByPath,
    refused: CountsByPath,
    unknown: u64,
    /// The latest refusals, each with its thread.
    recent: VecDeque<(u32, FoundProgram)>,
}

#[derive(Default)]
struct CountsByPath {
    /// For each path the number of executions, and the path that the first caller gave.
    named: BTreeMap<String, (u64, String)>,
    more: u64,
}

impl CountsByPath {
    fn add(&mut self, program: FoundProgram) {
        let full = self.named.len() >= MAX_PATHS;
        match self.named.get_mut(&program.path) {
            Some((count, _)) => *count += 1,
            None if full || program.path.parse::<HostPath>().is_err() => self.more += 1,
            None => drop(self.named.insert(program.path, (1, program.given))),
        }
    }

    /// Returns at most `most` paths, the most frequent ones first. Of paths with equal counts, the smaller path has
    /// priority.
    fn executions(&self, most: usize, more: u64) -> Executions {
        let mut counts: Vec<(&String, u64)> = self
            .named
            .iter()
            .map(|(path, (count, _))| (path, *count))
            .collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (named, unnamed) = counts.split_at(most.min(counts.len()));
        let more = unnamed
            .iter()
            .fold(self.more.saturating_add(more), |sum, (_, count)| {
                sum.saturating_add(*count)
            });
        let execution = |(path, count): &(&String, u64)| {
            Some(Execution {
                path: path.parse().ok()?,
                count: *count,
            })
        };
        let mut paths: Vec<Execution> = named.iter().filter_map(execution).collect();
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        Executions { paths, more }
    }
}

impl ProgramCounts {
    /// Counts an attempt of a thread.
    pub fn add(&mut self, thread: u32, attempt: ExecAttempt) {
        match attempt {
            ExecAttempt::Started(programs) => programs
                .into_iter()
                .for_each(|program| self.started.add(program)),
            ExecAttempt::Refused(program) => {
                if self.is_repeated(thread, &program) {
                    return;
                }
                if self.recent.len() == MAX_RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((thread, program.clone()));
                self.refused.add(program);
            }
            ExecAttempt::Nothing => {}
            ExecAttempt::Unknown => self.unknown += 1,
        }
    }

    /// Returns true if the thread tries the same file again under another path. After a refusal, shells try the next
    /// directory of the search path, which on many hosts is a link to the same directory.
    fn is_repeated(&mut self, thread: u32, program: &FoundProgram) -> bool {
        let at = self.recent.iter().position(|(other, _)| *other == thread);
        let repeated = at.is_some_and(|at| {
            self.recent[at].1.file == program.file && self.recent[at].1.given != program.given
        });
        if !repeated && let Some(at) = at {
            self.recent.remove(at);
        }
        repeated
    }

    /// Returns the facts for a receipt, with at most [`MAX_PROGRAM_FACTS_BYTES`]. If the facts would be larger, the
    /// longest paths are left out, and their executions are only counted. Of paths with equal lengths, the path of a
    /// started program is left out first.
    pub fn facts(&self, mode: ProgramMode, listed: u64) -> ProgramFacts {
        let nothing_read =
            self.unknown > 0 && self.started.named.is_empty() && self.refused.named.is_empty();
        if nothing_read {
            return ProgramFacts {
                mode,
                listed,
                refused: None,
                started: None,
            };
        }
        let mut started = self.started.executions(MAX_STARTED, self.unknown);
        let mut refused = self.refused.executions(MAX_REFUSED, 0);
        loop {
            let facts = ProgramFacts {
                mode,
                listed,
                refused: Some(refused.clone()),
                started: Some(started.clone()),
            };
            let fits = canonical::canonical_of(&facts)
                .is_ok_and(|bytes| bytes.len() <= MAX_PROGRAM_FACTS_BYTES);
            let longest = |executions: &Executions| {
                executions
                    .paths
                    .iter()
                    .map(|one| one.path.as_str().len())
                    .max()
            };
            let (in_started, in_refused) = (longest(&started), longest(&refused));
            let shortened = if in_started >= in_refused {
                &mut started
            } else {
                &mut refused
            };
            let Some(length) = in_started.max(in_refused).filter(|_| !fits) else {
                return facts;
            };
            if let Some(at) = shortened
                .paths
                .iter()
                .rposition(|one| one.path.as_str().len() == length)
            {
                shortened.more = shortened
                    .more
                    .saturating_add(shortened.paths.remove(at).count);
            }
        }
    }

    /// Returns the started programs: the path, the number of executions, and the path that the first caller gave.
    pub fn started(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.started
            .named
            .iter()
            .map(|(path, (count, given))| (path.as_str(), *count, given.as_str()))
    }

    /// Returns the number of executions whose program is not named by [`Self::started`].
    pub fn more(&self) -> u64 {
        self.started.more.saturating_add(self.unknown)
    }
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
        assert_eq!(missing_interpreter("true\n", "sh"), None);
        assert_eq!(missing_interpreter("#!/usr/bin/env sh\n", "sh"), None);
        assert_eq!(
            missing_interpreter("#!/usr/bin/env -S -u A B=c sh -e\n", "sh"),
            None
        );
        for (source, interpreter, name) in [
            ("1", "no-such", "no interpreter no-such"),
            ("#!/no/such\n", "sh", "/no/such"),
            ("#!/usr/bin/env no-such\n", "sh", "no program no-such"),
        ] {
            let why = missing_interpreter(source, interpreter).expect("missing");
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

#[cfg(test)]
mod stream_search_tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_reads_divide_it() {
        let text = vec![b's'; LONGEST_TEXT];
        let holds = |bytes: &[u8]| {
            bytes
                .split(|byte| *byte != b's')
                .any(|run| run.len() >= LONGEST_TEXT)
        };
        for before in [
            0,
            1,
            SEARCHED_AT_ONCE - LONGEST_TEXT,
            SEARCHED_AT_ONCE - 1,
            SEARCHED_AT_ONCE + 7,
        ] {
            for (piece, removed, expected) in [
                (256 << 10, 0, true),
                (100_003, 0, true),
                (256 << 10, 1, false),
            ] {
                let stream = [vec![b'.'; before], text[removed..].to_vec(), vec![b'.'; 3]].concat();
                let mut search = StreamSearch::new(&holds);
                stream.chunks(piece).for_each(|bytes| search.add(bytes));
                assert_eq!(search.found(), expected, "{before} {piece} {removed}");
            }
        }
    }
}

#[cfg(test)]
mod program_counts_tests {
    use super::*;

    fn program(path: &str, given: &str) -> FoundProgram {
        let file = (1, path.bytes().map(u64::from).sum());
        FoundProgram {
            path: path.to_owned(),
            given: given.to_owned(),
            file,
        }
    }

    fn started(path: &str) -> ExecAttempt {
        ExecAttempt::Started(vec![program(path, path)])
    }

    fn refused(path: &str) -> ExecAttempt {
        ExecAttempt::Refused(program(path, path))
    }

    fn counts(executions: &Executions) -> Vec<(&str, u64)> {
        executions
            .paths
            .iter()
            .map(|one| (one.path.as_str(), one.count))
            .collect()
    }

    #[test]
    fn a_run_with_endless_programs_has_a_record_of_bounded_size() {
        let mut all = ProgramCounts::default();
        for number in 0..100_000 {
            all.add(
                1,
                started(&format!("/usr/bin/program-{:05}", number % 50_000)),
            );
            all.add(number, refused(&format!("/usr/bin/other-{number:05}")));
        }
        assert_eq!(
            (
                all.started.named.len(),
                all.refused.named.len(),
                all.recent.len()
            ),
            (128, 128, 32)
        );
        let facts = all.facts(ProgramMode::Listed, 128);
        assert_eq!(facts.check(), Ok(()));
        let (started, refused) = (
            facts.started.expect("recorded"),
            facts.refused.expect("recorded"),
        );
        assert_eq!((started.paths.len(), refused.paths.len()), (16, 8));
        let sum = |executions: &Executions| {
            executions.more + executions.paths.iter().map(|one| one.count).sum::<u64>()
        };
        assert_eq!(
            (sum(&started), sum(&refused)),
            (100_000, 100_000),
            "each execution is counted once"
        );
    }

    #[test]
    fn the_most_frequent_programs_are_named() {
        let mut all = ProgramCounts::default();
        for number in (0..20).rev() {
            all.add(1, started(&format!("/usr/bin/a{number:02}")));
        }
        all.add(1, started("/usr/bin/z"));
        all.add(1, started("/usr/bin/z"));
        let facts = all.facts(ProgramMode::Listed, 1);
        let found = facts.started.expect("recorded");
        let mut expected: Vec<(String, u64)> = (0..15)
            .map(|number| (format!("/usr/bin/a{number:02}"), 1))
            .collect();
        expected.push(("/usr/bin/z".to_owned(), 2));
        let expected: Vec<(&str, u64)> = expected
            .iter()
            .map(|(path, count)| (path.as_str(), *count))
            .collect();
        assert_eq!((counts(&found), found.more), (expected, 5));
    }

    #[test]
    fn facts_that_are_too_large_name_the_shorter_paths() {
        let mut all = ProgramCounts::default();
        let long = |letter: char, length: usize| format!("/{}", letter.to_string().repeat(length));
        for (letter, length) in [('a', 200), ('b', 255), ('c', 255), ('d', 255), ('e', 255)] {
            all.add(1, started(&long(letter, length)));
            all.add(1, refused(&long(letter, length)));
        }
        all.add(1, started("/usr/bin/git"));
        all.add(2, refused("/usr/bin/id"));
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(facts.check(), Ok(()));
        let (started, refused) = (
            facts.started.expect("recorded"),
            facts.refused.expect("recorded"),
        );
        let names = |executions: &Executions| -> Vec<String> {
            executions
                .paths
                .iter()
                .map(|one| one.path.as_str().chars().take(2).collect())
                .collect()
        };
        assert_eq!(
            (names(&started), started.more),
            (vec!["/a".into(), "/b".into(), "/u".into()], 3)
        );
        assert_eq!(
            (names(&refused), refused.more),
            (
                ["/a", "/b", "/c", "/d", "/e", "/u"]
                    .map(String::from)
                    .to_vec(),
                0
            )
        );
    }

    #[test]
    fn a_path_that_a_receipt_cannot_contain_is_only_counted() {
        let mut all = ProgramCounts::default();
        all.add(1, refused("/tmp/a\nb"));
        all.add(1, refused(&format!("/{}", "a/".repeat(600))));
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(
            (facts.check(), facts.refused),
            (
                Ok(()),
                Some(Executions {
                    paths: vec![],
                    more: 2
                })
            )
        );
    }

    #[test]
    fn a_search_through_linked_directories_counts_as_one_refusal() {
        let mut all = ProgramCounts::default();
        let by = |given: &str| ExecAttempt::Refused(program("/usr/bin/id", given));
        for given in ["/usr/bin/id", "/bin/id", "/usr/bin/id", "/bin/id"] {
            all.add(7, by(given));
        }
        all.add(8, by("/bin/id"));
        let found = all.facts(ProgramMode::Listed, 1).refused.expect("recorded");
        assert_eq!(counts(&found), [("/usr/bin/id", 3)]);
    }

    #[test]
    fn programs_that_the_service_cannot_read_are_counted_without_a_name() {
        let mut all = ProgramCounts::default();
        all.add(1, ExecAttempt::Unknown);
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(
            (facts.started, facts.refused),
            (None, None),
            "nothing was recorded"
        );
        all.add(1, started("/usr/bin/sh"));
        let found = all.facts(ProgramMode::Listed, 1).started.expect("recorded");
        assert_eq!((counts(&found), found.more), (vec![("/usr/bin/sh", 1)], 1));
    }
}
