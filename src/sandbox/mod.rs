//! The sandbox: one run of one step, held.
//!
//! The service starts its own binary once as a helper ([`launcher`]), which clones the first process of each run into its
//! namespaces; that one makes the root (`filesystem`, `trees`, `deny`), gives up everything (`confine`, `seccomp`,
//! `grants`) and executes the step. The service itself ([`linux`], [`follow`], `helper`, `cgroup`) only asks, reads
//! pipes and keeps the deadline: it never forks. What is asked before is in [`probe`] and [`profile`], what is said
//! afterwards in `facts`.

pub mod addresses;
pub mod attempts;
mod bpf;
pub mod cancel;
pub mod capture;
mod cgroup;
mod confine;
mod deny;
pub mod facts;
mod filesystem;
pub mod follow;
mod grants;
mod helper;
mod ids;
mod interpreter;
pub mod launcher;
mod leftovers;
pub mod linux;
mod mounts;
pub mod network;
pub mod probe;
pub mod profile;
pub mod protocol;
mod remove;
mod request;
mod seccomp;
mod syscalls;
mod trees;

use crate::record::enforcement::Enforcement;
use crate::record::profile::Profile;
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::capture::{Capture, Chunk, Segment};
use crate::sandbox::probe::HostProbe;
use crate::sandbox::profile::{Prepared, Unavailable};

/// Runs steps. The contract: after [`Sandbox::run`] returned no process of that run exists, unless
/// [`Enforcement::left`] says so; a run may be started from any thread and beside any other.
pub trait Sandbox: Send + Sync {
    /// What this host holds, found by performing the whole set-up once, never from version numbers.
    fn probe(&self) -> &HostProbe;

    /// Whether this host can hold that profile. Asked before the nonce is spent.
    ///
    /// # Errors
    /// Names the first thing that can't be held, and what to do about it.
    fn check(&self, profile: &Profile) -> Result<Prepared, Unavailable>;

    /// Runs a step to its end and returns when its whole process tree is dead. Blocking. Never fails: what goes
    /// wrong is an [`End`]. `live` sees output as it is recorded, in the order it came; it must not block for long,
    /// since deadline and cancellation are looked at between its calls.
    fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report;
}

/// What to run. The profile is in the [`Prepared`] it goes with, so that it can't be another than was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The step's interpreter, used when the source has no shebang: a name such as `bash`, or an absolute path.
    pub interpreter: String,
    /// The script, at most 1 MiB. Runs from memory: nothing outside can change it.
    pub source: Vec<u8>,
    /// The approved environment, besides what every run has: `PATH`, `HOME`, `TMPDIR`, `LANG`, `LC_ALL`,
    /// `COUNTERSIGN_PARAMS`; and `GIT_CONFIG_SYSTEM` where the run is given paths of the host.
    pub env: Vec<(String, String)>,
    /// The whole parameter object as JSON, for the file `$COUNTERSIGN_PARAMS`.
    pub params_json: Vec<u8>,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard output.
    pub stdout: Capture,
    /// What it wrote to standard error.
    pub stderr: Capture,
    /// The recorded output of both streams in the order in which it came.
    pub order: Vec<Segment>,
    /// What it used.
    pub usage: RunUsage,
    /// What was enforced.
    pub enforcement: Enforcement,
    /// Milliseconds from its beginning to the death of the whole tree.
    pub duration_ms: u64,
}

impl Report {
    /// Of a run that was never handed to a sandbox: nothing was executed, and why.
    #[must_use]
    pub fn not_started(why: String) -> Self {
        Self::without_run(End::NotStarted(why))
    }

    /// Of a run whose sandbox was not heard of again, and why.
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
            enforcement: facts::nothing_enforced(),
            duration_ms: 0,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The step's own exit code.
    Exited(u8),
    /// A signal ended the step.
    Signalled(u8),
    /// The wall time was over.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// A limit ended it: the name of that limit.
    Killed(&'static str),
    /// Nothing was executed, and this is proved: why.
    NotStarted(String),
    /// It may have run, but its end was not seen: why.
    Lost(String),
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunUsage {
    /// CPU time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of one of its processes, in bytes.
    pub memory_peak_bytes: u64,
}

/// Paths of the host that every run can read, whatever policy says: interpreters need them.
pub fn always_readable() -> impl Iterator<Item = &'static std::path::Path> {
    filesystem::always_visible()
}
