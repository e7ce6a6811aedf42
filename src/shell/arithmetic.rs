//! Arithmetic, and brackets in patterns.

use crate::shell::settings;
use crate::shell::syntax::{MAX_DEPTH, Parser, Part, Read, Word};
use crate::shell::words::{Building, Quote, finished};

impl Parser<'_> {
    /// The inside of `((…))` and its end; none where the brackets are two subshells, and the place is what it was.
    pub(super) fn arithmetic_word(&mut self) -> Read<Option<Word>> {
        let start = self.pos;
        let (bodies, depth) = (self.bodies.len(), self.depth);
        let mut w = Building::new(self.place());
        if !self.arithmetic(&mut w, true)? {
            if self.retries == 0 {
                return self.guard("`((` too often for subshells: put a blank between the two brackets");
            }
            self.retries -= 1;
            (self.pos, self.depth) = (start, depth);
            self.bodies.truncate(bodies);
            return Ok(None);
        }
        if !self.pending.is_empty() && self.text[start..self.pos].contains('\n') {
            return self.guard("`((` goes on in the next line behind `<<`: give the here-document a line of its own");
        }
        w.hole(true);
        Ok(Some(finished(w, &self.text[start..self.pos])))
    }

    /// What stands behind `((`, with the end. Bash takes a command's `((` for two subshells if it does not end with `))`: then false.
    pub(super) fn arithmetic(&mut self, w: &mut Building, command: bool) -> Read<bool> {
        self.open()?;
        let mut depth = 0usize;
        let mut quotes = false;
        loop {
            let Some(byte) = self.peek() else {
                return self.syntax("`((` is not closed: close it with `))`");
            };
            match byte {
                b'(' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return self.guard("nested deeper than 100: write it flatter");
                    }
                    self.pos += 1;
                }
                b')' if depth > 0 => {
                    depth -= 1;
                    self.pos += 1;
                }
                b')' => {
                    if self.peek_second() != Some(b')') {
                        if command {
                            return Ok(false);
                        }
                        return self.guard("`((` that does not end with `))`: put a space between the two brackets");
                    }
                    self.pos += 1;
                    self.peek();
                    self.pos += 1;
                    self.close();
                    if quotes {
                        return self.guard("a quote in arithmetic: leave it out");
                    }
                    return Ok(true);
                }
                b'$' => {
                    self.evaluates = true;
                    self.dollar(w, Quote::Body)?;
                }
                b'`' => {
                    self.evaluates = true;
                    self.backtick(w, Quote::Body)?;
                }
                b'\'' if command => {
                    quotes = true;
                    self.single(&mut Building::new(0))?;
                }
                b'"' if command => {
                    quotes = true;
                    self.pos += 1;
                    self.double(w, Quote::Double)?;
                }
                b'\\' if command => {
                    quotes = true;
                    self.pos += 1;
                    self.character(&mut Building::new(0))?;
                }
                b'\'' | b'"' | b'\\' => return self.guard("a quote in arithmetic: leave it out"),
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self.guard("`<(` or `>(` in arithmetic: put a space before the bracket");
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    self.evaluates = true;
                    let at = self.place();
                    let name = self.name();
                    if settings::changes(&name) {
                        w.word.parts.push(Part::Sets(name, at));
                    }
                }
                _ => {
                    self.pos += 1;
                    while !self.text.is_char_boundary(self.pos) {
                        self.pos += 1;
                    }
                }
            }
        }
    }

    /// `(…)` of a pattern or a regular expression, with what it expands.
    pub(super) fn parentheses(&mut self, w: &mut Building) -> Read<()> {
        let mut depth = 0usize;
        loop {
            let Some(byte) = self.peek() else {
                return self.syntax("a bracket is not closed: close it");
            };
            match byte {
                b'(' => {
                    depth += 1;
                    self.literal(w, 1);
                }
                b')' => {
                    depth -= 1;
                    self.literal(w, 1);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'\n' => return self.guard("a pattern in brackets goes over a line: put it on one"),
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self.guard("`<(` or `>(` inside a pattern: use a variable for that part");
                }
                b'\\' => {
                    self.pos += 1;
                    self.character(w)?;
                }
                b'\'' => self.single(w)?,
                b'"' => {
                    self.pos += 1;
                    self.double(w, Quote::Double)?;
                }
                b'$' => self.dollar(w, Quote::None)?,
                b'`' => self.backtick(w, Quote::None)?,
                _ => {
                    let start = self.pos;
                    self.pos += 1;
                    while !self.text.is_char_boundary(self.pos) {
                        self.pos += 1;
                    }
                    w.word.text.push_str(&self.text[start..self.pos]);
                }
            }
        }
    }
}
