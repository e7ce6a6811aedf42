//! Declarations of a step's outputs.

use crate::{ParameterError, ParameterSchema};
use documents::{Malformed, Parameter, StepOutput};

/// Checks the declaration of the object that contains the outputs of a step. Every output is optional. A run gives the value
/// itself, and the value is stored with the receipt, so an output has no default and is not secret.
///
/// # Errors
/// Returns the first error, with its place in the definition.
pub fn output_schema(outputs: &[StepOutput]) -> Result<ParameterSchema, Malformed> {
    for (at, output) in outputs.iter().enumerate() {
        for (word, is_there) in [
            ("default", output.schema.default.is_some()),
            ("x-secret", output.schema.secret.is_some()),
        ] {
            if is_there {
                let message =
                    format!("an output can't have `{word}`: leave the word out");
                return Err(Malformed::at(
                    format!("/step/outputs/{at}/schema/{word}"),
                    message,
                ));
            }
        }
    }
    let properties = outputs
        .iter()
        .map(|output| (output.name.to_string(), output.schema.clone()));
    let declared = Parameter::object(properties.collect(), Vec::new());
    ParameterSchema::compile(&declared).map_err(|flaws| first(outputs, flaws))
}

/// Returns the first flaw with its place in the definition.
fn first(outputs: &[StepOutput], flaws: Vec<ParameterError>) -> Malformed {
    let Some(flaw) = flaws.into_iter().next() else {
        return Malformed::at("/step/outputs", "the schemas of the outputs are invalid");
    };
    // The pointer is `/properties/NAME` and the place in the schema.
    let mut tokens = flaw.pointer.splitn(4, '/').skip(2);
    let name = tokens.next().unwrap_or_default();
    let inner = tokens
        .next()
        .map_or(String::new(), |inner| format!("/{inner}"));
    let mut names = outputs.iter().map(|output| output.name.as_str());
    let place = match names.position(|one| one == name) {
        Some(at) if inner.is_empty() => format!("/step/outputs/{at}"),
        Some(at) => format!("/step/outputs/{at}/schema{inner}"),
        None => "/step/outputs".to_owned(),
    };
    Malformed::at(place, flaw.message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let schema = schema.expect("no error");
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
        ] {
            assert_eq!(compiled(&outputs).expect_err(place).pointer, place);
        }
    }
}
