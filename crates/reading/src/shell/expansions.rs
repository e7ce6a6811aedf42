//! Parser of expansions that begin with a dollar or a backtick, and of here-document bodies.
//!
//! The file also contains the parser of arithmetic expressions, and of brackets in patterns.

use std::rc::Rc;

use crate::{
    ByteOrigin, CommandList, HOLE, ListEnd, MAX_DEPTH, NOT_NAMED, Parser, QuoteKind, Read,
    UnknownReason, Word, WordBuilder, WordPart, is_trap,
    shell::{settings, traps::is_open_index, words::finished},
};

impl Parser<'_> {
    /// Reads an expansion that begins with a dollar.
    pub fn dollar(&mut self, w: &mut WordBuilder, quote: QuoteKind) -> Read<()> {
        let start = self.pos;
        self.pos += 1;
        let quoted = quote != QuoteKind::None;
        let Some(byte) = self.peek() else {
            w.word.text.push('$');
            return Ok(());
        };
        match byte {
            b'(' => {
                if self.peek_second() == Some(b'(') {
                    self.take_two();
                    self.arithmetic(w, false)?;
                    w.hole(true);
                    w.word.number |= !quoted;
                } else {
                    self.substitution(w)?;
                    w.hole(quoted);
                }
            }
            b'{' => {
                self.parameter(w, quoted)?;
                let raw = self.text[start..self.pos].replace("\\\n", "");
                if raw.ends_with("@P}") {
                    w.word
                        .parts
                        .push(WordPart::Unknown(PROMPT, self.origin.place(start)));
                }
                // `${!x}` means `$@` if the value of `x` is `@`.
                w.hole(quoted && !raw.contains('@') && !raw.starts_with("${!"));
            }
            b'\'' if !quoted && self.bash() => {
                w.word.quoted = true;
                self.pos += 1;
                self.escaped(w)?;
                w.plain = false;
            }
            b'"' if !quoted => {
                // Bash removes this dollar, but dash keeps it.
                if !self.bash() {
                    w.word.text.push('$');
                }
            }
            b'[' if self.bash() => {
                return self.guard("`$[` is the old form of arithmetic: write `$((...))`");
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.name();
                w.hole(quoted);
            }
            b'0'..=b'9' | b'*' | b'@' | b'#' | b'?' | b'-' | b'$' | b'!' => {
                self.pos += 1;
                w.hole(quoted && byte != b'@' || matches!(byte, b'#' | b'?' | b'$'));
                w.word.number |= !quoted;
            }
            _ => w.word.text.push('$'),
        }
        Ok(())
    }

    /// Reads `(list)` of `$(…)`, `<(…)` or `>(…)`.
    pub fn substitution(&mut self, w: &mut WordBuilder) -> Read<()> {
        self.open()?;
        self.pos += 1;
        self.substitutions += 1;
        let outside = std::mem::take(&mut self.pending);
        let list = self.inner_list(ListEnd::Parenthesis)?;
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
        w.word.parts.push(WordPart::Script(Rc::new(list)));
        Ok(())
    }

    /// Reads a command list in backticks, which is parsed without its escaping backslashes.
    pub fn backtick(&mut self, w: &mut WordBuilder, quote: QuoteKind) -> Read<()> {
        self.open()?;
        let start = self.pos + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        let mut escapes = false;
        loop {
            match bytes.get(at) {
                None => return self.syntax("a backtick is not closed: add the closing backtick"),
                Some(b'`') => break,
                Some(b'\\') => {
                    match bytes.get(at + 1) {
                        Some(b'\n') => {
                            return self.guard(
                                "a line inside backticks ends with a backslash: write `$(...)`",
                            );
                        }
                        Some(b'"') if quote != QuoteKind::None => {
                            return self.guard(
                                "backticks inside quotes contain an escaped quote: write `$(...)`",
                            );
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
            (unescaped.as_str(), ByteOrigin::Fixed(self.place()))
        } else {
            (inner, ByteOrigin::Shift(self.origin.place(start)))
        };
        let origin = match (self.origin, origin) {
            (ByteOrigin::Fixed(place), _) => ByteOrigin::Fixed(place),
            (_, origin) => origin,
        };
        let mut inside = self.inside(text, origin);
        inside.substitutions += 1;
        let mut list = CommandList::new();
        inside.whole(&mut list)?;
        self.leave(inside);
        self.pos = at + 1;
        self.close();
        w.word.parts.push(WordPart::Script(Rc::new(list)));
        w.hole(quote != QuoteKind::None);
        Ok(())
    }

    /// Returns a parser of a part of this text. The method `leave` takes over its results.
    fn inside<'i>(&mut self, text: &'i str, origin: ByteOrigin) -> Parser<'i> {
        let mut inside = Parser::new(text, self.dialect, origin, self.depth);
        inside.substitutions = self.substitutions;
        inside.functions = self.functions;
        inside.retries = self.retries;
        inside.bodies = std::mem::take(&mut self.bodies);
        inside
    }

    /// Takes over the results of a parser that `inside` returned.
    fn leave(&mut self, inside: Parser<'_>) {
        self.bodies = inside.bodies;
        self.evaluates |= inside.evaluates;
        self.differs |= inside.differs;
        self.retries = inside.retries;
    }

    /// Reads the name after `${`. Also returns true if the variable contains the name of another variable.
    fn parameter_name(&mut self) -> Read<(String, bool)> {
        let mut indirect = false;
        if matches!(self.peek(), Some(b'!' | b'#'))
            && !matches!(
                self.peek_second(),
                Some(b'}' | b':' | b'-' | b'=' | b'+' | b'%')
            )
        {
            indirect = self.peek() == Some(b'!');
            self.pos += 1;
        }
        let name = self.pos;
        match self.peek() {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => drop(self.name()),
            Some(b'0'..=b'9') => {
                while matches!(self.peek(), Some(b'0'..=b'9')) {
                    self.pos += 1;
                }
            }
            Some(b'*' | b'@' | b'#' | b'?' | b'-' | b'$' | b'!') => self.pos += 1,
            None => return self.syntax("`${` is not closed: close it with `}`"),
            Some(_) => {
                return self.guard("`${` has no name after it: quote `${`, or name a variable");
            }
        }
        Ok((self.text[name..self.pos].replace("\\\n", ""), indirect))
    }

    /// Reads `{name…}` of `${name…}`.
    pub fn parameter(&mut self, w: &mut WordBuilder, quoted: bool) -> Read<()> {
        self.open()?;
        let start = self.place();
        self.pos += 1;
        let (name, indirect) = self.parameter_name()?;
        self.evaluates |= indirect;
        // An offset or an index after the variable's name is arithmetic.
        let (mut evaluated, mut indexed) = (false, false);
        let assigns = match self.peek() {
            Some(b'=') => true,
            Some(b':') => {
                let second = self.peek_second();
                // `${name:offset}`
                evaluated = !matches!(second, Some(b'=' | b'-' | b'+' | b'?'));
                second == Some(b'=')
            }
            Some(b'[') => {
                let all = ["[@]", "[*]"]
                    .iter()
                    .any(|all| self.text[self.pos..].starts_with(all));
                let offset = self.text[self.pos..]
                    .get(3..)
                    .is_some_and(|rest| rest.starts_with([':', '\\']));
                evaluated = !all || offset;
                indexed = true;
                false
            }
            _ => false,
        };
        self.evaluates |= evaluated;
        if assigns && indirect {
            w.word.parts.push(WordPart::Unknown(
                UnknownReason::words(
                    "this expansion sets a variable whose name is in another variable: name the variable directly",
                ),
                start,
            ));
        } else if assigns {
            w.word.parts.push(WordPart::Sets(name.clone(), start));
        }
        // Known text after the variable's name.
        let (mut text, first) = (String::new(), self.pos);
        loop {
            let Some(byte) = self.peek() else {
                return self.syntax("`${` is not closed: close it with `}`");
            };
            match byte {
                b'}' => {
                    self.pos += 1;
                    self.close();
                    if is_trap(&text) || is_open_index(&text) {
                        w.word.parts.push(WordPart::Trap(start));
                    }
                    let assigns = text.contains("]=") || text.contains("]:=");
                    if indexed && assigns && settings::changes(&name) {
                        w.word.parts.push(WordPart::Sets(name, start));
                    }
                    if evaluated {
                        let parts = evaluates(&self.text[first..self.pos], &text, start);
                        w.word.parts.extend(parts);
                    }
                    return Ok(());
                }
                b'\\' => {
                    self.pos += 1;
                    let character = self.next_character();
                    if character.is_empty() {
                        return self
                            .guard("the script ends with a backslash: remove the backslash");
                    }
                    text.push_str(character);
                }
                b'\'' if quoted => {
                    let from = self.pos;
                    self.odd_quote(w)?;
                    text.push_str(&self.text[from..self.pos]);
                }
                b'\'' => {
                    let mut scratch = WordBuilder::new(0);
                    self.single(&mut scratch)?;
                    text.push_str(&scratch.word.text);
                }
                b'"' => {
                    self.pos += 1;
                    let from = self.pos;
                    let mut scratch = WordBuilder::new(0);
                    self.double(&mut scratch, QuoteKind::Double)?;
                    w.word.parts.append(&mut scratch.word.parts);
                    text.push_str(&scratch.word.text);
                    if quoted && self.text[from..self.pos - 1].contains(['\'', '}', '`', '"']) {
                        return self.guard(
                            "`${...}` inside quotes contains quotes: use a variable for this part",
                        );
                    }
                }
                b'$' | b'`' => {
                    let mut scratch = WordBuilder::new(0);
                    let quote = if quoted {
                        QuoteKind::Double
                    } else {
                        QuoteKind::None
                    };
                    self.expansion(byte, &mut scratch, quote)?;
                    w.word.parts.append(&mut scratch.word.parts);
                    if byte == b'$' {
                        text.push_str(&scratch.word.text);
                    }
                }
                b'<' | b'>' if self.peek_second() == Some(b'(') => {
                    return self
                        .guard("`${...}` contains `<(` or `>(`: use a variable for this part");
                }
                _ => text.push_str(self.next_character()),
            }
        }
    }

    /// Reads a single quote in `${…}` within double quotes, which only some shells treat as a quote. If the text up to
    /// the next single quote contains no special characters, all shells read the same text. Its expansions are read for
    /// both kinds of shells.
    fn odd_quote(&mut self, w: &mut WordBuilder) -> Read<()> {
        let from = self.pos + 1;
        let inside = self.text[from..].split_once('\'').map(|(inside, _)| inside);
        let Some(inside) =
            inside.filter(|inside| !inside.contains(['`', '"', '\\', '{', '}', '\n', '#']))
        else {
            return self.guard("`${...}` inside double quotes contains a single quote: use a variable for this part");
        };
        let end = from + inside.len();
        self.pos = from;
        while self.pos < end {
            if self.text.as_bytes()[self.pos] == b'$' {
                let mut scratch = WordBuilder::new(0);
                self.dollar(&mut scratch, QuoteKind::Double)?;
                w.word.parts.append(&mut scratch.word.parts);
            } else {
                self.pos += 1;
            }
        }
        if self.pos != end {
            return self.guard("`${...}` inside double quotes contains a single quote: use a variable for this part");
        }
        self.pos += 1;
        Ok(())
    }

    /// Reads the body of a here-document, from `start` to `end`.
    pub fn body(&mut self, start: usize, end: usize, quoted: bool, tabs: bool) -> Read<Word> {
        let raw = &self.text[start..end];
        let at = self.origin.place(start);
        if quoted {
            let text = if tabs {
                without_tabs(raw)
            } else {
                raw.to_owned()
            };
            let exact = !text.contains(HOLE);
            return Ok(Word {
                at,
                text,
                raw: Some(raw.into()),
                exact,
                one: true,
                quoted: true,
                ..Word::default()
            });
        }
        let text = &self.text[..end];
        let mut inside = self.inside(text, self.origin);
        inside.pos = start;
        let mut w = WordBuilder::new(at);
        if let Err(mut flaw) = inside.double(&mut w, QuoteKind::Body) {
            // The shell may read more lines as the body of the here-document than this parser.
            flaw.guard = true;
            return Err(flaw);
        }
        self.leave(inside);
        let mut word = finished(w, raw);
        // Bash removes the tabs before it evaluates expansions, dash after it.
        if tabs && !word.parts.is_empty() && raw.contains("\n\t") && raw.contains("<<") {
            return self.guard(
                "a here-document with `<<-` contains another here-document: write `<<` for the outer here-document",
            );
        }
        if tabs {
            word.text = without_tabs(&word.text);
        }
        Ok(word)
    }
}

/// Reason for an expansion with `@P`. The expansion runs commands in the value of a variable.
const PROMPT: UnknownReason =
    UnknownReason::programs("`${...@P}` runs the commands in the variable: leave `@P` out");

fn without_tabs(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
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

impl Parser<'_> {
    /// Reads the text inside `((…))` and the closing brackets. Returns `None` and resets the position if the text is
    /// two subshells and not arithmetic.
    pub fn arithmetic_word(&mut self) -> Read<Option<Word>> {
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
    pub fn arithmetic(&mut self, w: &mut WordBuilder, command: bool) -> Read<bool> {
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
                    self.expansion(byte, w, QuoteKind::Body)?;
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
                _ => drop(self.next_character()),
            }
        }
    }

    /// Reads `(…)` of a pattern or a regular expression, with its expansions.
    pub fn parentheses(&mut self, w: &mut WordBuilder) -> Read<()> {
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
                _ => self.piece(byte, w)?,
            }
        }
    }
}

/// Returns the variables that a text sets if a shell evaluates it as arithmetic. `source` is the source text. `known`
/// is the part of the source text that is known before the run.
pub fn evaluates(source: &str, known: &str, at: usize) -> Vec<WordPart> {
    let written = without_names(source);
    let names = settings::named_in(known).chain(settings::named_in(&written));
    let sets = names.map(|name| WordPart::Sets(name.to_owned(), at));
    let mut behind = known.split(HOLE).skip(1);
    let unknown = behind.any(assigns_behind);
    sets.chain(unknown.then_some(WordPart::Unknown(NOT_NAMED, at)))
        .collect()
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
    // Remove substitutions from the text, the last one first. The last substitution contains no other one, so its
    // brackets match unless it contains special characters.
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
