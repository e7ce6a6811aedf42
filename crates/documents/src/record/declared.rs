//! The sandbox that a step declares, in the form that people write.
//!
//! In the first line of a code block, commas separate the items of a list (`read=/srv/a,/srv/b`). In YAML, a list is a
//! sequence of texts.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::host_names::check_address;
use crate::record::later_words::{OWN_PROGRAMS, Program};
use crate::record::profile::{Limits, Proc, Workdir};
use crate::record::program_list::{MAX_PROGRAMS, ProgramMode};
use crate::yaml::{YamlFlaw, YamlKind, YamlNode, unknown};

/// What network a step needs: `none`, `host`, or `{allow: ["api.example.com:443"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeclaredNetwork {
    /// None at all.
    None,
    /// These names and ports, through the boundary's proxy.
    Allow(Vec<String>),
    /// The host's, as it is.
    Host,
}

pub(super) fn word<T: DeserializeOwned>(name: &str, text: &str, known: &[&str]) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|_| unknown(&format!("value of {name}"), text, known))
}

/// Reads `none`, `host` or `{allow: [name:port]}`.
pub(super) fn network(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<DeclaredNetwork> {
    if let YamlKind::Text(text) = &node.kind {
        let read = word("`network`", text, &["none", "host"]);
        return read.map_err(|message| flaws.push(YamlFlaw::new(node.place, message))).ok();
    }
    node.closed_map("network", &["allow"], &[], flaws);
    let Some(allow) = node.value("allow") else {
        if matches!(node.kind, YamlKind::Map(_)) {
            flaws.push(YamlFlaw::new(
                node.place,
                "`network` names no host: write `none`, `host`, or `allow` with a list of name:port",
            ));
        }
        return None;
    };
    list(allow, "`allow`", check_address, flaws).map(DeclaredNetwork::Allow)
}

/// Reads a list of texts and checks each text.
pub fn list(
    node: &YamlNode,
    what: &str,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<String>> {
    let before = flaws.len();
    let mut found: Vec<String> = Vec::new();
    for item in node.list(what, flaws)? {
        let Some(text) = item.text("an entry", flaws) else { continue };
        match check(text) {
            Ok(()) if found.iter().any(|other| other == text) => {
                flaws.push(YamlFlaw::new(item.place, format!("{text:?} is listed twice: remove one of the two")));
            }
            Ok(()) => found.push(text.to_owned()),
            Err(message) => flaws.push(YamlFlaw::new(item.place, message)),
        }
    }
    found.sort();
    if found.is_empty() && flaws.len() == before {
        flaws.push(YamlFlaw::new(node.place, format!("{what} is empty: add an element, or remove {what}")));
    }
    (flaws.len() == before).then_some(found)
}

/// Checks each text of a list, and sorts the texts.
pub(super) fn checked(mut items: Vec<String>, check: fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    items.iter().try_for_each(|item| check(item))?;
    items.sort();
    match items.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{:?} is listed twice: remove one of the two", pair[0])),
        None => Ok(items),
    }
}

/// What a step declared of its sandbox. Every field is optional: policy and configuration fill in the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSandbox {
    /// Limits that differ from the boundary's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// How much of `/proc` it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<Proc>,
    /// Host paths that it reads, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Host paths that it writes, sorted; `workdir` says how they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Patterns below them that stay out of its reach, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// Whether the trees of `write` are copies, seen through an overlay, or the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Workdir>,
    /// What network it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DeclaredNetwork>,
    /// Unix sockets of the host that it needs, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<String>>,
    /// The user of the host that it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// `sandbox=off`: why it can't be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_reason: Option<String>,
}

/// What policy says of a sandbox: limits and `/proc` as they are to be, and the most that a step may declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRule {
    /// Limits of a step that declares none, and the most that it may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// How much of `/proc` a step sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<Proc>,
    /// Host paths at and below which a step may declare what it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// The same of what it writes; what may be written may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Patterns that stay out of reach below every path that a step declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// `in-place`: a step may write the host's own trees. A copy or an overlay needs no word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Workdir>,
    /// The network that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DeclaredNetwork>,
    /// Unix sockets of the host that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<String>>,
    /// The user of the host that a step may declare to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Whether a step may declare `sandbox=off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_be_off: Option<bool>,
    /// The programs that a step may execute. Needs version 2 of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramsRule>,
}

/// What policy says of the programs that a step may execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramsRule {
    /// `listed`: only the programs of a list, which is derived from the step, policy and the sealed closures. `any`: every
    /// program of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ProgramMode>,
    /// Programs that every list contains, sorted: names, absolute paths, or `{work}/**` for what a step builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub allow: Option<Vec<Program>>,
}

/// Checks the text for a program that a person writes in a policy or a runbook.
///
/// # Errors
/// Returns an error if the text is neither a name, nor an absolute path, nor `{work}/**`.
pub fn check_program(text: &str) -> Result<(), String> {
    let _word: Program = text.parse().map_err(|error: crate::record::ident::IdentError| error.to_string())?;
    let plain = !text.contains(['*', '?', '[', '{', '"', '\\', ' ']) && (text.starts_with('/') || !text.contains('/'));
    if text == OWN_PROGRAMS || plain {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a program: write a name such as jq, an absolute path, or {OWN_PROGRAMS} for what the step builds"
    ))
}

impl SandboxRule {
    /// Returns the rule that allows at most the declaration `most`.
    #[must_use]
    pub fn allowing(most: DeclaredSandbox, may_be_off: Option<bool>, programs: Option<ProgramsRule>) -> Self {
        let DeclaredSandbox { limits, proc, read, write, deny, workdir, network, sockets, run_as, off_reason: _ } =
            most;
        Self { limits, proc, read, write, deny, workdir, network, sockets, run_as, may_be_off, programs }
    }

    /// Adds a later rule for the same step. Its values replace the earlier values, but the deny patterns of both rules
    /// remain.
    pub fn add(&mut self, later: &Self) {
        fn set<T>(to: &mut Option<T>, later: Option<T>) {
            *to = later.or_else(|| to.take());
        }
        // A ruling stores the limits, `proc` and the programs elsewhere, with the origin of each value.
        let Self { limits: _, proc: _, programs: _, read, write, deny, workdir, network, sockets, run_as, may_be_off } =
            later.clone();
        set(&mut self.read, read);
        set(&mut self.write, write);
        set(&mut self.workdir, workdir);
        set(&mut self.network, network);
        set(&mut self.sockets, sockets);
        set(&mut self.run_as, run_as);
        set(&mut self.may_be_off, may_be_off);
        self.deny.get_or_insert_default().extend(deny.into_iter().flatten());
    }
}

/// Limits that a step declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLimits {
    /// Milliseconds from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Thousandths of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The largest file that may be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The room of the work directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Recorded output of both streams together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

/// Limit of a run. The step, policy and the boundary's configuration can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// `wall_ms`
    Wall,
    /// `cpu_milli`
    Cpu,
    /// `memory_bytes`
    Memory,
    /// `processes`
    Processes,
    /// `file_bytes`
    File,
    /// `disk_bytes`
    Disk,
    /// `output_bytes`
    Output,
}

impl Limit {
    /// All limits, in the order of the profile.
    pub const ALL: [Self; 7] =
        [Self::Wall, Self::Cpu, Self::Memory, Self::Processes, Self::File, Self::Disk, Self::Output];

    /// Returns the name of the limit's field in documents.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Wall => "wall_ms",
            Self::Cpu => "cpu_milli",
            Self::Memory => "memory_bytes",
            Self::Processes => "processes",
            Self::File => "file_bytes",
            Self::Disk => "disk_bytes",
            Self::Output => "output_bytes",
        }
    }

    /// Returns the field of this limit in a profile, for a change.
    pub const fn of(self, limits: &mut Limits) -> &mut u64 {
        match self {
            Self::Wall => &mut limits.wall_ms,
            Self::Cpu => &mut limits.cpu_milli,
            Self::Memory => &mut limits.memory_bytes,
            Self::Processes => &mut limits.processes,
            Self::File => &mut limits.file_bytes,
            Self::Disk => &mut limits.disk_bytes,
            Self::Output => &mut limits.output_bytes,
        }
    }

    /// Returns the value of this limit in a profile.
    #[must_use]
    pub fn value(self, limits: &Limits) -> u64 {
        *self.of(&mut limits.clone())
    }
}

impl DeclaredLimits {
    /// Returns the declared value of `limit`, or `None` if the step does not declare the limit.
    #[must_use]
    pub fn value(&self, limit: Limit) -> Option<u64> {
        *self.clone().slot(limit)
    }

    /// Sets the declared value of `limit`.
    pub const fn declare(&mut self, limit: Limit, value: u64) {
        *self.slot(limit) = Some(value);
    }

    const fn slot(&mut self, limit: Limit) -> &mut Option<u64> {
        match limit {
            Limit::Wall => &mut self.wall_ms,
            Limit::Cpu => &mut self.cpu_milli,
            Limit::Memory => &mut self.memory_bytes,
            Limit::Processes => &mut self.processes,
            Limit::File => &mut self.file_bytes,
            Limit::Disk => &mut self.disk_bytes,
            Limit::Output => &mut self.output_bytes,
        }
    }
}
