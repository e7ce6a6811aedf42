//! The rules that apply to each step under a seal.
//!
//! The boundary decides with these rules. The auditor derives the same rules from the blobs of the seal.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use crate::{
    EmergencyError, HashedStep, QuorumRules, StepError, TrustedRoster,
    decision::emergency::rules_of_emergency,
};
use documents::{
    Approvals, Authorization, Configuration, Permission, Profile, StepProof, StepRef, hex,
};
use reading::{
    Builtins, DenialGround, FileProblem, Policy, PolicyDenied, PolicyProfile, ProgramNames,
    Registry, Ruling, SharedNames, on_all_cores, profile_of_step, required_permissions::needs,
    resolve,
};

/// Rules that apply to one step under a seal. Steps share equal parts in memory.
#[derive(Debug, Clone)]
pub struct StepInForce {
    /// The ruling of policy about the step.
    pub ruling: Arc<Ruling>,
    needs: Arc<OnceLock<SharedNeeds>>,
    /// The names of programs that the steps of this seal share.
    names: Arc<SharedNames>,
    /// The definition of the step, with its digests.
    pub hashed: HashedStep,
    /// Quorum rules. All rules must be met.
    pub rules: Arc<QuorumRules>,
    /// Quorum rules as documents state them: the rule of policy and the rule of the step.
    pub approvals: Arc<Vec<Approvals>>,
    /// The sandbox in which the step runs, without the list of programs, which depends on the host.
    pub profile: Arc<Profile>,
    /// The index of the step in the registry.
    index: usize,
}

/// What a step needs: permissions of its approvers, and programs of its host.
#[derive(Debug)]
struct SharedNeeds {
    permissions: Result<Vec<Permission>, PolicyDenied>,
    programs: Option<Arc<ProgramNames>>,
}

/// The rules of all steps under a seal.
pub type StepsInForce = BTreeMap<StepRef, StepInForce>;

impl StepInForce {
    /// Returns the permissions that policy requires for every run, or the reason why policy allows no run.
    ///
    /// The script is parsed at the first call, because most seals are used for only one or two steps.
    pub fn asked(&self) -> &Result<Vec<Permission>, PolicyDenied> {
        &self.needs().permissions
    }

    /// Returns the names of the programs that a run may execute, or `None` if a run may execute every program.
    pub fn programs(&self) -> Option<&Arc<ProgramNames>> {
        self.needs().programs.as_ref()
    }

    fn needs(&self) -> &SharedNeeds {
        self.needs.get_or_init(|| {
            let found = needs(&self.ruling, &self.hashed.sample());
            let programs = found.programs.map(|names| self.names.share(names));
            SharedNeeds {
                permissions: found.permissions,
                programs,
            }
        })
    }

    /// Returns the rules of a new run with these parameters. If the script is a template, policy reads the filled-in script.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written into the script.
    pub fn filled(&self, params: &Value) -> Result<Cow<'_, Self>, StepError> {
        Ok(self.with(&self.hashed.filled(params)?))
    }

    /// Returns the rules of a run of this step, which [`HashedStep::filled`] returned.
    pub fn with(&self, filled: &HashedStep) -> Cow<'_, Self> {
        if !self.hashed.is_template() {
            return Cow::Borrowed(self);
        }
        // The program names of one run must not stay in memory, so the rules of a run do not share names with the rules
        // of the steps.
        Cow::Owned(Self {
            hashed: filled.clone(),
            needs: Arc::default(),
            names: Arc::default(),
            ..self.clone()
        })
    }

    /// Returns the rules of one run. In an emergency, the rule `emergency` of policy takes the place of its approval rule.
    ///
    /// # Errors
    /// Returns an error if policy permits no such emergency.
    pub fn for_run(&self, signed: &Authorization) -> Result<Cow<'_, Self>, EmergencyError> {
        if signed.emergency.is_none() {
            return Ok(Cow::Borrowed(self));
        }
        self.for_emergency(signed.expires_at.unix() - signed.issued_at.unix())
            .map(Cow::Owned)
    }

    /// Returns the rules of an emergency of `window_s` seconds.
    ///
    /// # Errors
    /// Returns an error if policy permits no such emergency.
    pub fn for_emergency(&self, window_s: i64) -> Result<Self, EmergencyError> {
        let definition = self.hashed.definition();
        let rules = rules_of_emergency(
            &definition.reference,
            window_s,
            &self.ruling,
            &definition.approvals,
        )?;
        let of_policy = self
            .ruling
            .emergency
            .as_ref()
            .map(|rule| rule.value.approvals());
        let approvals = of_policy
            .into_iter()
            .chain([definition.approvals.clone()])
            .collect();
        Ok(Self {
            rules: Arc::new(rules),
            approvals: Arc::new(approvals),
            ..self.clone()
        })
    }

    /// Returns the proof for a bundle that the registry contains the step.
    pub fn proof(&self, registry: &Registry) -> Option<StepProof> {
        registry.proof_at(self.index).map(|proof| StepProof {
            index: proof.index,
            size: proof.size,
            hashes: proof.hashes.iter().map(|hash| hex(hash)).collect(),
        })
    }
}

/// Derives the rules that apply to every step.
///
/// # Errors
/// Returns an error for every step whose requirements the policy, the roster or the configuration does not meet. Each
/// error has the place of the step.
pub fn steps_in_force(
    registry: &Registry,
    policy: &Policy,
    builtins: &Builtins,
    roster: &TrustedRoster,
    configuration: &Configuration,
) -> Result<StepsInForce, Vec<FileProblem>> {
    let (steps, errors) = each_in_force(registry, policy, builtins, Some(roster), configuration);
    if errors.is_empty() {
        Ok(steps)
    } else {
        Err(errors)
    }
}

/// Derives the rules for every valid step, and finds all reasons why a boundary can't seal the other steps. `known` has
/// rules of steps whose scripts may already be parsed. Without a roster, no group is checked.
pub fn steps_to_seal(
    registry: &Registry,
    policy: &Policy,
    roster: Option<&TrustedRoster>,
    configuration: &Configuration,
    known: Option<&StepsInForce>,
) -> (StepsInForce, Vec<FileProblem>) {
    let (mut steps, mut errors) =
        each_in_force(registry, policy, Builtins::current(), roster, configuration);
    if let Some(known) = known {
        share_needs(&mut steps, known);
    }
    parse_scripts(&steps);
    // No approver could sign a run whose permissions do not fit into an authorization.
    let unfit = steps
        .iter()
        .filter_map(|(reference, step)| match step.asked() {
            Ok(_) => None,
            Err(denied) => match denied.ground {
                DenialGround::Size => Some(registry.get(reference)?.flaw(denied)),
                DenialGround::Content | DenialGround::Mode => None,
            },
        });
    errors.extend(unfit);
    (steps, errors)
}

/// Derives the rules for every valid step, and returns the errors of the other steps too.
fn each_in_force(
    registry: &Registry,
    policy: &Policy,
    builtins: &Builtins,
    roster: Option<&TrustedRoster>,
    configuration: &Configuration,
) -> (StepsInForce, Vec<FileProblem>) {
    let given = PolicyProfile::of(configuration);
    // A map that is built from a sorted list has full nodes, and so needs less memory.
    let mut steps: Vec<(StepRef, StepInForce)> = Vec::with_capacity(registry.steps().len());
    let mut errors = Vec::new();
    let names = Arc::new(SharedNames::default());
    for (index, step) in registry.steps().enumerate() {
        let definition = &step.definition;
        let reference = &definition.reference;
        let mut refuse = |error: &dyn std::fmt::Display| errors.push(step.flaw(&error));
        let before = steps.last().map(|(_, step)| step);
        let ruling = match before
            .filter(|step| step.hashed.definition().reference.path() == reference.path())
        {
            Some(step) => Arc::clone(&step.ruling),
            None => shared(
                resolve(policy, builtins, reference),
                before.map(|step| &step.ruling),
            ),
        };
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        let rules = QuorumRules::combine(of_policy, &definition.approvals);
        let rules = rules
            .map(|rules| rules.with_passkeys(ruling.passkeys))
            .map_err(|error| refuse(&error))
            .ok();
        if let Some(rules) = &rules {
            let also = ruling.people_rules();
            let groups: BTreeSet<_> = rules
                .groups()
                .into_iter()
                .chain(also.iter().flat_map(|(_, rule)| &rule.from))
                .collect();
            for group in groups
                .into_iter()
                .filter(|group| roster.is_some_and(|roster| !roster.has_group(group)))
            {
                refuse(&format!(
                    "the roster has no group {group}: add the group to the roster, or name another group"
                ));
            }
            let review = ruling
                .emergency
                .as_ref()
                .map(|rule| ("emergency.review", &rule.value.review));
            for (key, people) in review
                .into_iter()
                .chain(policy.settle().map(|rule| ("settle", rule)))
            {
                for group in people
                    .from
                    .iter()
                    .filter(|group| !rules.groups().contains(group))
                {
                    refuse(&format!(
                        "`{key}` of the policy names the group {group}, which no approval rule of the step names: name a \
                         group of the rule of policy or of the step"
                    ));
                }
            }
        }
        let profile = profile_of_step(&ruling, definition, &given)
            .map_err(|errors| errors.iter().for_each(|error| refuse(error)))
            .ok();
        if let Some((profile, rules)) = profile.zip(rules) {
            let hashed = HashedStep::registered(step);
            let rules = shared(rules, before.map(|step| &step.rules));
            let approvals = of_policy
                .into_iter()
                .chain([&definition.approvals])
                .cloned()
                .collect();
            let approvals = shared(approvals, before.map(|step| &step.approvals));
            let profile = shared(profile, before.map(|step| &step.profile));
            let (needs, names) = (Arc::default(), Arc::clone(&names));
            let step = StepInForce {
                ruling,
                needs,
                names,
                hashed,
                rules,
                approvals,
                profile,
                index,
            };
            steps.push((reference.clone(), step));
        }
    }
    (steps.into_iter().collect(), errors)
}

/// Lets each step share its needs with the equal step of another seal, so that the script is parsed once for both
/// seals.
pub fn share_needs(steps: &mut StepsInForce, other: &StepsInForce) {
    // Most steps have the same ruling, so compare two rulings once.
    let mut equal: Option<[Arc<Ruling>; 2]> = None;
    for (reference, step) in steps {
        let Some(other) = other
            .get(reference)
            .filter(|other| other.hashed.digest() == step.hashed.digest())
        else {
            continue;
        };
        let known = |[a, b]: &[Arc<Ruling>; 2]| {
            Arc::ptr_eq(a, &step.ruling) && Arc::ptr_eq(b, &other.ruling)
        };
        if !equal.as_ref().is_some_and(known) {
            if step.ruling != other.ruling {
                continue;
            }
            equal = Some([step.ruling.clone(), other.ruling.clone()]);
        }
        step.needs = Arc::clone(&other.needs);
    }
}

/// Parses the scripts of all steps, on all cores.
pub fn parse_scripts(steps: &StepsInForce) {
    on_all_cores(steps.values().collect(), |step| _ = step.needs());
}

fn shared<T: PartialEq>(value: T, before: Option<&Arc<T>>) -> Arc<T> {
    match before {
        Some(before) if **before == value => Arc::clone(before),
        _ => Arc::new(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decision::quorum::tests::{definition, roster};
    use documents::{ConfiguredLimits, ConfiguredSandbox, Level, Limits, STRICT};

    /// Returns the rules of steps with these references and scripts, under a policy that lists programs.
    fn steps(tools: &str, scripts: &[(&str, &str)]) -> StepsInForce {
        let step = |(reference, source): &(&str, &str)| {
            let mut step = definition();
            (step["ref"], step["source"], step["params"]) = (
                json!(reference),
                json!(source),
                json!({"type": "object", "properties": {}}),
            );
            (step["template"], step["sandbox"]) = (json!("none"), json!({}));
            serde_json::from_value(step).expect("a step")
        };
        let registry = Registry::from_definitions(scripts.iter().map(step)).expect("a registry");
        let policy = format!(
            "version: 1\ndefault: {{mode: execute, approvals: {{from: [ops]}}, sandbox: {{programs: {{mode: listed, allow: \
             [{tools}]}}}}}}\n"
        );
        let policy = Policy::load(&policy).expect("a policy");
        let limits = ConfiguredLimits {
            default: Limits::default(),
            maximum: Limits::default(),
        };
        let sandbox = ConfiguredSandbox {
            level: Level::Strict,
            require: STRICT.to_vec(),
        };
        let configuration = Configuration { limits, sandbox };
        let steps = steps_in_force(
            &registry,
            &policy,
            Builtins::current(),
            &roster(),
            &configuration,
        )
        .expect("steps");
        parse_scripts(&steps);
        steps
    }

    fn programs<'s>(steps: &'s StepsInForce, reference: &str) -> &'s Arc<ProgramNames> {
        steps[&reference.parse().expect("a ref")]
            .programs()
            .expect("a list")
    }

    #[test]
    fn steps_with_the_same_programs_share_one_list_in_memory() {
        let scripts = [
            ("a:one", "zed 1\n"),
            ("a:two", "zed 2; zed 3\n"),
            ("b:one", "zed 4\n"),
            ("b:two", "other\n"),
        ];
        let steps = steps("awk, cat", &scripts);
        let list = programs(&steps, "a:one");
        assert!(
            list.optional.iter().any(|name| name.as_str() == "awk"),
            "{list:?}"
        );
        assert!(
            Arc::ptr_eq(list, programs(&steps, "a:two"))
                && Arc::ptr_eq(list, programs(&steps, "b:one"))
        );
        assert!(
            list != programs(&steps, "b:two"),
            "another program, another list"
        );
        let rulings: Vec<&Arc<Ruling>> = steps.values().map(|step| &step.ruling).collect();
        assert!(
            rulings.iter().all(|ruling| Arc::ptr_eq(ruling, rulings[0])),
            "no rule names a runbook"
        );
    }

    #[test]
    fn an_unchanged_step_shares_its_needs_with_the_next_seal() {
        let shared = |before: &StepsInForce, mut after: StepsInForce| {
            share_needs(&mut after, before);
            let same = |(reference, step): (&StepRef, &StepInForce)| {
                before
                    .get(reference)
                    .is_some_and(|before| Arc::ptr_eq(&before.needs, &step.needs))
            };
            after.iter().map(same).collect::<Vec<_>>()
        };
        let before = steps(
            "awk",
            &[("a:one", "zed\n"), ("a:two", "zed\n"), ("b:one", "zed\n")],
        );
        let changed = [
            ("a:one", "zed\n"),
            ("a:two", "rm x\n"),
            ("b:one", "zed\n"),
            ("c:one", "zed\n"),
        ];
        assert_eq!(
            shared(&before, steps("awk", &changed)),
            [true, false, true, false]
        );
        assert_eq!(
            shared(&before, steps("awk, cat", &changed)),
            [false; 4],
            "another policy"
        );
    }
}
