//! Options as getopt reads them, one reading for all programs.

use crate::shell::reasons::{MAY_BE_OPTION, NO_OPTION, SEVERAL_WORDS, UNKNOWN_OPTION};
use crate::shell::syntax::{HOLE, Word};

/// What options a program has.
pub(super) struct OptionGrammar {
    /// Letters that stand alone.
    pub(super) flags: &'static str,
    /// Letters that take the rest of their word, or the next word.
    pub(super) values: &'static str,
    /// Letters that take the rest of their word, if there is any.
    pub(super) optional: &'static str,
    /// Long options, by name.
    pub(super) long: &'static [(&'static str, OptionValue)],
    /// Options count also behind operands.
    pub(super) permutes: bool,
}

/// What a long option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionValue {
    /// Nothing.
    Nothing,
    /// A value, behind `=` or in the next word.
    Value,
    /// A value, behind `=`, or none.
    Optional,
}

impl OptionGrammar {
    /// No options but `--help` and `--version`.
    pub(super) const NONE: Self = Self { flags: "", values: "", optional: "", long: &[], permutes: false };
}

/// An option that was given: a letter, or the full name of a long one.
#[derive(Debug)]
pub(super) struct GivenOption {
    pub(super) name: String,
    pub(super) value: Option<Word>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct ReadOptions<'w> {
    /// In order.
    pub(super) given: Vec<GivenOption>,
    /// Operands before `rest`: only where options count behind them too.
    pub(super) operands: Vec<&'w Word>,
    /// What follows the options.
    pub(super) rest: &'w [Word],
}

impl ReadOptions<'_> {
    /// Whether one of `names` was given.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.given.iter().any(|given| names.contains(&given.name.as_str()))
    }

    /// The values of all options of `names`.
    pub(super) fn values<'o>(&'o self, names: &'o [&str]) -> impl Iterator<Item = &'o Word> {
        self.given.iter().filter(|given| names.contains(&given.name.as_str())).filter_map(|given| given.value.as_ref())
    }
}

/// A word that can't be read, and why.
pub(super) type UnreadableWord<'w> = (&'w Word, &'static str);

/// Reads the options of `words`, a program's arguments.
///
/// # Errors
/// A word that may be an option, several words or none; an option that `grammar` does not have: what follows it is not known then.
pub(super) fn read<'w>(grammar: &OptionGrammar, words: &'w [Word]) -> Result<ReadOptions<'w>, UnreadableWord<'w>> {
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
            if !grammar.permutes {
                break;
            }
            options.operands.push(word);
            next += 1;
            continue;
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

/// Whether the next word was taken too.
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
    let mut begun = grammar.long.iter().filter(|(known, _)| known.starts_with(name));
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
    options.given.push(GivenOption { name: found.0.to_owned(), value });
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
            let value = if taken { following(word, next)? } else { part(word, rest) };
            options.given.push(GivenOption { name, value: Some(value) });
            return Ok(taken);
        } else if letter == HOLE {
            return Err((word, NO_OPTION));
        } else {
            return Err((word, UNKNOWN_OPTION));
        }
    }
    Ok(false)
}

/// The first letter of a cluster `-abc` that `counts` says, and what stands behind it; letters in `values` take the rest of the word.
pub(super) fn letters<'w>(word: &'w Word, values: &str, counts: impl Fn(char) -> bool) -> Option<(char, &'w str)> {
    let cluster = word.text.strip_prefix('-').filter(|text| !text.starts_with('-'))?;
    for (at, letter) in cluster.char_indices() {
        if counts(letter) {
            return Some((letter, &cluster[at + letter.len_utf8()..]));
        }
        if values.contains(letter) {
            return None;
        }
    }
    None
}

fn following<'w>(option: &'w Word, next: Option<&'w Word>) -> Result<Word, UnreadableWord<'w>> {
    match next {
        Some(next) if next.one => Ok(next.clone()),
        Some(next) => Err((next, SEVERAL_WORDS)),
        None => Err((option, "is an option without its value")),
    }
}

/// The end of a word, as a word.
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
