//! Words: quotes, expansions, substitutions, the bodies of here-documents.

use std::rc::Rc;

use crate::shell::grammar::Until;
use crate::shell::settings;
use crate::shell::syntax::{HOLE, List, MAX_DEPTH, Origin, Parser, Part, Read, Word};

/// Where a word stands, and so what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Before or at the name of a command: an assignment, or the name.
    First,
    /// An argument, a file name, a delimiter.
    Argument,
    /// An element of an array.
    Element,
    /// A pattern of `case` or of `[[ == ]]`.
    Pattern,
    /// The regular expression of `[[ =~ ]]`.
    Regex,
}

/// How the text around an expansion is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// Not at all.
    None,
    /// `"…"`
    Double,
    /// The body of a here-document, or arithmetic: as in double quotes, but a double quote is a character.
    Body,
}

/// A word while it is read.
struct Building {
    word: Word,
    /// Where a pattern `[` and a brace `{` may begin, in `word.text`.
    bracket: Option<usize>,
    brace: Option<usize>,
    /// A comma or `..` since the brace.
    comma: bool,
    /// All so far is unquoted and literal.
    plain: bool,
    /// A part is not known, beside patterns.
    dynamic: bool,
}

impl Building {
    fn new(at: usize) -> Self {
        Self {
            word: Word { at, one: true, ..Word::default() },
            bracket: None,
            brace: None,
            comma: false,
            plain: true,
            dynamic: false,
        }
    }

    /// Something that only running tells.
    fn hole(&mut self, one: bool) {
        self.word.text.push(HOLE);
        self.word.one &= one;
        self.plain = false;
        self.dynamic = true;
    }

    /// From byte `at` of the text on it is a pattern, or a list in braces: any number of fields.
    fn pattern(&mut self, at: usize, glob: bool) {
        self.word.text.insert(at, HOLE);
        self.word.one = false;
        self.plain = false;
        if glob {
            self.word.glob = true;
        } else {
            self.dynamic = true;
        }
        (self.bracket, self.brace) = (None, None);
    }
}

impl Parser<'_> {
    /// A word that begins at the next byte, which is none that separates.
    pub(super) fn word(&mut self, kind: Kind) -> Read<Word> {
        self.peek();
        let start = self.pos;
        let mut w = Building::new(self.place());
        self.pieces(&mut w, kind)?;
        let raw = &self.text[start..self.pos];
        if raw.is_empty() {
            return self.syntax("a word is missing here: complete the command");
        }
        if !self.pending.is_empty() && raw.contains('\n') {
            return self.guard("a word goes on in the next line behind `<<`: give the here-document a line of its own");
        }
        Ok(finished(w, raw))
    }

    fn pieces(&mut self, w: &mut Building, kind: Kind) -> Read<()> {
        loop {
            let Some(byte) = self.peek() else { return Ok(()) };
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b')' => return Ok(()),
                b'|' => {
                    if kind != Kind::Regex {
                        return Ok(());
                    }
                    self.literal(w, 1);
                }
                b'(' => {
                    let last = w.word.text.bytes().last();
                    let extended = matches!(last, Some(b'?' | b'*' | b'+' | b'@' | b'!')) && self.bash();
                    if kind == Kind::Regex {
                        self.parentheses(w)?;
                    } else if extended && kind == Kind::First {
                        if w.word.text.len() > 1 || w.word.text != "!" {
                            return self.guard("`(` behind a pattern character in a command's name: quote it");
                        }
                        return Ok(());
                    } else if extended && (w.word.text.len() > 1 || kind == Kind::Pattern || kind == Kind::Argument) {
                        let at = w.word.text.len() - 1;
                        self.parentheses(w)?;
                        w.pattern(at, false);
                    } else {
                        return Ok(());
                    }
                }
                b'<' | b'>' => {
                    if !(self.peek_second() == Some(b'(') && self.bash()) {
                        return Ok(());
                    }
                    self.pos += 1;
                    self.peek();
                    self.substitution(w)?;
                    w.hole(true);
                }
                b'\\' => {
                    self.pos += 1;
                    self.character(w)?;
                }
                b'\'' => {
                    w.word.quoted = true;
                    w.plain = false;
                    self.single(w)?;
                }
                b'"' => {
                    w.word.quoted = true;
                    w.plain = false;
                    self.pos += 1;
                    self.double(w, Quote::Double)?;
                }
                b'$' => self.dollar(w, Quote::None)?,
                b'`' => self.backtick(w, Quote::None)?,
                b'*' | b'?' => {
                    let at = w.word.text.len();
                    self.literal(w, 1);
                    w.pattern(at, true);
                }
                b'[' => {
                    if kind == Kind::First && w.plain && is_name(&w.word.text) && self.bash() {
                        self.subscript(w)?;
                        continue;
                    }
                    if kind == Kind::Element && w.word.text.is_empty() && w.plain && self.bash() {
                        self.subscript(w)?;
                        continue;
                    }
                    w.bracket.get_or_insert(w.word.text.len());
                    self.literal(w, 1);
                }
                b']' => {
                    let open = w.bracket.filter(|open| w.word.text.len() > open + 1);
                    self.literal(w, 1);
                    if let Some(open) = open {
                        w.pattern(open, true);
                    }
                }
                b'{' => {
                    if w.brace.is_none() {
                        w.brace = Some(w.word.text.len());
                        w.comma = false;
                    }
                    self.literal(w, 1);
                }
                b',' => {
                    w.comma = true;
                    self.literal(w, 1);
                }
                b'.' => {
                    w.comma |= w.brace.is_some() && w.word.text.ends_with('.');
                    self.literal(w, 1);
                }
                b'}' => {
                    let open = w.brace.filter(|_| w.comma && self.bash());
                    self.literal(w, 1);
                    if let Some(open) = open {
                        w.pattern(open, false);
                    }
                }
                b'~' if w.word.text.is_empty() && w.plain => {
                    self.pos += 1;
                    w.hole(true);
                }
                b'=' if w.word.name.is_none() && w.plain => {
                    let text = w.word.text.strip_suffix('+').unwrap_or(&w.word.text);
                    if is_name(text) && (text.len() == w.word.text.len() || self.bash()) {
                        w.word.name = Some(text.len());
                    }
                    self.literal(w, 1);
                    self.after_equals(w)?;
                }
                _ => self.run(w),
            }
        }
    }

    /// The elements behind `name=`, if an array begins there.
    fn after_equals(&mut self, w: &mut Building) -> Read<()> {
        if w.word.name.is_none() {
            return Ok(());
        }
        match self.peek() {
            Some(b'(') if self.bash() => self.array(w),
            Some(b'~') => {
                self.pos += 1;
                w.hole(true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Literal bytes up to the next one that means something.
    fn run(&mut self, w: &mut Building) {
        let bytes = self.text.as_bytes();
        let start = self.pos;
        while self.pos < bytes.len() && !SPECIAL[usize::from(bytes[self.pos])] {
            self.pos += 1;
        }
        if start == self.pos {
            self.pos += 1;
        }
        w.word.text.push_str(&self.text[start..self.pos]);
    }

    /// `count` ASCII bytes as they are.
    fn literal(&mut self, w: &mut Building, count: usize) {
        w.word.text.push_str(&self.text[self.pos..self.pos + count]);
        self.pos += count;
    }

    /// The character behind a backslash.
    fn character(&mut self, w: &mut Building) -> Read<()> {
        let Some(character) = self.text[self.pos..].chars().next() else {
            return self.guard("the script ends with a backslash: take it away");
        };
        w.word.text.push(character);
        w.word.quoted = true;
        w.plain = false;
        self.pos += character.len_utf8();
        Ok(())
    }

    /// `'…'`
    fn single(&mut self, w: &mut Building) -> Read<()> {
        let start = self.pos + 1;
        let Some(length) = self.text.as_bytes()[start..].iter().position(|byte| *byte == b'\'') else {
            return self.syntax("a single quote is not closed: close it");
        };
        w.word.text.push_str(&self.text[start..start + length]);
        self.pos = start + length + 1;
        Ok(())
    }

    /// What stands in double quotes, with the closing one; or a whole body.
    fn double(&mut self, w: &mut Building, quote: Quote) -> Read<()> {
        loop {
            let Some(byte) = self.peek() else {
                if quote == Quote::Body {
                    return Ok(());
                }
                return self.syntax("a double quote is not closed: close it");
            };
            match byte {
                b'"' if quote == Quote::Double => {
                    self.pos += 1;
                    return Ok(());
                }
                b'\\' => match self.text.as_bytes().get(self.pos + 1) {
                    Some(b'$' | b'\\' | b'`') => {
                        self.pos += 1;
                        self.literal(w, 1);
                    }
                    Some(b'"') if quote == Quote::Double => {
                        self.pos += 1;
                        self.literal(w, 1);
                    }
                    Some(_) => self.literal(w, 1),
                    None => return self.guard("the script ends with a backslash: take it away"),
                },
                b'$' => self.dollar(w, quote)?,
                b'`' => self.backtick(w, quote)?,
                _ => {
                    let bytes = self.text.as_bytes();
                    let start = self.pos;
                    while self.pos < bytes.len() && !matches!(bytes[self.pos], b'"' | b'\\' | b'$' | b'`') {
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

    /// What a dollar begins.
    fn dollar(&mut self, w: &mut Building, quote: Quote) -> Read<()> {
        let start = self.pos;
        self.pos += 1;
        let quoted = quote != Quote::None;
        let Some(byte) = self.peek() else {
            w.word.text.push('$');
            return Ok(());
        };
        match byte {
            b'(' => {
                if self.peek_second() == Some(b'(') {
                    self.pos += 1;
                    self.peek();
                    self.pos += 1;
                    self.arithmetic(w, false)?;
                    w.hole(true);
                } else {
                    self.substitution(w)?;
                    w.hole(quoted);
                }
            }
            b'{' => {
                self.parameter(w, quoted)?;
                let raw = &self.text[start..self.pos];
                if raw.ends_with("@P}") {
                    w.word.parts.push(Part::Unknown(PROMPT, self.origin.place(start)));
                }
                w.hole(quoted && !raw.contains('@'));
            }
            b'\'' if !quoted && self.bash() => {
                w.word.quoted = true;
                self.pos += 1;
                self.escaped(w)?;
                w.plain = false;
            }
            b'"' if !quoted => {
                // Bash takes the dollar away, dash keeps it.
                if !self.bash() {
                    w.word.text.push('$');
                }
            }
            b'[' if self.bash() => return self.guard("`$[` is arithmetic in an old form: write `$((…))`"),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')) {
                    self.pos += 1;
                }
                w.hole(quoted);
            }
            b'0'..=b'9' | b'*' | b'@' | b'#' | b'?' | b'-' | b'$' | b'!' => {
                self.pos += 1;
                w.hole(quoted && byte != b'@');
            }
            _ => w.word.text.push('$'),
        }
        Ok(())
    }

    /// `(list)` of `$(…)`, `<(…)`, `>(…)`.
    fn substitution(&mut self, w: &mut Building) -> Read<()> {
        self.open()?;
        self.pos += 1;
        self.substitutions += 1;
        let outside = std::mem::take(&mut self.pending);
        let mut list = List::new();
        self.list(&mut list, Until::Parenthesis)?;
        if !self.take(b')') {
            return self.syntax("a substitution is not closed: close it with `)`");
        }
        if !self.pending.is_empty() {
            return self
                .guard("a here-document begins in a substitution that ends before its body: put the body inside");
        }
        self.pending = outside;
        self.substitutions -= 1;
        self.close();
        w.word.parts.push(Part::Script(Rc::new(list)));
        Ok(())
    }

    /// `` `list` ``: its text is read after the backslashes of this form are gone.
    fn backtick(&mut self, w: &mut Building, quote: Quote) -> Read<()> {
        self.open()?;
        let start = self.pos + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        let mut escapes = false;
        loop {
            match bytes.get(at) {
                None => return self.syntax("a backtick is not closed: close it"),
                Some(b'`') => break,
                Some(b'\\') => {
                    match bytes.get(at + 1) {
                        Some(b'\n') => {
                            return self.guard("a line goes on by a backslash inside backticks: write `$(…)`");
                        }
                        Some(b'"') if quote != Quote::None => {
                            return self.guard("an escaped quote in backticks in quotes: write `$(…)`");
                        }
                        Some(b'$' | b'`' | b'\\') => escapes = true,
                        _ => {}
                    }
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        let inner = &self.text[start..at];
        let unescaped;
        let (text, origin) = if escapes {
            unescaped = without_escapes(inner);
            (unescaped.as_str(), Origin::Fixed(self.place()))
        } else {
            (inner, Origin::Shift(self.origin.place(start)))
        };
        let origin = match (self.origin, origin) {
            (Origin::Fixed(place), _) => Origin::Fixed(place),
            (_, origin) => origin,
        };
        let mut inside = Parser::new(text, self.dialect, origin, self.depth);
        inside.substitutions = self.substitutions + 1;
        inside.retries = self.retries;
        inside.bodies = std::mem::take(&mut self.bodies);
        let mut list = List::new();
        inside.whole(&mut list)?;
        self.bodies = std::mem::take(&mut inside.bodies);
        self.evaluates |= inside.evaluates;
        self.differs |= inside.differs;
        self.retries = inside.retries;
        self.pos = at + 1;
        self.close();
        w.word.parts.push(Part::Script(Rc::new(list)));
        w.hole(quote != Quote::None);
        Ok(())
    }

    /// `{name…}` of `${name…}`.
    fn parameter(&mut self, w: &mut Building, quoted: bool) -> Read<()> {
        self.open()?;
        let start = self.place();
        self.pos += 1;
        let mut indirect = false;
        if matches!(self.peek(), Some(b'!' | b'#'))
            && !matches!(self.peek_second(), Some(b'}' | b':' | b'-' | b'=' | b'+' | b'%'))
        {
            indirect = self.peek() == Some(b'!');
            self.pos += 1;
        }
        let name = self.pos;
        match self.peek() {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')) {
                    self.pos += 1;
                }
            }
            Some(b'0'..=b'9') => {
                while matches!(self.peek(), Some(b'0'..=b'9')) {
                    self.pos += 1;
                }
            }
            Some(b'*' | b'@' | b'#' | b'?' | b'-' | b'$' | b'!') => self.pos += 1,
            None => return self.syntax("`${` is not closed: close it with `}`"),
            Some(_) => return self.guard("`${` without a name behind it: quote it, or name a variable"),
        }
        self.evaluates |= indirect;
        let name = self.text[name..self.pos].replace("\\\n", "");
        let assigns = match self.peek() {
            Some(b'=') => true,
            Some(b':') => {
                let second = self.peek_second();
                // `${name:offset}`
                self.evaluates |= !matches!(second, Some(b'=' | b'-' | b'+' | b'?'));
                second == Some(b'=')
            }
            Some(b'[') => {
                let all = ["[@]", "[*]"].iter().any(|all| self.text[self.pos..].starts_with(all));
                self.evaluates |= !all;
                false
            }
            _ => false,
        };
        if assigns && indirect {
            w.word.parts.push(Part::Unknown("sets a variable whose name is in another one", start));
        } else if assigns {
            w.word.parts.push(Part::Sets(name, start));
        }
        loop {
            let Some(byte) = self.peek() else {
                return self.syntax("`${` is not closed: close it with `}`");
            };
            match byte {
                b'}' => {
                    self.pos += 1;
                    self.close();
                    return Ok(());
                }
                b'\\' => {
                    self.pos += 1;
                    let Some(character) = self.text[self.pos..].chars().next() else {
                        return self.guard("the script ends with a backslash: take it away");
                    };
                    self.pos += character.len_utf8();
                }
                b'\'' if quoted => self.odd_quote(w)?,
                b'\'' => self.single(&mut Building::new(0))?,
                b'"' => {
                    self.pos += 1;
                    let from = self.pos;
                    let mut scratch = Building::new(0);
                    self.double(&mut scratch, Quote::Double)?;
                    w.word.parts.append(&mut scratch.word.parts);
                    if quoted && self.text[from..self.pos - 1].contains(['\'', '}', '`', '"']) {
                        return self.guard("quotes in `${…}` in quotes: use a variable for that part");
                    }
                }
                b'$' => {
                    let mut scratch = Building::new(0);
                    self.dollar(&mut scratch, if quoted { Quote::Double } else { Quote::None })?;
                    w.word.parts.append(&mut scratch.word.parts);
                }
                b'`' => {
                    let mut scratch = Building::new(0);
                    self.backtick(&mut scratch, if quoted { Quote::Double } else { Quote::None })?;
                    w.word.parts.append(&mut scratch.word.parts);
                }
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self.guard("`<(` or `>(` inside `${…}`: use a variable for that part");
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

    /// A single quote within `${…}` within double quotes. Some shells take it for a quote, some do not: they agree where the text up to
    /// the next one ends nothing. What it expands is read in any case.
    fn odd_quote(&mut self, w: &mut Building) -> Read<()> {
        let from = self.pos + 1;
        let inside = self.text[from..].split_once('\'').map(|(inside, _)| inside);
        let Some(inside) = inside.filter(|inside| !inside.contains(['`', '"', '\\', '{', '}', '\n', '#'])) else {
            return self.guard("a single quote in `${…}` in double quotes: use a variable for that part");
        };
        let end = from + inside.len();
        self.pos = from;
        while self.pos < end {
            if self.text.as_bytes()[self.pos] == b'$' {
                let mut scratch = Building::new(0);
                self.dollar(&mut scratch, Quote::Double)?;
                w.word.parts.append(&mut scratch.word.parts);
            } else {
                self.pos += 1;
            }
        }
        if self.pos != end {
            return self.guard("a single quote in `${…}` in double quotes: use a variable for that part");
        }
        self.pos += 1;
        Ok(())
    }

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
    fn arithmetic(&mut self, w: &mut Building, command: bool) -> Read<bool> {
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
                    let start = self.pos;
                    while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')) {
                        self.pos += 1;
                    }
                    let name = &self.text[start..self.pos];
                    if settings::changes(name) {
                        w.word.parts.push(Part::Sets(name.to_owned(), at));
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
    fn parentheses(&mut self, w: &mut Building) -> Read<()> {
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

    /// `[…]` behind a name, or before an element: an index, if `=` follows; else a pattern.
    fn subscript(&mut self, w: &mut Building) -> Read<()> {
        let name = w.word.text.len();
        let mut depth = 0usize;
        loop {
            let Some(byte) = self.peek() else {
                return self.guard("an index is not closed: close it with `]`, or quote the bracket");
            };
            match byte {
                b'[' => {
                    depth += 1;
                    self.literal(w, 1);
                }
                b']' => {
                    depth -= 1;
                    self.literal(w, 1);
                    if depth == 0 {
                        break;
                    }
                }
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => {
                    return self.guard("an index with blanks or operators: use a variable for it");
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
                b'$' => {
                    self.evaluates = true;
                    self.dollar(w, Quote::None)?;
                }
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
        let plus = self.peek() == Some(b'+') && self.peek_second() == Some(b'=');
        if plus || self.peek() == Some(b'=') {
            if plus {
                self.pos += 1;
            }
            self.pos += 1;
            self.evaluates = true;
            w.word.name = Some(name);
            w.plain = false;
            w.word.text.push('=');
            return self.after_equals(w);
        }
        w.pattern(name, true);
        Ok(())
    }

    /// `(element …)` of an array.
    fn array(&mut self, w: &mut Building) -> Read<()> {
        self.open()?;
        self.pos += 1;
        loop {
            self.lines()?;
            match self.peek() {
                None => return self.syntax("an array is not closed: close it with `)`"),
                Some(b')') => break,
                Some(_) => {
                    let mut element = self.word(Kind::Element)?;
                    w.word.parts.append(&mut element.parts);
                }
            }
        }
        self.pos += 1;
        self.close();
        w.hole(true);
        Ok(())
    }

    /// What stands in `$'…'`, with its closing quote.
    fn escaped(&mut self, w: &mut Building) -> Read<()> {
        let bytes = self.text.as_bytes();
        loop {
            let Some(byte) = bytes.get(self.pos) else {
                return self.syntax("a single quote is not closed: close it");
            };
            self.pos += 1;
            if *byte == b'\'' {
                return Ok(());
            }
            if *byte != b'\\' {
                let start = self.pos - 1;
                while bytes.get(self.pos).is_some_and(|byte| !matches!(byte, b'\'' | b'\\')) {
                    self.pos += 1;
                }
                w.word.text.push_str(&self.text[start..self.pos]);
                continue;
            }
            let Some(escape) = bytes.get(self.pos).copied() else {
                return self.syntax("a single quote is not closed: close it");
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
                b'c' => return self.guard("`\\c` in `$'…'`: write the character by its number"),
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
                    return self.syntax("a single quote is not closed: close it");
                };
                w.word.text.push(character);
                self.pos += character.len_utf8();
            }
        }
    }

    /// The byte that up to `most` digits say; 0 where it is no ASCII character, which leaves a hole.
    fn number(&mut self, w: &mut Building, base: u32, most: usize) -> u8 {
        let bytes = self.text.as_bytes();
        let mut value = 0u32;
        let mut digits = 0;
        while digits < most
            && let Some(digit) = bytes.get(self.pos).and_then(|byte| char::from(*byte).to_digit(base))
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

    /// The body of a here-document: the text from `start` to `end`.
    pub(super) fn body(&mut self, start: usize, end: usize, quoted: bool, tabs: bool) -> Read<Word> {
        let raw = &self.text[start..end];
        let at = self.origin.place(start);
        if quoted {
            let text = if tabs { without_tabs(raw) } else { raw.to_owned() };
            let exact = !text.contains(HOLE);
            return Ok(Word { at, text, raw: Some(raw.into()), exact, one: true, quoted: true, ..Word::default() });
        }
        let mut inside = Parser::new(&self.text[..end], self.dialect, self.origin, self.depth);
        inside.pos = start;
        inside.substitutions = self.substitutions;
        inside.retries = self.retries;
        inside.bodies = std::mem::take(&mut self.bodies);
        let mut w = Building::new(at);
        if let Err(mut flaw) = inside.double(&mut w, Quote::Body) {
            // The shell may take more lines for the body than we do.
            flaw.guard = true;
            return Err(flaw);
        }
        self.bodies = std::mem::take(&mut inside.bodies);
        self.evaluates |= inside.evaluates;
        self.differs |= inside.differs;
        self.retries = inside.retries;
        let mut word = finished(w, raw);
        if tabs {
            word.text = without_tabs(&word.text);
        }
        Ok(word)
    }
}

/// Runs `x` in the value of a variable.
const PROMPT: &str = "`${…@P}` runs what is in the variable";

fn finished(mut w: Building, raw: &str) -> Word {
    let holes = w.word.text.contains(HOLE);
    w.word.exact = !holes && w.word.one;
    w.word.glob &= !w.dynamic;
    if raw != w.word.text {
        w.word.raw = Some(raw.into());
    }
    w.word
}

/// A variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn without_tabs(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\\'
            && let Some(next) = characters.next_if(|next| matches!(next, '$' | '`' | '\\'))
        {
            out.push(next);
        } else {
            out.push(character);
        }
    }
    out
}

/// Bytes that mean something in a word. A [`HOLE`] begins with 0xF4.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let special = b" \t\n;&|()<>\\'\"$`*?[]{},.}~=";
    let mut at = 0;
    while at < special.len() {
        table[special[at] as usize] = true;
        at += 1;
    }
    table
};
