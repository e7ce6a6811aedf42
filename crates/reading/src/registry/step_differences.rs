//! Differences between two registries.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::Registry;
use documents::StepRef;

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
    let removed = old
        .steps()
        .filter(|step| new.get(&step.definition.reference).is_none())
        .map(|step| {
            let reference = step.definition.reference.clone();
            (reference.clone(), StepDifference::Removed(reference))
        });
    let mut found: Vec<_> = added.chain(removed).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
        .into_iter()
        .map(|(_, difference)| difference)
        .collect()
}

/// Returns the fields in which two definitions of a step differ, sorted, for example `params.properties.host`. A file is a
/// field, for example `files.lib.sh`.
pub fn changed_fields(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    add_changed(
        &with_files_by_path(old),
        &with_files_by_path(new),
        "",
        MAX_FIELD_DEPTH,
        &mut found,
    );
    found
}

fn with_files_by_path(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(Value::Array(files)) = definition.get_mut("files") {
        // The text of a file's fields, so that the fields of one file are not listed one by one.
        let by_path = |file: &Value| {
            (
                file["path"].as_str().unwrap_or_default().to_owned(),
                file.to_string().into(),
            )
        };
        definition["files"] = files.iter().map(by_path).collect::<Map<_, _>>().into();
    }
    definition
}

fn add_changed(old: &Value, new: &Value, path: &str, depth: usize, found: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return found.push(path.to_owned());
    };
    if depth == 0 {
        return found.push(path.to_owned());
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
    {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let (old, new) = (
            before.get(name).unwrap_or(&Value::Null),
            after.get(name).unwrap_or(&Value::Null),
        );
        add_changed(old, new, &inner, depth - 1, found);
    }
}

/// Maximum number of names in a field, enough to name one parameter.
const MAX_FIELD_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_changed_fields_of_a_definition_are_named() {
        let old = json!({"source": "a", "title": "t", "params": {"properties": {"host": {"default": 1}}, "type": "object"}});
        let mut new = old.clone();
        assert_eq!(changed_fields(&old, &new), [""; 0]);
        new["source"] = "b".into();
        new["params"]["properties"]["host"]["default"] = 2.into();
        new["params"]["properties"]["port"] = json!({});
        new["exclusive"] = "x".into();
        new["files"] = json!([{"path": "a.sh", "digest": 1}, {"path": "b/c.sh", "digest": 2}]);
        let fields = [
            "exclusive",
            "files",
            "params.properties.host",
            "params.properties.port",
            "source",
        ];
        assert_eq!(changed_fields(&old, &new), fields);
        assert_eq!(changed_fields(&new, &old), fields);
        let mut newer = new.clone();
        newer["files"] = json!([{"path": "a.sh", "digest": 1}, {"path": "b/c.sh", "digest": 3}, {"path": "d", "digest": 4}]);
        assert_eq!(changed_fields(&new, &newer), ["files.b/c.sh", "files.d"]);
    }
}
