//! Parser of words, with their quotes, expansions, substitutions and here-documents.
//!
//! The file also contains the parser of quotes: single quotes, double quotes, backslashes and `$'…'`.

use crate::{
    HOLE, Parser, Read, UnknownReason, Word, WordPart, is_name, is_trap, opens_index,
    shell::settings,
};

/// Position of a word in the syntax, which decides how the word is parsed.
#[derive(PartialEq)]
pub enum WordPosition {
    /// The position of an assignment or of the command's name.
    First,
    /// An argument, a file name or a delimiter.
    Argument,
    /// An array element.
    Element,
    /// A pattern of `case` or of `[[ == ]]`.
    Pattern,
    /// The regular expression of `[[ =~ ]]`.
    Regex,
}

/// Quotes around an expansion.
#[derive(Clone, Copy, PartialEq)]
pub enum QuoteKind {
    /// No quotes.
    None,
    /// `"…"`
    Double,
    /// The body of a here-document, or arithmetic: like double quotes, but a double quote is an ordinary character.
    Body,
}

pub struct WordBuilder {
    pub word: Word,
    /// Position in `word.text` at which a pattern `[` may begin.
    pub bracket: Option<usize>,
    pub brace: Option<usize>,
    /// True if a comma or `..` follows the brace.
    pub comma: bool,
    /// True if the word so far is unquoted and literal.
    pub plain: bool,
    /// True if the word has an unknown part that is not a pattern.
    pub dynamic: bool,
}

impl WordBuilder {
    pub fn new(at: usize) -> Self {
        Self {
            word: Word {
                at,
                one: true,
                ..Word::default()
            },
            bracket: None,
            brace: None,
            comma: false,
            plain: true,
            dynamic: false,
        }
    }

    /// Adds a part that is known only when the script runs.
    pub fn hole(&mut self, one: bool) {
        self.word.text.push(HOLE);
        self.word.one &= one;
        self.plain = false;
        self.dynamic = true;
    }

    /// Marks the text from byte `at` as a pattern or a brace list. Such a word may become any number of fields.
    pub fn pattern(&mut self, at: usize, glob: bool) {
        self.word.text.insert(at, HOLE);
        self.word.one = false;
        self.plain = false;
        self.bracket = None;
        if glob {
            self.word.glob = true;
            // A brace that begins before the pattern is still open after it.
            self.brace = self.brace.map(|brace| {
                if brace < at {
                    brace
                } else {
                    brace + HOLE.len_utf8()
                }
            });
        } else {
            self.dynamic = true;
            self.brace = None;
        }
    }
}

impl Parser<'_> {
    /// Reads the word that begins at the next byte, which is not a separator.
    pub fn word(&mut self, kind: WordPosition) -> Read<Word> {
        self.peek();
        let start = self.pos;
        let mut w = WordBuilder::new(self.place());
        self.pieces(&mut w, kind)?;
        let raw = &self.text[start..self.pos];
        if raw.is_empty() {
            return self.syntax("a word is missing here: complete the command");
        }
        if !self.pending.is_empty() && raw.contains('\n') {
            return self
                .guard("a word continues on the next line after `<<`: put the here-document on a separate line");
        }
        Ok(finished(w, raw))
    }

    pub fn pieces(&mut self, w: &mut WordBuilder, kind: WordPosition) -> Read<()> {
        loop {
            let Some(byte) = self.peek() else {
                return Ok(());
            };
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b')' => return Ok(()),
                b'|' => {
                    if kind != WordPosition::Regex {
                        return Ok(());
                    }
                    self.literal(w, 1);
                }
                b'(' => {
                    let last = w.word.text.bytes().last();
                    let extended =
                        matches!(last, Some(b'?' | b'*' | b'+' | b'@' | b'!')) && self.bash();
                    if kind == WordPosition::Regex {
                        self.parentheses(w)?;
                    } else if extended && kind == WordPosition::First {
                        if w.word.text.len() > 1 || w.word.text != "!" {
                            return self.guard("`(` follows a pattern character in the name of a command: quote `(`");
                        }
                        return Ok(());
                    } else if extended
                        && (w.word.text.len() > 1
                            || kind == WordPosition::Pattern
                            || kind == WordPosition::Argument)
                    {
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
                b'\'' | b'"' => {
                    w.word.quoted = true;
                    w.plain = false;
                    self.piece(byte, w)?;
                }
                b'\\' | b'$' | b'`' => self.piece(byte, w)?,
                b'*' | b'?' => {
                    let at = w.word.text.len();
                    self.literal(w, 1);
                    w.pattern(at, true);
                }
                b'[' => {
                    let is_index = match kind {
                        WordPosition::First => is_name(&w.word.text),
                        WordPosition::Element => w.word.text.is_empty(),
                        _ => false,
                    };
                    if is_index && w.plain && self.bash() {
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
                _ => self.run(w, |byte| SPECIAL[usize::from(byte)]),
            }
        }
    }

    /// Reads the elements after `name=`, if an array begins at this position.
    fn after_equals(&mut self, w: &mut WordBuilder) -> Read<()> {
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

    /// Reads at least one byte literally, and all bytes up to the next special byte.
    fn run(&mut self, w: &mut WordBuilder, is_special: impl Fn(u8) -> bool) {
        let bytes = self.text.as_bytes();
        let start = self.pos;
        while self.pos < bytes.len() && !is_special(bytes[self.pos]) {
            self.pos += 1;
        }
        if start == self.pos {
            self.pos += 1;
        }
        w.word.text.push_str(&self.text[start..self.pos]);
    }

    /// Reads `count` ASCII bytes literally.
    pub fn literal(&mut self, w: &mut WordBuilder, count: usize) {
        w.word.text.push_str(&self.text[self.pos..self.pos + count]);
        self.pos += count;
    }

    /// Reads quotes, an escape or an expansion, or else the next character literally.
    pub fn piece(&mut self, byte: u8, w: &mut WordBuilder) -> Read<()> {
        match byte {
            b'\\' => {
                self.pos += 1;
                self.character(w)
            }
            b'\'' => self.single(w),
            b'"' => {
                self.pos += 1;
                self.double(w, QuoteKind::Double)
            }
            b'$' | b'`' => self.expansion(byte, w, QuoteKind::None),
            _ => {
                w.word.text.push_str(self.next_character());
                Ok(())
            }
        }
    }

    /// Reads an expansion that begins with a dollar or a backtick.
    pub fn expansion(&mut self, byte: u8, w: &mut WordBuilder, quote: QuoteKind) -> Read<()> {
        if byte == b'$' {
            self.dollar(w, quote)
        } else {
            self.backtick(w, quote)
        }
    }

    /// Reads `[…]` after a variable's name or before an array element. The brackets are an index if `=` follows, and
    /// otherwise a pattern.
    fn subscript(&mut self, w: &mut WordBuilder) -> Read<()> {
        let name = w.word.text.len();
        let element = name == 0;
        let mut depth = 0usize;
        loop {
            let Some(byte) = self.peek() else {
                return self
                    .guard("an index is not closed: close it with `]`, or quote the bracket");
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
                    return self.guard(
                        "an index contains spaces or operators: use a variable for the index",
                    );
                }
                b'$' | b'`' => {
                    self.evaluates = true;
                    if element {
                        // Bash expands this index once more than the index of an assignment.
                        w.word.parts.push(WordPart::Unknown(INDEX, self.place()));
                    }
                    self.expansion(byte, w, QuoteKind::None)?;
                }
                _ => self.piece(byte, w)?,
            }
        }
        let (at, index) = (w.word.at, &w.word.text[name..]);
        w.word
            .parts
            .extend(settings::named_in(index).map(|name| WordPart::Sets(name.to_owned(), at)));
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

    /// Reads the elements `(element …)` of an array.
    pub fn array(&mut self, w: &mut WordBuilder) -> Read<()> {
        self.open()?;
        self.pos += 1;
        loop {
            self.lines()?;
            match self.peek() {
                None => return self.syntax("an array is not closed: close it with `)`"),
                Some(b')') => break,
                Some(_) => {
                    let mut element = self.word(WordPosition::Element)?;
                    if is_trap(&element.text) || opens_index(&element) {
                        w.word.parts.push(WordPart::Trap(element.at));
                    }
                    w.word.parts.append(&mut element.parts);
                    w.word.elements.push(element);
                }
            }
        }
        self.pos += 1;
        self.close();
        w.hole(true);
        w.word.array = true;
        Ok(())
    }
}

/// Reason for an array index with an unknown part.
pub const INDEX: UnknownReason = UnknownReason::programs(
    "an index that is not literal text may run a command: check the index with `case`, then write `name=(...)` or use several variables",
);

pub fn finished(mut w: WordBuilder, raw: &str) -> Word {
    let holes = w.word.text.contains(HOLE);
    w.word.exact = !holes && w.word.one;
    w.word.glob &= !w.dynamic;
    if raw != w.word.text {
        w.word.raw = Some(raw.into());
    }
    w.word
}

/// True for each byte with a special meaning in a word. The first byte of a [`HOLE`], 0xF4, has none.
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

impl Parser<'_> {
    /// Reads `'…'`.
    pub fn single(&mut self, w: &mut WordBuilder) -> Read<()> {
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
    pub fn double(&mut self, w: &mut WordBuilder, quote: QuoteKind) -> Read<()> {
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
                b'$' | b'`' => self.expansion(byte, w, quote)?,
                _ => self.run(w, |byte| matches!(byte, b'"' | b'\\' | b'$' | b'`')),
            }
        }
    }

    /// Reads the character after a backslash.
    pub fn character(&mut self, w: &mut WordBuilder) -> Read<()> {
        let character = self.next_character();
        if character.is_empty() {
            return self.guard("the script ends with a backslash: remove the backslash");
        }
        w.word.text.push_str(character);
        w.word.quoted = true;
        w.plain = false;
        Ok(())
    }

    /// Reads the text in `$'…'` with the closing quote.
    pub fn escaped(&mut self, w: &mut WordBuilder) -> Read<()> {
        let bytes = self.text.as_bytes();
        loop {
            let Some(byte) = bytes.get(self.pos) else {
                return self.syntax("a single quote is not closed: add the closing quote");
            };
            if !matches!(byte, b'\'' | b'\\') {
                self.run(w, |byte| matches!(byte, b'\'' | b'\\'));
                continue;
            }
            self.pos += 1;
            if *byte == b'\'' {
                return Ok(());
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
                let character = self.next_character();
                if character.is_empty() {
                    return self.syntax("a single quote is not closed: add the closing quote");
                }
                w.word.text.push_str(character);
            }
        }
    }

    /// Reads a character that is written as a number with up to `most` digits. A number outside ASCII becomes an
    /// unknown part, and the result is 0.
    pub fn number(&mut self, w: &mut WordBuilder, base: u32, most: usize) -> u8 {
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
