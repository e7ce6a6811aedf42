//! Parser of arithmetic expressions, and of brackets in patterns.

use crate::{
    HOLE, MAX_DEPTH, NOT_NAMED, Parser, QuoteKind, Read, Word, WordBuilder, WordPart,
    shell::{settings, words::finished},
};

impl Parser<'_> {
    /// Reads the text inside `((…))` and the closing brackets. Returns `None` and resets the position if the text is
    /// two subshells and not arithmetic.
    pub(super) fn arithmetic_word(&mut self) -> Read<Option<Word>> {
        let start = self.pos;
        let (bodies, comments, depth) = (self.bodies.len(), self.comments.len(), self.depth);
        let mut w = WordBuilder::new(self.place());
        if !self.arithmetic(&mut w, true)? {
            if self.retries == 0 {
                return self.guard(
                    "too many subshells begin with `((`: put a space between the two brackets",
                );
            }
            self.retries -= 1;
            (self.pos, self.depth) = (start, depth);
            self.bodies.truncate(bodies);
            self.comments.truncate(comments);
            return Ok(None);
        }
        if !self.pending.is_empty() && self.text[start..self.pos].contains('\n') {
            return self.guard("`((` continues on the next line after `<<`: put the here-document on a separate line");
        }
        w.hole(true);
        Ok(Some(finished(w, &self.text[start..self.pos])))
    }

    /// Reads arithmetic after `((`, up to the closing brackets. Returns false if `((` begins a command but `))` does
    /// not end it, because bash then reads two subshells.
    pub(super) fn arithmetic(&mut self, w: &mut WordBuilder, command: bool) -> Read<bool> {
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
                        return self.guard(
                            "the script is nested deeper than 100 levels: reduce the nesting",
                        );
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
                        return self.guard(
                            "a `((` does not end with `))`: put a space between the two brackets",
                        );
                    }
                    self.take_two();
                    self.close();
                    if quotes {
                        return self.guard("arithmetic contains a quote: remove the quote");
                    }
                    return Ok(true);
                }
                b'$' if matches!(self.peek_second(), Some(b'\'' | b'"')) => {
                    return self.guard("arithmetic contains a quote: remove the quote");
                }
                b'$' | b'`' => {
                    self.evaluates = true;
                    let start = self.pos;
                    if byte == b'$' {
                        self.dollar(w, QuoteKind::Body)?;
                    } else {
                        self.backtick(w, QuoteKind::Body)?;
                    }
                    let expansion = &self.text[start..self.pos];
                    if hides_brackets(expansion) {
                        return self.guard(
                            "arithmetic contains a command with brackets: first store the output of the command in a \
                             variable",
                        );
                    }
                    let at = self.origin.place(start);
                    let names = without_names(expansion);
                    w.word.parts.extend(
                        settings::named_in(&names).map(|name| WordPart::Sets(name.to_owned(), at)),
                    );
                    let before = self.text[..start].trim_end();
                    if assigns_behind(&self.text[self.pos..])
                        || before.ends_with("++")
                        || before.ends_with("--")
                    {
                        w.word.parts.push(WordPart::Unknown(NOT_NAMED, at));
                    }
                }
                b'\'' if command => {
                    quotes = true;
                    self.single(&mut WordBuilder::new(0))?;
                }
                b'"' if command => {
                    quotes = true;
                    self.pos += 1;
                    self.double(w, QuoteKind::Double)?;
                }
                b'\\' if command => {
                    quotes = true;
                    self.pos += 1;
                    self.character(&mut WordBuilder::new(0))?;
                }
                b'\'' | b'"' | b'\\' => {
                    return self.guard("arithmetic contains a quote: remove the quote");
                }
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self
                        .guard("arithmetic contains `<(` or `>(`: put a space before the bracket");
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    self.evaluates = true;
                    let at = self.place();
                    let name = self.name();
                    if settings::changes(&name) {
                        w.word.parts.push(WordPart::Sets(name, at));
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

    /// Reads `(…)` of a pattern or a regular expression, with its expansions.
    pub(super) fn parentheses(&mut self, w: &mut WordBuilder) -> Read<()> {
        let mut depth = 0usize;
        loop {
            let Some(byte) = self.peek() else {
                return self.syntax("a bracket is not closed: add the closing bracket");
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
                b'\n' => {
                    return self.guard(
                        "a pattern in brackets continues on the next line: write it on one line",
                    );
                }
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self
                        .guard("a pattern contains `<(` or `>(`: use a variable for this part");
                }
                b'\\' => {
                    self.pos += 1;
                    self.character(w)?;
                }
                b'\'' => self.single(w)?,
                b'"' => {
                    self.pos += 1;
                    self.double(w, QuoteKind::Double)?;
                }
                b'$' => self.dollar(w, QuoteKind::None)?,
                b'`' => self.backtick(w, QuoteKind::None)?,
                _ => self.any(w),
            }
        }
    }
}

/// Adds to `parts` the variables that a text sets if a shell evaluates it as arithmetic. `source` is the source text.
/// `known` is the part of it that is known before the run.
pub fn evaluates(source: &str, known: &str, at: usize, parts: &mut Vec<WordPart>) {
    let written = without_names(source);
    let names = settings::named_in(known).chain(settings::named_in(&written));
    parts.extend(names.map(|name| WordPart::Sets(name.to_owned(), at)));
    if known
        .match_indices(HOLE)
        .any(|(hole, it)| assigns_behind(&known[hole + it.len()..]))
    {
        parts.push(WordPart::Unknown(NOT_NAMED, at));
    }
}

/// Returns true if the text after an expansion turns the expansion into the beginning of an assigned name.
fn assigns_behind(rest: &str) -> bool {
    const OPERATORS: [&str; 12] = [
        "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "^=", "|=", "++", "--",
    ];
    let rest = rest
        .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '\t'));
    rest.starts_with('=') && !rest.starts_with("==")
        || OPERATORS.iter().any(|operator| rest.starts_with(operator))
}

/// Returns the source text of an expansion, without the names of variables whose values are used.
fn without_names(expansion: &str) -> String {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut parts = expansion.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('$');
        text.push_str(
            part.trim_start_matches(['{', '#', '!'])
                .trim_start_matches(name),
        );
    }
    text
}

/// Returns true if bash may count the brackets of an expansion differently from this parser. If the brackets of
/// `$((…))` do not match in bash's count, bash runs the text as commands. Bash prints the inner commands and counts the
/// brackets in this printed text, in which a `case` has no `(` before its patterns.
fn hides_brackets(expansion: &str) -> bool {
    if !expansion.contains(['(', ')']) && !expansion.contains("case") && !expansion.contains("<<") {
        return false;
    }
    let mut text = expansion.to_owned();
    let whole = |text: &str, word: &str| {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        text.split(|c| !part(c)).any(|other| other == word)
    };
    if text.len() > MAX_COMMAND
        || text.contains("<<")
        || text.contains("\\\n")
        || whole(&text, "case")
    {
        return true;
    }
    let odd =
        |text: &str| text.contains(['(', ')']) && text.contains(['\'', '"', '\\', '{', '`', '#']);
    // Remove substitutions from the text, the last one first. It contains no other substitution, so its brackets match
    // unless it contains special characters.
    while let Some(open) = text.rfind("$(") {
        let mut depth = 0usize;
        let close = text[open + 1..].bytes().position(|byte| {
            depth = match byte {
                b'(' => depth + 1,
                b')' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        let Some(close) = close.map(|close| open + 1 + close) else {
            return true;
        };
        if odd(&text[open + 2..close]) {
            return true;
        }
        text.replace_range(open..=close, "");
    }
    odd(&text)
        || text.bytes().filter(|byte| *byte == b'(').count()
            != text.bytes().filter(|byte| *byte == b')').count()
}

/// Maximum size of an expansion in arithmetic, in bytes, whose brackets are checked. A larger expansion counts as one
/// in which bash may count the brackets differently.
const MAX_COMMAND: usize = 4096;
