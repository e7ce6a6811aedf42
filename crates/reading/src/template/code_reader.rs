//! Reader of Python, JavaScript and Go, which finds the strings and the comments of a script.
//!
//! The reader refuses a text that it cannot read with certainty.

/// Language of a script, other than a shell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CodeLanguage {
    Python,
    JavaScript,
    Go,
}

/// Kind of a part of a script.
#[derive(Clone, Copy, PartialEq)]
pub enum SegmentKind {
    /// Code outside of strings and comments.
    Code,
    /// A string in single or double quotes, in which `\u` is an escape.
    Text,
    /// A string in which no value can be written.
    OtherText,
    /// A comment up to the end of the line.
    Comment,
    /// A comment that ends with `*/`.
    BlockComment,
}

/// Part of a script, with its byte offsets. A string contains its quotes.
#[derive(Clone, Copy)]
pub struct CodeSegment {
    pub kind: SegmentKind,
    pub start: usize,
    pub end: usize,
}

/// Splits a script into its parts.
///
/// # Errors
/// Returns the byte offset of a text that the reader does not understand, and what to do.
pub fn segments(
    language: CodeLanguage,
    text: &str,
) -> Result<Vec<CodeSegment>, (usize, &'static str)> {
    let odd = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    if let Some(at) = text.find(odd) {
        return Err((
            at,
            "the script contains a control character: remove it (`\\r`: save with Unix line ends)",
        ));
    }
    if language == CodeLanguage::JavaScript
        && let Some(at) = text.find("<!--").or_else(|| text.find("-->"))
    {
        return Err((
            at,
            "`<!--` and `-->` can begin a comment: put a space between the characters",
        ));
    }
    let mut reader = CodeReader {
        language,
        text,
        at: 0,
        segments: Vec::new(),
        code: 0,
        braces: Vec::new(),
    };
    reader.read()?;
    Ok(reader.segments)
}

struct CodeReader<'t> {
    language: CodeLanguage,
    text: &'t str,
    at: usize,
    segments: Vec<CodeSegment>,
    /// Beginning of the code since the last string or comment.
    code: usize,
    /// For each open `${` of a template literal, the number of open braces in it.
    braces: Vec<usize>,
}

type Read<T> = Result<T, (usize, &'static str)>;

impl CodeReader<'_> {
    fn read(&mut self) -> Read<()> {
        let bytes = self.text.as_bytes();
        let script = self.language == CodeLanguage::JavaScript;
        while let Some(byte) = bytes.get(self.at).copied() {
            let next = bytes.get(self.at + 1).copied();
            match byte {
                b'#' if self.language == CodeLanguage::Python => self.line(),
                b'#' if script && self.at == 0 && next == Some(b'!') => self.line(),
                b'/' if self.language != CodeLanguage::Python && next == Some(b'/') => self.line(),
                b'/' if self.language != CodeLanguage::Python && next == Some(b'*') => {
                    let Some(length) = self.text[self.at + 2..].find("*/") else {
                        return Err((self.at, "a comment is not closed: close it with `*/`"));
                    };
                    let end = self.at + 2 + length + 2;
                    self.push(SegmentKind::BlockComment, self.at, end);
                }
                b'/' if script => self.slash()?,
                b'"' | b'\'' => self.string(byte)?,
                b'`' if script => self.template_literal(self.at)?,
                b'`' if self.language == CodeLanguage::Go => {
                    let Some(length) = self.text[self.at + 1..].find('`') else {
                        return Err((self.at, "a string is not closed: close it with a backtick"));
                    };
                    self.push(SegmentKind::OtherText, self.at, self.at + length + 2);
                }
                b'{' if script => {
                    self.braces
                        .last_mut()
                        .into_iter()
                        .for_each(|open| *open += 1);
                    self.at += 1;
                }
                b'}' if script && self.braces.last() == Some(&0) => {
                    self.braces.pop();
                    self.template_literal(self.at)?;
                }
                b'}' if script => {
                    self.braces
                        .last_mut()
                        .into_iter()
                        .for_each(|open| *open -= 1);
                    self.at += 1;
                }
                b'\\' => {
                    return Err((
                        self.at,
                        "a backslash is outside of quotes: remove the backslash",
                    ));
                }
                _ => self.at += 1,
            }
        }
        if !self.braces.is_empty() {
            return Err((
                self.at,
                "a template literal is not closed: close it with a backtick",
            ));
        }
        self.push_code(self.at);
        Ok(())
    }

    fn push_code(&mut self, end: usize) {
        if end > self.code {
            self.segments.push(CodeSegment {
                kind: SegmentKind::Code,
                start: self.code,
                end,
            });
        }
    }

    fn push(&mut self, kind: SegmentKind, start: usize, end: usize) {
        self.push_code(start);
        self.segments.push(CodeSegment { kind, start, end });
        (self.at, self.code) = (end, end);
    }

    /// Reads a comment up to the end of the line.
    fn line(&mut self) {
        let rest = &self.text[self.at..];
        let end = self.at + rest.find('\n').unwrap_or(rest.len());
        self.push(SegmentKind::Comment, self.at, end);
    }

    /// Reads a slash, which is a division or the beginning of a regular expression. The rest of the line must have the
    /// same strings and comments in both cases.
    fn slash(&mut self) -> Read<()> {
        let rest = &self.text[self.at + 1..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let value = self.text[self.code..self.at]
            .trim_end()
            .ends_with(|c: char| c.is_ascii_digit() || c == ']');
        if value {
            self.at += 1;
            return Ok(());
        }
        if line.contains(['"', '\'', '`', '{', '}'])
            || line.contains("//")
            || line.contains("/*")
            || !line.is_ascii()
        {
            return Err((
                self.at,
                "a regular expression or a division is on a line with strings, braces or comments: \
                                  write it on a line of its own",
            ));
        }
        self.at += 1 + line.len();
        Ok(())
    }

    /// Reads a string in single or double quotes.
    fn string(&mut self, quote: u8) -> Read<()> {
        let bytes = self.text.as_bytes();
        let (start, mut kind) = (self.at, SegmentKind::Text);
        let mut formatted = false;
        if self.language == CodeLanguage::Python {
            let prefix = self.text[self.code..start].trim_start_matches(|c: char| !is_name(c));
            let prefix = prefix
                .rsplit(|c: char| !is_name(c))
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            match prefix.as_str() {
                "" | "u" => {}
                "r" | "b" | "br" | "rb" => kind = SegmentKind::OtherText,
                "f" | "t" | "fr" | "rf" | "tr" | "rt" => {
                    (kind, formatted) = (SegmentKind::OtherText, true)
                }
                // `return"a"`
                "return" | "in" | "not" | "and" | "or" | "if" | "else" | "is" | "print"
                | "yield" | "assert" => {}
                _ => {
                    return Err((
                        start,
                        "a string directly follows a name: put a space before the string",
                    ));
                }
            }
        }
        if self.language == CodeLanguage::Go && quote == b'\'' {
            kind = SegmentKind::OtherText;
        }
        let triple = self.language == CodeLanguage::Python
            && bytes.get(start + 1) == Some(&quote)
            && bytes.get(start + 2) == Some(&quote);
        let mut at = start + if triple { 3 } else { 1 };
        let (mut depth, mut inner) = (0usize, None);
        loop {
            let Some(byte) = bytes.get(at).copied() else {
                return Err((start, "a string is not closed: add the closing quote"));
            };
            let closes = byte == quote && (!triple || bytes[at..].starts_with(&[quote; 3]));
            match byte {
                _ if formatted && depth > 0 && (byte == b'\\' || byte == b'#' || byte == quote) => {
                    return Err((
                        at,
                        "this part of a formatted string can be read in two ways: use a variable for it",
                    ));
                }
                _ if closes => break,
                b'\n' if !triple => {
                    return Err((start, "a string is not closed: add the closing quote"));
                }
                b'\\' => at += 1,
                b'"' | b'\'' if formatted && depth > 0 => {
                    inner = if inner == Some(byte) {
                        None
                    } else {
                        inner.or(Some(byte))
                    };
                }
                b'{' if formatted && depth == 0 && bytes.get(at + 1) == Some(&b'{') => at += 1,
                b'{' if formatted && inner.is_none() => depth += 1,
                b'}' if formatted && inner.is_none() => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        self.push(kind, start, at + if triple { 3 } else { 1 });
        Ok(())
    }

    /// Reads a template literal from its backtick, or from the brace that closes an expression in it.
    fn template_literal(&mut self, start: usize) -> Read<()> {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                None => {
                    return Err((
                        start,
                        "a template literal is not closed: close it with a backtick",
                    ));
                }
                Some(b'`') => {
                    self.push(SegmentKind::OtherText, start, at + 1);
                    return Ok(());
                }
                Some(b'\\') => at += 2,
                Some(b'$') if bytes.get(at + 1) == Some(&b'{') => {
                    self.push(SegmentKind::OtherText, start, at + 2);
                    self.braces.push(0);
                    return Ok(());
                }
                Some(_) => at += 1,
            }
        }
    }
}

/// Returns true for a character of names, and for every character outside of ASCII.
pub fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Returns true if a string ends inside an escape, so that the next character would become a part of the escape.
/// `text` is the string from its opening quote up to the placeholder.
pub fn ends_in_escape(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            return true;
        };
        let digits = |most: usize, base: u32| {
            rest[1..]
                .chars()
                .take(most)
                .take_while(|c| c.is_digit(base))
                .count()
        };
        let (length, open) = match kind {
            'x' => (1 + digits(2, 16), digits(2, 16) < 2),
            'u' | 'N' if rest[1..].starts_with('{') => match rest.find('}') {
                Some(end) => (end + 1, false),
                None => return true,
            },
            'u' => (1 + digits(4, 16), digits(4, 16) < 4),
            'U' => (1 + digits(8, 16), digits(8, 16) < 8),
            'N' => (1, rest.len() == 1),
            '0'..='9' => (1 + digits(2, 10), digits(2, 10) < 2),
            other => (other.len_utf8(), false),
        };
        rest = &rest[length..];
        if open && rest.is_empty() {
            return true;
        }
    }
    false
}
