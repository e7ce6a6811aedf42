//! Access of a step to the host: declared by the step and allowed by policy.
//!
//! A step declares its needs, and a matching policy override allows them with the same keys. A step gets access only if
//! both agree. Deny patterns of the step and of policy accumulate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::origin::{RuleOrigin, WithOrigin};
use crate::policy::patterns::Pattern;
use crate::policy::profile_error::ProfileError;
use crate::record::declared::{DeclaredLimits, DeclaredNetwork, DeclaredSandbox};
use crate::record::host::is_at_or_below;
use crate::record::profile::{ISOLATED, Network, NetworkMode, Proc, Workdir};

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
}

/// Host access that all rules for one step allow, with origins. A later rule replaces an earlier value, but deny
/// patterns accumulate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAllowance {
    read: Option<WithOrigin<Vec<String>>>,
    write: Option<WithOrigin<Vec<String>>>,
    deny: Vec<WithOrigin<String>>,
    workdir: Option<WithOrigin<Workdir>>,
    network: Option<WithOrigin<DeclaredNetwork>>,
    sockets: Option<WithOrigin<Vec<String>>>,
    run_as: Option<WithOrigin<String>>,
    may_be_off: Option<WithOrigin<bool>>,
}

impl HostAllowance {
    /// Applies a further rule.
    pub(super) fn apply(&mut self, rule: &SandboxRule, origin: &RuleOrigin) {
        fn set<T: Clone>(to: &mut Option<WithOrigin<T>>, value: Option<&T>, origin: &RuleOrigin) {
            if let Some(value) = value {
                *to = Some(WithOrigin { value: value.clone(), origin: origin.clone() });
            }
        }
        set(&mut self.read, rule.read.as_ref(), origin);
        set(&mut self.write, rule.write.as_ref(), origin);
        set(&mut self.workdir, rule.workdir.as_ref(), origin);
        set(&mut self.network, rule.network.as_ref(), origin);
        set(&mut self.sockets, rule.sockets.as_ref(), origin);
        set(&mut self.run_as, rule.run_as.as_ref(), origin);
        set(&mut self.may_be_off, rule.may_be_off.as_ref(), origin);
        let denied = rule.deny.iter().flatten();
        self.deny.extend(denied.map(|value| WithOrigin { value: value.clone(), origin: origin.clone() }));
    }
}

/// Host access of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAccess {
    pub(super) read: Vec<String>,
    pub(super) write: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) workdir: Workdir,
    pub(super) network: Network,
    pub(super) sockets: Vec<String>,
    pub(super) run_as: String,
    pub(super) off_reason: Option<String>,
}

/// Resolves the declarations of a step against policy.
///
/// # Errors
/// Returns the first declaration that is malformed, or that policy does not allow.
pub(super) fn resolve(allowed: &HostAllowance, declared: &DeclaredSandbox) -> Result<HostAccess, ProfileError> {
    declared.check().map_err(|why| ProfileError::Declared { why })?;
    let refuse = |asks: String, write: String| Err(ProfileError::NotAllowed { asks, write });
    let within = |path: &str, lists: &[&Option<WithOrigin<Vec<String>>>]| {
        lists.iter().filter_map(|list| list.as_ref()).flat_map(|list| &list.value).any(|one| is_at_or_below(path, one))
    };
    if declared.off_reason.is_some() && !allowed.may_be_off.as_ref().is_some_and(|off| off.value) {
        return refuse("sandbox=off".into(), "may_be_off: true".into());
    }
    for path in declared.read.iter().flatten() {
        if !within(path, &[&allowed.read, &allowed.write]) {
            return refuse(format!("read={path}"), format!("read: [{path:?}]"));
        }
    }
    let in_place = declared.workdir == Some(Workdir::InPlace);
    for path in declared.write.iter().flatten() {
        // The run only reads a host tree that is copied or overlaid.
        let lists: &[_] = if in_place { &[&allowed.write] } else { &[&allowed.read, &allowed.write] };
        if !within(path, lists) {
            return refuse(format!("write={path}"), format!("write: [{path:?}]"));
        }
    }
    if in_place && allowed.workdir.as_ref().is_none_or(|rule| rule.value != Workdir::InPlace) {
        return refuse("workdir=in-place".into(), "workdir: in-place".into());
    }
    for path in declared.sockets.iter().flatten() {
        if !allowed.sockets.as_ref().is_some_and(|list| list.value.contains(path)) {
            return refuse(format!("sockets={path}"), format!("sockets: [{path:?}]"));
        }
    }
    if let Some(user) = &declared.run_as
        && allowed.run_as.as_ref().is_none_or(|rule| rule.value != *user)
    {
        return refuse(format!("run-as={user}"), format!("run_as: {user}"));
    }
    let network = network(allowed, declared)?;
    let reaches = declared.read.is_some() || declared.write.is_some();
    let by_policy = allowed.deny.iter().map(|rule| &rule.value);
    let written = by_policy.chain(declared.deny.iter().flatten()).cloned();
    let deny = if reaches { denied(written.collect())? } else { Vec::new() };
    let sorted = |list: &Option<Vec<String>>| {
        let mut list = list.clone().unwrap_or_default();
        list.sort();
        list.dedup();
        list
    };
    Ok(HostAccess {
        read: sorted(&declared.read),
        write: sorted(&declared.write),
        deny,
        workdir: declared.workdir.unwrap_or(Workdir::Private),
        network,
        sockets: sorted(&declared.sockets),
        run_as: declared.run_as.clone().unwrap_or_else(|| ISOLATED.to_owned()),
        off_reason: declared.off_reason.clone(),
    })
}

fn network(allowed: &HostAllowance, declared: &DeclaredSandbox) -> Result<Network, ProfileError> {
    let rule = allowed.network.as_ref().map(|rule| &rule.value);
    match &declared.network {
        None | Some(DeclaredNetwork::None) => Ok(Network { mode: NetworkMode::None, hosts: Vec::new() }),
        Some(DeclaredNetwork::Host) if rule == Some(&DeclaredNetwork::Host) => {
            Ok(Network { mode: NetworkMode::Host, hosts: Vec::new() })
        }
        Some(DeclaredNetwork::Host) => {
            Err(ProfileError::NotAllowed { asks: "network=host".into(), write: "network: host".into() })
        }
        Some(DeclaredNetwork::Allow(hosts)) => {
            for host in hosts {
                let listed = match rule {
                    Some(DeclaredNetwork::Host) => true,
                    Some(DeclaredNetwork::Allow(list)) => list.contains(host),
                    Some(DeclaredNetwork::None) | None => false,
                };
                if !listed {
                    return Err(ProfileError::NotAllowed {
                        asks: format!("network={host}"),
                        write: format!("network: {{allow: [{host:?}]}}"),
                    });
                }
            }
            let mut hosts = hosts.clone();
            hosts.sort();
            hosts.dedup();
            Ok(Network { mode: NetworkMode::Allow, hosts })
        }
    }
}

/// Sorts the patterns and removes duplicates. Returns an error if a pattern is malformed or matches everything.
pub(super) fn denied(mut patterns: Vec<String>) -> Result<Vec<String>, ProfileError> {
    patterns.sort();
    patterns.dedup();
    for text in &patterns {
        check_deny(text).map_err(|why| ProfileError::Declared { why })?;
    }
    Ok(patterns)
}

/// Checks that a deny pattern is well-formed and does not match everything.
///
/// # Errors
/// Returns an error with the problem in the pattern and its correction.
pub fn check_deny(text: &str) -> Result<(), String> {
    crate::record::host::check_pattern(text)?;
    // The pattern is compared with paths without their first slash.
    let pattern = Pattern::parse(text.trim_start_matches('/')).map_err(|error| error.to_string())?;
    // Sample names that have nothing in common, in directories of several depths.
    let names = ["kz0q", "a.b", "NOTES", "0"];
    let mut depths = ["/", "/a/", "/srv/q7/", "/home/x/src/y/"].iter().map(|at| {
        let at = at.trim_start_matches('/');
        names.iter().all(|name| pattern.matches(&format!("{at}{name}")))
    });
    // A pattern with a leading `/` may cover one directory completely, because other directories remain. Any other
    // pattern may not.
    let everything = if text.starts_with('/') { depths.all(|all| all) } else { depths.any(|all| all) };
    if everything {
        return Err(format!("the deny pattern {text:?} matches everything: name what is to stay out of reach"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(pairs: &[(&str, &str)]) -> DeclaredSandbox {
        let mut declared = DeclaredSandbox::default();
        for (key, text) in pairs {
            declared.take_text(key, text).expect("readable");
        }
        declared
    }

    fn allowed(rule: SandboxRule) -> HostAllowance {
        let mut allowed = HostAllowance::default();
        allowed.apply(&rule, &RuleOrigin::Override(0, "**".into()));
        allowed
    }

    fn texts(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn host_access_needs_both_the_step_and_policy() {
        let asks: [(&[(&str, &str)], SandboxRule); 8] = [
            (&[("read", "/srv/app")], SandboxRule { read: texts(&["/srv"]), ..SandboxRule::default() }),
            (
                &[("write", "/srv/app"), ("workdir", "in-place")],
                SandboxRule { write: texts(&["/srv/app"]), workdir: Some(Workdir::InPlace), ..SandboxRule::default() },
            ),
            (
                &[("write", "/srv/app"), ("workdir", "copy")],
                SandboxRule { read: texts(&["/srv/app"]), ..SandboxRule::default() },
            ),
            (&[("network", "host")], SandboxRule { network: Some(DeclaredNetwork::Host), ..SandboxRule::default() }),
            (
                &[("network", "a.example:443")],
                SandboxRule {
                    network: Some(DeclaredNetwork::Allow(vec!["a.example:443".into(), "b.example:1".into()])),
                    ..SandboxRule::default()
                },
            ),
            (&[("sockets", "/run/x.sock")], SandboxRule { sockets: texts(&["/run/x.sock"]), ..SandboxRule::default() }),
            (&[("run-as", "web")], SandboxRule { run_as: Some("web".into()), ..SandboxRule::default() }),
            (&[("reason", "needs docker")], SandboxRule { may_be_off: Some(true), ..SandboxRule::default() }),
        ];
        let plain = resolve(&HostAllowance::default(), &DeclaredSandbox::default()).expect("nothing is asked");
        for (pairs, rule) in asks {
            let declared = declared(pairs);
            assert!(resolve(&allowed(rule.clone()), &declared).is_ok(), "{pairs:?}");
            let refused = resolve(&HostAllowance::default(), &declared).expect_err("policy is silent");
            assert!(matches!(refused, ProfileError::NotAllowed { .. }), "{pairs:?}: {refused}");
            assert_eq!(resolve(&allowed(rule), &DeclaredSandbox::default()), Ok(plain.clone()), "the step is silent");
        }
    }

    #[test]
    fn policy_allows_only_the_host_access_in_its_lists() {
        let rule = SandboxRule {
            read: texts(&["/srv/app"]),
            write: texts(&["/srv/data"]),
            network: Some(DeclaredNetwork::Allow(vec!["a.example:443".into()])),
            sockets: texts(&["/run/x"]),
            run_as: Some("web".into()),
            may_be_off: Some(false),
            ..SandboxRule::default()
        };
        for pairs in [
            &[("read", "/srv/apple")][..],
            &[("read", "/srv")],
            &[("write", "/srv/app"), ("workdir", "in-place")],
            &[("write", "/srv/data"), ("workdir", "in-place")],
            &[("network", "a.example:80")],
            &[("network", "host")],
            &[("network", "b.a.example:443")],
            &[("sockets", "/run/x/y")],
            &[("run-as", "db")],
            &[("reason", "no")],
        ] {
            let refused = resolve(&allowed(rule.clone()), &declared(pairs)).expect_err("not allowed");
            assert!(refused.to_string().contains("sandbox: {"), "{refused}");
        }
        assert!(
            resolve(&allowed(rule), &declared(&[("read", "/srv/data/x")])).is_ok(),
            "what may be written may be read"
        );
    }

    #[test]
    fn deny_patterns_of_all_lists_apply_if_a_step_can_read_host_paths() {
        let mut both =
            allowed(SandboxRule { read: texts(&["/srv"]), deny: texts(&["**/.env"]), ..SandboxRule::default() });
        both.apply(&SandboxRule { deny: texts(&["**/*.pem"]), ..SandboxRule::default() }, &RuleOrigin::Default);
        let profile = resolve(&both, &declared(&[("read", "/srv"), ("deny", "**/id_*")])).expect("held");
        assert_eq!(profile.deny, ["**/*.pem", "**/.env", "**/id_*"]);
        assert_eq!(resolve(&both, &declared(&[("deny", "**/id_*")])).expect("held").deny, [""; 0]);
    }

    #[test]
    fn each_flaw_of_a_sandbox_rule_is_reported_with_its_place() {
        use crate::policy::file::Policy;
        let good = "version: 1\ndefault: {sandbox: {deny: [\"**/.env\"]}}\noverrides:\n  - runbook: a\n    sandbox: {read: [/srv], \
                    write: [/srv/x], workdir: in-place, network: {allow: [\"a.example:443\"]}, sockets: [/run/x], run_as: web, may_be_off: true}\n";
        let policy = Policy::load(good).expect("a policy");
        assert_eq!(
            Policy::from_sealed(&serde_json::to_value(policy.file()).expect("JSON")).expect("the same").file(),
            policy.file()
        );
        let bad = "version: 1\ndefault: {sandbox: {may_be_off: true}}\noverrides:\n  - runbook: a\n    sandbox:\n      read: [srv]\n      \
                   deny: [\"**\"]\n      network: {allow: [\"10.0.0.1:80\"]}\n      run_as: root\n      workdir: live\n      \
                   may_be_off: maybe\n      sockets: []\n      level: strict\n";
        let flaws: Vec<String> = Policy::load(bad).expect_err("flaws").iter().map(ToString::to_string).collect();
        for expected in [
            "2:21: `may_be_off` needs a named runbook",
            "6:14: the path \"srv\" is relative",
            "7:14: the deny pattern \"**\" matches everything",
            "8:25: the address \"10.0.0.1:80\" is not a name",
            "9:15: no step runs as root",
            "10:16: unknown value of workdir: \"live\"",
            "11:19: `may_be_off` must be true or false",
            "12:16: `sockets` is empty",
            "13:7: `level` in a sandbox rule is not supported by this version",
        ] {
            assert!(flaws.iter().any(|flaw| flaw.starts_with(expected)), "{expected}: {flaws:#?}");
        }
    }

    #[test]
    fn a_pattern_that_matches_everything_is_refused() {
        for bad in ["**/*", "/**", "**/{*,a}", "**/[^!]*", "/**/*", "**/**/**", "**/?*"] {
            assert!(check_deny(bad).is_err(), "{bad}");
        }
        for good in ["**/.env", "**/*.pem", "/srv/app/secrets/**", "/srv/**/{a,b*}", "/srv/**/*", "**/{.env,.git}/**"] {
            assert_eq!(check_deny(good), Ok(()), "{good}");
        }
    }
}
