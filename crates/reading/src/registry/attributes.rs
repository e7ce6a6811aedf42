//! Reads the info string of a fence: its language, its attributes and the units of limits.
//!
//! Example: `bash {#restart title="Restart nginx" timeout=60s}`. The language comes first. The braces contain `#id`,
//! `key=value` and `key="quoted"`. A fence without `#id` is prose.

use std::collections::HashSet;

use crate::{SandboxPermission, TextPlace, YamlFlaw, duration, refuse, yaml::unknown};
use documents::Limit;

/// Parsed info string of a fence that is a step.
#[derive(Debug, PartialEq)]
pub(crate) struct FenceInfo {
    /// Language before the braces.
    pub(crate) language: Option<PlacedText>,
    /// Value of `#id`.
    pub(crate) id: PlacedText,
    /// Values of `key=value`. Every key is a known key and occurs only once.
    pub(crate) attributes: Vec<(PlacedText, PlacedText)>,
}

/// Text with its place.
#[derive(Debug, PartialEq)]
pub(crate) struct PlacedText {
    pub(crate) place: TextPlace,
    pub(crate) text: String,
}

/// Parses an info string that begins at `place`. Returns `None` if the fence is prose.
pub(crate) fn read(info: &str, place: TextPlace, flaws: &mut Vec<YamlFlaw>) -> Option<FenceInfo> {
    let (language, id, attributes) = parse(info, place, flaws)?;
    if id.is_none() {
        let open = info.chars().position(|c| c == '{').unwrap_or_default();
        refuse(
            flaws,
            place.after(open),
            "the block has attributes of a step but no id: add #name, or remove the attributes",
        );
    }
    Some(FenceInfo {
        language,
        id: id?,
        attributes,
    })
}

/// Language, id and attributes of an info string.
type ParsedInfo = (
    Option<PlacedText>,
    Option<PlacedText>,
    Vec<(PlacedText, PlacedText)>,
);

/// Parses an info string whose id may be missing. Returns `None` if the fence is prose.
pub(crate) fn parse(info: &str, place: TextPlace, flaws: &mut Vec<YamlFlaw>) -> Option<ParsedInfo> {
    let chars: Vec<char> = info.chars().collect();

    let open = chars.iter().position(|c| *c == '{')?;
    let words: String = chars[..open].iter().collect();
    let mut reader = Reader {
        chars: &chars,
        index: open + 1,
        place,
        found: Vec::new(),
    };
    let read = reader.tokens();
    let found = reader.found;
    let known = known();
    let says_step = found.iter().any(|token| match token {
        Token::Id(_) => true,
        Token::Pair(key, _) => known.contains(&key.text.as_str()),
    });
    if !says_step {
        return None; // These attributes are for another program.
    }
    if let Err(flaw) = read {
        flaws.push(flaw);
        return None;
    }
    let language = {
        let place = place.after(words.chars().take_while(|c| c.is_whitespace()).count());
        let word = words.trim();
        if word.contains(char::is_whitespace) {
            refuse(
                flaws,
                place,
                format!(
                    "{word:?} is more than one word: write only the language before the braces"
                ),
            );
        }
        (!word.is_empty()).then(|| PlacedText {
            place,
            text: word.to_owned(),
        })
    };
    let mut id: Option<PlacedText> = None;
    let mut attributes: Vec<(PlacedText, PlacedText)> = Vec::new();
    for token in found {
        match token {
            Token::Id(text) if id.is_some() => {
                refuse(
                    flaws,
                    text.place,
                    format!(
                        "the step has a second id, {:?}: keep only one id",
                        text.text
                    ),
                );
            }
            Token::Id(text) => id = Some(text),
            Token::Pair(key, value) => {
                let name = key.text.as_str();
                if !known.contains(&name) {
                    refuse(flaws, key.place, unknown("attribute", name, &known));
                } else if attributes.iter().any(|(other, _)| other.text == key.text) {
                    refuse(
                        flaws,
                        key.place,
                        format!("{name} occurs twice: keep one of the two"),
                    );
                } else {
                    attributes.push((key, value));
                }
            }
        }
    }
    Some((language, id, attributes))
}

enum Token {
    Id(PlacedText),
    Pair(PlacedText, PlacedText),
}

struct Reader<'a> {
    chars: &'a [char],
    index: usize,
    /// Place of the first character.
    place: TextPlace,
    found: Vec<Token>,
}

impl Reader<'_> {
    fn tokens(&mut self) -> Result<(), YamlFlaw> {
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.index += 1;
            }
            let begin = self.index;
            match self.peek() {
                None => {
                    return Err(self.flaw(
                        begin,
                        "the braces of the attributes are not closed: write }",
                    ));
                }
                Some('}') => {
                    let rest: String = self.chars[begin + 1..].iter().collect();
                    if rest.trim().is_empty() {
                        return Ok(());
                    }
                    return Err(self.flaw(
                        begin + 1,
                        "remove the text after the closing brace of the attributes",
                    ));
                }
                Some('#') => {
                    self.index += 1;
                    let text = self.word();
                    if text.is_empty() {
                        return Err(self.flaw(begin, "an id is missing after #: write #name"));
                    }
                    let place = self.place.after(begin + 1);
                    self.found.push(Token::Id(PlacedText { place, text }));
                }
                Some(_) => {
                    let key = PlacedText {
                        place: self.place.after(begin),
                        text: self.word(),
                    };
                    if key.text.is_empty() {
                        return Err(self.flaw(
                            begin,
                            "an attribute is missing before this: write key=value",
                        ));
                    }
                    if self.peek() != Some('=') {
                        return Err(self.flaw(begin, &self.without_value(&key.text)));
                    }
                    self.index += 1;
                    let place = self.place.after(self.index);
                    let text = if self.peek() == Some('"') {
                        self.quoted()?
                    } else {
                        self.word()
                    };
                    self.found
                        .push(Token::Pair(key, PlacedText { place, text }));
                }
            }
        }
    }

    /// Returns the message for a word without a value. The word may be the rest of a text without quotes.
    fn without_value(&self, word: &str) -> String {
        let message = format!("{word:?} has no value: write {word}=value");
        match self.found.last() {
            Some(Token::Pair(key, value)) => {
                format!(
                    "{message}, or put the text in quotes: {}=\"{} {word}\"",
                    key.text, value.text
                )
            }
            _ => message,
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.index).copied()
    }

    fn word(&mut self) -> String {
        let begin = self.index;
        while self
            .peek()
            .is_some_and(|c| !c.is_whitespace() && !"{}=\"#".contains(c))
        {
            self.index += 1;
        }
        self.chars[begin..self.index].iter().collect()
    }

    fn quoted(&mut self) -> Result<String, YamlFlaw> {
        let begin = self.index;
        self.index += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.flaw(begin, "the quote is not closed: write \"")),
                Some('"') => {
                    self.index += 1;
                    return Ok(text);
                }
                Some('\\') => {
                    self.index += 1;
                    match self.peek() {
                        Some(c @ ('"' | '\\')) => text.push(c),
                        _ => {
                            return Err(self.flaw(
                                self.index - 1,
                                "only \\\" and \\\\ are escapes: write \\\\ for a backslash",
                            ));
                        }
                    }
                }
                Some(c) => text.push(c),
            }
            self.index += 1;
        }
    }

    fn flaw(&self, index: usize, message: &str) -> YamlFlaw {
        YamlFlaw::new(self.place.after(index), message)
    }
}

/// Limits that both a fence and `defaults` in the front matter can declare.
pub const LIMITS: [(&str, Limit); 7] = [
    ("timeout", Limit::Wall),
    ("memory", Limit::Memory),
    ("processes", Limit::Processes),
    ("output", Limit::Output),
    ("disk", Limit::Disk),
    ("file_size", Limit::File),
    ("cpu", Limit::Cpu),
];

/// Attributes that link a step to other runs.
pub(crate) const LINKS: [&str; 5] = ["session", "outputs", "plan", "plan-max-age", "check"];

/// Returns the names of all attributes of a step.
pub(crate) fn known() -> Vec<&'static str> {
    let own = [
        "title",
        "params",
        "exclusive",
        "sandbox",
        "programs",
        "files",
        "secrets",
    ]
    .into_iter();
    own.chain(LIMITS.map(|(name, _)| name))
        .chain(SandboxPermission::ALL.map(SandboxPermission::attribute))
        .chain(LINKS)
        .collect()
}

/// Returns true for the name of an attribute of a step.
pub(crate) fn is_known(name: &str) -> bool {
    known().contains(&name)
}

/// Reads the names of a list that is separated by commas. `what` is the noun for a name.
pub(crate) fn listed_names<'a>(text: &'a str, what: &str) -> Result<Vec<&'a str>, String> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for name in text.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(format!(
                "a name is empty: remove one comma, or name a {what}"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("{name:?} is listed twice: name the {what} once"));
        }
        names.push(name);
    }
    Ok(names)
}

/// Parses the value of a limit.
///
/// # Errors
/// Returns an error message that describes the expected form.
pub fn limit(limit: Limit, text: &str) -> Result<u64, String> {
    let (units, example): (&[(&str, u64)], &str) = match limit {
        Limit::Wall => (
            &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)],
            "90s, 5m or 1h30m",
        ),
        Limit::Cpu => (&[("m", 1), ("", 1000)], "2 (CPUs) or 500m (thousandths)"),
        Limit::Processes => (&[("", 1)], "50"),
        Limit::Memory | Limit::File | Limit::Disk | Limit::Output => (
            &[
                ("B", 1),
                ("KiB", 1 << 10),
                ("MiB", 1 << 20),
                ("GiB", 1 << 30),
            ],
            "64KiB, 256MiB or 1GiB",
        ),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let written = duration(text)
        .ok()
        .filter(|_| limit == Limit::Wall)
        .map(|seconds| seconds.unsigned_abs() * 1000);
    let one_unit = || {
        let number = number.parse::<u64>().ok();
        let (number, (_, factor)) = number.zip(units.iter().find(|(name, _)| *name == unit))?;
        number.checked_mul(*factor)
    };
    let value = written.or_else(one_unit).filter(|value| *value < 1 << 53);
    match value {
        Some(0) => Err(format!(
            "{text:?} is zero, so nothing can run: write for example {example}"
        )),
        Some(value) => Ok(value),
        None => Err(format!(
            "{text:?} is not valid: write for example {example}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> (Option<FenceInfo>, Vec<String>) {
        let mut flaws = Vec::new();
        let info = read(text, TextPlace { line: 1, column: 4 }, &mut flaws);
        (info, flaws.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn attributes_are_read_with_their_places() {
        let (found, flaws) =
            info(r#"bash {#restart title="Say \"hi\" \\ ä" timeout=60s params=a,b exclusive=x }"#);
        assert_eq!(flaws, [""; 0]);
        let found = found.expect("a step");
        assert_eq!(
            (found.id.text.as_str(), found.id.place.column),
            ("restart", 11)
        );
        assert_eq!(
            found.language.map(|language| language.text).as_deref(),
            Some("bash")
        );
        let pairs: Vec<(&str, &str, usize)> = found
            .attributes
            .iter()
            .map(|(k, v)| (k.text.as_str(), v.text.as_str(), v.place.column))
            .collect();
        assert_eq!(
            pairs,
            [
                ("title", "Say \"hi\" \\ ä", 25),
                ("timeout", "60s", 51),
                ("params", "a,b", 62),
                ("exclusive", "x", 76)
            ]
        );
    }

    #[test]
    fn a_code_block_without_an_id_is_prose() {
        for text in [
            "",
            "bash",
            "rust,ignore",
            "js {1,3-4}",
            "toml {linenos=true}",
            "md { .class",
            "{}",
        ] {
            assert_eq!(info(text), (None, Vec::new()), "{text}");
        }
    }

    #[test]
    fn invalid_attributes_are_refused_with_their_place() {
        for (text, expected) in [
            ("bash {#a", "1:12: the braces"),
            (
                "bash {#a} x",
                "1:13: remove the text after the closing brace",
            ),
            ("bash {#}", "1:"),
            ("bash {#a #b}", "1:14: the step has a second id"),
            ("bash {#a timeout}", "1:13: \"timeout\" has no value"),
            (
                "bash {#a title=Hello world}",
                "1:25: \"world\" has no value: write world=value, or put the text in quotes: title=\"Hello world\"",
            ),
            ("bash {#a =x}", "1:13: an attribute is missing"),
            ("bash {#a title=\"x}", "1:19: the quote"),
            ("bash {#a title=\"\\n\"}", "1:20: only"),
            (
                "bash {#a timout=1s}",
                "1:13: unknown attribute: \"timout\"; did you mean \"timeout\"?",
            ),
            (
                "bash {#a template=x}",
                "1:13: unknown attribute: \"template\"",
            ),
            (
                "bash {#a run_as=web}",
                "1:13: unknown attribute: \"run_as\"; did you mean \"run-as\"?",
            ),
            ("bash {#a cpu=1 cpu=2}", "1:19: cpu occurs twice"),
            (
                "bash {timeout=1s}",
                "1:9: the block has attributes of a step but no id",
            ),
            ("bash foo {#a}", "1:4: \"bash foo\" is more than one word"),
        ] {
            let (_, flaws) = info(text);
            // The braces `{#}` contain no attribute of a step, so the fence is prose.
            if text != "bash {#}" {
                assert!(
                    flaws.first().is_some_and(|flaw| flaw.starts_with(expected)),
                    "{text}: {flaws:?}"
                );
            }
        }
    }

    #[test]
    fn limits_are_parsed_with_exact_units() {
        for (kind, text, value) in [
            (Limit::Wall, "60s", 60_000),
            (Limit::Wall, "5m", 300_000),
            (Limit::Wall, "250ms", 250),
            (Limit::Memory, "256MiB", 256 << 20),
            (Limit::Output, "100B", 100),
            (Limit::Cpu, "500m", 500),
            (Limit::Cpu, "2", 2000),
            (Limit::Processes, "50", 50),
        ] {
            assert_eq!(limit(kind, text), Ok(value), "{text}");
        }
        for (kind, text) in [
            (Limit::Wall, "60"),
            (Limit::Wall, "0s"),
            (Limit::Wall, "30s1m"),
            (Limit::Wall, "-1s"),
            (Limit::Wall, "1.5s"),
            (Limit::Wall, ""),
            (Limit::Wall, "99999999999999999999s"),
            (Limit::Wall, "9007199254740993ms"),
            (Limit::Memory, "256MB"),
            (Limit::Memory, "256"),
            (Limit::Memory, "99999999999GiB"),
            (Limit::Processes, "1k"),
            (Limit::Cpu, "0"),
        ] {
            assert!(limit(kind, text).is_err(), "{text}");
        }
    }
}
