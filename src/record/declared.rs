//! The sandbox that a step declares, in the form that people write.
//!
//! Fences write lists with commas (`read=/srv/a,/srv/b`), YAML writes lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::host::{check_address, check_path, check_pattern, check_reason, check_user, split_patterns};
use crate::record::profile::{Limits, Proc, Workdir};
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

/// The most bytes of all hosts, and of all paths and patterns together. An authorization and a receipt must have room for
/// them.
const MOST_HOSTS_BYTES: usize = 1536;
const MOST_BYTES: usize = 6 << 10;

impl DeclaredSandbox {
    /// Adds a value from a fence.
    ///
    /// # Errors
    /// The error in the value.
    pub fn take_text(&mut self, key: &str, text: &str) -> Result<(), String> {
        let list = || text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
        match key {
            "read" => checked(list(), check_path).map(|paths| self.read = Some(paths)),
            "write" => checked(list(), check_path).map(|paths| self.write = Some(paths)),
            "deny" => checked(split_patterns(text), check_pattern).map(|patterns| self.deny = Some(patterns)),
            "sockets" => checked(list(), check_path).map(|paths| self.sockets = Some(paths)),
            "network" => {
                let network = match text {
                    "none" => DeclaredNetwork::None,
                    "host" => DeclaredNetwork::Host,
                    _ => DeclaredNetwork::Allow(checked(list(), check_address)?),
                };
                self.network = Some(network);
                Ok(())
            }
            "workdir" => workdir(text).map(|word| self.workdir = Some(word)),
            "run-as" | "run_as" => check_user(text).map(|()| self.run_as = Some(text.to_owned())),
            "sandbox" if text == "off" => Ok(()),
            "sandbox" => Err(unknown("value of sandbox", text, &["off"])),
            "reason" => check_reason(text).map(|()| self.off_reason = Some(text.to_owned())),
            _ => Ok(()),
        }
    }

    /// Adds a value from YAML. A value with a flaw is not added.
    pub fn take(&mut self, key: &str, node: &YamlNode, flaws: &mut Vec<YamlFlaw>) {
        match key {
            "read" => self.read = list(node, "`read`", check_path, flaws),
            "write" => self.write = list(node, "`write`", check_path, flaws),
            "deny" => self.deny = list(node, "`deny`", check_pattern, flaws),
            "sockets" => self.sockets = list(node, "`sockets`", check_path, flaws),
            "network" => self.network = network(node, flaws),
            _ => {
                let Some(text) = node.text(&format!("`{key}`"), flaws) else { return };
                if let Err(message) = self.take_text(key, text) {
                    flaws.push(YamlFlaw::new(node.place, message));
                }
            }
        }
    }

    /// Checks the whole declaration, and that its parts fit together. A definition may come from somewhere other than a
    /// runbook.
    ///
    /// # Errors
    /// The error, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let each = |list: &Option<Vec<String>>, check: fn(&str) -> Result<(), String>| {
            list.iter().flatten().try_for_each(|item| check(item))
        };
        each(&self.read, check_path)?;
        each(&self.write, check_path)?;
        each(&self.deny, check_pattern)?;
        each(&self.sockets, check_path)?;
        if let Some(DeclaredNetwork::Allow(hosts)) = &self.network {
            if hosts.is_empty() {
                return Err("the network allows no host: name one, or write network=none".to_owned());
            }
            hosts.iter().try_for_each(|host| check_address(host))?;
            if hosts.iter().map(|host| host.len() + 3).sum::<usize>() > MOST_HOSTS_BYTES {
                return Err(format!(
                    "the network's hosts take more than {MOST_HOSTS_BYTES} bytes, and each receipt names those that were \
                     contacted: name fewer, or split the step"
                ));
            }
        }
        let named = [&self.read, &self.write, &self.deny, &self.sockets].into_iter().flatten().flatten();
        if named.map(|text| text.len() + 3).sum::<usize>() > MOST_BYTES {
            return Err(format!(
                "the paths and patterns take more than {MOST_BYTES} bytes of the signed profile: name directories above them"
            ));
        }
        if let Some(user) = &self.run_as {
            check_user(user)?;
        }
        if let Some(reason) = &self.off_reason {
            check_reason(reason)?;
            let beside = [
                ("read", self.read.is_some()),
                ("write", self.write.is_some()),
                ("deny", self.deny.is_some()),
                ("sockets", self.sockets.is_some()),
                ("network", self.network.is_some()),
                ("workdir", self.workdir.is_some()),
                ("run-as", self.run_as.is_some()),
                ("proc", self.proc.is_some()),
            ];
            if let Some((name, _)) = beside.into_iter().find(|(_, is)| *is) {
                return Err(format!("with sandbox=off nothing enforces `{name}`: remove one of the two"));
            }
        }
        let writes = self.write.as_ref().is_some_and(|paths| !paths.is_empty());
        match self.workdir {
            None | Some(Workdir::Private) if writes => Err(
                "`write` names a tree of the host, and nothing says how it is given: add workdir=copy, workdir=overlay (what \
                 the step writes stays its own) or workdir=in-place (it writes the host's)"
                    .to_owned(),
            ),
            Some(Workdir::Copy | Workdir::Overlay | Workdir::InPlace) if !writes => {
                Err("`workdir` needs a tree: name the tree in `write`, or remove `workdir`".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Reads the name of a work directory mode.
///
/// # Errors
/// The names of all modes.
pub fn workdir(text: &str) -> Result<Workdir, String> {
    match text {
        "private" => Ok(Workdir::Private),
        "copy" => Ok(Workdir::Copy),
        "overlay" => Ok(Workdir::Overlay),
        "in-place" => Ok(Workdir::InPlace),
        other => Err(unknown("value of workdir", other, &["private", "copy", "overlay", "in-place"])),
    }
}

/// Reads `none`, `host` or `{allow: [name:port]}`.
pub fn network(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<DeclaredNetwork> {
    if let YamlKind::Text(text) = &node.kind {
        return match text.as_str() {
            "none" => Some(DeclaredNetwork::None),
            "host" => Some(DeclaredNetwork::Host),
            other => {
                flaws.push(YamlFlaw::new(node.place, unknown("value of `network`", other, &["none", "host"])));
                None
            }
        };
    }
    node.closed_map("network", &["allow"], &[], flaws);
    let Some(allow) = node.value("allow") else {
        if matches!(node.kind, YamlKind::Map(_)) {
            flaws.push(YamlFlaw::new(node.place, "`network` names no host: write none, host, or allow with name:port"));
        }
        return None;
    };
    list(allow, "`allow`", check_address, flaws).map(DeclaredNetwork::Allow)
}

/// Reads a list of texts and checks each of them.
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
        flaws.push(YamlFlaw::new(node.place, format!("{what} is empty: add an element, or remove it")));
    }
    (flaws.len() == before).then_some(found)
}

fn checked(mut items: Vec<String>, check: fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
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

/// One of the limits of a run. A step, policy and the boundary name limits; all three use this list.
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

    /// The field name in documents.
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

    /// The field of this limit in a profile.
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

    /// The value of this limit in a profile.
    #[must_use]
    pub const fn value(self, limits: &Limits) -> u64 {
        match self {
            Self::Wall => limits.wall_ms,
            Self::Cpu => limits.cpu_milli,
            Self::Memory => limits.memory_bytes,
            Self::Processes => limits.processes,
            Self::File => limits.file_bytes,
            Self::Disk => limits.disk_bytes,
            Self::Output => limits.output_bytes,
        }
    }
}

impl DeclaredLimits {
    /// The declared value of `limit`.
    #[must_use]
    pub const fn value(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Wall => self.wall_ms,
            Limit::Cpu => self.cpu_milli,
            Limit::Memory => self.memory_bytes,
            Limit::Processes => self.processes,
            Limit::File => self.file_bytes,
            Limit::Disk => self.disk_bytes,
            Limit::Output => self.output_bytes,
        }
    }

    /// Declares `limit`.
    pub const fn declare(&mut self, limit: Limit, value: u64) {
        *match limit {
            Limit::Wall => &mut self.wall_ms,
            Limit::Cpu => &mut self.cpu_milli,
            Limit::Memory => &mut self.memory_bytes,
            Limit::Processes => &mut self.processes,
            Limit::File => &mut self.file_bytes,
            Limit::Disk => &mut self.disk_bytes,
            Limit::Output => &mut self.output_bytes,
        } = Some(value);
    }
}
