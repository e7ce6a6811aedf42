//! Finds the place of each placeholder in a shell script, by the rules of `docs/formats-templates.md`, section 10.
//!
//! Every version renders the template of a sealed step to the same bytes. Therefore this file does not use the shell
//! parser, which can change between versions. The registry compares the results of both (`shell_plan`).

use std::ops::Range;

use crate::{MARK_BYTES, TemplatePlace, template::shell_roles::slot_of};

/// What the rules find in a script in which each slot is marked.
#[derive(Clone, Default)]
pub struct ShellPlaces {
    /// Place of each slot, or `None` if no value can be written there.
    pub places: Vec<Option<TemplatePlace>>,
    /// Slots in double quotes or here-documents directly after `$NAME`, where the text of a value would continue the
    /// name.
    pub after_names: Vec<usize>,
    /// The bodies of here-documents.
    pub bodies: Vec<HereDocumentBody>,
    /// The texts that the shell evaluates as arithmetic.
    pub arithmetic: Vec<Range<usize>>,
}

/// Body of a here-document, without the line of its delimiter.
#[derive(Clone)]
pub struct HereDocumentBody {
    lines: Range<usize>,
    delimiter: String,
    tabs: bool,
}

impl HereDocumentBody {
    /// Returns true if a line of the filled-in here-document fits `test`, which gets the line and the delimiter. `fill`
    /// writes the values into a text.
    pub fn any_line(
        &self,
        marked: &str,
        fill: impl Fn(&str) -> String,
        test: impl Fn(&str, &str) -> bool,
    ) -> bool {
        let text = marked.get(self.lines.clone()).map(fill).unwrap_or_default();
        text.split_terminator('\n').any(|line| {
            let line = if self.tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            test(line, &self.delimiter)
        })
    }
}

/// Finds the places of `slots` slots.
pub fn shell_places(marked: &str, slots: usize) -> ShellPlaces {
    let found = ShellPlaces {
        places: vec![None; slots],
        ..ShellPlaces::default()
    };
    let (bytes, end) = (marked.as_bytes(), marked.len());
    let (waiting, [dollar, named]) = (Vec::new(), [usize::MAX; 2]);
    let mut reader = PlaceReader {
        bytes,
        at: 0,
        end,
        depth: 0,
        tries: MAX_TRIES,
        found,
        waiting,
        dollar,
        named,
    };
    reader.commands(false);
    reader.found
}

/// What is open in commands: a part of `case`, or `[[ ]]`.
#[derive(Clone, Copy, PartialEq)]
enum OpenPart {
    Subject,
    In,
    Pattern,
    List,
    Test,
}

struct PlaceReader<'t> {
    bytes: &'t [u8],
    at: usize,
    end: usize,
    depth: usize,
    /// Number of further `((` that may be read as two brackets.
    tries: usize,
    found: ShellPlaces,
    /// Here-documents whose bodies begin after the next line end: the delimiter, true if the delimiter is quoted, and
    /// true for `<<-`.
    waiting: Vec<(Vec<u8>, bool, bool)>,
    /// End of the last `$` without a name.
    dollar: usize,
    /// End of the last `$NAME`.
    named: usize,
}

impl PlaceReader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes[..self.end].get(self.at).copied()
    }

    /// Returns the end of a token that begins here. The token may contain a backslash and a line end.
    fn token(&self, token: &str) -> Option<usize> {
        let mut rest = &self.bytes[self.at..self.end];
        for byte in token.bytes() {
            while let Some(next) = rest.strip_prefix(b"\\\n") {
                rest = next;
            }
            rest = rest.strip_prefix(&[byte])?;
        }
        Some(self.end - rest.len())
    }

    fn take(&mut self, token: &str) -> bool {
        self.token(token).inspect(|end| self.at = *end).is_some()
    }

    /// Records the place of the slot at this position, if there is one, and moves past the slot or the byte.
    fn put(&mut self, place: Option<TemplatePlace>) {
        let bytes = &self.bytes[self.at..self.end.min(self.at + MARK_BYTES)];
        let Some(slot) = str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.chars().next().and_then(slot_of))
        else {
            self.at = self.end.min(self.at + 1);
            return;
        };
        let expands = matches!(
            place,
            Some(TemplatePlace::DoubleQuotes | TemplatePlace::HereDocument)
        );
        let continues =
            self.at == self.dollar && (expands || place == Some(TemplatePlace::BareWord));
        self.found.places[slot] = place.filter(|_| !continues);
        if expands && self.at == self.named {
            self.found.after_names.push(slot);
        }
        self.at += MARK_BYTES;
    }

    /// Reads a part that may contain other parts. Nothing is read in a part that is nested too deep.
    fn nested<T: Default>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        if self.depth == MAX_DEPTH {
            self.at = self.end;
            return T::default();
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads up to the byte `close`. Only the bytes in `rules` have a meaning.
    fn part(
        &mut self,
        close: Option<u8>,
        place: Option<TemplatePlace>,
        rules: &[u8],
        quoted: bool,
    ) {
        while let Some(byte) = self.peek().filter(|byte| Some(*byte) != close) {
            if !self.step(byte, place, rules, quoted) {
                self.put(place);
            }
        }
        self.at = self.end.min(self.at + 1);
    }

    /// Reads what begins with this byte. Returns false if the byte has no meaning.
    fn step(&mut self, byte: u8, place: Option<TemplatePlace>, rules: &[u8], quoted: bool) -> bool {
        if !rules.contains(if byte == b'`' { &b'$' } else { &byte }) {
            return false;
        }
        // In `${…}`, quotes do not change the place of a slot, which stays `Number`.
        let number = place.filter(|place| *place == TemplatePlace::Number);
        if byte == b'$' && !(rules.contains(&b'\'') && self.token("$'").is_some()) {
            self.expansion(quoted);
            return true;
        }
        let ansi = byte == b'$' && self.take("$'");
        self.at += usize::from(!ansi);
        match byte {
            b'\\' if self.at < self.end => self.put(number),
            b'\\' => {}
            b'$' => self.part(Some(b'\''), number, b"\\", true),
            b'"' => self.part(
                Some(byte),
                number.or(Some(TemplatePlace::DoubleQuotes)),
                DOUBLE,
                true,
            ),
            b'\'' => self.part(
                Some(byte),
                number.or(Some(TemplatePlace::SingleQuotes)),
                b"",
                true,
            ),
            b'`' => self.backticks(),
            _ => self.nested(|reader| reader.part(Some(b')'), place, rules, quoted)),
        }
        true
    }

    /// Reads up to the closing backtick. The commands are not read, so a `#` begins a comment in any place of a line.
    fn backticks(&mut self) {
        let mut place = TemplatePlace::Backticks;
        while let Some(byte) = self.peek().filter(|byte| *byte != b'`') {
            match byte {
                b'\\' => self.at += 1,
                b'#' => place = TemplatePlace::Comment,
                b'\n' => place = TemplatePlace::Backticks,
                _ => {}
            }
            self.put(Some(place));
        }
        self.at = self.end.min(self.at + 1);
    }

    fn expansion(&mut self, quoted: bool) {
        if self.take("$((") {
            let _ends = self.nested(Self::arithmetic);
        } else if self.take("$(") {
            self.nested(|reader| reader.commands(true));
        } else if self.take("${") {
            let rules = if quoted { QUOTED_BRACES } else { WORDS };
            self.nested(|reader| {
                reader.part(Some(b'}'), Some(TemplatePlace::Number), rules, quoted)
            });
        } else {
            self.at += 1;
            let rest = &self.bytes[self.at..self.end];
            let name = rest
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                .count();
            match rest.first() {
                Some(b'0'..=b'9' | b'*' | b'@' | b'#' | b'?' | b'$' | b'!' | b'-') => self.at += 1,
                _ if name > 0 => {
                    self.at += name;
                    self.named = self.at;
                }
                _ => self.dollar = self.at,
            }
        }
    }

    /// Reads arithmetic. Returns false if `))` does not end it.
    fn arithmetic(&mut self) -> bool {
        let (start, mut open) = (self.at, 0usize);
        while let Some(byte) = self.peek() {
            if byte == b')' && open == 0 {
                let text = start..self.at;
                let ends = self.take("))");
                self.found.arithmetic.extend(ends.then_some(text));
                return ends;
            }
            if !self.step(byte, Some(TemplatePlace::Number), b"$", true) {
                open = open + usize::from(byte == b'(') - usize::from(byte == b')');
                self.put(Some(TemplatePlace::Number));
            }
        }
        false
    }

    /// Reads commands, up to `)` if they are in brackets.
    fn commands(&mut self, brackets: bool) {
        let mut parts: Vec<OpenPart> = Vec::new();
        // True if a command begins here, true if a word begins here, and the literal text of the word.
        let (mut begins, mut start, mut word) = (true, true, Vec::new());
        while let Some(byte) = self.peek() {
            if SEPARATORS.contains(&byte) && !word.is_empty() {
                begins = end_word(&word, begins, &mut parts);
                word.clear();
            }
            let last = parts.last().copied();
            let test = last == Some(OpenPart::Test);
            match byte {
                b'#' if start && !test => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.put(Some(TemplatePlace::Comment));
                    }
                }
                b'<' if !test && self.token("<<").is_some() && self.token("<<<").is_none() => {
                    self.here_document();
                    (start, begins) = (true, false);
                }
                b'<' | b'>' => {
                    let here_string = self.take("<<<");
                    self.at += usize::from(!here_string);
                    (start, begins) = (here_string || !self.take("("), false);
                    if !start {
                        self.nested(|reader| reader.commands(true));
                        word.push(OTHER);
                    }
                }
                b'(' if start && self.is_arithmetic() => start = false,
                b'(' => {
                    let in_word = !start && self.bytes[self.at - 1] != b'=';
                    self.at += 1;
                    if in_word && self.token(")").is_none() {
                        self.nested(|reader| {
                            reader.part(Some(b')'), Some(TemplatePlace::BareWord), PATTERN, false)
                        });
                    } else if !(start && last == Some(OpenPart::Pattern)) {
                        self.nested(|reader| reader.commands(true));
                        (start, begins) = (true, true);
                    }
                }
                b')' => {
                    (self.at, start) = (self.at + 1, true);
                    if let (Some(OpenPart::Pattern), Some(part)) = (last, parts.last_mut()) {
                        (*part, begins) = (OpenPart::List, true);
                    } else if brackets {
                        return;
                    }
                }
                _ if SEPARATORS.contains(&byte) => {
                    let redirects = matches!(byte, b'&' | b'|')
                        && self.at > 0
                        && b"<>".contains(&self.bytes[self.at - 1]);
                    self.at += 1;
                    if let (b';', Some(b';' | b'&'), Some(part @ OpenPart::List)) =
                        (byte, self.peek(), parts.last_mut())
                    {
                        (self.at, *part) = (self.at + 1, OpenPart::Pattern);
                    }
                    (start, begins) = (true, begins || !redirects && !matches!(byte, b' ' | b'\t'));
                    if byte == b'\n' {
                        self.here_documents();
                    }
                }
                b'\\' if self.bytes[self.at..self.end].starts_with(b"\\\n") => self.at += 2,
                _ => {
                    let literal = !self.step(byte, Some(TemplatePlace::BareWord), WORDS, false);
                    if literal {
                        self.put(Some(TemplatePlace::BareWord));
                    }
                    word.push(if literal { byte } else { OTHER });
                    start = false;
                }
            }
        }
    }

    /// Reads `((…))` if it is arithmetic.
    fn is_arithmetic(&mut self) -> bool {
        let Some(inside) = self.token("((") else {
            return false;
        };
        let kept = (self.at, self.found.clone(), self.waiting.clone());
        self.at = inside;
        if self.nested(Self::arithmetic) {
            return true;
        }
        (self.at, self.found, self.waiting) = kept;
        match self.tries.checked_sub(1) {
            Some(left) => self.tries = left,
            None => self.at = self.end,
        }
        false
    }

    /// Reads `<<` and the delimiter.
    fn here_document(&mut self) {
        let tabs = self.take("<<-");
        let _begins = tabs || self.take("<<");
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        let (mut delimiter, mut quoted, mut open) = (Vec::new(), false, None);
        while let Some(byte) = self
            .peek()
            .filter(|byte| open.is_some() || !SEPARATORS.contains(byte))
        {
            self.at += 1;
            if byte == b'\\' && open != Some(b'\'') {
                quoted = true;
                delimiter.extend(self.peek());
                self.at = self.end.min(self.at + 1);
            } else if matches!(byte, b'\'' | b'"') && open.is_none_or(|open| open == byte) {
                (quoted, open) = (true, if open.is_some() { None } else { Some(byte) });
            } else {
                delimiter.push(byte);
            }
        }
        self.waiting.push((delimiter, quoted, tabs));
    }

    /// Reads the bodies of the here-documents that began before this line.
    fn here_documents(&mut self) {
        for (delimiter, quoted, tabs) in std::mem::take(&mut self.waiting) {
            let line_at = |at: usize| {
                self.bytes[at..self.end]
                    .split(|byte| *byte == b'\n')
                    .next()
                    .unwrap_or_default()
            };
            let mut at = self.at;
            while at < self.end {
                let line = line_at(at);
                let blank = if tabs {
                    line.iter().take_while(|byte| **byte == b'\t').count()
                } else {
                    0
                };
                if line[blank..] == delimiter[..] {
                    break;
                }
                at = (at + line.len() + 1).min(self.end);
            }
            let (next, end) = ((at + line_at(at).len() + 1).min(self.end), self.end);
            self.found.bodies.push(HereDocumentBody {
                lines: self.at..at,
                delimiter: String::from_utf8_lossy(&delimiter).into_owned(),
                tabs,
            });
            self.end = at;
            if quoted {
                self.part(None, Some(TemplatePlace::QuotedHereDocument), b"", true);
            } else {
                self.nested(|reader| {
                    reader.part(None, Some(TemplatePlace::HereDocument), DOUBLE, true)
                });
            }
            (self.at, self.end) = (next, end);
        }
    }
}

/// Ends a word of commands. Returns true if a command begins after the word.
fn end_word(word: &[u8], begins: bool, parts: &mut Vec<OpenPart>) -> bool {
    let last = parts.last().copied();
    let in_list = matches!(last, None | Some(OpenPart::List));
    match (last, word) {
        (Some(OpenPart::Subject), _) => parts
            .splice(parts.len() - 1.., [OpenPart::In])
            .for_each(drop),
        (Some(OpenPart::In), b"in") => parts
            .splice(parts.len() - 1.., [OpenPart::Pattern])
            .for_each(drop),
        (Some(OpenPart::Pattern), b"esac") | (Some(OpenPart::Test), b"]]") => drop(parts.pop()),
        (Some(OpenPart::List), b"esac") if begins => drop(parts.pop()),
        (_, b"case") if begins && in_list => parts.push(OpenPart::Subject),
        (_, b"[[") if begins && in_list => parts.push(OpenPart::Test),
        _ => {}
    }
    begins && BEFORE_COMMANDS.contains(&word)
}

/// Bytes that end a word.
const SEPARATORS: &[u8] = b" \t\n;&|()<>";
/// Words after which a command begins.
const BEFORE_COMMANDS: &[&[u8]] = &[
    b"if", b"then", b"elif", b"else", b"while", b"until", b"do", b"!", b"{", b"time",
];
/// The bytes with a meaning in words, in patterns, in double quotes, and in `${…}` within double quotes. Where `$` has
/// a meaning, a backtick has a meaning too.
const WORDS: &[u8] = b"\\$\"'";
const PATTERN: &[u8] = b"\\$\"'(";
const DOUBLE: &[u8] = b"\\$";
const QUOTED_BRACES: &[u8] = b"\\$\"";
/// A byte that stands for a quote or an expansion in the text of a word.
const OTHER: u8 = b'?';
/// Maximum nesting of brackets, expansions and here-documents, because each level uses stack.
const MAX_DEPTH: usize = 100;
/// Number of `((` that are read as arithmetic first and then as two brackets, because each is read twice.
const MAX_TRIES: usize = 64;
