//! The rules that apply to each step under a seal.
//!
//! The boundary decides with these rules. The auditor derives the same rules from the blobs of the seal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::decision::emergency::{EmergencyError, rules_of_emergency};
use crate::decision::quorum_rules::QuorumRules;
use crate::decision::step::{HashedStep, StepError};
use crate::policy::builtins::Builtins;
use crate::policy::file::Policy;
use crate::policy::program_names::ProgramNames;
use crate::policy::required_permissions::{PolicyDenied, StepNeeds, needs};
use crate::policy::ruling::{Ruling, resolve};
use crate::policy::step_profile::{PolicyProfile, profile_of_step};
use crate::registry::Registry;
use crate::registry::registry_error::RegistryError;
use crate::template::template_rules::TemplateRules;
use crate::trust::trusted_roster::TrustedRoster;
use documents::crypto::digest::hex;
use documents::record::authorization::{Authorization, Permission};
use documents::record::bundle::StepProof;
use documents::record::configuration::Configuration;
use documents::record::ident::StepRef;
use documents::record::profile::Profile;
use documents::record::step_definition::Approvals;

/// Rules that apply to one step under a seal. Steps share equal parts in memory.
#[derive(Debug, Clone)]
pub struct StepInForce {
    /// The ruling of policy about the step.
    pub ruling: Arc<Ruling>,
    needs: OnceLock<StepNeeds>,
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

impl StepInForce {
    /// Returns the permissions that policy requires for every run, or the reason why policy allows no run.
    ///
    /// The script is parsed at the first call, because most seals are used for only one or two steps.
    pub fn asked(&self) -> &Result<Vec<Permission>, PolicyDenied> {
        &self.needs().permissions
    }

    /// Returns the names of the programs that a run may execute, or `None` if a run may execute every program.
    pub fn programs(&self) -> Option<&ProgramNames> {
        self.needs().programs.as_ref()
    }

    fn needs(&self) -> &StepNeeds {
        self.needs.get_or_init(|| needs(&self.ruling, &self.hashed.sample()))
    }

    /// Returns the rules of a new run with these parameters. If the script is a template, policy reads the filled-in script.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written in its place.
    pub fn filled(&self, params: &Value) -> Result<Cow<'_, Self>, StepError> {
        Ok(self.with(&self.hashed.filled(params, TemplateRules::Present)?))
    }

    /// Returns the rules of a run of this step, which [`HashedStep::filled`] returned.
    #[must_use]
    pub fn with(&self, filled: &HashedStep) -> Cow<'_, Self> {
        if !self.hashed.is_template() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { hashed: filled.clone(), needs: OnceLock::new(), ..self.clone() })
    }

    /// Returns the rules of one run. In an emergency, the rule `emergency` of policy takes the place of its approval rule.
    ///
    /// # Errors
    /// Returns an error if policy permits no such emergency.
    pub fn for_run(&self, signed: &Authorization) -> Result<Cow<'_, Self>, EmergencyError> {
        if signed.emergency.is_none() {
            return Ok(Cow::Borrowed(self));
        }
        self.for_emergency(signed.expires_at.unix() - signed.issued_at.unix()).map(Cow::Owned)
    }

    /// Returns the rules of an emergency of `window_s` seconds.
    ///
    /// # Errors
    /// Returns an error if policy permits no such emergency.
    pub fn for_emergency(&self, window_s: i64) -> Result<Self, EmergencyError> {
        let definition = self.hashed.definition();
        let rules = rules_of_emergency(&definition.reference, window_s, &self.ruling, &definition.approvals)?;
        let of_policy = self.ruling.emergency.as_ref().map(|rule| rule.value.approvals());
        let approvals = of_policy.into_iter().chain([definition.approvals.clone()]).collect();
        Ok(Self { rules: Arc::new(rules), approvals: Arc::new(approvals), ..self.clone() })
    }

    /// Returns the proof for a bundle that the registry contains the step.
    #[must_use]
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
) -> Result<BTreeMap<StepRef, StepInForce>, Vec<RegistryError>> {
    let (steps, errors) = each_in_force(registry, policy, builtins, roster, configuration);
    if errors.is_empty() { Ok(steps) } else { Err(errors) }
}

/// Derives the rules for every valid step, and returns the errors of the other steps too.
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
            Ok(rules) => rules.with_passkeys(ruling.passkeys),
            Err(error) => {
                refuse(&error);
                continue;
            }
        };
        let also = ruling.people_rules();
        for group in rules.groups().into_iter().chain(also.iter().flat_map(|rule| &rule.from)) {
            if !roster.has_group(group) {
                refuse(&format!("the roster has no group {group}: add the group to the roster, or name another group"));
            }
        }
        let review = ruling.emergency.as_ref().map(|rule| ("emergency.review", &rule.value.review));
        for (key, people) in review.into_iter().chain(policy.settle().map(|rule| ("settle", rule))) {
            for group in people.from.iter().filter(|group| !rules.groups().contains(group)) {
                refuse(&format!(
                    "`{key}` of the policy names the group {group}, which no approval rule of the step names: name a \
                     group of the rule of policy or of the step"
                ));
            }
        }
        match profile_of_step(&ruling, definition, &given) {
            Ok(profile) => {
                let hashed = HashedStep::registered(step);
                let rules = shared(rules, before.map(|step| &step.rules));
                let approvals = of_policy.into_iter().chain([&definition.approvals]).cloned().collect();
                let approvals = shared(approvals, before.map(|step| &step.approvals));
                let profile = shared(profile, before.map(|step| &step.profile));
                let needs = OnceLock::new();
                let step = StepInForce { ruling, needs, hashed, rules, approvals, profile, index };
                steps.insert(reference.clone(), step);
            }
            Err(error) => refuse(&error),
        }
    }
    (steps, errors)
}

fn shared<T: PartialEq>(value: T, before: Option<&Arc<T>>) -> Arc<T> {
    match before {
        Some(before) if **before == value => Arc::clone(before),
        _ => Arc::new(value),
    }
}
