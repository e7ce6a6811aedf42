//! Places of values in shell scripts, and how a value is written in each place.

/// Place of a placeholder, which decides how a value is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Returns the text that a shell reads as `value` in this place.
pub(super) fn quoted(place: TemplatePlace, value: &str) -> String {
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

/// Returns the text that a shell reads as the value of this variable, if the place can hold such a text.
pub(crate) fn reference(place: TemplatePlace, variable: &str) -> Option<String> {
    match place {
        TemplatePlace::BareWord => Some(format!("\"${{{variable}}}\"")),
        TemplatePlace::SingleQuotes => Some(format!("'\"${{{variable}}}\"'")),
        TemplatePlace::DoubleQuotes | TemplatePlace::HereDocument => {
            Some(format!("${{{variable}}}"))
        }
        _ => None,
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
