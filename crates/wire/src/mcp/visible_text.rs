//! Text of other people in the answers for an agent.
//!
//! Control characters and invisible characters become visible escapes, because they can hide instructions from the
//! person who reads the conversation. All other characters stay, so that output in any language is readable.

use serde_json::Value;

use documents::{HiddenCharacter, push_visible, visible};

/// Maximum number of bytes of a description that the boundary wrote.
const MAX_DETAIL_BYTES: usize = 2 << 10;

/// Escapes the beginning of a text. The result has at most `most` bytes, and is the whole text if the flag is false.
pub fn visible_up_to(text: &str, most: usize) -> (String, bool) {
    let (out, used) = visible_start(text.as_bytes(), most);
    (out, used < text.len())
}

/// Escapes a description that the boundary wrote, and cuts it after 2 KiB.
pub fn visible_detail(text: &str) -> String {
    visible_cut(text, MAX_DETAIL_BYTES)
}

/// Escapes a text, and cuts it after `most` bytes.
pub fn visible_cut(text: &str, most: usize) -> String {
    let (shown, is_cut) = visible_up_to(text, most);
    if is_cut { shown + " (cut)" } else { shown }
}

/// Escapes the beginning of the bytes. The result has at most `most` bytes. Returns also how many of the bytes the
/// result shows. The result ends at the end of a character, so that the texts of all windows together are the whole
/// text.
pub fn visible_start(bytes: &[u8], most: usize) -> (String, usize) {
    let (mut out, mut used) = (String::new(), 0);
    let push = |out: &mut String, c: char| {
        let before = out.len();
        push_visible(out, ' ', c);
        let fits = out.len() <= most;
        if !fits {
            out.truncate(before);
        }
        fits
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if !push(&mut out, c) {
                return (out, used);
            }
            used += c.len_utf8();
        }
        let invalid = chunk.invalid();
        // The next window begins with the incomplete character at the end of this window.
        let is_begun = used + invalid.len() == bytes.len()
            && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if invalid.is_empty()
            || (is_begun && used > 0)
            || !push(&mut out, char::REPLACEMENT_CHARACTER)
        {
            break;
        }
        used += invalid.len();
    }
    (out, used)
}

/// Escapes the end of the bytes. The result has at most `most` bytes, and is the whole text if the flag is false.
pub fn visible_end(bytes: &[u8], most: usize) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes);
    let (mut first, mut length) = (text.len(), 0);
    for (at, c) in text.char_indices().rev() {
        length += visible(c.encode_utf8(&mut [0; 4])).len();
        if length > most {
            break;
        }
        first = at;
    }
    (visible(&text[first..]), first > 0)
}

/// Escapes all strings and all keys of a JSON value.
pub fn visible_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible(&text)),
        Value::Array(items) => items.into_iter().map(visible_json).collect(),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(key, value)| (visible(&key), visible_json(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Writes the characters that [`visible`] escapes as escapes of JSON. The text is still the same JSON document.
pub fn visible_json_text(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        // JSON allows the characters before U+0020 only between two values.
        if c >= '\u{7f}' && HiddenCharacter::is_escaped(c) {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
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
            (
                "a\u{202e}b\u{200b}c\u{2028}",
                "a\\u{202e}b\\u{200b}c\\u{2028}",
            ),
            (
                "\u{e0041}\u{e007f}\u{fe0f}\u{e0100}",
                "\\u{e0041}\\u{e007f}\\u{fe0f}\\u{e0100}",
            ),
            ("\u{85}\u{e000}", "\\u{85}\\u{e000}"),
            (
                "\u{3164}\u{115f}\u{1160}\u{180b}",
                "\\u{3164}\\u{115f}\\u{1160}\\u{180b}",
            ),
            (
                "\u{34f}\u{ffa0}\u{2800}\u{17b4}",
                "\\u{34f}\\u{ffa0}\\u{2800}\\u{17b4}",
            ),
            ("\u{3000}\u{a0}", "\u{3000}\u{a0}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(
            visible_json_text("{\r\n\"\u{7f}ü\u{e0041}\": 1}"),
            "{\r\n\"\\u007fü\\udb40\\udc41\": 1}"
        );
        assert_eq!(
            visible_json(json!({"a\x1b": ["\x07", 1, null]})),
            json!({"a\\x1b": ["\\x07", 1, null]})
        );
    }

    #[test]
    fn a_limit_counts_the_escapes_and_splits_neither_an_escape_nor_a_character() {
        assert_eq!(
            visible_start("a\x1b\x1b".as_bytes(), 5),
            ("a\\x1b".to_owned(), 2)
        );
        assert_eq!(
            visible_start("a\x1b\x1b".as_bytes(), 9),
            ("a\\x1b\\x1b".to_owned(), 3)
        );
        assert_eq!(visible_start(b"ab\xe2\x82", 9), ("ab".to_owned(), 2));
        assert_eq!(visible_start(b"\xe2\x82", 9), ("\u{fffd}".to_owned(), 2));
        assert_eq!(
            visible_start(b"a\xffb\xe2", 9),
            ("a\u{fffd}b".to_owned(), 3)
        );
        assert_eq!(visible_up_to("ab", 1), ("a".to_owned(), true));
        assert_eq!(visible_up_to("ab", 2), ("ab".to_owned(), false));
        assert_eq!(
            visible_end("\x1b\x1bz".as_bytes(), 6),
            ("\\x1bz".to_owned(), true)
        );
        assert_eq!(visible_end(b"az", 6), ("az".to_owned(), false));
    }
}
