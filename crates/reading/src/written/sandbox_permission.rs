//! The sandbox permissions, and how each of them is parsed, allowed and signed.
//!
//! Each of these methods has one match arm for each sandbox permission. For a new variant, the compiler reports each
//! missing arm, and the test below reports a field without a variant.
//!
//! The file also checks the paths of the host, deny patterns and reasons that people write. These checks read only the
//! text and never the disk, so that the boundary and the approver's program derive the same profile. The check before a
//! seal tests whether a path exists and contains no symbolic link.

use crate::{
    SandboxRule, YamlFlaw, YamlNode, noted,
    written::declared_sandbox::{checked, list, network_of_step, word},
};
use documents::{
    AllowedHost, DeclaredNetwork, DeclaredSandbox, HostRefusal, ISOLATED, Layer, MAX_HOSTS,
    Network, NetworkMode, Proc, Profile, Workdir, check_host, check_unresolved, check_user,
    is_localhost, joined, shortened,
};

documents::words! {
    /// One sandbox permission, which is a field of a profile. The words are the names of the fields in a step
    /// definition and in a signed profile, in the order of the lines on a review screen.
    pub enum SandboxPermission {
        /// The step runs without a sandbox.
        Off = "off_reason",
        /// Access to paths of the host for reading.
        Read = "read",
        /// Access to paths of the host, or to copies of these paths, for writing.
        Write = "write",
        /// Patterns of paths that the run cannot access, even below a path of `read` or `write`.
        Deny = "deny",
        /// Work directory: an empty directory, or the trees of `write` (as copies, under an overlay, or in place).
        Workdir = "workdir",
        /// Access to a network.
        Network = "network",
        /// Access to Unix sockets of the host.
        Sockets = "sockets",
        /// View of the whole `/proc`, instead of only the run's processes.
        Proc = "proc",
        /// User of the host whose id the run has.
        RunAs = "run_as",
    }
}

impl SandboxPermission {
    /// Returns the name of the attribute in a runbook's fence.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::RunAs => "run-as",
            Self::Off => "reason",
            same => same.word(),
        }
    }

    /// Returns the sandbox permission with this attribute.
    pub fn of_attribute(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.attribute() == name)
    }

    /// Returns the name of the key in a policy rule.
    pub fn rule_key(self) -> &'static str {
        match self {
            Self::Off => "may_be_off",
            same => same.word(),
        }
    }

    /// Returns true if the front matter of a runbook can declare this permission for all its steps.
    pub fn is_for_files(self) -> bool {
        match self {
            Self::RunAs | Self::Off => false,
            Self::Read
            | Self::Write
            | Self::Deny
            | Self::Workdir
            | Self::Network
            | Self::Sockets
            | Self::Proc => true,
        }
    }

    /// Returns true if policy can allow this permission for all runbooks, and not only in an override that names
    /// runbooks.
    pub fn is_for_all(self) -> bool {
        match self {
            Self::Deny | Self::Proc => true,
            Self::Off
            | Self::Read
            | Self::Write
            | Self::Workdir
            | Self::Network
            | Self::Sockets
            | Self::RunAs => false,
        }
    }

    /// Parses the value of a fence attribute or of a command-line flag. Commas separate the items of a list.
    ///
    /// # Errors
    /// Returns a message that names the error in the text.
    pub fn read_text(self, text: &str, declared: &mut DeclaredSandbox) -> Result<(), String> {
        let items = || text.split(',').map(|item| item.trim().to_owned()).collect();
        match self {
            Self::Read => declared.read = Some(checked(items(), check_host_path)?),
            Self::Write => declared.write = Some(checked(items(), check_host_path)?),
            Self::Deny => declared.deny = Some(checked(split_patterns(text), check_pattern)?),
            Self::Workdir => {
                declared.workdir = Some(word(
                    self.word(),
                    text,
                    &["private", "copy", "overlay", "in-place"],
                )?)
            }
            Self::Network => {
                declared.network = Some(match text {
                    "none" => DeclaredNetwork::None,
                    "host" => DeclaredNetwork::Host,
                    _ => DeclaredNetwork::Allow(checked(items(), check_host)?),
                });
            }
            Self::Sockets => declared.sockets = Some(checked(items(), check_host_path)?),
            Self::Proc => {
                declared.proc = Some(word(self.word(), text, &Proc::ALL.map(Proc::word))?)
            }
            Self::RunAs => declared.run_as = Some(check_user(text).map(|()| text.to_owned())?),
            Self::Off => declared.off_reason = Some(check_reason(text).map(|()| text.to_owned())?),
        }
        Ok(())
    }

    /// Parses the value of a key in front matter or in a policy rule. An erroneous value is recorded as an error and
    /// not added.
    pub fn read_yaml(
        self,
        node: &YamlNode,
        declared: &mut DeclaredSandbox,
        flaws: &mut Vec<YamlFlaw>,
    ) {
        match self {
            Self::Read => declared.read = list(node, "`read`", check_host_path, flaws),
            Self::Write => declared.write = list(node, "`write`", check_host_path, flaws),
            Self::Deny => declared.deny = list(node, "`deny`", check_pattern, flaws),
            Self::Network => declared.network = network_of_step(node, flaws),
            Self::Sockets => declared.sockets = list(node, "`sockets`", check_host_path, flaws),
            Self::Workdir | Self::Proc | Self::RunAs | Self::Off => {
                let Some(text) = node.text(&format!("`{self}`"), flaws) else {
                    return;
                };
                noted(self.read_text(text, declared), node.place, flaws);
            }
        }
    }

    /// Returns true if the declared value gives the run so much access that `doctor --production` recommends two
    /// approvals.
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

    /// Checks the values that a step declares, because a step definition may come from another source than the parser
    /// of runbooks.
    ///
    /// # Errors
    /// Returns a message with the error and the correction.
    fn check(self, declared: &DeclaredSandbox) -> Result<(), String> {
        let each = |items: &Option<Vec<String>>, check: fn(&str) -> Result<(), String>| {
            items.iter().flatten().try_for_each(|item| check(item))
        };
        match self {
            Self::Read => each(&declared.read, check_host_path),
            Self::Write => each(&declared.write, check_host_path),
            Self::Deny => each(&declared.deny, check_pattern),
            Self::Network => match &declared.network {
                Some(DeclaredNetwork::Allow(hosts)) if hosts.is_empty() => {
                    Err("the network allows no host: name a host, or write network=none".to_owned())
                }
                Some(DeclaredNetwork::Allow(hosts)) => {
                    hosts.iter().try_for_each(|host| check_host(host))
                }
                Some(DeclaredNetwork::None | DeclaredNetwork::Host) | None => Ok(()),
            },
            Self::Sockets => each(&declared.sockets, check_host_path),
            Self::RunAs => declared.run_as.iter().try_for_each(|user| check_user(user)),
            Self::Off => declared
                .off_reason
                .iter()
                .try_for_each(|reason| check_reason(reason)),
            Self::Workdir | Self::Proc => Ok(()),
        }
    }

    /// Checks that policy allows the declared value.
    ///
    /// # Errors
    /// Returns the declared value that policy does not allow, and the line below `sandbox` of an override that would
    /// allow the value.
    pub fn check_allowed(
        self,
        rule: &SandboxRule,
        declared: &DeclaredSandbox,
    ) -> Result<(), (String, String)> {
        let refuse = |asks: &str, write: &str| Err((asks.to_owned(), write.to_owned()));
        let name = self.attribute();
        // A list of a later override replaces the list of an earlier override, so the suggested list also contains the
        // values of `kept`.
        let each = |items: &Option<Vec<String>>,
                    kept: &Option<Vec<String>>,
                    allowed: &dyn Fn(&String) -> bool| {
            let refused: Vec<String> = items
                .iter()
                .flatten()
                .filter(|item| !allowed(item))
                .cloned()
                .collect();
            if refused.is_empty() {
                return Ok(());
            }
            let all: Vec<_> = kept.iter().flatten().chain(&refused).collect();
            refuse(
                &format!("{name}={}", refused.join(",")),
                &format!("{name}: {all:?}"),
            )
        };
        let below = |path: &String, trees: &Option<Vec<String>>| {
            trees
                .iter()
                .flatten()
                .any(|tree| is_at_or_below(path, tree))
        };
        let in_place = declared.workdir == Some(Workdir::InPlace);
        match self {
            Self::Off if declared.off_reason.is_some() && rule.may_be_off != Some(true) => {
                refuse("sandbox=off", "may_be_off: true")
            }
            // A rule for `write` also allows `read` below the same path. A copy or an overlay only reads the host's
            // tree.
            Self::Read => each(&declared.read, &rule.read, &|path| {
                below(path, &rule.read) || below(path, &rule.write)
            }),
            Self::Write if in_place => each(&declared.write, &rule.write, &|path| {
                below(path, &rule.write)
            }),
            Self::Write => each(&declared.write, &rule.write, &|path| {
                below(path, &rule.read) || below(path, &rule.write)
            }),
            Self::Workdir if in_place && rule.workdir != Some(Workdir::InPlace) => {
                refuse("workdir=in-place", "workdir: in-place")
            }
            Self::Network => match (&declared.network, &rule.network) {
                (None | Some(DeclaredNetwork::None), _)
                | (Some(DeclaredNetwork::Host), Some(DeclaredNetwork::Host)) => Ok(()),
                (Some(DeclaredNetwork::Host), _) => refuse("network=host", "network: host"),
                (Some(DeclaredNetwork::Allow(hosts)), rule) => {
                    let mut all = if let Some(DeclaredNetwork::Allow(list)) = rule {
                        list.clone()
                    } else {
                        Vec::new()
                    };
                    let mut asked = Vec::new();
                    for host in hosts {
                        let listed = listed_host(host, rule.as_ref());
                        let plain = AllowedHost {
                            host: host.clone(),
                            ..AllowedHost::default()
                        };
                        let entry = with_needed_word(listed.clone().unwrap_or(plain));
                        asked.extend((listed.as_ref() != Some(&entry)).then_some(host.as_str()));
                        all.retain(|other| other.host != *host);
                        all.push(entry);
                    }
                    if asked.is_empty() {
                        return Ok(());
                    }
                    let entries = joined(all.iter().map(rule_entry), ", ");
                    let entries = format!("network: {{allow: [{entries}]}}");
                    refuse(&format!("network={}", asked.join(",")), &entries)
                }
            },
            Self::Sockets => each(&declared.sockets, &rule.sockets, &|path| {
                rule.sockets.iter().flatten().any(|one| one == path)
            }),
            Self::RunAs => match &declared.run_as {
                Some(user) if rule.run_as.as_ref() != Some(user) => {
                    refuse(&format!("run-as={user}"), &format!("run_as: {user}"))
                }
                _ => Ok(()),
            },
            // A deny pattern only removes access, so policy need not allow it. `policy` checks `proc`, because that
            // error names a rule of the policy.
            Self::Off | Self::Deny | Self::Workdir | Self::Proc => Ok(()),
        }
    }

    /// Copies the declared value of a step into the step's profile.
    ///
    /// For a seal, policy then adds its own deny patterns and sets `proc`. `countersign sandbox` has no policy, so the
    /// declared values stay.
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
                    Some(DeclaredNetwork::Allow(hosts)) => {
                        (NetworkMode::Allow, sorted(&Some(hosts.clone())))
                    }
                    Some(DeclaredNetwork::Host) => (NetworkMode::Host, Vec::new()),
                };
                if mode == NetworkMode::Host {
                    // No layer can restrict the network if the run uses the host's network.
                    profile.require.retain(|layer| *layer != Layer::Network);
                }
                profile.network = Network {
                    mode,
                    hosts,
                    ..Network::NONE
                };
            }
            Self::Sockets => profile.sockets = sorted(&declared.sockets),
            Self::Proc => profile.proc = declared.proc.unwrap_or(Proc::Minimal),
            Self::RunAs => {
                profile.run_as = declared
                    .run_as
                    .clone()
                    .unwrap_or_else(|| ISOLATED.to_owned())
            }
            Self::Off => {
                profile.off_reason.clone_from(&declared.off_reason);
                if profile.off_reason.is_some() {
                    // A sandbox that is off cannot enforce any layer.
                    profile.require.clear();
                }
            }
        }
    }
}

/// Returns the entry of a policy rule that allows the host, or `None` if the rule does not allow the host.
pub fn listed_host(host: &str, rule: Option<&DeclaredNetwork<AllowedHost>>) -> Option<AllowedHost> {
    match rule {
        // A rule with `network: host` also allows every host of a list, but without the flags `private` and
        // `localhost`.
        Some(DeclaredNetwork::Host) => Some(AllowedHost {
            host: host.to_owned(),
            ..AllowedHost::default()
        }),
        Some(DeclaredNetwork::Allow(list)) => {
            list.iter().find(|listed| listed.host == host).cloned()
        }
        Some(DeclaredNetwork::None) | None => None,
    }
}

/// Sets the flag that the host needs in a policy rule: `private` for a private IP address, `localhost` for a loopback
/// address or the name `localhost`.
pub fn with_needed_word(mut host: AllowedHost) -> AllowedHost {
    match check_unresolved(&host) {
        Err(HostRefusal::Private) => host.private = true,
        Err(HostRefusal::Localhost) => host.localhost = true,
        _ => {}
    }
    host
}

/// Returns the entry for a host in a rule of policy.
pub fn rule_entry(host: &AllowedHost) -> String {
    let word = |is_set, word: &str| {
        if is_set {
            format!(", {word}: true")
        } else {
            String::new()
        }
    };
    let words = word(host.private, "private") + &word(host.localhost, "localhost");
    if words.is_empty() {
        format!("{:?}", host.host)
    } else {
        format!("{{host: {:?}{words}}}", host.host)
    }
}

/// Maximum total size of all declared hosts, in bytes, because they must fit into an authorization and a receipt.
const MOST_HOSTS_BYTES: usize = 1536;
/// Maximum total size of all declared paths and patterns, in bytes.
const MOST_BYTES: usize = 6 << 10;

/// Checks the values of the declaration, and that they do not contradict each other.
///
/// # Errors
/// Returns a message with the error and the correction.
pub fn check_declared(declared: &DeclaredSandbox) -> Result<(), String> {
    SandboxPermission::ALL
        .into_iter()
        .try_for_each(|permission| permission.check(declared))?;
    if let Some(DeclaredNetwork::Allow(hosts)) = &declared.network {
        if hosts.len() > MAX_HOSTS
            || hosts.iter().map(|host| host.len() + 3).sum::<usize>() > MOST_HOSTS_BYTES
        {
            return Err(format!(
                "the hosts of `network` take more than {MOST_HOSTS_BYTES} bytes, or are more than {MAX_HOSTS}, and each \
                 receipt names the contacted hosts: name fewer hosts, or split the step"
            ));
        }
        let same = |host: &&String| {
            is_localhost(host) && hosts.contains(&host.replacen("localhost", "127.0.0.1", 1))
        };
        if let Some(twice) = hosts.iter().find(same) {
            return Err(format!(
                "a run has 127.0.0.1 and {twice} at the same place: remove one of the two"
            ));
        }
    }
    let named = [
        &declared.read,
        &declared.write,
        &declared.deny,
        &declared.sockets,
    ]
    .into_iter()
    .flatten()
    .flatten();
    if named.map(|text| text.len() + 3).sum::<usize>() > MOST_BYTES {
        return Err(format!(
            "the paths and patterns take more than {MOST_BYTES} bytes of the signed profile: name fewer paths, for \
             example parent directories"
        ));
    }
    let written = serde_json::to_value(declared).unwrap_or_default();
    let is_written = |other: &SandboxPermission| {
        *other != SandboxPermission::Off && written.get(other.word()).is_some()
    };
    if declared.off_reason.is_some()
        && let Some(other) = SandboxPermission::ALL.into_iter().find(is_written)
    {
        return Err(format!(
            "with sandbox=off nothing enforces `{}`: remove one of the two",
            other.attribute()
        ));
    }
    let writes = declared
        .write
        .as_ref()
        .is_some_and(|paths| !paths.is_empty());
    match declared.workdir {
        None | Some(Workdir::Private) if writes => Err(
            "`write` names a tree of the host, but `workdir` is missing: add workdir=copy or workdir=overlay (the changes of \
             the step are deleted after the run), or workdir=in-place (the step changes the tree of the host)"
                .to_owned(),
        ),
        Some(Workdir::Copy | Workdir::Overlay | Workdir::InPlace) if !writes => {
            Err("`workdir` needs a tree: name the tree in `write`, or remove `workdir`".to_owned())
        }
        _ => Ok(()),
    }
}

/// Maximum length of a path in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Maximum length of a deny pattern in bytes, and maximum number of wildcards, because both limit the time of a match.
const MAX_PATTERN_BYTES: usize = 256;
const MAX_STARS: usize = 16;
/// Maximum length of a reason in bytes.
const MAX_REASON_BYTES: usize = 256;
/// Paths at which each run has its own directory, so no file of the host can be mounted there.
const OWN: [&str; 5] = ["/proc", "/dev", "/sys", "/run/step", "/tmp/work"];

/// Checks a path of the host. The path must be absolute, in plain form, and neither `/` nor a directory of the run
/// itself.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_host_path(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("the path {:?} {why}", shortened(text)));
    if text.len() > MAX_PATH_BYTES {
        return refuse(&format!(
            "is longer than {MAX_PATH_BYTES} bytes: name a directory above this path"
        ));
    }
    if text.chars().any(char::is_control) {
        return refuse("contains a line break or another control character: rename the file");
    }
    if !text.starts_with('/') {
        return refuse("is relative: write a path that begins with /");
    }
    if text.contains(['*', '?', '[', '{']) {
        return refuse("looks like a pattern: name the directory itself");
    }
    let plain: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if plain.contains(&"..") {
        return refuse("contains `..`: write the path without `..`");
    }
    if plain.is_empty() {
        return refuse("is the whole host: name only the paths that the step needs");
    }
    let plain = format!("/{}", plain.join("/"));
    if plain != text {
        return refuse(&format!("is not in its plain form: write {plain}"));
    }
    if let Some(own) = OWN.into_iter().find(|own| is_at_or_below(text, own)) {
        return refuse(&format!(
            "is below {own}, and each run has its own {own}: remove the path"
        ));
    }
    if let Some(own) = OWN
        .into_iter()
        .find(|own| text != "/tmp" && is_at_or_below(own, text))
    {
        return refuse(&format!(
            "would cover {own}, and each run has its own {own}: name only the paths that the step needs"
        ));
    }
    if is_at_or_below(text, "/var/tmp") {
        return refuse("is below /var/tmp, and each run has its own /var/tmp: remove the path");
    }
    if ["/tmp", "/etc"].contains(&text) {
        return refuse(
            "can't be given as a whole, because each run gets its own: name the paths below that the step needs",
        );
    }
    Ok(())
}

/// Returns true if `path` equals `directory` or lies below `directory`, compared by segments. Both paths must be in
/// plain form.
pub fn is_at_or_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || directory == "/")
}

/// Checks the length of a deny pattern, and that the pattern does not match every path.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_pattern(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("the deny pattern {:?} {why}", shortened(text)));
    if text.len() > MAX_PATTERN_BYTES {
        return refuse(&format!(
            "is longer than {MAX_PATTERN_BYTES} bytes: write several patterns"
        ));
    }
    if text.chars().any(char::is_control) {
        return refuse("contains a line break or another control character: remove the character");
    }
    if text.matches('*').count() > MAX_STARS {
        return refuse(&format!(
            "has more than {MAX_STARS} stars: write several patterns"
        ));
    }
    if text.chars().all(|c| "*?/.".contains(c)) {
        return refuse("matches everything: name the files to hide, for example \"**/.env\"");
    }
    if !text.starts_with('/') && !text.starts_with("**/") {
        return refuse(&format!(
            "must begin with / or **/: write for example **/{}",
            shortened(text)
        ));
    }
    Ok(())
}

/// Splits a list of patterns at commas, except commas in braces (`{a,b}`) or after a backslash.
pub fn split_patterns(text: &str) -> Vec<String> {
    let (mut patterns, mut depth, mut escaped) = (vec![String::new()], 0_usize, false);
    for c in text.chars() {
        match c {
            ',' if depth == 0 && !escaped => {
                patterns.push(String::new());
                continue;
            }
            '{' if !escaped => depth += 1,
            '}' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(pattern) = patterns.last_mut() {
            pattern.push(c);
        }
    }
    patterns
        .iter()
        .map(|pattern| pattern.trim().to_owned())
        .collect()
}

/// Checks the reason for `sandbox=off`.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_reason(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the reason is empty: write why the step cannot run in the sandbox".to_owned());
    }
    if text.len() > MAX_REASON_BYTES || text.chars().any(char::is_control) {
        return Err(format!(
            "the reason must be one line of at most {MAX_REASON_BYTES} bytes: shorten the reason"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, schema_for};
    use std::collections::BTreeSet;

    fn fields<T: JsonSchema>() -> BTreeSet<String> {
        schema_for!(T)
            .get("properties")
            .and_then(|found| found.as_object())
            .expect("fields")
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn each_field_of_a_profile_a_step_and_a_rule_is_in_the_table() {
        let table = |name: fn(SandboxPermission) -> &'static str, others: &[&str]| {
            SandboxPermission::ALL
                .into_iter()
                .map(name)
                .chain(others.iter().copied())
                .map(str::to_owned)
                .collect()
        };
        let expected: BTreeSet<String> =
            table(SandboxPermission::word, &["limits", "programs", "require"]);
        assert_eq!(fields::<Profile>(), expected);
        assert_eq!(
            fields::<DeclaredSandbox>(),
            table(SandboxPermission::word, &["limits"])
        );
        assert_eq!(
            fields::<SandboxRule>(),
            table(SandboxPermission::rule_key, &["limits", "programs"])
        );
    }

    #[test]
    fn a_malformed_value_is_refused_even_if_no_parser_has_read_the_declaration() {
        let texts = |text: &str| Some(vec![text.to_owned()]);
        let plain = DeclaredSandbox::default();
        let many: Vec<String> = (1..=MAX_HOSTS).map(|port| format!("a:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let allow = |hosts: &[&str]| {
            Some(DeclaredNetwork::Allow(
                hosts.iter().map(|&host| host.to_owned()).collect(),
            ))
        };
        for (bad, words) in [
            (
                DeclaredSandbox {
                    read: texts("srv"),
                    ..plain.clone()
                },
                "\"srv\" is relative",
            ),
            (
                DeclaredSandbox {
                    write: texts("/srv/../etc"),
                    ..plain.clone()
                },
                "/srv/../etc",
            ),
            (
                DeclaredSandbox {
                    deny: texts("a\0b"),
                    ..plain.clone()
                },
                "pattern",
            ),
            (
                DeclaredSandbox {
                    network: allow(&["169.254.169.254:80"]),
                    ..plain.clone()
                },
                "169.254.169.254:80",
            ),
            (
                DeclaredSandbox {
                    network: allow(&["127.77.0.1:80"]),
                    ..plain.clone()
                },
                "127.77.0.0/16",
            ),
            (
                DeclaredSandbox {
                    network: allow(&["127.0.0.1:80", "localhost:80"]),
                    ..plain.clone()
                },
                "remove one of the two",
            ),
            (
                DeclaredSandbox {
                    network: allow(&[many.as_slice(), &["b:1"]].concat()),
                    ..plain.clone()
                },
                "more than 64",
            ),
            (
                DeclaredSandbox {
                    network: allow(&[]),
                    ..plain.clone()
                },
                "allows no host",
            ),
            (
                DeclaredSandbox {
                    sockets: texts("run/x"),
                    ..plain.clone()
                },
                "\"run/x\" is relative",
            ),
            (
                DeclaredSandbox {
                    run_as: Some("root".to_owned()),
                    ..plain.clone()
                },
                "no step runs as root",
            ),
            (
                DeclaredSandbox {
                    off_reason: Some(String::new()),
                    ..plain.clone()
                },
                "reason",
            ),
        ] {
            let why = check_declared(&bad).expect_err("malformed");
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(check_declared(&plain), Ok(()));
        assert_eq!(
            check_declared(&DeclaredSandbox {
                network: allow(&many),
                ..plain
            }),
            Ok(()),
            "64 hosts are allowed"
        );
    }

    #[test]
    fn all_hosts_that_policy_does_not_allow_are_named_with_the_entries_to_add() {
        let declared = |hosts: &str| {
            let mut declared = DeclaredSandbox::default();
            SandboxPermission::Network
                .read_text(hosts, &mut declared)
                .expect("readable");
            declared
        };
        let host = |host: &str, private, localhost| AllowedHost {
            host: host.to_owned(),
            private,
            localhost,
        };
        let rule = |hosts: &[AllowedHost]| SandboxRule {
            network: Some(DeclaredNetwork::Allow(hosts.to_vec())),
            ..SandboxRule::default()
        };
        let check = |hosts: &[AllowedHost], asked: &str| {
            SandboxPermission::Network.check_allowed(&rule(hosts), &declared(asked))
        };
        let why = check(
            &[host("10.1.2.3:5432", false, true)],
            "10.1.2.3:5432,a.example:443,localhost:80,[::1]:1,1.1.1.1:53",
        )
        .expect_err("nothing allows them");
        assert_eq!(
            why.0,
            "network=1.1.1.1:53,10.1.2.3:5432,[::1]:1,a.example:443,localhost:80"
        );
        assert_eq!(
            why.1,
            "network: {allow: [\"1.1.1.1:53\", {host: \"10.1.2.3:5432\", private: true, localhost: true}, \
             {host: \"[::1]:1\", localhost: true}, \"a.example:443\", {host: \"localhost:80\", localhost: true}]}"
        );
        // A later override replaces the list of an earlier one, so the new list also has the hosts of other steps.
        let (asked, list) = check(
            &[host("other:1", true, false), host("db:1", false, false)],
            "new:1,db:1",
        )
        .expect_err("it is not allowed");
        assert_eq!(asked, "network=new:1");
        assert_eq!(
            list,
            "network: {allow: [{host: \"other:1\", private: true}, \"db:1\", \"new:1\"]}"
        );
        assert_eq!(
            check(
                &[
                    host("10.1.2.3:5432", true, false),
                    host("db:1", false, false)
                ],
                "10.1.2.3:5432,db:1"
            ),
            Ok(())
        );
        assert!(check(&[host("localhost:80", true, false)], "localhost:80").is_err());
        let whole = SandboxRule {
            network: Some(DeclaredNetwork::Host),
            ..SandboxRule::default()
        };
        assert_eq!(
            SandboxPermission::Network.check_allowed(&whole, &declared("a:1")),
            Ok(())
        );
        assert!(
            SandboxPermission::Network
                .check_allowed(&whole, &declared("10.0.0.1:1"))
                .is_err()
        );
    }
}

#[cfg(test)]
mod host_paths_tests {
    use super::*;

    #[test]
    fn a_comma_inside_braces_or_after_a_backslash_does_not_split_a_pattern_list() {
        for (list, patterns) in [
            ("**/.env", &["**/.env"][..]),
            ("**/a, **/b", &["**/a", "**/b"]),
            ("**/{a,q}/**,/srv/x", &["**/{a,q}/**", "/srv/x"]),
            ("**/{a,{b,c}},**/d", &["**/{a,{b,c}}", "**/d"]),
            (r"**/a\,b,**/\{c,**/d", &[r"**/a\,b", r"**/\{c", "**/d"]),
            ("**/}a,**/b", &["**/}a", "**/b"]),
            ("**/a,", &["**/a", ""]),
        ] {
            assert_eq!(split_patterns(list), patterns, "{list}");
        }
    }

    #[test]
    fn a_host_path_is_an_absolute_plain_path_and_never_a_path_that_the_run_provides() {
        for good in [
            "/srv/app",
            "/var/lib/a b",
            "/tmp/x",
            "/etc/ssl",
            "/run/stepping",
            "/var",
            "/var/tmpx",
            "/a..b",
        ] {
            assert_eq!(check_host_path(good), Ok(()), "{good}");
        }
        let long = format!("/{}", "a".repeat(2000));
        for (bad, word) in [
            ("", "relative"),
            ("srv", "relative"),
            ("/", "whole host"),
            ("//", "whole host"),
            ("/srv/", "write /srv"),
            ("/srv//a", "write /srv/a"),
            ("/srv/./a", "write /srv/a"),
            ("/srv/../etc", "contains `..`"),
            ("/srv/a\nb", "line break"),
            ("/srv/a\0", "control"),
            ("/srv/*", "pattern"),
            ("/{work}", "pattern"),
            ("/proc/1/root", "/proc"),
            ("/dev/vda", "/dev"),
            ("/run", "cover /run/step"),
            ("/var/tmp/x", "/var/tmp"),
            ("/tmp", "each run"),
            ("/etc", "each run"),
            (&long, "longer"),
        ] {
            let why = check_host_path(bad).expect_err(bad);
            assert!(why.contains(word) && why.len() < 300, "{why}");
        }
        assert!(is_at_or_below("/srv/app/a", "/srv/app") && is_at_or_below("/srv/app", "/srv/app"));
        assert!(!is_at_or_below("/srv/apple", "/srv/app") && !is_at_or_below("/srv", "/srv/app"));
    }

    #[test]
    fn a_deny_pattern_must_not_match_every_path_and_must_have_a_limited_cost() {
        for good in ["**/.env", "/srv/app/secrets/**", "**/*.pem", "**/.git/**"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        let stars = format!("**/{}x", "*".repeat(1000));
        for (bad, word) in [
            ("", "everything"),
            ("**", "everything"),
            ("**/*", "everything"),
            ("/**", "everything"),
            ("**/?*", "everything"),
            ("**/.*", "everything"),
            (".env", "**/.env"),
            ("**/a\nb", "line break"),
            (&stars[..200], "stars"),
            (&stars, "longer"),
        ] {
            let why = check_pattern(bad).expect_err(bad);
            assert!(why.contains(word) && why.len() < 400, "{why}");
        }
    }

    #[test]
    fn a_reason_is_one_line_of_text() {
        assert!(
            check_reason(" ").is_err()
                && check_reason("a\nb").is_err()
                && check_reason("needs docker").is_ok()
        );
    }
}
