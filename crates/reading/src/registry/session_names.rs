//! The variables that a session of a runbook carries from run to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Registry, Shell, shell::commands::names_set_in};
use documents::SessionUse;

/// Returns, for each runbook, the variables that the scripts of its steps with `session=write` set or export by name.
pub fn session_names(registry: &Registry) -> BTreeMap<String, Arc<BTreeSet<String>>> {
    let mut names: BTreeMap<String, Arc<BTreeSet<String>>> = BTreeMap::new();
    for step in registry
        .steps()
        .filter(|step| step.definition.session == SessionUse::Write)
    {
        let Some(shell) = Shell::of(&step.definition.interpreter) else {
            continue;
        };
        let of_runbook = names
            .entry(step.definition.reference.path().to_owned())
            .or_default();
        Arc::make_mut(of_runbook).extend(names_set_in(shell, &step.sample().source));
    }
    names
}
