//! Proves that the decision screen leaves out no signed field.
//!
//! Each field is shown by a line, or a rule of this module proves that it equals a shown value or a built-in default.
//! Otherwise signing is impossible.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Derived, FieldReason, Lines, SANDBOX, SCRIPT_DIGEST, SEALED, SignedField, leaves};
use documents::{Limits, Profile, STRICT};

/// Lists every signed field, and every field of the definition, because its digest is signed.
pub fn fields(found: &Derived, lines: &Lines) -> Vec<SignedField> {
    let Some(ground) = EqualValues::of(found) else {
        return Vec::new();
    };
    let mut places: BTreeMap<&str, &'static str> = lines
        .heading_shows
        .iter()
        .map(|path| (path.as_str(), "heading"))
        .collect();
    let mut name = "";
    for line in lines
        .above
        .iter()
        .chain(&lines.always)
        .chain(&lines.remarks)
    {
        name = if line.name.is_empty() {
            name
        } else {
            line.name
        };
        places.extend(line.shows.iter().map(|path| (path.as_str(), name)));
    }
    let shown = |path: &str| places.get(path).copied().map(FieldReason::Shown);
    let mut all = Vec::new();
    for (part, document) in [
        ("signed", found.payload.as_ref()),
        ("definition", found.document()),
    ] {
        for (path, value) in document.into_iter().flat_map(leaves) {
            let name = format!("{part}{path}");
            let derived = || match part {
                "signed" => ground.of_payload(&path, value),
                _ => ground.of_definition(&path, value),
            };
            all.push(SignedField {
                why: shown(&name)
                    .or_else(derived)
                    .unwrap_or(FieldReason::Nowhere),
                path: name,
                value: value.clone(),
            });
        }
    }
    all
}

/// Values with which a field can be compared.
pub struct EqualValues<'f> {
    found: &'f Derived,
    /// Fields of the statement that follow from the other fields: subjects and types.
    expected: BTreeMap<String, Value>,
    /// Profile in the payload, as JSON. The field `usual` is the profile of a run without resources of the host.
    profile: Value,
    usual: Value,
}

impl<'f> EqualValues<'f> {
    /// Returns `None` if the payload can't be read.
    pub fn of(found: &'f Derived) -> Option<Self> {
        let signed = &found.statement.as_ref()?.predicate;
        let expected = serde_json::to_value(signed.clone().into_statement().ok()?).ok()?;
        Some(Self {
            found,
            expected: leaves(&expected)
                .into_iter()
                .map(|(path, value)| (path, value.clone()))
                .collect(),
            profile: serde_json::to_value(&signed.sandbox).ok()?,
            usual: serde_json::to_value(Profile::nothing(STRICT.to_vec(), Limits::default()))
                .ok()?,
        })
    }

    /// Returns the reason why a field of the payload need not be shown.
    fn of_payload(&self, path: &str, value: &Value) -> Option<FieldReason> {
        let signed = &self.found.statement.as_ref()?.predicate;
        let Some(inner) = path.strip_prefix(".predicate.") else {
            let follows = self.expected.get(path) == Some(value);
            return follows.then_some(FieldReason::Equals(
                "the value that follows from the other fields and the format",
            ));
        };
        let rests_on = |holds: bool, what| {
            Some(if holds {
                FieldReason::Equals(what)
            } else {
                FieldReason::Open(what)
            })
        };
        match inner {
            "boundary.id" | "boundary.epoch" => rests_on(
                self.found.holds(SEALED),
                "the value in the seal, which a key of the boundary in the roster signed",
            ),
            "step.digest" => rests_on(
                self.found.definition.is_some(),
                "the digest of the definition",
            ),
            "rendered" => rests_on(self.found.holds(SCRIPT_DIGEST), "the digest of the script"),
            "permissions" => signed
                .permissions
                .is_empty()
                .then_some(FieldReason::Default),
            _ => {
                let mut names = inner.strip_prefix("sandbox.")?.split(['.', '[']);
                let field = names.next()?;
                // Compare an array as a whole, because a missing element would not be noticed.
                let (mine, usual) = match (field, names.next()) {
                    ("limits" | "network", Some(part)) => {
                        (&self.profile[field][part], &self.usual[field][part])
                    }
                    _ => (&self.profile[field], &self.usual[field]),
                };
                (mine == usual).then_some(FieldReason::Default)
            }
        }
    }

    /// Returns the reason why a field of the definition need not be shown.
    pub fn of_definition(&self, path: &str, value: &Value) -> Option<FieldReason> {
        let is = |default: Value| (*value == default).then_some(FieldReason::Default);
        match path {
            ".ref" => {
                let signed = &self.found.statement.as_ref()?.predicate;
                (value == signed.step.reference.as_str()).then_some(FieldReason::Equals("the step"))
            }
            ".format" => is("markdown".into()),
            ".template" | ".session" => is("none".into()),
            ".files" | ".secrets" | ".outputs" | ".approvals.from" => is(Value::Array(Vec::new())),
            ".approvals.required" => is(1.into()),
            _ if path == ".params" || path.starts_with(".params.") => Some(FieldReason::Schema),
            _ if path == ".sandbox"
                || path.starts_with(".programs")
                || path.starts_with(".sandbox.") =>
            {
                let what = "the sandbox, which this program derives from the field";
                Some(if self.found.holds(SANDBOX) {
                    FieldReason::Equals(what)
                } else {
                    FieldReason::Open(what)
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
