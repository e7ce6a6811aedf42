//! The sandbox, which isolates each run of a step.
//!
//! The service starts its own binary once as a helper ([`launcher`]). The helper clones the first process of each run
//! into new namespaces. The first process builds the root file system (`filesystem`, `trees`, `denied_names`,
//! `step_files`), drops
//! its privileges (`confine`, `seccomp`, `grants`) and executes the step. The service ([`linux`], [`run_follower`],
//! `helper`, `cgroup`) never calls fork. The service sends requests to the helper, reads the output pipes and enforces
//! the deadline. The checks before a run are in [`probe`], [`profile_check`] and `profile_paths`. The report after a run
//! is built in `enforcement_facts`. A thread of the service records the programs of a run (`program_recorder`).

pub mod addresses;
pub mod attempts;
mod bpf;
mod called_program;
pub mod cancel_flag;
pub mod capture;
mod cgroup;
mod confine;
mod denied_names;
pub mod enforcement_facts;
mod executable_files;
mod filesystem;
mod found_lists;
mod grants;
mod helper;
mod ids;
pub mod interpreter;
pub mod launcher;
pub mod learned_programs;
mod leftovers;
mod library_search;
pub mod linux;
mod listed_programs;
mod mounts;
pub mod network;
mod path_pattern;
pub mod planned_secret;
pub mod probe;
pub mod profile_check;
mod profile_paths;
mod program_counts;
mod program_format;
pub mod program_lookup;
mod program_recorder;
pub mod protocol;
mod remove;
mod request;
pub mod run_follower;
mod seccomp;
mod secret_files;
mod step_files;
mod syscalls;
mod trees;
pub mod unavailable;

use std::sync::Arc;

use crate::record::enforcement::Enforcement;
use crate::record::profile::Profile;
use crate::record::program_list::ProgramFacts;
use crate::record::step_file::StepFile;
use crate::sandbox::cancel_flag::CancelFlag;
use crate::sandbox::capture::{Capture, Chunk, Segment};
use crate::sandbox::learned_programs::LearnedPrograms;
use crate::sandbox::planned_secret::PlannedSecret;
use crate::sandbox::probe::HostProbe;
use crate::sandbox::profile_check::Prepared;
use crate::sandbox::unavailable::Unavailable;

/// Runs steps. After [`Sandbox::run`] returns, all processes of the run have ended, except those that
/// [`Enforcement::left`] counts. Several threads may call [`Sandbox::run`] at the same time.
pub trait Sandbox: Send + Sync {
    /// Returns the layers that this host supports. The probe performs the whole set-up once instead of comparing
    /// version numbers.
    fn probe(&self) -> &HostProbe;

    /// Checks whether this host can enforce `profile`, before a nonce is spent.
    ///
    /// # Errors
    /// Returns the first requirement that this host can't meet, and how the operator can meet it.
    fn check(&self, profile: &Profile) -> Result<Prepared, Unavailable>;

    /// Runs a step and returns when the whole process tree of the run is dead. This function blocks. A failure is
    /// returned as an [`End`], never as an error.
    ///
    /// `live` receives the output in the order of arrival, while it is recorded. `live` must return quickly, because
    /// the deadline and `cancel` are checked only between its calls.
    fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report;
}

/// Data of a run besides the profile. The profile is in [`Prepared`], so that a run always has the checked profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Interpreter for a `source` without a shebang: a name such as `bash`, or an absolute path.
    pub interpreter: String,
    /// The script, at most 1 MiB. It is executed from memory, so that no process can change it.
    pub source: Vec<u8>,
    /// The approved environment variables of the step, in addition to `PATH`, `HOME`, `TMPDIR`, `LANG`, `LC_ALL` and
    /// `COUNTERSIGN_PARAMS`. A run that gets paths of the host also has the variable `GIT_CONFIG_SYSTEM`.
    pub env: Vec<(String, String)>,
    /// All parameters as one JSON object, for the file `$COUNTERSIGN_PARAMS`.
    pub params_json: Vec<u8>,
    /// Files that the run has beside its script, at most 4 MiB together. The step can't change them.
    pub files: Vec<PlannedFile>,
    /// Secrets of the run, at most 128 KiB together.
    pub secrets: Vec<PlannedSecret>,
}

/// A file of a step with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path, size, digest and mode of the file. The run starts only if the content has this digest.
    pub file: StepFile,
    /// The content.
    pub bytes: Arc<[u8]>,
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
    /// The recorded output of both streams, in the order of arrival.
    pub order: Vec<Segment>,
    /// CPU time and memory that the run used.
    pub usage: RunUsage,
    /// The sandbox layers and limits that were enforced.
    pub enforcement: Enforcement,
    /// The programs of a run with a list of programs, or `None` for other runs.
    pub programs: Option<ProgramFacts>,
    /// The programs of a run for [`Prepared::learning`], or `None` for other runs and if this host gave no record.
    pub learned: Option<LearnedPrograms>,
    /// Milliseconds from the start of the run to the death of its whole process tree.
    pub duration_ms: u64,
}

impl Report {
    /// Returns the report of a run that was never passed to a sandbox, for the reason `why`.
    #[must_use]
    pub fn not_started(why: String) -> Self {
        Self::without_run(End::NotStarted(why))
    }

    /// Returns the report of a run whose sandbox no longer answers, for the reason `why`.
    #[must_use]
    pub fn lost(why: String) -> Self {
        Self::without_run(End::Lost(why))
    }

    fn without_run(end: End) -> Self {
        let nothing = || Capture { bytes: 0, recorded: capture::CapturedBytes::Memory(Vec::new()), truncated: false };
        Self {
            end,
            stdout: nothing(),
            stderr: nothing(),
            order: Vec::new(),
            usage: RunUsage::default(),
            enforcement: enforcement_facts::nothing_enforced(),
            programs: None,
            learned: None,
            duration_ms: 0,
        }
    }
}

/// The reason for the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunUsage {
    /// CPU time of all processes of the run, in milliseconds.
    pub cpu_ms: u64,
    /// Maximum resident set size of any process of the run, in bytes.
    pub memory_peak_bytes: u64,
}

/// Returns the paths of the host that every run can read without a sandbox permission, because interpreters need them.
pub fn always_readable() -> impl Iterator<Item = &'static std::path::Path> {
    filesystem::always_visible()
}
