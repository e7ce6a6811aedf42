//! Differences between two registries.

use std::fmt;

use crate::record::ident::StepRef;
use crate::registry::Registry;

/// Difference between two registries in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepDifference {
    /// Only the new registry contains the step.
    Added(StepRef),
    /// The definition of the step changed.
    Changed(StepRef),
    /// Only the old registry contains the step.
    Removed(StepRef),
}

impl fmt::Display for StepDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(step) => write!(f, "{step} is new"),
            Self::Changed(step) => write!(f, "{step} changed"),
            Self::Removed(step) => write!(f, "{step} was removed"),
        }
    }
}

/// Returns the differences, sorted by the ref of the step.
#[must_use]
pub fn differences(old: &Registry, new: &Registry) -> Vec<StepDifference> {
    let added = new.steps().filter_map(|step| {
        let reference = step.definition.reference.clone();
        match old.get(&step.definition.reference) {
            None => Some((reference.clone(), StepDifference::Added(reference))),
            Some(before) if before.digest != step.digest => {
                Some((reference.clone(), StepDifference::Changed(reference)))
            }
            Some(_) => None,
        }
    });
    let removed = old.steps().filter(|step| new.get(&step.definition.reference).is_none()).map(|step| {
        let reference = step.definition.reference.clone();
        (reference.clone(), StepDifference::Removed(reference))
    });
    let mut found: Vec<_> = added.chain(removed).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(_, difference)| difference).collect()
}
