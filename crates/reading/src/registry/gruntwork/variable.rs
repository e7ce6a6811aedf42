//! A variable of Boilerplate, as a parameter of a step.

use serde_json::{Map, Value};

use crate::{TextPlace, YamlFlaw, YamlSource};

/// Variable of an `<Inputs>` or `<Template>` block.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(super) name: String,
    pub(super) schema: Map<String, Value>,
    pub(super) source: YamlSource,
    pub(super) place: TextPlace,
    /// True for a map whose keys are unknown. No schema can describe such a map.
    pub(super) open_map: bool,
    /// True for a number that only the scripts that use it require.
    pub(super) if_used: bool,
}

impl Variable {
    /// Puts a keyword into the schema.
    pub(super) fn put(&mut self, keyword: &str, value: Value) {
        self.schema.insert(keyword.to_owned(), value);
    }

    /// Returns a flaw or a remark about the variable.
    pub(super) fn flaw(&self, message: &str) -> YamlFlaw {
        self.source
            .flaw(self.place, &format!("{}: {message}", self.name))
    }
}
