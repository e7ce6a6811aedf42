//! Text of other people in the answers for an agent.
//!
//! Control characters and invisible characters become visible escapes, because they can hide instructions from the
//! person who reads the conversation. All other characters stay, so that output in any language is readable.

use serde_json::Value;
use unicode_general_category::{GeneralCategory, get_general_category};

/// Escapes each control character and each invisible character, except the end of a line and the tab.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') || !is_hidden(c) {
            out.push(c);
        } else if u32::from(c) < 0x80 {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        }
    }
    out
}

/// Escapes all strings and all keys of a JSON value.
#[must_use]
pub fn visible_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible(&text)),
        Value::Array(items) => items.into_iter().map(visible_json).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (visible(&key), visible_json(value))).collect())
        }
        other => other,
    }
}

fn is_hidden(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned};
    // Variation selectors have no width of their own, so a series of them can carry a hidden text.
    let is_selector = matches!(u32::from(c), 0xfe00..=0xfe0f | 0xe0100..=0xe01ef);
    let category = get_general_category(c);
    is_selector
        || matches!(
            category,
            Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate | Unassigned
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn control_characters_and_invisible_characters_are_escaped_and_all_others_stay() {
        for (text, shown) in [
            ("done\n\tgrün, 完了", "done\n\tgrün, 完了"),
            ("\x1b[2J\r\x00\x7f", "\\x1b[2J\\x0d\\x00\\x7f"),
            ("a\u{202e}b\u{200b}c\u{2028}", "a\\u{202e}b\\u{200b}c\\u{2028}"),
            ("\u{e0041}\u{e007f}\u{fe0f}\u{e0100}", "\\u{e0041}\\u{e007f}\\u{fe0f}\\u{e0100}"),
            ("\u{85}\u{e000}", "\\u{85}\\u{e000}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_json(json!({"a\x1b": ["\x07", 1, null]})), json!({"a\\x1b": ["\\x07", 1, null]}));
    }
}
