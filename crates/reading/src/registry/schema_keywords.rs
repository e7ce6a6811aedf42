//! Closed subset of JSON Schema for parameters.
//!
//! This subset of JSON Schema draft 2020-12 has `type` (string, integer, boolean, array, object), `properties`,
//! `required`, `items`, `enum`, `const`, `pattern`, lengths, ranges, item counts, `default` and `description`.
//! `x-leading-dash` and `x-secret` are extensions. Any other keyword is an error, and references are not allowed.
//! `additionalProperties` is always false. Numbers must be integers, so write a fraction as a string.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{registry::parameter_pattern::ParameterPatterns, yaml};
use documents::parameter_variable;

/// Flaw in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFlaw {
    /// Place in the schema, as the tokens of a JSON pointer (RFC 6901).
    pub path: Vec<String>,
    /// True if the flaw is in the key at the path, false if it is in the value.
    pub of_key: bool,
    /// Description of the flaw and its correction.
    pub message: String,
}

impl fmt::Display for SchemaFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", pointer(&self.path), self.message)
    }
}

#[derive(Debug)]
pub(crate) struct Closed(());

/// Checks that `schema` describes an object and is within the closed subset. Defaults are not checked.
///
/// # Errors
/// Returns an error for each part that is outside the subset or contradicts another part.
pub(crate) fn check(
    schema: &Value,
    patterns: &ParameterPatterns,
) -> Result<Closed, Vec<SchemaFlaw>> {
    let mut checker = Checker {
        patterns,
        flaws: Vec::new(),
        nodes: 0,
        has_value: false,
    };
    checker.check_root(schema);
    if checker.flaws.is_empty() {
        Ok(Closed(()))
    } else {
        Err(checker.flaws)
    }
}

/// Returns the JSON pointer (RFC 6901) of these tokens.
pub fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut text, token| {
        text.push('/');
        text.push_str(&escape(token));
        text
    })
}

/// Returns a name as a token of a JSON pointer (RFC 6901).
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

struct Checker<'p> {
    patterns: &'p ParameterPatterns,
    flaws: Vec<SchemaFlaw>,
    nodes: usize,
    /// True if the schema, or a schema around it, contains values.
    has_value: bool,
}

impl Checker<'_> {
    fn check_root(&mut self, schema: &Value) {
        if schema.get("type") != Some(&json!("object")) {
            self.flaw(
                &[],
                false,
                "the schema of the parameters must be an object: write `type: object` and `properties`".to_owned(),
            );
            return;
        }
        self.check(schema, &mut Vec::new());
        let mut variables: Vec<(String, &String)> = Vec::new();
        for name in schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            let mapped = parameter_variable(name);
            if let Some((_, first)) = variables.iter().find(|(other, _)| *other == mapped) {
                let message = format!(
                    "{name:?} and {first:?} both become the variable {mapped}: rename one of the two parameters"
                );
                self.flaw(&["properties", name], true, message);
            }
            variables.push((mapped, name));
        }
        if schema.get("default").is_some() {
            self.flaw(
                &["default"],
                true,
                "the parameters as a whole can't have a default: write a default for each parameter".to_owned(),
            );
        }
    }

    fn check(&mut self, schema: &Value, path: &mut Vec<String>) {
        self.nodes += 1;
        if self.nodes == MAX_SCHEMA_NODES + 1 {
            self.at(
                path,
                &[],
                false,
                format!("more than {MAX_SCHEMA_NODES} schemas: make the parameters simpler"),
            );
        }
        if self.nodes > MAX_SCHEMA_NODES {
            return;
        }
        if path.len() > MAX_SCHEMA_DEPTH {
            self.at(
                path,
                &[],
                false,
                "the schema is nested too deep: reduce the nesting".to_owned(),
            );
            return;
        }
        let Value::Object(map) = schema else {
            self.at(
                path,
                &[],
                false,
                "a schema must be a map, for example {type: string}".to_owned(),
            );
            return;
        };
        let kind = match map.get("type") {
            Some(Value::String(kind)) if TYPES.contains(&kind.as_str()) => kind.clone(),
            Some(Value::String(kind)) if kind == "number" => {
                self.at(
                    path,
                    &["type"],
                    false,
                    "`type: number` is not supported: write `type: integer`, or `type: string` with a pattern for a \
                     fraction"
                        .to_owned(),
                );
                return;
            }
            Some(Value::String(kind)) => {
                self.at(path, &["type"], false, yaml::unknown("type", kind, &TYPES));
                return;
            }
            Some(_) => {
                self.at(
                    path,
                    &["type"],
                    false,
                    format!("`type` must be one of {}", TYPES.join(", ")),
                );
                return;
            }
            None => {
                self.at(
                    path,
                    &[],
                    false,
                    format!("`type` is missing: write one of {}", TYPES.join(", ")),
                );
                return;
            }
        };
        let outer = self.has_value;
        self.has_value |= ["const", "default", "enum"]
            .iter()
            .any(|keyword| map.contains_key(*keyword));
        for (keyword, value) in map {
            self.keyword(keyword, value, &kind, map, path);
        }
        self.has_value = outer;
        match kind.as_str() {
            "array" if !map.contains_key("items") => {
                self.at(
                    path,
                    &[],
                    false,
                    "an array needs `items`, the schema of its elements".to_owned(),
                );
            }
            "object" if !map.contains_key("properties") => {
                self.at(
                    path,
                    &[],
                    false,
                    "an object needs `properties`, the schemas of its members".to_owned(),
                );
            }
            _ => {}
        }
        for (low, high) in [
            ("minLength", "maxLength"),
            ("minimum", "maximum"),
            ("minItems", "maxItems"),
        ] {
            if let (Some(a), Some(b)) = (
                map.get(low).and_then(Value::as_i64),
                map.get(high).and_then(Value::as_i64),
            ) && a > b
            {
                self.at(
                    path,
                    &[high],
                    false,
                    format!("`{high}` is below `{low}`, so no value fits: correct one of the two"),
                );
            }
        }
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        kind: &str,
        map: &Map<String, Value>,
        path: &mut Vec<String>,
    ) {
        let of_kind = match keyword {
            "type" => return,
            "description" => {
                if !value.is_string() {
                    self.at(
                        path,
                        &[keyword],
                        false,
                        "`description` must be text".to_owned(),
                    );
                }
                return;
            }
            "default" => return,
            "$ref" => {
                self.at(
                    path,
                    &[keyword],
                    true,
                    "`$ref` is not supported: write the schema itself".to_owned(),
                );
                return;
            }
            "enum" => return self.check_enum(value, kind, map, path),
            "const" => {
                self.member(value, kind, map, path, &["const"]);
                return;
            }
            "pattern" | "minLength" | "maxLength" | "x-leading-dash" | "x-secret" => "string",
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => "integer",
            "items" | "minItems" | "maxItems" => "array",
            "properties" | "required" | "additionalProperties" => "object",
            other => {
                self.at(
                    path,
                    &[other],
                    true,
                    yaml::unknown("keyword", other, &KEYWORDS),
                );
                return;
            }
        };
        if of_kind != kind {
            self.at(
                path,
                &[keyword],
                true,
                format!("`{keyword}` is only for {of_kind} and has no effect on {kind}: remove `{keyword}`"),
            );
            return;
        }
        match keyword {
            "pattern" => match value.as_str().map(|pattern| self.patterns.get(pattern)) {
                Some(Ok(_)) => {}
                Some(Err(message)) => self.at(path, &[keyword], false, message),
                None => self.at(path, &[keyword], false, "`pattern` must be text".to_owned()),
            },
            "x-leading-dash" if !value.is_boolean() => {
                self.at(
                    path,
                    &[keyword],
                    false,
                    "`x-leading-dash` must be true or false".to_owned(),
                );
            }
            "x-secret" if *value != Value::Bool(true) => {
                self.at(
                    path,
                    &[keyword],
                    false,
                    "`x-secret` must be true: remove `x-secret`, or write true".to_owned(),
                );
            }
            "x-secret" if self.has_value || map.contains_key("pattern") => {
                let message = "the schema of a secret parameter has no `const`, `default`, `enum` or `pattern`, and a \
                               schema around it has no `const`, `default` or `enum`: remove them";
                self.at(path, &[keyword], true, message.to_owned());
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if value
                    .as_i64()
                    .is_none_or(|number| number.unsigned_abs() > MAX_INTEGER) =>
            {
                self.at(
                    path,
                    &[keyword],
                    false,
                    format!("`{keyword}` must be a whole number within +-(2^53-1)"),
                );
            }
            "minLength" | "maxLength" | "minItems" | "maxItems"
                if value.as_u64().is_none_or(|count| count > MAX_INTEGER) =>
            {
                self.at(
                    path,
                    &[keyword],
                    false,
                    format!("`{keyword}` must be a whole number, 0 or more"),
                );
            }
            "additionalProperties" if *value != Value::Bool(false) => {
                self.at(
                    path,
                    &[keyword],
                    false,
                    "`additionalProperties` is always false: remove `additionalProperties`"
                        .to_owned(),
                );
            }
            "items" => {
                path.push("items".to_owned());
                self.check(value, path);
                path.pop();
            }
            "properties" => self.check_properties(value, path),
            "required" => self.check_required(value, map, path),
            _ => {}
        }
    }

    fn check_properties(&mut self, value: &Value, path: &mut Vec<String>) {
        let Value::Object(properties) = value else {
            self.at(
                path,
                &["properties"],
                false,
                "`properties` must be a map of names to schemas".to_owned(),
            );
            return;
        };
        for (name, schema) in properties {
            if !is_parameter_name(name) {
                let message = format!(
                    "{name:?} is not a valid parameter name: use letters, digits, _ and -, beginning with a letter or _, at most 64 bytes"
                );
                self.at(path, &["properties", name], true, message);
            }
            path.extend(["properties".to_owned(), name.clone()]);
            self.check(schema, path);
            path.truncate(path.len() - 2);
        }
    }

    fn check_required(&mut self, value: &Value, map: &Map<String, Value>, path: &[String]) {
        let Value::Array(names) = value else {
            self.at(
                path,
                &["required"],
                false,
                "`required` must be a list of names".to_owned(),
            );
            return;
        };
        for (index, name) in names.iter().enumerate() {
            let place = ["required", &index.to_string()];
            match name.as_str() {
                None => self.at(
                    path,
                    &place,
                    false,
                    "`required` must be a list of names".to_owned(),
                ),
                Some(name)
                    if map
                        .get("properties")
                        .and_then(|properties| properties.get(name))
                        .is_none() =>
                {
                    let known: Vec<&str> = map
                        .get("properties")
                        .and_then(Value::as_object)
                        .map(|properties| properties.keys().map(String::as_str).collect())
                        .unwrap_or_default();
                    self.at(
                        path,
                        &place,
                        false,
                        yaml::unknown("parameter in `required`", name, &known),
                    );
                }
                Some(_) if names[..index].contains(name) => {
                    self.at(
                        path,
                        &place,
                        false,
                        format!("{name} occurs twice: name each parameter once"),
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn check_enum(&mut self, value: &Value, kind: &str, map: &Map<String, Value>, path: &[String]) {
        let Some(members) = value.as_array().filter(|members| !members.is_empty()) else {
            self.at(
                path,
                &["enum"],
                false,
                "`enum` must be a list of at least one value".to_owned(),
            );
            return;
        };
        for (index, member) in members.iter().enumerate() {
            let place = index.to_string();
            if members[..index].contains(member) {
                self.at(
                    path,
                    &["enum", &place],
                    false,
                    "this value occurs twice: remove one".to_owned(),
                );
            }
            self.member(member, kind, map, path, &["enum", &place]);
        }
    }

    /// Checks that a proposer could give this value of `enum` or `const`.
    fn member(
        &mut self,
        value: &Value,
        kind: &str,
        map: &Map<String, Value>,
        path: &[String],
        place: &[&str],
    ) {
        let fits = match kind {
            "string" => value.is_string(),
            "integer" => value
                .as_i64()
                .is_some_and(|number| number.unsigned_abs() <= MAX_INTEGER),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        if !fits {
            self.at(
                path,
                place,
                false,
                format!("this value does not have the type {kind}: put the value in quotes, or correct the value"),
            );
        }
        let dash = value.as_str().is_some_and(|text| text.starts_with('-'));
        if dash && map.get("x-leading-dash") != Some(&Value::Bool(true)) {
            let message = "this value begins with `-` and would be refused: add `x-leading-dash: true` if the script \
                           can handle such a value";
            self.at(path, place, false, message.to_owned());
        }
    }

    fn at(&mut self, path: &[String], more: &[&str], of_key: bool, message: String) {
        let path = path
            .iter()
            .cloned()
            .chain(more.iter().map(|&token| token.to_owned()))
            .collect();
        self.flaws.push(SchemaFlaw {
            path,
            of_key,
            message,
        });
    }

    fn flaw(&mut self, path: &[&str], of_key: bool, message: String) {
        self.at(&[], path, of_key, message);
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

const TYPES: [&str; 5] = ["string", "integer", "boolean", "array", "object"];
const KEYWORDS: [&str; 20] = [
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "default",
    "description",
    "x-secret",
    "x-leading-dash",
    "additionalProperties",
];
/// Maximum number of nested schemas, so that compiling takes a short time.
const MAX_SCHEMA_NODES: usize = 256;
/// Maximum number of tokens in the path of a schema. Sixteen tokens are eight nested objects.
const MAX_SCHEMA_DEPTH: usize = 16;
/// Largest integer that all JSON readers represent exactly.
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParameterSchema;

    fn flaws(schema: &Value) -> Vec<String> {
        ParameterSchema::compile(schema).map_or_else(
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
                "/patern: unknown keyword: \"patern\"; did you mean \"pattern\"?",
            ),
            (
                json!({"type": "integer", "min": 1}),
                "/min: unknown keyword: \"min\"; did you mean \"minimum\"?",
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
                "/enum/1: this value does not have the type integer",
            ),
            (
                json!({"type": "string", "enum": ["-a"]}),
                "/enum/0: this value begins with `-`",
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
}
