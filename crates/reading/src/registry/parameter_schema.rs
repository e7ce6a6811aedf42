//! Parameters: validation, defaults and the variables of a step.
//!
//! [`crate::registry::schema_keywords`] checks schemas, and `crate::registry::evaluate` checks values. A string that
//! begins with `-` could become an option of a command, so it is refused unless its schema has `x-leading-dash: true`.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    ParameterError, SchemaFlaw, pointer,
    registry::{
        evaluate::evaluate,
        parameter_pattern::ParameterPatterns,
        schema_keywords::{self, MAX_INTEGER},
    },
};
use documents::{MAX_PARAMS_BYTES, ParamsDigest, canonical_of, parameter_variable, to_canonical};

/// Schema within the closed subset of JSON Schema.
#[derive(Debug, Clone)]
pub struct ParameterSchema {
    schema: Arc<Value>,
    patterns: Arc<ParameterPatterns>,
}

/// Complete and valid parameters, which the approvers sign and the step gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    value: Value,
    digest: ParamsDigest,
}

impl Params {
    /// Returns the parameters as a JSON object.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the digest of the parameters.
    pub const fn digest(&self) -> ParamsDigest {
        self.digest
    }
}

impl ParameterSchema {
    /// Checks that `schema` describes an object and is within the closed subset.
    ///
    /// # Errors
    /// Returns an error for each part that is outside the subset or contradicts another part.
    pub fn compile(schema: &Value) -> Result<Self, Vec<SchemaFlaw>> {
        Self::shared(Arc::new(schema.clone()), Arc::default())
    }

    /// Checks a schema like [`Self::compile`], but shares the compiled patterns with other schemas.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::compile`].
    pub(crate) fn shared(
        schema: Arc<Value>,
        patterns: Arc<ParameterPatterns>,
    ) -> Result<Self, Vec<SchemaFlaw>> {
        let _closed = schema_keywords::check(&schema, &patterns)?;
        let mut flaws = Vec::new();
        check_defaults(&schema, &patterns, &mut Vec::new(), &mut flaws);
        if flaws.is_empty() {
            Ok(Self { schema, patterns })
        } else {
            Err(flaws)
        }
    }

    /// Returns the schema as the step's definition contains it.
    pub const fn schema(&self) -> &Arc<Value> {
        &self.schema
    }

    /// Adds the defaults to the parameters of a proposer, and validates the result, which approvers sign.
    ///
    /// # Errors
    /// Returns all errors of the parameters.
    pub fn complete(&self, given: Value) -> Result<Params, Vec<ParameterError>> {
        let mut value = given;
        let mut errors = Vec::new();
        check_plain(&value, &mut Vec::new(), &mut errors);
        if errors.is_empty() {
            fill(&self.schema, &mut value);
            errors = evaluate(&self.schema, &value, &self.patterns);
            check_dashes(&self.schema, &value, &mut Vec::new(), &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let whole = |message: String| {
            vec![ParameterError {
                pointer: String::new(),
                message,
            }]
        };
        let canonical = canonical_of(&value).map_err(|error| whole(error.to_string()))?;
        if canonical.len() > MAX_PARAMS_BYTES {
            return Err(whole(format!(
                "the parameters have {} bytes as canonical JSON, but at most {MAX_PARAMS_BYTES} are allowed: pass \
                 large data in another way",
                canonical.len()
            )));
        }
        Ok(Params {
            digest: ParamsDigest::of(&canonical),
            value,
        })
    }

    /// Validates parameters that must already be complete, for example signed parameters.
    ///
    /// # Errors
    /// Returns all errors of the parameters. A missing parameter is an error even if the parameter has a default.
    pub fn check(&self, value: &Value) -> Result<Params, Vec<ParameterError>> {
        let params = self.complete(value.clone())?;
        if params.value == *value {
            return Ok(params);
        }
        Err(vec![ParameterError {
            pointer: missing_default(value, &params.value, &mut Vec::new()),
            message:
                "a value is missing and has no default, but signed parameters must be complete"
                    .to_owned(),
        }])
    }
}

/// Checks that every default fits its own schema. The missing defaults inside an object or a list are added first.
fn check_defaults(
    schema: &Value,
    patterns: &ParameterPatterns,
    path: &mut Vec<String>,
    flaws: &mut Vec<SchemaFlaw>,
) {
    if let Some(default) = schema.get("default") {
        let mut value = default.clone();
        fill(schema, &mut value);
        let mut errors = Vec::new();
        check_plain(&value, &mut Vec::new(), &mut errors);
        check_dashes(schema, &value, &mut Vec::new(), &mut errors);
        errors.extend(evaluate(schema, &value, patterns));
        if let Some(error) = errors.first() {
            flaws.push(SchemaFlaw {
                path: [path.as_slice(), &["default".to_owned()]].concat(),
                of_key: false,
                message: format!("the default does not fit the schema of the parameter: {error}"),
            });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.extend(["properties".to_owned(), name.clone()]);
        check_defaults(property, patterns, path, flaws);
        path.truncate(path.len() - 2);
    }
    if let Some(items) = schema.get("items") {
        path.push("items".to_owned());
        check_defaults(items, patterns, path, flaws);
        path.pop();
    }
}

/// Returns the environment variables for the parameters: `PARAM_<NAME>`, sorted by name.
///
/// In the name, letters become upper case and `-` becomes `_`, so `hostName` becomes `PARAM_HOSTNAME`. A string is
/// written without change, any other value as canonical JSON.
pub fn environment(params: &Value) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = params
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                other => String::from_utf8_lossy(&to_canonical(other)).into_owned(),
            };
            (parameter_variable(name), text)
        })
        .collect();
    variables.sort();
    variables
}

/// Adds every default of `schema` that is missing in `value`, also inside lists and objects.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(given) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if !given.contains_key(name)
                    && let Some(default) = property.get("default")
                {
                    given.insert(name.clone(), default.clone());
                }
                if let Some(inner) = given.get_mut(name) {
                    fill(property, inner);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                fill(&schema["items"], item);
            }
        }
        _ => {}
    }
}

/// Checks the rules for every value: no null, no NUL characters, no fractions and no deep nesting.
fn check_plain(value: &Value, path: &mut Vec<String>, errors: &mut Vec<ParameterError>) {
    let mut refuse = |path: &[String], message: &str| {
        errors.push(ParameterError {
            pointer: pointer(path),
            message: message.to_owned(),
        });
    };
    match value {
        Value::String(text) if text.contains('\0') => {
            refuse(
                path,
                "the text contains a NUL character, which an environment variable can't contain: remove the character",
            );
        }
        Value::Number(number)
            if number
                .as_i64()
                .is_none_or(|number| number.unsigned_abs() > MAX_INTEGER) =>
        {
            refuse(
                path,
                "only whole numbers within +-(2^53-1) are allowed: give a fraction as text",
            );
        }
        Value::Null => refuse(path, "null is not a value: leave out the parameter"),
        Value::Array(items) if path.len() < MAX_VALUE_DEPTH => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                check_plain(item, path, errors);
                path.pop();
            }
        }
        Value::Object(entries) if path.len() < MAX_VALUE_DEPTH => {
            for (name, item) in entries {
                path.push(name.clone());
                check_plain(item, path, errors);
                path.pop();
            }
        }
        Value::Array(_) | Value::Object(_) => {
            refuse(path, "the value is nested too deep: reduce the nesting")
        }
        _ => {}
    }
}

/// Refuses text that begins with `-`, because such text could become an option of a command (promise 6 in
/// `docs/security-claims.md`).
fn check_dashes(
    schema: &Value,
    value: &Value,
    path: &mut Vec<String>,
    errors: &mut Vec<ParameterError>,
) {
    match value {
        Value::String(text)
            if text.starts_with('-')
                && schema.get("x-leading-dash") != Some(&Value::Bool(true)) =>
        {
            errors.push(ParameterError {
                pointer: pointer(path),
                message: "the text begins with `-`, so a program could use the text as an option: remove the dash; the \
                          author of the runbook can allow it, in Countersign Markdown with `x-leading-dash: true`, in a \
                          Gruntwork page with an enum or a `regex` that begins with ^-"
                    .to_owned(),
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                check_dashes(&schema["items"], item, path, errors);
                path.pop();
            }
        }
        Value::Object(entries) => {
            for (name, item) in entries {
                path.push(name.clone());
                check_dashes(&schema["properties"][name], item, path, errors);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Returns the JSON pointer to the first part of `complete` that is missing in `value`.
fn missing_default(value: &Value, complete: &Value, path: &mut Vec<String>) -> String {
    let children: Vec<(String, Option<&Value>, &Value)> = match (value, complete) {
        (Value::Object(a), Value::Object(b)) => b
            .iter()
            .map(|(name, v)| (name.clone(), a.get(name), v))
            .collect(),
        (Value::Array(a), Value::Array(b)) => b
            .iter()
            .enumerate()
            .map(|(index, v)| (index.to_string(), a.get(index), v))
            .collect(),
        _ => Vec::new(),
    };
    for (name, ours, theirs) in children {
        path.push(name);
        match ours {
            None => return pointer(path),
            Some(ours) if ours != theirs => return missing_default(ours, theirs, path),
            Some(_) => {}
        }
        path.pop();
    }
    pointer(path)
}

/// Maximum nesting depth of a value, as in the strict JSON parser.
const MAX_VALUE_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn compile(properties: Value, required: &[&str]) -> ParameterSchema {
        ParameterSchema::compile(
            &json!({"type": "object", "properties": properties, "required": required}),
        )
        .expect("a schema")
    }

    #[test]
    fn the_golden_parameters_have_their_known_digest() {
        let schema = compile(
            json!({"drain": {"default": true, "type": "boolean"}, "host": {"pattern": "^[a-z0-9-]{1,32}$", "type": "string"}}),
            &["host"],
        );
        let params = schema.complete(json!({"host": "web-3"})).expect("valid");
        assert_eq!(
            to_canonical(params.value()),
            br#"{"drain":true,"host":"web-3"}"#
        );
        assert_eq!(
            params.digest().to_string(),
            "sha256:14543be370b62713c78e768c1bb831f932285b3fc617d8fe67ea7e1aa0d74f27"
        );
        assert_eq!(schema.check(params.value()).as_ref(), Ok(&params));
        let incomplete = schema
            .check(&json!({"host": "web-3"}))
            .expect_err("incomplete");
        assert_eq!(incomplete[0].pointer, "/drain");
        assert_eq!(
            environment(params.value()),
            [
                ("PARAM_DRAIN".to_owned(), "true".to_owned()),
                ("PARAM_HOST".to_owned(), "web-3".to_owned())
            ]
        );
    }

    #[test]
    fn a_fraction_and_a_number_outside_of_53_bits_are_refused() {
        let schema = compile(json!({"n": {"type": "integer"}}), &[]);
        for number in [
            json!(1.0),
            json!(9_007_199_254_740_992_i64),
            json!(u64::MAX),
        ] {
            let errors = schema
                .complete(json!({"n": number}))
                .expect_err("no whole number");
            assert!(
                errors[0].to_string().starts_with("/n: only whole numbers"),
                "{errors:?}"
            );
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            "[-a-z\\x00\n]{0,6}".prop_map(Value::from),
            (-5_i64..5).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            prop::collection::vec("[-a-z]{0,3}".prop_map(Value::from), 0..3).prop_map(Value::from),
            Just(json!({})),
            Just(json!({"x": "-a"})),
            Just(json!(1.5)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn completed_parameters_do_not_change_again_and_contain_no_text_with_a_leading_dash(
            given in prop::collection::btree_map("a|b|c|d|e", any_value(), 0..5)
        ) {
            let schema = compile(json!({
                "a": {"type": "string", "default": "x"},
                "b": {"type": "integer"},
                "c": {"type": "array", "items": {"type": "string"}, "default": ["y"]},
                "d": {"type": "object", "properties": {"x": {"type": "string", "default": "z"}}, "default": {}}
            }), &[]);
            if let Ok(params) = schema.complete(json!(given)) {
                prop_assert_eq!(schema.complete(params.value().clone()), Ok(params.clone()));
                prop_assert_eq!(schema.check(params.value()), Ok(params.clone()));
                let text = params.value().to_string();
                prop_assert!(!text.contains("\"-"), "{}", text);
                prop_assert!(params.value()["d"]["x"].is_string());
            }
        }

        #[test]
        fn two_parameters_never_have_the_same_variable_name(names in prop::collection::btree_set("[a-bA-B_-]{1,3}", 1..5)) {
            let properties: Map<String, Value> =
                names.iter().map(|name| (name.clone(), json!({"type": "string", "default": "v"}))).collect();
            if let Ok(schema) = ParameterSchema::compile(&json!({"type": "object", "properties": properties})) {
                let params = schema.complete(json!({})).expect("all have defaults");
                let variables: std::collections::BTreeSet<String> =
                    environment(params.value()).into_iter().map(|(name, _)| name).collect();
                prop_assert_eq!(variables.len(), names.len());
                prop_assert!(variables.iter().all(|name| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')));
            }
        }

        #[test]
        fn no_pattern_causes_a_panic(pattern in "[\\^\\\\$()\\[\\]|?:=!<a-c{},0-9]{0,16}") {
            let _ = ParameterSchema::compile(
                &json!({"type": "object", "properties": {"a": {"type": "string", "pattern": format!("^{pattern}$")}}}),
            )
            .map(|schema| schema.complete(json!({"a": "abc"})).is_ok());
        }
    }
}
