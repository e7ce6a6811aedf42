//! Parser of quotes: single quotes, double quotes, backslashes and `$'…'`.

use crate::{Parser, QuoteKind, Read, WordBuilder};

impl Parser<'_> {
    /// Reads `'…'`.
    pub(super) fn single(&mut self, w: &mut WordBuilder) -> Read<()> {
        let start = self.pos + 1;
        let Some(length) = self.text.as_bytes()[start..]
            .iter()
            .position(|byte| *byte == b'\'')
        else {
            return self.syntax("a single quote is not closed: add the closing quote");
        };
        w.word.text.push_str(&self.text[start..start + length]);
        self.pos = start + length + 1;
        Ok(())
    }

    /// Reads the text in double quotes with the closing quote, or the whole body of a here-document.
    pub(super) fn double(&mut self, w: &mut WordBuilder, quote: QuoteKind) -> Read<()> {
        loop {
            let Some(byte) = self.peek() else {
                if quote == QuoteKind::Body {
                    return Ok(());
                }
                return self.syntax("a double quote is not closed: add the closing quote");
            };
            match byte {
                b'"' if quote == QuoteKind::Double => {
                    self.pos += 1;
                    return Ok(());
                }
                b'\\' => match self.text.as_bytes().get(self.pos + 1) {
                    Some(b'$' | b'\\' | b'`') => {
                        self.pos += 1;
                        self.literal(w, 1);
                    }
                    Some(b'"') if quote == QuoteKind::Double => {
                        self.pos += 1;
                        self.literal(w, 1);
                    }
                    Some(_) => self.literal(w, 1),
                    None => {
                        return self
                            .guard("the script ends with a backslash: remove the backslash");
                    }
                },
                b'$' => self.dollar(w, quote)?,
                b'`' => self.backtick(w, quote)?,
                _ => {
                    let bytes = self.text.as_bytes();
                    let start = self.pos;
                    while self.pos < bytes.len()
                        && !matches!(bytes[self.pos], b'"' | b'\\' | b'$' | b'`')
                    {
                        self.pos += 1;
                    }
                    if start == self.pos {
                        self.pos += 1;
                    }
                    w.word.text.push_str(&self.text[start..self.pos]);
                }
            }
        }
    }

    /// Reads the character after a backslash.
    pub(super) fn character(&mut self, w: &mut WordBuilder) -> Read<()> {
        let Some(character) = self.text[self.pos..].chars().next() else {
            return self.guard("the script ends with a backslash: remove the backslash");
        };
        w.word.text.push(character);
        w.word.quoted = true;
        w.plain = false;
        self.pos += character.len_utf8();
        Ok(())
    }

    /// Reads the text in `$'…'` with the closing quote.
    pub(super) fn escaped(&mut self, w: &mut WordBuilder) -> Read<()> {
        let bytes = self.text.as_bytes();
        loop {
            let Some(byte) = bytes.get(self.pos) else {
                return self.syntax("a single quote is not closed: add the closing quote");
            };
            self.pos += 1;
            if *byte == b'\'' {
                return Ok(());
            }
            if *byte != b'\\' {
                let start = self.pos - 1;
                while bytes
                    .get(self.pos)
                    .is_some_and(|byte| !matches!(byte, b'\'' | b'\\'))
                {
                    self.pos += 1;
                }
                w.word.text.push_str(&self.text[start..self.pos]);
                continue;
            }
            let Some(escape) = bytes.get(self.pos).copied() else {
                return self.syntax("a single quote is not closed: add the closing quote");
            };
            self.pos += 1;
            let simple = match escape {
                b'a' => 7,
                b'b' => 8,
                b'e' | b'E' => 27,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                b'\\' | b'\'' | b'"' | b'?' => escape,
                b'x' => self.number(w, 16, 2),
                b'u' => self.number(w, 16, 4),
                b'U' => self.number(w, 16, 8),
                b'0'..=b'7' => {
                    self.pos -= 1;
                    self.number(w, 8, 3)
                }
                b'c' => {
                    return self
                        .guard("`$'...'` contains `\\c`: write the number of the character, for example `\\x07`");
                }
                _ => {
                    self.pos -= 1;
                    w.word.text.push('\\');
                    0
                }
            };
            if simple != 0 {
                w.word.text.push(char::from(simple));
            }
            if !matches!(escape, b'x' | b'u' | b'U' | b'0'..=b'7') && simple == 0 {
                let Some(character) = self.text[self.pos..].chars().next() else {
                    return self.syntax("a single quote is not closed: add the closing quote");
                };
                w.word.text.push(character);
                self.pos += character.len_utf8();
            }
        }
    }

    /// Reads a character that is written as a number with up to `most` digits. A number outside ASCII becomes an
    /// unknown part, and the result is 0.
    pub(super) fn number(&mut self, w: &mut WordBuilder, base: u32, most: usize) -> u8 {
        let bytes = self.text.as_bytes();
        let mut value = 0u32;
        let mut digits = 0;
        while digits < most
            && let Some(digit) = bytes
                .get(self.pos)
                .and_then(|byte| char::from(*byte).to_digit(base))
        {
            value = value.saturating_mul(base).saturating_add(digit);
            self.pos += 1;
            digits += 1;
        }
        match u8::try_from(value) {
            Ok(byte @ 1..=127) if digits > 0 => byte,
            _ => {
                w.hole(true);
                0
            }
        }
    }
}
