//! Places of values in shell scripts, and how a value is written in each place.

use serde_json::Value;

/// Place of a placeholder, which decides how a value is written there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TemplatePlace {
    /// Shell: outside of quotes.
    BareWord,
    /// Shell: inside `"…"`.
    DoubleQuotes,
    /// Shell: inside `'…'`.
    SingleQuotes,
    /// Shell: in a here-document that the shell expands.
    HereDocument,
    /// Shell: in backticks.
    Backticks,
    /// Shell: in a here-document with a quoted delimiter.
    QuotedHereDocument,
    /// In a comment.
    Comment,
    /// Shell: in arithmetic, an index or `${…}`.
    Number,
    /// Other languages: outside of quotes, where the value becomes a literal.
    Literal,
    /// Other languages: inside a quoted string.
    StringLiteral,
}

/// Returns the text of a scalar value.
pub fn plain(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err("null is not a value: leave out the parameter".to_owned()),
        Value::Array(_) | Value::Object(_) => Err(
            "a list or an object can't be written as text: use `{{ range }}` for a list of texts"
                .to_owned(),
        ),
    }
}

/// Returns the text that a shell reads as `value` in this place.
pub fn quoted(place: TemplatePlace, value: &str) -> String {
    match place {
        TemplatePlace::BareWord => format!("'{}'", value.replace('\'', r"'\''")),
        TemplatePlace::SingleQuotes => value.replace('\'', r"'\''"),
        TemplatePlace::DoubleQuotes => escaped(value, &['\\', '"', '$', '`']),
        TemplatePlace::HereDocument | TemplatePlace::Backticks => escaped(value, &['\\', '$', '`']),
        TemplatePlace::QuotedHereDocument
        | TemplatePlace::Comment
        | TemplatePlace::Number
        | TemplatePlace::Literal
        | TemplatePlace::StringLiteral => value.to_owned(),
    }
}

fn escaped(value: &str, special: &[char]) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if special.contains(&character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
