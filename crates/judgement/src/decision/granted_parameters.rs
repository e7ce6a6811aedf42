//! The schemas of the parameters that a grant permits.

use serde_json::Value;

use crate::registry::parameter_schema::ParameterSchema;
use crate::registry::schema_keywords::{escape, pointer};
use documents::record::grant::Grant;
use documents::record::malformed::Malformed;

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
                return Err(Malformed::at(format!("{at}{below}"), format!("a grant has no `{keyword}`: remove it")));
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
    #[must_use]
    pub fn of_step(&self, at: usize) -> Option<&ParameterSchema> {
        self.0.get(at)
    }
}

/// Returns the pointer of the schema of a step.
pub(super) fn place(at: usize) -> String {
    format!("/predicate/steps/{at}/params")
}

/// Returns the place of the first forbidden keyword.
fn forbidden(schema: &Value, at: String) -> Option<(String, &'static str)> {
    let map = schema.as_object()?;
    if let Some(keyword) = FORBIDDEN.into_iter().find(|keyword| map.contains_key(*keyword)) {
        return Some((format!("{at}/{keyword}"), keyword));
    }
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut below = properties.map(|(name, schema)| (format!("{at}/properties/{}", escape(name)), schema));
    below.find_map(|(at, schema)| forbidden(schema, at)).or_else(|| forbidden(map.get("items")?, format!("{at}/items")))
}

/// Returns the names of the outermost parameters of a schema.
fn names(schema: &Value) -> impl Iterator<Item = &String> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name)
}

/// Returns the first parameter that only one of the two schemas names.
pub(super) fn differing_name<'a>(granted: &'a Value, of_step: &'a Value) -> Option<&'a String> {
    let lacks = |schema: &Value, name: &str| schema["properties"].get(name).is_none();
    names(of_step).find(|name| lacks(granted, name)).or_else(|| names(granted).find(|name| lacks(of_step, name)))
}
