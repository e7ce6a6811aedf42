//! Glob patterns over paths and names.
//!
//! The syntax is that of the library picomatch. The regex engine needs only linear time. `*` matches any characters
//! within one segment. `**` as a whole segment matches any number of segments. `?` matches one character. `[a-z]`
//! matches one character in the set, and `[^a-z]` matches one character outside the set. `{a,b}` matches `a` or `b`.
//! `\` escapes the next character. `dir/**` also matches `dir`. [`LeadingDots`] decides whether a wildcard matches a
//! leading dot. Syntax that picomatch and shells interpret differently (`[!a]`, extglobs, ranges in braces) is refused
//! with an error.

use regex::bytes::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
    ways: usize,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// Exact text (in lower case if the pattern ignores case).
    Literal(String, CaseSensitivity),
    Glob(Regex),
}

/// Rule for a wildcard at the beginning of a segment, compared with a segment that begins with a dot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LeadingDots {
    /// The pattern must contain the leading dot, as in picomatch by default.
    Written,
    /// A wildcard matches a leading dot, as with picomatch's `dot: true`, for rules that must include hidden
    /// directories.
    Any,
}

/// Case sensitivity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CaseSensitivity {
    /// Case-sensitive.
    Counts,
    /// Letter case is ignored, as with picomatch's `nocase: true`.
    Any,
}

/// Problem in a malformed pattern.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("pattern {pattern:?}: {message}")]
pub struct PatternError {
    /// The pattern, cut to 80 characters.
    pub pattern: String,
    /// The problem and its correction.
    pub message: String,
}

impl PatternError {
    /// Creates the error for `pattern`.
    pub fn new(pattern: &str, message: impl Into<String>) -> Self {
        Self {
            pattern: pattern.chars().take(80).collect(),
            message: message.into(),
        }
    }
}

impl Pattern {
    /// Parses a pattern with picomatch's default options.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_with(text, LeadingDots::Written, CaseSensitivity::Counts)
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn parse_with(
        text: &str,
        dots: LeadingDots,
        case: CaseSensitivity,
    ) -> Result<Self, PatternError> {
        let wrong = |message| PatternError::new(text, message);
        let (alternatives, regexes) = translate(text, dots).map_err(wrong)?;
        let ways = alternatives.len();
        let literal = match alternatives.as_slice() {
            [only] => literal(only),
            _ => None,
        };
        let matcher = match literal {
            Some(literal) => Matcher::Literal(case.fold(literal), case),
            None => RegexBuilder::new(&format!(r"(?s)\A(?:{})\z", regexes.join("|")))
                .size_limit(MAX_COMPILED_BYTES)
                .case_insensitive(case == CaseSensitivity::Any)
                .build()
                .map(Matcher::Glob)
                .map_err(|_| {
                    wrong("the compiled pattern is too large: write several patterns".to_owned())
                })?,
        };
        Ok(Self {
            text: text.to_owned(),
            matcher,
            ways,
        })
    }

    /// Returns a pattern that matches only `text`, even if `text` contains wildcards.
    pub fn literal(text: &str, case: CaseSensitivity) -> Self {
        Self {
            text: text.to_owned(),
            matcher: Matcher::Literal(case.fold(text.to_owned()), case),
            ways: 1,
        }
    }

    /// Returns the text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the only text that the pattern matches, or `None` if the pattern has wildcards. If the pattern ignores
    /// case, the text is in lower case.
    pub fn only(&self) -> Option<&str> {
        if let Matcher::Literal(literal, _) = &self.matcher {
            Some(literal)
        } else {
            None
        }
    }

    /// Returns the number of alternatives that the braces in the pattern create. The time for a match grows with this
    /// number.
    pub fn ways(&self) -> usize {
        self.ways
    }

    /// Returns true if the pattern matches the whole `path`, in time linear in the path's length. A leading `./` is
    /// ignored.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.strip_prefix("./").unwrap_or(path);
        match &self.matcher {
            Matcher::Literal(literal, CaseSensitivity::Counts) => literal == path,
            Matcher::Literal(literal, CaseSensitivity::Any) => *literal == path.to_lowercase(),
            Matcher::Glob(regex) => regex.is_match(path.as_bytes()),
        }
    }
}

impl CaseSensitivity {
    fn fold(self, text: String) -> String {
        if self == Self::Any {
            text.to_lowercase()
        } else {
            text
        }
    }
}

const ESCAPED_SLASH: &str = "a slash always separates segments: write / without a backslash";

/// One part of an alternative of a pattern.
#[derive(Clone, PartialEq)]
pub enum PatternPart {
    Literal(char),
    Star,
    Any,
    /// Ranges of a class. The second value is true if the class is negated.
    Class(Vec<(char, char)>, bool),
    Slash,
}

/// The parts of each alternative that the braces of a pattern create.
type Alternatives = Vec<Vec<PatternPart>>;

/// Returns the alternatives of a pattern, and a regex for each of them.
fn translate(text: &str, dots: LeadingDots) -> Result<(Alternatives, Vec<String>), String> {
    if text.is_empty() {
        return Err("the pattern is empty: write ** to match everything".to_owned());
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern is longer than {MAX_PATTERN_BYTES} bytes: shorten the pattern"
        ));
    }
    if text.starts_with('!') {
        return Err(
            "negation (a leading !) is not supported: use an allow list, a deny list or a later override".to_owned()
        );
    }
    let alternatives = alternatives(text)?;
    let mut regexes = Vec::with_capacity(alternatives.len());
    for alternative in &alternatives {
        regexes.push(path_regex(alternative, dots)?);
    }
    Ok((alternatives, regexes))
}

/// Returns the text of the tokens, or `None` if there is a wildcard.
fn literal(tokens: &[PatternPart]) -> Option<String> {
    let text: Option<String> = tokens
        .iter()
        .map(|token| match token {
            PatternPart::Literal(c) => Some(*c),
            PatternPart::Slash => Some('/'),
            PatternPart::Star | PatternPart::Any | PatternPart::Class(..) => None,
        })
        .collect();
    text.map(|text| text.strip_prefix("./").map(str::to_owned).unwrap_or(text))
}

/// Returns the alternatives that the braces of a pattern create. Each alternative is a list of tokens.
///
/// # Errors
/// Returns the problem in the braces or in a class.
pub fn alternatives(text: &str) -> Result<Alternatives, String> {
    let chars: Vec<char> = text.chars().collect();
    let (ways, used) = sequence(&chars, 0, 0)?;
    if used < chars.len() {
        return Err(format!(
            "a `{}` has no opening brace: write \\{}",
            chars[used], chars[used]
        ));
    }
    Ok(ways)
}

/// Reads tokens up to the end of the pattern, or inside braces up to a `,` or `}`.
fn sequence(chars: &[char], mut at: usize, depth: usize) -> Result<(Alternatives, usize), String> {
    let mut ways: Alternatives = vec![Vec::new()];
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        let token = match chars[at] {
            '\\' => {
                let escaped = next.ok_or("the pattern ends with a single backslash: write \\\\")?;
                if escaped == '/' {
                    return Err(ESCAPED_SLASH.to_owned());
                }
                at += 1;
                PatternPart::Literal(escaped)
            }
            '?' | '*' | '+' | '@' | '!' if next == Some('(') => {
                return Err(format!(
                    "extended globs ({}(...)) are not supported: use {{a,b}} or several overrides",
                    chars[at]
                ));
            }
            '(' | ')' | '|' => {
                return Err(format!(
                    "groups with ( | ) are not supported: use {{a,b}}, or write \\{}",
                    chars[at]
                ));
            }
            '*' if next == Some('*') && (depth > 0 || (at > 0 && chars[at - 1] == '}')) => {
                return Err(BESIDE_BRACES.to_owned());
            }
            '*' => PatternPart::Star,
            '?' => PatternPart::Any,
            '/' => PatternPart::Slash,
            '[' => {
                let (class, used) = class(chars, at)?;
                at = used;
                class
            }
            '{' if at > 1 && chars[at - 2..at] == ['*', '*'] => {
                return Err(BESIDE_BRACES.to_owned());
            }
            '{' => {
                let (inner, used) = braces(chars, at, depth)?;
                ways = ways
                    .iter()
                    .flat_map(|way| {
                        inner
                            .iter()
                            .map(move |tail| [way.as_slice(), tail.as_slice()].concat())
                    })
                    .collect();
                if ways.len() > MAX_ALTERNATIVES {
                    return Err(format!(
                        "the braces make more than {MAX_ALTERNATIVES} alternatives: write several patterns"
                    ));
                }
                at = used;
                continue;
            }
            '}' => return Ok((ways, at)),
            ',' if depth > 0 => return Ok((ways, at)),
            other => PatternPart::Literal(other),
        };
        for way in &mut ways {
            way.push(token.clone());
        }
        at += 1;
    }
    Ok((ways, at))
}

/// Reads the brace list at the index `at`, and returns the alternatives and the index after the closing brace.
fn braces(chars: &[char], at: usize, depth: usize) -> Result<(Alternatives, usize), String> {
    if depth >= MAX_BRACES_DEPTH {
        return Err(format!(
            "braces are nested deeper than {MAX_BRACES_DEPTH} levels: write several patterns"
        ));
    }
    let mut inner = Vec::new();
    let mut alternatives = 0;
    let mut begin = at + 1;
    loop {
        let (ways, end) = sequence(chars, begin, depth + 1)?;
        if chars[begin..end].windows(2).any(|pair| pair == ['.', '.']) {
            return Err("ranges ({1..3}) are not supported: write {1,2,3} or [1-3]".to_owned());
        }
        inner.extend(ways);
        alternatives += 1;
        match chars.get(end) {
            Some(',') => begin = end + 1,
            Some(_) if alternatives == 1 => {
                return Err(
                    "braces with one alternative are not supported: remove the braces, or write \\{ and \\}".to_owned()
                );
            }
            Some(_) => return Ok((inner, end + 1)),
            None => return Err("a `{` is not closed: write } or \\{".to_owned()),
        }
        if inner.len() > MAX_ALTERNATIVES {
            return Err(format!(
                "the braces make more than {MAX_ALTERNATIVES} alternatives: write several patterns"
            ));
        }
    }
}

/// Reads the class `[…]` at the index `at`, and returns the class and the index of its closing bracket.
fn class(chars: &[char], at: usize) -> Result<(PatternPart, usize), String> {
    let mut inside = at + 1;
    let negated = chars.get(inside) == Some(&'^');
    if chars.get(inside) == Some(&'!') {
        return Err(
            "shells and picomatch disagree about the meaning of [!...]: write [^...], or [\\!...]"
                .to_owned(),
        );
    }
    inside += usize::from(negated);
    let mut members: Vec<(char, bool)> = Vec::new();
    let first = inside;
    let end = loop {
        match chars.get(inside) {
            None => return Err("a `[` is not closed: write ] or \\[".to_owned()),
            Some(']') if inside > first => break inside,
            Some('[') if matches!(chars.get(inside + 1), Some(':' | '.' | '=')) => {
                return Err(
                    "POSIX classes ([:alpha:]) are not supported: write the range, for example a-z"
                        .to_owned(),
                );
            }
            Some('/') => {
                return Err(
                    "a class can't match the slash between segments: remove the / from the class"
                        .to_owned(),
                );
            }
            Some('\\') => {
                let escaped = *chars
                    .get(inside + 1)
                    .ok_or("the pattern ends with a single backslash: write \\\\")?;
                if escaped == '/' {
                    return Err(ESCAPED_SLASH.to_owned());
                }
                members.push((escaped, true));
                inside += 1;
            }
            Some(&other) => members.push((other, false)),
        }
        inside += 1;
    };
    let mut set = Vec::new();
    let mut i = 0;
    while i < members.len() {
        let (low, _) = members[i];
        match (members.get(i + 1), members.get(i + 2)) {
            (Some(('-', false)), Some(&(high, _))) => {
                if low > high {
                    return Err(format!(
                        "the range {low}-{high} is empty: write {high}-{low}"
                    ));
                }
                set.push((low, high));
                i += 3;
            }
            _ => {
                set.push((low, low));
                i += 1;
            }
        }
    }
    Ok((PatternPart::Class(set, negated), end))
}

/// Returns the regex of a pattern without braces.
fn path_regex(tokens: &[PatternPart], dots: LeadingDots) -> Result<String, String> {
    let segment_class = dots.segment();
    let mut segments: Vec<&[PatternPart]> =
        tokens.split(|token| *token == PatternPart::Slash).collect();
    if segments.first() == Some(&&[PatternPart::Literal('.')][..]) && segments.len() > 1 {
        segments.remove(0);
    }
    let globstar = |segment: &[PatternPart]| segment == [PatternPart::Star, PatternPart::Star];
    segments.dedup_by(|a, b| globstar(a) && globstar(b));
    let mut regex = String::new();
    let last = segments.len() - 1;
    for (index, segment) in segments.iter().enumerate() {
        if segment.is_empty() {
            return Err(
                "the pattern has an empty segment (a leading, trailing or double slash): remove the slash".to_owned()
            );
        }
        if [
            &[PatternPart::Literal('.')][..],
            &[PatternPart::Literal('.'), PatternPart::Literal('.')][..],
        ]
        .contains(segment)
        {
            return Err(
                "the pattern has a segment `.` or `..`: write the path without this segment"
                    .to_owned(),
            );
        }
        match (globstar(segment), index == last) {
            (true, true) if index == 0 => {
                regex.push_str(&format!("{segment_class}(?:/{segment_class})*"))
            }
            (true, true) => {
                // `dir/**` also matches `dir`, as in picomatch, but `dir*/**` only matches paths below directories such
                // as `dir1`.
                let after_star = segments[index - 1].last() == Some(&PatternPart::Star);
                regex.push_str(&format!(
                    "(?:/{segment_class}){}",
                    if after_star { '+' } else { '*' }
                ));
            }
            (true, false) if index == 0 => regex.push_str(&format!("(?:{segment_class}/)*")),
            (true, false) => regex.push_str(&format!("/(?:{segment_class}/)*")),
            (false, _) => {
                if index > 0 && !globstar(segments[index - 1]) {
                    regex.push('/');
                }
                regex.push_str(&segment_regex(segment, dots));
            }
        }
    }
    Ok(regex)
}

impl LeadingDots {
    /// Returns the regex for one segment that a wildcard can match.
    fn segment(self) -> &'static str {
        match self {
            Self::Written => SEGMENT,
            Self::Any => "(?-u:[^/])+",
        }
    }
}

/// Returns the regex for the tokens of one segment. With [`LeadingDots::Written`], a wildcard at the beginning of a
/// segment matches no leading dot.
fn segment_regex(tokens: &[PatternPart], dots: LeadingDots) -> String {
    if dots == LeadingDots::Any {
        let stars = tokens.iter().all(|token| *token == PatternPart::Star);
        return if stars {
            dots.segment().to_owned()
        } else {
            inner_regex(tokens)
        };
    }
    match tokens {
        [PatternPart::Star, ..] => {
            let rest = &tokens[tokens
                .iter()
                .take_while(|token| **token == PatternPart::Star)
                .count()..];
            if rest.is_empty() {
                return SEGMENT.to_owned();
            }
            let longer = format!("{SEGMENT}{}", inner_regex(rest));
            match (&rest[0], &rest[1..]) {
                (PatternPart::Literal('.'), _) => longer,
                (PatternPart::Any, tail) => format!("(?:{longer}|[^./]{})", inner_regex(tail)),
                (PatternPart::Class(set, negated), tail) => {
                    format!(
                        "(?:{longer}|{}{})",
                        class_regex(set, *negated, true),
                        inner_regex(tail)
                    )
                }
                _ => format!("(?:{longer}|{})", inner_regex(rest)),
            }
        }
        [PatternPart::Any, tail @ ..] => format!("[^./]{}", inner_regex(tail)),
        [PatternPart::Class(set, negated), tail @ ..] => {
            format!(
                "{}{}",
                class_regex(set, *negated, *negated),
                inner_regex(tail)
            )
        }
        _ => inner_regex(tokens),
    }
}

fn inner_regex(tokens: &[PatternPart]) -> String {
    let mut regex = String::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            PatternPart::Star if at > 0 && tokens[at - 1] == PatternPart::Star => {}
            PatternPart::Literal(c) => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            PatternPart::Star => regex.push_str("(?-u:[^/])*"),
            PatternPart::Any => regex.push_str("[^/]"),
            PatternPart::Class(set, negated) => regex.push_str(&class_regex(set, *negated, false)),
            PatternPart::Slash => {}
        }
    }
    regex
}

fn class_regex(set: &[(char, char)], negated: bool, without_dot: bool) -> String {
    let range = |(low, high): &(char, char)| {
        format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*low), u32::from(*high))
    };
    let set: String = set.iter().map(range).collect();
    format!(
        "[[{}{set}]&&[^/{}]]",
        if negated { "^" } else { "" },
        if without_dot { "." } else { "" }
    )
}

const BESIDE_BRACES: &str = "programs disagree about the meaning of ** in or next to braces: write one pattern for \
                             each alternative";
/// Regex for a segment that does not begin with a dot. The regex matches bytes instead of characters, because the
/// compiled program is then much smaller. A match does not end inside of a character, because the next part of a
/// pattern begins with the first byte of a character.
const SEGMENT: &str = "(?-u:[^./])(?-u:[^/])*";
/// Maximum length of a pattern, in bytes, against mistakes and attacks on the regex compiler.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Maximum number of alternatives that nested braces may create.
const MAX_ALTERNATIVES: usize = 64;
/// Maximum depth of nested braces, because the parser is recursive.
const MAX_BRACES_DEPTH: usize = 8;
/// Maximum size of the compiled regex, in bytes.
const MAX_COMPILED_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_never_matches_a_part_of_a_multibyte_character() {
        for (pattern, path, expected) in [
            ("*é", "xé", true),
            ("?", "é", true),
            ("??", "é", false),
            ("*?", "é", true),
            ("*??", "é", false),
            ("[^x]", "é", true),
            ("[é-í]", "è", false),
            ("a/**/é", "a/ü/é", true),
            ("É*", "éa", true),
        ] {
            let pattern = Pattern::parse_with(pattern, LeadingDots::Any, CaseSensitivity::Any)
                .expect(pattern);
            assert_eq!(
                pattern.matches(path),
                expected,
                "{} {path}",
                pattern.as_str()
            );
        }
    }

    #[test]
    fn patterns_respect_letter_case_by_default() {
        for (pattern, path) in [("rm", "RM"), ("*_token", "GITHUB_Token"), ("{rm,dd}", "Dd")] {
            assert!(
                !Pattern::parse(pattern).expect(pattern).matches(path),
                "{pattern}"
            );
            assert!(
                Pattern::parse_with(pattern, LeadingDots::Any, CaseSensitivity::Any)
                    .expect(pattern)
                    .matches(path),
                "{pattern}"
            );
        }
        assert_eq!(
            Pattern::parse("a\\*/b").expect("a pattern").only(),
            Some("a*/b")
        );
        assert_eq!(Pattern::parse("a*").expect("a pattern").only(), None);
    }

    #[test]
    fn patterns_with_many_stars_take_linear_time() {
        let pattern = Pattern::parse(&"*a".repeat(256)).expect("a pattern");
        assert!(!pattern.matches(&format!("{}b", "a".repeat(4096))));
        let pattern = Pattern::parse(&"**/".repeat(170)).map(|_| ());
        assert!(pattern.is_err());
        assert!(
            !Pattern::parse(&format!("{}x", "**/a/".repeat(100)))
                .expect("a pattern")
                .matches(&"a/".repeat(2000))
        );
    }

    #[test]
    fn ambiguous_pattern_syntax_is_refused_by_name() {
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
            ("a\\/b", "without a backslash"),
            ("[\\/]", "without a backslash"),
            ("[[:alpha:]]", "POSIX"),
            ("[a", "not closed"),
            ("[]", "not closed"),
            ("[z-a]", "empty"),
            ("[a/b]", "slash"),
            ("{a", "not closed"),
            ("a}", "opening"),
            ("{a}", "one alternative"),
            ("{1..3}", "ranges"),
            ("{**,x}/c", "next to braces"),
            ("**{b,c}", "next to braces"),
            ("{b,c}**", "next to braces"),
            ("a\\", "backslash"),
            ("a//b", "empty segment"),
            ("/a", "empty segment"),
            ("a/", "empty segment"),
            ("a/../b", "segment `.` or `..`"),
            (".", "segment `.` or `..`"),
            (&"a".repeat(513), "longer"),
            (&"{a,b}".repeat(7), "alternatives"),
            (&format!("{}a,b{}", "{".repeat(9), "}".repeat(9)), "nested"),
        ] {
            let refusal = Pattern::parse(pattern).expect_err(pattern);
            assert!(refusal.message.contains(word), "{pattern}: {refusal}");
        }
    }

    #[test]
    fn a_wildcard_never_matches_a_leading_dot() {
        let matches =
            |pattern: &str, path: &str| Pattern::parse(pattern).expect(pattern).matches(path);
        for (pattern, path) in [
            ("*", ".a"),
            ("?a", ".a"),
            ("[^b]a", ".a"),
            ("**", "a/.b"),
            ("*[^x]a", ".a"),
            ("*.v2", ".v2"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            (".*", ".a"),
            ("[.]a", ".a"),
            ("a*", "a.b"),
            ("**/.b", "a/.b"),
            ("./a", "./a"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
        #[test]
        fn no_pattern_causes_a_panic_and_a_pattern_without_wildcards_matches_itself(text in "[a-z.*?/{},\\[\\]\\\\!^()|-]{0,24}", path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}") {
            let _ = Pattern::parse(&text).map(|pattern| pattern.matches(&path));
            proptest::prop_assert!(Pattern::parse(&path).is_ok_and(|pattern| pattern.matches(&path)));
            proptest::prop_assert!(Pattern::parse("**").is_ok_and(|pattern| pattern.matches(&path)));
        }
    }
}
