//! Glob patterns over refs' paths.
//!
//! picomatch's documented meaning, on a linear-time engine: `*` any characters of a segment, `**` (alone in its
//! segment) any number of segments, `?` one character, `[a-z]` and `[^a-z]` one of or none of a set, `{a,b}` either,
//! `\` takes the next character as it is. A segment that begins with a dot is matched only by a pattern that
//! writes the dot. `dir/**` matches `dir` too. What picomatch reads differently from shells (`[!a]`, extglobs,
//! ranges in braces) is refused by name, never guessed at.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// A pattern that can't be read, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern, cut to 80 characters.
    pub pattern: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern {:?}: {}", self.pattern, self.message)
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refuse = |message: String| PatternError { pattern: text.chars().take(80).collect(), message };
        let regex = translate(text).map_err(&refuse)?;
        let regex = RegexBuilder::new(&regex)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|_| refuse("it is too large when compiled: split it".to_owned()))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches `path`, whole and case-sensitive, in time linear in its length. A leading `./` does not count.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path.strip_prefix("./").unwrap_or(path))
    }
}

/// One thing of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    Star,
    Any,
    /// The inside of a regex class, and whether it is negated.
    Class(String, bool),
    Slash,
}

fn translate(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty: write ** to match everything".to_owned());
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!("it is longer than {MAX_PATTERN_BYTES} bytes: shorten it"));
    }
    if text.starts_with('!') {
        return Err("negation (a leading !) is not read: let a later override undo an earlier one".to_owned());
    }
    let chars: Vec<char> = text.chars().collect();
    let alternatives = expand(&chars)?;
    let mut regexes = Vec::with_capacity(alternatives.len());
    for alternative in &alternatives {
        regexes.push(path_regex(alternative)?);
    }
    Ok(format!(r"(?s)\A(?:{})\z", regexes.join("|")))
}

/// Every way through the braces, each as tokens.
fn expand(chars: &[char]) -> Result<Vec<Vec<Token>>, String> {
    let (ways, used) = sequence(chars, 0, 0)?;
    if used < chars.len() {
        return Err(format!("a `{}` without its opening brace: write \\{}", chars[used], chars[used]));
    }
    Ok(ways)
}

/// Reads up to the end, or inside braces up to a `,` or `}`.
fn sequence(chars: &[char], mut at: usize, depth: usize) -> Result<(Vec<Vec<Token>>, usize), String> {
    let mut ways: Vec<Vec<Token>> = vec![Vec::new()];
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        let token = match chars[at] {
            '\\' => {
                let escaped = next.ok_or("it ends in a lone backslash: write \\\\")?;
                at += 1;
                Token::Literal(escaped)
            }
            '?' | '*' | '+' | '@' | '!' if next == Some('(') => {
                return Err(format!(
                    "extended globs ({}(…)) are not read: use {{a,b}} or several overrides",
                    chars[at]
                ));
            }
            '(' | ')' | '|' => {
                return Err(format!("groups with ( | ) are not read: use {{a,b}}, or write \\{}", chars[at]));
            }
            '*' if next == Some('*') && (depth > 0 || (at > 0 && chars[at - 1] == '}')) => {
                return Err(BESIDE_BRACES.to_owned());
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '/' => Token::Slash,
            '[' => {
                let (class, used) = class(chars, at)?;
                at = used;
                class
            }
            '{' if at > 1 && chars[at - 2..at] == ['*', '*'] => return Err(BESIDE_BRACES.to_owned()),
            '{' => {
                let (inner, used) = braces(chars, at, depth)?;
                ways = ways
                    .iter()
                    .flat_map(|way| inner.iter().map(move |tail| [way.as_slice(), tail.as_slice()].concat()))
                    .collect();
                if ways.len() > MAX_ALTERNATIVES {
                    return Err(format!("its braces make more than {MAX_ALTERNATIVES} alternatives: split it"));
                }
                at = used;
                continue;
            }
            '}' => return Ok((ways, at)),
            ',' if depth > 0 => return Ok((ways, at)),
            other => Token::Literal(other),
        };
        for way in &mut ways {
            way.push(token.clone());
        }
        at += 1;
    }
    Ok((ways, at))
}

/// `{a,b}` at `at`: its alternatives and where the pattern goes on.
fn braces(chars: &[char], at: usize, depth: usize) -> Result<(Vec<Vec<Token>>, usize), String> {
    if depth >= MAX_BRACES_DEPTH {
        return Err(format!("braces are nested deeper than {MAX_BRACES_DEPTH}: split it"));
    }
    let mut inner = Vec::new();
    let mut alternatives = 0;
    let mut begin = at + 1;
    loop {
        let (ways, end) = sequence(chars, begin, depth + 1)?;
        if chars[begin..end].windows(2).any(|pair| pair == ['.', '.']) {
            return Err("ranges ({1..3}) are not read: write the alternatives out, or [1-3]".to_owned());
        }
        inner.extend(ways);
        alternatives += 1;
        match chars.get(end) {
            Some(',') => begin = end + 1,
            Some(_) if alternatives == 1 => {
                return Err("braces with one alternative are not read: leave them out, or write \\{ and \\}".to_owned());
            }
            Some(_) => return Ok((inner, end + 1)),
            None => return Err("a `{` is never closed: write } or \\{".to_owned()),
        }
        if inner.len() > MAX_ALTERNATIVES {
            return Err(format!("its braces make more than {MAX_ALTERNATIVES} alternatives: split it"));
        }
    }
}

/// `[…]` at `at`: a class, and the place of its closing bracket.
fn class(chars: &[char], at: usize) -> Result<(Token, usize), String> {
    let mut inside = at + 1;
    let negated = chars.get(inside) == Some(&'^');
    if chars.get(inside) == Some(&'!') {
        return Err("[!…] means different things to shells and to picomatch: write [^…], or [\\!…]".to_owned());
    }
    inside += usize::from(negated);
    let mut members: Vec<(char, bool)> = Vec::new();
    let first = inside;
    let end = loop {
        match chars.get(inside) {
            None => return Err("a `[` is never closed: write ] or \\[".to_owned()),
            Some(']') if inside > first => break inside,
            Some('[') if matches!(chars.get(inside + 1), Some(':' | '.' | '=')) => {
                return Err("POSIX classes ([:alpha:]) are not read: write the range, such as a-z".to_owned());
            }
            Some('/') => return Err("a class can't match the slash between segments: leave / out".to_owned()),
            Some('\\') => {
                let escaped = *chars.get(inside + 1).ok_or("it ends in a lone backslash: write \\\\")?;
                members.push((escaped, true));
                inside += 1;
            }
            Some(&other) => members.push((other, false)),
        }
        inside += 1;
    };
    let mut set = String::new();
    let mut i = 0;
    while i < members.len() {
        let (low, _) = members[i];
        match (members.get(i + 1), members.get(i + 2)) {
            (Some(('-', false)), Some(&(high, _))) => {
                if low > high {
                    return Err(format!("the range {low}-{high} is empty: write {high}-{low}"));
                }
                set.push_str(&format!("{}-{}", class_char(low), class_char(high)));
                i += 3;
            }
            _ => {
                set.push_str(&class_char(low));
                i += 1;
            }
        }
    }
    Ok((Token::Class(set, negated), end))
}

fn class_char(c: char) -> String {
    format!("\\x{{{:x}}}", u32::from(c))
}

/// The regex of a pattern without braces.
fn path_regex(tokens: &[Token]) -> Result<String, String> {
    let mut segments: Vec<&[Token]> = tokens.split(|token| *token == Token::Slash).collect();
    if segments.first() == Some(&&[Token::Literal('.')][..]) && segments.len() > 1 {
        segments.remove(0);
    }
    let globstar = |segment: &[Token]| segment == [Token::Star, Token::Star];
    segments.dedup_by(|a, b| globstar(a) && globstar(b));
    let mut regex = String::new();
    let last = segments.len() - 1;
    for (index, segment) in segments.iter().enumerate() {
        if segment.is_empty() {
            return Err("it has an empty segment (a leading, trailing or double slash): a path never has".to_owned());
        }
        if [&[Token::Literal('.')][..], &[Token::Literal('.'), Token::Literal('.')][..]].contains(segment) {
            return Err("it has a segment . or ..: a path never has".to_owned());
        }
        match (globstar(segment), index == last) {
            (true, true) if index == 0 => regex.push_str(&format!("{SEGMENT}(?:/{SEGMENT})*")),
            (true, true) => {
                // As picomatch: `dir/**` takes in `dir`, `dir*/**` only what lies below.
                let after_star = segments[index - 1].last() == Some(&Token::Star);
                regex.push_str(&format!("(?:/{SEGMENT}){}", if after_star { '+' } else { '*' }));
            }
            (true, false) if index == 0 => regex.push_str(&format!("(?:{SEGMENT}/)*")),
            (true, false) => regex.push_str(&format!("/(?:{SEGMENT}/)*")),
            (false, _) => {
                if index > 0 && !globstar(segments[index - 1]) {
                    regex.push('/');
                }
                regex.push_str(&segment_regex(segment));
            }
        }
    }
    Ok(regex)
}

/// The regex of one segment: a wildcard at its beginning never matches a dot there.
fn segment_regex(tokens: &[Token]) -> String {
    match tokens {
        [Token::Star, ..] => {
            let rest = &tokens[tokens.iter().take_while(|token| **token == Token::Star).count()..];
            if rest.is_empty() {
                return SEGMENT.to_owned();
            }
            let longer = format!("{SEGMENT}{}", inner_regex(rest));
            match (&rest[0], &rest[1..]) {
                (Token::Literal('.'), _) => longer,
                (Token::Any, tail) => format!("(?:{longer}|[^./]{})", inner_regex(tail)),
                (Token::Class(set, negated), tail) => {
                    format!("(?:{longer}|{}{})", class_regex(set, *negated, true), inner_regex(tail))
                }
                _ => format!("(?:{longer}|{})", inner_regex(rest)),
            }
        }
        [Token::Any, tail @ ..] => format!("[^./]{}", inner_regex(tail)),
        [Token::Class(set, negated), tail @ ..] => {
            format!("{}{}", class_regex(set, *negated, *negated), inner_regex(tail))
        }
        _ => inner_regex(tokens),
    }
}

fn inner_regex(tokens: &[Token]) -> String {
    let mut regex = String::new();
    for token in tokens {
        match token {
            Token::Literal(c) => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Token::Star => regex.push_str("[^/]*"),
            Token::Any => regex.push_str("[^/]"),
            Token::Class(set, negated) => regex.push_str(&class_regex(set, *negated, false)),
            Token::Slash => {}
        }
    }
    regex
}

fn class_regex(set: &str, negated: bool, without_dot: bool) -> String {
    format!("[[{}{set}]&&[^/{}]]", if negated { "^" } else { "" }, if without_dot { "." } else { "" })
}

const BESIDE_BRACES: &str =
    "** in or beside braces means different things to readers: write one pattern for each alternative";
/// A segment that does not begin with a dot.
const SEGMENT: &str = "[^./][^/]*";
/// A pattern is written by a person; more is a mistake or an attack on the compiler.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Bounds what nested braces multiply to.
const MAX_ALTERNATIVES: usize = 64;
/// Bounds the recursion over braces.
const MAX_BRACES_DEPTH: usize = 8;
/// Bounds the compiled program.
const MAX_COMPILED_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths and, for each pattern, which of them picomatch 4 matches (options left alone).
    const PATHS: &str = include_str!("../../tests/conformance/globs.json");

    #[test]
    fn patterns_mean_what_picomatch_says() {
        let vectors: serde_json::Value = serde_json::from_str(PATHS).expect("vectors are JSON");
        let paths: Vec<&str> = vectors["paths"].as_array().expect("paths").iter().filter_map(|p| p.as_str()).collect();
        let table = vectors["patterns"].as_object().expect("patterns");
        assert!(table.len() > 50 && paths.len() > 50);
        for (pattern, expected) in table {
            let compiled = Pattern::parse(pattern).expect(pattern);
            let expected: Vec<&str> = expected.as_array().expect("a list").iter().filter_map(|p| p.as_str()).collect();
            let found: Vec<&str> = paths.iter().copied().filter(|path| compiled.matches(path)).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused_by_name() {
        for (pattern, word) in [
            ("", "empty"),
            ("!a", "negation"),
            ("@(a|b)", "extended"),
            ("a!(b)", "extended"),
            ("*(a)", "extended"),
            ("+(a)", "extended"),
            ("?(a)", "extended"),
            ("(a|b)", "groups"),
            ("a|b", "groups"),
            ("[!a]", "[^"),
            ("[[:alpha:]]", "POSIX"),
            ("[a", "never closed"),
            ("[]", "never closed"),
            ("[z-a]", "empty"),
            ("[a/b]", "slash"),
            ("{a", "never closed"),
            ("a}", "opening"),
            ("{a}", "one alternative"),
            ("{1..3}", "ranges"),
            ("{**,x}/c", "beside braces"),
            ("**{b,c}", "beside braces"),
            ("{b,c}**", "beside braces"),
            ("a\\", "backslash"),
            ("a//b", "empty segment"),
            ("/a", "empty segment"),
            ("a/", "empty segment"),
            ("a/../b", "segment . or .."),
            (".", "segment . or .."),
            (&"a".repeat(513), "longer"),
            (&"{a,b}".repeat(7), "alternatives"),
            (&format!("{}a,b{}", "{".repeat(9), "}".repeat(9)), "nested"),
        ] {
            let refusal = Pattern::parse(pattern).expect_err(pattern);
            assert!(refusal.message.contains(word), "{pattern}: {refusal}");
        }
    }

    #[test]
    fn dots_are_matched_only_when_written() {
        let matches = |pattern: &str, path: &str| Pattern::parse(pattern).expect(pattern).matches(path);
        for (pattern, path) in
            [("*", ".a"), ("?a", ".a"), ("[^b]a", ".a"), ("**", "a/.b"), ("*[^x]a", ".a"), ("*.v2", ".v2")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [(".*", ".a"), ("[.]a", ".a"), ("a*", "a.b"), ("**/.b", "a/.b"), ("./a", "./a")] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
        #[test]
        fn no_pattern_panics_and_a_literal_matches_itself(text in "[a-z.*?/{},\\[\\]\\\\!^()|-]{0,24}", path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}") {
            let _ = Pattern::parse(&text).map(|pattern| pattern.matches(&path));
            proptest::prop_assert!(Pattern::parse(&path).is_ok_and(|pattern| pattern.matches(&path)));
            proptest::prop_assert!(Pattern::parse("**").is_ok_and(|pattern| pattern.matches(&path)));
        }
    }
}
