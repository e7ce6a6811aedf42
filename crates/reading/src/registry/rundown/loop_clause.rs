//! Reads `FOR` lines, and replaces the loop variable in scripts.

use crate::{
    LoopClause, LoopSource, MAX_ITERATIONS, MAX_SLOTS, TemplatePlace, is_identifier, shell_places,
    template::{
        shell_quoting::reference,
        shell_roles::{mark, marks},
    },
};
use documents::{TextPlace, parameter_variable};

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
            Some(rest) if rest.starts_with(char::is_whitespace) => {
                (Some(name.to_owned()), rest.trim())
            }
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
                return Err(format!(
                    "a loop over a list needs a variable: write FOR item IN {{{{ {name} }}}}"
                ));
            }
            LoopSource::List {
                name: name.to_owned(),
                window: range.map(|range| bounds(range, false)).transpose()?,
            }
        }
        (Some(range), None) => {
            let (first, last) = bounds(range, true)?;
            LoopSource::Range { first, last }
        }
        (None, None) => return Err(wrong()),
    };
    Ok(LoopClause {
        place,
        variable,
        source,
    })
}

fn list_name(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    is_identifier(name).then_some(name)
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
/// reads the value as a part of the script. A placeholder in a comment stays.
///
/// # Errors
/// Returns a message with the number of the line in the script if the place can't hold the variable.
pub(super) fn replace_variable(source: &str, variable: &str) -> Result<String, (usize, String)> {
    let (mut marked, mut found, mut from) = (String::new(), Vec::new(), 0);
    for (at, _) in source.match_indices("{{") {
        let Some(end) = placeholder(source, at, variable) else {
            continue;
        };
        marked.push_str(&source[from..at]);
        marked.push(mark(found.len()));
        found.push(at..end);
        from = end;
    }
    marked.push_str(&source[from..]);
    if marks(source).next().is_some() || found.len() > MAX_SLOTS {
        let message = format!(
            "the script has a private-use character, or more than {MAX_SLOTS} placeholders: remove them"
        );
        return Err((1, message));
    }
    let name = parameter_variable(variable);
    let places = shell_places(&marked, found.len()).places;
    let (mut out, mut from) = (String::new(), 0);
    for (placeholder, place) in found.into_iter().zip(places) {
        out.push_str(&source[from..placeholder.start]);
        from = placeholder.end;
        if place == Some(TemplatePlace::Comment) {
            out.push_str(&source[placeholder]);
            continue;
        }
        let reference = place.and_then(|place| reference(place, &name));
        out.push_str(&reference.ok_or_else(|| {
            let line = source[..placeholder.start].matches('\n').count() + 1;
            let message = format!(
                "{{{{ {variable} }}}} can't be replaced in this place of the script: write ${name} as for any variable \
                 of the environment"
            );
            (line, message)
        })?);
    }
    Ok(out + &source[from..])
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
