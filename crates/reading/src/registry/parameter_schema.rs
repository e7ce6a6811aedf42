//! Parameters: validation, defaults and the variables of a step.
//!
//! This file checks declarations: no word of a declaration contradicts another word. `crate::registry::evaluate` checks
//! values. A string that begins with `-` could become an option of a command, so it is refused unless its declaration
//! has `x-leading-dash: true`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    ParameterError, escape,
    registry::evaluate::{ParameterPatterns, evaluate, key_names},
    yaml,
};
use documents::{
    MAX_PARAMS_BYTES, Malformed, Parameter, ParameterType, ParamsDigest, canonical_of,
    check_no_null, json, parameter_variable, to_canonical,
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
    /// Returns all unknown words, and all wrong or missing types of parameters. If there are none, returns the first
    /// word whose value has a wrong type, or the errors of [`Self::compile`].
    pub fn parse(written: &Value) -> Result<Self, Vec<ParameterError>> {
        let flaws = check_words(written, "");
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
        let flaws = check_declaration(&declared, &patterns);
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

/// Returns every error of the declaration of all parameters of a step.
fn check_declaration(all: &Parameter, patterns: &ParameterPatterns) -> Vec<ParameterError> {
    let mut checker = Checker {
        patterns,
        flaws: Vec::new(),
        declarations: 0,
        depth: 0,
    };
    if all.kind != ParameterType::Object {
        checker.flaw(
            "",
            "the declaration of all parameters must be an object: write `type: object` and `properties`",
        );
        return checker.flaws;
    }
    checker.check(all, "");
    let mut variables: BTreeMap<String, &String> = BTreeMap::new();
    for (name, _) in all.keys() {
        let variable = parameter_variable(name);
        if let Some(first) = variables.get(&variable) {
            let message = format!(
                "{name:?} and {first:?} both become the variable {variable}: rename one of the two parameters"
            );
            checker.flaw(&format!("/properties/{}", escape(name)), message);
        }
        variables.insert(variable, name);
    }
    if all.default.is_some() {
        checker.flaw(
            "/default",
            "the parameters as a whole can't have a default: write a default for each parameter",
        );
    }
    checker.flaws
}

/// Returns every wrong word, and every wrong or missing type. The typed reader would report only the first one.
fn check_words(written: &Value, at: &str) -> Vec<ParameterError> {
    let mut flaws = Vec::new();
    let types = ParameterType::ALL.map(ParameterType::word);
    if written.is_object() && written.get("type").is_none() {
        let message = format!("`type` is missing: write one of {}", types.join(", "));
        let pointer = at.to_owned();
        flaws.push(ParameterError { pointer, message });
    }
    for (word, value) in written.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{}", escape(word));
        let instead = |remedy: &str| format!("`{word}` is not supported: write {remedy}");
        let message = match (word.as_str(), value) {
            ("properties", Value::Object(inner)) => {
                for (name, one) in inner {
                    flaws.extend(check_words(one, &format!("{pointer}/{}", escape(name))));
                }
                continue;
            }
            ("items", inner) => {
                flaws.extend(check_words(inner, &pointer));
                continue;
            }
            ("type", Value::String(kind)) if kind == "number" => {
                "`type: number` is not supported: write `type: integer`, or `type: string` with a pattern for a fraction"
                    .to_owned()
            }
            ("type", Value::String(kind)) if !types.contains(&kind.as_str()) => {
                yaml::unknown("type", kind, &types)
            }
            ("const", _) => instead("`enum` with this one value"),
            ("exclusiveMinimum", _) => instead("`minimum`"),
            ("exclusiveMaximum", _) => instead("`maximum`"),
            ("$ref", _) => instead("the schema itself"),
            ("additionalProperties", _) => format!("`{word}` is always false: remove `{word}`"),
            (other, _) if !WORDS.contains(&other) => {
                yaml::unknown("word of a declaration", other, &WORDS)
            }
            _ => continue,
        };
        flaws.push(ParameterError { pointer, message });
    }
    flaws
}

struct Checker<'p> {
    patterns: &'p ParameterPatterns,
    flaws: Vec<ParameterError>,
    declarations: usize,
    depth: usize,
}

impl Checker<'_> {
    fn check(&mut self, one: &Parameter, at: &str) {
        self.declarations += 1;
        if self.declarations > MAX_DECLARATIONS || self.depth > MAX_DEPTH {
            if self.declarations <= MAX_DECLARATIONS + 1 {
                let message = format!(
                    "more than {MAX_DECLARATIONS} declarations, or nested deeper than {MAX_DEPTH}: make the parameters simpler"
                );
                self.flaw(at, message);
            }
            return;
        }
        let (kind, before) = (one.kind, self.flaws.len());
        for (word, is_there, of_kind) in [
            ("pattern", one.pattern.is_some(), ParameterType::String),
            ("minLength", one.min_length.is_some(), ParameterType::String),
            ("maxLength", one.max_length.is_some(), ParameterType::String),
            (
                "x-leading-dash",
                one.leading_dash.is_some(),
                ParameterType::String,
            ),
            ("x-secret", one.secret.is_some(), ParameterType::String),
            ("minimum", one.minimum.is_some(), ParameterType::Integer),
            ("maximum", one.maximum.is_some(), ParameterType::Integer),
            ("items", one.items.is_some(), ParameterType::Array),
            ("minItems", one.min_items.is_some(), ParameterType::Array),
            ("maxItems", one.max_items.is_some(), ParameterType::Array),
            (
                "properties",
                one.properties.is_some(),
                ParameterType::Object,
            ),
            ("required", one.required.is_some(), ParameterType::Object),
        ] {
            if is_there && kind != of_kind {
                let message = format!(
                    "`{word}` is only for {of_kind} and has no effect on {kind}: remove `{word}`"
                );
                self.flaw(&format!("{at}/{word}"), message);
            }
        }
        if kind == ParameterType::Array && one.items.is_none() {
            self.flaw(
                at,
                "an array needs `items`, the declaration of its elements",
            );
        }
        if kind == ParameterType::Object && one.properties.is_none() {
            self.flaw(
                at,
                "an object needs `properties`, the declarations of its members",
            );
        }
        if let (Some(lowest), Some(highest)) = one.limits()
            && lowest > highest
        {
            let (low, high) = match kind {
                ParameterType::String => ("minLength", "maxLength"),
                ParameterType::Array => ("minItems", "maxItems"),
                _ => ("minimum", "maximum"),
            };
            let message =
                format!("`{high}` is below `{low}`, so no value fits: correct one of the two");
            self.flaw(&format!("{at}/{high}"), message);
        }
        if let Some(Err(message)) = one.pattern.as_ref().map(|one| self.patterns.get(one)) {
            self.flaw(&format!("{at}/pattern"), message);
        }
        if one.secret == Some(false) {
            self.flaw(
                &format!("{at}/x-secret"),
                "`x-secret` must be true: remove `x-secret`, or write true",
            );
        }
        let has_value = one.default.is_some() || one.choices.is_some();
        if one.has_secret() && (has_value || one.pattern.is_some()) {
            let message = "a secret parameter has no `default`, `enum` or `pattern`, and an object or an array with a secret \
                           part has no `default` or `enum`: remove them";
            self.flaw(at, message);
        }
        self.check_required(one, at);
        self.depth += 1;
        for (name, inner) in one.keys() {
            let at = format!("{at}/properties/{}", escape(name));
            if !is_parameter_name(name) {
                let message = format!(
                    "{name:?} is not a valid parameter name: use letters, digits, _ and -, beginning with a letter or _, at \
                     most 64 bytes"
                );
                self.flaw(&at, message);
            }
            self.check(inner, &at);
        }
        if let Some(inner) = &one.items {
            self.check(inner, &format!("{at}/items"));
        }
        self.depth -= 1;
        if self.flaws.len() == before {
            self.check_values(one, at);
        }
    }

    fn check_required(&mut self, one: &Parameter, at: &str) {
        let mut seen = HashSet::new();
        for (index, name) in one.required.iter().flatten().enumerate() {
            let at = format!("{at}/required/{index}");
            if one.key(name).is_none() {
                let message = yaml::unknown("parameter in `required`", name, &key_names(one));
                self.flaw(&at, message);
            } else if !seen.insert(name) {
                self.flaw(
                    &at,
                    format!("{name} occurs twice: name each parameter once"),
                );
            }
        }
    }

    /// Checks that a proposer could give the default and each value of `enum`. The missing defaults inside of the
    /// default are added first.
    fn check_values(&mut self, one: &Parameter, at: &str) {
        let choices = one.choices.iter().flatten().enumerate();
        if one.choices.as_ref().is_some_and(Vec::is_empty) {
            self.flaw(
                &format!("{at}/enum"),
                "`enum` must be a list of at least one value",
            );
        }
        let mut seen = HashSet::new();
        for (index, value) in choices {
            let at = format!("{at}/enum/{index}");
            if !seen.insert(value) {
                self.flaw(&at, "this value occurs twice: remove one");
            }
            self.check_value(one, value, "this value", &at);
        }
        if let Some(value) = &one.default {
            self.check_value(one, value, "the default", &format!("{at}/default"));
        }
    }

    fn check_value(&mut self, one: &Parameter, value: &Value, what: &str, at: &str) {
        let errors = evaluate(one, &mut value.clone(), true, self.patterns);
        if let Some(error) = errors.first() {
            let message = format!("{what} does not fit the declaration of the parameter: {error}");
            self.flaw(at, message);
        }
    }

    fn flaw(&mut self, pointer: &str, message: impl Into<String>) {
        self.flaws.push(ParameterError {
            pointer: pointer.to_owned(),
            message: message.into(),
        });
    }
}

fn is_parameter_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=64).contains(&bytes.len())
        && (bytes[0].is_ascii_alphabetic() || bytes[0] == b'_')
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c))
}

/// Words of a declaration.
const WORDS: [&str; 16] = [
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "default",
    "description",
    "x-secret",
    "x-leading-dash",
];
/// Maximum number of declarations, including the outermost, so that compiling takes a short time.
const MAX_DECLARATIONS: usize = 256;
/// Maximum nesting of objects and arrays.
const MAX_DEPTH: usize = 8;

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

#[cfg(test)]
mod declarations_tests {
    use super::*;
    use serde_json::json;

    fn flaws(schema: &Value) -> Vec<String> {
        ParameterSchema::parse(schema).map_or_else(
            |flaws| flaws.iter().map(ToString::to_string).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn a_refused_schema_is_answered_with_a_correction() {
        let pattern = |pattern: &str| json!({"type": "string", "pattern": pattern});
        for (schema, expected) in [
            (
                json!({"type": "strnig"}),
                "/type: unknown type: \"strnig\"; did you mean \"string\"?",
            ),
            (
                json!({"type": "string", "patern": "^a$"}),
                "/patern: unknown word of a declaration: \"patern\"; did you mean \"pattern\"?",
            ),
            (
                json!({"type": "integer", "min": 1}),
                "/min: unknown word of a declaration: \"min\"; did you mean \"minimum\"?",
            ),
            (
                json!({"type": "number"}),
                "/type: `type: number` is not supported",
            ),
            (json!({}), ": `type` is missing"),
            (pattern("a$"), "/pattern: the pattern must begin with ^"),
            (pattern("^a|b$"), "/pattern: an alternative outside"),
            (
                pattern("^[]a]$"),
                "/pattern: engines disagree about the meaning of ]",
            ),
            (
                pattern("^(?=a).*$"),
                "/pattern: the linear-time engine does not support look-around",
            ),
            (
                pattern("^(a)\\1$"),
                "/pattern: the linear-time engine does not support back-references",
            ),
            (
                pattern("^(a$"),
                "/pattern: the pattern can't be compiled: unclosed group",
            ),
            (
                json!({"type": "integer", "enum": [1, "2"]}),
                "/enum/1: this value does not fit the declaration of the parameter: \"2\" is not of type",
            ),
            (
                json!({"type": "string", "enum": ["-a"]}),
                "/enum/0: this value does not fit the declaration of the parameter: the text begins with `-`",
            ),
        ] {
            let found = flaws(&json!({"type": "object", "properties": {"a": schema}}));
            let expected = format!("/properties/a{expected}");
            assert!(
                found.iter().any(|flaw| flaw.starts_with(&expected)),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn all_wrong_words_and_types_of_a_declaration_are_reported_at_once() {
        let written = json!({"type": "object", "additionalProperties": false, "properties": {
            "const": {"type": "text", "const": "a"},
            "b": {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 1, "$ref": "#"}},
        }});
        let mut found = flaws(&written);
        found.sort();
        let expected = [
            "/additionalProperties: `additionalProperties` is always false: remove `additionalProperties`",
            "/properties/b/items/$ref: `$ref` is not supported: write the schema itself",
            "/properties/b/items/exclusiveMinimum: `exclusiveMinimum` is not supported: write `minimum`",
            "/properties/const/const: `const` is not supported: write `enum` with this one value",
            "/properties/const/type: unknown type: \"text\"; write one of string, integer, boolean, array, object",
        ];
        assert_eq!(found, expected);
    }
}
