//! Reads the labels of steps: in headings and after `GOTO`.

use crate::{UnitLabel, UnitTarget, is_name};

/// Words that can't be names of steps.
pub const RESERVED: [&str; 19] = [
    "NEXT", "CONTINUE", "COMPLETE", "STOP", "GOTO", "RETRY", "PASS", "FAIL", "YES", "NO", "ALL",
    "ANY", "DEFER", "DELEGATE", "BREAK", "FOR", "IN", "TO", "AT",
];
/// Maximum number of a step.
const MAX_NUMBER: u32 = 999_999;

/// Characters between a label and a title.
pub fn is_separator(c: char) -> bool {
    c.is_whitespace() || ".:—→-)".contains(c)
}

/// Reads the text of an H2 heading into label and title.
pub fn step_header(text: &str) -> Result<(UnitLabel, String), String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if let Some(rest) = text.strip_prefix("{N}") {
        return Ok((UnitLabel::Dynamic, title(rest, text)?));
    }
    if digits > 0 {
        return Ok((
            UnitLabel::Number(number(&text[..digits])?),
            title(&text[digits..], text)?,
        ));
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    let name = word.trim_end_matches(is_separator);
    let label = label(name).ok_or_else(|| {
        format!(
            "the heading {text:?} is no step: write ## 1. Title, ## {{N}}. Title, or ## Name with a name of letters, \
             digits and _"
        )
    })?;
    let rest = text[word.len()..].trim();
    Ok((
        reserved(label)?,
        if rest.is_empty() { name } else { rest }.to_owned(),
    ))
}

fn title(rest: &str, whole: &str) -> Result<String, String> {
    if !rest.starts_with(is_separator) && !rest.is_empty() {
        return Err(format!(
            "the heading {whole:?} is no step: write a space between the number and the title"
        ));
    }
    let title = rest.trim_start_matches(is_separator).trim();
    if title.is_empty() {
        return Err(format!(
            "the step {whole:?} has no title: write a title after the number, as in ## 1. Build"
        ));
    }
    Ok(title.to_owned())
}

/// Reads the text of an H3 heading into the labels of the step and the substep, and the title.
pub fn substep_header(text: &str) -> Result<(UnitTarget, String), String> {
    let text = text.trim();
    let word = text.split_whitespace().next().unwrap_or_default();
    let rest = text[word.len()..].trim();
    let id = word.trim_end_matches(is_separator);
    let Some(target) = target(id).filter(|target| target.substep.is_some()) else {
        return Err(format!(
            "the heading {text:?} is no substep: write the step before the number, as in ### 1.2 Title or ### \
             1.Cleanup Title"
        ));
    };
    let checked = UnitTarget {
        step: reserved(target.step)?,
        substep: target.substep.map(reserved).transpose()?,
    };
    Ok((checked, if rest.is_empty() { id } else { rest }.to_owned()))
}

/// Reads `1`, `1.2`, `{N}`, `{N}.{n}`, `Name` or `Name.1`. Returns `None` for any other text.
pub fn target(text: &str) -> Option<UnitTarget> {
    let read = |text: &str, placeholder: &str| {
        if text == placeholder {
            Some(UnitLabel::Dynamic)
        } else {
            label(text)
        }
    };
    let (step, substep) = match text.split_once('.') {
        Some((step, substep)) => (step, Some(read(substep, "{n}")?)),
        None => (text, None),
    };
    Some(UnitTarget {
        step: read(step, "{N}")?,
        substep,
    })
}

fn label(text: &str) -> Option<UnitLabel> {
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        return number(text).ok().map(UnitLabel::Number);
    }
    is_name(text).then(|| UnitLabel::Name(text.to_owned()))
}

/// Refuses a label that is a word of the format.
pub fn reserved(label: UnitLabel) -> Result<UnitLabel, String> {
    match &label {
        UnitLabel::Name(name) if RESERVED.contains(&name.as_str()) => Err(format!(
            "{name} is a word of the format and can't be the name of a step: choose another name"
        )),
        _ => Ok(label),
    }
}

fn number(digits: &str) -> Result<u32, String> {
    match digits.parse::<u32>() {
        Ok(number) if (1..=MAX_NUMBER).contains(&number) && !digits.starts_with('0') => Ok(number),
        _ => Err(format!(
            "{digits} can't be the number of a step: write a number from 1 to {MAX_NUMBER}"
        )),
    }
}
