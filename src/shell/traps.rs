//! Texts that bash reads a second time: traps and open indices.

use crate::shell::syntax::{HOLE, Word};

/// Whether evaluating `text`, or a text that it is put into, as arithmetic or as a name may run a command. The brackets of an index
/// around it may come from elsewhere.
pub(super) fn is_trap(text: &str) -> bool {
    text.contains("$(")
        || text.contains('`')
        || text.contains("@P}")
        || text.split("${").skip(1).any(|rest| rest.starts_with([' ', '\t', '\n', '|']))
        || text.find('[').is_some_and(|bracket| text[bracket..].split("${").skip(1).any(|rest| rest.contains('@')))
}

/// The same of a text that needs no other one around it.
pub(super) fn is_whole_trap(text: &str) -> bool {
    text.find('[').is_some_and(|bracket| is_trap(&text[bracket..]))
}

/// Whether a word, or the value that it assigns, is a name with an index that goes on with what is not known: `x="a[$y"`.
pub(super) fn opens_index(word: &Word) -> bool {
    let text = word.name.map_or(word.text.as_str(), |name| {
        let rest = &word.text[name..];
        let value = if rest.starts_with('[') { rest.find("]=").or_else(|| rest.find("]+=")) } else { rest.find('=') };
        // What is appended goes on behind a name.
        value.map_or("", |at| if rest[..at].ends_with('+') { &rest[at - 1..] } else { &rest[at + 1..] })
    });
    !word.exact && !word.array && is_open_index(text)
}

/// The same of a text.
pub(super) fn is_open_index(text: &str) -> bool {
    if !text.contains('[') {
        return false;
    }
    let mut open: Vec<bool> = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '[' => {
                let before = &text[..at];
                let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == HOLE);
                // In `.items[0]` no name begins that arithmetic would read.
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
