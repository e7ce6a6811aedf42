//! Parameters: the closed schema, and values.
//!
//! A closed subset of JSON Schema 2020-12. The check that a schema stays within it is ours; the validation is a
//! library's, with a linear-time engine for patterns. Parameters are data: a string that begins with `-` could
//! become an option of a command and is refused unless its schema says `x-leading-dash: true`.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value, json};

use crate::crypto::canonical::{canonical_of, to_canonical};
use crate::crypto::digest::ParamsDigest;
use crate::yaml;

/// A schema that was found to be within the closed subset, ready to validate.
#[derive(Debug, Clone)]
pub struct ParameterSchema {
    schema: Value,
    validator: Arc<Validator>,
}

/// What is wrong in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFlaw {
    /// Where, as the tokens of a JSON pointer (RFC 6901) into the schema.
    pub path: Vec<String>,
    /// Whether the key at the path is meant, or its value.
    pub of_key: bool,
    /// What happened, and what to do.
    pub message: String,
}

impl fmt::Display for SchemaFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", pointer(&self.path), self.message)
    }
}

/// What is wrong with parameters that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    /// Where, as a JSON pointer (RFC 6901) into the parameters; empty for the whole.
    pub pointer: String,
    /// What happened, and what to do. Long values are cut.
    pub message: String,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for ParameterError {}

/// Complete, valid parameters: what is signed, and what a step gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    value: Value,
    canonical: Arc<[u8]>,
    digest: ParamsDigest,
}

impl Params {
    /// The object.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Its canonical JSON: the content of the file that a step finds as `$COUNTERSIGN_PARAMS`.
    #[must_use]
    pub const fn canonical(&self) -> &Arc<[u8]> {
        &self.canonical
    }

    /// Names the parameters.
    #[must_use]
    pub const fn digest(&self) -> ParamsDigest {
        self.digest
    }
}

impl ParameterSchema {
    /// Checks that `schema` is an object's and stays within the closed subset, and makes it ready.
    ///
    /// # Errors
    /// Everything that is outside the subset or contradicts itself.
    pub fn compile(schema: &Value) -> Result<Self, Vec<SchemaFlaw>> {
        let mut checker = Checker { flaws: Vec::new(), nodes: 0 };
        checker.check_root(schema);
        if !checker.flaws.is_empty() {
            return Err(checker.flaws);
        }
        let whole = |message: String| vec![SchemaFlaw { path: Vec::new(), of_key: false, message }];
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_COMPILED_PATTERN_BYTES))
            .build(&closed(schema))
            .map_err(|error| whole(format!("the schema can't be compiled: {}", cut(&error.to_string()))))?;
        let compiled = Self { schema: schema.clone(), validator: Arc::new(validator) };
        let mut flaws = Vec::new();
        compiled.check_defaults(schema, &mut Vec::new(), &mut flaws);
        if flaws.is_empty() { Ok(compiled) } else { Err(flaws) }
    }

    /// The schema as it stands in the step's definition.
    #[must_use]
    pub const fn schema(&self) -> &Value {
        &self.schema
    }

    /// Fills in defaults, then validates: the way from what a proposer gave to what approvers sign.
    ///
    /// # Errors
    /// Everything wrong with the parameters.
    pub fn complete(&self, given: Value) -> Result<Params, Vec<ParameterError>> {
        let mut value = given;
        let mut errors = Vec::new();
        check_plain(&value, &mut Vec::new(), &mut errors);
        if errors.is_empty() {
            fill(&self.schema, &mut value);
            self.validate(&value, &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let whole = |message: String| vec![ParameterError { pointer: String::new(), message }];
        let canonical = canonical_of(&value).map_err(|error| whole(error.to_string()))?;
        if canonical.len() > MAX_PARAMS_BYTES {
            return Err(whole(format!(
                "the parameters are {} bytes of canonical JSON, and at most {MAX_PARAMS_BYTES} are taken: pass large data otherwise",
                canonical.len()
            )));
        }
        Ok(Params { digest: ParamsDigest::of(&canonical), canonical: canonical.into(), value })
    }

    /// Validates parameters that must be complete already, as those that were signed.
    ///
    /// # Errors
    /// Everything wrong with them; a default that is not filled in is wrong as well.
    pub fn check(&self, value: &Value) -> Result<Params, Vec<ParameterError>> {
        let params = self.complete(value.clone())?;
        if params.value == *value {
            return Ok(params);
        }
        Err(vec![ParameterError {
            pointer: missing_default(value, &params.value, &mut Vec::new()),
            message: "a default is not filled in: what is signed must be complete".to_owned(),
        }])
    }

    fn validate(&self, value: &Value, errors: &mut Vec<ParameterError>) {
        for error in self.validator.iter_errors(value).take(MAX_ERRORS) {
            let pointer = error.instance_path().as_str().to_owned();
            errors.push(match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } => {
                    let known = self.known_at(&pointer);
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    let name = unexpected.first().map_or("", String::as_str);
                    let message = if known.is_empty() {
                        format!("unknown parameter {:?}: this step takes none here", cut(name))
                    } else {
                        yaml::unknown("parameter", &cut(name), &known)
                    };
                    ParameterError { pointer: format!("{pointer}/{}", escape(name)), message }
                }
                ValidationErrorKind::Required { property } => {
                    let name = property.as_str().unwrap_or_default();
                    ParameterError {
                        pointer: format!("{pointer}/{}", escape(name)),
                        message: format!("{name:?} is missing: give it a value"),
                    }
                }
                ValidationErrorKind::Pattern { pattern } => ParameterError {
                    message: format!("{} does not match {pattern}", cut(&error.instance().to_string())),
                    pointer,
                },
                _ => ParameterError { message: cut(&error.to_string()), pointer },
            });
        }
        check_dashes(&self.schema, value, &mut Vec::new(), errors);
    }

    /// The names that the object at `pointer` may have.
    fn known_at(&self, pointer: &str) -> Vec<String> {
        let mut schema = &self.schema;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            schema = match schema.get("items") {
                Some(items) => items,
                None => &schema["properties"][&token],
            };
        }
        schema["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    }

    /// Every default, filled itself, must be valid by its own schema.
    fn check_defaults(&self, schema: &Value, path: &mut Vec<String>, flaws: &mut Vec<SchemaFlaw>) {
        if let Some(default) = schema.get("default") {
            let mut value = default.clone();
            fill(schema, &mut value);
            let mut errors = Vec::new();
            check_plain(&value, &mut Vec::new(), &mut errors);
            check_dashes(schema, &value, &mut Vec::new(), &mut errors);
            let valid = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_pattern_options(PatternOptions::regex().size_limit(MAX_COMPILED_PATTERN_BYTES))
                .build(&closed(schema));
            match valid {
                Ok(validator) => {
                    errors.extend(validator.iter_errors(&value).take(MAX_ERRORS).map(|error| ParameterError {
                        pointer: error.instance_path().as_str().to_owned(),
                        message: cut(&error.to_string()),
                    }));
                }
                Err(error) => errors.push(ParameterError { pointer: String::new(), message: cut(&error.to_string()) }),
            }
            if let Some(error) = errors.first() {
                flaws.push(SchemaFlaw {
                    path: [path.as_slice(), &["default".to_owned()]].concat(),
                    of_key: false,
                    message: format!("the default is not valid by its own schema: {error}"),
                });
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            path.extend(["properties".to_owned(), name.clone()]);
            self.check_defaults(property, path, flaws);
            path.truncate(path.len() - 2);
        }
        if let Some(items) = schema.get("items") {
            path.push("items".to_owned());
            self.check_defaults(items, path, flaws);
            path.pop();
        }
    }
}

/// The environment that carries parameters: `PARAM_<NAME>`, sorted by name.
///
/// Letters become upper case and `-` becomes `_`; nothing else changes, so `hostName` is `PARAM_HOSTNAME`. Text
/// stands as it is, numbers and truth values in their JSON form, lists and objects as canonical JSON.
#[must_use]
pub fn environment(params: &Params) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = params
        .value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                other => String::from_utf8_lossy(&to_canonical(other)).into_owned(),
            };
            (variable(name), text)
        })
        .collect();
    variables.sort();
    variables
}

/// The variable that carries a parameter.
fn variable(name: &str) -> String {
    format!("PARAM_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The schema as the library gets it: `additionalProperties` is always false.
fn closed(schema: &Value) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (keyword, value) in map {
        let value = match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                Value::Object(properties.iter().map(|(name, schema)| (name.clone(), closed(schema))).collect())
            }
            ("items", items) => closed(items),
            ("default" | "description" | "x-leading-dash", _) => continue,
            _ => value.clone(),
        };
        out.insert(keyword.clone(), value);
    }
    if map.get("type") == Some(&json!("object")) {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(out)
}

/// Fills in every default of `schema` that `value` lacks, inside lists and objects too.
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

/// What no schema is asked about: text that can't stand in an environment, numbers that are not whole.
fn check_plain(value: &Value, path: &mut Vec<String>, errors: &mut Vec<ParameterError>) {
    let mut refuse = |path: &[String], message: &str| {
        errors.push(ParameterError { pointer: pointer(path), message: message.to_owned() });
    };
    match value {
        Value::String(text) if text.contains('\0') => {
            refuse(path, "the text holds a NUL, which no environment can carry: remove it");
        }
        Value::Number(number) if number.as_i64().is_none_or(|number| number.unsigned_abs() > MAX_INTEGER) => {
            refuse(path, "only whole numbers within ±(2^53-1) are taken: give a fraction as text");
        }
        Value::Null => refuse(path, "null is no value: leave the parameter out"),
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
        Value::Array(_) | Value::Object(_) => refuse(path, "nested too deep: flatten it"),
        _ => {}
    }
}

/// Promise 6: text that begins with `-` could become an option of a command.
fn check_dashes(schema: &Value, value: &Value, path: &mut Vec<String>, errors: &mut Vec<ParameterError>) {
    match value {
        Value::String(text) if text.starts_with('-') && schema.get("x-leading-dash") != Some(&Value::Bool(true)) => {
            errors.push(ParameterError {
                pointer: pointer(path),
                message: "the text begins with `-` and could be taken for an option: leave the dash out, or let the runbook say `x-leading-dash: true`".to_owned(),
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

/// The pointer of the first thing that `complete` has and `value` lacks.
fn missing_default(value: &Value, complete: &Value, path: &mut Vec<String>) -> String {
    let children: Vec<(String, Option<&Value>, &Value)> = match (value, complete) {
        (Value::Object(a), Value::Object(b)) => b.iter().map(|(name, v)| (name.clone(), a.get(name), v)).collect(),
        (Value::Array(a), Value::Array(b)) => {
            b.iter().enumerate().map(|(index, v)| (index.to_string(), a.get(index), v)).collect()
        }
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

/// The check that a schema stays within the closed subset.
struct Checker {
    flaws: Vec<SchemaFlaw>,
    nodes: usize,
}

impl Checker {
    fn check_root(&mut self, schema: &Value) {
        if schema.get("type") != Some(&json!("object")) {
            self.flaw(&[], false, "parameters are an object: write type: object with properties".to_owned());
            return;
        }
        self.check(schema, &mut Vec::new());
        let mut variables: Vec<(String, &String)> = Vec::new();
        for name in schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
            let mapped = variable(name);
            if let Some((_, first)) = variables.iter().find(|(other, _)| *other == mapped) {
                let message = format!("{name:?} and {first:?} both become {mapped}: rename one");
                self.flaw(&["properties", name], true, message);
            }
            variables.push((mapped, name));
        }
        if schema.get("default").is_some() {
            self.flaw(&["default"], true, "the whole has no default: give each parameter its own".to_owned());
        }
    }

    fn check(&mut self, schema: &Value, path: &mut Vec<String>) {
        self.nodes += 1;
        if self.nodes == MAX_SCHEMA_NODES + 1 {
            self.at(path, &[], false, format!("more than {MAX_SCHEMA_NODES} schemas: make the parameters simpler"));
        }
        if self.nodes > MAX_SCHEMA_NODES {
            return;
        }
        if path.len() > MAX_SCHEMA_DEPTH {
            self.at(path, &[], false, "nested too deep: flatten it".to_owned());
            return;
        }
        let Value::Object(map) = schema else {
            self.at(path, &[], false, "a schema must be a map, {type: string} for one".to_owned());
            return;
        };
        let kind = match map.get("type") {
            Some(Value::String(kind)) if TYPES.contains(&kind.as_str()) => kind.clone(),
            Some(Value::String(kind)) if kind == "number" => {
                self.at(
                    path,
                    &["type"],
                    false,
                    "a fraction is text here: write type: string with a pattern, or integer".to_owned(),
                );
                return;
            }
            Some(Value::String(kind)) => {
                self.at(path, &["type"], false, yaml::unknown("type", kind, &TYPES));
                return;
            }
            Some(_) => {
                self.at(path, &["type"], false, format!("`type` must be one of {}", TYPES.join(", ")));
                return;
            }
            None => {
                self.at(path, &[], false, format!("`type` is missing: write one of {}", TYPES.join(", ")));
                return;
            }
        };
        for (keyword, value) in map {
            self.keyword(keyword, value, &kind, map, path);
        }
        match kind.as_str() {
            "array" if !map.contains_key("items") => {
                self.at(path, &[], false, "an array needs `items`: say what it holds".to_owned());
            }
            "object" if !map.contains_key("properties") => {
                self.at(path, &[], false, "an object needs `properties`: name what it holds".to_owned());
            }
            _ => {}
        }
        for (low, high) in [("minLength", "maxLength"), ("minimum", "maximum"), ("minItems", "maxItems")] {
            if let (Some(a), Some(b)) = (map.get(low).and_then(Value::as_i64), map.get(high).and_then(Value::as_i64))
                && a > b
            {
                self.at(path, &[high], false, format!("`{high}` is below `{low}`: no value fits"));
            }
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Value, kind: &str, map: &Map<String, Value>, path: &mut Vec<String>) {
        let of_kind = match keyword {
            "type" => return,
            "description" => {
                if !value.is_string() {
                    self.at(path, &[keyword], false, "`description` must be text".to_owned());
                }
                return;
            }
            "default" => return,
            "x-secret" => {
                self.at(path, &[keyword], true, yaml::not_yet("`x-secret`"));
                return;
            }
            "$ref" => {
                self.at(path, &[keyword], true, "`$ref` is not read: write the schema out".to_owned());
                return;
            }
            "enum" => return self.check_enum(value, kind, map, path),
            "const" => {
                self.member(value, kind, map, path, &["const"]);
                return;
            }
            "pattern" | "minLength" | "maxLength" | "x-leading-dash" => "string",
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => "integer",
            "items" | "minItems" | "maxItems" => "array",
            "properties" | "required" | "additionalProperties" => "object",
            other => {
                self.at(path, &[other], true, yaml::unknown("keyword", other, &KEYWORDS));
                return;
            }
        };
        if of_kind != kind {
            self.at(
                path,
                &[keyword],
                true,
                format!("`{keyword}` says nothing about {kind}: it is for {of_kind}, remove it"),
            );
            return;
        }
        match keyword {
            "pattern" => match value.as_str().map(check_pattern) {
                Some(Ok(PatternRead)) => {}
                Some(Err(message)) => self.at(path, &[keyword], false, message),
                None => self.at(path, &[keyword], false, "`pattern` must be text".to_owned()),
            },
            "x-leading-dash" if !value.is_boolean() => {
                self.at(path, &[keyword], false, "`x-leading-dash` must be true or false".to_owned());
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if value.as_i64().is_none_or(|number| number.unsigned_abs() > MAX_INTEGER) =>
            {
                self.at(path, &[keyword], false, format!("`{keyword}` must be a whole number within ±(2^53-1)"));
            }
            "minLength" | "maxLength" | "minItems" | "maxItems"
                if value.as_u64().is_none_or(|count| count > MAX_INTEGER) =>
            {
                self.at(path, &[keyword], false, format!("`{keyword}` must be a whole number, 0 or more"));
            }
            "additionalProperties" if *value != Value::Bool(false) => {
                self.at(
                    path,
                    &[keyword],
                    false,
                    "`additionalProperties` is always false here: leave it out".to_owned(),
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
            self.at(path, &["properties"], false, "`properties` must be a map of names to schemas".to_owned());
            return;
        };
        for (name, schema) in properties {
            if !is_parameter_name(name) {
                let message = format!(
                    "{name:?} is no name of a parameter: use letters, digits, _ and -, beginning with a letter or _, at most 64 bytes"
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
            self.at(path, &["required"], false, "`required` must be a list of names".to_owned());
            return;
        };
        for (index, name) in names.iter().enumerate() {
            let place = ["required", &index.to_string()];
            match name.as_str() {
                None => self.at(path, &place, false, "`required` must be a list of names".to_owned()),
                Some(name) if map.get("properties").and_then(|properties| properties.get(name)).is_none() => {
                    let known: Vec<&str> = map
                        .get("properties")
                        .and_then(Value::as_object)
                        .map(|properties| properties.keys().map(String::as_str).collect())
                        .unwrap_or_default();
                    self.at(path, &place, false, yaml::unknown("parameter in `required`", name, &known));
                }
                Some(_) if names[..index].contains(name) => {
                    self.at(path, &place, false, format!("{name} stands twice: name each once"));
                }
                Some(_) => {}
            }
        }
    }

    fn check_enum(&mut self, value: &Value, kind: &str, map: &Map<String, Value>, path: &[String]) {
        let Some(members) = value.as_array().filter(|members| !members.is_empty()) else {
            self.at(path, &["enum"], false, "`enum` must be a list of at least one value".to_owned());
            return;
        };
        for (index, member) in members.iter().enumerate() {
            let place = index.to_string();
            if members[..index].contains(member) {
                self.at(path, &["enum", &place], false, "this value stands twice: remove one".to_owned());
            }
            self.member(member, kind, map, path, &["enum", &place]);
        }
    }

    /// A value of `enum` or `const` must be one that could be given.
    fn member(&mut self, value: &Value, kind: &str, map: &Map<String, Value>, path: &[String], place: &[&str]) {
        let fits = match kind {
            "string" => value.is_string(),
            "integer" => value.as_i64().is_some_and(|number| number.unsigned_abs() <= MAX_INTEGER),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        if !fits {
            self.at(path, place, false, format!("this value is not of type {kind}: quote it or change it"));
        }
        let dash = value.as_str().is_some_and(|text| text.starts_with('-'));
        if dash && map.get("x-leading-dash") != Some(&Value::Bool(true)) {
            let message =
                "this value begins with `-` and would be refused: add `x-leading-dash: true` if the script can take it";
            self.at(path, place, false, message.to_owned());
        }
    }

    fn at(&mut self, path: &[String], more: &[&str], of_key: bool, message: String) {
        let path = path.iter().cloned().chain(more.iter().map(|&token| token.to_owned())).collect();
        self.flaws.push(SchemaFlaw { path, of_key, message });
    }

    fn flaw(&mut self, path: &[&str], of_key: bool, message: String) {
        self.at(&[], path, of_key, message);
    }
}

/// A pattern was found to be whole (`^…$`) and of the engine's linear-time language.
struct PatternRead;

/// Patterns begin `^`, end `$` and hold to what every engine reads alike: no look-around, no back-references, no
/// flags, no alternative outside parentheses (`^a|b$` is anchored on one side only).
fn check_pattern(pattern: &str) -> Result<PatternRead, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("the pattern is longer than {MAX_PATTERN_BYTES} bytes: shorten it"));
    }
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'))
        .filter(|inner| inner.chars().rev().take_while(|c| *c == '\\').count() % 2 == 0)
        .ok_or("the pattern must begin with ^ and end with $, so that the whole value is matched: write ^…$")?;
    let chars: Vec<char> = inner.chars().collect();
    let (mut depth, mut in_class, mut at) = (0_usize, 0_usize, 0);
    while at < chars.len() {
        match chars[at] {
            '\\' => {
                if chars.get(at + 1).is_some_and(|c| c.is_ascii_digit() || *c == 'k') && in_class == 0 {
                    return Err(
                        "back-references are not read by the linear-time engine: write the pattern out".to_owned()
                    );
                }
                at += 1;
            }
            '[' => in_class += 1,
            ']' if in_class > 0 => in_class -= 1,
            _ if in_class > 0 => {}
            '(' => {
                depth += 1;
                if chars.get(at + 1) == Some(&'?') {
                    match (chars.get(at + 2), chars.get(at + 3)) {
                        (Some(':'), _) => {}
                        (Some('=' | '!'), _) | (Some('<'), Some('=' | '!')) => {
                            return Err("look-around is not read by the linear-time engine: write the pattern without"
                                .to_owned());
                        }
                        _ => return Err("only plain groups, ( and (?:, are read: leave flags and names out".to_owned()),
                    }
                }
            }
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                return Err(
                    "an alternative outside parentheses is anchored on one side only: write ^(?:a|b)$".to_owned()
                );
            }
            '^' | '$' if depth == 0 || chars[at] == '^' => {
                return Err("^ and $ may stand only at the two ends: write \\^ or \\$ for the character".to_owned());
            }
            '$' => return Err("^ and $ may stand only at the two ends: write \\^ or \\$ for the character".to_owned()),
            _ => {}
        }
        at += 1;
    }
    regex::RegexBuilder::new(pattern).size_limit(MAX_COMPILED_PATTERN_BYTES).build().map(|_| PatternRead).map_err(
        |error| {
            let reason = error.to_string();
            format!(
                "the pattern can't be compiled: {}",
                reason.lines().last().unwrap_or_default().trim_start_matches("error: ")
            )
        },
    )
}

fn is_parameter_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=64).contains(&bytes.len())
        && (bytes[0].is_ascii_alphabetic() || bytes[0] == b'_')
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c))
}

/// A JSON pointer (RFC 6901) of tokens.
#[must_use]
pub fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut text, token| {
        text.push('/');
        text.push_str(&escape(token));
        text
    })
}

fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Bounds what a hostile value can make of a message.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
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
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
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
/// The most that a signed statement has room for.
pub const MAX_PARAMS_BYTES: usize = 16 << 10;
const MAX_PATTERN_BYTES: usize = 512;
/// Bounds the memory of a compiled pattern: a verifier compiles what a stranger wrote.
const MAX_COMPILED_PATTERN_BYTES: usize = 1 << 20;
/// Bounds the work of compiling.
const MAX_SCHEMA_NODES: usize = 256;
/// In tokens of the path: eight objects in one another.
const MAX_SCHEMA_DEPTH: usize = 16;
/// The strict reader goes as deep.
const MAX_VALUE_DEPTH: usize = 32;
const MAX_INTEGER: u64 = (1 << 53) - 1;
/// As many errors as a person reads.
const MAX_ERRORS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compile(properties: Value, required: &[&str]) -> ParameterSchema {
        ParameterSchema::compile(&json!({"type": "object", "properties": properties, "required": required}))
            .expect("a schema")
    }

    fn flaws(schema: &Value) -> Vec<String> {
        ParameterSchema::compile(schema)
            .map_or_else(|flaws| flaws.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    fn errors(schema: &ParameterSchema, value: Value) -> Vec<String> {
        schema.complete(value).map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn the_golden_parameters_have_their_known_digest() {
        let schema = compile(
            json!({"drain": {"default": true, "type": "boolean"}, "host": {"pattern": "^[a-z0-9-]{1,32}$", "type": "string"}}),
            &["host"],
        );
        let params = schema.complete(json!({"host": "web-3"})).expect("valid");
        assert_eq!(&params.canonical()[..], br#"{"drain":true,"host":"web-3"}"#);
        assert_eq!(
            params.digest().to_string(),
            "sha256:14543be370b62713c78e768c1bb831f932285b3fc617d8fe67ea7e1aa0d74f27"
        );
        assert_eq!(schema.check(params.value()).as_ref(), Ok(&params));
        let incomplete = schema.check(&json!({"host": "web-3"})).expect_err("incomplete");
        assert_eq!(incomplete[0].pointer, "/drain");
        assert_eq!(
            environment(&params),
            [("PARAM_DRAIN".to_owned(), "true".to_owned()), ("PARAM_HOST".to_owned(), "web-3".to_owned())]
        );
    }

    #[test]
    fn a_pattern_does_not_match_before_a_trailing_newline() {
        for pattern in ["^[a-z]+$", "^abc$", "^(?:abc|d)$", "^[a-z]{1,5}$", "^abc", "^\\w+$"] {
            let Ok(schema) = ParameterSchema::compile(
                &json!({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}),
            ) else {
                assert_eq!(pattern, "^abc");
                continue;
            };
            assert!(schema.complete(json!({"a": "abc"})).is_ok(), "{pattern}");
            for bad in ["abc\n", "\nabc", "abc\nabc", "abc\r\n", "abc\u{2028}"] {
                assert!(schema.complete(json!({"a": bad})).is_err(), "{pattern} {bad:?}");
            }
        }
    }

    #[test]
    fn values_outside_the_schema_are_refused_with_their_pointer() {
        let schema = compile(
            json!({
                "host": {"type": "string", "maxLength": 5},
                "n": {"type": "integer", "minimum": 1, "default": 3},
                "list": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "default": []},
                "deep": {"type": "object", "properties": {"x": {"type": "string", "enum": ["a", "b"]}}, "default": {}},
                "flag": {"type": "string", "x-leading-dash": true, "default": ""}
            }),
            &["host"],
        );
        for (value, expected) in [
            (json!({}), "/host: \"host\" is missing: give it a value"),
            (json!({"hots": "a", "host": "b"}), "/hots: unknown parameter: \"hots\"; did you mean \"host\"?"),
            (json!({"host": "-rf"}), "/host: the text begins with `-`"),
            (json!({"host": "a", "list": ["b", "-c"]}), "/list/1: the text begins with `-`"),
            (json!({"host": "a", "deep": {"x": "-c"}}), "/deep/x: "),
            (json!({"host": "a", "deep": {"y": "c"}}), "/deep/y: unknown parameter"),
            (json!({"host": "a\u{0}"}), "/host: the text holds a NUL"),
            (json!({"host": "abcdef"}), "/host: "),
            (json!({"host": 1}), "/host: "),
            (json!({"host": null}), "/host: null"),
            (json!({"host": "a", "n": 0}), "/n: "),
            (json!({"host": "a", "n": 1.0}), "/n: only whole numbers"),
            (json!({"host": "a", "n": 9_007_199_254_740_992_i64}), "/n: only whole numbers"),
            (json!({"host": "a", "n": u64::MAX}), "/n: only whole numbers"),
            (json!({"host": "a", "n": "1"}), "/n: "),
            (json!({"host": "a", "list": ["a", "b", "c"]}), "/list: "),
            (json!([]), "[] is not of type"),
            (json!("x"), "\"x\" is not of type"),
        ] {
            let found = errors(&schema, value.clone());
            assert!(found.iter().any(|error| error.starts_with(expected)), "{value}: {found:?}");
        }
        assert!(schema.complete(json!({"host": "a", "flag": "-v"})).is_ok(), "its schema allows the dash");
        let large = compile(json!({"a": {"type": "string"}}), &["a"]);
        assert!(large.complete(json!({"a": "x".repeat(MAX_PARAMS_BYTES - 8)})).is_ok());
        assert!(errors(&large, json!({"a": "x".repeat(MAX_PARAMS_BYTES)}))[0].contains("16384"));
    }

    #[test]
    fn what_is_outside_the_subset_is_refused_with_its_place() {
        let property = |schema: Value| json!({"type": "object", "properties": {"a": schema}, "required": []});
        for (schema, expected) in [
            (json!({"type": "strnig"}), "/properties/a/type: unknown type: \"strnig\"; did you mean \"string\"?"),
            (json!({"type": "number"}), "/properties/a/type: a fraction is text here"),
            (json!({"type": ["string"]}), "/properties/a/type: `type` must be one of"),
            (json!({}), "/properties/a: `type` is missing"),
            (json!("string"), "/properties/a: a schema must be a map"),
            (
                json!({"type": "string", "patern": "^a$"}),
                "/properties/a/patern: unknown keyword: \"patern\"; did you mean \"pattern\"?",
            ),
            (json!({"type": "string", "format": "ipv4"}), "/properties/a/format: unknown keyword"),
            (json!({"type": "string", "$ref": "#"}), "/properties/a/$ref: `$ref` is not read"),
            (
                json!({"type": "string", "x-secret": true}),
                "/properties/a/x-secret: `x-secret` is not supported by this version",
            ),
            (
                json!({"type": "integer", "minLength": 1}),
                "/properties/a/minLength: `minLength` says nothing about integer",
            ),
            (json!({"type": "string", "pattern": "a$"}), "/properties/a/pattern: the pattern must begin with ^"),
            (json!({"type": "string", "pattern": "^a"}), "/properties/a/pattern: the pattern must begin with ^"),
            (json!({"type": "string", "pattern": "^a\\$"}), "/properties/a/pattern: the pattern must begin with ^"),
            (json!({"type": "string", "pattern": "^a|b$"}), "/properties/a/pattern: an alternative outside"),
            (json!({"type": "string", "pattern": "^(?=a).*$"}), "/properties/a/pattern: look-around"),
            (json!({"type": "string", "pattern": "^(?<!a)b$"}), "/properties/a/pattern: look-around"),
            (json!({"type": "string", "pattern": "^(?m)a$"}), "/properties/a/pattern: only plain groups"),
            (json!({"type": "string", "pattern": "^(a)\\1$"}), "/properties/a/pattern: back-references"),
            (
                json!({"type": "string", "pattern": "^(a$"}),
                "/properties/a/pattern: the pattern can't be compiled: unclosed group",
            ),
            (json!({"type": "string", "pattern": "^a$|^b$"}), "/properties/a/pattern: ^ and $ may stand"),
            (
                json!({"type": "string", "pattern": format!("^{}$", "a".repeat(511))}),
                "/properties/a/pattern: the pattern is longer",
            ),
            (
                json!({"type": "string", "pattern": "^(?:a{1000}){1000}$"}),
                "/properties/a/pattern: the pattern can't be compiled",
            ),
            (json!({"type": "string", "pattern": 1}), "/properties/a/pattern: `pattern` must be text"),
            (json!({"type": "string", "minLength": -1}), "/properties/a/minLength: "),
            (
                json!({"type": "string", "minLength": 3, "maxLength": 2}),
                "/properties/a/maxLength: `maxLength` is below",
            ),
            (json!({"type": "integer", "minimum": 1.5}), "/properties/a/minimum: "),
            (json!({"type": "integer", "enum": []}), "/properties/a/enum: "),
            (json!({"type": "integer", "enum": [1, "2"]}), "/properties/a/enum/1: this value is not of type integer"),
            (json!({"type": "integer", "enum": [1, 1]}), "/properties/a/enum/1: this value stands twice"),
            (json!({"type": "string", "enum": ["-a"]}), "/properties/a/enum/0: this value begins with `-`"),
            (json!({"type": "string", "const": 1}), "/properties/a/const: "),
            (json!({"type": "string", "default": "-a"}), "/properties/a/default: the default is not valid"),
            (json!({"type": "string", "default": 1}), "/properties/a/default: the default is not valid"),
            (
                json!({"type": "string", "pattern": "^a$", "default": "b"}),
                "/properties/a/default: the default is not valid",
            ),
            (json!({"type": "array"}), "/properties/a: an array needs `items`"),
            (json!({"type": "array", "items": {"type": "x"}}), "/properties/a/items/type: unknown type"),
            (json!({"type": "object"}), "/properties/a: an object needs `properties`"),
            (
                json!({"type": "object", "properties": {"b c": {"type": "string"}}}),
                "/properties/a/properties/b c: \"b c\" is no name",
            ),
            (
                json!({"type": "object", "properties": {}, "additionalProperties": true}),
                "/properties/a/additionalProperties: ",
            ),
            (
                json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["c"]}),
                "/properties/a/required/0: unknown parameter",
            ),
        ] {
            let found = flaws(&property(schema.clone()));
            assert!(found.iter().any(|flaw| flaw.starts_with(expected)), "{schema}: {found:?}");
        }
        for (schema, expected) in [
            (json!({"type": "string"}), ": parameters are an object"),
            (json!({"type": "object", "properties": {"1a": {"type": "string"}}}), "/properties/1a: \"1a\" is no name"),
            (
                json!({"type": "object", "properties": {"a-b": {"type": "string"}, "A_b": {"type": "string"}}}),
                "/properties/a-b: \"a-b\" and \"A_b\" both become PARAM_A_B: rename one",
            ),
            (json!({"type": "object", "properties": {}, "default": {}}), "/default: the whole has no default"),
        ] {
            let found = flaws(&schema);
            assert!(found.iter().any(|flaw| flaw.starts_with(expected)), "{schema}: {found:?}");
        }
        let wide: Map<String, Value> = (0..257).map(|n| (format!("p{n}"), json!({"type": "boolean"}))).collect();
        assert!(flaws(&json!({"type": "object", "properties": wide}))[0].contains("more than 256"));
        let deep = (0..20).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}));
        assert!(flaws(&property(deep))[0].contains("too deep"));
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
        fn completing_is_idempotent_and_no_text_begins_with_a_dash(
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
        fn names_of_variables_are_distinct(names in prop::collection::btree_set("[a-bA-B_-]{1,3}", 1..5)) {
            let properties: Map<String, Value> =
                names.iter().map(|name| (name.clone(), json!({"type": "string", "default": "v"}))).collect();
            if let Ok(schema) = ParameterSchema::compile(&json!({"type": "object", "properties": properties})) {
                let params = schema.complete(json!({})).expect("all have defaults");
                let variables: std::collections::BTreeSet<String> =
                    environment(&params).into_iter().map(|(name, _)| name).collect();
                prop_assert_eq!(variables.len(), names.len());
                prop_assert!(variables.iter().all(|name| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')));
            }
        }

        #[test]
        fn no_pattern_panics(pattern in "[\\^\\\\$()\\[\\]|?:=!<a-c{},0-9]{0,16}") {
            let _ = ParameterSchema::compile(
                &json!({"type": "object", "properties": {"a": {"type": "string", "pattern": format!("^{pattern}$")}}}),
            )
            .map(|schema| schema.complete(json!({"a": "abc"})).is_ok());
        }
    }
}
