//! Access of the steps to the network, for `doctor`.

use documents::DeclaredNetwork;
use reading::{Builtins, DecisionPlace, Flags, Policy, RegisteredStep, decide_step, resolve};
use workbench::uses_network;

/// Returns true if the step starts a program of the network and does not declare the network.
pub(super) fn reaches_without_declaration(step: &RegisteredStep, policy: &Policy) -> bool {
    let definition = &step.definition;
    if !matches!(
        definition.sandbox.network,
        None | Some(DeclaredNetwork::None)
    ) || definition.sandbox.off_reason.is_some()
    {
        return false;
    }
    let ruling = resolve(policy, Builtins::current(), &definition.reference);
    let decision = decide_step(
        &ruling,
        &step.sample(),
        DecisionPlace::Boundary,
        &Flags::default(),
    );
    decision.decided.iter().any(|one| uses_network(&one.what))
}
