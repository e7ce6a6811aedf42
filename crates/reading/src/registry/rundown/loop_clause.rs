//! Reads `FOR` lines, and replaces the loop variable in scripts.

use crate::{LoopClause, LoopSource, MAX_ITERATIONS, TextPlace, is_name};
use documents::parameter_variable;

/// Reads the text after `FOR`, for example `item IN {{ items }}` or `i IN 1 TO 5`.
pub fn loop_clause(text: &str, place: TextPlace) -> Result<LoopClause, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "FOR {text} is not valid: write FOR i IN 1 TO 5, FOR item IN {{{{ items }}}}, or FOR item IN 1 TO 5 OF {{{{ \
             items }}}}"
        )
    };
    let (variable, rest) = match text.split_once(char::is_whitespace) {
        Some((name, rest)) if is_name(name) => match rest.trim_start().strip_prefix("IN") {
            Some(rest) if rest.starts_with(char::is_whitespace) => {
                (Some(name.to_owned()), rest.trim())
            }
            _ => return Err(wrong()),
        },
        _ => (None, text),
    };
    let source = match rest.split_once(" OF ") {
        None if !rest.starts_with("{{") => {
            let (first, last) = bounds(rest, true)?;
            LoopSource::Range { first, last }
        }
        parts => {
            let (range, list) = parts.map_or((None, rest), |(range, list)| (Some(range), list));
            let name = list_name(list).ok_or_else(wrong)?;
            if variable.is_none() {
                return Err(format!(
                    "a loop over a list needs a variable: write FOR item IN {{{{ {name} }}}}"
                ));
            }
            LoopSource::List {
                name: name.to_owned(),
                window: range.map(|range| bounds(range, false)).transpose()?,
            }
        }
    };
    Ok(LoopClause {
        place,
        variable,
        source,
    })
}

fn list_name(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    is_name(name).then_some(name)
}

/// Reads `1 TO 5`, or `5` for `1 TO 5` if `shorthand` is true.
fn bounds(text: &str, shorthand: bool) -> Result<(u32, u32), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let bound = |word: &str| match word.parse::<u32>() {
        Ok(number)
            if (1..=MAX_ITERATIONS).contains(&number)
                && word.bytes().all(|c| c.is_ascii_digit()) =>
        {
            Ok(number)
        }
        _ if word.starts_with("{{") => Err(format!(
            "{word} can't be the bound of a range: write the number, or loop over a list"
        )),
        _ => Err(format!(
            "{word:?} can't be the bound of a range: write a number from 1 to {MAX_ITERATIONS}"
        )),
    };
    match words.as_slice() {
        [first, "TO", last] => Ok((bound(first)?, bound(last)?)),
        [last] if shorthand => Ok((1, bound(last)?)),
        _ => Err(format!("{text:?} is no range: write for example 1 TO 5")),
    }
}

/// Replaces `{{ variable }}` in a shell script by the variable of the environment, in double quotes. So the shell never
/// reads the value as a part of the script.
///
/// # Errors
/// Returns a message with the number of the line in the script if the quotes around the place are not certain.
pub fn replace_variable(source: &str, variable: &str) -> Result<String, (usize, String)> {
    if !contains_placeholder(source, variable) {
        return Ok(source.to_owned());
    }
    let mut reader = QuoteReader {
        source,
        at: 0,
        out: String::new(),
        quote: Quote::None,
        parentheses: 0,
        outer: Vec::new(),
    };
    let name = parameter_variable(variable);
    while reader.at < source.len() {
        if let Some(end) = placeholder(source, reader.at, variable) {
            reader.out.push_str(&match reader.quote {
                Quote::None => format!("\"${{{name}}}\""),
                Quote::Double => format!("${{{name}}}"),
                Quote::Single => format!("'\"${{{name}}}\"'"),
            });
            reader.at = end;
        } else if let Err(what) = reader.step() {
            let line = source[..reader.at].matches('\n').count() + 1;
            let message = format!(
                "{{{{ {variable} }}}} can't be replaced in a script with {what}: write ${name} as for any variable of \
                 the environment"
            );
            return Err((line, message));
        }
    }
    if reader.quote == Quote::None && reader.outer.is_empty() {
        return Ok(reader.out);
    }
    Err((
        1,
        format!(
            "the quotes or parentheses of the script are not closed: close them, or write ${name}"
        ),
    ))
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Copies a script and notes in which quotes each place is.
struct QuoteReader<'a> {
    source: &'a str,
    at: usize,
    out: String,
    quote: Quote,
    /// Open parentheses in the innermost command substitution.
    parentheses: usize,
    /// Quotes and open parentheses around each open command substitution.
    outer: Vec<(Quote, usize)>,
}

impl QuoteReader<'_> {
    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.source[self.at..self.at + bytes]);
        self.at += bytes;
    }

    /// Copies the next part of the script. Returns the name of a part in which quotes are not certain.
    fn step(&mut self) -> Result<(), &'static str> {
        let rest = &self.source[self.at..];
        let Some(c) = rest.chars().next() else {
            return Ok(());
        };
        match (self.quote, c) {
            (Quote::Single, '\'') | (Quote::Double, '"') => self.quote = Quote::None,
            (Quote::Single, _) => {}
            (_, '\\') => {
                let next = rest[1..].chars().next();
                if next == Some('{') {
                    return Err("a backslash before {{");
                }
                self.copy(1 + next.map_or(0, char::len_utf8));
                return Ok(());
            }
            (_, '$') => return self.dollar(rest),
            (Quote::Double, '`') => return Err("a backquote in quotes"),
            (Quote::Double, _) => {}
            (Quote::None, '#') if self.begins_word() => {
                self.copy(rest.find('\n').unwrap_or(rest.len()));
                return Ok(());
            }
            (Quote::None, '<') if rest.starts_with("<<<") => {
                self.copy(3);
                return Ok(());
            }
            (Quote::None, '<') if rest.starts_with("<<") => return Err("a here-document"),
            (Quote::None, '(') if rest.starts_with("((") => return Err("arithmetic"),
            (Quote::None, '(') => self.parentheses += 1,
            (Quote::None, ')') if self.parentheses > 0 => self.parentheses -= 1,
            (Quote::None, ')') => {
                if let Some((quote, parentheses)) = self.outer.pop() {
                    (self.quote, self.parentheses) = (quote, parentheses);
                }
            }
            (Quote::None, '\'') => self.quote = Quote::Single,
            (Quote::None, '"') => self.quote = Quote::Double,
            (Quote::None, _) => {}
        }
        self.copy(c.len_utf8());
        Ok(())
    }

    fn dollar(&mut self, rest: &str) -> Result<(), &'static str> {
        if rest.starts_with("$((") || rest.starts_with("$[") {
            return Err("arithmetic");
        }
        if rest.starts_with("$'") && self.quote == Quote::None {
            return Err("$'...'");
        }
        if let Some(inner) = rest.strip_prefix("${") {
            let name = inner
                .bytes()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == b'_')
                .count();
            if name == 0 || !inner[name..].starts_with('}') {
                return Err("${...} with more than a name");
            }
            self.copy(name + 3);
        } else if rest.starts_with("$(") {
            self.copy(2);
            self.outer.push((self.quote, self.parentheses));
            (self.quote, self.parentheses) = (Quote::None, 0);
        } else {
            self.copy(1);
        }
        Ok(())
    }

    fn begins_word(&self) -> bool {
        self.at == 0
            || self.source[..self.at].ends_with(|c: char| c.is_whitespace() || ";|&()".contains(c))
    }
}

fn contains_placeholder(source: &str, variable: &str) -> bool {
    source
        .match_indices("{{")
        .any(|(at, _)| placeholder(source, at, variable).is_some())
}

/// Returns the end of the placeholder that begins at this byte.
fn placeholder(source: &str, at: usize, variable: &str) -> Option<usize> {
    let rest = source[at..].strip_prefix("{{")?;
    let inner = rest
        .trim_start_matches([' ', '\t'])
        .strip_prefix(variable)?;
    let after = inner.trim_start_matches([' ', '\t']).strip_prefix("}}")?;
    Some(source.len() - after.len())
}
