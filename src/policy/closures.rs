//! Closures: the programs that a listed program starts to do its job.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::record::later_words::Program;

/// The closures of all known programs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closures;

impl Closures {
    /// Reads the member `closures` of sealed built-in lists.
    ///
    /// # Errors
    /// Returns all problems.
    pub fn from_value(_value: &Value) -> Result<Self, Vec<String>> {
        Ok(Self)
    }

    /// Returns the names with all programs that they start.
    #[must_use]
    pub fn expand(&self, names: &BTreeSet<Program>) -> BTreeSet<Program> {
        names.clone()
    }
}
