//! The protection that a sandbox enforced for one run.
//!
//! This module defines the receipt's `sandbox` block. The fields `level`, `layers` and `missing` are always present.
//! Other facts are present only if the sandbox established them, because an intention is not a fact.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    HostRefusal, Layer, MAX_HOSTS, Malformed, NetworkMode, Workdir, check_sorted, unhex32,
};

/// The sandbox of a run as it was enforced. Example:
/// `{"layers":["landlock"],"level":"best-effort","missing":["namespaces"]}`. The other fields are present only if the
/// boundary checked these facts.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// Short name for the enforced layers. Only `layers` and `missing` state what was enforced.
    pub level: Level,
    /// Layers that were fully enforced, sorted, each once.
    #[schemars(extend("uniqueItems" = true))]
    pub layers: Vec<Layer>,
    /// Layers that belong to the level and were not fully enforced, sorted, each once. A later version of the program
    /// can add layers to a level.
    #[schemars(extend("uniqueItems" = true))]
    pub missing: Vec<Layer>,
    /// Namespaces that the run did not share with the host, sorted: `cgroup`, `ipc`, `mnt`, `net`, `pid`, `user`,
    /// `uts`.
    #[schemars(inner(regex(pattern = r"^[a-z0-9.]{1,32}$")), extend("uniqueItems" = true))]
    pub ns: Option<Vec<String>>,
    /// The Landlock rules of the run.
    pub landlock: Option<LandlockFacts>,
    /// The filter of system calls.
    pub seccomp: Option<SeccompFacts>,
    /// The capabilities of the run.
    pub caps: Option<Capabilities>,
    /// The files of the host that the run could access.
    pub fs: Option<FilesystemFacts>,
    /// The network that the run could use.
    pub net: Option<NetworkMode>,
    /// Hosts of the allow list to which the run had a connection, sorted, as `NAME:PORT`. Present only if the network
    /// is an allow list.
    #[schemars(extend("uniqueItems" = true))]
    pub contacted: Option<Vec<String>>,
    /// The first 8 hosts of the allow list to which the run got no connection, in the order of the list. Absent if there were
    /// none.
    #[schemars(length(min = 1, max = MAX_REFUSED_HOSTS), extend("uniqueItems" = true))]
    pub refused_hosts: Option<Vec<RefusedHost>>,
    /// The limits that were enforced, with the mechanism of each limit.
    pub limits: Option<LimitFacts>,
    /// The mechanisms that ended the processes of the run, sorted: `cgroup.kill`, `pidns`, `subreaper`.
    #[schemars(inner(regex(pattern = r"^[a-z0-9.]{1,32}$")), extend("uniqueItems" = true))]
    pub kill: Option<Vec<String>>,
    /// Number of processes that the boundary could not end in time, because they blocked in the kernel. Absent if there
    /// were none.
    pub left: Option<u64>,
}

/// Maximum number of refused hosts in one receipt, so that the refused hosts take at most 256 bytes of canonical JSON.
pub const MAX_REFUSED_HOSTS: usize = 8;

/// A host to which a run got no connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusedHost {
    /// Place of the host in `network.hosts` of the signed profile, from 0.
    #[schemars(range(max = 63))]
    pub at: u64,
    /// The reason.
    pub why: HostRefusal,
}

impl RefusedHost {
    fn line(&self, hosts: &[String]) -> String {
        let host = usize::try_from(self.at).ok().and_then(|at| hosts.get(at));
        let host = host.map_or_else(|| format!("host {} of the list", self.at + 1), Clone::clone);
        let line = format!("refused  {host}: {}", self.why);
        match self.why {
            HostRefusal::Private => format!("{line}: {{host: {host:?}, private: true}}"),
            HostRefusal::Localhost => format!("{line}: {{host: {host:?}, localhost: true}}"),
            _ => line,
        }
    }
}

words! {
    /// A level: a short name for several layers.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum Level {
        /// All layers that the program has for every run.
        Strict = "strict",
        /// Only some of these layers. `missing` names the others.
        BestEffort = "best-effort",
        /// No layer. The boundary still enforces limits and a clean environment.
        Off = "off",
    }
}

impl Enforcement {
    /// Returns a warning for people who rely on the deny patterns of this run.
    pub fn warning(&self) -> Option<String> {
        let before = self.fs.as_ref()?.masked_before?;
        Some(format!(
            "deny patterns hid {before} names in the previous run, but no name in this run: the names were moved or \
             removed between the two runs, and this run may have read the files"
        ))
    }

    /// Returns a line for people about each refused host: the host, and what to do. `hosts` is the signed list.
    pub fn refused_lines(&self, hosts: &[String]) -> Vec<String> {
        self.refused_hosts
            .iter()
            .flatten()
            .map(|refused| refused.line(hosts))
            .collect()
    }

    /// Checks that each list is sorted and unique, and that the lists do not contradict each other.
    ///
    /// # Errors
    /// Returns an error for the first list that breaks a rule.
    pub fn check(&self) -> Result<(), Malformed> {
        check_sorted("/predicate/sandbox/layers", &self.layers)?;
        check_sorted("/predicate/sandbox/missing", &self.missing)?;
        for (name, words) in [
            ("ns", &self.ns),
            ("contacted", &self.contacted),
            ("kill", &self.kill),
        ] {
            let words = words.as_deref().unwrap_or_default();
            check_sorted(&format!("/predicate/sandbox/{name}"), words)?;
        }
        if let Some(refused) = &self.refused_hosts {
            let in_order = refused.windows(2).all(|pair| pair[0].at < pair[1].at);
            let in_list = refused.iter().all(|host| host.at < MAX_HOSTS as u64);
            if !in_order || !in_list || refused.is_empty() || refused.len() > MAX_REFUSED_HOSTS {
                let message = "expected 1 to 8 hosts, with ascending places below 64";
                return Err(Malformed::at("/predicate/sandbox/refused_hosts", message));
            }
        }
        if let Some(limits) = &self.limits {
            limits.check()?;
        }
        if let Some(FilesystemFacts {
            masked,
            masked_before: Some(before),
            ..
        }) = &self.fs
            && (*masked != Some(0) || *before == 0)
        {
            let message = "`masked_before` is allowed only if `masked` is 0, and must be above 0";
            return Err(Malformed::at(
                "/predicate/sandbox/fs/masked_before",
                message,
            ));
        }
        for (name, words) in [("ns", &self.ns), ("kill", &self.kill)] {
            if let Some(at) = words.iter().flatten().position(|word| !is_word(word)) {
                let message = "each word must have 1 to 32 lower-case letters, digits and dots";
                return Err(Malformed::at(
                    format!("/predicate/sandbox/{name}/{at}"),
                    message,
                ));
            }
        }
        match &self.seccomp {
            Some(facts) if unhex32(&facts.sha256).is_none() => {
                let message = "a SHA-256 digest must have 64 lower-case hex digits";
                Err(Malformed::at("/predicate/sandbox/seccomp/sha256", message))
            }
            _ => Ok(()),
        }
    }
}

/// Returns true if the text has the form of a name such as `cgroup.kill`.
fn is_word(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.';
    (1..=32).contains(&text.len()) && text.bytes().all(ok)
}

/// The Landlock rules of a run. The run could not remove them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LandlockFacts {
    /// Version of the kernel's Landlock interface (ABI).
    pub abi: u64,
    /// Whether the rules restricted every access right of this ABI. Rights for network ports are not needed if the run
    /// has its own network namespace.
    pub status: LandlockStatus,
    /// Number of rules that grant access.
    pub rules: u64,
}

/// Whether Landlock restricted every access right of its ABI.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LandlockStatus {
    /// Landlock restricted every access right.
    Fully,
    /// Landlock restricted only some access rights. The layer `landlock` was not enforced.
    Partially,
}

/// The filter of system calls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeccompFacts {
    /// SHA-256 digest of the filter's instructions, 8 bytes each, little-endian, as 64 lower-case hexadecimal digits.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// The capabilities of a run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capabilities {
    /// The run had no capability in any set, and could not gain one.
    None,
}

/// The files of the host that a run could access.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesystemFacts {
    /// How the run got its work directory.
    pub mode: Workdir,
    /// Whether the run had its own root directory, which contains only the files that the profile allows.
    pub root: Root,
    /// Number of hidden names: names that match a pattern of `deny`, other names of the same files, and sockets that
    /// the profile does not allow.
    pub masked: Option<u64>,
    /// Number of hidden names in the previous run of this step under this profile. Present only if this run hid no
    /// name: the files were moved or removed between the two runs, so this run may read them under other names.
    #[schemars(range(min = 1))]
    pub masked_before: Option<u64>,
    /// Whether hidden names stayed hidden during the whole run.
    pub deny: Option<Masks>,
}

/// The root directory of a run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The run had its own root directory, with only the files that the profile allows.
    Own,
    /// The run had the root directory of the host.
    Host,
}

/// Whether hidden names stayed hidden during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Masks {
    /// No process of the host could show a hidden name again.
    Stable,
    /// If a process of the host replaced a hidden file, the run could access the new file.
    PointInTime,
}

/// The limits that were enforced. An absent limit was not enforced.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitFacts {
    /// CPU time. With `cgroup2`, `max` is in thousandths of one CPU. With `rlimit`, `max` is in seconds for each
    /// process.
    pub cpu: Option<HeldLimit>,
    /// Bytes in the work directory and in `/tmp`. `/dev/shm` has a limit of the same size, but at most 64 MiB.
    pub disk: Option<HeldLimit>,
    /// Size of the largest file in bytes.
    pub file: Option<HeldLimit>,
    /// Memory in bytes. With `cgroup2`, the memory of the whole run. With `rlimit`, the private memory of each process.
    pub memory: Option<HeldLimit>,
    /// Maximum number of recorded bytes of output.
    pub output: Option<HeldLimit>,
    /// Number of processes and threads at the same time.
    pub processes: Option<HeldLimit>,
    /// Kinds of memory without any limit, sorted: `kernel-objects`, `page-tables`, `pipes`, `shared-memory`,
    /// `socket-buffers`. Without a control group, the kernel has no limit for them. Absent if there are none.
    #[schemars(inner(regex(pattern = r"^[a-z][a-z-]{0,31}$")), length(min = 1, max = 16), extend("uniqueItems" = true))]
    pub unbounded: Option<Vec<String>>,
    /// Duration of the whole run in milliseconds.
    pub wall: Option<HeldLimit>,
}

/// Allowed values of the field `unbounded`.
pub const UNBOUNDED: [&str; 5] = [
    "kernel-objects",
    "page-tables",
    "pipes",
    "shared-memory",
    "socket-buffers",
];
/// The values of [`UNBOUNDED`] in words for messages.
pub const UNBOUNDED_WORDS: &str =
    "shared memory, socket buffers, pipes, page tables and other kernel objects";
/// Maximum number of kinds of memory that one receipt lists.
const MAX_UNBOUNDED: usize = 16;

impl LimitFacts {
    fn check(&self) -> Result<(), Malformed> {
        const AT: &str = "/predicate/sandbox/limits/unbounded";
        let Some(kinds) = &self.unbounded else {
            return Ok(());
        };
        if kinds.is_empty() || kinds.len() > MAX_UNBOUNDED {
            return Err(Malformed::at(
                AT,
                format!("expected 1 to {MAX_UNBOUNDED} kinds of memory"),
            ));
        }
        check_sorted(AT, kinds)?;
        let is_kind = |text: &String| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_lowercase() || c == b'-')
                && !text.starts_with('-')
        };
        match kinds.iter().position(|kind| !is_kind(kind)) {
            Some(at) => Err(Malformed::at(
                format!("{AT}/{at}"),
                "each kind must have 1 to 32 lower-case letters and hyphens",
            )),
            None => Ok(()),
        }
    }
}

/// A limit, and the mechanism that enforced it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Held")]
pub struct HeldLimit {
    /// Value of the limit. The field that contains this object defines the unit.
    pub max: u64,
    /// The mechanism that enforced the limit.
    pub by: LimitHolder,
}

/// The mechanism that enforced a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Holder")]
pub enum LimitHolder {
    /// A control group for all processes of the run.
    Cgroup2,
    /// A resource limit (rlimit) of each process.
    Rlimit,
    /// The boundary itself.
    Service,
    /// The size of a file system that only this run had.
    Tmpfs,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        let block: Enforcement = serde_json::from_str(text).expect("a block");
        serde_json::to_value(block).expect("json").to_string()
    }

    #[test]
    fn the_example_of_the_format_is_unchanged_after_reading_and_writing() {
        let text = r#"{"layers":["capabilities","filesystem","landlock","namespaces","network","seccomp"],"level":"strict","limits":{"memory":{"by":"cgroup2","max":536870912}},"missing":[]}"#;
        assert_eq!(round_trip(text), text);
    }

    #[test]
    fn all_enforcement_facts_are_unchanged_after_reading_and_writing() {
        let text = concat!(
            r#"{"caps":"none","fs":{"deny":"stable","masked":3,"mode":"overlay","root":"own"},"#,
            r#""kill":["cgroup.kill","pidns"],"landlock":{"abi":7,"rules":14,"status":"fully"},"layers":[],"left":1,"#,
            r#""level":"best-effort","limits":{"cpu":{"by":"rlimit","max":300}},"missing":["network"],"net":"none","#,
            r#""ns":["ipc"],"seccomp":{"sha256":"00"}}"#
        );
        assert_eq!(round_trip(text), text);
    }

    #[test]
    fn the_mask_warning_and_the_list_of_unbounded_memory_have_only_one_valid_form() {
        let check = |facts: &str| {
            let text = format!(r#"{{"layers":[],"level":"strict","missing":[],{facts}}}"#);
            serde_json::from_str::<Enforcement>(&text)
                .expect("a block")
                .check()
        };
        let fs = |masked: &str| {
            check(&format!(
                r#""fs":{{{masked}"mode":"in-place","root":"own"}}"#
            ))
        };
        assert_eq!(fs(r#""masked":0,"masked_before":3,"#), Ok(()));
        for bad in [
            r#""masked":1,"masked_before":3,"#,
            r#""masked":0,"masked_before":0,"#,
            r#""masked_before":3,"#,
        ] {
            let refused = fs(bad).expect_err(bad).to_string();
            assert!(
                refused.contains("/predicate/sandbox/fs/masked_before"),
                "{refused}"
            );
        }
        let unbounded = |list: &str| check(&format!(r#""limits":{{"unbounded":[{list}]}}"#));
        assert_eq!(unbounded(r#""page-tables","pipes""#), Ok(()));
        for bad in [
            "",
            r#""pipes","page-tables""#,
            r#""pipes","pipes""#,
            r#""Pipes""#,
            r#""-pipes""#,
            r#""""#,
            r#""a b""#,
        ] {
            let refused = unbounded(bad).expect_err(bad).to_string();
            assert!(
                refused.contains("/predicate/sandbox/limits/unbounded"),
                "{refused}"
            );
        }
    }

    #[test]
    fn refused_hosts_have_one_valid_form_of_at_most_256_bytes() {
        let check = |list: &str| {
            let text = format!(
                r#"{{"layers":[],"level":"strict","missing":[],"refused_hosts":[{list}]}}"#
            );
            serde_json::from_str::<Enforcement>(&text)
                .map_err(drop)?
                .check()
                .map_err(drop)
        };
        let one = |at: u64| format!(r#"{{"at":{at},"why":"unreachable"}}"#);
        let many = |from: u64| (from..64).map(one).collect::<Vec<_>>().join(",");
        assert!(
            check(&many(56)).is_ok() && many(56).len() + 2 <= 256,
            "{}",
            many(56)
        );
        for bad in [
            String::new(),
            many(55),
            one(64),
            format!("{},{}", one(1), one(1)),
            format!("{},{}", one(2), one(1)),
            r#"{"at":1,"why":"other"}"#.to_owned(),
            r#"{"at":1}"#.to_owned(),
            r#"{"at":-1,"why":"never"}"#.to_owned(),
            r#"{"at":1,"why":"never","host":"a"}"#.to_owned(),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
        let line = |at| {
            RefusedHost {
                at,
                why: HostRefusal::Private,
            }
            .line(&["db.internal:5432".to_owned()])
        };
        assert_eq!(
            line(0),
            "refused  db.internal:5432: its address is private; the policy must say private: true of this host: \
             {host: \"db.internal:5432\", private: true}"
        );
        let own = RefusedHost {
            at: 0,
            why: HostRefusal::Localhost,
        }
        .line(&["db:1".to_owned()]);
        assert!(
            own.ends_with(": {host: \"db:1\", localhost: true}"),
            "{own}"
        );
        assert!(
            line(7).starts_with("refused  host 8 of the list: "),
            "{}",
            line(7)
        );
    }

    #[test]
    fn unknown_facts_and_incomplete_blocks_are_refused() {
        for bad in [
            r#"{"layers":[],"level":"strict","missing":[],"extra":1}"#,
            r#"{"layers":[],"level":"strict"}"#,
            r#"{"layers":[],"level":"paranoid","missing":[]}"#,
            r#"{"layers":["magic"],"level":"strict","missing":[]}"#,
            r#"{"layers":[],"level":"strict","missing":[],"limits":{"memory":{"by":"cgroup2","max":-1}}}"#,
        ] {
            assert!(serde_json::from_str::<Enforcement>(bad).is_err(), "{bad}");
        }
    }
}
