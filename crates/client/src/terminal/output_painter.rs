//! The output of a step as text with the sixteen colours of a terminal. Everything else that a terminal would obey is
//! shown as an escape.
//!
//! A progress bar writes its line again after a carriage return, so a carriage return begins a new line here.

use crate::terminal::run_output::EscapedOutput;

/// A piece of output in one colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColouredText {
    /// Class of the style sheet, or an empty text.
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

    /// Shows an incomplete character, because its missing bytes can't follow after a sequence.
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
            class.push_str(if class.is_empty() { "bold" } else { " bold" });
        }
        match parts.last_mut().filter(|last| last.class == class) {
            Some(last) => last.text.push_str(&text),
            None => parts.push(ColouredText { class, text }),
        }
    }

    /// Takes the numbers of a colour sequence. Numbers for other colours and styles have no effect.
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
                // The colours of 256 and of 16 million: their numbers are no colours of the sixteen.
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

/// What stands at the beginning of a piece that begins with an escape or a carriage return.
enum Found {
    /// A colour sequence of this length.
    Colour(usize),
    /// An erasure in the line, of this length.
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
