//! The programs that the list of a run refused although the run succeeded. Such a run may have done less than its
//! author expects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Execution, Executions, Outcome, ProgramFacts, ProgramMode, Receipt, SEARCHED};

/// Something that a list of a run refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RefusedPart {
    /// Path of the program, or `other programs` if the receipt does not name them.
    pub name: String,
    /// Attribute of the block that allows it, for example `programs=jq`.
    pub add: String,
}

impl Receipt {
    /// Returns the programs that the list of the run refused, if the exit code of the run is 0.
    pub fn refused_parts(&self) -> Vec<RefusedPart> {
        refused_parts(&self.outcome, self.programs.as_ref())
    }
}

/// Returns the programs that the list of a run refused, if the exit code of the run is 0.
pub fn refused_parts(outcome: &Outcome, programs: Option<&ProgramFacts>) -> Vec<RefusedPart> {
    let programs =
        programs.filter(|facts| facts.mode == ProgramMode::Listed && outcome.exit_code == Some(0));
    let Some(Executions { paths, more }) = programs.and_then(|facts| facts.refused.as_ref()) else {
        return Vec::new();
    };
    let named = |one: &Execution| {
        let path = one.path.as_str();
        let found = path
            .rsplit_once('/')
            .filter(|(directory, _)| SEARCHED.contains(directory));
        let program = found.map_or(path, |(_, name)| name);
        RefusedPart {
            name: path.to_owned(),
            add: format!("programs={program}"),
        }
    };
    let others = (*more > 0).then(|| RefusedPart {
        name: "other programs".to_owned(),
        add: "programs=NAME".to_owned(),
    });
    paths.iter().map(named).chain(others).collect()
}

/// Returns the words after an outcome, or an empty text: `; refused: /usr/bin/jq (add programs=jq to the block)`.
pub fn refused_words(parts: &[RefusedPart]) -> String {
    let words: Vec<String> = parts
        .iter()
        .map(|part| format!("{} (add {} to the block)", part.name, part.add))
        .collect();
    if words.is_empty() {
        String::new()
    } else {
        format!("; refused: {}", words.join(", "))
    }
}
