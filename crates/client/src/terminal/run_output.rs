//! Makes the output of a run safe for a terminal and for the log of a CI job.

use documents::{StreamName, push_escape, push_visible};

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
#[derive(Debug, Default)]
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
#[derive(Debug, Default)]
struct LineSoFar {
    /// True after the first character that is not a blank.
    begun: bool,
    /// True if the line so far consists of blanks and one colon.
    colon: bool,
    /// Number of `#` characters at the end of the line so far, at most 2.
    hashes: u8,
}

impl LineSoFar {
    const fn completes_mark(&self, c: char) -> bool {
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
