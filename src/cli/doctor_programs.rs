//! Lines of `doctor` about the programs of the steps.

use std::collections::{BTreeMap, BTreeSet};

use documents::{OWN_PROGRAMS, Program, StepRef, first_of};
use reading::{
    Builtins, DecisionPlace, Flags, Policy, Registry, decide_step, is_listed, named_in,
    resolve as ruling_of, with_closures,
};
use sandbox::{SMALLER_LIST, WantedPrograms, is_builtin, list_of, program_path};

/// Maximum number of steps that one line names.
const SHOWN: usize = 3;

/// What this host has of the programs of all steps with a list.
#[derive(Debug, Default)]
pub(super) struct ProgramFindings {
    /// Number of steps with a list of programs.
    pub(super) listed: usize,
    /// Problems because of which this host can't run a step, each with its steps.
    pub(super) problems: Vec<String>,
    /// Programs that this host does not have, but without which a step can run, each with its steps.
    pub(super) lacking: Vec<String>,
}

/// Looks on this host for the programs of all steps that may execute only listed programs.
pub(super) fn find(registry: &Registry, policy: &Policy) -> ProgramFindings {
    let (mut problems, mut lacking) = (BTreeMap::new(), BTreeMap::new());
    let (mut listed, mut of_policy) = (0, BTreeSet::new());
    for step in registry.steps() {
        let step = &*step.sample();
        let ruling = ruling_of(policy, Builtins::current(), &step.reference);
        if !is_listed(&ruling, step) {
            continue;
        }
        listed += 1;
        let decision = decide_step(&ruling, step, DecisionPlace::Boundary, &Flags::default());
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

/// Returns true if this host does not have a program that the script or policy names.
fn is_lacking(name: &Program) -> bool {
    let name = name.as_str();
    name != OWN_PROGRAMS && !is_builtin(name) && program_path(name).is_none()
}
