//! A run from its plan to its report.
//!
//! The service ([`linux`], [`run_follower`]) never calls fork. It sends requests to a helper ([`crate::isolation`]), reads
//! the output pipes and enforces the deadline. The check of a profile before a run is in [`profile_check`]. The report
//! after a run is built in [`enforcement_facts`].

pub mod attempts;
pub mod capture;
pub mod enforcement_facts;
pub mod linux;
mod plan_check;
pub mod profile_check;
mod run_contents;
pub mod run_follower;
pub mod starter;

use std::{fs::File, sync::Arc};

use crate::{Capture, LearnedPrograms, PlannedSecret, RunResults, SessionTree, SessionWrapper};
use documents::{ArtifactName, ContentDigest, Enforcement, ProgramFacts, StepFile};

/// Data of a run besides the profile. The profile is in [`Prepared`], so that a run always has the checked profile.
pub struct Plan {
    /// Interpreter for a `source` without a shebang: a name such as `bash`, or an absolute path.
    pub interpreter: String,
    /// The script, at most 1 MiB. The run executes a private copy of these bytes.
    pub source: Vec<u8>,
    /// The approved environment variables of the step, in addition to `PATH`, `HOME`, `TMPDIR`, `LANG`, `LC_ALL` and
    /// `COUNTERSIGN_PARAMS`. A run that gets paths of the host also has the variable `GIT_CONFIG_SYSTEM`.
    pub env: Vec<(String, String)>,
    /// All parameters as one JSON object, for the file `$COUNTERSIGN_PARAMS`.
    pub params_json: Vec<u8>,
    /// Files that the run has beside its script, at most 4 MiB together. In its own root file system, a run can't
    /// change them.
    pub files: Vec<PlannedFile>,
    /// Secrets of the run, at most 128 KiB together.
    pub secrets: Vec<PlannedSecret>,
    /// Files that the run reads as `$COUNTERSIGN_ARTIFACTS/NAME`: at most [`MAX_INPUTS`] files with at most
    /// [`MAX_INPUT_BYTES`] together, each name once.
    pub inputs: Vec<PlannedInput>,
    /// True if [`Report::results`] has the files and outputs of the run. The run then has the directory
    /// `$COUNTERSIGN_OUTPUT` (also `$RUNBOOKS_OUTPUT` and `$GENERATED_FILES`) and the file `$RUNBOOK_OUTPUT`.
    pub results: bool,
    /// The session to which the run belongs, or `None` for a run on its own.
    pub session: Option<PlannedSession>,
    /// Services that the run may not reach, each with its port, even if they are hosts of its list. The listeners of this
    /// process need no entry.
    pub unreachable: Arc<[(String, u16)]>,
}

impl Plan {
    /// Returns the plan of a shell script that gets nothing but variables.
    pub fn shell<const N: usize>(source: impl Into<Vec<u8>>, env: [(&str, String); N]) -> Self {
        Self {
            interpreter: "sh".into(),
            source: source.into(),
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            params_json: b"{}".to_vec(),
            files: vec![],
            secrets: vec![],
            inputs: vec![],
            results: false,
            session: None,
            unreachable: [].into(),
        }
    }

    pub(crate) fn step_files(&self) -> Vec<StepFile> {
        let files = self.files.iter();
        files.map(|planned| planned.file.clone()).collect()
    }
}

/// Maximum number of inputs of a run.
pub const MAX_INPUTS: usize = 16;
/// Maximum size of all inputs of a run together, in bytes. The run has a private copy of each input in memory.
pub const MAX_INPUT_BYTES: u64 = 64 << 20;
/// A file that a run receives.
#[derive(Clone)]
pub struct PlannedInput {
    /// Name of the file in `$COUNTERSIGN_ARTIFACTS`.
    pub name: ArtifactName,
    /// SHA-256 of the content. The run starts only if the content has this digest.
    pub digest: ContentDigest,
    /// Size of the content, in bytes. The run starts only if the content has this size.
    pub bytes: u64,
    /// The content. It is read from its beginning, and the position of the descriptor is not used.
    pub file: Arc<File>,
}

/// What a run gets from its session.
///
/// The run has an empty directory of its own as `$HOME`. Its private work directory begins with the content of `tree`.
#[derive(Clone, Default)]
pub struct PlannedSession {
    /// Names and values of the variables of the session, at most 1 MiB together. They replace defaults such as `PATH`
    /// and `LANG`, but no variable of [`Plan::env`], no other variable of the sandbox, and no name that begins with
    /// `PARAM_` or `COUNTERSIGN_`.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names of defaults such as `LANG` that the run does not get.
    pub unset: Vec<Vec<u8>>,
    /// Absolute path of the directory in which the step starts, or `None` for the directory of a run on its own. The
    /// run is not started if it has no directory with this path.
    pub cwd: Option<Vec<u8>>,
    /// The private work directory that the last run of the session left, from [`RunResults::work`].
    pub tree: Option<Arc<SessionTree>>,
    /// The program text that saves the state of the shell, or `None` if the step can't change the session's variables.
    pub wrapper: Option<SessionWrapper>,
}

/// A file of a step with its content.
pub struct PlannedFile {
    /// Path, size, digest and mode of the file. The run starts only if the content has this digest.
    pub file: StepFile,
    /// The content.
    pub bytes: Arc<[u8]>,
    /// True if the directory for temporary files has a link to the file, too.
    pub in_tmp: bool,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// Reason for the end of the run.
    pub end: End,
    /// Standard output of the run.
    pub stdout: Capture,
    /// Standard error of the run.
    pub stderr: Capture,
    /// CPU time and memory that the run used.
    pub usage: RunUsage,
    /// The sandbox layers and limits that were enforced.
    pub enforcement: Enforcement,
    /// The programs of a run with a list of programs, or `None` for other runs.
    pub programs: Option<ProgramFacts>,
    /// The programs of a run with [`Prepared::learning`]. `None` for other runs, or if nothing could be recorded.
    pub learned: Option<LearnedPrograms>,
    /// What a run with [`Plan::results`] or [`Plan::session`] left, even if a time limit or a signal ended the run.
    /// `None` if the step was not started, if a process of the run may still be alive, or if the service had no free
    /// descriptor.
    pub results: Option<RunResults>,
    /// Milliseconds from the start of the run to the death of its whole process tree.
    pub duration_ms: u64,
}

impl Report {
    /// Returns the report of a run that was never passed to a sandbox, for the reason `why`.
    pub fn not_started(why: String) -> Self {
        Self::without_run(End::NotStarted(why))
    }

    /// Returns the report of a run whose end nobody saw, for the reason `why`.
    pub fn lost(why: String) -> Self {
        Self::without_run(End::Lost(why))
    }

    fn without_run(end: End) -> Self {
        Self {
            end,
            stdout: Capture::empty(),
            stderr: Capture::empty(),
            usage: RunUsage::default(),
            enforcement: enforcement_facts::nothing_enforced(),
            programs: None,
            learned: None,
            results: None,
            duration_ms: 0,
        }
    }
}

/// The reason for the end of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The step exited with this code.
    Exited(u8),
    /// A signal with this number killed the step.
    Signalled(u8),
    /// The run exceeded its wall time.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
    /// The run exceeded the limit with this name.
    Killed(&'static str),
    /// The step was not started, for this reason.
    NotStarted(String),
    /// The step may have run, but its end was not observed, for this reason.
    Lost(String),
}

/// CPU time and memory that a run used.
#[derive(Debug, Default)]
pub struct RunUsage {
    /// CPU time of all processes of the run, in milliseconds.
    pub cpu_ms: u64,
    /// Maximum resident set size of any process of the run, in bytes.
    pub memory_peak_bytes: u64,
}

/// Returns the paths of the host that every run can read without a sandbox permission, because interpreters need them.
pub fn always_readable() -> impl Iterator<Item = &'static std::path::Path> {
    crate::isolation::system_paths::always_visible()
}
