//! Lines of `doctor` about the access of the steps to the host.

use crate::local::network_programs::uses_network;
use crate::node::config::Config;
use documents::record::declared::DeclaredNetwork;
use judgement::policy::builtins::Builtins;
use judgement::policy::decide::{DecisionPlace, Flags};
use judgement::policy::file::Policy;
use judgement::policy::required_permissions::decide_step;
use judgement::policy::ruling::resolve;
use judgement::policy::step_profile::{PolicyProfile, RequiredLayers, profile_of_step};
use judgement::registry::Registry;
use judgement::registry::registered_step::RegisteredStep;
use judgement::registry::registry_error::RegistryError;

/// What the steps want of the host and do not get.
#[derive(Debug, Default)]
pub(super) struct AccessFindings {
    /// Declarations that policy does not allow, so that the boundary can't seal the steps.
    pub(super) refused: Vec<RegistryError>,
    /// References of the steps that start a program of the network without a declaration of the network.
    pub(super) undeclared: Vec<String>,
}

/// Compares the declarations and the programs of all steps with policy.
pub(super) fn find(registry: &Registry, policy: &Policy, config: &Config) -> AccessFindings {
    let (limits, maximum) = (config.limits.of_a_run.clone(), config.limits.maximum.clone());
    let given = PolicyProfile { level: RequiredLayers::BestEffort(Vec::new()), limits, maximum };
    let mut found = AccessFindings::default();
    for step in registry.steps() {
        let definition = &step.definition;
        let ruling = resolve(policy, Builtins::current(), &definition.reference);
        match profile_of_step(&ruling, definition, &given) {
            Err(error) => found.refused.push(step.flaw(&error)),
            Ok(_) if reaches_without_declaration(step, policy) => {
                found.undeclared.push(definition.reference.to_string());
            }
            Ok(_) => {}
        }
    }
    found
}

fn reaches_without_declaration(step: &RegisteredStep, policy: &Policy) -> bool {
    let definition = &step.definition;
    if !matches!(definition.sandbox.network, None | Some(DeclaredNetwork::None))
        || definition.sandbox.off_reason.is_some()
    {
        return false;
    }
    let ruling = resolve(policy, Builtins::current(), &definition.reference);
    let decision = decide_step(&ruling, &step.sample(), DecisionPlace::Boundary, &Flags::default());
    decision.decided.iter().any(|one| uses_network(&one.what))
}
