//! A strict reader of YAML that accepts only the data model of JSON and stores the place of each value.
//!
//! The program reads front matter and policy files into a tree of values with their places, so that it can report all
//! errors of a file together, each with line and column. The reader refuses anchors, aliases, tags, merge keys,
//! duplicate keys, floats and timestamps, and names the refused feature. The reader also refuses plain words that other
//! YAML readers interpret as booleans or numbers. The reader also reads JSON files.
mod node;
pub(crate) mod text_lines;

use std::{fmt, sync::LazyLock};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle};
use regex::Regex;

/// A place in a file: line and column in characters, both counted from 1. The place `0:0` means that the value does not
/// come from a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextPlace {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// Column in the line in characters, counted from 1.
    pub column: usize,
}

impl TextPlace {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// Returns the place with this number of characters in front of it, in the same line.
    pub fn after(self, characters: usize) -> Self {
        Self {
            column: self.column + characters,
            ..self
        }
    }
}

impl fmt::Display for TextPlace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// An error at a place in a file. The message states first the error and then its correction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct YamlFlaw {
    /// The place.
    pub place: TextPlace,
    /// The error, then its correction.
    pub message: String,
    /// File that contains the place, if it is not the file that was read.
    pub other_file: Option<Box<OtherFile>>,
}

/// A file that another file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherFile {
    /// Path, relative to the directory of the file that names it.
    pub path: String,
    /// Place at which the path is named.
    pub named_at: TextPlace,
    /// Id of the block that uses the file.
    pub user: String,
}

impl YamlFlaw {
    /// Returns an error at `place`.
    pub fn new(place: TextPlace, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            other_file: None,
        }
    }

    /// Returns an error at a place of another file.
    pub fn in_other_file(other: OtherFile, place: TextPlace, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            other_file: Some(Box::new(other)),
        }
    }
}

/// Adds an error at `place`.
pub fn refuse(flaws: &mut Vec<YamlFlaw>, place: TextPlace, message: impl Into<String>) {
    flaws.push(YamlFlaw::new(place, message));
}

/// Returns a value, or adds its error as a flaw at this place.
pub fn noted<T>(read: Result<T, String>, place: TextPlace, flaws: &mut Vec<YamlFlaw>) -> Option<T> {
    read.map_err(|message| refuse(flaws, place, message)).ok()
}

impl fmt::Display for YamlFlaw {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

/// A value with its place in the file.
#[derive(Clone, PartialEq)]
pub struct YamlNode {
    /// The place where the value begins.
    pub place: TextPlace,
    /// The value.
    pub kind: YamlKind,
}

/// Data model of JSON, without fractions.
#[derive(Clone, PartialEq)]
pub enum YamlKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number within ±(2^53-1).
    Integer(i64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<YamlNode>),
    /// A map in which no key occurs twice.
    Map(Vec<(Key, YamlNode)>),
}

/// A key of a map, with the key's place.
#[derive(Clone, PartialEq)]
pub struct Key {
    /// The place where the key begins.
    pub place: TextPlace,
    /// Text of the key.
    pub name: String,
}

/// Reads one YAML (or JSON) document. The first line of the text is line `first_line` of the file.
///
/// # Errors
/// Returns an error for the first part that is not YAML or that JSON has no value for.
pub fn parse(text: &str, first_line: usize) -> Result<YamlNode, YamlFlaw> {
    parse_as(text, first_line, false, None)
}

/// Reads one document like [`parse`], for a format of another program whose files contain fractions. A fraction such as
/// `1.50` is the text with these characters.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn parse_with_fractions(text: &str, first_line: usize) -> Result<YamlNode, YamlFlaw> {
    parse_as(text, first_line, true, None)
}

/// Reads one map like [`parse`], in which the program reads only the values of these keys. A value below any other key
/// is a text if another YAML parser could read another type, for example a date.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn parse_keys(text: &str, first_line: usize, read: &[&str]) -> Result<YamlNode, YamlFlaw> {
    parse_as(text, first_line, false, Some(read))
}

fn parse_as(
    text: &str,
    first_line: usize,
    takes_fractions: bool,
    read: Option<&[&str]>,
) -> Result<YamlNode, YamlFlaw> {
    let mut options = Options::default();
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut tree = Tree {
        open: Vec::new(),
        root: None,
        documents: 0,
        takes_fractions,
        read,
    };
    let place_of = |marker: &Marker| TextPlace {
        line: marker.line() + first_line - 1,
        column: marker.col() + 1,
    };
    for item in Parser::new_from_str_with_options(text, options) {
        let (event, span) = item.map_err(|error| {
            let message = format!("not readable as YAML: {}", error.info());
            YamlFlaw::new(place_of(error.marker()), message)
        })?;
        let place = place_of(&span.start);
        // The parser reports an absent value as the text `~`.
        if let (Event::Scalar(_, ScalarStyle::Plain, 0, None), true) =
            (&event, span.start.index() == span.end.index())
        {
            tree.absent(place)?;
            continue;
        }
        tree.take(&event, place)?;
    }
    let start = TextPlace {
        line: first_line,
        column: 1,
    };
    Ok(tree.root.unwrap_or(YamlNode {
        place: start,
        kind: YamlKind::Null,
    }))
}

/// Returns an error at this place.
fn flaw_at<T>(place: TextPlace, message: impl Into<String>) -> Result<T, YamlFlaw> {
    Err(YamlFlaw::new(place, message))
}

/// Part of the tree that is already complete.
struct Tree<'k> {
    open: Vec<Open>,
    root: Option<YamlNode>,
    documents: usize,
    /// True if a fraction is a text, and not an error.
    takes_fractions: bool,
    /// Keys of the whole map whose values the program reads, or `None` for all keys.
    read: Option<&'k [&'k str]>,
}

/// List or map whose end the reader has not reached.
enum Open {
    List(TextPlace, Vec<YamlNode>),
    Map(TextPlace, Vec<(Key, YamlNode)>, Option<Key>),
}

impl Tree<'_> {
    fn absent(&mut self, place: TextPlace) -> Result<(), YamlFlaw> {
        if self.awaits_key() {
            return self.key("", ScalarStyle::Plain, place);
        }
        self.add(YamlNode {
            place,
            kind: YamlKind::Null,
        });
        Ok(())
    }

    fn take(&mut self, event: &Event<'_>, place: TextPlace) -> Result<(), YamlFlaw> {
        let (anchor, tag) = match event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            return flaw_at(
                place,
                "anchors (&name) are not supported: write the value itself",
            );
        }
        if tag {
            return flaw_at(place, "tags (!type) are not supported: remove the tag");
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return flaw_at(
                        place,
                        "a second document begins here: write only one document in a file",
                    );
                }
                Ok(())
            }
            Event::Alias(..) | Event::UnresolvedAlias(..) => flaw_at(
                place,
                "aliases (*name) are not supported: write the value itself",
            ),
            Event::Scalar(text, style, ..) => {
                if self.awaits_key() {
                    return self.key(text, *style, place);
                }
                let kind = match style {
                    ScalarStyle::Plain if self.takes_fractions && FRACTION.is_match(text) => {
                        YamlKind::Text(text.to_string())
                    }
                    ScalarStyle::Plain => match plain(text) {
                        Err(_) if self.is_unread() => YamlKind::Text(text.to_string()),
                        read => read.map_err(|message| YamlFlaw::new(place, message))?,
                    },
                    _ => YamlKind::Text(text.to_string()),
                };
                self.add(YamlNode { place, kind });
                Ok(())
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if self.awaits_key() {
                    return flaw_at(place, "a key must be text");
                }
                if self.open.len() >= MAX_DEPTH {
                    return flaw_at(
                        place,
                        format!(
                            "the values are nested deeper than {MAX_DEPTH} levels: reduce the nesting"
                        ),
                    );
                }
                self.open.push(match event {
                    Event::SequenceStart(..) => Open::List(place, Vec::new()),
                    _ => Open::Map(place, Vec::new(), None),
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::List(place, items)) => YamlNode {
                        place,
                        kind: YamlKind::List(items),
                    },
                    Some(Open::Map(place, entries, _)) => YamlNode {
                        place,
                        kind: YamlKind::Map(entries),
                    },
                    None => {
                        return flaw_at(
                            place,
                            "a list or a map ends here, but its beginning is missing",
                        );
                    }
                };
                self.add(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns true below a key whose value the program does not read.
    fn is_unread(&self) -> bool {
        let Some((Open::Map(_, _, Some(key)), read)) = self.open.first().zip(self.read) else {
            return false;
        };
        !read.contains(&key.name.as_str())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map(_, _, None)))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, place: TextPlace) -> Result<(), YamlFlaw> {
        let Some(Open::Map(_, entries, waiting)) = self.open.last_mut() else {
            return Ok(());
        };
        if style == ScalarStyle::Plain {
            if text == "<<" {
                return flaw_at(
                    place,
                    "merge keys (<<) are not supported: write the values themselves",
                );
            }
            if !matches!(plain(text), Ok(YamlKind::Text(_))) {
                return flaw_at(
                    place,
                    format!("a key must be text: write {text:?} in quotes"),
                );
            }
        }
        if let Some((first, _)) = entries.iter().find(|(key, _)| key.name == text) {
            return flaw_at(
                place,
                format!(
                    "the key {text:?} is already at {}: keep one of the two",
                    first.place
                ),
            );
        }
        *waiting = Some(Key {
            place,
            name: text.to_owned(),
        });
        Ok(())
    }

    fn add(&mut self, node: YamlNode) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, waiting)) => {
                if let Some(key) = waiting.take() {
                    entries.push((key, node));
                }
            }
        }
    }
}

/// Reads a plain scalar by the core schema of YAML 1.2. Returns an error if YAML 1.1 interprets the scalar as another
/// type, because the author must then quote the scalar.
fn plain(text: &str) -> Result<YamlKind, String> {
    match text {
        "" | "null" => return Ok(YamlKind::Null),
        "true" => return Ok(YamlKind::Boolean(true)),
        "false" => return Ok(YamlKind::Boolean(false)),
        _ => {}
    }
    if ["~", "Null", "NULL"].contains(&text)
        || ["true", "false", "yes", "no", "on", "off"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
    {
        return Err(format!(
            "some YAML parsers read {text:?} as text and others as another type: put the value in quotes, or write \
             true or false"
        ));
    }
    if TIMESTAMP.is_match(text) {
        return Err(format!(
            "{text:?} could be a timestamp: put the value in quotes"
        ));
    }
    if INTEGER.is_match(text) {
        return text
            .parse::<i64>()
            .ok()
            .filter(|number| number.unsigned_abs() <= MAX_INTEGER)
            .map(YamlKind::Integer)
            .ok_or_else(|| {
                format!("{text} is beyond +-(2^53-1): put the number in quotes, as text")
            });
    }
    if NUMBER_TO_SOME.is_match(text) {
        return Err(format!(
            "{text:?} is not a whole number in plain digits: write a fraction as text, in quotes"
        ));
    }
    Ok(YamlKind::Text(text.to_owned()))
}

#[expect(
    clippy::expect_used,
    reason = "the four patterns are constants, compiled by every test of this file"
)]
fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

static INTEGER: LazyLock<Regex> = LazyLock::new(|| constant(r"^(?:0|-?[1-9][0-9]*)$"));
static FRACTION: LazyLock<Regex> =
    LazyLock::new(|| constant(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"));
static TIMESTAMP: LazyLock<Regex> =
    LazyLock::new(|| constant(r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\x20\t].*)?$"));
/// Matches integers and floats of YAML 1.1 and 1.2: any base, underscores, base 60, infinity, not-a-number.
static NUMBER_TO_SOME: LazyLock<Regex> = LazyLock::new(|| {
    constant(concat!(
        r"^[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?",
        r"|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?",
        r"|\.(?:inf|Inf|INF|nan|NaN|NAN))$"
    ))
});

/// Returns the message for a name that is not in `known`. The message suggests the most similar known name.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {what}: {name:?}; did you mean {near:?}?"),
        None => format!(
            "unknown {what}: {name:?}; write one of {}",
            known.join(", ")
        ),
    }
}

/// Returns the name in `known` that the author of `name` probably meant: a name that begins with `name`, or that
/// differs in at most a third of the letters.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let plain = |word: &str| word.to_ascii_lowercase().replace(['-', '_'], "");
    let slip = plain(name);
    if let Some(longer) = known
        .iter()
        .find(|word| slip.len() > 2 && plain(word).starts_with(&slip))
    {
        return Some(longer);
    }
    known
        .iter()
        .map(|word| (distance(&slip, &plain(word)), *word))
        .filter(|(distance, word)| {
            *distance <= (word.len() / 3).max(1) && *distance < slip.len().max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Returns the Levenshtein distance of two texts. A swap of two neighbouring letters counts as one error.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Maximum nesting depth. The strict JSON reader has the same limit.
const MAX_DEPTH: usize = 32;
/// The largest integer that all JSON readers read exactly.
const MAX_INTEGER: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, String> {
        parse(text, 1)
            .map(|node| node.to_json().to_string())
            .map_err(|flaw| flaw.to_string())
    }

    #[test]
    fn an_absent_value_is_null() {
        let read = |text: &str| parse(text, 1).map(|node| node.to_json().to_string());
        assert_eq!(
            read("a:\nb:\n  - \n  - x\nc: {d: , e: 1}\n").as_deref(),
            Ok(r#"{"a":null,"b":[null,"x"],"c":{"d":null,"e":1}}"#)
        );
        assert_eq!(
            read("a:\n  # only a comment\nb: ''\n").as_deref(),
            Ok(r#"{"a":null,"b":""}"#)
        );
        assert!(read("a: ~\n").is_err() && read(": 1\n").is_err());
    }

    #[test]
    fn yaml_values_are_parsed_as_json_values() {
        let text =
            "a: 1\nb: [x, 'true', \"1.5\", true, -7, null]\nc:\n  d: |\n    two\n    lines\n";
        assert_eq!(
            json(text).as_deref(),
            Ok(r#"{"a":1,"b":["x","true","1.5",true,-7,null],"c":{"d":"two\nlines\n"}}"#)
        );
        assert_eq!(
            json("{\"a\": {\"b\": [1, \"\\u00e9\"]}}").as_deref(),
            Ok(r#"{"a":{"b":[1,"é"]}}"#)
        );
        for text in ["60s", "256MiB", "1.2.3", "10.0.0.1", "a:b", "500m", "-x"] {
            assert_eq!(
                json(&format!("a: {text}")),
                Ok(format!(r#"{{"a":"{text}"}}"#))
            );
        }
    }

    #[test]
    fn ambiguous_yaml_is_refused_with_its_place() {
        for (text, place, word) in [
            ("a: 1\nb: &x 2\n", "2:", "anchors"),
            ("a: 1\nb: *x\n", "2:4", "alias"),
            ("a: !!str 1\n", "1:", "tags"),
            ("a:\n  <<: {}\n", "2:3", "merge"),
            ("a: 1\n\"a\": 2\n", "2:1", "already at 1:1"),
            ("a: 1.0\n", "1:4", "fraction"),
            ("a: 1e2\n", "1:4", "fraction"),
            ("a: .inf\n", "1:4", "fraction"),
            ("a: 0x1F\n", "1:4", "whole number"),
            ("a: 010\n", "1:4", "whole number"),
            ("a: +1\n", "1:4", "whole number"),
            ("a: -0\n", "1:4", "whole number"),
            ("a: 1_000\n", "1:4", "whole number"),
            ("a: 12:30:00\n", "1:4", "whole number"),
            ("a: 9007199254740992\n", "1:4", "2^53"),
            ("a: 2026-01-01\n", "1:4", "timestamp"),
            ("a: 2026-01-01T00:00:00Z\n", "1:4", "timestamp"),
            ("a: yes\n", "1:4", "quotes"),
            ("a: True\n", "1:4", "quotes"),
            ("a: ~\n", "1:4", "quotes"),
            ("on: 1\n", "1:1", "key must be text"),
            ("1: 1\n", "1:1", "key must be text"),
            ("[a]: 1\n", "1:", "key must be text"),
            ("? {a: b}\n: 1\n", "1:", "key must be text"),
            ("a: 1\n---\nb: 2\n", "2:", "second document"),
            ("%YAML 1.1\n---\na: 1\n", "1:", "not readable"),
            ("a: [1, 2\n", "", "not readable"),
            ("a: \"\\ud83d\"\n", "1:", "not readable"),
        ] {
            let refusal = json(text).expect_err(text);
            assert!(
                refusal.starts_with(place) && refusal.contains(word),
                "{text:?}: {refusal}"
            );
        }
    }

    #[test]
    fn the_nesting_depth_of_yaml_is_bounded() {
        let deep = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(json(&deep(31)).is_ok());
        assert!(json(&deep(32)).is_err());
        assert!(json(&deep(100_000)).is_err());
    }

    #[test]
    fn a_typing_error_in_a_key_is_answered_with_a_suggestion() {
        let known = ["timeout", "memory", "file_size", "run-as"];
        for (slip, meant) in [
            ("timout", Some("timeout")),
            ("memroy", Some("memory")),
            ("file-size", Some("file_size")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(slip, &known), meant, "{slip}");
        }
    }
}
