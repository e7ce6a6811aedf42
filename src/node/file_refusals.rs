//! Finds the reasons for refusal that follow from the files of a boundary alone, without a host, a store or a key.

use std::collections::BTreeMap;

use crate::Config;
use boundary::{
    refused_steps, secret_sources, unapprovable_steps, unmet_people_rules, without_maximum,
};
use crossing::lacks_boundary;
use documents::{Configuration, Roster, StepDefinition, StepRef, Timestamp};
use reading::{FileProblem, InvalidFiles, Locks, Policy, Registry, RunbookDirectories};
use verdict::{EligibleApprovers, QuorumRules, TrustedRoster};

/// Every reason for which a start, a seal or `doctor` refuses the files.
#[derive(Default)]
pub struct FileRefusals {
    /// Steps that no boundary seals under this policy, roster and configuration.
    pub steps: Vec<FileProblem>,
    /// Errors of the roster.
    pub roster: Vec<String>,
    /// Steps that nobody can get approved.
    pub quorums: Vec<String>,
    /// Steps that policy denies, each with the reason.
    pub denied: BTreeMap<StepRef, String>,
    /// Steps whose secret the configuration does not give, each with the reason.
    pub secrets: Vec<(StepRef, String)>,
}

/// Compares the files of a boundary with each other. Without a roster, groups and people are not checked. Without a
/// configuration, limits and secrets are not checked.
pub fn find(
    registry: &Registry,
    policy: &Policy,
    roster: Option<&TrustedRoster>,
    config: Option<&Config>,
    now: Timestamp,
) -> FileRefusals {
    let mut refusals = FileRefusals::default();
    let runbooks = config
        .map(|config| config.runbooks.clone())
        .unwrap_or_default();
    let (steps, errors) = refused_steps(
        registry,
        policy,
        roster,
        &configuration(config),
        &runbooks,
        None,
    );
    let denied = steps
        .iter()
        .filter_map(|(step, held)| Some((step.clone(), held.asked().as_ref().err()?.to_string())));
    refusals.denied = denied.collect();
    refusals.steps = errors;
    if let Some(signed) = roster {
        refusals.roster.extend(lacks_approvers(signed.tables()));
        refusals
            .roster
            .extend(config.and_then(|config| lacks_boundary(signed, &config.name)));
        // A step that is refused for another reason can lack approvers too.
        let refused = registry
            .steps()
            .map(|step| &step.definition)
            .filter(|step| !steps.contains_key(&step.reference));
        let refused: Vec<_> = refused
            .filter_map(|step| Some((&step.reference, quorum_rules(policy, step)?)))
            .collect();
        let rules = steps
            .iter()
            .map(|(reference, step)| (reference, &*step.rules));
        let rules = rules.chain(refused.iter().map(|(reference, rules)| (*reference, rules)));
        let eligible = EligibleApprovers::of(signed, |_| false);
        refusals.quorums = unapprovable_steps(&eligible, rules, now).1;
        refusals
            .quorums
            .extend(unmet_people_rules(&eligible, &steps, now));
    }
    if let Some(config) = config {
        refusals.secrets = lacking_secrets(registry, config);
    }
    refusals
}

/// Returns the approval rules of a step, or `None` if the rules of policy and step contradict each other.
fn quorum_rules(policy: &Policy, step: &StepDefinition) -> Option<QuorumRules> {
    let ruling = policy.ruling(&step.reference);
    let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
    Some(
        QuorumRules::combine(of_policy, &step.approvals)
            .ok()?
            .with_passkeys(ruling.passkeys),
    )
}

/// Returns the steps whose secret the configuration does not give, each with the reason.
pub fn lacking_secrets(registry: &Registry, config: &Config) -> Vec<(StepRef, String)> {
    let permits = secret_sources::permits(&config.secrets);
    let steps = registry.steps().map(|step| &step.definition);
    steps
        .filter_map(|step| Some((step.reference.clone(), permits.objection(step)?)))
        .collect()
}

/// Returns an error if no run could be approved, because the roster has no approver.
pub fn lacks_approvers(roster: &Roster) -> Option<String> {
    roster.approvers.is_empty().then(|| {
        "the roster has no approver, so no run could be approved: add each approver to `approvers` before the \
         first start, which seals the roster (`countersign key generate` makes a key and prints its line)"
            .to_owned()
    })
}

/// Returns the refused steps of the runbooks without errors, for a start or a seal that other errors stop anyway.
pub fn of_sound_files(
    config: &Config,
    policy: &Policy,
    roster: Option<&TrustedRoster>,
) -> Vec<FileProblem> {
    if config.skip_invalid_runbooks {
        return Vec::new();
    }
    let (invalid, locks) = (InvalidFiles::Skipped, Locks::Ignored);
    let Ok(sound) = (RunbookDirectories {
        invalid,
        locks,
        ..config.runbook_directories()
    })
    .load() else {
        return Vec::new();
    };
    refused_steps(
        &sound,
        policy,
        roster,
        &configuration(Some(config)),
        &config.runbooks,
        None,
    )
    .1
}

/// Returns the configuration of every run. A host may lack layers of the sandbox, so this configuration requires no
/// layer.
fn configuration(config: Option<&Config>) -> Configuration {
    let configuration = without_maximum();
    match config {
        Some(config) => Configuration {
            limits: config.configured_limits(),
            ..configuration
        },
        None => configuration,
    }
}
