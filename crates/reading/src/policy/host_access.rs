//! Access of a step to the host: declared by the step and allowed by policy.
//!
//! A step gets access to something of the host only if the step declares the access and policy allows it. Policy allows
//! access with the keys that a step uses, in an override that matches the runbook. The deny patterns of the step and of
//! policy both apply.

use crate::{Pattern, SandboxPermission, SandboxRule, check_declared, listed_host};
use documents::{DeclaredSandbox, Profile};

/// Writes the declarations of a step into its profile. Returns an error for each declaration that is malformed, or that
/// policy does not allow. `runbook` is the path of the step's runbook, for the errors.
pub fn give(
    rule: &SandboxRule,
    runbook: &str,
    declared: &DeclaredSandbox,
    profile: &mut Profile,
) -> Vec<String> {
    if let Err(why) = check_declared(declared) {
        return vec![why];
    }
    let mut errors = Vec::new();
    for permission in SandboxPermission::ALL {
        if let Err((asks, key)) = permission.check_allowed(rule, declared) {
            let inside = if key.starts_with("network") {
                " (a host with `private: true` may be inside your network, and with `localhost: true` on this machine)"
            } else {
                ""
            };
            errors.push(format!(
                "the step declares {asks}, and no policy override for the path {runbook} allows that: remove {asks} from \
                 the runbook, or add to the end of `overrides` in the policy: \
                 `- {{runbook: {runbook:?}, sandbox: {{{key}}}}}`{inside}"
            ));
        }
        permission.give(declared, profile);
    }
    for host in &profile.network.hosts {
        let listed = listed_host(host, rule.network.as_ref()).unwrap_or_default();
        profile
            .network
            .private
            .extend(listed.private.then(|| host.clone()));
        profile
            .network
            .localhost
            .extend(listed.localhost.then(|| host.clone()));
    }
    let reaches = declared.read.is_some() || declared.write.is_some();
    let written = [&rule.deny, &declared.deny]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|_| reaches)
        .cloned();
    match denied(written.collect()) {
        Ok(deny) => profile.deny = deny,
        Err(error) => errors.push(error),
    }
    errors
}

/// Sorts the patterns and removes duplicates. Returns an error if a pattern is malformed or matches everything.
pub fn denied(mut patterns: Vec<String>) -> Result<Vec<String>, String> {
    patterns.sort();
    patterns.dedup();
    for text in &patterns {
        check_deny(text)?;
    }
    Ok(patterns)
}

/// Checks that a deny pattern is well-formed and does not match everything.
///
/// # Errors
/// Returns an error with the problem in the pattern and its correction.
pub fn check_deny(text: &str) -> Result<(), String> {
    crate::check_pattern(text)?;
    // The pattern is compared with paths without their leading slash.
    let pattern =
        Pattern::parse(text.trim_start_matches('/')).map_err(|error| error.to_string())?;
    // Sample paths of several depths. The file names have no character in common, so a pattern that matches all of them
    // matches everything.
    let names = ["kz0q", "a.b", "NOTES", "0"];
    let mut depths = ["/", "/a/", "/srv/q7/", "/home/x/src/y/"].iter().map(|at| {
        let at = at.trim_start_matches('/');
        names
            .iter()
            .all(|name| pattern.matches(&format!("{at}{name}")))
    });
    // A pattern with a leading `/` is refused if it matches every sample name in all directories. Any other pattern is
    // refused if it matches every sample name in one directory.
    let everything = if text.starts_with('/') {
        depths.all(|all| all)
    } else {
        depths.any(|all| all)
    };
    if everything {
        return Err(format!(
            "the deny pattern {text:?} matches everything: name the paths that the step must not reach"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{AllowedHost, DeclaredNetwork, Limits};

    fn declared(pairs: &[(&str, &str)]) -> DeclaredSandbox {
        let mut declared = DeclaredSandbox::default();
        for (key, text) in pairs {
            let permission = SandboxPermission::of_attribute(key).expect("a permission");
            permission.read_text(text, &mut declared).expect("readable");
        }
        declared
    }

    fn resolve(rule: &SandboxRule, declared: &DeclaredSandbox) -> Result<Profile, String> {
        let mut profile = Profile::nothing(Vec::new(), Limits::default());
        let errors = give(rule, "a", declared, &mut profile);
        if errors.is_empty() {
            Ok(profile)
        } else {
            Err(errors.join("; "))
        }
    }

    fn texts(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn policy_allows_only_the_host_access_in_its_lists() {
        let rule = SandboxRule {
            read: texts(&["/srv/app"]),
            write: texts(&["/srv/data"]),
            network: Some(DeclaredNetwork::Allow(vec![AllowedHost {
                host: "a.example:443".into(),
                ..AllowedHost::default()
            }])),
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
            let refused = resolve(&rule, &declared(pairs)).expect_err("not allowed");
            assert!(
                refused.contains("`- {runbook: \"a\", sandbox: {"),
                "{refused}"
            );
        }
        assert!(
            resolve(&rule, &declared(&[("read", "/srv/data/x")])).is_ok(),
            "what may be written may be read"
        );
    }

    #[test]
    fn deny_patterns_of_all_lists_apply_if_a_step_can_read_host_paths() {
        let mut both = SandboxRule {
            read: texts(&["/srv"]),
            deny: texts(&["**/.env"]),
            ..SandboxRule::default()
        };
        both.add(&SandboxRule {
            deny: texts(&["**/*.pem"]),
            ..SandboxRule::default()
        });
        let profile =
            resolve(&both, &declared(&[("read", "/srv"), ("deny", "**/id_*")])).expect("held");
        assert_eq!(profile.deny, ["**/*.pem", "**/.env", "**/id_*"]);
        assert_eq!(
            resolve(&both, &declared(&[("deny", "**/id_*")]))
                .expect("held")
                .deny,
            [""; 0]
        );
    }

    #[test]
    fn each_flaw_of_a_sandbox_rule_is_reported_with_its_place() {
        use crate::Policy;
        let good = "version: 1\ndefault: {sandbox: {deny: [\"**/.env\"]}}\noverrides:\n  - runbook: a\n    sandbox: {read: [/srv], \
                    write: [/srv/x], workdir: in-place, network: {allow: [\"a.example:443\"]}, sockets: [/run/x], run_as: web, may_be_off: true}\n";
        let policy = Policy::load(good).expect("a policy");
        assert_eq!(
            Policy::from_sealed(&crate::yaml::parse(good, 1).expect("YAML").to_json())
                .expect("the same")
                .file,
            policy.file
        );
        let bad = "version: 1\ndefault: {sandbox: {may_be_off: true}}\noverrides:\n  - runbook: a\n    sandbox:\n      read: [srv]\n      \
                   deny: [\"**\"]\n      network: {allow: [\"10.0.0.256:80\"]}\n      run_as: root\n      workdir: live\n      \
                   may_be_off: maybe\n      sockets: []\n      level: strict\n";
        let flaws: Vec<String> = Policy::load(bad)
            .expect_err("flaws")
            .iter()
            .map(ToString::to_string)
            .collect();
        for expected in [
            "2:21: `may_be_off` is allowed only for named runbooks",
            "6:14: the path \"srv\" is relative",
            "7:14: the deny pattern \"**\" matches everything",
            "8:25: the address \"10.0.0.256:80\" is not a name",
            "9:15: no step runs as root",
            "10:16: unknown value of workdir: \"live\"",
            "11:19: `may_be_off` must be true or false",
            "12:16: `sockets` is empty",
            "13:7: unknown key in a sandbox rule: \"level\"",
        ] {
            assert!(
                flaws.iter().any(|flaw| flaw.starts_with(expected)),
                "{expected}: {flaws:#?}"
            );
        }
    }

    #[test]
    fn a_pattern_that_matches_everything_is_refused() {
        for bad in [
            "**/*", "/**", "**/{*,a}", "**/[^!]*", "/**/*", "**/**/**", "**/?*",
        ] {
            assert!(check_deny(bad).is_err(), "{bad}");
        }
        for good in [
            "**/.env",
            "**/*.pem",
            "/srv/app/secrets/**",
            "/srv/**/{a,b*}",
            "/srv/**/*",
            "**/{.env,.git}/**",
        ] {
            assert_eq!(check_deny(good), Ok(()), "{good}");
        }
    }
}
