//! The schemas of the parameters that a grant permits.

use serde_json::{Value, json};

use crate::GrantError;
use documents::{Grant, Malformed, StepDefinition};
use reading::{ParameterSchema, escape, pointer};

/// Keywords of a parameter schema that no schema of a grant has: nothing is computed, and no secret can be narrowed.
const FORBIDDEN: [&str; 2] = ["default", "x-secret"];

/// The schemas of a grant, each in the subset of section 10 of the formats. Only [`GrantedSchemas::of`] constructs this
/// value.
#[derive(Debug)]
pub struct GrantedSchemas(pub(super) Vec<ParameterSchema>);

impl GrantedSchemas {
    /// Compiles the schema of each step.
    ///
    /// # Errors
    /// Returns the first error, with a pointer into the payload of the grant.
    pub fn of(grant: &Grant) -> Result<Self, Malformed> {
        let schemas = grant.steps.iter().enumerate().map(|(at, granted)| {
            let at = place(at);
            if let Some((below, keyword)) = forbidden(&granted.params, String::new()) {
                return Err(Malformed::at(
                    format!("{at}{below}"),
                    format!("a grant has no `{keyword}`: remove it"),
                ));
            }
            ParameterSchema::compile(&granted.params).map_err(|flaws| {
                let flaw = flaws.into_iter().next();
                flaw.map_or_else(
                    || Malformed::at(at.clone(), "the schema is invalid"),
                    |flaw| Malformed::at(format!("{at}{}", pointer(&flaw.path)), flaw.message),
                )
            })
        });
        schemas.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the schema of the step at this index of the grant.
    pub fn of_step(&self, at: usize) -> Option<&ParameterSchema> {
        self.0.get(at)
    }
}

/// Checks that a run of a step can use the grant, as far as types, listed values and bounds show it.
///
/// # Errors
/// Returns the first parameter of which no value satisfies both the grant and the step.
pub fn check_usable(
    grant: &Grant,
    index: usize,
    definition: &StepDefinition,
) -> Result<(), GrantError> {
    let (granted, step) = (&grant.steps[index].params, &grant.steps[index].reference);
    let unusable = |name: &&String| {
        let (own, of_step) = (
            &granted["properties"][name.as_str()],
            &definition.params["properties"][name.as_str()],
        );
        !may_agree(own, of_step)
    };
    match names(granted).find(unusable) {
        None => Ok(()),
        Some(name) => Err(GrantError::not_covered(
            format!("{}/properties/{}", place(index), escape(name)),
            format!(
                "no run can use the grant, because the step {step} permits none of these values of {name}"
            ),
        )),
    }
}

/// Returns false if no value can satisfy both schemas. Patterns are not compared with each other.
fn may_agree(one: &Value, other: &Value) -> bool {
    let whole = |schema: &Value| {
        ParameterSchema::compile(
            &json!({"type": "object", "properties": {"value": schema}, "required": ["value"]}),
        )
        .ok()
    };
    let listed = |schema: &Value| match schema.get("const") {
        Some(only) => Some(vec![only.clone()]),
        None => schema["enum"].as_array().cloned(),
    };
    let permits = |schema: &Value, value: &Value| {
        whole(schema).is_some_and(|whole| whole.complete(json!({"value": value})).is_ok())
    };
    if let Some(values) = listed(one).or_else(|| listed(other)) {
        return values
            .iter()
            .any(|value| permits(one, value) && permits(other, value));
    }
    // A schema whose smallest bound is above its largest one is invalid.
    let mut both = one.clone();
    for (name, bound) in other
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "default")
    {
        both[name] = match (both[name].as_i64(), bound.as_i64()) {
            (Some(known), Some(bound)) if name.contains("ax") => known.min(bound).into(),
            (Some(known), Some(bound)) => known.max(bound).into(),
            _ => bound.clone(),
        };
    }
    one["type"] == other["type"] && whole(&both).is_some()
}

/// Returns the pointer of the schema of a step.
pub(super) fn place(at: usize) -> String {
    format!("/predicate/steps/{at}/params")
}

/// Returns the place of the first forbidden keyword.
fn forbidden(schema: &Value, at: String) -> Option<(String, &'static str)> {
    let map = schema.as_object()?;
    if let Some(keyword) = FORBIDDEN
        .into_iter()
        .find(|keyword| map.contains_key(*keyword))
    {
        return Some((format!("{at}/{keyword}"), keyword));
    }
    let properties = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut below =
        properties.map(|(name, schema)| (format!("{at}/properties/{}", escape(name)), schema));
    below
        .find_map(|(at, schema)| forbidden(schema, at))
        .or_else(|| forbidden(map.get("items")?, format!("{at}/items")))
}

/// Returns the names of the outermost parameters of a schema.
fn names(schema: &Value) -> impl Iterator<Item = &String> {
    schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
}

/// Returns the first parameter that only one of the two schemas names.
pub(super) fn differing_name<'a>(granted: &'a Value, of_step: &'a Value) -> Option<&'a String> {
    let lacks = |schema: &Value, name: &str| schema["properties"].get(name).is_none();
    names(of_step)
        .find(|name| lacks(granted, name))
        .or_else(|| names(granted).find(|name| lacks(of_step, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_without_a_common_value_is_found() {
        let text = json!({"type": "string", "pattern": "^[a-z]+$", "maxLength": 5});
        let number = json!({"type": "integer", "minimum": 3});
        let listed = json!({"type": "string", "enum": ["a", "b"]});
        for (one, other, agree) in [
            (json!({"type": "string"}), &text, true),
            (json!({"type": "integer"}), &text, false),
            (json!({"type": "string", "const": "shop"}), &text, true),
            (json!({"type": "string", "const": "Shop"}), &text, false),
            (json!({"type": "string", "enum": ["A", "b"]}), &text, true),
            (json!({"type": "string", "enum": ["A", "B"]}), &text, false),
            (
                json!({"type": "string", "enum": ["-a"]}),
                &json!({"type": "string"}),
                false,
            ),
            (json!({"type": "string", "minLength": 6}), &text, false),
            (
                json!({"type": "string", "pattern": "^[c-z]$"}),
                &listed,
                false,
            ),
            (
                json!({"type": "string", "pattern": "^[b-z]$"}),
                &listed,
                true,
            ),
            (
                json!({"type": "string", "pattern": "^[a-z]{1,3}$"}),
                &json!({"type": "string", "default": "hello"}),
                true,
            ),
            (json!({"type": "integer", "maximum": 3}), &number, true),
            (json!({"type": "integer", "maximum": 2}), &number, false),
            (
                json!({"type": "boolean"}),
                &json!({"type": "boolean"}),
                true,
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
                &json!({"type": "array", "items": {"type": "string"}, "minItems": 2}),
                false,
            ),
        ] {
            assert_eq!(may_agree(&one, other), agree, "{one} {other}");
        }
    }
}
