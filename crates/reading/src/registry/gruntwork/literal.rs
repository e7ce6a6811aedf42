//! Reads the JavaScript literals of MDX expressions: texts, template literals, numbers, lists and objects.
//!
//! An expression that is no literal is program code. The registry never runs such code, so the reader refuses it.

use std::{iter::Peekable, str::CharIndices};

use serde_json::{Map, Number, Value};

/// Where an expression ends, judged only by its brackets, texts and comments.
#[derive(Debug, PartialEq)]
pub enum ExpressionEnd {
    /// The text is a whole expression.
    Complete,
    /// The text ends inside of a bracket, a text or a comment.
    Open,
    /// The text has a character at this offset whose meaning depends on the program code around it.
    Unclear(usize),
}

/// Finds out whether `text` ends where the expression ends. A brace inside of a text or a comment ends no expression.
pub fn expression_end(text: &str) -> ExpressionEnd {
    let bytes = text.as_bytes();
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let skipped = if open.last() == Some(&b'`') {
            template_part(&bytes[at..], &mut open)
        } else {
            match bytes[at] {
                first @ (b'"' | b'\'' | b'/') => {
                    let length = match first {
                        b'/' => comment_length(&bytes[at..]),
                        _ => text_length(&bytes[at..]),
                    };
                    match length {
                        Ok(Some(length)) => length,
                        Ok(None) => return ExpressionEnd::Open,
                        Err(()) => return ExpressionEnd::Unclear(at),
                    }
                }
                // Tags inside of an expression have texts of their own, without quotes.
                b'<' => return ExpressionEnd::Unclear(at),
                b'`' | b'{' | b'[' | b'(' => {
                    open.push(bytes[at]);
                    1
                }
                close @ (b'}' | b']' | b')') => {
                    let expected = match close {
                        b'}' => b'{',
                        b']' => b'[',
                        _ => b'(',
                    };
                    if open.pop() != Some(expected) {
                        return ExpressionEnd::Unclear(at);
                    }
                    1
                }
                _ => 1,
            }
        };
        at += skipped;
    }
    if open.is_empty() {
        ExpressionEnd::Complete
    } else {
        ExpressionEnd::Open
    }
}

/// Returns the number of bytes of the next part of a template literal, and updates the open brackets.
fn template_part(rest: &[u8], open: &mut Vec<u8>) -> usize {
    match rest {
        [b'\\', ..] => 2,
        [b'`', ..] => {
            open.pop();
            1
        }
        [b'$', b'{', ..] => {
            open.push(b'{');
            2
        }
        _ => 1,
    }
}

/// Returns the number of bytes of a text in quotes. Returns `None` if the text is not closed, and an error if a line
/// ends in the text.
fn text_length(rest: &[u8]) -> Result<Option<usize>, ()> {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 1,
            b'\n' => return Err(()),
            quote if quote == rest[0] => return Ok(Some(at + 1)),
            _ => {}
        }
        at += 1;
    }
    Ok(None)
}

/// Returns the number of bytes of a comment. Returns `None` if the comment is not closed, and an error if the slash
/// begins no comment.
fn comment_length(rest: &[u8]) -> Result<Option<usize>, ()> {
    match rest.get(1) {
        Some(b'/') => Ok(rest.iter().position(|byte| *byte == b'\n')),
        Some(b'*') => Ok(rest[2..]
            .windows(2)
            .position(|pair| pair == b"*/")
            .map(|at| at + 4)),
        None => Ok(None),
        Some(_) => Err(()),
    }
}

/// Offset and message of an error in an expression.
pub type LiteralFlaw = (usize, String);

/// Reads an expression that is one literal. Returns `None` if the expression contains nothing but comments.
///
/// # Errors
/// Returns the first part that is no literal.
pub fn parse(text: &str) -> Result<Option<Value>, LiteralFlaw> {
    let mut reader = Reader {
        text,
        chars: text.char_indices().peekable(),
    };
    reader.blank()?;
    if reader.chars.peek().is_none() {
        return Ok(None);
    }
    let value = reader.value(0)?;
    reader.blank()?;
    if reader.chars.peek().is_some() {
        return Err(reader.no_literal());
    }
    Ok(Some(value))
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    /// Skips the next character if it is `c`, and returns true if so.
    fn eat(&mut self, c: char) -> bool {
        self.chars.next_if(|(_, next)| *next == c).is_some()
    }

    fn no_literal(&mut self) -> LiteralFlaw {
        let message = "an expression must be a text, a number, true, false, a list or an object, because the registry \
                       runs no program code: write the value itself";
        (self.at(), message.to_owned())
    }

    /// Skips white space and comments.
    fn blank(&mut self) -> Result<(), LiteralFlaw> {
        loop {
            while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                self.chars.next();
            }
            if self.peek() != Some('/') {
                return Ok(());
            }
            let at = self.at();
            match comment_length(&self.text.as_bytes()[at..]) {
                Ok(length) => {
                    let end = length.map_or(self.text.len(), |length| at + length);
                    while self.chars.next_if(|(at, _)| *at < end).is_some() {}
                }
                Err(()) => return Err(self.no_literal()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, LiteralFlaw> {
        if depth > MAX_DEPTH {
            return Err((
                self.at(),
                format!("the value is nested deeper than {MAX_DEPTH} levels: make it simpler"),
            ));
        }
        match self.peek() {
            Some('"' | '\'' | '`') => self.quoted().map(Value::String),
            Some('[') => self.list(depth),
            Some('{') => self.object(depth),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => {
                let (start, error) = (self.at(), self.no_literal());
                match self.word() {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    "null" => Ok(Value::Null),
                    _ => Err((start, error.1)),
                }
            }
            _ => Err(self.no_literal()),
        }
    }

    fn word(&mut self) -> &str {
        let start = self.at();
        while self
            .chars
            .next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_' || *c == '$')
            .is_some()
        {}
        let end = self.at();
        &self.text[start..end]
    }

    fn number(&mut self) -> Result<Value, LiteralFlaw> {
        let start = self.at();
        let error = self.no_literal();
        while self
            .chars
            .next_if(|(_, c)| c.is_ascii_digit() || *c == '-' || *c == '.')
            .is_some()
        {}
        let end = self.at();
        // JSON has the same plain numbers as JavaScript. JSON refuses a leading zero, which JavaScript reads as octal.
        let number: Option<Number> = serde_json::from_str(&self.text[start..end]).ok();
        number.map(Value::Number).ok_or((start, error.1))
    }

    fn list(&mut self, depth: usize) -> Result<Value, LiteralFlaw> {
        let mut items = Vec::new();
        self.chars.next();
        loop {
            self.blank()?;
            if self.eat(']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.end_of_item(']')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, LiteralFlaw> {
        let mut entries = Map::new();
        self.chars.next();
        loop {
            self.blank()?;
            if self.eat('}') {
                return Ok(Value::Object(entries));
            }
            let name = match self.peek() {
                Some('"' | '\'') => self.quoted()?,
                Some(c) if c.is_ascii_alphabetic() || c == '_' || c == '$' => {
                    self.word().to_owned()
                }
                _ => return Err(self.no_literal()),
            };
            self.blank()?;
            if !self.eat(':') {
                return Err(self.no_literal());
            }
            self.blank()?;
            let value = self.value(depth + 1)?;
            if name == "__proto__" || entries.insert(name, value).is_some() {
                return Err((
                    self.at(),
                    "an object must have each key only once: remove the second key".to_owned(),
                ));
            }
            self.end_of_item('}')?;
        }
    }

    /// Reads the comma after an item, unless `close` follows.
    fn end_of_item(&mut self, close: char) -> Result<(), LiteralFlaw> {
        self.blank()?;
        if self.peek() == Some(close) || self.eat(',') {
            return Ok(());
        }
        Err(self.no_literal())
    }

    /// Reads a text in quotes, or a template literal without placeholders.
    fn quoted(&mut self) -> Result<String, LiteralFlaw> {
        let start = self.at();
        let quote = self.chars.next().map_or('"', |(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = self.chars.next() {
            match c {
                '\\' => self.escape(at, &mut text)?,
                _ if c == quote => return Ok(text),
                '\n' if quote != '`' => break,
                '$' if quote == '`' && self.peek() == Some('{') => {
                    let message = "a placeholder ${...} is program code: write the text itself, or write \\${ for these \
                                   two characters";
                    return Err((at, message.to_owned()));
                }
                _ => text.push(c),
            }
        }
        Err((
            start,
            format!(
                "the text is not closed: write {quote} at its end, in the same line unless it is `"
            ),
        ))
    }

    /// Reads an escape sequence after its backslash, which is at `start`.
    fn escape(&mut self, start: usize, text: &mut String) -> Result<(), LiteralFlaw> {
        let Some((_, c)) = self.chars.next() else {
            return Ok(());
        };
        let read = match c {
            // A backslash at the end of a line joins the two lines.
            '\n' => return Ok(()),
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'v' => Some('\u{b}'),
            '0'..='9' => None,
            'x' => self.hex(2),
            'u' if self.eat('{') => {
                let code = self.hex(6);
                code.filter(|_| self.eat('}'))
            }
            // Two halves of a character, such as \ud83d\ude00, are refused: one escape \u{1f600} is shorter and clear.
            'u' => self.hex(4),
            other => Some(other),
        };
        let read = read.ok_or_else(|| {
            (start, format!("the escape \\{c} with these digits is not supported: write the character itself"))
        })?;
        text.push(read);
        Ok(())
    }

    /// Reads up to `most` hexadecimal digits. `\x` and `\u` must have all their digits.
    fn hex(&mut self, most: usize) -> Option<char> {
        let mut digits = String::new();
        while digits.len() < most
            && let Some((_, c)) = self.chars.next_if(|(_, c)| c.is_ascii_hexdigit())
        {
            digits.push(c);
        }
        if most != 6 && digits.len() < most {
            return None;
        }
        u32::from_str_radix(&digits, 16)
            .ok()
            .and_then(char::from_u32)
    }
}

/// Maximum nesting depth of lists and objects.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_read_as_javascript_reads_them() {
        for (text, value) in [
            (r#""a\"b""#, json!("a\"b")),
            (r"'it\'s \x41 \u0042 \u{1f600}'", json!("it's A B 😀")),
            (
                "`two\nlines \\` \\${HOME} $HOME`",
                json!("two\nlines ` ${HOME} $HOME"),
            ),
            ("'joined \\\nline'", json!("joined line")),
            (" /* why */ true // yes\n", json!(true)),
            ("1800000", json!(1_800_000)),
            ("-1.5", json!(-1.5)),
            ("['a', \"b\",]", json!(["a", "b"])),
            (
                "{ Region: \"x\", 'a b': [1, {c: null}] }",
                json!({"Region": "x", "a b": [1, {"c": null}]}),
            ),
        ] {
            assert_eq!(parse(text), Ok(Some(value)), "{text}");
            assert_eq!(expression_end(text), ExpressionEnd::Complete, "{text}");
        }
        for comment in ["", " ", "/* } */", "// }\n"] {
            assert_eq!(parse(comment), Ok(None), "{comment}");
            assert_eq!(
                expression_end(comment),
                ExpressionEnd::Complete,
                "{comment}"
            );
        }
    }

    #[test]
    fn program_code_is_refused_with_its_offset() {
        for (text, at) in [
            ("foo()", 0),
            ("'a' + b", 4),
            ("`a ${b}`", 3),
            ("`a` `b`", 4),
            ("010", 0),
            ("1e3", 1),
            ("undefined", 0),
            ("...x", 0),
            ("{a}", 2),
            ("{a: 1, a: 2}", 11),
            ("[1 2]", 3),
            (r"'\01'", 1),
            (r"'\xZ'", 1),
            (r"'\ud83d'", 1),
            ("'open", 0),
        ] {
            assert_eq!(parse(text).expect_err(text).0, at, "{text}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))).is_err());
    }

    #[test]
    fn a_brace_in_a_text_or_a_comment_ends_no_expression() {
        for open in [
            "'", "\"a", "`", "`${", "`${'`", "/* ", "// ", "/", "{", "[(", "'\\'",
        ] {
            assert_eq!(expression_end(open), ExpressionEnd::Open, "{open}");
        }
        for (unclear, at) in [
            ("a / b", 2),
            ("/}/", 0),
            ("<b>", 0),
            ("'a\n'", 0),
            ("a)", 1),
            ("[}", 1),
        ] {
            assert_eq!(
                expression_end(unclear),
                ExpressionEnd::Unclear(at),
                "{unclear}"
            );
        }
    }
}
