//! The fields of a step, from the schema of its parameters, and their inputs in a form.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::{PlaceOnPage, notebook::board::id};
use client::{PrintableText, typed};
use console::{FieldError, FieldErrors, FormFields};
use documents::{Parameter, ParameterType, visible};
use reading::RegisteredStep;

/// How a person gives a value.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// One line of text.
    Line,
    /// A whole number or a number.
    Number,
    /// One of these values, as the command line would take them.
    Choice(Vec<String>),
    /// Several lines of JSON.
    Json,
    /// The name of one of these secrets, whose values the page never has.
    Secret(Vec<String>),
}

/// A field of a form.
#[derive(Clone)]
pub struct FormField {
    /// Name of the parameter.
    pub name: String,
    /// Kind of the field.
    pub kind: FieldKind,
    /// Description from the schema.
    pub description: String,
    /// Rules from the schema that the value must follow, in words.
    pub rules: Vec<String>,
    /// Default, as the command line would take it.
    pub default: Option<String>,
    /// True if the step needs the value.
    pub required: bool,
}

impl FormField {
    /// Returns an example of a value that the step needs, or no text. A schema with a pattern may not allow the
    /// example.
    pub fn example(&self) -> String {
        match &self.kind {
            _ if !self.required => String::new(),
            FieldKind::Choice(values) => values.first().cloned().unwrap_or_default(),
            FieldKind::Number => "1".to_owned(),
            FieldKind::Line => "example".to_owned(),
            FieldKind::Secret(names) => names
                .first()
                .cloned()
                .unwrap_or_else(|| "example".to_owned()),
            FieldKind::Json => String::new(),
        }
    }
}

/// Returns a value as the command line takes it.
fn as_typed(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the fields for the parameters of a step, sorted by name. `secrets` are the names of the secrets that the
/// command can give.
pub fn fields(all: &Parameter, secrets: &[String]) -> Vec<FormField> {
    all.keys()
        .map(|(name, declared)| field(name, declared, all.requires(name), secrets))
        .collect()
}

fn field(name: &str, declared: &Parameter, required: bool, secrets: &[String]) -> FormField {
    let is_secret = declared.secret.is_some();
    let kind = match (&declared.choices, declared.kind) {
        _ if is_secret => FieldKind::Secret(secrets.to_vec()),
        (Some(values), _) => FieldKind::Choice(values.iter().map(as_typed).collect()),
        (None, ParameterType::Boolean) => {
            FieldKind::Choice(vec!["true".to_owned(), "false".to_owned()])
        }
        (None, ParameterType::Integer) => FieldKind::Number,
        (None, ParameterType::Array | ParameterType::Object) => FieldKind::Json,
        (None, ParameterType::String) => FieldKind::Line,
    };
    let pattern = declared.pattern.iter().map(|one| format!("matches {one}"));
    let unit = match declared.kind {
        ParameterType::String => "characters ",
        ParameterType::Array => "items ",
        _ => "",
    };
    let (low, high) = declared.limits();
    let limits = [("at least", low), ("at most", high)].into_iter();
    let limits = limits.filter_map(|(words, limit)| Some(format!("{unit}{words} {}", limit?)));
    let mut rules: Vec<String> = pattern.chain(limits).collect();
    if is_secret {
        rules.push("the name of a secret, never its value".to_owned());
        if secrets.is_empty() {
            rules.push(
                "the command has no secret: start it with --secret NAME=env:VARIABLE".to_owned(),
            );
        }
    }
    let default = declared.default.as_ref().map(as_typed);
    FormField {
        name: name.to_owned(),
        kind,
        description: declared.description.clone().unwrap_or_default(),
        rules,
        required: required && default.is_none(),
        default,
    }
}

/// Prefix of the names of a form's fields, so that no parameter has the name of another field.
pub const PREFIX: &str = "p.";

/// Prefix of the names of the boxes with which a person confirms an admonition.
pub const CONFIRM: &str = "c.";

/// Name of the field with the digest of the step that the person saw.
pub const DIGEST: &str = "digest";

/// Returns what the person gave, as `NAME=VALUE` for the parser of the command line. An empty field is not given,
/// unless the person has removed the default of a text.
pub fn given(fields: &[FormField], sent: &FormFields) -> Vec<String> {
    let of_field = |field: &FormField| {
        let value = sent.get(&field.name)?;
        let is_removed = field.kind == FieldKind::Line
            && field.default.as_ref().is_some_and(|text| !text.is_empty());
        let value = match field.kind {
            _ if value.is_empty() && !is_removed => return None,
            FieldKind::Secret(_) => json!({ "secret": value }).to_string(),
            _ => value.clone(),
        };
        Some(format!("{}={value}", field.name))
    };
    fields.iter().filter_map(of_field).collect()
}

/// A form that was refused, so that its step did not run.
pub struct RefusedStep {
    /// Place of the step.
    pub place: PlaceOnPage,
    /// What the person typed, by the names of the parameters.
    pub sent: FormFields,
    /// What was wrong.
    pub errors: FieldErrors,
}

/// Returns the id of a field of the form `of`.
pub fn field_id(of: &str, field: usize) -> String {
    format!("{of}-{field}")
}

/// Reads what a person typed as values of the declared types. Returns the values, and the errors of the other fields.
pub fn typed_values(
    fields: &[FormField],
    sent: &FormFields,
    all: &Parameter,
) -> (Map<String, Value>, FormFields) {
    let (mut values, mut wrong) = (Map::new(), BTreeMap::new());
    for one in given(fields, sent) {
        let name = one.split_once('=').map_or("", |(name, _)| name);
        match typed(&one, all) {
            Ok((name, value)) => drop(values.insert(name, value)),
            Err(failure) => drop(wrong.insert(name.to_owned(), failure.message)),
        }
    }
    (values, wrong)
}

/// Returns the id of the box with which a person confirms an admonition.
pub fn confirmation_id(place: PlaceOnPage, number: usize) -> String {
    format!("{}-confirm-{number}", id(place))
}

/// Checks what a person typed into the fields of a step. A missing value is no error if an earlier step may have
/// written it as an output.
pub fn field_errors(
    place: PlaceOnPage,
    step: &RegisteredStep,
    fields: &[FormField],
    sent: &FormFields,
    may_be_missing: bool,
) -> FieldErrors {
    let (values, mut found) = typed_values(fields, sent, &step.definition.params);
    for message in found.values_mut() {
        *message = message
            .rfind(ASKED)
            .map_or("", |at| &message[at..])
            .to_owned();
    }
    for error in step
        .schema
        .complete(Value::Object(values.clone()))
        .err()
        .unwrap_or_default()
    {
        let name = error
            .pointer
            .split('/')
            .nth(1)
            .unwrap_or_default()
            .replace("~1", "/")
            .replace("~0", "~");
        if values.contains_key(&name) || !may_be_missing {
            found.entry(name).or_insert(error.message);
        }
    }
    for field in fields {
        let wanted = sent.get(&field.name).filter(|name| !name.is_empty());
        if let (FieldKind::Secret(names), Some(name)) = (&field.kind, wanted)
            && !names.contains(name)
        {
            found.insert(field.name.clone(), String::new());
        }
    }
    let shown = fields.iter().enumerate().filter_map(|(at, field)| {
        let message = found.remove(&field.name)?;
        // The text of a secret field may be a secret, which no message repeats.
        let message = match field.kind {
            FieldKind::Secret(_) => "choose the name of a secret that this command has".to_owned(),
            _ => PrintableText::text(&message).to_string(),
        };
        Some(FieldError {
            id: field_id(&id(place), at),
            label: field.name.clone(),
            message,
        })
    });
    FieldErrors(shown.collect())
}

/// Beginning of the part of a message that says what the schema asks for. The part before it repeats the value.
const ASKED: &str = "the schema asks for";

/// Returns the errors that `named` has for these fields.
pub fn errors_of(of: &str, fields: &[FormField], named: &FormFields) -> FieldErrors {
    let errors = fields.iter().enumerate().filter_map(|(at, field)| {
        let message = visible(named.get(&field.name)?);
        Some(FieldError {
            id: field_id(of, at),
            label: field.name.clone(),
            message,
        })
    });
    FieldErrors(errors.collect())
}

/// Returns the inputs for these fields, with the given values or else the defaults, and each error beside its field.
/// `of` is the fragment of the step, and `prefix` the beginning of the names in the form.
pub fn field_inputs(
    of: &str,
    prefix: &str,
    fields: &[FormField],
    given: &FormFields,
    errors: &FieldErrors,
) -> Markup {
    html! {
        @if !fields.is_empty() { div.fields {
            @for (at, field) in fields.iter().enumerate() {
                @let (key, name) = (field_id(of, at), format!("{prefix}{}", field.name));
                @let hint = format!("{key}-hint");
                @let (wrong, described) = (errors.invalid(&key), errors.described(&key, &hint));
                @let value = given.get(&field.name).or(field.default.as_ref()).map_or("", String::as_str);
                div {
                    label for=(key) { (field.name) @if field.required { " (required)" } }
                    p.hint id=(hint) { (visible(&field.description)) @if !field.rules.is_empty() { " (" (visible(&field.rules.join(", "))) ")" } }
                    @match &field.kind {
                        FieldKind::Choice(values) | FieldKind::Secret(values) => {
                            select id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] required[field.required] {
                                @if !values.iter().any(|one| one == value) { option value="" { "(choose)" } }
                                @for one in values { option value=(one) selected[one == value] { (visible(one)) } }
                            }
                        }
                        FieldKind::Json => textarea id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] rows="3" required[field.required] { (value) },
                        FieldKind::Number => input id=(key) name=(name) inputmode="decimal" aria-describedby=(described) aria-invalid=[wrong] value=(value) required[field.required];,
                        FieldKind::Line => input id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] value=(value) autocomplete="off" required[field.required];,
                    }
                    (errors.beside(&key))
                }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_gives_its_fields_and_empty_fields_are_not_given() {
        let schema = serde_json::from_value(
            json!({"type": "object", "required": ["host", "n"], "properties": {
                "host": {"type": "string", "pattern": "^web-[0-9]+$", "description": "The host"},
                "n": {"type": "integer", "minimum": 1, "default": 2},
                "how": {"type": "string", "enum": ["fast", "slow"]},
                "sure": {"type": "boolean"},
                "zone": {"type": "string", "default": "a"},
                "password": {"type": "string", "x-secret": true},
            }}),
        )
        .expect("declared");
        let fields = fields(&schema, &["db".to_owned()]);
        let by = |name: &str| {
            fields
                .iter()
                .find(|field| field.name == name)
                .expect("a field")
        };
        assert_eq!(by("host").kind, FieldKind::Line);
        assert_eq!(by("host").rules, ["matches ^web-[0-9]+$"]);
        assert!(by("host").required && !by("n").required);
        assert_eq!(by("n").default.as_deref(), Some("2"));
        assert_eq!(
            by("how").kind,
            FieldKind::Choice(vec!["fast".to_owned(), "slow".to_owned()])
        );
        assert_eq!(
            by("password").kind,
            FieldKind::Secret(vec!["db".to_owned()])
        );
        let sent = [
            ("host", "web-1"),
            ("how", ""),
            ("other", "x"),
            ("zone", ""),
            ("password", "db"),
        ];
        let sent = sent.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            given(&fields, &sent.into()),
            ["host=web-1", "password={\"secret\":\"db\"}", "zone="]
        );
    }
}
