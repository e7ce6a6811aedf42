//! Reads the variables of a Boilerplate document and converts them to parameters.
//!
//! ```yaml
//! variables:
//!   - name: Region
//!     type: enum
//!     options: [eu-west-1, us-east-1]
//!     default: eu-west-1
//! ```
//!
//! The validations of a variable become words of a parameter's declaration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    Variable, YamlFlaw, YamlKind, YamlNode, YamlSource,
    registry::{evaluate::ParameterPatterns, gruntwork::elements::Notes},
    yaml::unknown,
};
use documents::{Parameter, ParameterType};

/// Reads the variables of a document. `prefilled` contains values that replace the defaults.
pub fn read(
    tree: &YamlNode,
    source: &YamlSource,
    prefilled: &Map<String, Value>,
    notes: &mut Notes,
) -> Vec<Variable> {
    let Some(list) = tree.value("variables") else {
        return Vec::new();
    };
    let YamlKind::List(items) = &list.kind else {
        let message = format!(
            "`variables` must be a list of variables with `name`, not {}",
            list.word()
        );
        notes.flaws.push(source.flaw(list.place, &message));
        return Vec::new();
    };
    let mut found: Vec<Variable> = Vec::new();
    for item in items {
        match variable(item, source, prefilled, notes) {
            Ok(variable) if found.iter().any(|other| other.name == variable.name) => {
                let message = "the variable is declared twice: remove one of the two";
                notes.flaws.push(variable.flaw(message));
            }
            Ok(variable) => found.push(variable),
            Err(flaw) => notes.flaws.push(flaw),
        }
    }
    found
}

fn variable(
    item: &YamlNode,
    source: &YamlSource,
    prefilled: &Map<String, Value>,
    notes: &mut Notes,
) -> Result<Variable, YamlFlaw> {
    let named = item
        .value("name")
        .and_then(|node| Some((node.as_text()?, node.place)));
    let (name, place) = named.ok_or_else(|| {
        let message = "the variable has no name: write `name:` and a text";
        source.flaw(item.place, message)
    })?;
    let mut found = Variable {
        name: name.to_owned(),
        declared: Parameter::default(),
        source: source.clone(),
        place,
        open_map: false,
        if_used: false,
    };
    if ["inputs", "outputs"].contains(&name) {
        let message = "templates use this name for all variables together: choose another name";
        return Err(found.flaw(message));
    }
    let kind = item
        .value("type")
        .filter(|node| node.kind != YamlKind::Null)
        .map_or("string", |node| node.as_text().unwrap_or_default());
    let kind = *TYPES
        .iter()
        .find(|known| kind.eq_ignore_ascii_case(known))
        .ok_or_else(|| found.flaw(&unknown("type", kind, &TYPES)))?;
    let description = item.value("description").and_then(YamlNode::as_text);
    found.declared.description = description.map(str::to_owned);
    let replaced = prefilled.get(name).map(YamlNode::of_json);
    let default = replaced.as_ref().or_else(|| item.value("default"));
    declare_type(&mut found, kind, item, default).map_err(|message| found.flaw(&message))?;
    let required = apply_validations(&mut found, item.value("validations"), kind, notes);
    if kind != "map" {
        declare_default(&mut found, kind, default, notes);
    }
    if item
        .value("sensitive")
        .is_some_and(|node| node.kind == YamlKind::Boolean(true))
    {
        make_secret(&mut found, notes);
    } else if !required && default.is_none_or(|node| node.kind == YamlKind::Null) {
        declare_empty(&mut found, kind);
    }
    Ok(found)
}

/// Declares what Gruntwork's form gives if a person fills in nothing. The form gives no number, so the script can't use
/// a number without a value.
fn declare_empty(found: &mut Variable, kind: &str) {
    let empty = match kind {
        "string" if found.declared.min_length.is_none_or(|least| least == 0) => json!(""),
        "list" => json!([]),
        "bool" => json!(false),
        "enum" => json!(found.declared.choices.iter().flatten().next()),
        _ => {
            found.if_used = kind == "int" || kind == "float";
            return;
        }
    };
    found.declared.default = Some(empty);
}

fn declare_type(
    found: &mut Variable,
    kind: &str,
    item: &YamlNode,
    default: Option<&YamlNode>,
) -> Result<(), String> {
    found.declared.kind = match kind {
        "int" => ParameterType::Integer,
        "bool" => ParameterType::Boolean,
        "list" => ParameterType::Array,
        "map" => ParameterType::Object,
        _ => ParameterType::String,
    };
    match kind {
        "float" => {
            found.declared.pattern = Some(FRACTION.to_owned());
            found.declared.leading_dash = Some(true);
        }
        "enum" => {
            let options = options(item, "options")?
                .ok_or("an enum needs `options`: write the list of its values")?;
            declare_options(&mut found.declared, &options);
        }
        "list" => {
            let mut items = Parameter::new(ParameterType::String);
            if let Some(options) = options(item, "x-options")? {
                declare_options(&mut items, &options);
            }
            found.declared.items = Some(items.into());
        }
        "map" => match default.map(object_of) {
            Some(Some(object)) => {
                found.declared = Parameter {
                    description: found.declared.description.take(),
                    ..object
                };
            }
            _ => found.open_map = true,
        },
        _ => {}
    }
    Ok(())
}

/// Returns the texts of a list of allowed values.
fn options(item: &YamlNode, key: &str) -> Result<Option<Vec<String>>, String> {
    let Some(node) = item.value(key) else {
        return Ok(None);
    };
    let YamlKind::List(items) = &node.kind else {
        return Err(format!("`{key}` must be a list, not {}", node.word()));
    };
    let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
    let texts = texts
        .ok_or_else(|| format!("`{key}` must be a list of texts: write each value in quotes"))?;
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}

fn declare_options(declared: &mut Parameter, options: &[String]) {
    // The author of the page chose the values, so a value may begin with a dash.
    if options.iter().any(|option| option.starts_with('-')) {
        declared.leading_dash = Some(true);
    }
    declared.choices = Some(options.iter().map(|option| json!(option)).collect());
}

/// Returns the text of a single value.
fn scalar(node: &YamlNode) -> Option<String> {
    match &node.kind {
        YamlKind::Text(text) => Some(text.clone()),
        YamlKind::Integer(number) => Some(number.to_string()),
        YamlKind::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns the declaration of a map from its default: one entry for each key. Returns `None` if there is no key.
fn object_of(default: &YamlNode) -> Option<Parameter> {
    let entries = default.entries().iter();
    let properties: BTreeMap<String, Parameter> = entries
        .map(|(key, value)| (key.name.clone(), property_of(value)))
        .collect();
    let required = properties.iter().filter(|(_, one)| one.default.is_none());
    let required: Vec<String> = required.map(|(name, _)| name.clone()).collect();
    let is_empty = properties.is_empty();
    // The defaults of the keys fill the empty map.
    let default = required.is_empty().then(|| json!({}));
    let object = Parameter {
        default,
        ..Parameter::object(properties, required)
    };
    (!is_empty).then_some(object)
}

fn property_of(value: &YamlNode) -> Parameter {
    let (kind, default) = match &value.kind {
        YamlKind::Text(text) if has_template(text) => (ParameterType::String, None),
        YamlKind::Text(text) => (ParameterType::String, Some(json!(text))),
        YamlKind::Integer(number) => (ParameterType::Integer, Some(json!(number))),
        YamlKind::Boolean(flag) => (ParameterType::Boolean, Some(json!(flag))),
        YamlKind::List(items) => {
            let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
            return Parameter {
                default: Some(json!(texts.unwrap_or_default())),
                items: Some(Parameter::new(ParameterType::String).into()),
                ..Parameter::new(ParameterType::Array)
            };
        }
        YamlKind::Map(_) => {
            let object = object_of(value);
            return object.unwrap_or_else(|| Parameter::new(ParameterType::String));
        }
        YamlKind::Null => (ParameterType::String, None),
    };
    Parameter {
        default,
        ..Parameter::new(kind)
    }
}

fn has_template(text: &str) -> bool {
    text.contains("{{")
}

fn declare_default(
    found: &mut Variable,
    kind: &str,
    default: Option<&YamlNode>,
    notes: &mut Notes,
) {
    let Some(node) = default.filter(|node| node.kind != YamlKind::Null) else {
        return;
    };
    if contains_template(node) {
        let message = "the default is a template, which the registry does not evaluate: the proposer must give a value";
        notes.remarks.push(found.flaw(message));
        return;
    }
    let value = match (kind, &node.kind) {
        ("int", YamlKind::Integer(number)) => Some(json!(number)),
        ("int", YamlKind::Text(text)) => text.parse::<i64>().ok().map(|number| json!(number)),
        ("bool", YamlKind::Boolean(flag)) => Some(json!(flag)),
        ("bool", YamlKind::Text(text)) => text.parse::<bool>().ok().map(|flag| json!(flag)),
        ("list", YamlKind::List(items)) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<String>>>()
            .map(|texts| json!(texts)),
        ("list", YamlKind::Text(text)) => serde_json::from_str::<Vec<String>>(text)
            .ok()
            .map(|texts| json!(texts)),
        ("string" | "enum" | "float", _) => scalar(node).map(|text| json!(text)),
        _ => None,
    };
    let Some(value) = value else {
        notes.flaws.push(found.flaw(&format!(
            "the default is {}, which is no {kind}: correct the default",
            node.word()
        )));
        return;
    };
    let allows_dash = found.declared.allows_dash();
    if kind == "string" && !allows_dash && value.as_str().is_some_and(|text| text.starts_with('-'))
    {
        let message = "the default begins with `-`, so a program could use the value as an option: write `type: enum` with \
                       `options`, a validation `regex` that begins with ^-, or another default";
        notes.flaws.push(found.flaw(message));
        return;
    }
    // In Gruntwork's form, an empty value means that the person must fill in the field.
    let is_empty = value == json!("") || value == json!([]);
    let declared = &mut found.declared;
    let must_have_content = declared.limits().0.is_some() || declared.choices.is_some();
    if !(is_empty && must_have_content) {
        declared.default = Some(value);
    }
}

fn contains_template(node: &YamlNode) -> bool {
    match &node.kind {
        YamlKind::Text(text) => has_template(text),
        YamlKind::List(items) => items.iter().any(contains_template),
        _ => false,
    }
}

/// Makes the variable a secret. A secret is given by its name, so its schema can't restrict the value.
fn make_secret(found: &mut Variable, notes: &mut Notes) {
    if found.declared.kind != ParameterType::String {
        notes.flaws.push(
            found.flaw(
                "only a string can be sensitive: remove `sensitive`, or write `type: string`",
            ),
        );
        return;
    }
    let declared = &mut found.declared;
    let removed = [
        ("default", declared.default.take().is_some()),
        ("pattern", declared.pattern.take().is_some()),
        ("enum", declared.choices.take().is_some()),
    ];
    declared.secret = Some(true);
    for (keyword, was_there) in removed {
        if was_there {
            let message = format!(
                "a sensitive variable is given as the name of a secret, so its {keyword} has no effect"
            );
            notes.remarks.push(found.flaw(&message));
        }
    }
}

const TYPES: [&str; 7] = ["string", "int", "float", "bool", "list", "map", "enum"];
const FRACTION: &str = r"^-?[0-9]+(?:\.[0-9]+)?$";

/// Adds the validations to the schema of a variable, and returns true if the variable is required. A validation that
/// the schema can't express gives a remark.
fn apply_validations(
    found: &mut Variable,
    list: Option<&YamlNode>,
    kind: &str,
    notes: &mut Notes,
) -> bool {
    let Some(list) = list.filter(|list| list.kind != YamlKind::Null) else {
        return false;
    };
    let items = if let YamlKind::List(items) = &list.kind {
        items.as_slice()
    } else {
        std::slice::from_ref(list)
    };
    let read: Vec<(String, &YamlNode)> = items.iter().map(|item| (name_of(item), item)).collect();
    let required = read.iter().any(|(name, _)| name == "required");
    match kind {
        "string" if required => found.declared.min_length = Some(1),
        "list" if required => found.declared.min_items = Some(1),
        _ => {}
    }
    for (name, item) in read.iter().filter(|(name, _)| name != "required") {
        let applied = match (kind, name.as_str()) {
            // The options of an enum decide which values are valid.
            ("enum", _) => Ok(()),
            ("string", "length") => length(found, item),
            ("string", _) => pattern(found, name, item, required),
            _ => Err("the registry checks this validation only for `type: string`".to_owned()),
        };
        if let Err(reason) = applied {
            notes
                .remarks
                .push(found.flaw(&format!("the validation {name:?} is not checked: {reason}")));
        }
        if kind == "string" && name == "url" {
            let message = "the validation \"url\" checks only that the value begins with http:// or https:// and contains \
                           no space";
            notes.remarks.push(found.flaw(message));
        }
    }
    required
}

fn name_of(item: &YamlNode) -> String {
    let node = item.value("type").unwrap_or(item);
    node.as_text().unwrap_or_default().to_ascii_lowercase()
}

/// Returns the argument with this index, or the value of this key.
fn argument<'a>(item: &'a YamlNode, index: usize, key: &str) -> Option<&'a YamlNode> {
    match item.value("args").map(|args| &args.kind) {
        Some(YamlKind::List(args)) if !args.is_empty() => args.get(index),
        _ => item.value(key),
    }
}

fn length(found: &mut Variable, item: &YamlNode) -> Result<(), String> {
    let number = |index, key| match argument(item, index, key).map(|node| &node.kind) {
        Some(YamlKind::Integer(number)) => u64::try_from(*number).ok(),
        Some(YamlKind::Text(text)) => text.parse().ok(),
        _ => None,
    };
    let (Some(low), Some(high)) = (number(0, "min"), number(1, "max")) else {
        return Err("it needs the smallest and the largest length: write args: [1, 64]".to_owned());
    };
    let low = if low == 0 {
        found.declared.min_length.unwrap_or(0)
    } else {
        low
    };
    found.declared.min_length = Some(low);
    found.declared.max_length = Some(high);
    Ok(())
}

fn pattern(
    found: &mut Variable,
    name: &str,
    item: &YamlNode,
    required: bool,
) -> Result<(), String> {
    let written = match name {
        "email" => r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
        "url" => r"^[hH][tT][tT][pP][sS]?://\S+$",
        "alpha" => "^[a-zA-Z]+$",
        "digit" => "^[0-9]+$",
        "alphanumeric" => "^[a-zA-Z0-9]+$",
        "countrycode2" => "^[a-zA-Z]{2}$",
        "semver" => SEMVER,
        "regex" => argument(item, 0, "regex")
            .and_then(YamlNode::as_text)
            .ok_or("it has no pattern: write regex: \"^...$\"")?,
        _ => return Err("the registry does not know this validation".to_owned()),
    };
    if found.declared.pattern.is_some() {
        return Err("a variable can have only one pattern: join the patterns".to_owned());
    }
    let pattern = whole_pattern(written, required)?;
    found.declared.pattern = Some(pattern);
    // The author wrote the dash at the beginning, so the script expects it.
    if name == "regex" && written.starts_with("^-") {
        found.declared.leading_dash = Some(true);
    }
    Ok(())
}

/// Returns a pattern for the whole value. Gruntwork searches for a match anywhere in the value, and accepts an empty
/// value unless the variable is required.
fn whole_pattern(written: &str, required: bool) -> Result<String, String> {
    let patterns = ParameterPatterns::default();
    let front = written.strip_prefix('^');
    let inner = front.unwrap_or(written);
    let escaped = inner
        .strip_suffix('$')
        .unwrap_or("")
        .chars()
        .rev()
        .take_while(|c| *c == '\\')
        .count()
        % 2
        == 1;
    let back = inner.strip_suffix('$').filter(|_| !escaped);
    let body = back.unwrap_or(inner);
    if front.is_some() || back.is_some() {
        // Each alternative of ^a|b$ is anchored on one side only.
        patterns.get(&format!("^{body}$"))?;
    }
    let anything = |anchor: Option<&str>| if anchor.is_some() { "" } else { r"[\s\S]*" };
    let whole = if front.is_some() && back.is_some() {
        body.to_owned()
    } else {
        format!("{}(?:{body}){}", anything(front), anything(back))
    };
    let pattern = if required {
        format!("^{whole}$")
    } else {
        format!("^(?:{whole})?$")
    };
    patterns.get(&pattern)?;
    Ok(pattern)
}

/// Version number of semver.org, optionally after a `v`.
const SEMVER: &str = concat!(
    r"^[vV]?(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)",
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?",
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$"
);

#[cfg(test)]
mod validations_tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_same_values_as_in_gruntwork() {
        for (written, required, pattern) in [
            ("^[A-Z]{3}$", true, "^[A-Z]{3}$"),
            ("^[A-Z]{3}$", false, "^(?:[A-Z]{3})?$"),
            ("a|b", true, r"^[\s\S]*(?:a|b)[\s\S]*$"),
            ("^a", true, r"^(?:a)[\s\S]*$"),
            (r"a\$", true, r"^[\s\S]*(?:a\$)[\s\S]*$"),
        ] {
            assert_eq!(
                whole_pattern(written, required).as_deref(),
                Ok(pattern),
                "{written}"
            );
        }
        for refused in ["^a|b$", "(?=a)", "(", "a^b"] {
            assert!(whole_pattern(refused, true).is_err(), "{refused}");
        }
        assert!(whole_pattern(SEMVER, false).is_ok());
    }
}
