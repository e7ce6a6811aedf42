//! Formats text for people: screens with wrapped lines, and tables with aligned columns.
//!
//! The beginning of a line distinguishes the program's own text from external text. Headings begin in column 0, with
//! `==`. Every other line begins with a prefix of the program. The continuation of a long line has `+ ` in the column
//! in which the prefix ends.

use std::fmt::Write as _;

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::{PrintableText, first_token, leaves};
use documents::joined;

/// Emphasis of a line. The text contains all information, so a reader needs no colour.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("\x1b[1m"),
            Self::Bad => Some("\x1b[1;31m"),
            Self::Good => Some("\x1b[32m"),
            Self::Faint => Some("\x1b[2m"),
        }
    }
}

/// A whole line of a screen, for a reader that wraps lines itself.
pub struct ScreenLine<'s> {
    /// Emphasis of the line.
    pub tone: LineTone,
    /// Beginning of the line, which only the program chooses.
    pub prefix: &'s str,
    /// The rest of the line, with escapes for external text.
    pub content: &'s str,
}

struct Line {
    tone: LineTone,
    prefix: String,
    content: PrintableText,
}

/// The lines of a screen. Long lines are wrapped only when the screen is printed.
#[derive(Default)]
pub struct Screen {
    lines: Vec<Line>,
}

impl Screen {
    /// Adds an empty line and a heading.
    pub fn heading(&mut self, title: &'static str) {
        if !self.lines.is_empty() {
            self.blank();
        }
        self.push(LineTone::Strong, format!("== {title} =="), "");
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.push(LineTone::Plain, "", "");
    }

    /// Adds a sentence of the program, in which external text may be quoted.
    pub fn say(&mut self, tone: LineTone, sentence: &(impl AsRef<str> + ?Sized)) {
        self.push(tone, "  ", PrintableText::text(sentence));
    }

    /// Adds a named value.
    pub fn field(&mut self, name: &'static str, value: impl Into<PrintableText>) {
        self.field_in(LineTone::Plain, name, value);
    }

    /// Adds a named value with emphasis.
    pub fn field_in(
        &mut self,
        tone: LineTone,
        name: &'static str,
        value: impl Into<PrintableText>,
    ) {
        self.push(tone, format!("  {name:<13} "), value);
    }

    /// Adds a line after a prefix that the program chose. The prefix is printable ASCII and must not look like a
    /// continuation line (blanks and a plus sign).
    pub fn push(
        &mut self,
        tone: LineTone,
        prefix: impl Into<String>,
        content: impl Into<PrintableText>,
    ) {
        let (mut prefix, mut content) = (prefix.into(), content.into());
        if !prefix.bytes().all(|c| (0x20..0x7f).contains(&c)) {
            prefix = PrintableText::text(&prefix).to_string();
        }
        if prefix.trim().is_empty() {
            content = content.without_leading_plus();
        }
        self.lines.push(Line {
            tone,
            prefix,
            content,
        });
    }

    /// Adds a text with line numbers, then a line with the size of the text and whether it ends with a newline. `comments`
    /// are the places of the comments in the text, in order.
    pub fn numbered(&mut self, text: &str, comments: &[usize]) {
        self.source(text, comments);
        self.push(
            LineTone::Faint,
            format!("  {:>5} = ", "end"),
            size_words(text),
        );
    }

    /// Adds the numbered lines of a text.
    pub fn source(&mut self, text: &str, comments: &[usize]) {
        let mut start = 0;
        for (at, line) in lines_of(text).0.iter().enumerate() {
            let shown = PrintableText::source(line, comment_in(comments, start, line));
            self.push(LineTone::Plain, format!("  {:>5} | ", at + 1), shown);
            start += line.len() + 1;
        }
    }

    /// Adds one line for each field of a document, as `path = value`. `elsewhere` lists the fields whose full value is
    /// in another section. Their lines only name this section.
    pub fn exact(&mut self, document: &Value, elsewhere: &[(&str, &'static str)]) {
        for (path, value) in leaves(document) {
            let content = match elsewhere.iter().find(|(hidden, _)| *hidden == path) {
                Some((_, place)) => PrintableText::bare_path(&path)
                    .and(" is in full under: ")
                    .and(place),
                None => PrintableText::path(&path).then(PrintableText::value(value)),
            };
            self.push(LineTone::Plain, "    ", content);
        }
    }

    /// Returns true if a line contains an escape.
    pub fn has_escapes(&self) -> bool {
        let rare = |line: &Line| {
            [r"\s{", r"\u{", r"\x"]
                .iter()
                .any(|form| line.content.as_str().contains(form))
        };
        self.lines.iter().any(rare)
    }

    /// Adds the lines of the screen `other`.
    pub fn extend(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// Returns the lines as they are before they are wrapped: the text of [`Self::paint`] in a terminal of any width.
    pub fn whole_lines(&self) -> impl Iterator<Item = ScreenLine<'_>> {
        self.lines.iter().map(
            |Line {
                 tone,
                 prefix,
                 content,
             }| {
                let content = content.as_str();
                ScreenLine {
                    tone: *tone,
                    prefix: if content.is_empty() {
                        prefix.trim_end()
                    } else {
                        prefix
                    },
                    content,
                }
            },
        )
    }

    /// Formats the lines with at most `width` columns, and with SGR colours if `colour` is true.
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

/// Returns the numbers of lines and bytes in a text, and whether the last line ends with a newline, in words.
fn size_words(text: &str) -> String {
    let (lines, ends) = lines_of(text);
    let ending = if ends {
        "the last line ends with a newline"
    } else {
        "no newline at the end"
    };
    let many = if lines.len() == 1 { "line" } else { "lines" };
    format!("{} {many}, {} bytes, {ending}", lines.len(), text.len())
}

/// Splits a text into lines. The flag is true if the last line ends with a newline.
pub fn lines_of(text: &str) -> (Vec<&str>, bool) {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let ends = lines.len() > 1 && lines.last() == Some(&"");
    if ends {
        lines.pop();
    }
    (lines, ends)
}

/// Returns the place of the comment in a line that begins at `start` of the text.
pub fn comment_in(comments: &[usize], start: usize, line: &str) -> Option<usize> {
    let next = comments.get(comments.partition_point(|comment| *comment < start))?;
    Some(next - start).filter(|at| *at < line.len())
}

/// Minimum width of the content after a prefix, even in a narrow terminal.
const LEAST: usize = 24;
/// Maximum length of a word that is moved to the next line as a whole, enough for a digest with its path.
const WORD: usize = 96;
fn wrap(line: &Line, width: usize) -> Vec<String> {
    let room = width.saturating_sub(line.prefix.len()).max(LEAST);
    let mut physical = Vec::new();
    let (mut current, mut columns) = (String::new(), 0);
    let mut rest = line.content.as_str();
    while let Some(token) = first_token(rest) {
        while columns + token.width() > room && !current.is_empty() {
            let next = break_off(&mut current);
            columns = next.width();
            physical.push(std::mem::replace(&mut current, next));
        }
        current += token;
        columns += token.width();
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

/// Cuts a line, and returns the part for the next line. A blank near the end is preferred for the cut. The blank moves
/// to the next line, because a reader could not see it at the end of a line.
fn break_off(line: &mut String) -> String {
    let near = line
        .rfind(' ')
        .filter(|at| line.len() - at <= WORD)
        .unwrap_or(line.len());
    let kept = line[..near].trim_end_matches(' ').len();
    if kept == 0 {
        String::new()
    } else {
        line.split_off(kept)
    }
}

/// Returns the rows of a table, after its header.
pub fn with_header<const N: usize, C: From<&'static str>>(
    header: [&'static str; N],
    rows: impl Iterator<Item = [C; N]>,
) -> Vec<[C; N]> {
    std::iter::once(header.map(C::from)).chain(rows).collect()
}

/// Formats rows as lines. Each column is as wide as its widest cell. A `String` may contain external text, so it is escaped;
/// prose is a [`PrintableText`].
pub fn aligned<const N: usize, C: Clone + Into<PrintableText>>(rows: &[[C; N]]) -> String {
    let rows: Vec<[PrintableText; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| cell.clone().into()))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line = joined(
            row.iter()
                .zip(widths)
                .map(|(cell, width)| cell.padded(width)),
            "  ",
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Formats rows like [`aligned`]. If a line is longer than `width`, the column with this index gets lines of its own.
pub fn fitted<const N: usize, C: Clone + Into<PrintableText>>(
    rows: &[[C; N]],
    width: usize,
    long: usize,
) -> String {
    let text = aligned(rows);
    if text.lines().all(|line| line.width() <= width) {
        return text;
    }
    let cell = |row: &[C; N], at: usize| {
        if at == long {
            PrintableText::default()
        } else {
            row[at].clone().into()
        }
    };
    let short: Vec<[PrintableText; N]> = rows
        .iter()
        .map(|row| std::array::from_fn(|at| cell(row, at)))
        .collect();
    let mut text = String::new();
    for (line, row) in aligned(&short).lines().zip(rows) {
        text += &format!("{line}\n  {}\n", row[long].clone().into());
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DisplayScripts, terminal::tests::screen_decoder};

    fn painted(text: &str, width: usize) -> String {
        let mut screen = Screen::default();
        screen.numbered(text, &[]);
        screen.paint(width, false)
    }

    #[test]
    fn no_escape_is_split_and_no_line_ends_with_a_blank() {
        let text = "\u{202e}".repeat(20) + " x y z ".repeat(9).as_str();
        for width in 34..60 {
            let painted = painted(&text, width);
            for line in painted.lines() {
                assert!(line.len() <= width, "{width}: {line}");
                assert!(!line.ends_with(' '), "{line:?}");
                assert_eq!(
                    line.matches("\\u{").count(),
                    line.matches("\\u{202e}").count(),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn the_screen_shows_if_a_text_ends_with_a_newline() {
        let all: Vec<String> = ["", "\n", "a", "a\n", "a\n\n", "\na"]
            .iter()
            .map(|text| painted(text, 80))
            .collect();
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
            let lines = screen_decoder::logical(&painted);
            let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            prop_assert_eq!(screen_decoder::numbered(&lines), text);
        }

        #[test]
        fn promise_4_prose_can_be_decoded_and_no_line_is_wider_than_the_screen(
            text in prop::collection::vec(prop_oneof![nasty(), Just("Größe ".to_owned()), Just("再起動する".to_owned())], 0..8),
            width in 34_usize..120,
        ) {
            let text = text.concat();
            let scripts = DisplayScripts::named(["Latin", "Japanese"]).expect("scripts");
            let mut screen = Screen::default();
            screen.push(LineTone::Plain, "    .a = ".to_owned(), PrintableText::quoted_in(&text, scripts));
            for line in text.lines() {
                screen.push(LineTone::Plain, "  | ".to_owned(), PrintableText::source_in(line, Some(0), scripts));
            }
            let painted = screen.paint(width, false);
            prop_assert!(painted.lines().all(|line| line.width() <= width), "{}", painted);
            let lines = screen_decoder::logical(&painted);
            prop_assert_eq!(&screen_decoder::document(&[&lines[0].1], &[])["a"], &Value::from(text.clone()));
            let source: Vec<String> = lines[1..].iter().map(|(_, line)| screen_decoder::unescape_source(line.get(4..).unwrap_or(""))).collect();
            prop_assert_eq!(source, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }

        #[test]
        fn every_printed_document_can_be_decoded_again(document in documents(), width in 30_usize..120) {
            let mut screen = Screen::default();
            screen.exact(&document, &[]);
            let painted = screen.paint(width, false);
            prop_assert!(painted.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
            let lines = screen_decoder::logical(&painted);
            let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            prop_assert_eq!(screen_decoder::document(&lines, &[]), document);
        }
    }
}

#[cfg(test)]
mod table_tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_a_blank() {
        let rows = [
            ["a".to_owned(), "bb".to_owned()],
            ["ccc\x1b".to_owned(), String::new()],
        ];
        assert_eq!(aligned(&rows), "a        bb\nccc\\x1b\n");
    }

    #[test]
    fn columns_are_counted_by_the_width_of_their_letters() {
        let scripts = crate::terminal::letters::DisplayScripts::named(["Latin", "Japanese"])
            .expect("scripts");
        let rows = ["再起動", "Größe", "x"].map(|text| {
            [
                PrintableText::quoted_in(text, scripts),
                PrintableText::words("end"),
            ]
        });
        assert_eq!(
            aligned(&rows),
            "\"再起動\"  end\n\"Größe\"   end\n\"x\"       end\n"
        );
        let long = PrintableText::quoted_in("再起動する", scripts);
        assert_eq!(
            [
                long.cut(8).as_str(),
                long.cut(9).as_str(),
                long.cut(12).as_str()
            ],
            ["\"再起...", "\"再起...", "\"再起動する\""]
        );
        assert_eq!(long.ends(3).as_str(), "\"再...る\"");
    }

    #[test]
    fn a_column_that_makes_a_line_longer_than_the_terminal_gets_lines_of_its_own() {
        let rows = [
            ["a".to_owned(), "b".to_owned(), "long".to_owned()],
            ["cc".to_owned(), "d".to_owned(), "x".to_owned()],
        ];
        assert_eq!(fitted(&rows, 11, 2), "a   b  long\ncc  d  x\n");
        assert_eq!(fitted(&rows, 10, 2), "a   b\n  long\ncc  d\n  x\n");
    }
}
