//! Lists the fields of a JSON document with their paths.

use std::fmt::Write as _;

use serde_json::Value;

/// Returns the leaves of a document with their paths. A part of a path is `.key` for a field and `[n]` for an array
/// element. All characters of a key except letters, digits, `_` and `-` are escaped. An empty key is `\e`.
pub fn leaves(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect<'v>(value: &'v Value, path: String, found: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                collect(value, format!("{path}.{}", path_key(key)), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                collect(value, format!("{path}[{at}]"), found);
            }
        }
        _ => found.push((path, value)),
    }
}

/// Returns a key with the escapes of a path.
pub fn path_key(key: &str) -> String {
    if key.is_empty() {
        return "\\e".to_owned();
    }
    let mut out = String::new();
    for c in key.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}
