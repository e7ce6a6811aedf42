//! The protection that a sandbox enforced for one run.
//!
//! This module defines the receipt's `sandbox` block. The fields `level`, `layers` and `missing` are always present.
//! Other facts are present only if the sandbox established them, because an intention is not a fact.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::document::check_sorted;
use crate::record::malformed::Malformed;
use crate::record::profile::{Layer, NetworkMode, Workdir};

/// The `sandbox` block of a receipt:
/// `{"layers":["landlock"],"level":"best-effort","missing":["namespaces"]}` and optional facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// The shorthand for what was held.
    pub level: Level,
    /// Layers that were held fully, sorted and unique.
    #[schemars(extend("uniqueItems" = true))]
    pub layers: Vec<Layer>,
    /// Layers that this level names and that were not held, sorted and unique. What a level names may grow with the
    /// program's version (`boundary.version` of the receipt): `layers` alone is the fact.
    #[schemars(extend("uniqueItems" = true))]
    pub missing: Vec<Layer>,
    /// Namespaces of the run's own, sorted: `cgroup`, `ipc`, `mnt`, `net`, `pid`, `user`, `uts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(regex(pattern = r"^[a-z0-9.]{1,32}$")), extend("uniqueItems" = true))]
    pub ns: Option<Vec<String>>,
    /// The Landlock rules that the step could not leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<LandlockFacts>,
    /// The system-call filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<SeccompFacts>,
    /// Capabilities that the step was left with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Capabilities>,
    /// What the run saw of the host's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<FilesystemFacts>,
    /// What network the run saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<NetworkMode>,
    /// Hosts of the allow list that the run was connected to, sorted. Stands where the network is an allow list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("uniqueItems" = true))]
    pub contacted: Option<Vec<String>>,
    /// Requests to its proxy that got no connection: to hosts that are not on the list, lead to addresses that are not public, or refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_away: Option<u64>,
    /// Which limit was held by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitFacts>,
    /// What ended the process tree, sorted: `cgroup.kill`, `pidns`, `subreaper`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(regex(pattern = r"^[a-z0-9.]{1,32}$")), extend("uniqueItems" = true))]
    pub kill: Option<Vec<String>>,
    /// Processes of the run that could not be ended in time (stuck in the kernel). Absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

/// The shorthand for a set of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Every layer that this version knows.
    Strict,
    /// Some of them; `missing` names the others.
    BestEffort,
    /// Hygiene and limits only.
    Off,
}

impl Enforcement {
    /// Returns a warning for people who rely on the deny patterns of this run.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let before = self.fs.as_ref()?.masked_before?;
        Some(format!(
            "deny patterns hid {before} names in the previous run, but no name in this run: the names were moved or \
             removed between the two runs, and this run may have read the files"
        ))
    }

    /// Checks that each list is sorted and unique, and that the lists do not contradict each other.
    ///
    /// # Errors
    /// Returns an error for the first list that breaks a rule.
    pub fn check(&self) -> Result<(), Malformed> {
        check_sorted("/predicate/sandbox/layers", &self.layers)?;
        check_sorted("/predicate/sandbox/missing", &self.missing)?;
        check_sorted("/predicate/sandbox/ns", self.ns.as_deref().unwrap_or_default())?;
        check_sorted("/predicate/sandbox/contacted", self.contacted.as_deref().unwrap_or_default())?;
        check_sorted("/predicate/sandbox/kill", self.kill.as_deref().unwrap_or_default())?;
        if let Some(limits) = &self.limits {
            limits.check()?;
        }
        if let Some(FilesystemFacts { masked, masked_before: Some(before), .. }) = &self.fs
            && (*masked != Some(0) || *before == 0)
        {
            let message = "`masked_before` is allowed only if `masked` is 0, and must be above 0";
            return Err(Malformed::at("/predicate/sandbox/fs/masked_before", message));
        }
        for (name, words) in [("ns", &self.ns), ("kill", &self.kill)] {
            if let Some(at) = words.iter().flatten().position(|word| !is_word(word)) {
                let message = "each word must have 1 to 32 lower-case letters, digits and dots";
                return Err(Malformed::at(format!("/predicate/sandbox/{name}/{at}"), message));
            }
        }
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        match &self.seccomp {
            Some(facts) if !hex(&facts.sha256) => {
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

impl Level {
    /// Returns the name of the level in documents and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        }
    }
}

/// The Landlock rules that the step could not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LandlockFacts {
    /// The kernel's Landlock ABI.
    pub abi: u64,
    /// Whether every right of that ABI was handled that nothing else holds: in a network namespace of the run's own no
    /// port is handled.
    pub status: LandlockStatus,
    /// Rules that grant something.
    pub rules: u64,
}

/// Whether every right was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LandlockStatus {
    /// Every right of the ABI.
    Fully,
    /// Only some: the layer is not held.
    Partially,
}

/// The system-call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeccompFacts {
    /// SHA-256 of the filter program (its instructions, 8 bytes each, little-endian), 64 lower-case hex digits.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// Capabilities that the step was left with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capabilities {
    /// None in any set, and no way to gain one.
    None,
}

/// What the run saw of the host's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesystemFacts {
    /// How the work directory was made.
    pub mode: Workdir,
    /// Whether the run had a root of its own, in which only what the profile allows stands.
    pub root: Root,
    /// Names that were masked: what deny patterns match, other names of the same files, sockets that the profile does not
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<u64>,
    /// Names that were masked in the last run of this step under this profile, where this run masked none: between the two they
    /// were moved or removed, and may be read under other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub masked_before: Option<u64>,
    /// How durable the masks were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Masks>,
}

/// Which root the run had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// A small one of its own.
    Own,
    /// The host's.
    Host,
}

/// How durable masks were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Masks {
    /// Nobody on the host could drop them.
    Stable,
    /// A host process that replaced a file dropped them.
    PointInTime,
}

/// Which limit was held by what. What is absent was not held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitFacts {
    /// CPU: thousandths of one CPU with `cgroup2`, seconds of each process with `rlimit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<HeldLimit>,
    /// Bytes of the work directory and `/tmp`; `/dev/shm` has as much again, and at most 64 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<HeldLimit>,
    /// Bytes of the largest file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<HeldLimit>,
    /// Bytes of memory: of the whole run with `cgroup2`, private ones of each process with `rlimit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<HeldLimit>,
    /// Bytes of output that were recorded at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<HeldLimit>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<HeldLimit>,
    /// Kinds of memory that nothing bounded, sorted: `kernel-objects`, `page-tables`, `pipes`, `shared-memory`,
    /// `socket-buffers`. Without a control group the kernel has no limit for them. Absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(regex(pattern = r"^[a-z][a-z-]{0,31}$")), length(min = 1, max = 16), extend("uniqueItems" = true))]
    pub unbounded: Option<Vec<String>>,
    /// Milliseconds of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<HeldLimit>,
}

/// Allowed values of the field `unbounded`.
pub const UNBOUNDED: [&str; 5] = ["kernel-objects", "page-tables", "pipes", "shared-memory", "socket-buffers"];
/// The values of [`UNBOUNDED`] in words for messages.
pub const UNBOUNDED_WORDS: &str = "shared memory, socket buffers, pipes, page tables and other kernel objects";
/// Maximum number of kinds of memory that one receipt lists.
const MAX_UNBOUNDED: usize = 16;

impl LimitFacts {
    fn check(&self) -> Result<(), Malformed> {
        const AT: &str = "/predicate/sandbox/limits/unbounded";
        let Some(kinds) = &self.unbounded else { return Ok(()) };
        if kinds.is_empty() || kinds.len() > MAX_UNBOUNDED {
            return Err(Malformed::at(AT, format!("expected 1 to {MAX_UNBOUNDED} kinds of memory")));
        }
        check_sorted(AT, kinds)?;
        let is_kind = |text: &String| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_lowercase() || c == b'-')
                && !text.starts_with('-')
        };
        match kinds.iter().position(|kind| !is_kind(kind)) {
            Some(at) => {
                Err(Malformed::at(format!("{AT}/{at}"), "each kind must have 1 to 32 lower-case letters and hyphens"))
            }
            None => Ok(()),
        }
    }
}

/// One limit and what held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Held")]
pub struct HeldLimit {
    /// The limit, in what its name counts: see there, since CPU has two.
    pub max: u64,
    /// What held it.
    pub by: LimitHolder,
}

/// What held a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Holder")]
pub enum LimitHolder {
    /// A control group of the run's own, over the whole tree.
    Cgroup2,
    /// A resource limit of each process.
    Rlimit,
    /// The boundary itself.
    Service,
    /// The size of a file system of the run's own.
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
            serde_json::from_str::<Enforcement>(&text).expect("a block").check()
        };
        let fs = |masked: &str| check(&format!(r#""fs":{{{masked}"mode":"in-place","root":"own"}}"#));
        assert_eq!(fs(r#""masked":0,"masked_before":3,"#), Ok(()));
        for bad in [r#""masked":1,"masked_before":3,"#, r#""masked":0,"masked_before":0,"#, r#""masked_before":3,"#] {
            let refused = fs(bad).expect_err(bad).to_string();
            assert!(refused.contains("/predicate/sandbox/fs/masked_before"), "{refused}");
        }
        let unbounded = |list: &str| check(&format!(r#""limits":{{"unbounded":[{list}]}}"#));
        assert_eq!(unbounded(r#""page-tables","pipes""#), Ok(()));
        for bad in
            ["", r#""pipes","page-tables""#, r#""pipes","pipes""#, r#""Pipes""#, r#""-pipes""#, r#""""#, r#""a b""#]
        {
            let refused = unbounded(bad).expect_err(bad).to_string();
            assert!(refused.contains("/predicate/sandbox/limits/unbounded"), "{refused}");
        }
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
