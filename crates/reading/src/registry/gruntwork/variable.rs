//! A variable of Boilerplate, as a parameter of a step.

use crate::{TextPlace, YamlFlaw, YamlSource};
use documents::Parameter;

/// Variable of an `<Inputs>` or `<Template>` block.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(super) name: String,
    pub(super) declared: Parameter,
    pub(super) source: YamlSource,
    pub(super) place: TextPlace,
    /// True for a map whose keys are unknown. No schema can describe such a map.
    pub(super) open_map: bool,
    /// True for a number that only the scripts that use it require.
    pub(super) if_used: bool,
}

impl Variable {
    /// Returns a flaw or a remark about the variable.
    pub(super) fn flaw(&self, message: &str) -> YamlFlaw {
        self.source
            .flaw(self.place, &format!("{}: {message}", self.name))
    }
}
