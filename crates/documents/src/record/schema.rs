//! JSON Schemas that accept exactly the documents that the program accepts.
//!
//! Derived schemas would allow more, such as `null` for an absent field, and integers of 64 bits. Here an optional
//! field is absent or has its type, and no integer is beyond 2^53-1.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;

use crate::MAX_INTEGER;

/// Returns the settings with which every schema and the OpenAPI description are generated (JSON Schema 2020-12).
pub fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with_transform(RecursiveTransform(as_read))
}

/// Pattern of base64 in the standard alphabet, with padding and without stray bits at the end. Documents contain base64
/// only in this form.
pub const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

fn as_read(schema: &mut Schema) {
    without_null(schema);
    if schema.get("type").and_then(Value::as_str) == Some("integer") {
        let most = schema
            .get("maximum")
            .and_then(Value::as_u64)
            .unwrap_or(u64::MAX);
        schema.insert("maximum".to_owned(), most.min(MAX_INTEGER).into());
        if schema.get("minimum").is_none() {
            schema.insert("minimum".to_owned(), (-MAX_INTEGER.cast_signed()).into());
        }
        // The ranges express the limits of `format`, in keywords that every validator knows.
        schema.remove("format");
    }
}

/// Removes `null` from the schema of an optional field.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
    if choices.len() == 1
        && let Some(Value::Array(mut only)) = schema.remove("anyOf")
        && let Some(Value::Object(only)) = only.pop()
    {
        for (key, value) in only {
            // The description of a field has priority over the description of its type.
            if schema.get(&key).is_none() {
                schema.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inner {
        size: u64,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Sample {
        text: Option<String>,
        /// About it.
        inner: Option<Inner>,
        code: Option<u8>,
        signed: i64,
    }

    #[test]
    fn an_optional_field_is_never_null_and_integers_are_bounded() {
        let schema = settings()
            .into_generator()
            .into_root_schema_for::<Sample>()
            .to_value();
        let of = |name: &str| schema["properties"][name].clone();
        assert_eq!(of("text"), json!({"type": "string"}));
        assert_eq!(
            of("inner"),
            json!({"$ref": "#/$defs/Inner", "description": "About it."})
        );
        assert_eq!(
            of("code"),
            json!({"type": "integer", "minimum": 0, "maximum": 255})
        );
        let most = 9_007_199_254_740_991_i64;
        assert_eq!(
            of("signed"),
            json!({"type": "integer", "minimum": -most, "maximum": most})
        );
        assert_eq!(
            schema["$defs"]["Inner"]["properties"]["size"],
            json!({"type": "integer", "minimum": 0, "maximum": most})
        );
        assert_eq!(schema["required"], json!(["signed"]));
    }
}
