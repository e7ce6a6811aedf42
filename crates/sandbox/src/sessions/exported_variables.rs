//! Reads the output of `export -p` in bash, dash and busybox.
//!
//! Each shell quotes in its own way: bash writes `declare -x A="b"` or `declare -x A=$'b\n'`, in POSIX mode `export`
//! instead of `declare -x`, and dash writes `export A='b'`.

use std::collections::BTreeMap;

/// Exported variables by name.
pub type Exports = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the output of `export -p`. Variables without a value, and arrays, are left out. Returns `None` if the text is
/// no such output.
pub fn read_exports(text: &[u8]) -> Option<Exports> {
    let mut reader = ExportReader { rest: text };
    let mut variables = BTreeMap::new();
    while !reader.rest.is_empty() {
        if let Some((name, value)) = reader.line()? {
            variables.insert(name, value);
        }
    }
    Some(variables)
}

struct ExportReader<'a> {
    rest: &'a [u8],
}

impl ExportReader<'_> {
    fn line(&mut self) -> Option<Option<(Vec<u8>, Vec<u8>)>> {
        self.rest = [&b"export "[..], b"declare "]
            .iter()
            .find_map(|word| self.rest.strip_prefix(*word))?;
        while self.rest.starts_with(b"-") {
            let end = self.rest.iter().position(|byte| *byte == b' ')?;
            self.rest = &self.rest[end + 1..];
        }
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n'))?;
        let (name, rest) = (self.rest[..end].to_owned(), &self.rest[end + 1..]);
        let has_value = self.rest[end] == b'=';
        self.rest = rest;
        if !is_name(&name) {
            return None;
        }
        if !has_value {
            return Some(None);
        }
        // Only the value of an array begins with a parenthesis outside of quotes.
        let is_array = rest.starts_with(b"(");
        let value = self.value()?;
        Some((!is_array).then_some((name, value)))
    }

    /// Reads quoted and unquoted parts, up to the end of the line outside of quotes.
    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'\n' => return Some(value),
                b'\'' => loop {
                    match self.next()? {
                        b'\'' => break,
                        byte => value.push(byte),
                    }
                },
                b'"' => self.double_quotes(&mut value)?,
                b'$' if self.rest.starts_with(b"'") => {
                    self.next();
                    self.ansi_quotes(&mut value)?;
                }
                b'\\' => value.push(self.next()?),
                byte => value.push(byte),
            }
        }
    }

    fn double_quotes(&mut self, value: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' if matches!(self.rest.first(), Some(b'"' | b'\\' | b'$' | b'`')) => {
                    value.push(self.next()?)
                }
                byte => value.push(byte),
            }
        }
    }

    /// Reads the text of `$'…'` after its first quote.
    fn ansi_quotes(&mut self, value: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.next()? {
                b'\'' => return Some(()),
                b'\\' => {
                    let escaped = self.escaped()?;
                    value.push(escaped);
                }
                byte => value.push(byte),
            }
        }
    }

    /// Reads an escape as bash writes it. Bash writes a byte without a sign as three octal digits.
    fn escaped(&mut self) -> Option<u8> {
        Some(match self.next()? {
            b'a' => 0x07,
            b'b' => 0x08,
            b'e' | b'E' => 0x1b,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            digit @ b'0'..=b'3' => {
                let mut octal = || {
                    self.next()
                        .filter(|byte| matches!(byte, b'0'..=b'7'))
                        .map(|byte| byte - b'0')
                };
                (digit - b'0') << 6 | octal()? << 3 | octal()?
            }
            byte @ (b'\\' | b'\'' | b'"') => byte,
            _ => return None,
        })
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

fn is_name(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(is_letter)
        && name
            .iter()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}
