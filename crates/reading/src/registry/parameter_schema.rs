//! Parameters: validation, defaults and the variables of a step.
//!
//! [`crate::registry::declarations`] checks declarations, and `crate::registry::evaluate` checks values. A string that
//! begins with `-` could become an option of a command, so it is refused unless its declaration has `x-leading-dash: true`.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    ParameterError,
    registry::{
        declarations,
        evaluate::{ParameterPatterns, evaluate},
    },
};
use documents::{
    MAX_PARAMS_BYTES, Malformed, Parameter, ParamsDigest, canonical_of, check_no_null, json,
    parameter_variable, to_canonical,
};

/// Checked declaration of the parameters of a step.
#[derive(Debug, Clone)]
pub struct ParameterSchema {
    declared: Arc<Parameter>,
    patterns: Arc<ParameterPatterns>,
}

/// Complete and valid parameters, which the approvers sign and the step gets.
#[derive(Debug, Clone, PartialEq)]
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
    pub fn digest(&self) -> ParamsDigest {
        self.digest
    }
}

impl ParameterSchema {
    /// Checks that no word of the declaration contradicts another one.
    ///
    /// # Errors
    /// Returns every error, with its place in the declaration.
    pub fn compile(declared: &Parameter) -> Result<Self, Vec<ParameterError>> {
        Self::shared(Arc::new(declared.clone()), Arc::default())
    }

    /// Reads and checks a declaration.
    ///
    /// # Errors
    /// Returns all wrong words and types of parameters. Without such an error, returns the first value of another type, or
    /// the errors of [`Self::compile`].
    pub fn parse(written: &Value) -> Result<Self, Vec<ParameterError>> {
        let flaws = declarations::check_words(written, "");
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let read = json::typed(written).map_err(Malformed::from);
        let read = read.and_then(|read: Parameter| check_no_null(written, &read).map(|()| read));
        let declared = read.map_err(|error| {
            let (pointer, message) = (error.pointer, error.message);
            vec![ParameterError { pointer, message }]
        })?;
        Self::shared(Arc::new(declared), Arc::default())
    }

    /// Checks a declaration like [`Self::compile`], but shares the compiled patterns with other declarations.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::compile`].
    pub(crate) fn shared(
        declared: Arc<Parameter>,
        patterns: Arc<ParameterPatterns>,
    ) -> Result<Self, Vec<ParameterError>> {
        let flaws = declarations::check(&declared, &patterns);
        if flaws.is_empty() {
            Ok(Self { declared, patterns })
        } else {
            Err(flaws)
        }
    }

    /// Returns the declaration as the step's definition contains it.
    pub fn declared(&self) -> &Arc<Parameter> {
        &self.declared
    }

    /// Adds the defaults to the parameters of a proposer, and validates the result, which approvers sign.
    ///
    /// # Errors
    /// Returns all errors of the parameters.
    pub fn complete(&self, given: Value) -> Result<Params, Vec<ParameterError>> {
        self.evaluated(given, true)
    }

    /// Validates parameters that must already be complete, for example signed parameters.
    ///
    /// # Errors
    /// Returns all errors of the parameters. A missing parameter is an error even if the parameter has a default.
    pub fn check(&self, value: &Value) -> Result<Params, Vec<ParameterError>> {
        self.evaluated(value.clone(), false)
    }

    fn evaluated(&self, mut value: Value, fill: bool) -> Result<Params, Vec<ParameterError>> {
        let errors = evaluate(&self.declared, &mut value, fill, &self.patterns);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn compile(properties: Value, required: &[&str]) -> ParameterSchema {
        ParameterSchema::parse(
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
            if let Ok(schema) = ParameterSchema::parse(&json!({"type": "object", "properties": properties})) {
                let params = schema.complete(json!({})).expect("all have defaults");
                let variables: std::collections::BTreeSet<String> =
                    environment(params.value()).into_iter().map(|(name, _)| name).collect();
                prop_assert_eq!(variables.len(), names.len());
                prop_assert!(variables.iter().all(|name| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')));
            }
        }

        #[test]
        fn no_pattern_causes_a_panic(pattern in "[\\^\\\\$()\\[\\]|?:=!<a-c{},0-9]{0,16}") {
            let _ = ParameterSchema::parse(
                &json!({"type": "object", "properties": {"a": {"type": "string", "pattern": format!("^{pattern}$")}}}),
            )
            .map(|schema| schema.complete(json!({"a": "abc"})).is_ok());
        }
    }
}
