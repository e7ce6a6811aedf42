//! Decoder for printed screens. With it, tests prove that no content can be hidden.

use serde_json::{Map, Value};

use crate::first_token;

/// Joins wrapped lines, and returns each joined line with the name of its section.
pub fn logical(painted: &str) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut section = String::new();
    for physical in painted.lines() {
        if let Some(title) = physical
            .strip_prefix("== ")
            .and_then(|rest| rest.strip_suffix(" =="))
        {
            section = title.to_owned();
        } else if let Some(more) = physical.trim_start_matches(' ').strip_prefix("+ ") {
            lines
                .last_mut()
                .expect("a line to go on from")
                .1
                .push_str(more);
        } else {
            lines.push((section.clone(), physical.to_owned()));
        }
    }
    lines
}

pub fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(token) = first_token(rest) {
        rest = &rest[token.len()..];
        let inner = || token[3..].trim_end_matches('}');
        match token.as_bytes() {
            [b'\\', b'u', ..] => {
                let code = u32::from_str_radix(inner(), 16).expect("hex");
                out.push(char::from_u32(code).expect("a character"));
            }
            [b'\\', b's', ..] => out.push_str(&" ".repeat(inner().parse().expect("a count"))),
            [b'\\', b'x', ..] => out.push(char::from(
                u8::from_str_radix(&token[2..], 16).expect("hex"),
            )),
            [b'\\', b'n'] => out.push('\n'),
            [b'\\', b'r'] => out.push('\r'),
            [b'\\', b't'] => out.push('\t'),
            [b'\\', _] => out.push_str(&token[1..]),
            _ => out.push_str(token),
        }
    }
    out
}

/// Decodes a line of a script.
pub fn unescape_source(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let form = ["\\u{", "\\s{"]
            .iter()
            .position(|form| rest.starts_with(form));
        let Some(form) = form else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (inner, more) = rest[3..].split_once('}').expect("a closing brace");
        let (count, what) = match inner.split_once("tab") {
            Some((count, _)) => (count, "\t"),
            None => (inner, " "),
        };
        match form {
            0 => {
                let code = u32::from_str_radix(inner, 16).expect("hex");
                out.push(char::from_u32(code).expect("a character"));
            }
            _ => out.push_str(&what.repeat(count.parse().expect("a count"))),
        }
        rest = more;
    }
    out
}

fn value(text: &str) -> Value {
    match text {
        "[]" => Value::Array(Vec::new()),
        "{}" => Value::Object(Map::new()),
        _ => match text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            Some(inner) => Value::String(unescape(inner)),
            None => serde_json::from_str(text).expect("a number, true, false or null"),
        },
    }
}

fn put(place: &mut Value, path: &str, leaf: Value) {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let key = if &rest[..end] == "\\e" {
            String::new()
        } else {
            unescape(&rest[..end])
        };
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        put(
            place
                .as_object_mut()
                .expect("an object")
                .entry(key)
                .or_insert(Value::Null),
            &rest[end..],
            leaf,
        );
    } else if let Some(rest) = path.strip_prefix('[') {
        let end = rest.find(']').expect("a closing bracket");
        let at: usize = rest[..end].parse().expect("an index");
        if place.is_null() {
            *place = Value::Array(Vec::new());
        }
        let items = place.as_array_mut().expect("an array");
        if at == items.len() {
            items.push(Value::Null);
        }
        put(&mut items[at], &rest[end + 1..], leaf);
    } else {
        *place = leaf;
    }
}

/// Decodes a document from the lines of `Screen::exact` and from the values in other sections.
pub fn document(lines: &[&str], elsewhere: &[(&str, Value)]) -> Value {
    let mut whole = Value::Null;
    for line in lines {
        let line = line.strip_prefix("    ").expect("the prefix");
        if let Some((path, leaf)) = line.split_once(" = ") {
            put(&mut whole, path, value(leaf));
        } else {
            let (path, _) = line.split_once(" is in full under: ").expect("a place");
            let (_, leaf) = elsewhere
                .iter()
                .find(|(hidden, _)| *hidden == path)
                .expect("known");
            put(&mut whole, path, leaf.clone());
        }
    }
    whole
}

/// Decodes a text from the lines of `Screen::numbered`.
pub fn numbered(lines: &[&str]) -> String {
    let mut text = Vec::new();
    let mut newline = false;
    for line in lines {
        if line.get(7..10) == Some(" = ") {
            newline = line.ends_with("ends with a newline");
        } else {
            text.push(unescape_source(line.get(10..).unwrap_or("")));
        }
    }
    text.join("\n") + if newline { "\n" } else { "" }
}
