//! Parser of redirections and here-documents.

use crate::{
    Parser, Read, Redirect, Word, WordPosition,
    shell::syntax::{PendingHereDocument, is_name},
};

impl Parser<'_> {
    /// Reads a redirection, and returns false if no redirection begins at this position.
    pub(super) fn redirect(
        &mut self,
        redirects: &mut Vec<Redirect>,
        sets: &mut Vec<Word>,
    ) -> Read<bool> {
        let start = self.pos;
        let mut number = None;
        match self.peek() {
            Some(b'0'..=b'9') => {
                let mut digits = String::new();
                while let Some(digit @ b'0'..=b'9') = self.peek() {
                    digits.push(char::from(digit));
                    self.pos += 1;
                }
                // In dash, a number of more than one digit before a redirection is a word.
                if digits.len() > 1 && matches!(self.peek(), Some(b'<' | b'>')) && !self.bash() {
                    self.pos = start;
                    return Ok(false);
                }
                number = Some(digits);
            }
            Some(b'{') => {
                self.pos += 1;
                let at = self.place();
                let name = self.pos;
                while matches!(
                    self.peek(),
                    Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'[' | b']')
                ) {
                    self.pos += 1;
                }
                let name = self.text[name..self.pos].replace("\\\n", "");
                if self.take(b'}')
                    && is_name(name.split('[').next().unwrap_or_default())
                    && matches!(self.peek(), Some(b'<' | b'>'))
                    && self.bash()
                {
                    if self.peek_second() == Some(b'(') {
                        return self.guard(
                            "`<(` directly after `}` is ambiguous: put a space before `<(`",
                        );
                    }
                    self.evaluates |= name.contains('[');
                    sets.push(Word {
                        name: Some(name.len()),
                        ..Word::literal(name, at)
                    });
                    number = Some("9".to_owned());
                } else {
                    self.pos = start;
                    return Ok(false);
                }
            }
            Some(b'&') if self.peek_second() == Some(b'>') && self.bash() => {
                self.take_two();
                self.take(b'>');
                self.blanks();
                let target = self.word(WordPosition::Argument)?;
                redirects.push(Redirect {
                    operator: "&>",
                    input: false,
                    target,
                    body: None,
                });
                return Ok(true);
            }
            _ => {}
        }
        let Some(direction @ (b'<' | b'>')) = self.peek() else {
            self.pos = start;
            return Ok(false);
        };
        if self.peek_second() == Some(b'(') && self.bash() {
            self.pos = start;
            return Ok(false);
        }
        self.pos += 1;
        let operator = match (direction, self.peek()) {
            (b'<', Some(b'<')) => {
                self.pos += 1;
                if self.peek() == Some(b'<') && self.bash() {
                    self.pos += 1;
                    "<<<"
                } else if self.take(b'-') {
                    "<<-"
                } else {
                    "<<"
                }
            }
            (b'<', Some(b'&')) => "<&",
            (b'<', Some(b'>')) => "<>",
            (b'<', _) => "<",
            (_, Some(b'>')) => ">>",
            (_, Some(b'|')) => ">|",
            (_, Some(b'&')) => ">&",
            _ => ">",
        };
        if matches!(operator, "<&" | "<>" | ">>" | ">|" | ">&") {
            self.pos += 1;
        }
        let input = number.as_deref().map_or(direction == b'<', |number| {
            number.trim_start_matches('0').is_empty()
        });
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
        if self.peek() == Some(b'#') {
            return self.guard("`#` follows a redirection: quote `#`");
        }
        let target = self.word(WordPosition::Argument)?;
        let mut body = None;
        if matches!(operator, "<<" | "<<-") {
            if !target.exact
                || !target.parts.is_empty()
                || target.source().contains(['$', '`', '\n'])
            {
                return self.guard(
                    "the delimiter of a here-document is not a plain word: write a plain word",
                );
            }
            body = Some(self.bodies.len());
            self.pending.push(PendingHereDocument {
                body: self.bodies.len(),
                delimiter: target.text.clone(),
                quoted: target.quoted,
                tabs: operator == "<<-",
            });
            self.bodies.push(Word::literal("", target.at));
        }
        redirects.push(Redirect {
            operator,
            input,
            target,
            body,
        });
        Ok(true)
    }

    /// Reads the lines of a here-document, including the delimiter's line.
    pub(super) fn here_document(&mut self, pending: &PendingHereDocument) -> Read<()> {
        let start = self.pos;
        // True if the last line ends with a backslash in a body with expansions, so that it continues.
        let mut goes_on = false;
        loop {
            if self.pos >= self.text.len() {
                return self
                    .guard("a here-document has no end: write its delimiter on a separate line");
            }
            let rest = &self.text[self.pos..];
            let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
            let stripped = if pending.tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if stripped == pending.delimiter {
                if goes_on {
                    return self.guard("the last line of a here-document ends with a backslash: remove the backslash");
                }
                break;
            }
            if self.substitutions > 0
                && stripped
                    .strip_prefix(pending.delimiter.as_str())
                    .is_some_and(|rest| rest.contains(')'))
            {
                return self.guard(
                    "the delimiter of a here-document is on the line of a bracket: put the delimiter on a separate \
                     line",
                );
            }
            goes_on = !pending.quoted
                && line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
            if goes_on {
                let begun = stripped.strip_suffix('\\').unwrap_or(stripped);
                if pending.delimiter.starts_with(begun) {
                    return self.guard(
                        "a line of a here-document ends with a backslash: remove the backslash",
                    );
                }
            }
            self.pos = (self.pos + line.len() + 1).min(self.text.len());
        }
        let end = self.pos;
        let line = self.text[end..]
            .split_once('\n')
            .map_or(self.text.len() - end, |(line, _)| line.len());
        // Skip the newline after the delimiter, because the command before the body has already ended.
        self.pos = (end + line + 1).min(self.text.len());
        self.bodies[pending.body] = self.body(start, end, pending.quoted, pending.tabs)?;
        Ok(())
    }
}

/// Returns true if a redirection writes to a file, which the script may run later.
pub fn writes_a_file(redirects: &[Redirect]) -> bool {
    let descriptor = |word: &Word| {
        word.exactly()
            .is_some_and(|text| text.bytes().all(|c| c.is_ascii_digit() || c == b'-'))
    };
    let nowhere = |word: &Word| word.exactly() == Some("/dev/null");
    redirects.iter().any(|redirect| {
        let output = matches!(redirect.operator, ">" | ">>" | ">|" | "<>" | "&>" | ">&");
        output
            && !nowhere(&redirect.target)
            && !(redirect.operator == ">&" && descriptor(&redirect.target))
    })
}
