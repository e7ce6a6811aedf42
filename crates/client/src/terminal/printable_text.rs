//! Escapes external text for a terminal.
//!
//! External text reaches a terminal only as [`PrintableText`]. Backslashes and all characters outside printable ASCII
//! become visible escapes, from which a reader can decode the original text. So two different texts always look
//! different. The escapes are `\\`, `\n`, `\t`, `\r`, `\xNN` for characters below U+0080, `\u{hex}` for all others, and
//! `\s{n}` for n blanks in a row.
//!
//! Only prose shows words with letters beyond ASCII: the words that [`DisplayScripts`] allows. Prose is what people write
//! for people: reasons, words of denials, titles, text parameters, and comments of shell scripts.
//!
//! In a line of a script ([`PrintableText::source`]), every escape has braces: `\u{hex}`, `\s{n}` for blanks and
//! `\s{ntabs}` for tabs. A backslash in such a line is escaped only before `u{` or `s{`.

use std::{
    fmt::{self, Write as _},
    path::Path,
};

use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{DisplayScripts, terminal::letters::first_piece};
use documents::push_escape;

/// Text of printable ASCII (0x20 to 0x7E) and of words that prose shows, from which the original text can be decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PrintableText(String);

impl PrintableText {
    /// Escapes external text.
    pub fn text(text: &(impl AsRef<str> + ?Sized)) -> Self {
        Self(escape(
            text.as_ref(),
            EscapeForm::Text,
            DisplayScripts::default(),
            0,
        ))
    }

    /// Escapes the path of a file.
    pub fn file(path: &Path) -> Self {
        Self::text(&path.to_string_lossy())
    }

    /// Escapes external text and encloses it in double quotes.
    pub fn quoted(text: &str) -> Self {
        Self::quoted_in(text, DisplayScripts::default())
    }

    /// Escapes prose, and shows the words in the scripts of this process.
    pub fn prose(text: &str) -> Self {
        Self(escape(
            text,
            EscapeForm::Text,
            DisplayScripts::of_process(),
            0,
        ))
    }

    /// Escapes prose like [`Self::prose`], and encloses it in double quotes.
    pub fn quoted_prose(text: &str) -> Self {
        Self::quoted_in(text, DisplayScripts::of_process())
    }

    pub(super) fn quoted_in(text: &str, scripts: DisplayScripts) -> Self {
        Self(format!(
            "\"{}\"",
            escape(text, EscapeForm::Quoted, scripts, 0)
        ))
    }

    /// Formats a JSON value of a parameter as JSON in one line, as prose.
    pub fn json(value: &Value) -> Self {
        Self(escape(
            &value.to_string(),
            EscapeForm::Escaped,
            DisplayScripts::of_process(),
            0,
        ))
    }

    /// Escapes a message of the program, in which external text is escaped already. A backslash stays unchanged.
    pub fn message(words: &str) -> Self {
        Self(escape(
            words,
            EscapeForm::Escaped,
            DisplayScripts::default(),
            0,
        ))
    }

    /// Escapes a line of a script. A backslash stays unchanged unless it looks like an escape. `comment` is the place of
    /// the comment in the line, which is prose.
    pub fn source(line: &str, comment: Option<usize>) -> Self {
        Self::source_in(line, comment, DisplayScripts::of_process())
    }

    pub(super) fn source_in(line: &str, comment: Option<usize>, scripts: DisplayScripts) -> Self {
        Self(escape(
            line,
            EscapeForm::Source,
            scripts,
            comment.unwrap_or(line.len()),
        ))
    }

    /// Creates a text from a string of the program. A `&'static str` cannot come from outside, so it needs no escapes.
    pub fn words(words: &'static str) -> Self {
        debug_assert!(words.bytes().all(|c| (0x20..0x7f).contains(&c)));
        Self(words.to_owned())
    }

    /// Appends a string of the program.
    pub fn and(self, words: &'static str) -> Self {
        self.then(Self::words(words))
    }

    /// Joins the parts with `between` between them.
    pub fn joined(parts: impl IntoIterator<Item = Self>, between: &'static str) -> Self {
        let mut all = Self::default();
        for (at, part) in parts.into_iter().enumerate() {
            all = if at == 0 {
                part
            } else {
                all.and(between).then(part)
            };
        }
        all
    }

    /// Returns the beginning and the end of the text with dots between them, each at most `most` columns wide. No escape
    /// is split.
    pub fn ends(&self, most: usize) -> Self {
        self.around(most, most)
    }

    /// Like [`Self::ends`], but the beginning and the end can have different numbers of columns.
    pub fn around(&self, first: usize, last: usize) -> Self {
        let (whole, mut before, mut at) = (self.width(), 0, 0);
        let (mut head, mut tail) = (0, self.0.len());
        while let Some(token) = first_token(&self.0[at..]) {
            if whole - before <= last {
                tail = at;
                break;
            }
            (before, at) = (before + token.width(), at + token.len());
            if before <= first {
                head = at;
            }
        }
        if head >= tail {
            return self.clone();
        }
        Self(format!("{}...{}", &self.0[..head], &self.0[tail..]))
    }

    /// Replaces the equal beginnings and the equal ends of different texts by dots. No escape is split.
    pub fn cut_equal_ends(texts: &mut [&mut Self]) {
        if texts.iter().all(|text| *text == texts[0]) {
            return;
        }
        let mut all: Vec<Vec<&str>> = Vec::new();
        for text in &*texts {
            let mut rest = text.as_str();
            let next = || first_token(rest).inspect(|token| rest = &rest[token.len()..]);
            all.push(std::iter::from_fn(next).collect());
        }
        // First the beginnings, and then the ends.
        for _ in 0..2 {
            let is_equal = |at: &usize| all.iter().all(|one| one.get(*at) == all[0].get(*at));
            let equal = (0..all[0].len()).take_while(is_equal).count();
            for one in &mut all {
                // Three dots do not shorten a beginning of three characters.
                if equal > 3 {
                    one.splice(..equal, ["..."]);
                }
                one.reverse();
            }
        }
        let cut: Vec<String> = all.iter().map(|one| one.concat()).collect();
        for (text, cut) in texts.iter_mut().zip(cut) {
            text.0 = cut;
        }
    }

    /// Cuts the text to at most `most` columns, with dots at the cut. No escape is split.
    pub fn cut(&self, most: usize) -> Self {
        if self.width() <= most {
            return self.clone();
        }
        let (mut end, mut width) = (0, 0);
        while let Some(token) =
            first_token(&self.0[end..]).filter(|token| width + token.width() + 3 <= most)
        {
            (end, width) = (end + token.len(), width + token.width());
        }
        Self(format!("{}...", &self.0[..end]))
    }

    /// Returns the number of columns of the text.
    pub fn width(&self) -> usize {
        self.0.width()
    }

    /// Returns the text with blanks after it, so that it fills this number of columns.
    pub fn padded(&self, width: usize) -> String {
        format!(
            "{}{}",
            self.0,
            " ".repeat(width.saturating_sub(self.width()))
        )
    }

    /// Formats a JSON value without inner values: a quoted string, a number, `true`, `null`, `[]` or `{}`.
    pub fn value(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::quoted(text),
            Value::Array(_) => Self("[]".to_owned()),
            Value::Object(_) => Self("{}".to_owned()),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self(value.to_string()),
        }
    }

    /// Formats a JSON value like [`Self::value`], with a text as prose.
    pub fn prose_value(value: &Value) -> Self {
        value
            .as_str()
            .map_or_else(|| Self::value(value), Self::quoted_prose)
    }

    /// Formats a path of fields as [`Self::path`] does, but without ` = `.
    pub(super) fn bare_path(path: &str) -> Self {
        let safe = path.bytes().all(|c| (0x21..0x7f).contains(&c));
        if safe {
            Self(path.to_owned())
        } else {
            Self::text(path)
        }
    }

    /// Formats a path of fields, followed by ` = `. The path consists of names in the form of
    /// [`path_key`](crate::terminal::field_paths::path_key) and of array indexes.
    pub fn path(path: &str) -> Self {
        Self::bare_path(path).and(" = ")
    }

    /// Escapes a plus sign at the beginning of the text, because the line would otherwise look like a continuation
    /// line.
    pub(super) fn without_leading_plus(self) -> Self {
        match self.0.strip_prefix('+') {
            Some(rest) => Self(format!("\\x2b{rest}")),
            None => self,
        }
    }

    /// Appends `more` to this text.
    pub fn then(mut self, more: impl Into<Self>) -> Self {
        self.0 += &more.into().0;
        self
    }

    /// Returns the escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrintableText {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes external text.
impl<T: AsRef<str>> From<T> for PrintableText {
    fn from(text: T) -> Self {
        Self::text(&text)
    }
}

impl From<&PrintableText> for PrintableText {
    fn from(text: &PrintableText) -> Self {
        text.clone()
    }
}

/// Maximum number of blanks at the beginning of a line (indentation) that are not escaped.
const INDENT: usize = 16;

/// Maximum length of an escape.
const LONGEST_ESCAPE: usize = 24;

/// Returns the first escape of a text, or else its first character with the marks on it.
pub fn first_token(text: &str) -> Option<&str> {
    let marked = || {
        let next = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_ascii() || c.width() != Some(0));
        next.map_or(text.len(), |(at, _)| at)
    };
    let length = match text.as_bytes() {
        [] => return None,
        [b'\\', b'u' | b's', b'{', ..] => text
            .find('}')
            .filter(|at| *at < LONGEST_ESCAPE)
            .map_or(1, |at| at + 1),
        [b'\\', b'x', ..] => 4,
        [b'\\', second, ..] if second.is_ascii() => 2,
        _ => marked(),
    };
    Some(text.get(..length).unwrap_or(&text[..marked()]))
}

/// Form in which a text is escaped.
#[derive(PartialEq)]
enum EscapeForm {
    /// A backslash becomes two.
    Text,
    /// A backslash becomes two, and a double quote gets a backslash.
    Quoted,
    /// Backslashes in the text belong to escapes, so they stay.
    Escaped,
    /// A line of a script.
    Source,
}

/// Writes the word at the beginning of the text, or the character beyond ASCII, and returns the rest of the text.
fn write_piece<'t>(
    out: &mut String,
    text: &'t str,
    scripts: DisplayScripts,
    escape: fn(&mut String, char),
) -> Option<&'t str> {
    let piece = first_piece(text);
    if piece.starts_with(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()) {
        return None;
    }
    let is_shown = scripts.shows(piece);
    piece.chars().for_each(|c| {
        if is_shown || c.is_ascii() {
            out.push(c)
        } else {
            escape(out, c)
        }
    });
    Some(&text[piece.len()..])
}

/// Escapes a text. From the byte offset `prose` on, words in these scripts are shown.
fn escape(text: &str, form: EscapeForm, scripts: DisplayScripts, prose: usize) -> String {
    let is_source = form == EscapeForm::Source;
    let escaped = if is_source { push_braced } else { push_escape };
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // Only for blanks, because a search at each character of a long line would need quadratic time.
        let run_of = |c: char| rest.len() - rest.trim_start_matches(c).len();
        let at = text.len() - rest.len();
        let scripts = if at >= prose {
            scripts
        } else {
            DisplayScripts::default()
        };
        if let Some(after) = write_piece(&mut out, rest, scripts, escaped) {
            rest = after;
            continue;
        }
        let mut length = 1;
        match c {
            ' ' => {
                length = run_of(c);
                write_spaces(&mut out, length, at == 0, length == rest.len());
            }
            '\t' if is_source => {
                length = run_of(c);
                let _ = write!(
                    out,
                    "\\s{{{length}tab{}}}",
                    if length == 1 { "" } else { "s" }
                );
            }
            '\\' if is_source && ["u{", "s{"].iter().any(|form| rest[1..].starts_with(form)) => {
                escaped(&mut out, c)
            }
            '\\' if matches!(form, EscapeForm::Text | EscapeForm::Quoted) => out += "\\\\",
            '"' if form == EscapeForm::Quoted => out += "\\\"",
            '\n' if !is_source => out += "\\n",
            '\r' if !is_source => out += "\\r",
            '\t' => out += "\\t",
            '\x21'..='\x7e' => out.push(c),
            _ => escaped(&mut out, c),
        }
        rest = &rest[length..];
    }
    out
}

fn push_braced(out: &mut String, c: char) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
}

/// Writes a run of spaces. A long run of spaces, and a run at the end of the text, could hide text on a screen, so the number
/// of spaces is written instead.
fn write_spaces(out: &mut String, spaces: usize, begins: bool, ends: bool) {
    if !ends && (spaces <= 2 || (begins && spaces <= INDENT)) {
        *out += &" ".repeat(spaces);
    } else {
        let _ = write!(out, "\\s{{{spaces}}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_invisible_characters_are_shown_as_escapes() {
        assert_eq!(
            PrintableText::text("a\u{202e}b\x1b[2K\\\t\u{200b}").as_str(),
            r"a\u{202e}b\x1b[2K\\\t\u{200b}"
        );
        assert_eq!(
            PrintableText::text("rm  -rf x     # y ").as_str(),
            r"rm  -rf x\s{5}# y\s{1}"
        );
        assert_eq!(PrintableText::text("    indented").as_str(), "    indented");
        assert_eq!(
            PrintableText::text(&format!("{}hidden", " ".repeat(200))).as_str(),
            r"\s{200}hidden"
        );
        assert_eq!(PrintableText::text("    ").as_str(), r"\s{4}");
        assert_eq!(
            PrintableText::quoted("say \"x\"\n").as_str(),
            r#""say \"x\"\n""#
        );
        assert_eq!(
            PrintableText::text("\u{e9}\u{85}\x7f").as_str(),
            r"\u{e9}\u{85}\x7f"
        );
    }

    #[test]
    fn a_backslash_in_a_script_line_is_shown_unchanged() {
        for same in [
            r"printf '%s\n' x",
            r"sed 's/\t/\\/'",
            r"echo \\",
            "  indented",
        ] {
            assert_eq!(PrintableText::source(same, None).as_str(), same);
        }
        assert_eq!(
            PrintableText::source("\t\tx\ty", None).as_str(),
            r"\s{2tabs}x\s{1tab}y"
        );
        assert_eq!(
            PrintableText::source(r"grep '\s{2}'", None).as_str(),
            r"grep '\u{5c}s{2}'"
        );
        assert_eq!(
            PrintableText::source("a\r\x1b\u{202e} ", None).as_str(),
            r"a\u{d}\u{1b}\u{202e}\s{1}"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_escapes() {
        let text = PrintableText::text(&"\u{202e}".repeat(20));
        assert_eq!(text.cut(20).as_str(), r"\u{202e}\u{202e}...");
        assert_eq!(text.ends(10).as_str(), r"\u{202e}...\u{202e}");
        assert_eq!(
            PrintableText::text("a long text").ends(3).as_str(),
            "a l...ext"
        );
        assert_eq!(PrintableText::text("short").ends(5).as_str(), "short");
        assert_eq!(
            PrintableText::text("a long text").around(0, 4).as_str(),
            "...text"
        );
    }

    #[test]
    fn equal_ends_are_cut_between_escapes_and_the_difference_stays() {
        let of = |one: &str, other: &str| {
            let (mut one, mut other) = (PrintableText::text(one), PrintableText::text(other));
            PrintableText::cut_equal_ends(&mut [&mut one, &mut other]);
            [one.as_str().to_owned(), other.as_str().to_owned()]
        };
        assert_eq!(of("prod-eu-01", "prod-eu-02"), ["...1", "...2"]);
        assert_eq!(
            of("prod-01-eu-west", "prod-02-eu-west"),
            ["...1...", "...2..."]
        );
        assert_eq!(of("aaaaaa", "aaaaaaaa"), ["...", "...aa"]);
        assert_eq!(of("ab1", "ab2"), ["ab1", "ab2"]);
        assert_eq!(of("prod-eu", "prod-eu"), ["prod-eu", "prod-eu"]);
        assert_eq!(
            of("same-\u{202e}", "same-\u{202f}"),
            [r"...\u{202e}", r"...\u{202f}"]
        );
        assert_eq!(PrintableText::text("short").cut(5).as_str(), "short");
    }
}
