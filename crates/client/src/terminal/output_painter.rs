//! Makes the output of a run safe for a terminal and for the log of a CI job.
//!
//! The sixteen colours of a terminal are kept. A carriage return begins a new line, because a progress bar writes its
//! line again after a carriage return. Sequences that erase a part of a line are left out. All other control characters
//! and sequences, except newline and tab, are shown as escapes.

use documents::{StreamName, push_escape, push_visible};

/// A piece of output in one colour.
#[derive(Debug, Clone, PartialEq)]
pub struct ColouredText {
    /// CSS classes for the colour and for bold text, or an empty text.
    pub class: String,
    /// Text without control characters, except newline and tab.
    pub text: String,
}

/// Reads a stream of output piece by piece.
#[derive(Debug, Default)]
pub struct OutputPainter {
    escaped: EscapedOutput,
    /// Beginning of an escape sequence whose end has not arrived.
    pending: Vec<u8>,
    /// True if a carriage return precedes the next text.
    returned: bool,
    /// True if the last line of the text is not empty.
    in_line: bool,
    foreground: Option<u8>,
    bold: bool,
}

/// Maximum length of a colour sequence. A longer sequence is shown as text.
const MOST: usize = 32;

impl OutputPainter {
    /// Returns the next piece of the output.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<ColouredText> {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(piece);
        let (mut parts, mut rest) = (Vec::new(), &bytes[..]);
        while let Some(at) = rest.iter().position(|byte| [0x1b, b'\r'].contains(byte)) {
            let (plain, tail) = rest.split_at(at);
            self.text(plain, &mut parts);
            match sequence(tail) {
                Found::Open if tail.len() < MOST => {
                    self.pending = tail.to_vec();
                    return parts;
                }
                Found::Colour(length) => {
                    self.finish_character(&mut parts);
                    self.colour(&tail[2..length - 1]);
                    rest = &tail[length..];
                }
                // On a new line, nothing is left to erase.
                Found::Erasure(length) => {
                    self.finish_character(&mut parts);
                    rest = &tail[length..];
                }
                Found::Return => {
                    self.finish_character(&mut parts);
                    self.returned = true;
                    rest = &tail[1..];
                }
                Found::Open | Found::Other => {
                    self.text(&tail[..1], &mut parts);
                    rest = &tail[1..];
                }
            }
        }
        self.text(rest, &mut parts);
        parts
    }

    /// Returns the rest of the stream.
    pub fn end(&mut self) -> Vec<ColouredText> {
        let (pending, mut parts) = (std::mem::take(&mut self.pending), Vec::new());
        self.text(&pending, &mut parts);
        self.finish_character(&mut parts);
        parts
    }

    /// Shows an incomplete character as an escape, because its missing bytes can't follow an escape sequence.
    fn finish_character(&mut self, parts: &mut Vec<ColouredText>) {
        let last = self.escaped.end();
        self.push(last, parts);
    }

    fn text(&mut self, bytes: &[u8], parts: &mut Vec<ColouredText>) {
        let text = self.escaped.feed(bytes);
        self.push(text, parts);
    }

    fn push(&mut self, mut text: String, parts: &mut Vec<ColouredText>) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.returned) && self.in_line && !text.starts_with('\n') {
            text.insert(0, '\n');
        }
        self.in_line = !text.ends_with('\n');
        let mut class = self
            .foreground
            .map_or(String::new(), |colour| format!("c{colour}"));
        if self.bold {
            class += if class.is_empty() { "bold" } else { " bold" };
        }
        match parts.last_mut().filter(|last| last.class == class) {
            Some(last) => last.text += &text,
            None => parts.push(ColouredText { class, text }),
        }
    }

    /// Applies the numbers of a colour sequence. Numbers for other colours and styles have no effect.
    fn colour(&mut self, numbers: &[u8]) {
        for number in numbers.split(|byte| *byte == b';') {
            let number = std::str::from_utf8(number)
                .ok()
                .and_then(|text| text.parse::<u8>().ok());
            match number.unwrap_or_default() {
                0 => (self.foreground, self.bold) = (None, false),
                1 => self.bold = true,
                22 => self.bold = false,
                colour @ 30..=37 => self.foreground = Some(colour - 30),
                // 38 and 48 begin a colour out of 256 or 16 million. The next numbers are not numbers of the sixteen
                // colours.
                38 | 48 => return,
                39 => self.foreground = None,
                colour @ 90..=97 => self.foreground = Some(colour - 90 + 8),
                _ => {}
            }
        }
    }
}

/// Returns the text of pieces without their colours.
pub fn plain(parts: Vec<ColouredText>) -> String {
    parts.into_iter().map(|part| part.text).collect()
}

/// Control sequence at the beginning of bytes that begin with an escape character or a carriage return.
enum Found {
    /// A colour sequence of this length.
    Colour(usize),
    /// A sequence of this length that erases a part of the line.
    Erasure(usize),
    /// A carriage return.
    Return,
    /// The end of the sequence has not arrived.
    Open,
    Other,
}

fn sequence(bytes: &[u8]) -> Found {
    match bytes {
        [b'\r', ..] => Found::Return,
        [0x1b] => Found::Open,
        [0x1b, b'[', rest @ ..] => {
            let digits = rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
                .count();
            match rest.get(digits) {
                Some(b'm') => Found::Colour(digits + 3),
                Some(b'K') => Found::Erasure(digits + 3),
                None => Found::Open,
                Some(_) => Found::Other,
            }
        }
        _ => Found::Other,
    }
}

/// Escapes the output of a run for a terminal, so that a step cannot control the terminal. Control characters, C1
/// codes, invisible characters, bidirectional marks and invalid UTF-8 become visible escapes. Newline and tab are
/// unchanged.
#[derive(Debug, Default)]
pub struct EscapedOutput {
    tail: Vec<u8>,
    /// Last character.
    before: char,
}

impl EscapedOutput {
    /// Returns the next piece of the output as printable text. An incomplete character at the end waits for the next
    /// call.
    pub fn feed(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.extend_from_slice(piece);
        // An incomplete character at the end waits for its other bytes.
        if let Some(length) = incomplete_end(&bytes) {
            self.tail = bytes.split_off(bytes.len() - length);
        }
        let mut out = String::new();
        for chunk in bytes.utf8_chunks() {
            self.push(chunk.valid(), &mut out);
            raw(chunk.invalid(), &mut out);
        }
        out
    }

    fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            push_visible(out, std::mem::replace(&mut self.before, c), c);
        }
    }

    /// Returns the incomplete character at the end of the stream, if there is one, as an escape.
    pub fn end(&mut self) -> String {
        let mut out = String::new();
        raw(&std::mem::take(&mut self.tail), &mut out);
        out
    }
}

/// Returns the length of the incomplete character at the end of the bytes.
fn incomplete_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.utf8_chunks().last()?.invalid();
    std::str::from_utf8(last)
        .is_err_and(|error| error.error_len().is_none())
        .then_some(last.len())
}

fn raw(bytes: &[u8], out: &mut String) {
    use std::fmt::Write as _;
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Disables the commands of CI systems in a log, by escaping one character of each command marker.
///
/// GitHub reads the marker `::name …` at the beginning of a line, also after blanks. GitHub and Azure read the markers
/// `##[name]` and `##vso[name]` anywhere in a line, and TeamCity reads `##teamcity[name]`. The markers of GitLab,
/// Buildkite and Jenkins begin with control characters, which
/// [`OutputPainter`](crate::terminal::output_painter::OutputPainter) escapes.
#[derive(Default)]
pub struct CommandGuard {
    out: LineSoFar,
    err: LineSoFar,
    /// Current line of both streams together, because a CI log may merge the streams, so that a marker may be split
    /// between them.
    both: LineSoFar,
}

impl CommandGuard {
    /// Returns the next piece of a stream as printable text.
    pub fn defuse(&mut self, stream: StreamName, text: &str) -> String {
        let Self { out, err, both } = self;
        let own = match stream {
            StreamName::Stdout => out,
            StreamName::Stderr => err,
        };
        let mut defused = String::with_capacity(text.len());
        for c in text.chars() {
            if own.completes_mark(c) || both.completes_mark(c) {
                push_escape(&mut defused, c);
            } else {
                defused.push(c);
            }
            own.push(c);
            both.push(c);
        }
        defused
    }

    /// Starts a new line of the standard error, because other output has ended the line.
    pub fn line_ended(&mut self) {
        self.err = LineSoFar::default();
        self.both = LineSoFar::default();
    }
}

/// State of the current line, from which the next character can complete a marker.
#[derive(Default)]
struct LineSoFar {
    /// True after the first character that is not a blank.
    begun: bool,
    /// True if the line so far consists of blanks and one colon.
    colon: bool,
    /// Number of `#` characters at the end of the line so far, at most 2.
    hashes: u8,
}

impl LineSoFar {
    fn completes_mark(&self, c: char) -> bool {
        (self.colon && c == ':') || (self.hashes == 2 && (c == '[' || c.is_ascii_alphanumeric()))
    }

    fn push(&mut self, c: char) {
        if c == '\n' {
            *self = Self::default();
            return;
        }
        self.colon = !self.begun && c == ':';
        self.begun |= !c.is_whitespace();
        self.hashes = if c == '#' { 2.min(self.hashes + 1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(class: &str, text: &str) -> ColouredText {
        ColouredText {
            class: class.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn only_the_sixteen_colours_are_obeyed() {
        let mut painter = OutputPainter::default();
        let parts = painter.feed(b"a\x1b[1;31mb\x1b[0mc\r\nd\x1b[2Je\x1b[38;5;32mf\x1b[94mg\rh");
        assert_eq!(
            parts,
            [
                part("", "a"),
                part("c1 bold", "b"),
                part("", "c\nd\\x1b[2Jef"),
                part("c12", "g\nh")
            ]
        );
    }

    #[test]
    fn a_carriage_return_of_a_progress_bar_begins_a_new_line() {
        for (bytes, shown) in [
            (&b"10%\r20%\r\x1b[K30%\r\n"[..], "10%\n20%\n30%\n"),
            (b"\r10%\r\r20%\r", "10%\n20%"),
            (b"a\r\nb\r\r\nc\n\r\n\rd", "a\nb\nc\n\nd"),
            (b"a\x1b[2K\rb\x1b[m\rc", "a\nb\nc"),
            (
                b"\xe2\r\x82\xac \xe2\x1b[m\x82\xac",
                "\\xe2\n\\x82\\xac \\xe2\\x82\\xac",
            ),
        ] {
            let mut painter = OutputPainter::default();
            assert_eq!(plain(painter.feed(bytes)) + &plain(painter.end()), shown);
        }
    }

    proptest! {
        #[test]
        fn the_text_does_not_depend_on_the_pieces(bytes in proptest::collection::vec(
            prop_oneof![Just(0x1b), Just(b'['), Just(b'3'), Just(b'1'), Just(b'm'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..60),
            cut in 0_usize..60)
        {
            let all = |pieces: &[&[u8]]| {
                let mut painter = OutputPainter::default();
                let mut text: Vec<ColouredText> = pieces.iter().flat_map(|piece| painter.feed(piece)).collect();
                text.extend(painter.end());
                text.iter().flat_map(|part| part.text.chars().map(|c| (part.class.clone(), c))).collect::<Vec<_>>()
            };
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(all(&[&bytes]), all(&[first, second]));
            prop_assert!(all(&[&bytes]).iter().all(|(_, c)| !c.is_control() || ['\n', '\t'].contains(c)));
        }
    }
}

#[cfg(test)]
mod run_output_tests {
    use super::*;

    #[test]
    fn the_output_of_a_run_cannot_send_control_characters_to_the_terminal() {
        let mut tamed = EscapedOutput::default();
        assert_eq!(
            tamed.feed(b"a\x1b[2Jb\r\n\tc\x07"),
            "a\\x1b[2Jb\\x0d\n\tc\\x07"
        );
        assert_eq!(
            tamed.feed("\u{9b}2J\u{202e}é".as_bytes()),
            "\\u{9b}2J\\u{202e}é"
        );
        let hidden = "\u{e0041}\u{ad}\u{3164}\u{2800}\u{fe0f}";
        assert_eq!(
            tamed.feed(hidden.as_bytes()),
            "\\u{e0041}\\u{ad}\\u{3164}\\u{2800}\\u{fe0f}"
        );
        assert_eq!(
            tamed.feed("\u{26a0}\u{fe0f} \u{3000}".as_bytes()),
            "\u{26a0}\u{fe0f} \u{3000}"
        );
        assert_eq!(tamed.feed(b"\xff\xfe"), "\\xff\\xfe");
        let mut split = String::new();
        for byte in "é\u{1b}€".as_bytes() {
            split += &tamed.feed(std::slice::from_ref(byte));
        }
        assert_eq!(split, "é\\x1b€");
        assert_eq!(tamed.feed(b"\xe2\x82"), "");
        assert_eq!(tamed.end(), "\\xe2\\x82");
        assert_eq!(tamed.end(), "");
    }

    #[test]
    fn the_output_of_a_run_cannot_give_a_command_to_the_ci_system() {
        let defused = |pieces: &[(StreamName, &str)]| {
            let mut guard = CommandGuard::default();
            pieces
                .iter()
                .map(|(stream, text)| guard.defuse(*stream, text))
                .collect::<String>()
        };
        use StreamName::{Stderr, Stdout};
        for (text, expected) in [
            (
                "::set-output name=a::b\n::x::\n",
                ":\\x3aset-output name=a::b\n:\\x3ax::\n",
            ),
            (" \t\u{3000}::add-mask::x", " \t\u{3000}:\\x3aadd-mask::x"),
            (
                "a ##vso[task.setvariable variable=x]y",
                "a ##\\x76so[task.setvariable variable=x]y",
            ),
            ("##[group]x\n####[x]", "##\\x5bgroup]x\n####\\x5bx]"),
            ("##teamcity[x]", "##\\x74eamcity[x]"),
        ] {
            assert_eq!(defused(&[(Stdout, text)]), expected);
            // The text arrives byte by byte and alternates between two streams that share one log.
            let pieces: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<_> = pieces
                .iter()
                .map(|piece| (Stderr, piece.as_str()))
                .collect();
            assert_eq!(defused(&single), expected);
            let turns = [Stdout, Stderr].into_iter().cycle();
            let mixed: Vec<_> = turns
                .zip(&pieces)
                .map(|(stream, piece)| (stream, piece.as_str()))
                .collect();
            let mixed = defused(&mixed);
            assert!(
                mixed
                    .lines()
                    .all(|line| !line.trim_start().starts_with("::")),
                "{mixed}"
            );
            assert!(
                !["##[", "##v", "##t"]
                    .iter()
                    .any(|mark| mixed.contains(mark)),
                "{mixed}"
            );
        }
        // If each stream has its own log, no marker can be split between the streams.
        assert_eq!(defused(&[(Stdout, "x"), (Stderr, "::a::")]), "x:\\x3aa::");
        for harmless in [
            "std::vector\n",
            "# a\n## b\n### c\n",
            "a::b ##\n",
            "#[derive]\n",
            ": :\n",
        ] {
            assert_eq!(defused(&[(Stdout, harmless)]), harmless);
        }
    }
}
