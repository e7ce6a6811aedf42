//! Records the programs that a run starts, and those that its list refuses.
//!
//! A thread of the service receives each call that executes a program, looks at the file, and lets the call continue.
//! The thread never decides about a call. The kernel reads the path again, and Landlock and the mounts of the run
//! refuse each program that the list does not contain.
//!
//! This file also makes the list of programs that a command needs, from a record of the programs that the command
//! started.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{FileType, StatVfsMountFlags},
    io::Errno,
};
use serde::Serialize;

use crate::{
    AnnouncedPrograms, ExecutableFiles, FileId, MAX_INTERPRETERS, ProgramCounts, WaitingCall,
    isolation::{
        interpreter::{ExecAttempt, FoundProgram},
        opened::{file_id, id_of, kind_of},
        syscalls::notifications,
        system_paths,
    },
    program_path,
    programs::called_program::{self, WaitingProcess},
};
use documents::{OWN_PROGRAMS, ProgramFacts, ProgramMode, locked};

/// Pause after an unexpected error of the kernel, so that the thread does not use a whole processor.
const PAUSE: Duration = Duration::from_millis(1);

/// The files that a run may execute.
pub struct ProgramRules {
    mode: ProgramMode,
    /// Number of entries in the list.
    listed: u64,
    /// The listed programs, until the thread of the recorder finds their files.
    programs: Vec<PathBuf>,
    /// The listed programs and the executable files of the step, with their paths.
    files: BTreeMap<FileId, PathBuf>,
    /// Paths of the executable files of the step, until the run announces these files.
    of_step: Vec<PathBuf>,
    /// Directories in which the run may execute all files.
    directories: Vec<PathBuf>,
    /// Directories that the run may write.
    writable: Vec<PathBuf>,
}

impl ProgramRules {
    /// Returns the rules of a run with a list of programs. The run may also execute the files `of_step`.
    pub fn listed(list: &ExecutableFiles, writable: Vec<PathBuf>, of_step: Vec<PathBuf>) -> Self {
        let directories = if list.own {
            writable.clone()
        } else {
            Vec::new()
        };
        let (programs, files) = (list.programs.clone(), BTreeMap::new());
        Self {
            mode: ProgramMode::Listed,
            listed: list.listed,
            programs,
            files,
            of_step,
            directories,
            writable,
        }
    }

    /// Returns the rules of a run without a list, which may execute all files in `readable` and `writable`.
    pub fn any(readable: Vec<PathBuf>, writable: Vec<PathBuf>) -> Self {
        let system = system_paths::SYSTEM
            .iter()
            .filter_map(|path| Path::new(path).canonicalize().ok());
        let directories = system
            .chain(readable)
            .chain(writable.iter().cloned())
            .collect();
        Self {
            mode: ProgramMode::Any,
            listed: 0,
            programs: Vec::new(),
            files: BTreeMap::new(),
            of_step: Vec::new(),
            directories,
            writable,
        }
    }

    /// Finds the file that a call executes, and the interpreters of this file.
    fn look(
        &self,
        call: &WaitingCall,
        process: &WaitingProcess<'_>,
        known: &mut BTreeSet<FileId>,
    ) -> Result<ExecAttempt, Errno> {
        let Some((mut file, mut given)) = process.file_of(call)? else {
            return Ok(ExecAttempt::Nothing);
        };
        let mut started = Vec::new();
        while started.len() <= MAX_INTERPRETERS {
            let Some((program, allowed)) = self.judge(&file, &given)? else {
                return Ok(ExecAttempt::Nothing);
            };
            if !allowed {
                return Ok(ExecAttempt::Refused(program));
            }
            let id = program.file;
            started.push(program);
            if known.contains(&id) {
                return Ok(ExecAttempt::Started(started));
            }
            let head = match called_program::head_of(&file) {
                Ok(head) => head,
                // The run can execute programs that the user of the service may not read.
                Err(Errno::ACCESS) => return Ok(ExecAttempt::Started(started)),
                Err(error) => return Err(error),
            };
            if head.starts_with(b"\x7fELF") {
                // A run can't change such a program, so it is read only once.
                if self.files.contains_key(&id) {
                    known.insert(id);
                }
                return Ok(ExecAttempt::Started(started));
            }
            let Some(interpreter) = interpreter_of(&head) else {
                return Ok(ExecAttempt::Nothing);
            };
            let Some(next) = process.interpreter(interpreter)? else {
                return Ok(ExecAttempt::Nothing);
            };
            (file, given) = (next, interpreter.to_vec());
        }
        Ok(ExecAttempt::Nothing)
    }

    /// Returns the program in a file, and whether the run may execute the program. Returns `None` for a file that is no
    /// program.
    fn judge(&self, file: &OwnedFd, given: &[u8]) -> Result<Option<(FoundProgram, bool)>, Errno> {
        let found = rustix::fs::fstat(file)?;
        if kind_of(&found) != FileType::RegularFile || found.st_mode & 0o111 == 0 {
            return Ok(None);
        }
        let id = id_of(&found);
        let program = |path| FoundProgram {
            path,
            given: String::from_utf8_lossy(given).into_owned(),
            file: id,
        };
        let executable = !rustix::fs::fstatvfs(file)?
            .f_flag
            .contains(StatVfsMountFlags::NOEXEC);
        if let Some(path) = self.files.get(&id).filter(|_| executable) {
            return Ok(Some((program(path.to_string_lossy().into_owned()), true)));
        }
        let path = called_program::path_of(file)?;
        let allowed = executable
            && self
                .directories
                .iter()
                .any(|directory| Path::new(&path).starts_with(directory));
        // Without a list, a program that may not be executed is not recorded, because no list refused the program.
        Ok((allowed || self.mode == ProgramMode::Listed).then(|| (program(path), allowed)))
    }

    /// Returns the attempt of the step's process to execute its first program. The step's process sent the path `told`
    /// before the attempt.
    fn first(&self, told: &Path) -> ExecAttempt {
        // Without a list, the first program is not recorded. It is the shell that starts the command, and a person who
        // writes a list knows this shell.
        let (Ok(id), Ok(real), ProgramMode::Listed) =
            (file_id(told), told.canonicalize(), self.mode)
        else {
            return ExecAttempt::Nothing;
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let path = self.files.get(&id).unwrap_or(&real);
        let program = FoundProgram {
            path: text(path),
            given: text(told),
            file: id,
        };
        if self.files.contains_key(&id) {
            ExecAttempt::Started(vec![program])
        } else {
            ExecAttempt::Refused(program)
        }
    }
}

/// Records the programs of one run.
pub struct ProgramRecorder {
    mode: ProgramMode,
    listed: u64,
    writable: Vec<PathBuf>,
    counts: Arc<Mutex<ProgramCounts>>,
    /// Sends the listener and what the run has announced to the thread.
    begin: Option<Sender<(OwnedFd, AnnouncedPrograms)>>,
}

impl ProgramRecorder {
    /// Starts the thread of a recorder. Returns `None` if this host gives no thread. The run must then have no listener,
    /// because each program would wait forever.
    pub fn start(rules: ProgramRules) -> Option<Self> {
        let (begin, listeners) = mpsc::channel();
        let (mode, listed, writable) = (rules.mode, rules.listed, rules.writable.clone());
        let counts = Arc::<Mutex<ProgramCounts>>::default();
        let into = counts.clone();
        let thread = std::thread::Builder::new().name("program-record".to_owned());
        // The thread ends when the run has no processes, or when it gets no listener.
        let started = thread.spawn(move || answer_all(&listeners, rules, &into));
        started
            .inspect_err(|error| tracing::warn!(%error, "the programs of a run are not recorded"))
            .ok()
            .map(|_| Self {
                mode,
                listed,
                writable,
                counts,
                begin: Some(begin),
            })
    }

    /// Begins the record.
    pub fn begin(&mut self, listener: OwnedFd, announced: AnnouncedPrograms) {
        if let Some(begin) = self.begin.take() {
            let _ = begin.send((listener, announced));
        }
    }

    /// Returns the facts for a receipt.
    pub fn facts(&self) -> ProgramFacts {
        if self.begin.is_some() {
            return nothing_recorded(self.listed);
        }
        locked(&self.counts).facts(self.mode, self.listed)
    }

    /// Returns the started programs for a person who writes a list, or `None` if nothing was recorded.
    pub fn learned(&self) -> Option<LearnedPrograms> {
        let counts = locked(&self.counts);
        self.begin
            .is_none()
            .then(|| LearnedPrograms::of(&counts, &self.writable))
    }
}

/// Returns the facts of a run with a list of programs if the host gave no record.
pub fn nothing_recorded(listed: u64) -> ProgramFacts {
    ProgramFacts {
        mode: ProgramMode::Listed,
        listed,
        refused: None,
        started: None,
    }
}

/// The state of the thread that answers the calls of one run.
struct Answerer<'a> {
    listener: OwnedFd,
    rules: &'a ProgramRules,
    counts: &'a Mutex<ProgramCounts>,
    /// The program that the step's process executes first, until it is executed.
    first: Option<PathBuf>,
    /// Root directory of the run.
    root: Option<OwnedFd>,
    /// Listed programs that are known to be machine code.
    known: BTreeSet<FileId>,
}

/// Answers the calls of a run until the run has no processes.
fn answer_all(
    listeners: &Receiver<(OwnedFd, AnnouncedPrograms)>,
    mut rules: ProgramRules,
    counts: &Mutex<ProgramCounts>,
) {
    // Find the files now, while the first process of the run sets up the run.
    for path in std::mem::take(&mut rules.programs) {
        if let Ok(id) = file_id(&path) {
            // Of several hard links, the record names the first path.
            rules.files.entry(id).or_insert(path);
        }
    }
    let Ok((listener, announced)) = listeners.recv() else {
        return;
    };
    notifications::answer_fast(&listener);
    let own = std::mem::take(&mut rules.of_step);
    rules.files.extend(announced.of_step.into_iter().zip(own));
    let (rules, first) = (&rules, Some(announced.first));
    let mut answerer = Answerer {
        listener,
        rules,
        counts,
        first,
        root: None,
        known: BTreeSet::new(),
    };
    loop {
        let mut poll = [PollFd::new(&answerer.listener, PollFlags::IN)];
        let ready = rustix::event::poll(&mut poll, None).map(|_| poll[0].revents());
        match ready {
            Ok(ready) if ready.contains(PollFlags::IN) => {}
            // No process has the filter any more. Keep the listener until then, because each exec would fail without
            // the listener.
            Ok(ready) if ready.contains(PollFlags::HUP) => return,
            _ => {
                std::thread::sleep(PAUSE);
                continue;
            }
        }
        match notifications::receive(&answerer.listener) {
            Ok(call) => answerer.answer(&call),
            // The calling thread was killed.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

impl Answerer<'_> {
    /// Lets a call continue and counts its program.
    fn answer(&mut self, call: &WaitingCall) {
        // After a panic, the call must continue too.
        let looked = std::panic::catch_unwind(AssertUnwindSafe(|| self.look(call)));
        let attempt = looked
            .ok()
            .and_then(Result::ok)
            .unwrap_or(ExecAttempt::Unknown);
        // The report reads the counts after the end of the run. The lock makes the report wait until this call is
        // counted.
        let mut counts = locked(self.counts);
        // A call that a signal interrupted is not counted, because the thread may make the call again.
        if notifications::let_continue(&self.listener, call.id).is_ok() {
            self.first = None;
            counts.add(call.thread, attempt);
        }
    }

    fn look(&mut self, call: &WaitingCall) -> Result<ExecAttempt, Errno> {
        // The step's process shares the memory of the run's first process, which the service may not read.
        if let Some(told) = &self.first {
            return Ok(self.rules.first(told));
        }
        if self.root.is_none() {
            self.root = called_program::root_of(&self.listener, call)?;
        }
        let Some(root) = &self.root else {
            return Ok(ExecAttempt::Nothing);
        };
        self.rules
            .look(call, &WaitingProcess::new(call, root), &mut self.known)
    }
}

/// Returns the interpreter in the first line of a script.
fn interpreter_of(head: &[u8]) -> Option<&[u8]> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = &line[line.iter().position(|byte| !blank(byte))?..];
    line.split(|byte| blank(byte) || *byte == 0).next()
}

/// The programs that a command started.
#[derive(Debug, Default, Serialize)]
pub struct LearnedPrograms {
    /// The entries of the list that the command needs, sorted.
    pub list: Vec<String>,
    /// The started programs, sorted by path.
    pub started: Vec<LearnedProgram>,
    /// Number of executions whose program is not in `started`.
    pub more: u64,
}

/// A program that a command started.
#[derive(Debug, Serialize)]
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
    fn the_interpreter_of_a_script_is_the_first_word_after_the_marker() {
        for (head, expected) in [
            ("#!/bin/sh\nx", Some("/bin/sh")),
            ("#! \t/usr/bin/env -S a\n", Some("/usr/bin/env")),
            ("#!sh", Some("sh")),
            ("#!\n/bin/sh", None),
            ("#!  ", None),
            ("echo", None),
            ("", None),
        ] {
            assert_eq!(
                interpreter_of(head.as_bytes()),
                expected.map(str::as_bytes),
                "{head:?}"
            );
        }
    }
}

#[cfg(test)]
mod learned_programs_tests {
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
