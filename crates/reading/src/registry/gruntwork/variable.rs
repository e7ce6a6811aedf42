//! A variable of Boilerplate, as a parameter of a step.

use crate::{TextPlace, YamlFlaw, YamlSource};
use documents::Parameter;

/// Variable of an `<Inputs>` or `<Template>` block.
#[derive(Clone)]
pub struct Variable {
    pub name: String,
    pub declared: Parameter,
    pub source: YamlSource,
    pub place: TextPlace,
    /// True for a map whose keys are unknown. No schema can describe such a map.
    pub open_map: bool,
    /// True for a number that only the scripts that use it require.
    pub if_used: bool,
}

impl Variable {
    /// Returns a flaw or a remark about the variable.
    pub fn flaw(&self, message: &str) -> YamlFlaw {
        self.source
            .flaw(self.place, &format!("{}: {message}", self.name))
    }
}
