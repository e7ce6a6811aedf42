//! Resolution of a run's effective profile.
//!
//! The profile combines the boundary's configuration, policy and the declarations of the step. Approvers sign the
//! result. Before the run starts, the boundary resolves the profile again, and both profiles must be equal.

use crate::{Ruling, is_listed, policy::host_access};
use documents::{
    Configuration, DeclaredSandbox, Layer, Limit, Limits, PermissionKind, Proc, Profile, STRICT,
    StepDefinition, enforcement,
};

/// Sandbox values that the boundary's configuration gives to every run.
pub struct PolicyProfile {
    /// Required layers. The list is signed, so a host that later supports fewer layers cannot run the step.
    pub require: Vec<Layer>,
    /// Limits of a step that declares no limits.
    pub limits: Limits,
    /// Maximum of each limit that a step declares. A limit that policy sets for the runbook replaces this maximum.
    pub maximum: Limits,
}

impl PolicyProfile {
    /// Reads the limits and the layers from a sealed configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let require = match configuration.sandbox.level {
            enforcement::Level::Strict => STRICT.to_vec(),
            // The layers that the host supported when the boundary sealed its configuration.
            enforcement::Level::BestEffort | enforcement::Level::Off => {
                configuration.sandbox.require.clone()
            }
        };
        Self {
            require,
            limits: configuration.limits.default.clone(),
            maximum: configuration.limits.maximum.clone(),
        }
    }
}

/// Returns the effective profile of a step, without its list of programs. If the step may execute only listed programs,
/// the profile requires the layer `programs`.
///
/// # Errors
/// Returns every value that the step may not have.
pub fn profile_of_step(
    ruling: &Ruling,
    step: &StepDefinition,
    given: &PolicyProfile,
) -> Result<Profile, Vec<String>> {
    let mut profile = effective(ruling, step.reference.path(), &step.sandbox, given)?;
    if is_listed(ruling, step) {
        profile.require_programs();
    }
    Ok(profile)
}

/// Returns the effective profile for the declarations of a step.
///
/// The value of a limit comes from the step. If the step has no value, the limit comes from policy, and if policy has
/// no value, from the boundary. The maximum is the value in policy or, if policy has none, the boundary's maximum. If a
/// declared value is higher than the maximum, the boundary can't seal the step. No value is reduced silently. `runbook`
/// is the path of the step's runbook, for the errors.
///
/// # Errors
/// Returns every value that the step may not have.
pub fn effective(
    ruling: &Ruling,
    runbook: &str,
    declared: &DeclaredSandbox,
    given: &PolicyProfile,
) -> Result<Profile, Vec<String>> {
    let mut errors = Vec::new();
    let mut limits = given.limits.clone();
    for limit in Limit::ALL {
        let by_policy = ruling.limits.get(&limit);
        let by_step = declared
            .limits
            .as_ref()
            .and_then(|limits| limits.value(limit));
        let (maximum, by) = by_policy.map_or_else(
            || {
                (
                    limit.value(&given.maximum).max(limit.value(&given.limits)),
                    "the boundary's configuration".to_owned(),
                )
            },
            |rule| (rule.value, format!("policy ({})", rule.origin)),
        );
        if let Some(asked) = by_step
            && asked > maximum
        {
            errors.push(format!(
                "the step asks for {} {asked}, but {by} allows at most {maximum}: lower the value in the runbook, or \
                 allow more in a policy override",
                limit.field()
            ));
        }
        let (value, by) = by_step
            .map(|value| (value, "the step"))
            .or_else(|| by_policy.map(|rule| (rule.value, "policy")))
            .unwrap_or((limit.value(&given.limits), "the boundary's configuration"));
        if value == 0 {
            errors.push(format!(
                "{by} sets the limit {} to 0, so nothing can run: raise the limit or remove it",
                limit.field()
            ));
        }
        *limit.of(&mut limits) = value;
    }
    let proc = match (declared.proc, &ruling.proc) {
        (Some(Proc::Full), Some(rule)) if rule.value == Proc::Minimal => {
            errors.push(format!(
                "the step declares proc=full, but policy ({}) allows only minimal: remove proc=full from the runbook, or \
                 allow `full` in a policy override",
                rule.origin
            ));
            Proc::Minimal
        }
        (Some(proc), _) => proc,
        (None, rule) => rule.as_ref().map_or(Proc::Minimal, |rule| rule.value),
    };
    let mut profile = Profile::nothing(given.require.clone(), limits);
    errors.extend(host_access::give(
        &ruling.host,
        runbook,
        declared,
        &mut profile,
    ));
    profile.proc = proc;
    if !(profile.read.is_empty() && profile.write.is_empty()) {
        let listed = listed_denies(ruling, !profile.write.is_empty());
        match host_access::denied(profile.deny.iter().cloned().chain(listed).collect()) {
            Ok(deny) => profile.deny = deny,
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // A profile sorts its arrays by the bytes of their elements. The variants of `Layer` have the same order.
    profile.require.sort_unstable();
    profile.require.dedup();
    Ok(profile)
}

/// Returns the deny patterns of the policy lists, for a step that gets host paths. Patterns that begin with `{repo}` or
/// `{tmp}` are left out, because `{repo}` and `{tmp}` are the run's own empty directories in a sandbox.
fn listed_denies(ruling: &Ruling, writes: bool) -> impl Iterator<Item = String> {
    [PermissionKind::Read]
        .into_iter()
        .chain(writes.then_some(PermissionKind::Write))
        .flat_map(|kind| {
            [&ruling.written, &*ruling.built_in].map(|lists| lists.of(kind).deny.entries())
        })
        .flatten()
        .map(|entry| entry.listed.text().to_string())
        .filter(|text| !text.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builtins, Policy, resolve};
    use documents::{DeclaredLimits, DeclaredNetwork, Workdir};

    fn first(found: Result<Profile, Vec<String>>) -> Result<Profile, String> {
        found.map_err(|mut errors| errors.swap_remove(0))
    }

    fn given() -> PolicyProfile {
        let maximum = Limits {
            wall_ms: 3_600_000,
            ..Limits::default()
        };
        PolicyProfile {
            require: STRICT.to_vec(),
            limits: Limits::default(),
            maximum,
        }
    }

    fn ruling(sandbox: &str) -> Ruling {
        let policy = Policy::load(&format!("version: 1\ndefault: {{sandbox: {sandbox}}}\n"))
            .expect("a policy");
        resolve(&policy, Builtins::current(), &"a:b".parse().expect("a ref"))
    }

    fn wall(wall_ms: u64) -> DeclaredSandbox {
        DeclaredSandbox {
            limits: Some(DeclaredLimits {
                wall_ms: Some(wall_ms),
                ..DeclaredLimits::default()
            }),
            ..DeclaredSandbox::default()
        }
    }

    #[test]
    fn deny_lists_apply_to_the_host_paths_of_a_step() {
        let policy = |extends: &str| {
            let text = format!(
                "version: 1\n{extends}default: {{read: {{deny: [\"**/*.sql\", \"{{repo}}/x\"]}}, write: {{deny: [\"**/*.lock\"]}}}}\n\
                 overrides: [{{runbook: a, sandbox: {{read: [/srv], write: [/srv], workdir: overlay}}}}]\n"
            );
            resolve(
                &Policy::load(&text).expect("a policy"),
                Builtins::current(),
                &"a:b".parse().expect("a ref"),
            )
        };
        let declared = |write: bool| DeclaredSandbox {
            read: (!write).then(|| vec!["/srv/a".to_owned()]),
            write: write.then(|| vec!["/srv/a".to_owned()]),
            workdir: write.then_some(Workdir::Overlay),
            ..DeclaredSandbox::default()
        };
        let deny = |extends: &str, declared: &DeclaredSandbox| {
            effective(&policy(extends), "a", declared, &given())
                .expect("a profile")
                .deny
        };
        assert_eq!(deny("extends: none\n", &declared(false)), ["**/*.sql"]);
        assert_eq!(
            deny("extends: none\n", &declared(true)),
            ["**/*.lock", "**/*.sql"]
        );
        assert!(
            deny("", &declared(false)).contains(&"**/.env".to_owned()),
            "a built-in one"
        );
        assert_eq!(
            deny("", &DeclaredSandbox::default()),
            [""; 0],
            "nothing of the host is in view"
        );
    }

    #[test]
    fn a_step_without_limits_gets_the_defaults_of_the_boundary() {
        let profile = effective(&ruling("{}"), "a", &DeclaredSandbox::default(), &given())
            .expect("a profile");
        assert_eq!(
            serde_json::to_string(&profile).expect("JSON"),
            concat!(
                r#"{"require":["capabilities","filesystem","landlock","namespaces","network","seccomp"],"#,
                r#""read":[],"write":[],"deny":[],"#,
                r#""workdir":"private","network":{"mode":"none","hosts":[]},"sockets":[],"proc":"minimal","#,
                r#""run_as":"isolated","limits":{"wall_ms":300000,"cpu_milli":1000,"memory_bytes":536870912,"#,
                r#""processes":100,"file_bytes":67108864,"disk_bytes":1073741824,"output_bytes":10485760}}"#
            )
        );
    }

    #[test]
    fn a_step_may_lower_a_limit_or_raise_it_up_to_the_maximum() {
        let at = |rule: &str, asked: u64| {
            first(effective(&ruling(rule), "a", &wall(asked), &given())).map(|p| p.limits.wall_ms)
        };
        assert_eq!(at("{}", 1), Ok(1));
        assert_eq!(at("{}", 3_600_000), Ok(3_600_000));
        let refused = |rule: &str, asked: u64| at(rule, asked).expect_err("refused");
        assert!(refused("{}", 3_600_001).contains("at most 3600000"));
        assert_eq!(
            at("{limits: {wall_ms: 7200000}}", 7_200_000),
            Ok(7_200_000),
            "policy may allow more"
        );
        assert_eq!(
            at("{limits: {wall_ms: 7200000}}", 5),
            Ok(5),
            "and the step still less"
        );
        assert!(refused("{limits: {wall_ms: 10}}", 11).contains("at most 10:"));
        assert!(refused("{}", 0).starts_with("the step sets the limit wall_ms to 0"));
        let silent = effective(
            &ruling("{limits: {wall_ms: 10}}"),
            "a",
            &DeclaredSandbox::default(),
            &given(),
        );
        assert_eq!(silent.map(|profile| profile.limits.wall_ms), Ok(10));
        let zero = PolicyProfile {
            limits: Limits {
                processes: 0,
                ..Limits::default()
            },
            ..given()
        };
        let refused = first(effective(
            &ruling("{}"),
            "a",
            &DeclaredSandbox::default(),
            &zero,
        ));
        assert!(refused.is_err_and(|error| error.contains("sets the limit processes to 0")));
    }

    #[test]
    fn policy_may_refuse_a_declared_full_proc() {
        let full = DeclaredSandbox {
            proc: Some(Proc::Full),
            ..DeclaredSandbox::default()
        };
        let proc = |rule: &str, declared: &DeclaredSandbox| {
            first(effective(&ruling(rule), "a", declared, &given())).map(|p| p.proc)
        };
        assert_eq!(proc("{}", &full), Ok(Proc::Full));
        assert_eq!(
            proc("{proc: full}", &DeclaredSandbox::default()),
            Ok(Proc::Full)
        );
        assert!(
            proc("{proc: minimal}", &full)
                .is_err_and(|error| error.contains("allows only minimal"))
        );
    }

    #[test]
    fn a_profile_requires_no_layer_that_its_permissions_switch_off() {
        let required = |rule: &str, declared: &DeclaredSandbox| {
            let text = format!("version: 1\noverrides: [{{runbook: a, sandbox: {rule}}}]\n");
            let policy = Policy::load(&text).expect("a policy");
            let ruling = resolve(&policy, Builtins::current(), &"a:b".parse().expect("a ref"));
            effective(&ruling, "a", declared, &given()).map(|profile| profile.require)
        };
        let network = DeclaredSandbox {
            network: Some(DeclaredNetwork::Host),
            ..DeclaredSandbox::default()
        };
        let mut others: Vec<Layer> = STRICT
            .into_iter()
            .filter(|layer| *layer != Layer::Network)
            .collect();
        others.sort_unstable();
        assert_eq!(required("{network: host}", &network), Ok(others));
        let off = DeclaredSandbox {
            off_reason: Some("needs docker".into()),
            ..DeclaredSandbox::default()
        };
        assert_eq!(required("{may_be_off: true}", &off), Ok(Vec::new()));
    }

    #[test]
    fn best_effort_requires_the_sealed_layers_in_sorted_order() {
        let require = vec![Layer::Network, Layer::Capabilities, Layer::Network];
        let profile = effective(
            &ruling("{}"),
            "a",
            &DeclaredSandbox::default(),
            &PolicyProfile { require, ..given() },
        );
        assert_eq!(
            profile.map(|profile| profile.require),
            Ok(vec![Layer::Capabilities, Layer::Network])
        );
    }
}
