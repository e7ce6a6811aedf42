//! Reads `FOR` lines, and replaces the loop variable in scripts.

use crate::registry::rundown::header::is_identifier;
use crate::registry::rundown::workflow::{LoopClause, LoopSource, MAX_ITERATIONS};
use crate::yaml::TextPlace;

/// Reads the text after `FOR`, for example `item IN {{ items }}` or `i IN 1 TO 5`.
pub(super) fn loop_clause(text: &str, place: TextPlace) -> Result<LoopClause, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "FOR {text} is not valid: write FOR i IN 1 TO 5, FOR item IN {{{{ items }}}}, or FOR item IN 1 TO 5 OF {{{{ \
             items }}}}"
        )
    };
    let (variable, rest) = match text.split_once(char::is_whitespace) {
        Some((name, rest)) if is_identifier(name) => match rest.trim_start().strip_prefix("IN") {
            Some(rest) if rest.starts_with(char::is_whitespace) => (Some(name.to_owned()), rest.trim()),
            _ => return Err(wrong()),
        },
        _ => (None, text),
    };
    let (range, list) = match rest.split_once(" OF ") {
        Some((range, list)) => (Some(range), Some(list)),
        None if rest.starts_with("{{") => (None, Some(rest)),
        None => (Some(rest), None),
    };
    let source = match (range, list) {
        (_, Some(list)) => {
            let name = list_name(list).ok_or_else(wrong)?;
            if variable.is_none() {
                return Err(format!("a loop over a list needs a variable: write FOR item IN {{{{ {name} }}}}"));
            }
            LoopSource::List { name: name.to_owned(), window: range.map(|range| bounds(range, false)).transpose()? }
        }
        (Some(range), None) => {
            let (first, last) = bounds(range, true)?;
            LoopSource::Range { first, last }
        }
        (None, None) => return Err(wrong()),
    };
    Ok(LoopClause { place, variable, source })
}

fn list_name(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    is_identifier(name).then_some(name)
}

/// Reads `1 TO 5`, or `5` for `1 TO 5` if `shorthand` is true.
fn bounds(text: &str, shorthand: bool) -> Result<(u32, u32), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let bound = |word: &str| match word.parse::<u32>() {
        Ok(number) if (1..=MAX_ITERATIONS).contains(&number) && word.bytes().all(|c| c.is_ascii_digit()) => Ok(number),
        _ if word.starts_with("{{") => {
            Err(format!("{word} can't be the bound of a range: write the number, or loop over a list"))
        }
        _ => Err(format!("{word:?} can't be the bound of a range: write a number from 1 to {MAX_ITERATIONS}")),
    };
    match words.as_slice() {
        [first, "TO", last] => Ok((bound(first)?, bound(last)?)),
        [last] if shorthand => Ok((1, bound(last)?)),
        _ => Err(format!("{text:?} is no range: write for example 1 TO 5")),
    }
}

/// Variable of the environment that contains the loop variable.
pub(super) fn environment_name(variable: &str) -> String {
    format!("PARAM_{}", variable.to_ascii_uppercase())
}

/// Replaces `{{ variable }}` in a shell script by the variable of the environment, in double quotes. So the shell never
/// reads the value as a part of the script.
///
/// # Errors
/// Returns a message with the number of the line in the script if the quotes around the place are not certain.
pub(super) fn replace_variable(source: &str, variable: &str) -> Result<String, (usize, String)> {
    let name = environment_name(variable);
    if !contains_placeholder(source, variable) {
        return Ok(source.to_owned());
    }
    let mut out = String::with_capacity(source.len());
    let mut quote = Quote::None;
    let mut at = 0;
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    let unclear = |at: usize, what: &str| {
        let message = format!(
            "{{{{ {variable} }}}} can't be replaced in a script with {what}: write ${name} as for any variable of the \
             environment"
        );
        Err((line(at), message))
    };
    while let Some(c) = source[at..].chars().next() {
        if let Some(end) = placeholder(source, at, variable) {
            match quote {
                Quote::None => out.push_str(&format!("\"${{{name}}}\"")),
                Quote::Double => out.push_str(&format!("${{{name}}}")),
                Quote::Single => out.push_str(&format!("'\"${{{name}}}\"'")),
            }
            at = end;
            continue;
        }
        let rest = &source[at..];
        let begins_word = at == 0 || source[..at].ends_with(|c: char| c.is_whitespace() || ";|&(".contains(c));
        match (quote, c) {
            (Quote::None | Quote::Double, '\\') => {
                let next = rest[1..].chars().next();
                if next == Some('{') {
                    return unclear(at, "a backslash before {{");
                }
                out.push(c);
                out.extend(next);
                at += 1 + next.map_or(0, char::len_utf8);
                continue;
            }
            (Quote::None, '#') if begins_word => {
                let end = rest.find('\n').unwrap_or(rest.len());
                out.push_str(&rest[..end]);
                at += end;
                continue;
            }
            (Quote::None, '$') if rest.starts_with("$'") => return unclear(at, "$'…'"),
            (Quote::None, '<') if rest.starts_with("<<") && !rest.starts_with("<<<") => {
                return unclear(at, "a here-document");
            }
            (Quote::None, '(') if rest.starts_with("((") => return unclear(at, "arithmetic"),
            (Quote::Double, '`') => return unclear(at, "a command substitution in quotes"),
            (Quote::Double, '$') if rest.starts_with("$(") || rest.starts_with("${") => {
                return unclear(at, "a substitution in quotes");
            }
            (Quote::None, '$') if rest.starts_with("${") => return unclear(at, "${…}"),
            (Quote::None, '\'') => quote = Quote::Single,
            (Quote::None, '"') => quote = Quote::Double,
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            _ => {}
        }
        out.push(c);
        at += c.len_utf8();
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

fn contains_placeholder(source: &str, variable: &str) -> bool {
    source.match_indices("{{").any(|(at, _)| placeholder(source, at, variable).is_some())
}

/// Returns the end of the placeholder that begins at this byte.
fn placeholder(source: &str, at: usize, variable: &str) -> Option<usize> {
    let rest = source[at..].strip_prefix("{{")?;
    let inner = rest.trim_start_matches([' ', '\t']).strip_prefix(variable)?;
    let after = inner.trim_start_matches([' ', '\t']).strip_prefix("}}")?;
    Some(source.len() - after.len())
}
