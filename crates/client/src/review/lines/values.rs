//! Formats parameter values, in full or shortened.

use std::collections::BTreeMap;

use crate::{PrintableText, leaves, path_key, review::value_words::counted};
use documents::{ContentDigest, canonical, first_of};
use serde_json::Value;

/// Widest value, in columns, that the decision screen shows in full: three lines of 80 columns.
const WHOLE: usize = 180;
/// Number of characters that the screen shows at each end of a long value.
pub const END: usize = 60;
/// Widest value, in columns, that a row shows in full. `END_IN_ROW` is the number of characters of a longer value at
/// each end.
const WHOLE_IN_ROW: usize = 40;
const END_IN_ROW: usize = 14;

/// Returns the name of a parameter, followed by the sign between name and value.
pub fn label_of(key: &str) -> PrintableText {
    PrintableText::path(&path_key(key))
}

/// Function that formats a value without inner values.
pub type LeafText = fn(&Value) -> PrintableText;
/// The form of parameters, reasons and titles.
pub const PROSE: LeafText = PrintableText::prose_value;

/// Formats a value in one line.
pub fn folded(value: &Value, leaf: LeafText) -> PrintableText {
    match value {
        Value::Array(items) if !items.is_empty() => PrintableText::words("[")
            .then(PrintableText::joined(
                items.iter().map(|item| folded(item, leaf)),
                ", ",
            ))
            .and("]"),
        Value::Object(fields) if !fields.is_empty() => {
            let fields = fields.iter().map(|(key, value)| {
                PrintableText::quoted(key)
                    .and(": ")
                    .then(folded(value, leaf))
            });
            PrintableText::words("{")
                .then(PrintableText::joined(fields, ", "))
                .and("}")
        }
        _ => leaf(value),
    }
}

/// Returns the size of a value as text, and the counted bytes: the text of a string, or the canonical JSON of any other
/// value.
pub fn size_of(value: &Value) -> (String, Vec<u8>) {
    let json = || canonical::to_canonical(value);
    let (parts, bytes) = match value {
        Value::String(text) => (String::new(), text.clone().into_bytes()),
        Value::Array(items) => (counted(items.len(), "element") + ", ", json()),
        Value::Object(fields) => (counted(fields.len(), "field") + ", ", json()),
        Value::Null | Value::Bool(_) | Value::Number(_) => (String::new(), json()),
    };
    (format!("{parts}{} bytes", bytes.len()), bytes)
}

/// Formats a value in at most three lines. A shortened text contains the size and the digest of the value, and the
/// second result is then false.
pub fn in_full(value: &Value, leaf: LeafText) -> (PrintableText, bool) {
    let shown = folded(value, leaf);
    if shown.width() <= WHOLE {
        return (shown, true);
    }
    let (size, bytes) = size_of(value);
    (
        shown
            .ends(END)
            .then(format!(", {size}, {}", ContentDigest::of(&bytes))),
        false,
    )
}

/// Formats a value in one row. A shortened text contains the size of the value, and the second result is then false.
pub fn in_row(value: &Value) -> (PrintableText, bool) {
    let shown = folded(value, PROSE);
    if shown.width() <= WHOLE_IN_ROW {
        return (shown, true);
    }
    (
        shown
            .ends(END_IN_ROW)
            .then(format!(", {}", size_of(value).0)),
        false,
    )
}

/// Describes the change of a parameter since the last successful run, or returns `None` if it is the same.
pub fn changed(was: Option<&Value>, now: &Value) -> Option<PrintableText> {
    let Some(was) = was else {
        return Some(PrintableText::words("absent at the last success"));
    };
    if was == now {
        return None;
    }
    let is_one = |value: &Value| !matches!(value, Value::Array(_) | Value::Object(_));
    if is_one(was) && is_one(now) {
        return Some(
            PrintableText::words("last success: ").then(PrintableText::prose_value(was).cut(END)),
        );
    }
    // Two different long values may have the same beginning and end, so name the places that differ.
    let parts = |value| leaves(value).into_iter().collect::<BTreeMap<_, _>>();
    let (before, after) = (parts(was), parts(now));
    let mut places: Vec<&str> = after
        .iter()
        .filter(|(path, part)| before.get(*path) != Some(part))
        .map(|(path, _)| &**path)
        .collect();
    places.extend(
        before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .map(String::as_str),
    );
    let places: Vec<&str> = places
        .into_iter()
        .map(|path| if path.is_empty() { "the whole" } else { path })
        .collect();
    Some(
        PrintableText::words("differs from the last success at ")
            .then(first_of(&places, MOST_PLACES)),
    )
}

/// Maximum number of differing places that a line names.
pub const MOST_PLACES: usize = 3;
