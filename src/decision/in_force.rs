//! The rules that apply to each step under a sealed state.
//!
//! The boundary decides with these rules. The auditor derives the same rules from the seal's blobs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::crypto::digest::hex;
use crate::decision::quorum::QuorumRules;
use crate::decision::step::HashedStep;
use crate::policy::builtins::Builtins;
use crate::policy::file::Policy;
use crate::policy::permissions::{PolicyDenied, questions};
use crate::policy::profile::{PolicyProfile, effective};
use crate::policy::ruling::{Ruling, resolve};
use crate::record::authorization::Permission;
use crate::record::bundle::StepProof;
use crate::record::configuration::Configuration;
use crate::record::ident::StepRef;
use crate::record::profile::Profile;
use crate::record::step::Approvals;
use crate::registry::Registry;
use crate::registry::registry_error::RegistryError;
use crate::trust::roster::TrustedRoster;

/// The rules that apply to one step under a seal. What a step has in common with the step before it is held once.
#[derive(Debug, Clone)]
pub struct StepInForce {
    /// The ruling of policy.
    pub ruling: Arc<Ruling>,
    asked: OnceLock<Result<Vec<Permission>, PolicyDenied>>,
    /// The definition and its digests.
    pub hashed: HashedStep,
    /// The quorum rules that must all be met.
    pub rules: Arc<QuorumRules>,
    /// The same rules as they are written: those of policy and of the step.
    pub approvals: Arc<Vec<Approvals>>,
    /// The sandbox that a run gets.
    pub profile: Arc<Profile>,
    /// The index of the step in the registry.
    index: usize,
}

impl StepInForce {
    /// Returns the permissions that policy asks for every run, or the reason why policy allows no run at all.
    ///
    /// The script is parsed on the first call, because most sealed states are used for one or two steps only.
    pub fn asked(&self) -> &Result<Vec<Permission>, PolicyDenied> {
        self.asked.get_or_init(|| questions(&self.ruling, self.hashed.definition()))
    }

    /// Returns the proof that the step is in its registry, as a bundle has it.
    #[must_use]
    pub fn proof(&self, registry: &Registry) -> Option<StepProof> {
        registry.proof_at(self.index).map(|proof| StepProof {
            index: proof.index,
            size: proof.size,
            hashes: proof.hashes.iter().map(|hash| hex(hash)).collect(),
        })
    }
}

/// Derives the rules for every step.
///
/// # Errors
/// Every step that asks for something that policy, roster or configuration does not give, with its place.
pub fn steps_in_force(
    registry: &Registry,
    policy: &Policy,
    builtins: &Builtins,
    roster: &TrustedRoster,
    configuration: &Configuration,
) -> Result<BTreeMap<StepRef, StepInForce>, Vec<RegistryError>> {
    let (steps, errors) = each_in_force(registry, policy, builtins, roster, configuration);
    if errors.is_empty() { Ok(steps) } else { Err(errors) }
}

/// Derives the rules for every valid step, and returns the faults of the others beside them.
pub fn each_in_force(
    registry: &Registry,
    policy: &Policy,
    builtins: &Builtins,
    roster: &TrustedRoster,
    configuration: &Configuration,
) -> (BTreeMap<StepRef, StepInForce>, Vec<RegistryError>) {
    let given = PolicyProfile::of(configuration);
    let mut steps: BTreeMap<StepRef, StepInForce> = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, step) in registry.steps().enumerate() {
        let definition = &step.definition;
        let reference = &definition.reference;
        let mut refuse = |error: &dyn std::fmt::Display| errors.push(step.flaw(&error));
        let before = steps.last_key_value().map(|(_, step)| step);
        let ruling = match before.filter(|step| step.hashed.definition().reference.path() == reference.path()) {
            Some(step) => Arc::clone(&step.ruling),
            None => Arc::new(resolve(policy, builtins, reference)),
        };
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        let rules = match QuorumRules::combine(of_policy, &definition.approvals) {
            Ok(rules) => rules,
            Err(error) => {
                refuse(&error);
                continue;
            }
        };
        for group in rules.groups() {
            if !roster.has_group(group) {
                refuse(&format!("the roster has no group {group}: add it to the roster, or name another"));
            }
        }
        match (effective(&ruling, &definition.sandbox, &given), HashedStep::of(definition.clone())) {
            (Ok(profile), Ok(hashed)) => {
                let rules = shared(rules, before.map(|step| &step.rules));
                let approvals = of_policy.into_iter().chain([&definition.approvals]).cloned().collect();
                let approvals = shared(approvals, before.map(|step| &step.approvals));
                let profile = shared(profile, before.map(|step| &step.profile));
                let asked = OnceLock::new();
                let step = StepInForce { ruling, asked, hashed, rules, approvals, profile, index };
                steps.insert(reference.clone(), step);
            }
            (profile, hashed) => {
                for error in
                    profile.err().iter().map(ToString::to_string).chain(hashed.err().iter().map(ToString::to_string))
                {
                    refuse(&error);
                }
            }
        }
    }
    (steps, errors)
}

/// Returns the value before where it is the same.
fn shared<T: PartialEq>(value: T, before: Option<&Arc<T>>) -> Arc<T> {
    match before {
        Some(before) if **before == value => Arc::clone(before),
        _ => Arc::new(value),
    }
}
