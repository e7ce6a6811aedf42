//! Checks whether a value fits a parameter schema. The schema must be within the closed subset of JSON Schema.

use serde_json::{Map, Value};

use crate::registry::parameter_error::{ParameterError, cut};
use crate::registry::parameter_pattern::ParameterPatterns;
use crate::registry::schema_keywords::{escape, pointer};
use documents::record::extension_names::SecretName;
use documents::record::step_definition::secret_parameters;
use documents::yaml;

/// Returns the errors of a value, at most [`MAX_ERRORS`]. `schema` must be within the closed subset of JSON Schema.
pub(super) fn evaluate(schema: &Value, value: &Value, patterns: &ParameterPatterns) -> Vec<ParameterError> {
    let mut evaluation = Evaluation { patterns, path: Vec::new(), errors: Vec::new() };
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
        let Value::Object(keywords) = schema else { return };
        if keywords.contains_key("x-secret") {
            if !is_secret_name(value) {
                self.refuse(NAME_THE_SECRET.to_owned());
            }
            return;
        }
        let kind = keywords.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_kind = match value {
            Value::String(_) => kind == "string",
            Value::Number(number) => kind == "integer" && !number.is_f64(),
            Value::Bool(_) => kind == "boolean",
            Value::Array(_) => kind == "array",
            Value::Object(_) => kind == "object",
            Value::Null => false,
        };
        if !is_kind {
            self.refuse(format!("{} is not of type \"{kind}\"", shown(schema, value)));
        }
        if let Some(expected) = keywords.get("const").filter(|expected| !same(expected, value)) {
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
            self.refuse(format!("{number} is less than or equal to the minimum of {limit}"));
        }
        if let Some(limit) = limit("exclusiveMaximum").filter(|limit| number >= *limit) {
            self.refuse(format!("{number} is greater than or equal to the maximum of {limit}"));
        }
    }

    fn text(&mut self, keywords: &Map<String, Value>, text: &str, value: &Value) {
        let limit = |keyword: &str| keywords.get(keyword).and_then(Value::as_u64);
        let length = || text.chars().count() as u64;
        if let Some(limit) = limit("minLength").filter(|limit| length() < *limit) {
            self.refuse(format!("{value} is shorter than {}", counted(limit, "character")));
        }
        if let Some(limit) = limit("maxLength").filter(|limit| length() > *limit) {
            self.refuse(format!("{value} is longer than {}", counted(limit, "character")));
        }
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
            && !self.patterns.get(pattern).is_ok_and(|compiled| compiled.is_match(text))
        {
            let message = format!("{} does not match {pattern}", cut(&value.to_string()));
            self.errors.push(ParameterError { pointer: pointer(&self.path), message });
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
        let Some(schema) = keywords.get("items") else { return };
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
        let Some(Value::Object(properties)) = keywords.get("properties") else { return };
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !entries.contains_key(name) {
                self.refuse_at(name, format!("{name:?} is missing: add a value for this parameter"));
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
                format!("unknown parameter {:?}: this step takes none here", cut(name))
            } else {
                yaml::unknown("parameter", &cut(name), &known)
            };
            self.refuse_at(name, message);
        }
    }

    fn refuse(&mut self, message: String) {
        self.errors.push(ParameterError { pointer: pointer(&self.path), message: cut(&message) });
    }

    fn refuse_at(&mut self, name: &str, message: String) {
        let pointer = format!("{}/{}", pointer(&self.path), escape(name));
        self.errors.push(ParameterError { pointer, message });
    }
}

/// Returns the text of a value for an error. If a part of the schema is secret, the text does not contain the value.
fn shown(schema: &Value, value: &Value) -> String {
    if secret_parameters(schema).is_empty() { value.to_string() } else { "the value".to_owned() }
}

/// Returns true for `{"secret": NAME}`.
fn is_secret_name(value: &Value) -> bool {
    let Value::Object(entries) = value else { return false };
    entries.len() == 1
        && entries.get("secret").and_then(Value::as_str).is_some_and(|name| name.parse::<SecretName>().is_ok())
}

/// The message does not repeat the value, because the value may be the secret itself.
const NAME_THE_SECRET: &str = "the parameter is secret: give the name of a secret, for example {\"secret\": \"db-password\"}, \
                               and never the secret itself";

/// Returns true if two JSON values are equal. A schema may contain 1.0 in a list, and 1.0 equals the number 1.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Lists the first members of an `enum` for a message.
fn listed(members: &[Value]) -> String {
    let shown = if members.len() > MAX_SHOWN { MAX_SHOWN - 1 } else { members.len() };
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
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use jsonschema::error::ValidationErrorKind;
    use jsonschema::{Draft, PatternOptions};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use serde_json::json;

    use super::*;
    use crate::registry::schema_keywords;

    /// Returns the errors of a complete JSON Schema validator, in the wording of this module.
    fn reference(schema: &Value, value: &Value) -> Vec<String> {
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .build(&closed(schema))
            .expect("a schema");
        let mut found: Vec<String> = validator
            .iter_errors(value)
            .map(|error| {
                let pointer = error.instance_path().as_str();
                match error.kind() {
                    ValidationErrorKind::AdditionalProperties { unexpected } => {
                        format!("{pointer}/{}: unknown", escape(&unexpected[0]))
                    }
                    ValidationErrorKind::Required { property } => {
                        let name = property.as_str().expect("a name");
                        format!("{pointer}/{}: {name:?} is missing: add a value for this parameter", escape(name))
                    }
                    ValidationErrorKind::Pattern { pattern } => {
                        format!("{pointer}: {} does not match {pattern}", cut(&error.instance().to_string()))
                    }
                    _ => format!("{pointer}: {}", cut(&error.to_string())),
                }
            })
            .collect();
        found.sort();
        found
    }

    fn ours(schema: &Value, value: &Value) -> Vec<String> {
        let errors = evaluate(schema, value, &ParameterPatterns::default());
        let words = |error: ParameterError| match error.message.strip_prefix("unknown parameter") {
            Some(_) => format!("{}: unknown", error.pointer),
            None => format!("{}: {}", error.pointer, error.message),
        };
        let mut found: Vec<String> = errors.into_iter().map(words).collect();
        found.sort();
        found
    }

    /// Sets `additionalProperties` to false.
    fn closed(schema: &Value) -> Value {
        let Value::Object(map) = schema else { return schema.clone() };
        let mut map = map.clone();
        if let Some(Value::Object(properties)) = map.get_mut("properties") {
            properties.values_mut().for_each(|schema| *schema = closed(schema));
        }
        if let Some(items) = map.get_mut("items") {
            *items = closed(items);
        }
        if map["type"] == "object" {
            map.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        Value::Object(map)
    }

    fn text() -> impl Strategy<Value = String> {
        "[ab1_. \t\n\u{e9}\u{661}\u{85}\u{a0}\u{feff}-]{0,4}"
    }

    fn pattern() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b", "1", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "[a-c]", "[^a]", "[\\d_-]", "[^\\w]", "[\\s\\S]",
            "[\\W\\d]", "(?:a|b)", "(a|1)", "(a|b)", ".", "\\b", "\\B", "\\.", "-", "\\-", "\\\\", "[\\--1]", "[\\]a]",
        ]);
        let times = prop::sample::select(vec!["", "", "", "?", "*", "+", "{1,2}", "*?"]);
        prop::collection::vec((piece, times), 0..4)
            .prop_map(|parts| format!("^{}$", parts.iter().map(|(a, b)| format!("{a}{b}")).collect::<String>()))
    }

    /// Generates a schema with some of the keywords, chosen at random.
    fn keywords(all: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
        let each = |(name, value): (&'static str, BoxedStrategy<Value>)| {
            prop::option::weighted(0.3, value).prop_map(move |value| (name, value))
        };
        let all: Vec<_> = all.into_iter().map(each).collect();
        all.prop_map(|found| {
            found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
        })
        .boxed()
    }

    fn of_kind(kind: &'static str, rest: BoxedStrategy<Value>, value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
        let members = prop::collection::vec(value.clone(), 1..6).prop_map(Value::from).boxed();
        (rest, keywords(vec![("enum", members), ("const", value)]), 0..4)
            .prop_map(move |(mut schema, few, which)| {
                let map = schema.as_object_mut().expect("keywords");
                map.insert("type".to_owned(), kind.into());
                if which == 0 {
                    map.extend(few.as_object().expect("keywords").clone());
                }
                schema
            })
            .boxed()
    }

    fn any_schema() -> BoxedStrategy<Value> {
        let count = || (0_u64..4).prop_map(Value::from).boxed();
        let number = || (-4_i64..4).prop_map(Value::from).boxed();
        let strings = of_kind(
            "string",
            keywords(vec![
                ("minLength", count()),
                ("maxLength", count()),
                ("pattern", pattern().prop_map(Value::from).boxed()),
            ]),
            text().prop_map(Value::from).boxed(),
        );
        let integers = of_kind(
            "integer",
            keywords(vec![
                ("minimum", number()),
                ("maximum", number()),
                ("exclusiveMinimum", number()),
                ("exclusiveMaximum", number()),
            ]),
            number(),
        );
        let booleans = of_kind("boolean", keywords(Vec::new()), any::<bool>().prop_map(Value::from).boxed());
        let leaf = prop_oneof![strings, integers, booleans];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let lists = prop::sample::select(vec![json!([]), json!([1]), json!([1.0, "a"]), json!([[true]])]).boxed();
            let objects = prop::sample::select(vec![json!({}), json!({"a": 1}), json!({"a": 1.0, "b": "-"})]).boxed();
            let array = (keywords(vec![("minItems", count()), ("maxItems", count())]), inner.clone()).prop_map(
                |(mut schema, items)| {
                    schema["items"] = items;
                    schema
                },
            );
            let object =
                (prop::collection::btree_map("a|b|c|d~/", inner, 0..4), 0_u8..16).prop_map(|(properties, which)| {
                    let required: Vec<&String> = properties
                        .keys()
                        .enumerate()
                        .filter(|(at, _)| which & (1 << at) != 0)
                        .map(|(_, name)| name)
                        .collect();
                    json!({"properties": properties, "required": required})
                });
            prop_oneof![of_kind("array", array.boxed(), lists), of_kind("object", object.boxed(), objects)]
        })
        .boxed()
    }

    fn any_value() -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            4 => text().prop_map(Value::from),
            4 => (-5_i64..5).prop_map(Value::from),
            2 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("a|b|c|d~/|e", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
        .boxed()
    }

    /// Generates values that often fit the schema.
    fn fitting(schema: &Value) -> BoxedStrategy<Value> {
        let fits = match schema["type"].as_str() {
            Some("string") => text().prop_map(Value::from).boxed(),
            Some("integer") => (-5_i64..5).prop_map(Value::from).boxed(),
            Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
            Some("array") => prop::collection::vec(fitting(&schema["items"]), 0..4).prop_map(Value::from).boxed(),
            _ => {
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                let each = properties.iter().map(|(name, schema)| {
                    prop::option::weighted(0.9, fitting(schema)).prop_map({
                        let name = name.clone();
                        move |value| Some((name.clone(), value?))
                    })
                });
                let each: Vec<_> = each.collect();
                each.prop_map(|all| json!(all.into_iter().flatten().collect::<BTreeMap<String, Value>>())).boxed()
            }
        };
        let listed: Vec<Value> =
            schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")).map(plain).collect();
        if listed.is_empty() {
            return prop_oneof![8 => fits, 1 => any_value()].boxed();
        }
        prop_oneof![4 => prop::sample::select(listed), 2 => fits, 1 => any_value()].boxed()
    }

    /// Returns the value without fractions, because fractions are refused before the schema is checked.
    fn plain(value: &Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64().map(|number| number as i64)),
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
            _ => value.clone(),
        }
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
            assert!(errors.iter().all(|error| !error.message.contains("canary")), "{errors:?}");
        }
    }

    #[test]
    fn values_get_the_same_errors_as_from_a_complete_json_schema_validator() {
        let (fitted, refused) = (Cell::new(0), Cell::new(0));
        let pairs = any_schema().prop_flat_map(|schema| (Just(schema.clone()), fitting(&schema)));
        let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&pairs, |(schema, value)| {
                // The pattern must compile, and each name must be a valid parameter name.
                let whole = json!({"type": "object", "properties": {"a": schema}});
                let flaws = schema_keywords::check(&whole, &ParameterPatterns::default()).err().unwrap_or_default();
                prop_assume!(!flaws.iter().any(|flaw| flaw.path.last().is_some_and(|last| last == "pattern")));
                let found = ours(&schema, &value);
                prop_assert_eq!(&found, &reference(&schema, &value), "{} {}", schema, value);
                let count = if found.is_empty() { &fitted } else { &refused };
                count.set(count.get() + 1);
                Ok(())
            })
            .expect("both judge alike");
        assert!(fitted.get() > 300 && refused.get() > 300, "{fitted:?} {refused:?}");
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
        let compiled = patterns.get(&format!("^.{{0,{largest}}}$")).expect("compiled");
        assert!(compiled.is_match("") && compiled.is_match(&"é".repeat(largest as usize)));
        assert!(!compiled.is_match(&"é".repeat(largest as usize + 1)));
    }

    #[test]
    fn only_a_limited_number_of_compiled_patterns_is_stored() {
        let patterns = ParameterPatterns::default();
        for number in 0..1000 {
            assert!(patterns.get(&format!("^a{number}$")).expect("a pattern").is_match(&format!("a{number}")));
        }
        assert!(patterns.len() <= 64, "{}", patterns.len());
    }
}
