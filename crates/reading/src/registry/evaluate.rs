//! Checks whether a value fits a parameter schema. The schema must be within the closed subset of JSON Schema.

use serde_json::{Map, Value};

use crate::{
    ParameterError, escape, pointer,
    registry::{parameter_error::cut, parameter_pattern::ParameterPatterns},
    yaml,
};
use documents::{SecretName, secret_parameters};

/// Returns the errors of a value, at most [`MAX_ERRORS`]. `schema` must be within the closed subset of JSON Schema.
pub(super) fn evaluate(
    schema: &Value,
    value: &Value,
    patterns: &ParameterPatterns,
) -> Vec<ParameterError> {
    let mut evaluation = Evaluation {
        patterns,
        path: Vec::new(),
        errors: Vec::new(),
    };
    evaluation.value(schema, value);
    evaluation.errors.truncate(MAX_ERRORS);
    evaluation.errors
}

/// State of a comparison between a value and its schema.
struct Evaluation<'p> {
    patterns: &'p ParameterPatterns,
    path: Vec<String>,
    errors: Vec<ParameterError>,
}

impl Evaluation<'_> {
    fn value(&mut self, schema: &Value, value: &Value) {
        let Value::Object(keywords) = schema else {
            return;
        };
        if keywords.contains_key("x-secret") {
            if !is_secret_name(value) {
                self.refuse(NAME_THE_SECRET.to_owned());
            }
            return;
        }
        let kind = keywords
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_kind = match value {
            Value::String(_) => kind == "string",
            Value::Number(number) => kind == "integer" && !number.is_f64(),
            Value::Bool(_) => kind == "boolean",
            Value::Array(_) => kind == "array",
            Value::Object(_) => kind == "object",
            Value::Null => false,
        };
        if !is_kind {
            self.refuse(format!(
                "{} is not of type \"{kind}\"",
                shown(schema, value)
            ));
        }
        if let Some(expected) = keywords
            .get("const")
            .filter(|expected| !same(expected, value))
        {
            self.refuse(format!("{expected} was expected"));
        }
        if let Some(Value::Array(members)) = keywords.get("enum")
            && !members.iter().any(|member| same(member, value))
        {
            self.refuse(format!("{value} is not one of {}", listed(members)));
        }
        match value {
            Value::Number(number) => self.number(keywords, number.as_i64()),
            Value::String(text) => self.text(keywords, text, value),
            Value::Array(items) => self.array(keywords, items, &shown(schema, value)),
            Value::Object(entries) => self.object(keywords, entries),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn number(&mut self, keywords: &Map<String, Value>, number: Option<i64>) {
        let Some(number) = number else { return };
        let limit = |keyword: &str| keywords.get(keyword).and_then(Value::as_i64);
        if let Some(limit) = limit("minimum").filter(|limit| number < *limit) {
            self.refuse(format!("{number} is less than the minimum of {limit}"));
        }
        if let Some(limit) = limit("maximum").filter(|limit| number > *limit) {
            self.refuse(format!("{number} is greater than the maximum of {limit}"));
        }
        if let Some(limit) = limit("exclusiveMinimum").filter(|limit| number <= *limit) {
            self.refuse(format!(
                "{number} is less than or equal to the minimum of {limit}"
            ));
        }
        if let Some(limit) = limit("exclusiveMaximum").filter(|limit| number >= *limit) {
            self.refuse(format!(
                "{number} is greater than or equal to the maximum of {limit}"
            ));
        }
    }

    fn text(&mut self, keywords: &Map<String, Value>, text: &str, value: &Value) {
        let limit = |keyword: &str| keywords.get(keyword).and_then(Value::as_u64);
        let length = || text.chars().count() as u64;
        if let Some(limit) = limit("minLength").filter(|limit| length() < *limit) {
            self.refuse(format!(
                "{value} is shorter than {}",
                counted(limit, "character")
            ));
        }
        if let Some(limit) = limit("maxLength").filter(|limit| length() > *limit) {
            self.refuse(format!(
                "{value} is longer than {}",
                counted(limit, "character")
            ));
        }
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
            && !self
                .patterns
                .get(pattern)
                .is_ok_and(|compiled| compiled.is_match(text))
        {
            let message = format!("{} does not match {pattern}", cut(&value.to_string()));
            self.errors.push(ParameterError {
                pointer: pointer(&self.path),
                message,
            });
        }
    }

    fn array(&mut self, keywords: &Map<String, Value>, items: &[Value], value: &str) {
        let limit = |keyword: &str| keywords.get(keyword).and_then(Value::as_u64);
        let count = items.len() as u64;
        if let Some(limit) = limit("minItems").filter(|limit| count < *limit) {
            self.refuse(format!("{value} has less than {}", counted(limit, "item")));
        }
        if let Some(limit) = limit("maxItems").filter(|limit| count > *limit) {
            self.refuse(format!("{value} has more than {}", counted(limit, "item")));
        }
        let Some(schema) = keywords.get("items") else {
            return;
        };
        for (index, item) in items.iter().enumerate() {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            self.path.push(index.to_string());
            self.value(schema, item);
            self.path.pop();
        }
    }

    fn object(&mut self, keywords: &Map<String, Value>, entries: &Map<String, Value>) {
        let Some(Value::Object(properties)) = keywords.get("properties") else {
            return;
        };
        for name in keywords
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !entries.contains_key(name) {
                self.refuse_at(
                    name,
                    format!("{name:?} is missing: add a value for this parameter"),
                );
            }
        }
        let mut unknown = None;
        for (name, value) in entries {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            match properties.get(name) {
                Some(schema) => {
                    self.path.push(name.clone());
                    self.value(schema, value);
                    self.path.pop();
                }
                None => unknown = unknown.or(Some(name)),
            }
        }
        // One error about an unknown parameter is enough, because the proposer then finds the mistake.
        if let Some(name) = unknown {
            let known: Vec<&str> = properties.keys().map(String::as_str).collect();
            let message = if known.is_empty() {
                format!(
                    "unknown parameter {:?}: this step takes none here",
                    cut(name)
                )
            } else {
                yaml::unknown("parameter", &cut(name), &known)
            };
            self.refuse_at(name, message);
        }
    }

    fn refuse(&mut self, message: String) {
        self.errors.push(ParameterError {
            pointer: pointer(&self.path),
            message: cut(&message),
        });
    }

    fn refuse_at(&mut self, name: &str, message: String) {
        let pointer = format!("{}/{}", pointer(&self.path), escape(name));
        self.errors.push(ParameterError { pointer, message });
    }
}

/// Returns the text of a value for an error. If a part of the schema is secret, the text does not contain the value.
fn shown(schema: &Value, value: &Value) -> String {
    if secret_parameters(schema).is_empty() {
        value.to_string()
    } else {
        "the value".to_owned()
    }
}

/// Returns true for `{"secret": NAME}`.
fn is_secret_name(value: &Value) -> bool {
    let Value::Object(entries) = value else {
        return false;
    };
    entries.len() == 1
        && entries
            .get("secret")
            .and_then(Value::as_str)
            .is_some_and(|name| name.parse::<SecretName>().is_ok())
}

/// The message does not repeat the value, because the value may be the secret itself.
const NAME_THE_SECRET: &str = "the parameter is secret: give the name of a secret, for example {\"secret\": \"db-password\"}, \
                               and never the secret itself";

/// Returns true if two JSON values are equal. A schema may contain 1.0 in a list, and 1.0 equals the number 1.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Lists the first members of an `enum` for a message.
fn listed(members: &[Value]) -> String {
    let shown = if members.len() > MAX_SHOWN {
        MAX_SHOWN - 1
    } else {
        members.len()
    };
    let mut words: Vec<String> = members[..shown].iter().map(Value::to_string).collect();
    let last = match members.len() - shown {
        0 => words.pop(),
        more => Some(format!("{more} other candidates")),
    };
    let first = words.join(", ");
    match last {
        Some(last) if first.is_empty() => last,
        Some(last) => format!("{first} or {last}"),
        None => first,
    }
}

/// Maximum number of members of an `enum` in a message.
const MAX_SHOWN: usize = 3;
/// Maximum number of errors for one value.
const MAX_ERRORS: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `tests/conformance/parameter-values.json` has values for each keyword, and the places of their errors.
    #[test]
    fn an_error_names_the_value_and_the_limit() {
        let list = |rest: Value| {
            let mut schema = json!({"type": "array", "items": {"type": "integer"}});
            schema
                .as_object_mut()
                .expect("an object")
                .extend(rest.as_object().expect("an object").clone());
            schema
        };
        for (schema, value, message) in [
            (
                json!({"type": "string"}),
                json!(7),
                r#"7 is not of type "string""#,
            ),
            (
                json!({"type": "string", "minLength": 2}),
                json!("a"),
                r#""a" is shorter than 2 characters"#,
            ),
            (
                json!({"type": "string", "maxLength": 1}),
                json!("ab"),
                r#""ab" is longer than 1 character"#,
            ),
            (
                json!({"type": "string", "pattern": "^[a-c]+$"}),
                json!("d"),
                r#""d" does not match ^[a-c]+$"#,
            ),
            (
                json!({"type": "integer", "minimum": -2}),
                json!(-3),
                "-3 is less than the minimum of -2",
            ),
            (
                json!({"type": "integer", "maximum": 3}),
                json!(4),
                "4 is greater than the maximum of 3",
            ),
            (
                json!({"type": "integer", "exclusiveMinimum": 0}),
                json!(0),
                "0 is less than or equal to the minimum of 0",
            ),
            (
                json!({"type": "integer", "exclusiveMaximum": 3}),
                json!(3),
                "3 is greater than or equal to the maximum of 3",
            ),
            (
                list(json!({"minItems": 2})),
                json!([1]),
                "[1] has less than 2 items",
            ),
            (
                list(json!({"maxItems": 1})),
                json!([1, 2]),
                "[1,2] has more than 1 item",
            ),
            (
                list(json!({"const": [1, 2]})),
                json!([2, 1]),
                "[1,2] was expected",
            ),
            (
                json!({"type": "string", "enum": ["b"]}),
                json!("a"),
                r#""a" is not one of "b""#,
            ),
            (
                json!({"type": "string", "enum": ["b", "c", "d"]}),
                json!("a"),
                r#""a" is not one of "b", "c" or "d""#,
            ),
            (
                json!({"type": "string", "enum": ["b", "c", "d", "e"]}),
                json!("a"),
                r#""a" is not one of "b", "c" or 2 other candidates"#,
            ),
            (
                json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}),
                json!({}),
                r#""b" is missing: add a value for this parameter"#,
            ),
        ] {
            let errors = evaluate(&schema, &value, &ParameterPatterns::default());
            let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
            assert_eq!(messages, [message], "{schema} {value}");
        }
    }

    #[test]
    fn a_whole_number_in_a_list_of_the_schema_may_have_a_fraction_of_zero() {
        let schema = json!({"type": "array", "items": {"type": "integer"}, "enum": [[1.0, 3]]});
        assert_eq!(
            evaluate(&schema, &json!([1, 3]), &ParameterPatterns::default()),
            []
        );
        assert_eq!(
            evaluate(&schema, &json!([2, 3]), &ParameterPatterns::default()).len(),
            1
        );
    }

    #[test]
    fn an_error_about_a_value_with_a_secret_part_does_not_repeat_the_value() {
        let secret = json!({"type": "string", "x-secret": true});
        let schema = json!({"type": "object", "properties": {
            "all": {"type": "array", "maxItems": 1, "items": secret},
            "login": {"type": "object", "properties": {"pin": secret}},
        }});
        for value in [
            json!({"all": ["canary", "canary"]}),
            json!({"all": "canary"}),
            json!({"login": "canary"}),
            json!({"login": {"pin": {"secret": "canary value"}}}),
        ] {
            let errors = evaluate(&schema, &value, &ParameterPatterns::default());
            assert!(!errors.is_empty(), "{value}");
            assert!(
                errors.iter().all(|error| !error.message.contains("canary")),
                "{errors:?}"
            );
        }
    }

    #[test]
    fn no_pattern_of_the_maximum_size_causes_a_panic() {
        let patterns = ParameterPatterns::default();
        let (mut largest, mut too_large) = (1_u32, 4096_u32);
        while largest + 1 < too_large {
            let times = largest.midpoint(too_large);
            match patterns.get(&format!("^.{{0,{times}}}$")) {
                Ok(_) => largest = times,
                Err(_) => too_large = times,
            }
        }
        let compiled = patterns
            .get(&format!("^.{{0,{largest}}}$"))
            .expect("compiled");
        assert!(compiled.is_match("") && compiled.is_match(&"é".repeat(largest as usize)));
        assert!(!compiled.is_match(&"é".repeat(largest as usize + 1)));
    }

    #[test]
    fn only_a_limited_number_of_compiled_patterns_is_stored() {
        let patterns = ParameterPatterns::default();
        for number in 0..1000 {
            assert!(
                patterns
                    .get(&format!("^a{number}$"))
                    .expect("a pattern")
                    .is_match(&format!("a{number}"))
            );
        }
        assert!(patterns.len() <= 64, "{}", patterns.len());
    }
}
