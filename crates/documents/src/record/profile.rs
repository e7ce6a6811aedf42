//! The effective sandbox profile: everything that a run may touch.
//!
//! The first version of the format already defines all parts of the profile. A program that cannot enforce a part
//! refuses the profile.

use crate::{BlobDigest, ListedProgram, Malformed, ProgramList, check_sorted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

words! {
    /// A layer: one mechanism of the sandbox. The list of layers is closed. A level such as `strict` is a short name for
    /// several layers.
    #[derive(PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Layer {
        /// The run has no capabilities, cannot gain any (`no_new_privs`), and has its own user id.
        Capabilities = "capabilities",
        /// The run has its own root directory. It contains only the files that the profile allows, and patterns of `deny`
        /// hide files.
        Filesystem = "filesystem",
        /// Landlock rules restrict every access to files.
        Landlock = "landlock",
        /// The run has its own namespaces for users, mounts, processes (pid), ipc and host name (uts).
        Namespaces = "namespaces",
        /// A network namespace gives the run only the network of its profile.
        Network = "network",
        /// The run can execute only the programs of its list.
        Programs = "programs",
        /// A seccomp filter blocks system calls that a run does not need.
        Seccomp = "seccomp",
    }
}

/// The layers of `strict`, sorted. The layer [`Layer::Programs`] belongs to profiles with a list of programs only.
pub const STRICT: [Layer; 6] = [
    Layer::Capabilities,
    Layer::Filesystem,
    Layer::Landlock,
    Layer::Namespaces,
    Layer::Network,
    Layer::Seccomp,
];

/// The signed description of the sandbox of one run. All arrays are sorted, and no element occurs twice.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Layers that the boundary must fully enforce. If the host cannot enforce a layer, the boundary refuses the run
    /// before it spends the nonce.
    #[schemars(extend("uniqueItems" = true))]
    pub require: Vec<Layer>,
    /// Paths of the host that the run may read, in addition to the files that an interpreter needs.
    #[schemars(extend("uniqueItems" = true))]
    pub read: Vec<String>,
    /// Paths of the host that the run may write.
    #[schemars(extend("uniqueItems" = true))]
    pub write: Vec<String>,
    /// Patterns of paths that the run cannot access, even below a path of `read` or `write`.
    #[schemars(extend("uniqueItems" = true))]
    pub deny: Vec<String>,
    /// How the run gets its work directory.
    pub workdir: Workdir,
    /// The network that the run can use.
    pub network: Network,
    /// Unix sockets of the host to which the run may connect.
    #[schemars(extend("uniqueItems" = true))]
    pub sockets: Vec<String>,
    /// The part of `/proc` that the run sees.
    pub proc: Proc,
    /// The user of the run: `isolated` for a user id of its own, or the name of a user of the host.
    pub run_as: String,
    /// Maximum resources of the run.
    pub limits: Limits,
    /// Digest of the list of the only programs that the run may execute. If absent, the run may execute every program of
    /// the host.
    #[schemars(with = "Option<BlobDigest>")]
    pub programs: Option<ProgramList>,
    /// Reason why the step needs to run without a sandbox. If absent, the run has a sandbox.
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
            ("network/private", &self.network.private),
            ("network/localhost", &self.network.localhost),
            ("sockets", &self.sockets),
        ] {
            check_sorted(&format!("{pointer}/{name}"), items)?;
        }
        for (name, items) in [
            ("private", &self.network.private),
            ("localhost", &self.network.localhost),
        ] {
            if let Some(at) = items
                .iter()
                .position(|host| !self.network.hosts.contains(host))
            {
                return Err(Malformed::at(
                    format!("{pointer}/network/{name}/{at}"),
                    "not a host of the list",
                ));
            }
        }
        let listed = self
            .require
            .iter()
            .position(|layer| *layer == Layer::Programs);
        match listed {
            Some(at) if self.programs.is_none() => Err(Malformed::at(
                format!("{pointer}/require/{at}"),
                "required without a list of programs",
            )),
            _ => Ok(()),
        }
    }

    /// Adds the list of these programs, which may be none, as [`Self::add_programs`] does.
    ///
    /// # Errors
    /// Returns an error as [`Self::add_programs`] does, and also if the programs are no list.
    pub fn add_listed(&mut self, programs: &[ListedProgram]) -> Result<(), Malformed> {
        if programs.is_empty() {
            return self.add_programs(None);
        }
        self.add_programs(Some(&ProgramList::of(programs.to_vec())?))
    }

    /// Adds the list of programs that the profile names.
    ///
    /// # Errors
    /// Returns an error if the list is missing, or if the profile names another list or none.
    pub fn add_programs(&mut self, list: Option<&ProgramList>) -> Result<(), Malformed> {
        let why = match (&mut self.programs, list) {
            (None, None) => return Ok(()),
            (Some(named), Some(list)) if named == list => {
                named.clone_from(list);
                return Ok(());
            }
            (Some(named), Some(list)) => format!(
                "the profile names the list of programs {}, but the list has the digest {}",
                named.digest(),
                list.digest()
            ),
            (Some(named), None) => format!("the list of programs {} is missing", named.digest()),
            (None, Some(_)) => "the profile names no list of programs, but there is one".to_owned(),
        };
        Err(Malformed::at("/programs", why))
    }

    /// Returns the programs of the list. Empty without a list, and if nobody has added the list.
    pub fn listed(&self) -> &[ListedProgram] {
        self.programs.as_ref().map_or(&[], ProgramList::programs)
    }

    /// Returns the profile with a list of programs that the sandbox must enforce.
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
    pub fn nothing(require: Vec<Layer>, limits: Limits) -> Self {
        Self {
            require,
            read: Vec::new(),
            write: Vec::new(),
            deny: Vec::new(),
            workdir: Workdir::Private,
            network: Network::NONE,
            sockets: Vec::new(),
            proc: Proc::Minimal,
            run_as: ISOLATED.to_owned(),
            limits,
            programs: None,
            off_reason: None,
        }
    }
}

/// How a run gets its work directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Workdir {
    /// A new, empty directory, which the boundary deletes after the run.
    Private,
    /// Copies of the directories in `write`. The run does not change the originals.
    Copy,
    /// The directories in `write` below an overlay file system. The run does not change the originals.
    Overlay,
    /// The directories in `write` themselves. The run changes files of the host.
    InPlace,
}

/// The network that a run can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Whether the run has no network, a list of hosts, or the network of the host.
    pub mode: NetworkMode,
    /// With the mode `allow`: the hosts as `NAME:PORT` or `ADDRESS:PORT`, for example `api.example.com:443`.
    #[schemars(extend("uniqueItems" = true))]
    pub hosts: Vec<String>,
    /// The elements of `hosts` whose addresses may be private. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub private: Vec<String>,
    /// The elements of `hosts` whose addresses may belong to the host of the boundary. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub localhost: Vec<String>,
}

impl Network {
    /// The network of a run without hosts.
    pub const NONE: Self = Self {
        mode: NetworkMode::None,
        hosts: Vec::new(),
        private: Vec::new(),
        localhost: Vec::new(),
    };
}

/// Whether a run has no network, a list of hosts, or the network of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// No network: an empty network namespace.
    None,
    /// Only the hosts of the list, to which the boundary connects for the run.
    Allow,
    /// The network of the host, without restrictions.
    Host,
}

words! {
    /// The part of `/proc` that a run sees.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Proc {
        /// Only the processes of the run (mount option `subset=pid`).
        Minimal = "minimal",
        /// The whole `/proc` of the run's process namespace.
        Full = "full",
    }
}

/// Maximum size of a run's shared memory in bytes.
const MAX_SHM: u64 = 64 << 20;

/// Maximum resources of a run. A limit is never 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time in milliseconds from the start of the run until all its processes have ended.
    pub wall_ms: u64,
    /// CPU time in thousandths of one CPU: 1500 means one and a half CPUs.
    pub cpu_milli: u64,
    /// Memory in bytes, without swap.
    pub memory_bytes: u64,
    /// Number of processes and threads at the same time.
    pub processes: u64,
    /// Size in bytes of the largest file that the run may write.
    pub file_bytes: u64,
    /// Size of the private work directory in bytes.
    pub disk_bytes: u64,
    /// Recorded bytes of standard output and standard error together. The boundary counts further bytes and does not
    /// record them.
    pub output_bytes: u64,
}

impl Limits {
    /// Returns the number of bytes that a run with its own root directory can store in `/dev/shm`. The disk limit does
    /// not cover these bytes.
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
