//! A step that a runbook file contains.

use std::sync::Arc;

use crate::record::step_definition::StepDefinition;
use crate::registry::step_place::{ScriptOrigin, StepPlace};
use crate::yaml::TextPlace;

/// Step with the place of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundStep {
    /// Definition of the step.
    pub definition: StepDefinition,
    /// Contents of the definition's files, in the same order.
    pub contents: Vec<Arc<[u8]>>,
    /// Place of the step's id.
    pub place: TextPlace,
    /// Place of the script.
    pub script: ScriptOrigin,
}

impl FoundStep {
    /// Returns the place of the step in this file.
    pub(super) fn place_in(&self, file: &Arc<str>) -> StepPlace {
        StepPlace { file: Arc::clone(file), place: self.place, script: self.script.clone() }
    }
}
