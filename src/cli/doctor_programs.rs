//! Lines of `doctor` about the programs of the steps, and their access to the network.

use std::collections::{BTreeMap, BTreeSet};

use documents::{DeclaredNetwork, OWN_PROGRAMS, Program, StepRef, first_of};
use reading::{
    Policy, RegisteredStep, Registry, decide_at_boundary, is_listed, named_in, with_closures,
};
use sandbox::{SMALLER_LIST, WantedPrograms, is_builtin, list_of, program_path};
use workbench::uses_network;

/// Maximum number of steps that one line names.
const SHOWN: usize = 3;

/// Result of the search on this host for the programs of all steps with a list of programs.
pub struct ProgramFindings {
    /// Number of steps with a list of programs.
    pub listed: usize,
    /// Problems because of which this host can't run a step, each with its steps.
    pub problems: Vec<String>,
    /// Programs that this host does not have, but without which a step can run, each with its steps.
    pub lacking: Vec<String>,
}

/// Looks on this host for the programs of all steps that may execute only listed programs.
pub fn find(registry: &Registry, policy: &Policy) -> ProgramFindings {
    let (mut problems, mut lacking) = (BTreeMap::new(), BTreeMap::new());
    let (mut listed, mut of_policy) = (0, BTreeSet::new());
    for step in registry.steps() {
        let step = &*step.sample();
        let ruling = policy.ruling(&step.reference);
        if !is_listed(&ruling, step) {
            continue;
        }
        listed += 1;
        let decision = decide_at_boundary(&ruling, step);
        let named = named_in(&ruling, step, &decision);
        let names = with_closures(&ruling, step, &named);
        let wanted = WantedPrograms {
            required: &names.required,
            optional: &names.optional,
            starters: &names.starters,
            is_host_user: step.sandbox.run_as.is_some(),
        };
        if let Err(error) = list_of(&wanted) {
            add(
                &mut problems,
                error.advised(SMALLER_LIST).to_string(),
                &step.reference,
            );
        }
        for name in named
            .iter()
            .filter(|name| !names.required.contains(*name) && is_lacking(name))
        {
            match ruling.programs.get(name) {
                Some(origin) => {
                    _ = of_policy.insert(format!("{name} of sandbox.programs.allow ({origin})"))
                }
                None => add(&mut lacking, name.to_string(), &step.reference),
            }
        }
    }
    let words = |found: BTreeMap<String, Vec<StepRef>>, between: &str| -> Vec<String> {
        found
            .into_iter()
            .map(|(what, steps)| format!("{what}{between}{}", first_of(&steps, SHOWN)))
            .collect()
    };
    ProgramFindings {
        listed,
        problems: words(problems, ": "),
        lacking: of_policy
            .into_iter()
            .chain(words(lacking, " of "))
            .collect(),
    }
}

fn add(found: &mut BTreeMap<String, Vec<StepRef>>, what: String, step: &StepRef) {
    found.entry(what).or_default().push(step.clone());
}

/// Returns true if the step starts a program of the network and does not declare the network.
pub fn reaches_without_declaration(step: &RegisteredStep, policy: &Policy) -> bool {
    let sandbox = &step.definition.sandbox;
    if !matches!(sandbox.network, None | Some(DeclaredNetwork::None))
        || sandbox.off_reason.is_some()
    {
        return false;
    }
    let ruling = policy.ruling(&step.definition.reference);
    let decision = decide_at_boundary(&ruling, &step.sample());
    decision.decided.iter().any(|one| uses_network(&one.what))
}

/// Returns true if this host does not have a program that the script or policy names.
fn is_lacking(name: &Program) -> bool {
    let name = name.as_str();
    name != OWN_PROGRAMS && !is_builtin(name) && program_path(name).is_none()
}
