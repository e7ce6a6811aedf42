//! The effective sandbox profile: everything that a run may touch.
//!
//! The first version of the format already defines all parts of the profile. A program that cannot enforce a part
//! refuses the profile.

use crate::record::document::check_sorted;
use crate::record::malformed::Malformed;
use crate::record::program_list::ProgramList;
use crate::record::reserved::{ReservedPart as _, below};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of the sandbox that can be required. A closed list; a level such as `strict` is a shorthand for some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// No capabilities, no_new_privs, an id of its own.
    Capabilities,
    /// An own root: only what the profile allows is there, deny patterns hold.
    Filesystem,
    /// Landlock rules for every file access.
    Landlock,
    /// User, mount, pid, ipc and uts namespaces.
    Namespaces,
    /// The network as the profile says, by a network namespace.
    Network,
    /// Only the programs of a list can be executed.
    Programs,
    /// A system-call filter.
    Seccomp,
}

impl Layer {
    /// Returns the name of the layer in documents and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Filesystem => "filesystem",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
            Self::Network => "network",
            Self::Programs => "programs",
            Self::Seccomp => "seccomp",
        }
    }
}

/// The layers of `strict`, sorted. The layer [`Layer::Programs`] belongs to profiles with a list of programs only.
pub const STRICT: [Layer; 6] =
    [Layer::Capabilities, Layer::Filesystem, Layer::Landlock, Layer::Namespaces, Layer::Network, Layer::Seccomp];

/// The effective profile of one run, as approvers sign it. Arrays are sorted and unique.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The layers that must be held fully, else the run is refused before its nonce is spent.
    #[schemars(extend("uniqueItems" = true))]
    pub require: Vec<Layer>,
    /// Host paths that may be read, besides what an interpreter needs.
    #[schemars(extend("uniqueItems" = true))]
    pub read: Vec<String>,
    /// Host paths that may be written; `{work}` is the private work directory.
    #[schemars(extend("uniqueItems" = true))]
    pub write: Vec<String>,
    /// Patterns below allowed directories that stay out of reach.
    #[schemars(extend("uniqueItems" = true))]
    pub deny: Vec<String>,
    /// Where the run works.
    pub workdir: Workdir,
    /// What network the run sees.
    pub network: Network,
    /// Unix sockets of the host that the run may reach.
    #[schemars(extend("uniqueItems" = true))]
    pub sockets: Vec<String>,
    /// How much of `/proc` the run sees.
    pub proc: Proc,
    /// `isolated` (an id of its own) or a name of the host's.
    pub run_as: String,
    /// What the run may use up.
    pub limits: Limits,
    /// The only programs that the run may execute. If the field is absent, the run may execute every program of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramList>,
    /// Why the sandbox is off, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_reason: Option<String>,
}

/// Value of [`Profile::run_as`] for a run that gets its own user id.
pub const ISOLATED: &str = "isolated";

impl Profile {
    /// Checks that the arrays are sorted and unique, and that the profile requires the layer `programs` only together
    /// with a list of programs. `pointer` is the place of the profile in the document.
    ///
    /// # Errors
    /// Returns an error for the first element that breaks a rule.
    pub fn check(&self, pointer: &str) -> Result<(), Malformed> {
        check_sorted(&format!("{pointer}/require"), &self.require)?;
        for (name, items) in [
            ("read", &self.read),
            ("write", &self.write),
            ("deny", &self.deny),
            ("network/hosts", &self.network.hosts),
            ("sockets", &self.sockets),
        ] {
            check_sorted(&format!("{pointer}/{name}"), items)?;
        }
        match (&self.programs, self.require.iter().position(|layer| *layer == Layer::Programs)) {
            (Some(programs), _) => programs.check().map_err(|error| below(&format!("{pointer}/programs"), error)),
            (None, Some(at)) => {
                Err(Malformed::at(format!("{pointer}/require/{at}"), "required without a list of programs"))
            }
            (None, None) => Ok(()),
        }
    }

    /// Returns the profile with a list of programs that the sandbox must enforce.
    #[must_use]
    pub fn with_programs(mut self, list: ProgramList) -> Self {
        self.programs = Some(list);
        self.require_programs();
        self
    }

    /// Adds the layer `programs` to the required layers.
    pub fn require_programs(&mut self) {
        if let Err(at) = self.require.binary_search(&Layer::Programs) {
            self.require.insert(at, Layer::Programs);
        }
    }

    /// Returns the profile of a run that declares nothing: a private directory, no network and its own user id.
    #[must_use]
    pub fn nothing(require: Vec<Layer>, limits: Limits) -> Self {
        Self {
            require,
            read: Vec::new(),
            write: Vec::new(),
            deny: Vec::new(),
            workdir: Workdir::Private,
            network: Network { mode: NetworkMode::None, hosts: Vec::new() },
            sockets: Vec::new(),
            proc: Proc::Minimal,
            run_as: ISOLATED.to_owned(),
            limits,
            programs: None,
            off_reason: None,
        }
    }
}

/// Where the run works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Workdir {
    /// An empty directory of its own, gone afterwards.
    Private,
    /// A private copy of a tree.
    Copy,
    /// A tree seen through an overlay.
    Overlay,
    /// The live tree.
    InPlace,
}

/// What network the run sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// None, an allow list, or the host's.
    pub mode: NetworkMode,
    /// `host:port` pairs of an allow list.
    #[schemars(extend("uniqueItems" = true))]
    pub hosts: Vec<String>,
}

/// None, an allow list, or the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// An empty network namespace.
    None,
    /// Only the listed hosts, through the service's proxy.
    Allow,
    /// The host's network as it is.
    Host,
}

/// How much of `/proc` the run sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Proc {
    /// Only the processes of the run (`subset=pid`).
    Minimal,
    /// The whole of `/proc` of the run's pid namespace.
    Full,
}

/// Maximum size of a run's shared memory in bytes.
const MAX_SHM: u64 = 64 << 20;

/// What the run may use up. Zero is never a limit: it is an error at the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds from start to the end of the whole process tree.
    pub wall_ms: u64,
    /// Thousandths of one CPU.
    pub cpu_milli: u64,
    /// Memory in bytes, without swap.
    pub memory_bytes: u64,
    /// Processes and threads at one time.
    pub processes: u64,
    /// The largest file that may be written, in bytes.
    pub file_bytes: u64,
    /// The room of the private work directory, in bytes.
    pub disk_bytes: u64,
    /// Recorded output of both streams together, in bytes; the rest is counted only.
    pub output_bytes: u64,
}

impl Limits {
    /// Returns the number of bytes that a run with its own root directory can store in `/dev/shm`. The disk limit does
    /// not cover these bytes.
    #[must_use]
    pub fn shared_memory_bytes(&self) -> u64 {
        self.disk_bytes.min(MAX_SHM)
    }
}

impl Default for Limits {
    /// Returns the default limits: 5 min, 1 CPU, 512 MiB, 100 processes, 64 MiB for one file, 1 GiB of disk, 10 MiB of
    /// output.
    fn default() -> Self {
        Self {
            wall_ms: 300_000,
            cpu_milli: 1000,
            memory_bytes: 512 << 20,
            processes: 100,
            file_bytes: 64 << 20,
            disk_bytes: 1 << 30,
            output_bytes: 10 << 20,
        }
    }
}
