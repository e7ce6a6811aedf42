//! The sandbox that a step declares. The crate `reading` reads these declarations from the files of people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{Limits, MAX_HOSTS, Proc, Workdir};

/// The network that a step declares: `none`, `host`, or a list such as `{allow: ["api.example.com:443"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeclaredNetwork<H = String> {
    /// No network.
    None,
    /// Only these hosts, each as `NAME:PORT` or `ADDRESS:PORT`. At least one host.
    Allow(#[schemars(length(min = 1, max = MAX_HOSTS))] Vec<H>),
    /// The network of the host, without restrictions.
    Host,
}

/// The part of the sandbox that a step declares. For an absent field, policy or the configuration of the boundary
/// decides.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSandbox {
    /// Limits that differ from the defaults of the boundary.
    pub limits: Option<DeclaredLimits>,
    /// The part of `/proc` that the step needs.
    pub proc: Option<Proc>,
    /// Paths of the host that the step reads, sorted.
    pub read: Option<Vec<String>>,
    /// Paths of the host that the step writes, sorted. `workdir` decides whether the step changes them in place.
    pub write: Option<Vec<String>>,
    /// Patterns of paths that the step cannot access, even below `read` or `write`, sorted.
    pub deny: Option<Vec<String>>,
    /// How the run gets the directories of `write`: as copies, below an overlay, or in place.
    pub workdir: Option<Workdir>,
    /// The network that the step needs.
    pub network: Option<DeclaredNetwork>,
    /// Unix sockets of the host to which the step connects, sorted.
    pub sockets: Option<Vec<String>>,
    /// Name of the user of the host as which the step must run.
    pub run_as: Option<String>,
    /// Reason why the step cannot run in a sandbox (`sandbox=off`).
    pub off_reason: Option<String>,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $limit:ident = $field:ident;)*) => {
        /// Limits that a step or a policy declares. An absent limit is not declared. No limit is 0.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct DeclaredLimits {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<u64>,)*
        }

        /// Limit of a run. The step, policy and the boundary's configuration can set the limit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Limit {
            $($(#[$doc])* $limit,)*
        }

        impl Limit {
            /// All limits, in the order of the profile.
            pub const ALL: [Self; 7] = [$(Self::$limit),*];

            /// Returns the name of the limit's field in documents.
            pub const fn field(self) -> &'static str {
                match self { $(Self::$limit => stringify!($field)),* }
            }

            /// Returns the field of this limit in a profile, for a change.
            pub fn of(self, limits: &mut Limits) -> &mut u64 {
                match self { $(Self::$limit => &mut limits.$field),* }
            }
        }

        impl DeclaredLimits {
            fn slot(&mut self, limit: Limit) -> &mut Option<u64> {
                match limit { $(Limit::$limit => &mut self.$field),* }
            }
        }
    };
}

limits! {
    /// Time in milliseconds from the start of the run until all its processes have ended.
    Wall = wall_ms;
    /// CPU time in thousandths of one CPU: 1500 means one and a half CPUs.
    Cpu = cpu_milli;
    /// Memory in bytes, without swap.
    Memory = memory_bytes;
    /// Number of processes and threads at the same time.
    Processes = processes;
    /// Size in bytes of the largest file that the run may write.
    File = file_bytes;
    /// Size of the work directory in bytes.
    Disk = disk_bytes;
    /// Recorded bytes of standard output and standard error together.
    Output = output_bytes;
}

impl Limit {
    /// Returns the value of this limit in a profile.
    pub fn value(self, limits: &Limits) -> u64 {
        *self.of(&mut limits.clone())
    }
}

impl DeclaredLimits {
    /// Returns the declared value of `limit`, or `None` if the step does not declare the limit.
    pub fn value(&self, limit: Limit) -> Option<u64> {
        *self.clone().slot(limit)
    }

    /// Sets the declared value of `limit`.
    pub fn declare(&mut self, limit: Limit, value: u64) {
        *self.slot(limit) = Some(value);
    }
}
