//! Reads output as each of the forms in which programs print a secret.
//!
//! A reader converts the bytes of a stream to symbols: characters, hexadecimal digits or base64 digits. So one
//! search text for each form finds a secret in all its spellings of this form, for example with `%2f` and with `%2F`.

/// The forms in which output is read.
#[derive(Clone, Copy, PartialEq)]
pub enum SecretForm {
    /// The bytes themselves.
    Plain,
    /// `%2F` is `/`.
    Percent,
    /// `\n`, `\/`, `\u000a` and `\x0a`, as in JSON strings and in strings of programming languages.
    Escaped,
    /// Two digits for each byte, upper or lower case.
    Hex,
    /// Base64 with the standard or the URL-safe alphabet.
    Base64,
}

impl SecretForm {
    pub const ALL: [Self; 5] = [
        Self::Plain,
        Self::Percent,
        Self::Escaped,
        Self::Hex,
        Self::Base64,
    ];
}

/// Event of a reader.
pub enum FormEvent {
    /// The bytes from `start` to `end` of the stream decode to this symbol.
    Symbol { symbol: u8, start: u64, end: u64 },
    /// The form ends here, so no text continues.
    Break,
}

/// Maximum number of bytes of a line break with the indentation of the next line, inside of a text in hex or base64.
pub const MAX_BREAK: u8 = 18;

/// Reader of one form.
pub struct FormReader {
    form: SecretForm,
    /// Bytes of an escape that is not complete yet, at most 12 bytes.
    pending: Vec<u8>,
    /// Place of the first pending byte in the stream.
    pending_at: u64,
    /// Number of bytes of the line break before this place.
    skipped: u8,
    /// True after a line break, before the first symbol of the line.
    in_indentation: bool,
}

impl FormReader {
    pub const fn new(form: SecretForm) -> Self {
        Self {
            form,
            pending: Vec::new(),
            pending_at: 0,
            skipped: 0,
            in_indentation: false,
        }
    }

    /// Returns the place of the first byte that is not decided yet.
    pub fn undecided(&self) -> Option<u64> {
        (!self.pending.is_empty()).then_some(self.pending_at)
    }

    /// Reads the byte at the place `at`.
    pub fn read(&mut self, byte: u8, at: u64, emit: &mut impl FnMut(FormEvent)) {
        if self.form == SecretForm::Plain {
            return emit(symbol(folded(byte), at, at + 1));
        }
        if self.pending.is_empty() {
            let begins_escape = matches!(
                (self.form, byte),
                (SecretForm::Percent, b'%') | (SecretForm::Escaped, b'\\')
            );
            if !begins_escape {
                return self.single(byte, at, emit);
            }
            self.pending_at = at;
        }
        self.pending.push(byte);
        match decode(&self.pending) {
            Escape::Incomplete => {}
            Escape::Byte(byte) => {
                self.pending.clear();
                emit(symbol(folded(byte), self.pending_at, at + 1));
            }
            Escape::Char(char) => {
                self.pending.clear();
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    emit(symbol(folded(byte), self.pending_at, at + 1));
                }
            }
            // The first byte begins no escape, but a later byte may begin one.
            Escape::None => self.release(emit),
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, emit: &mut impl FnMut(FormEvent)) {
        while !self.pending.is_empty() {
            self.release(emit);
        }
    }

    /// Reads the pending bytes again, the first of them as no escape.
    fn release(&mut self, emit: &mut impl FnMut(FormEvent)) {
        let (bytes, start) = (std::mem::take(&mut self.pending), self.pending_at);
        self.single(bytes[0], start, emit);
        for (byte, place) in bytes[1..].iter().zip(start + 1..) {
            self.read(*byte, place, emit);
        }
    }

    /// Emits a byte that belongs to no escape.
    fn single(&mut self, byte: u8, at: u64, emit: &mut impl FnMut(FormEvent)) {
        let digit = match self.form {
            SecretForm::Plain | SecretForm::Percent | SecretForm::Escaped => {
                return emit(symbol(folded(byte), at, at + 1));
            }
            SecretForm::Hex => (byte as char).to_digit(16).map(|digit| digit as u8),
            SecretForm::Base64 => base64_digit(byte),
        };
        match byte {
            b'\r' | b'\n' => {
                self.in_indentation = true;
                self.skip(emit);
            }
            b' ' | b'\t' if self.in_indentation => self.skip(emit),
            b' ' | b':' if self.form == SecretForm::Hex => self.skip(emit),
            _ => {
                (self.skipped, self.in_indentation) = (0, false);
                emit(digit.map_or(FormEvent::Break, |digit| symbol(digit, at, at + 1)));
            }
        }
    }

    fn skip(&mut self, emit: &mut impl FnMut(FormEvent)) {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped > MAX_BREAK {
            emit(FormEvent::Break);
        }
    }
}

/// Makes `+` and the blank equal, because `+` is a blank in the percent-encoding of web forms.
pub fn folded(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

fn symbol(symbol: u8, start: u64, end: u64) -> FormEvent {
    FormEvent::Symbol { symbol, start, end }
}

enum Escape {
    Incomplete,
    Byte(u8),
    Char(char),
    None,
}

/// Decodes an escape that begins with `%` or `\`.
fn decode(bytes: &[u8]) -> Escape {
    match bytes {
        [b'%' | b'\\'] => Escape::Incomplete,
        [b'%', digits @ ..] | [b'\\', b'x', digits @ ..] => {
            hex(digits, 2, |byte| Escape::Byte(byte as u8)) // two digits
        }
        [b'\\', b'u', digits @ ..] if digits.len() <= 4 => hex(digits, 4, |unit| match unit {
            // The second half of the pair follows.
            0xD800..=0xDBFF => Escape::Incomplete,
            unit => char::from_u32(unit).map_or(Escape::None, Escape::Char),
        }),
        [b'\\', b'u', high @ ..] => {
            let (high, low) = high.split_at(4);
            match low {
                [b'\\'] | [b'\\', b'u'] => Escape::Incomplete,
                [b'\\', b'u', low @ ..] => hex(high, 4, |high| {
                    hex(low, 4, |low| match low {
                        0xDC00..=0xDFFF => {
                            let char =
                                char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                            char.map_or(Escape::None, Escape::Char)
                        }
                        _ => Escape::None,
                    })
                }),
                _ => Escape::None,
            }
        }
        [b'\\', c @ (b'"' | b'\\' | b'/' | b'\'')] => Escape::Byte(*c),
        [b'\\', b'b'] => Escape::Byte(8),
        [b'\\', b'f'] => Escape::Byte(12),
        [b'\\', b'n'] => Escape::Byte(b'\n'),
        [b'\\', b'r'] => Escape::Byte(b'\r'),
        [b'\\', b't'] => Escape::Byte(b'\t'),
        _ => Escape::None,
    }
}

/// Decodes a number of hexadecimal digits, as soon as it has `count` digits.
fn hex(digits: &[u8], count: usize, decoded: impl FnOnce(u32) -> Escape) -> Escape {
    let value = digits.iter().try_fold(0, |value, digit| {
        Some(value * 16 + (*digit as char).to_digit(16)?)
    });
    match value {
        Some(value) if digits.len() == count => decoded(value),
        Some(_) if digits.len() < count => Escape::Incomplete,
        _ => Escape::None,
    }
}

fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
