//! The sandbox that a step declares, in the form that people write.
//!
//! In the first line of a code block, commas separate the items of a list (`read=/srv/a,/srv/b`). In YAML, a list is a
//! sequence of texts.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{
    AllowedHost, Limits, MAX_HOSTS, MAX_PROGRAMS, OWN_PROGRAMS, Proc, Program, ProgramMode,
    Workdir, YamlFlaw, YamlKind, YamlNode, check_host, yaml::unknown,
};

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

pub(super) fn word<T: DeserializeOwned>(
    name: &str,
    text: &str,
    known: &[&str],
) -> Result<T, String> {
    serde_json::from_value(text.into())
        .map_err(|_| unknown(&format!("value of {name}"), text, known))
}

/// Reads `none`, `host` or `{allow: [name:port]}`. `read` reads the list.
fn network<H: DeserializeOwned>(
    node: &YamlNode,
    read: impl FnOnce(&YamlNode, &mut Vec<YamlFlaw>) -> Option<Vec<H>>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<H>> {
    if let YamlKind::Text(text) = &node.kind {
        let read = word("`network`", text, &["none", "host"]);
        return read
            .map_err(|message| flaws.push(YamlFlaw::new(node.place, message)))
            .ok();
    }
    node.closed_map("network", &["allow"], flaws);
    let Some(allow) = node.value("allow") else {
        if matches!(node.kind, YamlKind::Map(_)) {
            flaws.push(YamlFlaw::new(
                node.place,
                "`network` names no host: write `none`, `host`, or `allow` with a list of name:port",
            ));
        }
        return None;
    };
    read(allow, flaws).map(DeclaredNetwork::Allow)
}

/// Reads the network that a step declares.
pub(super) fn network_of_step(
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork> {
    network(
        node,
        |allow, flaws| list(allow, "`allow`", check_host, flaws),
        flaws,
    )
}

/// Reads the network that a rule of policy allows.
pub fn network_of_rule(
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<AllowedHost>> {
    network(
        node,
        |allow, flaws| list_of(allow, "`allow`", allowed_host, |host| &host.host, flaws),
        flaws,
    )
}

/// Reads `"name:port"` or `{host: "name:port", private: true, localhost: true}`.
fn allowed_host(item: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<AllowedHost> {
    let mut found = AllowedHost::default();
    let mut text = item;
    if let YamlKind::Map(_) = item.kind {
        for (key, value) in item.closed_map("a host", &["host", "private", "localhost"], flaws) {
            match (key.name.as_str(), &value.kind) {
                ("private", YamlKind::Boolean(word)) => found.private = *word,
                ("localhost", YamlKind::Boolean(word)) => found.localhost = *word,
                ("private" | "localhost", _) => {
                    flaws.push(YamlFlaw::new(
                        value.place,
                        format!("`{}` must be true or false", key.name),
                    ));
                }
                _ => {}
            }
        }
        let Some(host) = item.value("host") else {
            let message = "the map names no host: write {host: \"name:port\", private: true}";
            flaws.push(YamlFlaw::new(item.place, message));
            return None;
        };
        text = host;
    }
    found.host = checked_text(text, check_host, flaws)?;
    Some(found)
}

/// Reads a list of texts and checks each text.
pub fn list(
    node: &YamlNode,
    what: &str,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<String>> {
    list_of(
        node,
        what,
        |item, flaws| checked_text(item, check, flaws),
        |text| text,
        flaws,
    )
}

fn checked_text(
    item: &YamlNode,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<String> {
    let text = item.text("an entry", flaws)?;
    check(text)
        .map_err(|message| flaws.push(YamlFlaw::new(item.place, message)))
        .ok()?;
    Some(text.to_owned())
}

/// Reads a list, and sorts the items by the text that `name` returns.
fn list_of<T>(
    node: &YamlNode,
    what: &str,
    read: impl Fn(&YamlNode, &mut Vec<YamlFlaw>) -> Option<T>,
    name: fn(&T) -> &String,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<T>> {
    let before = flaws.len();
    let mut found: Vec<T> = Vec::new();
    for item in node.list(what, flaws)? {
        let Some(one) = read(item, flaws) else {
            continue;
        };
        if found.iter().any(|other| name(other) == name(&one)) {
            let text = name(&one);
            flaws.push(YamlFlaw::new(
                item.place,
                format!("{text:?} is listed twice: remove one of the two"),
            ));
        } else {
            found.push(one);
        }
    }
    found.sort_by(|one, other| name(one).cmp(name(other)));
    if found.is_empty() && flaws.len() == before {
        flaws.push(YamlFlaw::new(
            node.place,
            format!("{what} is empty: add an element, or remove {what}"),
        ));
    }
    (flaws.len() == before).then_some(found)
}

/// Checks each text of a list, and sorts the texts.
pub(super) fn checked(
    mut items: Vec<String>,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    items.iter().try_for_each(|item| check(item))?;
    items.sort();
    match items.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!(
            "{:?} is listed twice: remove one of the two",
            pair[0]
        )),
        None => Ok(items),
    }
}

/// The part of the sandbox that a step declares. For an absent field, policy or the configuration of the boundary
/// decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSandbox {
    /// Limits that differ from the defaults of the boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// The part of `/proc` that the step needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<Proc>,
    /// Paths of the host that the step reads, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Paths of the host that the step writes, sorted. `workdir` decides whether the step changes them in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Patterns of paths that the step cannot access, even below `read` or `write`, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// How the run gets the directories of `write`: as copies, below an overlay, or in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Workdir>,
    /// The network that the step needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DeclaredNetwork>,
    /// Unix sockets of the host to which the step connects, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<String>>,
    /// Name of the user of the host as which the step must run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Reason why the step cannot run in a sandbox (`sandbox=off`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_reason: Option<String>,
}

/// What policy decides about the sandbox: limits, `/proc`, and the access to the host that a step may declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRule {
    /// Limits of a step that declares none. A step may declare at most these limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// The part of `/proc` that a step sees. With `minimal`, a step cannot declare `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<Proc>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `write` and in `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Patterns of paths that no step can access, even below a path that the step declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// With `in-place`, a step may change directories of the host in place. A step may declare `copy` and `overlay`
    /// without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Workdir>,
    /// The network that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DeclaredNetwork<AllowedHost>>,
    /// Unix sockets of the host that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<String>>,
    /// Name of the user of the host that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// True if a step may declare that it runs without a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_be_off: Option<bool>,
    /// The programs that a step may execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramsRule>,
}

/// What policy decides about the programs that a step may execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramsRule {
    /// With `listed`, a run may execute only the programs of its list, which follows from step, policy and built-in
    /// lists. With `any`, a run may execute every program of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ProgramMode>,
    /// Programs that every list contains, sorted: names, absolute paths, or `{work}/**` for programs that the step
    /// itself makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub allow: Option<Vec<Program>>,
}

/// Checks the text for a program that a person writes in a policy or a runbook.
///
/// # Errors
/// Returns an error if the text is neither a name, nor an absolute path, nor `{work}/**`.
pub fn check_program(text: &str) -> Result<(), String> {
    let _word: Program = text
        .parse()
        .map_err(|error: crate::record::ident::IdentError| error.to_string())?;
    let plain = !text.contains(['*', '?', '[', '{', '"', '\\', ' '])
        && (text.starts_with('/') || !text.contains('/'));
    if text == OWN_PROGRAMS || plain {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a program: write a name such as jq, an absolute path, or {OWN_PROGRAMS} for what the step builds"
    ))
}

impl SandboxRule {
    /// Returns the rule that allows at most the declaration `most`, whose network `network` replaces.
    pub fn allowing(
        most: DeclaredSandbox,
        network: Option<DeclaredNetwork<AllowedHost>>,
        may_be_off: Option<bool>,
        programs: Option<ProgramsRule>,
    ) -> Self {
        let DeclaredSandbox {
            limits,
            proc,
            read,
            write,
            deny,
            workdir,
            network: _,
            sockets,
            run_as,
            off_reason: _,
        } = most;
        Self {
            limits,
            proc,
            read,
            write,
            deny,
            workdir,
            network,
            sockets,
            run_as,
            may_be_off,
            programs,
        }
    }

    /// Adds a later rule for the same step. Its values replace the earlier values, but the deny patterns of both rules
    /// remain.
    pub fn add(&mut self, later: &Self) {
        fn set<T>(to: &mut Option<T>, later: Option<T>) {
            *to = later.or_else(|| to.take());
        }
        // A ruling stores the limits, `proc` and the programs elsewhere, with the origin of each value.
        let Self {
            limits: _,
            proc: _,
            programs: _,
            read,
            write,
            deny,
            workdir,
            network,
            sockets,
            run_as,
            may_be_off,
        } = later.clone();
        set(&mut self.read, read);
        set(&mut self.write, write);
        set(&mut self.workdir, workdir);
        set(&mut self.network, network);
        set(&mut self.sockets, sockets);
        set(&mut self.run_as, run_as);
        set(&mut self.may_be_off, may_be_off);
        self.deny
            .get_or_insert_default()
            .extend(deny.into_iter().flatten());
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $limit:ident = $field:ident;)*) => {
        /// Limits that a step or a policy declares. An absent limit is not declared. No limit is 0.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct DeclaredLimits {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<u64>,)*
        }

        /// Limit of a run. The step, policy and the boundary's configuration can set it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
            pub const fn of(self, limits: &mut Limits) -> &mut u64 {
                match self { $(Self::$limit => &mut limits.$field),* }
            }
        }

        impl DeclaredLimits {
            const fn slot(&mut self, limit: Limit) -> &mut Option<u64> {
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
    pub const fn declare(&mut self, limit: Limit, value: u64) {
        *self.slot(limit) = Some(value);
    }
}
