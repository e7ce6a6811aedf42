//! Checks patterns of parameters against the closed subset, and compiles them.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex},
};

use documents::locked;
use regex::{Regex, RegexBuilder};

/// Compiled patterns, with their texts as keys. A registry may have thousands of steps, but few are used at the same
/// time. Therefore a pattern is compiled when it is first used, and at most [`MAX_COMPILED`] compiled patterns are
/// kept.
#[derive(Debug, Default)]
pub struct ParameterPatterns(Mutex<HashMap<Box<str>, Arc<Regex>>>);

impl ParameterPatterns {
    /// Checks that the pattern is within the closed subset, and returns the compiled pattern.
    ///
    /// # Errors
    /// Returns the problem in the pattern and the correct form.
    pub fn get(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        let lock = || locked(&self.0);
        if let Some(compiled) = lock().get(pattern) {
            return Ok(Arc::clone(compiled));
        }
        check_text(pattern)?;
        let compiled = Arc::new(compile(pattern)?);
        let mut kept = lock();
        if kept.len() >= MAX_COMPILED {
            kept.clear();
        }
        kept.insert(pattern.into(), Arc::clone(&compiled));
        Ok(compiled)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        locked(&self.0).len()
    }
}

/// Checks that a pattern begins with `^`, ends with `$` and has the same meaning in every regex engine. Look-around,
/// back-references and flags are refused. Alternatives outside parentheses are refused too, because each alternative of
/// `^a|b$` is anchored on one side only.
fn check_text(pattern: &str) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern is longer than {MAX_PATTERN_BYTES} bytes: shorten the pattern"
        ));
    }
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'))
        .filter(|inner| inner.chars().rev().take_while(|c| *c == '\\').count() % 2 == 0)
        .ok_or(
            "the pattern must begin with ^ and end with $, so that the pattern matches the whole value: write ^...$",
        )?;
    let chars: Vec<char> = inner.chars().collect();
    let (mut depth, mut in_class, mut at) = (0_usize, false, 0);
    while at < chars.len() {
        match chars[at] {
            '\\' => {
                if chars
                    .get(at + 1)
                    .is_some_and(|c| c.is_ascii_digit() || *c == 'k')
                    && !in_class
                {
                    return Err("the linear-time engine does not support back-references: write the pattern without \
                                back-references"
                        .to_owned());
                }
                if chars.get(at + 1) == Some(&'a') && !in_class {
                    return Err("not every engine supports the escape \\a: write \\x07".to_owned());
                }
                at += 1;
            }
            // Regex engines disagree about nested classes, POSIX classes and set operations, so these characters are
            // refused inside brackets.
            '[' if in_class => {
                return Err(
                    "engines disagree about the meaning of [ inside brackets: write \\[".to_owned(),
                );
            }
            c @ ('&' | '-' | '~') if in_class && chars.get(at + 1) == Some(&c) => {
                return Err(format!(
                    "engines disagree about the meaning of {c}{c} inside brackets: write \\{c}"
                ));
            }
            // In ECMA-262, `[]` is an empty class, but other engines read `]` as the first member of the class.
            '[' if chars.get(at + 1 + usize::from(chars.get(at + 1) == Some(&'^')))
                == Some(&']') =>
            {
                return Err(
                    "engines disagree about the meaning of ] directly after [ or [^: write \\]"
                        .to_owned(),
                );
            }
            '[' => in_class = true,
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '(' => {
                depth += 1;
                if chars.get(at + 1) == Some(&'?') {
                    match (chars.get(at + 2), chars.get(at + 3)) {
                        (Some(':'), _) => {}
                        (Some('=' | '!'), _) | (Some('<'), Some('=' | '!')) => {
                            return Err(
                                "the linear-time engine does not support look-around: write the pattern without \
                                        look-around"
                                    .to_owned(),
                            );
                        }
                        _ => {
                            return Err(
                                "only plain groups, ( and (?:, are supported: remove flags and names".to_owned()
                            );
                        }
                    }
                }
            }
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                return Err(
                    "an alternative outside parentheses is anchored only at one end: write ^(?:a|b)$".to_owned()
                );
            }
            '^' | '$' => {
                return Err(
                    "^ and $ are allowed only at the two ends: write \\^ or \\$ for the character"
                        .to_owned(),
                );
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Compiles the pattern with the meaning of ECMA-262. The original pattern is compiled too, so that the size limit
/// applies to both forms.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| {
                let reason = error.to_string();
                format!(
                    "the pattern can't be compiled: {}",
                    reason
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: ")
                )
            })
    };
    let written = build(pattern)?;
    match translated(pattern) {
        Cow::Borrowed(_) => Ok(written),
        Cow::Owned(text) => build(&text),
    }
}

/// Replaces `\d`, `\w` and `\s` with the ASCII classes of ECMA-262, because the engine's own classes contain all of
/// Unicode.
fn translated(pattern: &str) -> Cow<'_, str> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    let mut changed = false;
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        let class = match escaped {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('w') => "[A-Za-z0-9_]",
            Some('W') => "[^A-Za-z0-9_]",
            Some('s') => SPACE,
            Some('S') => NO_SPACE,
            _ => {
                text.push(c);
                text.extend(escaped);
                continue;
            }
        };
        text.push_str(class);
        changed = true;
    }
    if changed {
        Cow::Owned(text)
    } else {
        Cow::Borrowed(pattern)
    }
}

/// Characters that are white space or line ends in ECMA-262.
const SPACE: &str =
    r"[\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const NO_SPACE: &str =
    r"[^\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const MAX_PATTERN_BYTES: usize = 512;
/// Maximum memory of a compiled pattern, in bytes, because a verifier also compiles patterns of unknown authors.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// Maximum number of compiled patterns. Each needs about 50 KB of memory.
const MAX_COMPILED: usize = 64;
