//! Schemas of a step's outputs, in the language of parameters.

use serde_json::{Map, Value, json};

use crate::{ParameterSchema, SchemaFlaw, pointer};
use documents::{Malformed, StepOutput};

/// Keywords that the schema of a parameter can have, but not the schema of an output: a run gives the value itself, and
/// the value is stored with the receipt.
const ONLY_OF_PARAMETERS: [&str; 2] = ["default", "x-secret"];

/// Compiles the schema of the object that contains the outputs of a step. Every output is optional.
///
/// # Errors
/// Returns an error for the first schema that is outside the subset, with its place in the definition.
pub fn output_schema(outputs: &[StepOutput]) -> Result<ParameterSchema, Malformed> {
    let mut properties = Map::new();
    for (at, output) in outputs.iter().enumerate() {
        if let Some(keyword) = ONLY_OF_PARAMETERS
            .iter()
            .find(|keyword| output.schema.get(**keyword).is_some())
        {
            let message =
                format!("the schema of an output can't have `{keyword}`: leave the keyword out");
            return Err(Malformed::at(
                format!("/step/outputs/{at}/schema/{keyword}"),
                message,
            ));
        }
        properties.insert(output.name.to_string(), output.schema.clone());
    }
    let schema = json!({"type": "object", "properties": Value::Object(properties)});
    ParameterSchema::compile(&schema).map_err(|flaws| first(outputs, flaws))
}

/// Returns the first flaw with its place in the definition.
fn first(outputs: &[StepOutput], flaws: Vec<SchemaFlaw>) -> Malformed {
    let Some(flaw) = flaws.into_iter().next() else {
        return Malformed::at("/step/outputs", "the schemas of the outputs are invalid");
    };
    let name = flaw.path.get(1).map_or("", String::as_str);
    let place = match outputs
        .iter()
        .position(|output| output.name.as_str() == name)
    {
        Some(at) if flaw.of_key && flaw.path.len() == 2 => format!("/step/outputs/{at}/name"),
        Some(at) => format!("/step/outputs/{at}/schema{}", pointer(&flaw.path[2..])),
        None => "/step/outputs".to_owned(),
    };
    Malformed::at(place, flaw.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(outputs: &Value) -> Result<ParameterSchema, Malformed> {
        let outputs: Vec<StepOutput> = serde_json::from_value(outputs.clone()).expect("outputs");
        output_schema(&outputs)
    }

    #[test]
    fn an_output_has_the_schema_of_a_text_an_integer_or_a_boolean() {
        let schema = compiled(&json!([
            {"name": "id", "schema": {"type": "string", "pattern": "^[a-z]+$"}},
            {"name": "size", "schema": {"type": "integer", "minimum": 1}},
        ]));
        let schema = schema.expect("within the subset");
        assert!(
            schema.check(&json!({"id": "abc"})).is_ok(),
            "an output is optional"
        );
        for wrong in [
            json!({"id": "ABC"}),
            json!({"size": 0}),
            json!({"other": 1}),
            json!({"id": "-rf"}),
        ] {
            assert!(schema.check(&wrong).is_err(), "{wrong}");
        }
        for (outputs, place) in [
            (
                json!([{"name": "id", "schema": {"type": "string", "default": "x"}}]),
                "/step/outputs/0/schema/default",
            ),
            (
                json!([{"name": "id", "schema": {"type": "string", "x-secret": true}}]),
                "/step/outputs/0/schema/x-secret",
            ),
            (
                json!([{"name": "id", "schema": {"type": "string", "pattern": "x"}}]),
                "/step/outputs/0/schema/pattern",
            ),
            (
                json!([{"name": "id", "schema": {"type": "string", "colour": 1}}]),
                "/step/outputs/0/schema/colour",
            ),
        ] {
            assert_eq!(compiled(&outputs).expect_err(place).pointer, place);
        }
    }
}
