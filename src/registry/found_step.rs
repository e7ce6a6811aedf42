//! A step that a runbook file contains.

use std::sync::Arc;

use crate::record::step_definition::StepDefinition;
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
}
