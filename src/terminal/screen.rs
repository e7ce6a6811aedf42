//! Text for people: escaped, framed and wrapped.
//!
//! External text reaches a terminal only as [`PrintableText`]. A `PrintableText` contains only printable ASCII.
//! Backslashes and all characters outside printable ASCII are written as visible escapes. A reader can decode the
//! original text from the escapes, so two different texts always look different. The escapes are `\\`, `\n`, `\t`,
//! `\r`, `\xNN` for characters below U+0080, `\u{hex}` for all others, and `\s{n}` for n blanks in a row.
//!
//! A line of a script ([`PrintableText::source`]) shows backslashes without change. In a line of a script, every
//! escape has braces: `\u{hex}`, `\s{n}` for blanks and `\s{ntabs}` for tabs. In such a line, a backslash is escaped
//! only before `u{` or `s{`.
//!
//! The beginning of each line separates the program's own lines from external text. Headings begin in column 0, with
//! `==`. Every line that is not a heading begins with a prefix of the program. If a long line is wrapped, the next
//! line begins with `+ ` in the column in which the prefix ends.

use std::fmt::Write as _;

use serde_json::Value;

/// Text of printable ASCII (0x20 to 0x7E), from which the original text can be decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrintableText(String);

impl PrintableText {
    /// Escapes external text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(escape(text, false))
    }

    /// Escapes external text and encloses it in double quotes.
    #[must_use]
    pub fn quoted(text: &str) -> Self {
        Self(format!("\"{}\"", escape(text, true)))
    }

    /// Escapes a line of a script, but does not escape its backslashes.
    #[must_use]
    pub fn source(line: &str) -> Self {
        Self(escape_source(line))
    }

    /// Creates a text from a string of the program, without escapes. No escapes are needed, because a `&'static str`
    /// cannot come from outside.
    #[must_use]
    pub fn words(words: &'static str) -> Self {
        debug_assert!(words.bytes().all(|c| (0x20..0x7f).contains(&c)));
        Self(words.to_owned())
    }

    /// Appends a string of the program.
    #[must_use]
    pub fn and(self, words: &'static str) -> Self {
        self.then(&Self::words(words))
    }

    /// Joins the parts and inserts `between` between two parts.
    #[must_use]
    pub fn joined(parts: impl IntoIterator<Item = Self>, between: &'static str) -> Self {
        let mut all = Self::default();
        for (at, part) in parts.into_iter().enumerate() {
            all = if at == 0 { part } else { all.and(between).then(&part) };
        }
        all
    }

    /// Returns the beginning and the end of the text, each at most `most` characters long, with dots between them. No
    /// escape is split.
    #[must_use]
    pub fn ends(&self, most: usize) -> Self {
        let tokens = || {
            std::iter::successors(first_token(&self.0).map(|first| (0, first)), |(at, token)| {
                let at = at + token.len();
                first_token(&self.0[at..]).map(|next| (at, next))
            })
        };
        let head = tokens().map(|(at, token)| at + token.len()).take_while(|end| *end <= most).last().unwrap_or(0);
        let tail = tokens().map(|(at, _)| at).find(|at| self.0.len() - at <= most).unwrap_or(self.0.len());
        if head >= tail {
            return self.clone();
        }
        Self(format!("{}...{}", &self.0[..head], &self.0[tail..]))
    }

    /// Returns the text cut to at most `most` characters, with dots at the cut. No escape is split.
    #[must_use]
    pub fn cut(&self, most: usize) -> Self {
        if self.0.len() <= most {
            return self.clone();
        }
        let mut end = 0;
        while let Some(token) = first_token(&self.0[end..]).filter(|token| end + token.len() + 3 <= most) {
            end += token.len();
        }
        Self(format!("{}...", &self.0[..end]))
    }

    /// Formats a JSON value that has no members: a quoted string, a number, `true`, `null`, `[]` or `{}`.
    #[must_use]
    pub fn value(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::quoted(text),
            Value::Array(_) => Self("[]".to_owned()),
            Value::Object(_) => Self("{}".to_owned()),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self(value.to_string()),
        }
    }

    /// Formats a path of fields, followed by ` = `. The path consists of names in the form of [`path_key`] and of array
    /// indexes.
    #[must_use]
    pub fn path(path: &str) -> Self {
        let safe = path.bytes().all(|c| (0x21..0x7f).contains(&c));
        Self(format!("{} = ", if safe { path.to_owned() } else { escape(path, false) }))
    }

    /// Appends `more` to this text.
    #[must_use]
    pub fn then(mut self, more: &Self) -> Self {
        self.0.push_str(&more.0);
        self
    }

    /// Returns the escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Emphasis of a line. The text of a line has the same information without its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTone {
    /// Normal text.
    Plain,
    /// A heading.
    Strong,
    /// A reason against signing.
    Bad,
    /// A check that passed.
    Good,
    /// Secondary text.
    Faint,
}

impl LineTone {
    const fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("\x1b[1m"),
            Self::Bad => Some("\x1b[1;31m"),
            Self::Good => Some("\x1b[32m"),
            Self::Faint => Some("\x1b[2m"),
        }
    }
}

#[derive(Debug, Clone)]
struct Line {
    tone: LineTone,
    prefix: String,
    content: PrintableText,
}

/// The lines of a screen. Long lines are wrapped only when the screen is printed.
#[derive(Debug, Clone, Default)]
pub struct Screen {
    lines: Vec<Line>,
}

impl Screen {
    /// Adds an empty line and a heading.
    pub fn heading(&mut self, title: &'static str) {
        if !self.lines.is_empty() {
            self.push(LineTone::Plain, String::new(), PrintableText::default());
        }
        self.push(LineTone::Strong, format!("== {title} =="), PrintableText::default());
    }

    /// Adds a sentence that the program itself wrote. The sentence may contain external text.
    pub fn say(&mut self, tone: LineTone, sentence: &str) {
        self.push(tone, "  ".to_owned(), PrintableText::text(sentence));
    }

    /// Adds a named value.
    pub fn field(&mut self, name: &'static str, value: &PrintableText) {
        self.push(LineTone::Plain, format!("  {name:<13} "), value.clone());
    }

    /// Adds a named value with emphasis.
    pub fn field_in(&mut self, tone: LineTone, name: &'static str, value: &PrintableText) {
        self.push(tone, format!("  {name:<13} "), value.clone());
    }

    /// Adds a line after a prefix that the program chose. The prefix is printable ASCII and must not look like a
    /// continuation line (blanks and a plus sign).
    pub fn push(&mut self, tone: LineTone, prefix: String, content: PrintableText) {
        let prefix = if prefix.bytes().all(|c| (0x20..0x7f).contains(&c)) { prefix } else { escape(&prefix, false) };
        let content = match content.0.strip_prefix('+') {
            Some(rest) if prefix.trim().is_empty() => PrintableText(format!("\\x2b{rest}")),
            _ => content,
        };
        self.lines.push(Line { tone, prefix, content });
    }

    /// Adds a text with line numbers, and then a line with the size of the text. This line also states whether the text
    /// ends with a newline.
    pub fn numbered(&mut self, text: &str) {
        self.source(text);
        self.push(LineTone::Faint, format!("  {:>5} = ", "end"), PrintableText::text(&size_words(text)));
    }

    /// Adds the numbered lines of a text.
    pub fn source(&mut self, text: &str) {
        for (at, line) in lines_of(text).0.iter().enumerate() {
            self.push(LineTone::Plain, format!("  {:>5} | ", at + 1), PrintableText::source(line));
        }
    }

    /// Adds one line for each field of a document, as `path = value`. If another section has the full value of a
    /// field, as listed in `elsewhere`, the line only names that section.
    pub fn exact(&mut self, document: &Value, elsewhere: &[(&str, &'static str)]) {
        let mut found = Vec::new();
        leaves(document, String::new(), &mut found);
        for (path, value) in found {
            let content = match elsewhere.iter().find(|(hidden, _)| *hidden == path) {
                Some((_, place)) => PrintableText(format!("{path} is in full under: {place}")),
                None => PrintableText(format!("{path} = ")).then(&PrintableText::value(value)),
            };
            self.push(LineTone::Plain, "    ".to_owned(), content);
        }
    }

    /// Returns true if a line contains an escape that a reader may not know.
    #[must_use]
    pub fn has_escapes(&self) -> bool {
        let rare = |line: &Line| [r"\s{", r"\u{", r"\x"].iter().any(|form| line.content.0.contains(form));
        self.lines.iter().any(rare)
    }

    /// Adds the lines of the screen `other`.
    pub fn extend(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// Formats the lines with at most `width` columns, and with SGR colours if `colour` is true.
    #[must_use]
    pub fn paint(&self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let sgr = line.tone.sgr().filter(|_| colour);
            for physical in wrap(line, width) {
                match sgr {
                    Some(sgr) => {
                        let _ = writeln!(out, "{sgr}{physical}\x1b[0m");
                    }
                    None => {
                        let _ = writeln!(out, "{physical}");
                    }
                }
            }
        }
        out
    }
}

/// Describes the numbers of lines and bytes in a text, and whether the last line ends with a newline.
#[must_use]
fn size_words(text: &str) -> String {
    let (lines, ends) = lines_of(text);
    let ending = if ends { "the last line ends with a newline" } else { "no newline at the end" };
    format!("{} lines, {} bytes, {ending}", lines.len(), text.len())
}

/// Splits a text into lines. The flag is true if the last line ends with a newline.
#[must_use]
pub fn lines_of(text: &str) -> (Vec<&str>, bool) {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let ends = lines.len() > 1 && lines.last() == Some(&"");
    if ends {
        lines.pop();
    }
    (lines, ends)
}

/// Minimum width of the content after a prefix, even in a narrow terminal.
const LEAST: usize = 24;
/// Maximum length of a word that is moved to the next line as a whole. This length is enough for a digest with its
/// path.
const WORD: usize = 96;
/// Maximum number of blanks at the beginning of a line that are printed without an escape (indentation).
const INDENT: usize = 16;

fn wrap(line: &Line, width: usize) -> Vec<String> {
    let room = width.saturating_sub(line.prefix.len()).max(LEAST);
    let mut physical = Vec::new();
    let mut current = String::new();
    let mut rest = line.content.as_str();
    while let Some(token) = first_token(rest) {
        if current.len() + token.len() > room && !current.is_empty() {
            let next = break_off(&mut current);
            physical.push(std::mem::replace(&mut current, next));
        }
        current.push_str(token);
        rest = &rest[token.len()..];
    }
    physical.push(current);
    let below = format!("{}+ ", " ".repeat(line.prefix.len().saturating_sub(2)));
    physical
        .into_iter()
        .enumerate()
        .map(|(at, part)| match (at, part.is_empty()) {
            (0, true) => line.prefix.trim_end().to_owned(),
            (0, false) => format!("{}{part}", line.prefix),
            _ => format!("{below}{part}"),
        })
        .collect()
}

/// Cuts a line, and returns the part that moves to the next line. The line is cut at its last blank, if that blank is
/// near the end. The blank itself moves to the next line, because a reader could not see a blank at the end of a
/// line.
fn break_off(line: &mut String) -> String {
    let near = line.rfind(' ').filter(|at| line.len() - at <= WORD).unwrap_or(line.len());
    let kept = line[..near].trim_end_matches(' ').len();
    if kept == 0 { String::new() } else { line.split_off(kept) }
}

/// Returns the first character of a text. If the text begins with an escape, returns the whole escape.
fn first_token(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let length = match bytes {
        [] => return None,
        [b'\\', b'u' | b's', b'{', ..] => text.find('}').map_or(text.len(), |at| at + 1),
        [b'\\', b'x', ..] => 4,
        [b'\\', _, ..] => 2,
        _ => 1,
    };
    Some(text.get(..length).unwrap_or(text))
}

fn escape(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == ' ' {
            let run = rest.len() - rest.trim_start_matches(' ').len();
            let (begins, ends) = (rest.len() == text.len(), run == rest.len());
            if !ends && (run <= 2 || (begins && run <= INDENT)) {
                out.push_str(&rest[..run]);
            } else {
                let _ = write!(out, "\\s{{{run}}}");
            }
            rest = &rest[run..];
            continue;
        }
        match c {
            '\\' => out.push_str("\\\\"),
            '"' if quoted => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x21'..='\x7e' => out.push(c),
            _ if u32::from(c) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn escape_source(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(c).len();
        match c {
            ' ' => {
                let (begins, ends) = (rest.len() == line.len(), run == rest.len());
                if !ends && (run <= 2 || (begins && run <= INDENT)) {
                    out.push_str(&rest[..run]);
                } else {
                    let _ = write!(out, "\\s{{{run}}}");
                }
                rest = &rest[run..];
                continue;
            }
            '\t' => {
                let _ = write!(out, "\\s{{{run}tab{}}}", if run == 1 { "" } else { "s" });
                rest = &rest[run..];
                continue;
            }
            '\\' if !["u{", "s{"].iter().any(|form| rest[1..].starts_with(form)) => out.push(c),
            '\x21'..='\x7e' if c != '\\' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Collects the leaves of a document with their paths. A path has the form `.key` for a field and `[n]` for an array
/// element. In a path, all characters of a key except letters, digits, `_` and `-` are escaped. An empty key is `\e`.
pub fn leaves<'v>(value: &'v Value, path: String, found: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                leaves(value, format!("{path}.{}", path_key(key)), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                leaves(value, format!("{path}[{at}]"), found);
            }
        }
        _ => found.push((path, value)),
    }
}

/// Returns a key in the form that the key has in a path.
#[must_use]
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

/// Decoder for printed screens, for tests. With this decoder, the tests prove that no content can be hidden.
#[cfg(test)]
pub(crate) mod backwards {
    use serde_json::{Map, Value};

    /// Joins wrapped lines, and returns each joined line with the name of its section.
    pub(crate) fn logical(painted: &str) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut section = String::new();
        for physical in painted.lines() {
            if let Some(title) = physical.strip_prefix("== ").and_then(|rest| rest.strip_suffix(" ==")) {
                section = title.to_owned();
            } else if let Some(more) = physical.trim_start_matches(' ').strip_prefix("+ ") {
                lines.last_mut().expect("a line to go on from").1.push_str(more);
            } else {
                lines.push((section.clone(), physical.to_owned()));
            }
        }
        lines
    }

    fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(token) = super::first_token(rest) {
            rest = &rest[token.len()..];
            let inner = || token[3..].trim_end_matches('}');
            match token.as_bytes() {
                [b'\\', b'u', ..] => {
                    let code = u32::from_str_radix(inner(), 16).expect("hex");
                    out.push(char::from_u32(code).expect("a character"));
                }
                [b'\\', b's', ..] => out.push_str(&" ".repeat(inner().parse().expect("a count"))),
                [b'\\', b'x', ..] => out.push(char::from(u8::from_str_radix(&token[2..], 16).expect("hex"))),
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
    fn unescape_source(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let form = ["\\u{", "\\s{"].iter().position(|form| rest.starts_with(form));
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
            _ => match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(inner) => Value::String(unescape(inner)),
                None => serde_json::from_str(text).expect("a number, true, false or null"),
            },
        }
    }

    fn put(place: &mut Value, path: &str, leaf: Value) {
        if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let key = if &rest[..end] == "\\e" { String::new() } else { unescape(&rest[..end]) };
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            put(place.as_object_mut().expect("an object").entry(key).or_insert(Value::Null), &rest[end..], leaf);
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

    /// Decodes a document from the lines of [`super::Screen::exact`] and from the values in other sections.
    pub(crate) fn document(lines: &[&str], elsewhere: &[(&str, Value)]) -> Value {
        let mut whole = Value::Null;
        for line in lines {
            let line = line.strip_prefix("    ").expect("the prefix");
            if let Some((path, leaf)) = line.split_once(" = ") {
                put(&mut whole, path, value(leaf));
            } else {
                let (path, _) = line.split_once(" is in full under: ").expect("a place");
                let (_, leaf) = elsewhere.iter().find(|(hidden, _)| *hidden == path).expect("known");
                put(&mut whole, path, leaf.clone());
            }
        }
        whole
    }

    /// Decodes a text from the lines of [`super::Screen::numbered`].
    pub(crate) fn numbered(lines: &[&str]) -> String {
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn painted(text: &str, width: usize) -> String {
        let mut screen = Screen::default();
        screen.numbered(text);
        screen.paint(width, false)
    }

    #[test]
    fn control_and_invisible_characters_are_shown_as_escapes() {
        assert_eq!(PrintableText::text("a\u{202e}b\x1b[2K\\\t\u{200b}").as_str(), r"a\u{202e}b\x1b[2K\\\t\u{200b}");
        assert_eq!(PrintableText::text("rm  -rf x     # y ").as_str(), r"rm  -rf x\s{5}# y\s{1}");
        assert_eq!(PrintableText::text("    indented").as_str(), "    indented");
        assert_eq!(PrintableText::text(&format!("{}hidden", " ".repeat(200))).as_str(), r"\s{200}hidden");
        assert_eq!(PrintableText::text("    ").as_str(), r"\s{4}");
        assert_eq!(PrintableText::quoted("say \"x\"\n").as_str(), r#""say \"x\"\n""#);
        assert_eq!(PrintableText::text("\u{e9}\u{85}\x7f").as_str(), r"\u{e9}\u{85}\x7f");
    }

    #[test]
    fn a_backslash_in_a_script_line_is_shown_unchanged() {
        for same in [r"printf '%s\n' x", r"sed 's/\t/\\/'", r"echo \\", "  indented"] {
            assert_eq!(PrintableText::source(same).as_str(), same);
        }
        assert_eq!(PrintableText::source("\t\tx\ty").as_str(), r"\s{2tabs}x\s{1tab}y");
        assert_eq!(PrintableText::source(r"grep '\s{2}'").as_str(), r"grep '\u{5c}s{2}'");
        assert_eq!(PrintableText::source("a\r\x1b\u{202e} ").as_str(), r"a\u{d}\u{1b}\u{202e}\s{1}");
    }

    #[test]
    fn a_long_text_is_cut_between_escapes() {
        let text = PrintableText::text(&"\u{202e}".repeat(20));
        assert_eq!(text.cut(20).as_str(), r"\u{202e}\u{202e}...");
        assert_eq!(text.ends(10).as_str(), r"\u{202e}...\u{202e}");
        assert_eq!(PrintableText::text("a long text").ends(3).as_str(), "a l...ext");
        assert_eq!(PrintableText::text("short").ends(5).as_str(), "short");
        assert_eq!(PrintableText::text("short").cut(5).as_str(), "short");
    }

    #[test]
    fn no_escape_is_split_and_no_line_ends_with_a_blank() {
        let text = "\u{202e}".repeat(20) + " x y z ".repeat(9).as_str();
        for width in 34..60 {
            let painted = painted(&text, width);
            for line in painted.lines() {
                assert!(line.len() <= width, "{width}: {line}");
                assert!(!line.ends_with(' '), "{line:?}");
                assert_eq!(line.matches("\\u{").count(), line.matches("\\u{202e}").count(), "{line}");
            }
        }
    }

    #[test]
    fn the_screen_shows_if_a_text_ends_with_a_newline() {
        let all: Vec<String> = ["", "\n", "a", "a\n", "a\n\n", "\na"].iter().map(|text| painted(text, 80)).collect();
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{one}");
        }
    }

    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\n".to_owned()),
            Just("\t".to_owned()),
            Just("\\".to_owned()),
            Just("\"".to_owned()),
            Just("  + ".to_owned()),
            Just("== Summary ==".to_owned()),
            Just("\\s{3}".to_owned()),
            Just("\\s{1tab}".to_owned()),
            Just("\\u{202e}".to_owned()),
            Just("\u{202e}".to_owned()),
            Just("\x1b[31m".to_owned()),
            Just("      1 | ".to_owned()),
            Just(" = ".to_owned()),
            Just("\u{1f600}".to_owned()),
            " {0,20}",
            "[ -~]{0,12}",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            nasty().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(nasty(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn promise_4_only_printable_ascii_reaches_the_terminal(text in nasty(), width in 30_usize..120) {
            let painted = painted(&text, width);
            prop_assert!(painted.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
            let lines = backwards::logical(&painted);
            let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            prop_assert_eq!(backwards::numbered(&lines), text);
        }

        #[test]
        fn every_printed_document_can_be_decoded_again(document in documents(), width in 30_usize..120) {
            let mut screen = Screen::default();
            screen.exact(&document, &[]);
            let painted = screen.paint(width, false);
            prop_assert!(painted.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
            let lines = backwards::logical(&painted);
            let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            prop_assert_eq!(backwards::document(&lines, &[]), document);
        }
    }
}
