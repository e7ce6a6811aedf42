//! The permissions of a sandbox: one table of how each is read, allowed, signed and shown.
//!
//! A column of the table is a method with one arm for each permission. For a new variant, the compiler reports each method
//! without an arm, and the test below reports a missing entry of [`SandboxPermission::ALL`].

use crate::record::declared::{DeclaredNetwork, DeclaredSandbox, SandboxRule, checked, list, network, word};
use crate::record::host_names::{check_address, check_path, check_pattern, check_reason, check_user};
use crate::record::host_names::{is_at_or_below, split_patterns};
use crate::record::profile::{ISOLATED, Layer, Network, NetworkMode, Proc, Profile, Workdir};
use crate::yaml::{YamlFlaw, YamlNode};

/// One permission of a sandbox profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxPermission {
    /// To run without a sandbox.
    Off,
    /// To read paths of the host.
    Read,
    /// To write paths of the host, or a copy of them.
    Write,
    /// Patterns of paths that stay out of reach. A pattern takes away from `read` and `write`.
    Deny,
    /// To work in the trees of `write`.
    Workdir,
    /// To reach a network.
    Network,
    /// To reach Unix sockets of the host.
    Sockets,
    /// To see the whole of `/proc`.
    Proc,
    /// To be a user of the host.
    RunAs,
}

/// One line of a review: a permission and its value in a profile.
#[derive(Debug)]
pub struct PermissionLine<'p> {
    /// What the run can do.
    pub words: &'static str,
    /// Values that other people wrote. A review quotes the values after the words.
    pub values: &'p [String],
    /// The fields of the profile that the line shows in full.
    pub shows: Vec<String>,
    /// Whether an approver must read the line before signing, because the run gets more than an empty, closed sandbox.
    pub is_remark: bool,
}

impl SandboxPermission {
    /// All permissions, in the order of a review.
    pub const ALL: [Self; 9] = [
        Self::Off,
        Self::Read,
        Self::Write,
        Self::Deny,
        Self::Workdir,
        Self::Network,
        Self::Sockets,
        Self::Proc,
        Self::RunAs,
    ];

    /// The field of a step definition and of a signed profile.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Deny => "deny",
            Self::Workdir => "workdir",
            Self::Network => "network",
            Self::Sockets => "sockets",
            Self::Proc => "proc",
            Self::RunAs => "run_as",
            Self::Off => "off_reason",
        }
    }

    /// The attribute of a fence.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::RunAs => "run-as",
            Self::Off => "reason",
            same => same.field(),
        }
    }

    /// The permission with this attribute.
    #[must_use]
    pub fn of_attribute(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.attribute() == name)
    }

    /// The key of a policy rule.
    #[must_use]
    pub const fn rule_key(self) -> &'static str {
        match self {
            Self::Off => "may_be_off",
            same => same.field(),
        }
    }

    /// Whether front matter can declare it for all steps of a file.
    #[must_use]
    pub const fn is_for_files(self) -> bool {
        !matches!(self, Self::RunAs | Self::Off)
    }

    /// Whether policy can give it to all runbooks. Any other needs an override that names runbooks.
    #[must_use]
    pub const fn is_for_all(self) -> bool {
        matches!(self, Self::Deny | Self::Proc)
    }

    /// Reads what a fence or a flag declares. Lists have commas.
    ///
    /// # Errors
    /// The error in the text.
    pub fn read_text(self, text: &str, declared: &mut DeclaredSandbox) -> Result<(), String> {
        let items = || text.split(',').map(|item| item.trim().to_owned()).collect();
        match self {
            Self::Read => declared.read = Some(checked(items(), check_path)?),
            Self::Write => declared.write = Some(checked(items(), check_path)?),
            Self::Deny => declared.deny = Some(checked(split_patterns(text), check_pattern)?),
            Self::Workdir => {
                declared.workdir = Some(word(self.field(), text, &["private", "copy", "overlay", "in-place"])?)
            }
            Self::Network => {
                declared.network = Some(match text {
                    "none" => DeclaredNetwork::None,
                    "host" => DeclaredNetwork::Host,
                    _ => DeclaredNetwork::Allow(checked(items(), check_address)?),
                });
            }
            Self::Sockets => declared.sockets = Some(checked(items(), check_path)?),
            Self::Proc => declared.proc = Some(word(self.field(), text, &["minimal", "full"])?),
            Self::RunAs => declared.run_as = Some(check_user(text).map(|()| text.to_owned())?),
            Self::Off => declared.off_reason = Some(check_reason(text).map(|()| text.to_owned())?),
        }
        Ok(())
    }

    /// Reads what YAML declares or allows: front matter, or a policy rule. A value with a flaw is not added.
    pub fn read_yaml(self, node: &YamlNode, declared: &mut DeclaredSandbox, flaws: &mut Vec<YamlFlaw>) {
        match self {
            Self::Read => declared.read = list(node, "`read`", check_path, flaws),
            Self::Write => declared.write = list(node, "`write`", check_path, flaws),
            Self::Deny => declared.deny = list(node, "`deny`", check_pattern, flaws),
            Self::Network => declared.network = network(node, flaws),
            Self::Sockets => declared.sockets = list(node, "`sockets`", check_path, flaws),
            Self::Workdir | Self::Proc | Self::RunAs | Self::Off => {
                let Some(text) = node.text(&format!("`{}`", self.field()), flaws) else { return };
                if let Err(message) = self.read_text(text, declared) {
                    flaws.push(YamlFlaw::new(node.place, message));
                }
            }
        }
    }

    /// Whether the declared value is a hole in the sandbox. `doctor --production` then advises two approvals.
    #[must_use]
    pub fn is_hole(self, declared: &DeclaredSandbox) -> bool {
        match self {
            Self::Workdir => declared.workdir == Some(Workdir::InPlace),
            Self::Network => declared.network == Some(DeclaredNetwork::Host),
            Self::Sockets => declared.sockets.is_some(),
            Self::RunAs => declared.run_as.is_some(),
            Self::Off => declared.off_reason.is_some(),
            Self::Read | Self::Write | Self::Deny | Self::Proc => false,
        }
    }

    /// Checks the values that a step declares. A definition can come from somewhere other than a runbook.
    ///
    /// # Errors
    /// The error, and what to do.
    fn check(self, declared: &DeclaredSandbox) -> Result<(), String> {
        let each = |items: &Option<Vec<String>>, check: fn(&str) -> Result<(), String>| {
            items.iter().flatten().try_for_each(|item| check(item))
        };
        match self {
            Self::Read => each(&declared.read, check_path),
            Self::Write => each(&declared.write, check_path),
            Self::Deny => each(&declared.deny, check_pattern),
            Self::Network => match &declared.network {
                Some(DeclaredNetwork::Allow(hosts)) if hosts.is_empty() => {
                    Err("the network allows no host: name one, or write network=none".to_owned())
                }
                Some(DeclaredNetwork::Allow(hosts)) => hosts.iter().try_for_each(|host| check_address(host)),
                Some(DeclaredNetwork::None | DeclaredNetwork::Host) | None => Ok(()),
            },
            Self::Sockets => each(&declared.sockets, check_path),
            Self::RunAs => declared.run_as.iter().try_for_each(|user| check_user(user)),
            Self::Off => declared.off_reason.iter().try_for_each(|reason| check_reason(reason)),
            Self::Workdir | Self::Proc => Ok(()),
        }
    }

    /// Checks that policy allows the declared value. A run gets a permission only if the step declares it and policy allows it.
    ///
    /// # Errors
    /// The first thing that policy does not allow.
    pub fn check_allowed(self, rule: &SandboxRule, declared: &DeclaredSandbox) -> Result<(), String> {
        let refuse = |asks: &str, write: String| {
            Err(format!(
                "the step declares {asks}, and no policy override for its runbook allows that: remove it from the runbook, or write \
                 `sandbox: {{{write}}}` into one"
            ))
        };
        let name = self.attribute();
        let each = |items: &Option<Vec<String>>, allowed: &dyn Fn(&String) -> bool| {
            let refused = items.iter().flatten().find(|item| !allowed(item));
            refused.map_or(Ok(()), |item| refuse(&format!("{name}={item}"), format!("{name}: [{item:?}]")))
        };
        let below =
            |path: &String, trees: &Option<Vec<String>>| trees.iter().flatten().any(|tree| is_at_or_below(path, tree));
        let in_place = declared.workdir == Some(Workdir::InPlace);
        match self {
            Self::Off if declared.off_reason.is_some() && rule.may_be_off != Some(true) => {
                refuse("sandbox=off", "may_be_off: true".to_owned())
            }
            // What may be written may be read. A tree that is copied or overlaid is only read.
            Self::Read => each(&declared.read, &|path| below(path, &rule.read) || below(path, &rule.write)),
            Self::Write if in_place => each(&declared.write, &|path| below(path, &rule.write)),
            Self::Write => each(&declared.write, &|path| below(path, &rule.read) || below(path, &rule.write)),
            Self::Workdir if in_place && rule.workdir != Some(Workdir::InPlace) => {
                refuse("workdir=in-place", "workdir: in-place".to_owned())
            }
            Self::Network => match (&declared.network, &rule.network) {
                (None | Some(DeclaredNetwork::None), _) | (_, Some(DeclaredNetwork::Host)) => Ok(()),
                (Some(DeclaredNetwork::Host), _) => refuse("network=host", "network: host".to_owned()),
                (Some(DeclaredNetwork::Allow(hosts)), rule) => {
                    let listed =
                        |host: &&String| matches!(rule, Some(DeclaredNetwork::Allow(list)) if list.contains(host));
                    let refused = hosts.iter().find(|host| !listed(host));
                    refused.map_or(Ok(()), |host| {
                        refuse(&format!("network={host}"), format!("network: {{allow: [{host:?}]}}"))
                    })
                }
            },
            Self::Sockets => each(&declared.sockets, &|path| rule.sockets.iter().flatten().any(|one| one == path)),
            Self::RunAs => match &declared.run_as {
                Some(user) if rule.run_as.as_ref() != Some(user) => {
                    refuse(&format!("run-as={user}"), format!("run_as: {user}"))
                }
                _ => Ok(()),
            },
            // A pattern takes away, so policy need not allow it. The room `policy` checks `proc`, because that error names a rule.
            Self::Off | Self::Deny | Self::Workdir | Self::Proc => Ok(()),
        }
    }

    /// Puts what a step declares into its profile.
    pub fn give(self, declared: &DeclaredSandbox, profile: &mut Profile) {
        let sorted = |items: &Option<Vec<String>>| {
            let mut items = items.clone().unwrap_or_default();
            items.sort();
            items.dedup();
            items
        };
        match self {
            Self::Read => profile.read = sorted(&declared.read),
            Self::Write => profile.write = sorted(&declared.write),
            Self::Deny => profile.deny = sorted(&declared.deny),
            Self::Workdir => profile.workdir = declared.workdir.unwrap_or(Workdir::Private),
            Self::Network => {
                let (mode, hosts) = match &declared.network {
                    None | Some(DeclaredNetwork::None) => (NetworkMode::None, Vec::new()),
                    Some(DeclaredNetwork::Allow(hosts)) => (NetworkMode::Allow, sorted(&Some(hosts.clone()))),
                    Some(DeclaredNetwork::Host) => (NetworkMode::Host, Vec::new()),
                };
                if mode == NetworkMode::Host {
                    // The host's network is held by nothing.
                    profile.require.retain(|layer| *layer != Layer::Network);
                }
                profile.network = Network { mode, hosts };
            }
            Self::Sockets => profile.sockets = sorted(&declared.sockets),
            Self::Proc => profile.proc = declared.proc.unwrap_or(Proc::Minimal),
            Self::RunAs => profile.run_as = declared.run_as.clone().unwrap_or_else(|| ISOLATED.to_owned()),
            Self::Off => {
                profile.off_reason.clone_from(&declared.off_reason);
                if profile.off_reason.is_some() {
                    // Nothing can be demanded of what is off.
                    profile.require.clear();
                }
            }
        }
    }

    /// The line of a review about this permission.
    #[must_use]
    pub fn line(self, profile: &Profile) -> PermissionLine<'_> {
        let plain = |words| PermissionLine { words, values: &[], shows: Vec::new(), is_remark: false };
        let text = |words, value| {
            let shows = vec![self.field().to_owned()];
            PermissionLine { words, values: std::slice::from_ref(value), shows, is_remark: true }
        };
        let list = |words, field: &str, values| {
            let shows = (0..<[String]>::len(values)).map(|at| format!("{field}[{at}]")).collect();
            PermissionLine { words, values, shows, is_remark: true }
        };
        match self {
            Self::Off => match &profile.off_reason {
                None => plain(""),
                Some(reason) => text(
                    "THE SANDBOX IS OFF: only limits hold, and the run can do on the host what its user can; the author's reason: ",
                    reason,
                ),
            },
            Self::Read if profile.read.is_empty() => plain("reads of the host: nothing but what an interpreter needs"),
            Self::Read => list("reads of the host: ", "read", &profile.read),
            Self::Write => {
                let words = match profile.workdir {
                    Workdir::InPlace => "writes to live trees of the host, and what it writes there stays: ",
                    _ if profile.write.is_empty() => return plain("writes to the host: nothing"),
                    Workdir::Private => "writes to the host: ",
                    Workdir::Copy => "reads, and writes to a private copy of: ",
                    Workdir::Overlay => "reads, and writes under an overlay of: ",
                };
                list(words, "write", &profile.write)
            }
            Self::Deny if profile.deny.is_empty() => plain("stays out of reach: no further pattern"),
            // A pattern gives nothing. The decision screen lists the patterns in a line of its own.
            Self::Deny => PermissionLine { is_remark: false, ..list("stays out of reach: ", "deny", &profile.deny) },
            // The remark about `write` names the trees.
            Self::Workdir => plain(match profile.workdir {
                Workdir::Private => "works in: an empty directory of its own, gone afterwards",
                Workdir::Copy => "works in: a private copy of the trees it writes, gone afterwards",
                Workdir::Overlay => "works in: the trees it writes, seen through an overlay that is gone afterwards",
                Workdir::InPlace => {
                    "works in: the live trees: what it writes stays, and a denied name holds as the tree was at its start"
                }
            }),
            Self::Network => match profile.network.mode {
                NetworkMode::None => plain("network: none"),
                NetworkMode::Allow => list("network: only ", "network.hosts", &profile.network.hosts),
                NetworkMode::Host => {
                    PermissionLine { is_remark: true, ..plain("network: every network that the host reaches") }
                }
            },
            Self::Sockets if profile.sockets.is_empty() => plain("reaches sockets of the host: none"),
            Self::Sockets => list("reaches sockets of the host: ", "sockets", &profile.sockets),
            Self::Proc => match profile.proc {
                Proc::Full => PermissionLine { shows: vec!["proc".to_owned()], is_remark: true, ..plain(PROC_FULL) },
                // Where it is not required the run may be on the host's root.
                Proc::Minimal if profile.require.contains(&Layer::Namespaces) => {
                    plain("sees of /proc: only its own processes")
                }
                Proc::Minimal => plain(
                    "sees of /proc: only its own processes; without namespaces nothing, without Landlock too all of the host's",
                ),
            },
            Self::RunAs if profile.run_as == ISOLATED => {
                plain("runs as: an id of its own where the service is root and has ids to give, else the service's")
            }
            Self::RunAs => text("runs as the host's user ", &profile.run_as),
        }
    }
}

/// What a run with the whole of /proc sees.
const PROC_FULL: &str = "sees the whole of /proc of its process namespace (proc full), and there the host's boot command line, partitions, \
     interrupts, load, and the list of the kernel's keys";

/// The most bytes of all hosts, and of all paths and patterns together. An authorization and a receipt must have room for
/// them.
const MOST_HOSTS_BYTES: usize = 1536;
const MOST_BYTES: usize = 6 << 10;

impl DeclaredSandbox {
    /// Checks the whole declaration, and that its parts fit together.
    ///
    /// # Errors
    /// The error, and what to do.
    pub fn check(&self) -> Result<(), String> {
        SandboxPermission::ALL.into_iter().try_for_each(|permission| permission.check(self))?;
        if let Some(DeclaredNetwork::Allow(hosts)) = &self.network
            && hosts.iter().map(|host| host.len() + 3).sum::<usize>() > MOST_HOSTS_BYTES
        {
            return Err(format!(
                "the network's hosts take more than {MOST_HOSTS_BYTES} bytes, and each receipt names those that were contacted: \
                 name fewer, or split the step"
            ));
        }
        let named = [&self.read, &self.write, &self.deny, &self.sockets].into_iter().flatten().flatten();
        if named.map(|text| text.len() + 3).sum::<usize>() > MOST_BYTES {
            return Err(format!(
                "the paths and patterns take more than {MOST_BYTES} bytes of the signed profile: name directories above them"
            ));
        }
        let written = serde_json::to_value(self).unwrap_or_default();
        let others = SandboxPermission::ALL.into_iter().filter(|other| *other != SandboxPermission::Off);
        if self.off_reason.is_some()
            && let Some(other) = others.into_iter().find(|other| written.get(other.field()).is_some())
        {
            return Err(format!("with sandbox=off nothing enforces `{}`: remove one of the two", other.attribute()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, schema_for};
    use std::collections::BTreeSet;

    fn fields<T: JsonSchema>() -> BTreeSet<String> {
        schema_for!(T).get("properties").and_then(|found| found.as_object()).expect("fields").keys().cloned().collect()
    }

    #[test]
    fn each_field_of_a_profile_a_step_and_a_rule_is_in_the_table() {
        let table = |name: fn(SandboxPermission) -> &'static str, others: &[&str]| {
            SandboxPermission::ALL.into_iter().map(name).chain(others.iter().copied()).map(str::to_owned).collect()
        };
        let expected: BTreeSet<String> = table(SandboxPermission::field, &["limits", "require"]);
        assert_eq!(fields::<Profile>(), expected);
        assert_eq!(fields::<DeclaredSandbox>(), table(SandboxPermission::field, &["limits"]));
        assert_eq!(fields::<SandboxRule>(), table(SandboxPermission::rule_key, &["limits"]));
    }
}
