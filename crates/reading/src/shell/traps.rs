//! Texts that bash evaluates a second time, as arithmetic or as the name of a variable.

use crate::{HOLE, Word};

/// Returns true if evaluating a text as arithmetic or as a name may run a command. `text` may be a part of the
/// evaluated text, so that the brackets of an index may be missing.
pub fn is_trap(text: &str) -> bool {
    // Each text that the code below looks for contains one of these characters. Most words contain none of them.
    if !text.bytes().any(|byte| matches!(byte, b'$' | b'`' | b'@')) {
        return false;
    }
    text.contains("$(")
        || text.contains('`')
        || text.contains("@P}")
        || text
            .split("${")
            .skip(1)
            .any(|rest| rest.starts_with([' ', '\t', '\n', '|']))
        || text.find('[').is_some_and(|bracket| {
            text[bracket..]
                .split("${")
                .skip(1)
                .any(|rest| rest.contains('@'))
        })
}

/// Returns true if evaluating the complete `text` may run a command.
pub fn is_whole_trap(text: &str) -> bool {
    text.find('[')
        .is_some_and(|bracket| is_trap(&text[bracket..]))
}

/// Returns true if a word or its assigned value contains a name with an open index and an unknown part, for example
/// `x="a[$y"`.
pub fn opens_index(word: &Word) -> bool {
    if word.exact || word.array || !word.text.contains('[') {
        return false;
    }
    let text = word.name.map_or(word.text.as_str(), |name| {
        let rest = &word.text[name..];
        let value = if rest.starts_with('[') {
            rest.find("]=").or_else(|| rest.find("]+="))
        } else {
            rest.find('=')
        };
        // An appended value (`+=`) may continue a name at the end of the old value.
        value.map_or("", |at| {
            if rest[..at].ends_with('+') {
                &rest[at - 1..]
            } else {
                &rest[at + 1..]
            }
        })
    });
    is_open_index(text)
}

/// Returns true if `text` contains a name with an open index and an unknown part.
pub fn is_open_index(text: &str) -> bool {
    if !text.contains('[') {
        return false;
    }
    let mut open: Vec<bool> = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '[' => {
                let before = &text[..at];
                let name = before
                    .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == HOLE);
                // In `.items[0]`, no name precedes the bracket.
                let named = name.len() < before.len() && !name.ends_with('.');
                open.push(named || before == "+=");
            }
            ']' => drop(open.pop()),
            HOLE if open.contains(&true) => return true,
            _ => {}
        }
    }
    false
}
