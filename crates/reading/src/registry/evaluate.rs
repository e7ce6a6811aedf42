//! Checks whether a value fits the declaration of its parameter, and whether a pattern of a parameter has the same
//! meaning in every regex engine.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::yaml;
use documents::{Parameter, ParameterType, json::MAX_INTEGER, locked, secret_name};

/// Returns the errors of a value, at most [`MAX_ERRORS`]. With `fill`, the missing defaults are added. Otherwise a
/// missing default is an error.
pub fn evaluate(
    one: &Parameter,
    value: &mut Value,
    fill: bool,
    patterns: &ParameterPatterns,
) -> Vec<ParameterError> {
    let mut evaluation = Evaluation {
        fill,
        patterns,
        errors: Vec::new(),
    };
    evaluation.value(one, value, "");
    evaluation.errors.truncate(MAX_ERRORS);
    evaluation.errors
}

/// State of a comparison between a value and its declaration.
struct Evaluation<'p> {
    fill: bool,
    patterns: &'p ParameterPatterns,
    errors: Vec<ParameterError>,
}

impl Evaluation<'_> {
    fn value(&mut self, one: &Parameter, value: &mut Value, at: &str) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        if one.secret.is_some() {
            let is_name = value.as_object().is_some_and(|entries| entries.len() == 1)
                && secret_name(value).is_some();
            if !is_name {
                self.refuse(at, NAME_THE_SECRET);
            }
            return;
        }
        // The text of a value with a secret part could contain the secret.
        let shown = |value: &Value| match one.has_secret() {
            true => "the value".to_owned(),
            false => value.to_string(),
        };
        match (one.kind, &mut *value) {
            (ParameterType::String, Value::String(text)) => self.text(one, text, at),
            (ParameterType::Integer, Value::Number(number)) => match whole(number) {
                Some(number) => self.limits(one, number, &number.to_string(), OF_NUMBER, at),
                None => self.refuse(
                    at,
                    "only whole numbers within +-(2^53-1) are allowed: give a fraction as text",
                ),
            },
            (ParameterType::Boolean, Value::Bool(_)) => {}
            (ParameterType::Array, Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(inner) = &one.items {
                        self.value(inner, item, &format!("{at}/{index}"));
                    }
                }
                self.limits(one, items.len() as i64, &shown(value), OF_ARRAY, at);
            }
            (ParameterType::Object, Value::Object(entries)) => self.object(one, entries, at),
            (_, Value::Null) => self.refuse(at, "null is not a value: leave out the parameter"),
            (kind, value) => {
                let message = format!("{} is not of type \"{kind}\"", shown(value));
                self.refuse(at, &message);
            }
        }
        if let Some(choices) = &one.choices
            && !choices.contains(value)
        {
            self.refuse(at, &format!("{value} is not one of {}", listed(choices)));
        }
    }

    fn text(&mut self, one: &Parameter, text: &str, at: &str) {
        let shown = Value::from(text).to_string();
        if text.contains('\0') {
            self.refuse(
                at,
                "the text contains a NUL character, which an environment variable can't contain: remove the character",
            );
        }
        // A text with a leading dash could become an option of a command (promise 6 in `docs/security-claims.md`).
        if text.starts_with('-') && !one.allows_dash() {
            self.refuse(
                at,
                "the text begins with `-`, so a program could use the text as an option: remove the dash; the author of the \
                 runbook can allow it, in Countersign Markdown with `x-leading-dash: true`, in a Gruntwork page with an enum \
                 or a `regex` that begins with ^-",
            );
        }
        self.limits(one, text.chars().count() as i64, &shown, OF_TEXT, at);
        if let Some(pattern) = &one.pattern
            && !self
                .patterns
                .get(pattern)
                .is_ok_and(|compiled| compiled.is_match(text))
        {
            let message = format!("{} does not match {pattern}", cut(&shown));
            self.errors.push(ParameterError {
                pointer: at.to_owned(),
                message,
            });
        }
    }

    /// Checks a number, or the number of the characters or items of a value.
    fn limits(&mut self, one: &Parameter, number: i64, shown: &str, of: LimitWords, at: &str) {
        let (low, high) = one.limits();
        let (limit, message) = match (low, high) {
            (Some(limit), _) if number < limit => (limit, of.0),
            (_, Some(limit)) if number > limit => (limit, of.1),
            _ => return,
        };
        let s = if limit == 1 { "" } else { "s" };
        let message = match of.2 {
            "" => format!("{shown} {message} {limit}"),
            part => format!("{shown} {message} {limit} {part}{s}"),
        };
        self.refuse(at, &message);
    }

    fn object(&mut self, one: &Parameter, entries: &mut Map<String, Value>, at: &str) {
        for (name, inner) in one.keys() {
            let at = format!("{at}/{}", escape(name));
            match (entries.get_mut(name), &inner.default) {
                (Some(value), _) => self.value(inner, value, &at),
                (None, Some(default)) if self.fill => {
                    let mut value = default.clone();
                    self.value(inner, &mut value, &at);
                    entries.insert(name.clone(), value);
                }
                (None, Some(_)) => self.refuse(
                    &at,
                    "the value is missing and has a default, but signed parameters must be complete",
                ),
                (None, None) if one.requires(name) => {
                    let message = format!("{name:?} is missing: add a value for this parameter");
                    self.refuse(&at, &message);
                }
                (None, None) => {}
            }
        }
        // One error about an unknown parameter is enough, because the proposer then finds the mistake.
        if let Some(name) = entries.keys().find(|name| one.key(name).is_none()) {
            let known = key_names(one);
            let message = if known.is_empty() {
                format!(
                    "unknown parameter {:?}: this step takes none here",
                    cut(name)
                )
            } else {
                yaml::unknown("parameter", &cut(name), &known)
            };
            self.refuse(&format!("{at}/{}", escape(name)), &message);
        }
    }

    fn refuse(&mut self, at: &str, message: &str) {
        self.errors.push(ParameterError {
            pointer: at.to_owned(),
            message: cut(message),
        });
    }
}

/// Returns the names of the keys of an object.
pub fn key_names(one: &Parameter) -> Vec<&str> {
    one.keys().map(|(name, _)| name.as_str()).collect()
}

/// Returns a whole number within +-(2^53-1).
fn whole(number: &serde_json::Number) -> Option<i64> {
    number
        .as_i64()
        .filter(|number| number.unsigned_abs() <= MAX_INTEGER)
}

/// The message does not repeat the value, because the value may be the secret itself.
const NAME_THE_SECRET: &str = "the parameter is secret: give the name of a secret, for example {\"secret\": \"db-password\"}, \
                               and never the secret itself";

/// Words for a value below its lower limit and above its upper limit, and for the parts that are counted.
type LimitWords = (&'static str, &'static str, &'static str);

const OF_NUMBER: LimitWords = (
    "is less than the minimum of",
    "is greater than the maximum of",
    "",
);
const OF_TEXT: LimitWords = ("is shorter than", "is longer than", "character");
const OF_ARRAY: LimitWords = ("has less than", "has more than", "item");

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

/// Error in the given parameters, with its place.
#[derive(Debug, PartialEq)]
pub struct ParameterError {
    /// JSON pointer (RFC 6901) into the parameters. The pointer is empty if the error concerns all parameters
    /// together.
    pub pointer: String,
    /// Description of the error and its correction. Long values are cut.
    pub message: String,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParameterError {}

/// Returns a name as a token of a JSON pointer (RFC 6901).
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Cuts a text to 300 characters, because a hostile value could make a message very long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Compiled patterns, with their texts as keys. A registry may have thousands of steps, but few are used at the same
/// time. Therefore a pattern is compiled when it is first used, and at most [`MAX_COMPILED`] compiled patterns are
/// kept.
#[derive(Debug, Default)]
pub struct ParameterPatterns(Mutex<HashMap<Box<str>, Arc<Regex>>>);

impl ParameterPatterns {
    /// Checks that the pattern is allowed, and returns the compiled pattern.
    ///
    /// # Errors
    /// Returns the problem in the pattern and the correct form.
    pub fn get(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        let lock = || locked(&self.0);
        if let Some(compiled) = lock().get(pattern) {
            return Ok(Arc::clone(compiled));
        }
        check_text(pattern)?;
        let compiled = Arc::new(compile(pattern)?);
        let mut kept = lock();
        if kept.len() >= MAX_COMPILED {
            kept.clear();
        }
        kept.insert(pattern.into(), Arc::clone(&compiled));
        Ok(compiled)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        locked(&self.0).len()
    }
}

/// Checks that a pattern begins with `^`, ends with `$` and has the same meaning in every regex engine. Look-around,
/// back-references and flags are refused. Alternatives outside parentheses are refused too, because each alternative of
/// `^a|b$` is anchored on one side only.
fn check_text(pattern: &str) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern is longer than {MAX_PATTERN_BYTES} bytes: shorten the pattern"
        ));
    }
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'))
        .filter(|inner| inner.chars().rev().take_while(|c| *c == '\\').count() % 2 == 0)
        .ok_or(
            "the pattern must begin with ^ and end with $, so that the pattern matches the whole value: write ^...$",
        )?;
    let chars: Vec<char> = inner.chars().collect();
    let (mut depth, mut in_class, mut at) = (0_usize, false, 0);
    while at < chars.len() {
        match chars[at] {
            '\\' => {
                if chars
                    .get(at + 1)
                    .is_some_and(|c| c.is_ascii_digit() || *c == 'k')
                    && !in_class
                {
                    return Err("the linear-time engine does not support back-references: write the pattern without \
                                back-references"
                        .to_owned());
                }
                if chars.get(at + 1) == Some(&'a') && !in_class {
                    return Err("not every engine supports the escape \\a: write \\x07".to_owned());
                }
                at += 1;
            }
            // Regex engines disagree about nested classes, POSIX classes and set operations, so these characters are
            // refused inside brackets.
            '[' if in_class => {
                return Err(
                    "engines disagree about the meaning of [ inside brackets: write \\[".to_owned(),
                );
            }
            c @ ('&' | '-' | '~') if in_class && chars.get(at + 1) == Some(&c) => {
                return Err(format!(
                    "engines disagree about the meaning of {c}{c} inside brackets: write \\{c}"
                ));
            }
            // In ECMA-262, `[]` is an empty class, but other engines read `]` as the first member of the class.
            '[' if chars.get(at + 1 + usize::from(chars.get(at + 1) == Some(&'^')))
                == Some(&']') =>
            {
                return Err(
                    "engines disagree about the meaning of ] directly after [ or [^: write \\]"
                        .to_owned(),
                );
            }
            '[' => in_class = true,
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '(' => {
                depth += 1;
                if chars.get(at + 1) == Some(&'?') {
                    match (chars.get(at + 2), chars.get(at + 3)) {
                        (Some(':'), _) => {}
                        (Some('=' | '!'), _) | (Some('<'), Some('=' | '!')) => {
                            return Err(
                                "the linear-time engine does not support look-around: write the pattern without \
                                        look-around"
                                    .to_owned(),
                            );
                        }
                        _ => {
                            return Err(
                                "only plain groups, ( and (?:, are supported: remove flags and names".to_owned()
                            );
                        }
                    }
                }
            }
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                return Err(
                    "an alternative outside parentheses is anchored only at one end: write ^(?:a|b)$".to_owned()
                );
            }
            '^' | '$' => {
                return Err(
                    "^ and $ are allowed only at the two ends: write \\^ or \\$ for the character"
                        .to_owned(),
                );
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Compiles the pattern with the meaning of ECMA-262. The original pattern is compiled too, so that the size limit
/// applies to both forms.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| {
                let reason = error.to_string();
                format!(
                    "the pattern can't be compiled: {}",
                    reason
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: ")
                )
            })
    };
    let written = build(pattern)?;
    let text = translated(pattern);
    if text == pattern {
        Ok(written)
    } else {
        build(&text)
    }
}

/// Replaces `\d`, `\w` and `\s` with the ASCII classes of ECMA-262, because the engine's own classes contain all of
/// Unicode.
fn translated(pattern: &str) -> String {
    let mut text = String::new();
    let mut chars = pattern.chars();

    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        let class = match escaped {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('w') => "[A-Za-z0-9_]",
            Some('W') => "[^A-Za-z0-9_]",
            Some('s') => SPACE,
            Some('S') => NO_SPACE,
            _ => {
                text.push(c);
                text.extend(escaped);
                continue;
            }
        };
        text.push_str(class);
    }
    text
}

/// Characters that are white space or line ends in ECMA-262.
const SPACE: &str =
    r"[\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const NO_SPACE: &str =
    r"[^\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const MAX_PATTERN_BYTES: usize = 512;
/// Maximum memory of a compiled pattern, in bytes, because a verifier also compiles patterns of unknown authors.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// Maximum number of compiled patterns. Each needs about 50 KB of memory.
const MAX_COMPILED: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(declared: &Value, value: &Value) -> Vec<ParameterError> {
        let declared = serde_json::from_value(declared.clone()).expect("declared");
        let patterns = ParameterPatterns::default();
        evaluate(&declared, &mut value.clone(), true, &patterns)
    }

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
            let errors = errors(&schema, &value);
            let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
            assert_eq!(messages, [message], "{schema} {value}");
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
            let errors = errors(&schema, &value);
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
