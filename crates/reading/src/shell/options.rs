//! Parser of command-line options in the style of getopt.

use crate::{
    HOLE, MAY_BE_OPTION, SEVERAL_WORDS, UNKNOWN_OPTION, UnknownReason, Word,
    shell::script_walk::NO_OPTION,
};

/// Options of a program.
pub struct OptionGrammar {
    /// Letters without a value.
    pub flags: &'static str,
    /// Option letters that take a value, which is the rest of the word or the next word.
    pub values: &'static str,
    /// Option letters that take an optional value, which is the rest of the word.
    pub optional: &'static str,
    /// Long options with the kind of their value.
    pub long: &'static [(&'static str, OptionValue)],
}

/// Kind of a long option's value.
#[derive(Clone, Copy)]
pub enum OptionValue {
    /// No value.
    Nothing,
    /// The value follows `=` or is the next word.
    Value,
    /// An optional value after `=`.
    Optional,
}

impl OptionGrammar {
    /// A grammar without options except `--help` and `--version`.
    pub const NONE: Self = Self {
        flags: "",
        values: "",
        optional: "",
        long: &[],
    };
}

/// An option in the arguments: a letter, or the full name of a long option.
pub struct GivenOption {
    pub name: String,
    pub value: Option<Word>,
}

#[derive(Default)]
pub struct ReadOptions<'w> {
    /// Given options, in order.
    pub given: Vec<GivenOption>,
    /// Words after the options.
    pub rest: &'w [Word],
}

impl ReadOptions<'_> {
    /// Returns true if the arguments contain one of the options in `names`.
    pub fn has(&self, names: &[&str]) -> bool {
        self.given
            .iter()
            .any(|given| names.contains(&given.name.as_str()))
    }

    /// Returns the values of all options in `names`.
    pub fn values<'o>(&'o self, names: &'o [&str]) -> impl Iterator<Item = &'o Word> {
        self.given
            .iter()
            .filter(|given| names.contains(&given.name.as_str()))
            .filter_map(|given| given.value.as_ref())
    }
}

/// A word that cannot be read as an option or an operand, with the reason.
pub type UnreadableWord<'w> = (&'w Word, UnknownReason);

/// Parses the options in `words`, which are the arguments of a program.
///
/// # Errors
/// Returns the first word that may become an option, several words or no word at run time, or that is an option outside
/// `grammar`, because the meaning of the following words is then unknown.
pub fn read<'w>(
    grammar: &OptionGrammar,
    words: &'w [Word],
) -> Result<ReadOptions<'w>, UnreadableWord<'w>> {
    let mut options = ReadOptions::default();
    let mut next = 0;
    while let Some(word) = words.get(next) {
        if !word.one {
            return Err((word, SEVERAL_WORDS));
        }
        let known = word.known();
        if word.exact && known == "--" {
            next += 1;
            break;
        }
        if !word.exact && known.is_empty() {
            return Err((word, MAY_BE_OPTION));
        }
        if !known.starts_with('-') || word.exact && known == "-" {
            break;
        }
        next += 1;
        let taken = match word.text.strip_prefix("--") {
            Some(long) => read_long(grammar, long, word, words.get(next), &mut options)?,
            None => read_short(grammar, word, words.get(next), &mut options)?,
        };
        next += usize::from(taken);
    }
    options.rest = &words[next.min(words.len())..];
    Ok(options)
}

/// Reads a long option. Returns true if the next word is its value.
fn read_long<'w>(
    grammar: &OptionGrammar,
    long: &str,
    word: &'w Word,
    next: Option<&'w Word>,
    options: &mut ReadOptions<'w>,
) -> Result<bool, UnreadableWord<'w>> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(part(word, value))),
        None => (long, None),
    };
    if name.contains(HOLE) {
        return Err((word, NO_OPTION));
    }
    let exact = grammar.long.iter().find(|(known, _)| *known == name);
    let mut begun = grammar
        .long
        .iter()
        .filter(|(known, _)| known.starts_with(name));
    let found = match (exact, begun.next(), begun.next()) {
        (Some(exact), ..) => exact,
        (None, Some(one), None) => one,
        _ if matches!(name, "help" | "version") => &("help", OptionValue::Nothing),
        _ => return Err((word, UNKNOWN_OPTION)),
    };
    let mut taken = false;
    let value = match (found.1, value) {
        (OptionValue::Value, None) => {
            taken = true;
            Some(following(word, next)?)
        }
        (_, value) => value,
    };
    options.given.push(GivenOption {
        name: found.0.to_owned(),
        value,
    });
    Ok(taken)
}

fn read_short<'w>(
    grammar: &OptionGrammar,
    word: &'w Word,
    next: Option<&'w Word>,
    options: &mut ReadOptions<'w>,
) -> Result<bool, UnreadableWord<'w>> {
    for (at, letter) in word.text[1..].char_indices() {
        let rest = &word.text[1 + at + letter.len_utf8()..];
        let name = letter.to_string();
        if grammar.flags.contains(letter) {
            options.given.push(GivenOption { name, value: None });
        } else if grammar.optional.contains(letter) {
            let value = (!rest.is_empty()).then(|| part(word, rest));
            options.given.push(GivenOption { name, value });
            return Ok(false);
        } else if grammar.values.contains(letter) {
            let taken = rest.is_empty();
            let value = if taken {
                following(word, next)?
            } else {
                part(word, rest)
            };
            options.given.push(GivenOption {
                name,
                value: Some(value),
            });
            return Ok(taken);
        } else if letter == HOLE {
            return Err((word, NO_OPTION));
        } else {
            return Err((word, UNKNOWN_OPTION));
        }
    }
    Ok(false)
}

fn following<'w>(option: &'w Word, next: Option<&'w Word>) -> Result<Word, UnreadableWord<'w>> {
    match next {
        Some(next) if next.one => Ok(next.clone()),
        Some(next) => Err((next, SEVERAL_WORDS)),
        None => Err((option, "this option has no value: add the value".into())),
    }
}

/// Returns the last part of a word as a new word.
fn part(word: &Word, text: &str) -> Word {
    Word {
        at: word.at,
        text: text.to_owned(),
        raw: Some(word.source().into()),
        exact: !text.contains(HOLE),
        one: true,
        quoted: word.quoted,
        ..Word::default()
    }
}
