//! Splits Rust source code into tokens, for the tests that check the code of this project.
//!
//! The tokens contain no comments and no text of literals, so a word in prose never counts as code. The tokens suffice
//! for questions such as "does this file name that crate"; this module is not a parser.
#![allow(dead_code, reason = "each test binary uses its own part")]
use std::fs;
use std::path::{Path, PathBuf};

/// Signs that belong together, the longest first: each is one token.
const OPERATORS: [&str; 22] = [
    "<<=", ">>=", "...", "..=", "::", "->", "=>", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=",
    "*=", "/=", "%=", "^=", "&=", "|=", "..",
];

/// An identifier, a lifetime or an operator. Each literal is the token `""`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// Whether the token belongs to an item with `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

/// Returns the tokens of a file in order.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        out: Vec::new(),
    };
    lexer.run();
    let mut out = lexer.out;
    mark_tests(&mut out);
    out
}

/// Returns the names of functions with a `test` attribute (`#[test]` or `#[tokio::test]`), also inside `proptest!`.
pub(crate) fn test_functions(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = false;
    let mut i = 0;
    while i < tokens.len() {
        if text(tokens, i) == "#" && text(tokens, i + 1) == "[" {
            let end = closing(tokens, i + 1);
            let path: Vec<&str> = tokens[i + 2..end].iter().map(|t| t.text.as_str()).collect();
            let head: Vec<&str> = path
                .split(|t| *t == "(")
                .next()
                .unwrap_or_default()
                .to_vec();
            pending |= head.last() == Some(&"test");
            i = end + 1;
            continue;
        }
        match text(tokens, i) {
            "fn" => {
                if pending {
                    found.push(text(tokens, i + 1).to_owned());
                }
                pending = false;
            }
            "pub" | "async" | "unsafe" | "const" | "(" | ")" | "crate" => {}
            _ => pending = false,
        }
        i += 1;
    }
    found
}

/// Returns every `.rs` file below a directory with its text, sorted by path.
pub(crate) fn rust_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                found.push((path, source));
            }
        }
    }
    found.sort();
    found
}

/// Returns the text of a token, or an empty string after the last token.
pub(crate) fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |t| t.text.as_str())
}

/// Returns the index of the bracket that closes the bracket at `open`, or the index of the last token.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

fn mark_tests(tokens: &mut [Token]) {
    let mut i = 0;
    while i < tokens.len() {
        let is_test = text(tokens, i) == "#"
            && text(tokens, i + 1) == "["
            && text(tokens, i + 2) == "cfg"
            && text(tokens, i + 3) == "("
            && (text(tokens, i + 4) == "test"
                || (text(tokens, i + 4) == "all"
                    && text(tokens, i + 5) == "("
                    && text(tokens, i + 6) == "test"));
        if !is_test {
            i += 1;
            continue;
        }
        // The item ends with its first block or its first semicolon.
        let mut end = closing(tokens, i + 1) + 1;
        while end < tokens.len() {
            match text(tokens, end) {
                ";" => break,
                "{" => {
                    end = closing(tokens, end);
                    break;
                }
                "(" | "[" => end = closing(tokens, end) + 1,
                _ => end += 1,
            }
        }
        let last = end.min(tokens.len() - 1);
        for token in &mut tokens[i..=last] {
            token.in_test = true;
        }
        i = last + 1;
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn run(&mut self) {
        while let Some(c) = self.peek(0) {
            match c {
                '/' if self.peek(1) == Some('/') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.step();
                    }
                }
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                'r' | 'b' | 'c' if self.literal_prefix() => {}
                '\'' => self.quote(),
                c if c == '_' || c.is_alphabetic() => self.word(),
                c if c.is_ascii_digit() => self.number(),
                c if c.is_whitespace() => self.step(),
                c => self.operator(c),
            }
        }
    }

    /// Reads an operator, or another single sign.
    fn operator(&mut self, first: char) {
        let is_here = |sign: &&&str| {
            sign.chars()
                .enumerate()
                .all(|(ahead, c)| self.peek(ahead) == Some(c))
        };
        let sign = OPERATORS
            .iter()
            .find(is_here)
            .map_or_else(|| first.to_string(), |sign| (*sign).to_owned());
        self.push(&sign);
        for _ in sign.chars() {
            self.step();
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, text: &str) {
        self.out.push(Token {
            text: text.to_owned(),
            line: self.line,
            in_test: false,
        });
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while self.peek(0).is_some() {
            if self.peek(0) == Some('/') && self.peek(1) == Some('*') {
                depth += 1;
                self.step();
            } else if self.peek(0) == Some('*') && self.peek(1) == Some('/') {
                depth -= 1;
                self.step();
            }
            self.step();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.push("\"\"");
        self.step();
        while let Some(c) = self.peek(0) {
            self.step();
            match c {
                '\\' => self.step(),
                '"' => return,
                _ => {}
            }
        }
    }

    /// Reads a literal with a prefix: `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `b'…'` or `c"…"`. Returns false for `r#name`
    /// and for other words, which `word` reads.
    fn literal_prefix(&mut self) -> bool {
        let mut ahead = 0;
        while matches!(self.peek(ahead), Some('r' | 'b' | 'c')) && ahead < 2 {
            ahead += 1;
        }
        let raw = (0..ahead).any(|i| self.peek(i) == Some('r'));
        let mut hashes = 0;
        while raw && self.peek(ahead + hashes) == Some('#') {
            hashes += 1;
        }
        match self.peek(ahead + hashes) {
            Some('"') if raw => {
                self.push("\"\"");
                for _ in 0..=ahead + hashes {
                    self.step();
                }
                while self.peek(0).is_some() {
                    let closes = self.peek(0) == Some('"')
                        && (1..=hashes).all(|i| self.peek(i) == Some('#'));
                    self.step();
                    if closes {
                        for _ in 0..hashes {
                            self.step();
                        }
                        return true;
                    }
                }
                true
            }
            Some('"') => {
                for _ in 0..ahead {
                    self.step();
                }
                self.string();
                true
            }
            Some('\'') if ahead == 1 && self.peek(0) == Some('b') => {
                self.step();
                self.quote();
                true
            }
            _ => false,
        }
    }

    /// Reads a character literal or a lifetime.
    fn quote(&mut self) {
        let literal =
            self.peek(1) == Some('\\') || self.peek(1).is_some() && self.peek(2) == Some('\'');
        let start = self.at;
        self.step();
        if !literal {
            while self
                .peek(0)
                .is_some_and(|c| c == '_' || c.is_alphanumeric())
            {
                self.step();
            }
            let lifetime: String = self.chars[start..self.at].iter().collect();
            return self.push(&lifetime);
        }
        self.push("\"\"");
        while let Some(c) = self.peek(0) {
            self.step();
            match c {
                '\\' => self.step(),
                '\'' => return,
                _ => {}
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while self
            .peek(0)
            .is_some_and(|c| c == '_' || c.is_alphanumeric())
        {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        if word == "r" && self.peek(0) == Some('#') {
            self.at += 1;
            return self.word();
        }
        self.push(&word);
    }

    fn number(&mut self) {
        self.push("\"\"");
        while self
            .peek(0)
            .is_some_and(|c| c == '_' || c.is_alphanumeric())
        {
            self.at += 1;
        }
    }
}
