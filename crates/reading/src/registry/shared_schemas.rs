//! Declarations of parameters that several steps of a registry share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{ParameterError, ParameterSchema, registry::parameter_pattern::ParameterPatterns};
use documents::{Parameter, StepDefinition, locked};

/// Parameter schemas of a registry. Several steps with equal schemas share one checked schema.
#[derive(Default)]
pub struct SharedSchemas {
    patterns: Arc<ParameterPatterns>,
    known: Mutex<HashMap<Arc<Parameter>, ParameterSchema>>,
}

impl SharedSchemas {
    /// Replaces the schema of a step with an equal schema that is already stored. `register` reports the flaws of a
    /// schema.
    pub fn share(&self, step: &mut StepDefinition) {
        if let Ok(schema) = self.get(&step.params) {
            step.params = Arc::clone(schema.declared());
        }
    }

    pub fn get(&self, schema: &Arc<Parameter>) -> Result<ParameterSchema, Vec<ParameterError>> {
        let known = || locked(&self.known);
        if let Some(known) = known().get(schema) {
            return Ok(known.clone());
        }
        let checked = ParameterSchema::shared(Arc::clone(schema), Arc::clone(&self.patterns))?;
        Ok(known().entry(Arc::clone(schema)).or_insert(checked).clone())
    }
}
